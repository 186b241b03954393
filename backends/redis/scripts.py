"""What takes several steps on the server, as Lua scripts, so that it is one command and atomic.

To a script, as to the operations that it stands for, a stub (see `twofold.stub`) is a missing
value. Only what is compared with one meets it. A value that has metadata is left alone, but by
`DELETE`, which returns how it began.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Final

from twofold import counter, metadata
from twofold.backends.network import BULK, MANY, Command
from twofold.backends.redis.commands import bulk_strings, life, pack
from twofold.stub import STUB_MAGIC, STUB_SIZE


class Script:
    """A Lua script, sent by its digest."""

    def __init__(self, text: str) -> None:
        self.text: bytes = text.encode()
        self.digest: bytes = sha1(self.text, usedforsecurity=False).hexdigest().encode()
        self._begin = bulk_strings((b"EVALSHA", self.digest, b"1"))

    def call(self, key: str, *arguments: bytes, reads: bool = False) -> Command:
        """Return the command that runs it on one key."""
        rest = (key.encode("ascii"), *arguments)
        packed = b"*%d\r\n%b%b" % (len(rest) + 3, self._begin, bulk_strings(rest))
        script = (b"EVAL", self.text, b"1", *rest)
        return tuple.__new__(Command, (packed, key, reads, len(packed) >= BULK, script))

    def call_many(self, keys: Sequence[str], *arguments: bytes) -> Command:
        """Return the command that runs it on `keys`, which are of one server."""
        rest = (b"%d" % len(keys), *[key.encode("ascii") for key in keys], *arguments)
        packed = pack(b"EVALSHA", self.digest, *rest)
        bulk = len(keys) >= MANY or len(packed) >= BULK
        return Command(packed, keys[0], False, bulk, (b"EVAL", self.text, *rest))


DESCRIBED: Final = -3
"""Instead of any other reply: what is there has metadata, and is as it was."""

_BEGINNINGS: Final = ",".join(
    "['" + "".join(f"\\{byte:03d}" for byte in each) + "']=true"
    for each in sorted(metadata.DESCRIBED)
)

# An error but WRONGTYPE, such as of a user who may not do that, is raised by asking again.
_HEAD: Final = f"""
local function head_of(key)
  local head = redis.pcall('GETRANGE', key, 0, {metadata.HEAD_SIZE - 1})
  if type(head) == 'string' then return head end
  if not head.err:find('WRONGTYPE', 1, true) then redis.call('GETRANGE', key, 0, 0) end
  return ''
end
local function is_stub(head) return #head == {STUB_SIZE} and head:byte() == {STUB_MAGIC[0]} end
local beginnings = {{{_BEGINNINGS}}}
local function is_described(head) return beginnings[head:sub(1, 3)] end
"""

_LOOK: Final = f"""{_HEAD}
local head = head_of(KEYS[1])
if is_described(head) then return {DESCRIBED} end
"""

_PUT: Final = """
if ARGV[2] == '' then redis.call('SET', KEYS[1], ARGV[1])
else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
"""

ADD: Final = Script(f"""{_LOOK}
if redis.call('EXISTS', KEYS[1]) == 1 and not is_stub(head) then return '' end
{_PUT}
return false
""")
"""Put ARGV[1] for ARGV[2] milliseconds, for ever if that is empty, where nothing is; else ""."""

GET_OR_CLAIM: Final = Script(f"""
local found = redis.pcall('GET', KEYS[1])
if found then return found end
{_PUT}
return false
""")
"""Return what is there, or put ARGV[1] for ARGV[2] milliseconds."""

TOUCH: Final = Script(f"""{_LOOK}
if is_stub(head) then return 0 end
if ARGV[1] ~= '' then return redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
redis.call('PERSIST', KEYS[1])
return redis.call('EXISTS', KEYS[1])
""")
"""Give a life of ARGV[1] milliseconds, for ever if that is empty."""

TTL: Final = Script(f"""{_LOOK}
if is_stub(head) then return -2 end
return redis.call('PTTL', KEYS[1])
""")
"""Return the milliseconds left, as `PTTL` does."""

HAS: Final = Script(f"""{_LOOK}
if is_stub(head) then return 0 end
return redis.call('EXISTS', KEYS[1])
""")
"""Tell whether something is there."""

DELETE: Final = Script(f"""{_HEAD}
local reply = {{0}}
for _, key in ipairs(KEYS) do
  local head = head_of(key)
  local removed = redis.call('UNLINK', key)
  if is_described(head) then reply[#reply + 1] = head
  elseif not is_stub(head) then reply[1] = reply[1] + removed end
end
if #reply == 1 then return reply[1] end
return reply
""")
"""Remove all KEYS, and count the values; those that have metadata are a list behind the number."""

SET_AND_DELETE: Final = Script("""
for n = 1, #KEYS do redis.call('UNLINK', KEYS[n]) end
return redis.pcall('SET', KEYS[1], ARGV[1])
""")
"""Remove all keys, then put ARGV[1] for ever under the first, unless memory is full."""

INCR: Final = Script(f"""{_HEAD}
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) ~= 'table' then return redis.call('GET', KEYS[1]) end
local head = head_of(KEYS[1])
if is_described(head) then return {DESCRIBED} end
if is_stub(head) then return false end
return sum
""")
"""Add ARGV[1]; nil for a missing key. The sum is text: Lua's numbers have 53 bits."""

