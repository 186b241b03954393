"""Commands as the server reads them.

https://redis.io/docs/latest/commands/ tells what each does and replies.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from twofold.backends.network import BULK, MANY, Command


def pack(*parts: bytes) -> bytes:
    """Return a command as an array of bulk strings."""
    return b"*%d\r\n%b" % (len(parts), bulk_strings(parts))


def bulk_strings(parts: Sequence[bytes]) -> bytes:
    """Return some parts of a command."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def life(ttl: float | None) -> bytes:
    """Return a life in whole milliseconds, such as a server can add to its time; "" for ever."""
    return b"" if ttl is None else b"%d" % max(1, min(round(ttl * 1000), _LONGEST))


_LONGEST: Final = 2**53


def get(key: str, reads: bool = True) -> Command:
    """Reply: the value, or None."""
    packed = f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode("ascii")
    return tuple.__new__(Command, (packed, key, reads, False, ()))  # twice as fast as Command()


def mget(keys: Sequence[str], reads: bool = True) -> Command:
    """Reply: a list of what `get` replies."""
    parts = "".join([f"${len(key)}\r\n{key}\r\n" for key in keys])
    packed = f"*{len(keys) + 1}\r\n$4\r\nMGET\r\n{parts}".encode("ascii")
    return tuple.__new__(Command, (packed, keys[0], reads, len(keys) >= MANY, ()))


def look(key: str) -> tuple[bytes, tuple[bytes, bytes]]:
    """Return what `get` and `pttl` send, as one and each."""
    name = f"${len(key)}\r\n{key}\r\n"
    packed = f"*2\r\n$3\r\nGET\r\n{name}*2\r\n$4\r\nPTTL\r\n{name}".encode("ascii")
    half = len(packed) // 2  # the second is longer by the one letter
    return packed, (packed[:half], packed[half:])


def pttl(key: str, reads: bool = True) -> Command:
    """Reply: the milliseconds that are left, -1 for ever, -2 if the key is missing."""
    packed = f"*2\r\n$4\r\nPTTL\r\n${len(key)}\r\n{key}\r\n".encode("ascii")
    return tuple.__new__(Command, (packed, key, reads, False, ()))


def set(key: str, value: bytes, ttl: float | None) -> Command:  # noqa: A001 - its name
    """Reply: `b"OK"`."""
    return _set(key, value, _expiry(ttl))


def set_many(items: Mapping[str, bytes], ttl: float | None) -> list[Command]:
    """Return what `set` does, for each of `items`."""
    expiry = _expiry(ttl)
    return [_set(key, value, expiry) for key, value in items.items()]


def _set(key: str, value: bytes, expiry: bytes) -> Command:
    packed = b"*%d\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (
        5 if expiry else 3,
        len(key),
        key.encode("ascii"),
        len(value),
        value,
        expiry,
    )
    return tuple.__new__(Command, (packed, key, False, len(packed) >= BULK, ()))


def _expiry(ttl: float | None) -> bytes:
    """Return the two parts that limit a life; none for ever."""
    left = life(ttl)
    return b"$2\r\nPX\r\n$%d\r\n%b\r\n" % (len(left), left) if left else b""


def add(key: str, value: bytes, ttl: float | None) -> Command:
    """Reply: None if it was added, else the value that is there."""
    expiry = () if ttl is None else (b"PX", life(ttl))
    packed = pack(b"SET", key.encode(), value, *expiry, b"NX", b"GET")
    return Command(packed, key, bulk=len(packed) >= BULK)


def scan(cursor: bytes, pattern: str, count: int = 1000) -> bytes:
    """Reply: the next cursor, `b"0"` at the end, and those of some `count` keys that match."""
    return pack(b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", b"%d" % count)


def beginning(prefix: str) -> str:
    """Return the pattern of what begins with `prefix`."""
    return prefix.translate(_ESCAPED) + "*"


_ESCAPED: Final = {ord(each): f"\\{each}" for each in "*?[]\\^-"}


ASKING: Final = pack(b"ASKING")
"""Reply: `b"OK"`; the next command may be on a slot that is on its way to this server."""

CLUSTER_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")
"""Reply: a list of lists: first slot, last slot, the primary's address, those of replicas."""

FLUSH: Final = pack(b"FLUSHDB", b"ASYNC")
"""Reply: `b"OK"`."""

INFO: Final = pack(b"INFO")
"""Reply: lines of `name:value`."""

CLIENTS_LIMIT: Final = pack(b"CONFIG", b"GET", b"maxmemory-clients")
"""Reply: a name and a value, nothing before Redis 7."""

EVAL: Final = pack(b"EVAL", b"return 1", b"0")
"""Reply: 1, if scripts may be run."""

ROLE: Final = pack(b"ROLE")
"""Reply: a list that begins with `b"master"`, `b"slave"` or the like."""

HELLO: Final = pack(b"HELLO", b"3", b"SETNAME", b"twofold-watch")
"""Reply: a map; from here on the protocol is RESP3."""

CLUSTER_INFO: Final = pack(b"CLUSTER", b"INFO")
"""Reply: lines of `name:value`."""


def track(prefixes: Sequence[str]) -> bytes:
    """Reply: `b"OK"`; from there on changes to keys with one of `prefixes`, too, are pushed."""
    named = [part for each in prefixes for part in (b"PREFIX", each.encode())]
    return pack(b"CLIENT", b"TRACKING", b"ON", b"BCAST", *named)


PING: Final = pack(b"PING")
"""Reply: `b"PONG"`."""
