"""Commands of the text protocol, as the server reads them.

https://github.com/memcached/memcached/blob/master/doc/protocol.txt tells what each does
and replies.
"""

import re
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

from twofold.backends.memcached import stored
from twofold.backends.network import BULK, MANY, Command
from twofold.errors import InvalidKey
from twofold.keys.kinds import is_lock

_MONTH: Final = 30 * 86400  # seconds that are a life; more are a time since 1970
_IN_1970: Final = _MONTH + 1  # a life that is over; proxies know of none below 0
_LAST: Final = 2**31 - 1  # seconds since 1970 that a server can tell

is_key: Callable[[bytes], object] = re.compile(rb"[!-~]{1,250}").fullmatch
"""What the protocol takes for one key; the server would read what follows any other as commands."""


def expiry(key: str, ttl: float | None, now: float) -> int:
    """Return a life as the server wants it: whole seconds, rounded up, 0 for ever.

    One that ends after 2038, as the server cannot express, is for ever. A lock's is a second
    longer: the server's clock ticks once in a second, and would end it too early.
    """
    if ttl is None or ttl > _LAST:
        return 0
    seconds = max(1, ceil(ttl) + is_lock(key))
    if seconds <= _MONTH:
        return seconds
    return until if (until := int(now) + seconds) <= _LAST else 0


def get(key: str) -> Command:
    """Reply: a dict of the value, if there is one."""
    packed = f"get {key}\r\n".encode("ascii")
    return tuple.__new__(Command, (packed, key, True, False, ()))  # twice as fast as Command()


def get_many(keys: Sequence[str]) -> Command:
    """Reply: a dict of the values that are there; the keys must be one server's."""
    return Command(f"get {' '.join(keys)}\r\n".encode("ascii"), keys[0], True, len(keys) >= MANY)


def gets(key: str) -> Command:
    """Reply: a dict of an `Item`, if there is one."""
    return Command(f"gets {key}\r\n".encode("ascii"), key, True)


def set(key: str, value: bytes, expiry: int) -> Command:  # noqa: A001 - its name
    """Reply: `b"STORED"`."""
    return _store("set", key, value, expiry)


def add(key: str, value: bytes, expiry: int) -> Command:
    """Reply: `b"STORED"`, or `b"NOT_STORED"` if the key is not missing."""
    return _store("add", key, value, expiry)


def cas(key: str, value: bytes, expiry: int, unique: int) -> Command:
    """Reply: `b"STORED"`, `b"EXISTS"` if the value is another by now, or `b"NOT_FOUND"`."""
    return _store("cas", key, value, expiry, f" {unique}")


def cas_away(key: str, unique: int) -> Command:
    """Reply: as `cas`; what it stores is past its time at once."""
    return _store("cas", key, b"", _IN_1970, f" {unique}")


def _store(verb: str, key: str, value: bytes, expiry: int, unique: str = "") -> Command:
    if not key.isascii() or not is_key(key.encode()):
        raise InvalidKey(
            f"{key!r} is no key for memcached: give 1 to 250 printable ASCII, no blank"
        )
    flags, data = stored.write(value)
    head = f"{verb} {key} {flags} {expiry} {len(data)}{unique}\r\n".encode("ascii")
    packed = b"%b%b\r\n" % (head, data)
    return Command(packed, key, bulk=len(packed) >= BULK)


def delete(key: str) -> Command:
    """Reply: `b"DELETED"` or `b"NOT_FOUND"`."""
    return Command(f"delete {key}\r\n".encode("ascii"), key)


def incr(key: str, delta: int) -> Command:
    """Reply: the digits of the sum, in unsigned 64 bits; or `b"NOT_FOUND"`."""
    return Command(f"incr {key} {delta % stored.WRAP}\r\n".encode("ascii"), key)


def look(key: str) -> Command:
    """Reply: `b"HD f0 c7 t30"`, which are flags, number and life, t-1 for ever; or `b"EN"`.

    From 1.6 on.
    """
    return Command(f"mg {key} f c t\r\n".encode("ascii"), key, True)


def look_inside(key: str) -> Command:
    """Reply: a dict of a `Lasting`; or `b"EN kkey"`, or `b"EN"` of an older server. From 1.6 on."""
    return Command(f"mg {key} k f t v\r\n".encode("ascii"), key, True)


def touch(key: str, expiry: int) -> Command:
    """Reply: as to `look`, with the life that was; from 1.6 on."""
    return Command(f"mg {key} f c t T{expiry}\r\n".encode("ascii"), key)


VERSION: Final = b"version\r\n"
"""Reply: `b"VERSION 1.6.18"`."""

SETTINGS: Final = b"stats settings\r\n"
"""Reply: a list of lines such as `b"STAT item_size_max 1048576"`."""


def settings(key: str, bulk: bool) -> Command:
    """Reply: as to `SETTINGS`, of the server that has `key`; on the way that `bulk` goes."""
    return Command(SETTINGS, key, True, bulk)


FLUSH: Final = b"flush_all\r\n"
"""Reply: `b"OK"`."""

SCAN: Final = b"lru_crawler metadump hash\r\n"
"""Reply: a list of `b"key=..."` for all items, or `b"BUSY ..."`."""

SCAN_BY_CLASS: Final = b"lru_crawler metadump all\r\n"
"""The same of an older server."""