FILL: Final = Script(f"""
if redis.pcall('GETRANGE', KEYS[1], 0, {STUB_SIZE}) ~= ARGV[3] then return 0 end
{_PUT}
return 1
""")
"""Where the stub ARGV[3] stands, put ARGV[1] for ARGV[2] milliseconds; for ever if that is empty.

Whatever else stands there may be large, and is not read."""

RENEW: Final = Script(f"""
if redis.pcall('GETRANGE', KEYS[1], 0, {STUB_SIZE}) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""Where the stub ARGV[1] stands, give it a life of ARGV[2] milliseconds."""

COMPARE_AND_SET: Final = Script(f"""
if redis.pcall('GET', KEYS[1]) ~= ARGV[3] then return 0 end
{_PUT}
return 1
""")
"""Where ARGV[3] stands, put ARGV[1] for ARGV[2] milliseconds; for ever if that is empty."""

REPLACE: Final = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
return 1
""")
"""Where ARGV[2] stands, put ARGV[1], with the life that is left."""

COMPARE_AND_DELETE: Final = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
""")
"""Remove ARGV[1] where it stands."""


def add(key: str, value: bytes, ttl: float | None) -> Command:
    """Reply: None if it was added, else `b""`."""
    return ADD.call(key, value, life(ttl))


def get_or_claim(key: str, stub: bytes, ttl: float) -> Command:
    """Reply: None if the key was claimed, else its value."""
    return GET_OR_CLAIM.call(key, stub, life(ttl))


def touch(key: str, ttl: float | None) -> Command:
    """Reply: 1 or 0."""
    return TOUCH.call(key, life(ttl))


def ttl(key: str) -> Command:
    """Reply: milliseconds, -1 for ever, -2 for a missing key."""
    return TTL.call(key, reads=True)


def has(key: str) -> Command:
    """Reply: 1 or 0."""
    return HAS.call(key, reads=True)


def delete(key: str) -> Command:
    """Reply: 1 or 0, or a list of a 0 and how what had metadata began."""
    return DELETE.call(key)


def delete_many(keys: Sequence[str]) -> Command:
    """Reply: how many were there; before those that had metadata, in a list."""
    return DELETE.call_many(keys)


def set_and_delete(key: str, value: bytes, keys: Sequence[str]) -> Command:
    """Reply: `b"OK"`, or why the value was not stored."""
    return SET_AND_DELETE.call_many([key, *keys], value)


def incr(key: str, delta: int) -> Command:
    """Reply: the sum as text, or None for a missing key."""
    return INCR.call(key, counter.write(delta))


def fill(key: str, stub: bytes, value: bytes, ttl: float | None) -> Command:
    """Reply: 1 or 0."""
    return FILL.call(key, value, life(ttl), stub)


def renew(key: str, stub: bytes, ttl: float) -> Command:
    """Reply: 1 or 0."""
    return RENEW.call(key, stub, life(ttl))


def compare_and_set(key: str, expected: bytes, value: bytes, ttl: float | None) -> Command:
    """Reply: 1 or 0."""
    return COMPARE_AND_SET.call(key, value, life(ttl), expected)


def replace(key: str, expected: bytes, value: bytes) -> Command:
    """Reply: 1 or 0."""
    return REPLACE.call(key, value, expected)


def compare_and_delete(key: str, expected: bytes) -> Command:
    """Reply: 1 or 0."""
    return COMPARE_AND_DELETE.call(key, expected)
