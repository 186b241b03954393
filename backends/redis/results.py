"""What the replies to the commands of a cache mean."""

from collections.abc import Iterable, Sequence

from twofold.backend import Examined
from twofold.backends.network import Outcome, Refused, Reply, is_lost, raise_partial, unwrap
from twofold.display import printable
from twofold.errors import CounterOverflow, MissingKey, NotACounter


def value(reply: Reply | Refused) -> bytes | None:
    """Return the value that was got; one of another type than a string is none."""
    if type(reply) is bytes or reply is None:
        return reply
    if isinstance(reply, Refused) and reply.code == "WRONGTYPE":
        return None
    found: bytes | None = unwrap(reply)
    return found


def values(keys: Sequence[str], found: Sequence[bytes | None]) -> dict[str, bytes]:
    """Return the values that are there, by their keys."""
    return {key: each for key, each in zip(keys, found, strict=True) if each is not None}


def values_in_part(keys: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """Return the values that are there, of which each was asked for by itself."""
    answered = {key: each for key, each in zip(keys, outcomes, strict=True) if not is_lost(each)}
    found = values(list(answered), list(map(value, answered.values())))
    return raise_partial(found, list(filter(is_lost, outcomes)))


def is_stored(reply: Reply | Refused) -> bool:
    """Tell whether a value was stored; it is not where memory is full."""
    if isinstance(reply, Refused) and reply.code == "OOM":
        return False
    return unwrap(reply) is not None


def is_added(reply: Reply | Refused) -> bool:
    """Tell whether a value was stored where none was."""
    return unwrap(reply) is not None


def failed(keys: Iterable[str], replies: Sequence[Outcome]) -> list[str]:
    """Return the keys of the values that were not stored."""
    pairs = zip(keys, replies, strict=True)
    return [key for key, reply in pairs if is_lost(reply) or not is_stored(reply)]


def any_there(replies: Sequence[Outcome]) -> bool:
    """Tell whether one of several replies is not 0."""
    return any(map(unwrap, replies))


def total(outcomes: Sequence[Outcome]) -> int:
    """Return the sum of what each server counted."""
    counted: int = sum([unwrap(each) for each in outcomes if not is_lost(each)])
    return raise_partial(counted, list(filter(is_lost, outcomes)))


def seconds(reply: Reply | Refused) -> float | None:
    """Return the life left, as `Backend.ttl` does."""
    milliseconds = unwrap(reply)
    if milliseconds == -1:
        return None
    left: float = max(0.0, milliseconds / 1000)
    return left


def counted(key: str, delta: int, reply: Reply | Refused) -> int:
    """Return the sum of a counter, or raise why there is none; see `Backend.incr`."""
    if reply is None:
        raise MissingKey(f"no counter {key!r} to add to: set it first")
    if isinstance(reply, Refused):
        if "overflow" in reply.reason:
            raise CounterOverflow(
                f"{key!r} + {delta} leaves the range of a signed 64-bit counter"
            ) from reply
        if "not an integer" in reply.reason or "WRONGTYPE" in reply.reason:
            raise NotACounter(f"{key!r} does not hold a signed 64-bit integer to add to") from reply
    return int(unwrap(reply))


def forbids(refusal: Refused) -> bool:
    """Tell whether a server refused a command by its name, as one that nobody may use here."""
    return refusal.code == "NOPERM" or "unknown command" in refusal.reason


def examined(name: str, info: str, round_trip: float, *, scripts: bool = True) -> Examined:
    """Return what `INFO` tells of a server that is worth knowing, and whether it runs scripts."""
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
            f"{name} forbids EVAL: incr(), locks, and what lets one process compute for all are"
            " scripts, and fail. Allow this user +eval and +evalsha"
        )
    return Examined(name, printable(version), round_trip, tuple(warnings))
