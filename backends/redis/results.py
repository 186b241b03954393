"""What the replies to the commands of a cache mean."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from twofold.backend import Examined, Looked
from twofold.backends.network import (
    Outcome,
    Refused,
    ReplyError,
    is_lost,
    raise_partial,
    unwrap,
)
from twofold.backends.redis.scripts import DESCRIBED
from twofold.display import printable
from twofold.errors import CounterOverflow, MissingKey, NotACounter
from twofold.metadata import HasMetadata, Removed, has_metadata, head

T = TypeVar("T")


def value(_key: str, outcome: Outcome) -> bytes | None:
    """Return the value that was got; one of another type than a string is none."""
    if type(outcome) is bytes or outcome is None:
        return outcome
    if isinstance(outcome, Refused) and outcome.code == "WRONGTYPE":
        return None
    found: bytes | None = unwrap(outcome)
    return found


def looked(key: str, found: Outcome, left: Outcome, *, keep: bool) -> Looked | None:
    """Return a value with the life it has left; 0.0 if it is not to be kept."""
    stored = found if type(found) is bytes else value(key, found)
    if stored is None:
        return None
    if type(left) is int and left >= 0 and keep:
        return stored, left / 1000  # `seconds`, written out for the usual case
    return stored, (seconds(key, left) if keep else 0.0)


def looked_at(keys: Sequence[str], outcomes: Sequence[Outcome], *, keep: bool) -> dict[str, Looked]:
    """Return what `looked` does for each key, if one command asked for all values."""
    found = unwrap(outcomes[0]) if keys else []
    asked = zip(keys, found, outcomes[1:], strict=True)
    looks = {key: looked(key, each, left, keep=keep) for key, each, left in asked}
    return {key: each for key, each in looks.items() if each is not None}


def looked_in_part(
    keys: Sequence[str], outcomes: Sequence[Outcome], *, keep: bool
) -> dict[str, Looked]:
    """Return what `looked` does for each key, if two commands asked for each."""
    asked = zip(keys, outcomes[: len(keys)], outcomes[len(keys) :], strict=True)
    looks = {
        key: looked(key, each, left, keep=keep)
        for key, each, left in asked
        if not (is_lost(each) or is_lost(left))
    }
    there = {key: each for key, each in looks.items() if each is not None}
    return raise_partial(there, list(filter(is_lost, outcomes)))


def values(keys: Sequence[str], outcome: Outcome) -> dict[str, bytes]:
    """Return the values that are there, if one command asked for all."""
    found = outcome if type(outcome) is list else unwrap(outcome)
    pairs = zip(keys, found, strict=True)
    if all(found):
        return dict(pairs)
    return {key: each for key, each in pairs if each is not None}


def values_in_part(keys: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """Return the values that are there, if a command asked for each."""
    pairs = zip(keys, outcomes, strict=True)
    found = {key: value(key, each) for key, each in pairs if not is_lost(each)}
    there = {key: each for key, each in found.items() if each is not None}
    return raise_partial(there, list(filter(is_lost, outcomes)))


def each(
    keys: Iterable[str], outcomes: Sequence[Outcome], read: Callable[[str, Outcome], T]
) -> dict[str, T]:
    """Return what each outcome means, by its key, if a command was sent for each."""
    pairs = zip(keys, outcomes, strict=True)
    told = {key: read(key, each) for key, each in pairs if not is_lost(each)}
    return raise_partial(told, list(filter(is_lost, outcomes)))


def is_stored(_key: str, outcome: Outcome) -> bool:
    """Tell whether a value was stored; it is not where memory is full."""
    # A full cache is a miss to come, no outage; under noeviction it lasts.
    if isinstance(outcome, Refused) and outcome.code == "OOM":
        return False
    return unwrap(outcome) is not None


def is_added(key: str, outcome: Outcome) -> bool:
    """Tell whether a value was stored where none was; what was there may be the outcome."""
    if isinstance(outcome, Refused) and outcome.code == "WRONGTYPE":
        return False
    if outcome == DESCRIBED or has_metadata(outcome):
        raise HasMetadata(key)
    return unwrap(outcome) is None


def present(key: str, outcome: Outcome) -> bytes | None:
    """Return the value that was met by a claim; none where that found no room either."""
    if isinstance(outcome, Refused) and outcome.code == "OOM":
        return None
    return value(key, outcome)


def is_filled(key: str, outcome: Outcome) -> bool:
    """Tell whether a claim was replaced by its value; it is not where memory is full."""
    if isinstance(outcome, Refused) and outcome.code == "OOM":
        return False
    return is_done(key, outcome)


def is_too_old(outcome: Outcome) -> bool:
    """Tell whether the server does not know `SET … NX GET`, as those before Redis 7."""
    return type(outcome) is Refused and "syntax error" in outcome.reason


def is_done(_key: str, outcome: Outcome) -> bool:
    """Tell whether a command found what it is about; its reply is 1 or 0."""
    return bool(unwrap(outcome))


def is_there(key: str, outcome: Outcome) -> bool:
    """Tell whether a value is there, or raise that it has metadata; else the reply is 1 or 0."""
    reply = unwrap(outcome)
    if reply == DESCRIBED:
        raise HasMetadata(key)
    return bool(reply)


def failed(keys: Iterable[str], outcomes: Sequence[Outcome]) -> list[str]:
    """Return the keys of the values that were not stored."""
    pairs = zip(keys, outcomes, strict=True)
    return [key for key, each in pairs if is_lost(each) or not is_stored(key, each)]


def total(outcomes: Sequence[Outcome]) -> int:
    """Return the sum of what each server counted, as `Backend.delete_many` does."""
    count, heads = 0, list[bytes]()
    for each in outcomes:
        if not is_lost(each):
            reply = unwrap(each)
            number, *described = reply if type(reply) is list else (reply,)
            count, heads = count + number, heads + described
    return raise_partial(Removed.of(count, map(head, heads)), list(filter(is_lost, outcomes)))


def seconds(key: str, outcome: Outcome) -> float | None:
    """Return the life left, as `Backend.ttl` does."""
    milliseconds = unwrap(outcome)
    if milliseconds == DESCRIBED:
        raise HasMetadata(key)
    if milliseconds == -1:
        return None
    left: float = max(0.0, milliseconds / 1000)
    return left


def counted(key: str, outcome: Outcome) -> int:
    """Return the sum of a counter, or raise why there is none; see `Backend.incr`."""
    if type(outcome) is bytes:
        return int(outcome)
    if outcome is None:
        raise MissingKey(f"no counter {key!r} to add to: set it first")
    if outcome == DESCRIBED:
        raise HasMetadata(key)
    if isinstance(outcome, Refused):
        if "overflow" in outcome.reason:
            raise CounterOverflow(
                f"the sum of {key!r} leaves the range of a signed 64-bit counter: set it to a"
                " smaller one"
            ) from outcome
        if "not an integer" in outcome.reason or "WRONGTYPE" in outcome.reason:
            raise NotACounter(
                f"{key!r} does not hold a signed 64-bit integer to add to: set it to one first"
            ) from outcome
    return int(unwrap(outcome))


def forbids_scripts(outcome: Outcome | ReplyError) -> bool:
    """Tell whether a server refused a script because no user, or not this one, may run any."""
    if type(outcome) is ReplyError:
        text = str(outcome)
    elif type(outcome) is Refused:
        text = outcome.reason
    else:
        return False
    return "unknown command" in text or ("NOPERM" in text and "'eval" in text)


def examined(
    name: str,
    info: str,
    round_trip: float,
    *,
    scripts: bool = True,
    watch: str = "",
    unlimited: bool = False,
) -> Examined:
    """Return what is worth knowing in a server's `INFO`, and of what it allows.

    Args:
        name: the server's.
        info: the reply to `INFO`.
        round_trip: seconds.
        scripts: whether it runs them.
        watch: how its watch does, if anybody watches.
        unlimited: whether what it keeps for clients that do not read has no limit.
    """
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    if "valkey_version" in facts:
        version = f"Valkey {facts['valkey_version']}"
    else:
        version = f"Redis {facts.get('redis_version', '?')}"
    warnings = []
    if facts.get("maxmemory_policy") == "noeviction":
        warnings.append(
            f"{name} has maxmemory-policy noeviction: once its memory is full, nothing more is"
            " stored. A cache wants allkeys-lru, or allkeys-lfu"
        )
    if not scripts:
        warnings.append(
            f"{name} forbids EVAL: scripts, such as those of incr(), has_key(), locks and computed"
            " values, become transactions of two round trips, in threads for async code. Allow"
            " this user +eval and +evalsha"
        )
    if watch not in ("", "live"):
        warnings.append(
            f"{name} does not tell what changes, so that what is kept near of it lives for 1 s, or"
            f" NEAR['timeout']: {watch}"
        )
    if unlimited:
        warnings.append(
            f"{name} has maxmemory-clients 0: a process that hangs has what it is told pile up in"
            " the server's memory. Set it to 5%"
        )
    return Examined(name, printable(version), round_trip, tuple(warnings), watch=watch)
