"""Commands as the server reads them, and the scripts that make some of them atomic.

https://redis.io/docs/latest/commands/ tells what each does and replies.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Final

from twofold import counter
from twofold.backends.network import BULK, MANY, Command


def pack(*parts: bytes) -> bytes:
    """Return a command as an array of bulk strings."""
    body = b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
    return b"*%d\r\n%b" % (len(parts), body)


def pack_keys(name: str, keys: Sequence[str]) -> bytes:
    """Return a command on keys, which are ASCII; half as dear as `pack`."""
    body = "".join([f"${len(key)}\r\n{key}\r\n" for key in keys])
    return f"*{len(keys) + 1}\r\n${len(name)}\r\n{name}\r\n{body}".encode("ascii")


def life(ttl: float | None) -> bytes:
    """Return a life in whole milliseconds, such as a server can add to its time; "" for ever."""
    return b"" if ttl is None else b"%d" % max(1, min(round(ttl * 1000), _LONGEST))


_LONGEST: Final = 2**53


def get(key: str) -> Command:
    """Reply: the value, or None."""
    packed = f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode("ascii")
    return tuple.__new__(Command, (packed, key, True, False, ()))  # twice as fast as Command()


def mget(keys: Sequence[str]) -> Command:
    """Reply: a list of what `get` replies."""
    return Command(pack_keys("MGET", keys), keys[0], True, len(keys) >= MANY)


def set(key: str, value: bytes, ttl: float | None) -> Command:  # noqa: A001 - its name
    """Reply: `b"OK"`."""
    return _set(key, value, ttl)


def add(key: str, value: bytes, ttl: float | None) -> Command:
    """Reply: `b"OK"`, or None if the key is not missing."""
    return _set(key, value, ttl, b"NX")


def _set(key: str, value: bytes, ttl: float | None, *how: bytes) -> Command:
    expiry = () if ttl is None else (b"PX", life(ttl))
    packed = pack(b"SET", key.encode(), value, *expiry, *how)
    return Command(packed, key, bulk=len(packed) >= BULK)


def touch(key: str, ttl: float | None) -> list[Command]:
    """Replies: 1 or 0 each, and one of them is 1 if the key is there."""
    if ttl is not None:
        return [Command(pack(b"PEXPIRE", key.encode(), life(ttl)), key)]
    # PERSIST replies 0 for a key without an expiry too.
    return [Command(pack_keys("PERSIST", [key]), key), exists(key)]


def pttl(key: str) -> Command:
    """Reply: milliseconds, -1 for ever, -2 for a missing key."""
    return Command(pack_keys("PTTL", [key]), key, True)


def exists(key: str) -> Command:
    """Reply: 1 or 0."""
    return Command(pack_keys("EXISTS", [key]), key, True)


def delete(key: str) -> Command:
    """Reply: 1 or 0."""
    return Command(pack_keys("UNLINK", [key]), key)


def delete_many(keys: Sequence[str]) -> Command:
    """Reply: how many were there."""
    return Command(pack_keys("UNLINK", keys), keys[0], bulk=len(keys) >= MANY)


def incr(key: str, delta: int) -> Command:
    """Reply: the sum as text, or None for a missing key."""
    return INCR.call(key, counter.write(delta))


def compare_and_set(key: str, expected: bytes, value: bytes, ttl: float | None) -> Command:
    """Reply: 1 or 0."""
    return COMPARE_AND_SET.call(key, expected, value, life(ttl))


def replace(key: str, expected: bytes, value: bytes) -> Command:
    """Reply: 1 or 0."""
    return REPLACE.call(key, expected, value)


def compare_and_delete(key: str, expected: bytes) -> Command:
    """Reply: 1 or 0."""
    return COMPARE_AND_DELETE.call(key, expected)


def scan(cursor: bytes, prefix: str) -> bytes:
    """Reply: the next cursor, `b"0"` at the end, and keys that begin with `prefix`."""
    pattern = prefix.translate(_ESCAPED).encode() + b"*"
    return pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"1000")


_ESCAPED: Final = {ord(each): f"\\{each}" for each in "*?[]\\^-"}


class Script:
    """A Lua script on one key, sent by its digest."""

    def __init__(self, text: str) -> None:
        self.text: bytes = text.encode()
        self.digest: bytes = sha1(self.text, usedforsecurity=False).hexdigest().encode()

    def call(self, key: str, *arguments: bytes) -> Command:
        """Return the command that runs it."""
        rest = (b"1", key.encode(), *arguments)
        packed = pack(b"EVALSHA", self.digest, *rest)
        again = (b"EVAL", self.text, *rest)
        return Command(packed, key, bulk=len(packed) >= BULK, script=again)


ASKING: Final = pack(b"ASKING")
"""Reply: `b"OK"`; the next command may be on a slot that is on its way to this server."""

CLUSTER_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")
"""Reply: a list of lists: first slot, last slot, the primary's address, those of replicas."""

FLUSH: Final = pack(b"FLUSHDB", b"ASYNC")
"""Reply: `b"OK"`."""

INFO: Final = pack(b"INFO")
"""Reply: lines of `name:value`."""

EVAL: Final = pack(b"EVAL", b"return 1", b"0")
"""Reply: 1, if scripts may be run."""

ROLE: Final = pack(b"ROLE")
"""Reply: a list that begins with `b"master"`, `b"slave"` or the like."""

PING: Final = pack(b"PING")
"""Reply: `b"PONG"`."""

INCR: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' then return sum end
return redis.call('GET', KEYS[1])
""")
"""Add ARGV[1]; nil for a missing key. The sum is text: Lua's numbers have 53 bits."""

COMPARE_AND_SET: Final = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
""")
"""Where ARGV[1] stands, put ARGV[2] for ARGV[3] milliseconds; for ever if that is empty."""

REPLACE: Final = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
""")
"""Where ARGV[1] stands, put ARGV[2], with the life that is left."""

COMPARE_AND_DELETE: Final = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
""")
"""Remove ARGV[1] where it stands."""
