"""What the replies to the commands of a cache mean."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from twofold import counter
from twofold.backend import Examined, Looked
from twofold.backends.memcached import stored
from twofold.backends.memcached.replies import Item, Lasting
from twofold.backends.network import Outcome, Refused, Reply, is_lost, raise_partial, unwrap
from twofold.errors import BackendUnavailable, CounterOverflow, MissingKey
from twofold.keys.kinds import is_lock
from twofold.metadata import HasMetadata, Meta, Removed, has_metadata, head
from twofold.stub import is_stub

DEFAULT_ITEM_SIZE_MAX = 2**20
"""Bytes, where a server was not started with another limit."""

_MOMENT = 0.001  # seconds of life left, at least, in what is there
_FOR_EVER = -1


class Seen(NamedTuple):
    """What is known of an item without its value."""

    is_stub: bool
    unique: int
    """The number that changes whenever the value is written; 0 if the server has none."""
    left: int
    """Seconds, or -1 for ever."""
    meta: Meta | None
    """What is known of its metadata, if it has some."""


def value(key: str, outcome: Outcome) -> bytes | None:
    """Return the value that was got."""
    found: bytes | None = unwrap(outcome).get(key)
    return found


def values(
    keys: Sequence[str], asked: Sequence[Sequence[str]], outcomes: Sequence[Outcome]
) -> dict[str, bytes]:
    """Return the values that are there, of `keys`, of which each server was `asked` for some."""
    there: dict[str, bytes] = {}
    for of_one, outcome in zip(asked, outcomes, strict=True):
        if not is_lost(outcome):
            reply = unwrap(outcome)
            there |= {key: reply[key] for key in of_one if key in reply}
    found = {key: there[key] for key in keys if key in there} if len(asked) > 1 else there
    return raise_partial(found, list(filter(is_lost, outcomes)))


def looked(keys: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, Looked]:
    """Return the values that are there with their lives, if a command asked for each."""
    pairs = zip(keys, outcomes, strict=True)
    found = {key: _looked(key, unwrap(each)) for key, each in pairs if not is_lost(each)}
    there = {key: each for key, each in found.items() if each is not None}
    return raise_partial(there, list(filter(is_lost, outcomes)))


def _looked(key: str, reply: Reply) -> Looked | None:
    found: Lasting | Item | bytes | None = reply.get(key) if type(reply) is dict else None
    if isinstance(found, Lasting):
        return found.value, _seconds(key, found.left)
    value = found.value if isinstance(found, Item) else found
    return None if value is None else (value, 0.0)  # without `mg` no server tells a life


def item(key: str, outcome: Outcome) -> Item | None:
    """Return the item that `gets` has got.

    Raises:
        BackendUnavailable: the server tells nothing of when a value was written.
    """
    found: Item | bytes | None = unwrap(outcome).get(key)
    if isinstance(found, bytes) or (found is not None and not found.unique):
        raise BackendUnavailable(
            f"the server of {key!r} runs without CAS (-C), which comparing needs: start it with CAS"
        )
    return found


def is_stored(_key: str, outcome: Outcome) -> bool:
    """Tell whether a value was stored; a server without room for it has not."""
    if isinstance(outcome, Refused) and outcome.code == "SERVER_ERROR":
        return False
    return bool(unwrap(outcome) == b"STORED")


def is_added(_key: str, outcome: Outcome) -> bool:
    """Tell whether a value was stored where none was, or over the one expected."""
    return bool(unwrap(outcome) == b"STORED")


def is_done(_key: str, outcome: Outcome) -> bool:
    """Tell whether a key was there to be touched or deleted."""
    return bool(unwrap(outcome) != b"NOT_FOUND")


def seen(_key: str, outcome: Outcome) -> Seen | None:
    """Return what a server says about an item, if there is one.

    A server or proxy without `mg` was asked for the value, and tells nothing of its life.
    """
    reply = unwrap(outcome)
    if type(reply) is dict:
        for found in reply.values():
            value, unique = found if isinstance(found, Item) else (found, 0)
            meta = head(value) if has_metadata(value) else None
            return Seen(is_stub(value), unique, _FOR_EVER, meta)
        return None
    if reply == b"EN":
        return None
    told = {word[:1]: int(word[1:]) for word in reply.split()[1:4]}
    flags = told[b"f"]
    return Seen(flags == stored.STUB, told[b"c"], told[b"t"], stored.meta(flags))


def plain(key: str, outcome: Outcome) -> Seen | None:
    """Return what is known of an item which is no stub; raise `HasMetadata`."""
    found = seen(key, outcome)
    if found is None or found.is_stub:
        return None
    if found.meta is not None:
        raise HasMetadata(key)
    return found


def is_value(key: str, outcome: Outcome) -> bool:
    """Tell whether there is an item which is no stub; raise `HasMetadata`."""
    return plain(key, outcome) is not None


def failed(keys: Iterable[str], sent: Iterable[str], outcomes: Sequence[Outcome]) -> list[str]:
    """Return those of `keys` whose values were not sent, or not stored."""
    pairs = zip(sent, outcomes, strict=True)
    stored = {key for key, each in pairs if not is_lost(each) and is_stored(key, each)}
    return [key for key in keys if key not in stored]


def deleted(outcomes: Sequence[Outcome]) -> int:
    """Return what `Backend.delete_many` does, of values each of which was looked at just before."""
    pairs = zip(outcomes[::2], outcomes[1::2], strict=True)
    there = [(told, done) for told, done in pairs if not is_lost(told) and not is_lost(done)]
    gone = [found for told, done in there if (found := seen("", told)) and is_done("", done)]
    metas = [found.meta for found in gone if found.meta is not None]
    count = len(gone) - len(metas) - sum([found.is_stub for found in gone])
    return raise_partial(Removed.of(count, metas), list(filter(is_lost, outcomes)))


def seconds(key: str, outcome: Outcome | None) -> float | None:
    """Return the life left of a value, as `Backend.ttl` does."""
    return 0.0 if plain(key, _life(outcome)) is None else left(key, outcome)


def left(key: str, outcome: Outcome | None) -> float | None:
    """Return the life left of whatever is there, as `Backend.ttl` does of a value."""
    found = seen(key, _life(outcome))
    return 0.0 if found is None else _seconds(key, found.left)


def _seconds(key: str, left: int) -> float | None:
    return None if left == _FOR_EVER else max(_MOMENT, float(left - is_lock(key)))


def _life(outcome: Outcome | None) -> Outcome:
    """Raise why no life is told; None is what a proxy leaves of a reply."""
    if outcome is None:
        raise BackendUnavailable(
            "a proxy stands before memcached, and does not let the command through (mg) that"
            " tells how long an item lives: connect to the servers themselves, or do without ttl()"
        )
    if isinstance(outcome, Refused) and outcome.code == "ERROR":
        raise BackendUnavailable(
            f"{outcome}: only memcached 1.6 and later can say how long an item lives;"
            " upgrade the server"
        ) from outcome
    return outcome


def counted(key: str, outcome: Outcome) -> int | None:
    """Return the sum of a counter; None if the server does not take the value for a number."""
    if isinstance(outcome, Refused) and "non-numeric" in outcome.reason:
        return None
    reply = unwrap(outcome)
    if reply == b"NOT_FOUND":
        raise MissingKey(f"no counter {key!r} to add to: set it first")
    return stored.signed(int(reply))


def is_overflow(total: int, delta: int) -> bool:
    """Tell whether there was no such counter before `delta` was added."""
    return not counter.LOWEST <= total - delta <= counter.HIGHEST


def overflow(key: str, delta: int) -> CounterOverflow:
    """Return the error of a sum that was undone."""
    return CounterOverflow(f"{key!r} + {delta} leaves the range of a signed 64-bit counter")


def scanned_key(line: bytes) -> bytes:
    """Return the key in a line of a scan."""
    return unquote_to_bytes(line.removeprefix(b"key="))


def settings(lines: Reply) -> dict[str, str]:
    """Return what `stats settings` tells, by its names."""
    words = (line.decode(errors="replace").split(" ", 2) for line in lines)
    return {each[1]: each[2] for each in words if len(each) == 3}


def item_size_max(outcome: Outcome | None) -> int:
    """Return the bytes of the largest item; a proxy in place of a server may not tell."""
    lines = [] if outcome is None or isinstance(outcome, Refused) else unwrap(outcome)
    told = settings(lines).get("item_size_max", "")
    return int(told) if told.isdigit() else DEFAULT_ITEM_SIZE_MAX


def examined(name: str, version: str, told: dict[str, str] | None, round_trip: float) -> Examined:
    """Return what is worth knowing of a server; a proxy says nothing."""
    warnings = []
    if told is None:
        told = {}
        warnings.append(
            f"{name} does not tell its settings: it seems to be a proxy, such as twemproxy, behind"
            " which ttl(), and clear() unless it flushes, do not work"
        )
    if not is_modern(version):
        warnings.append(f"{name} is older than 1.6: ttl() needs that, so upgrade it")
    if told.get("evictions") == "off":
        warnings.append(
            f"{name} runs with -M: once its memory is full, nothing more is stored. A cache"
            " wants evictions"
        )
    if told.get("cas_enabled") == "no":
        warnings.append(f"{name} runs with -C: locks and claims need its CAS, so leave -C out")
    size = told.get("item_size_max", "")
    largest = int(size) if size.isdigit() else None
    return Examined(name, f"memcached {version}", round_trip, tuple(warnings), largest)


def is_modern(version: str) -> bool:
    """Tell whether a server of `version` has the meta commands; an unknown one has not."""
    numbers = version.split(".")[:2]
    return all(map(str.isdigit, numbers)) and [*map(int, numbers)] >= [1, 6]
