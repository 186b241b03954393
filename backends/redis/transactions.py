"""What the scripts do, by WATCH, MULTI and EXEC: for users and servers that forbid scripts.

https://redis.io/docs/latest/develop/using-commands/transactions/ tells how. What is read is
read again if it has been changed until EXEC, so that this is as atomic as a script.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from twofold.backends.network import Reply, ReplyError, Server
from twofold.backends.network.batches import Batch
from twofold.backends.redis import scripts
from twofold.backends.redis.commands import pack
from twofold.backends.redis.scripts import DESCRIBED
from twofold.metadata import HEAD_SIZE, has_metadata
from twofold.stub import is_stub

CHANGED: Final = object()
"""Instead of a reply: what was read has been changed."""

_MULTI: Final = pack(b"MULTI")
_QUEUED: Final = pack(b"QUEUED")  # stands for what is between MULTI and EXEC, as its reply does
_EXEC: Final = pack(b"EXEC")
_UNWATCH: Final = pack(b"UNWATCH")

_LAST: Final = object()  # the reply is that of the last write
_MISSING: Final = -2  # the life of a missing key


class Found(NamedTuple):
    """What stands under a key."""

    key: bytes
    value: Reply
    """All of it, or how it begins; an error if it is no string."""
    life: int
    """Milliseconds, as `PTTL` replies."""

    @property
    def is_missing(self) -> bool:
        """Whether no value is there."""
        return self.life == _MISSING or is_stub(self.value)

    @property
    def is_described(self) -> bool:
        """Whether a value is there that has metadata."""
        return has_metadata(self.value)


class Plan(NamedTuple):
    """What to do about what was found."""

    reply: Reply
    """What the script would reply."""
    writes: Sequence[bytes] = ()
    queued: bool = True
    """Whether they happen only if what was found has not been changed."""


def _put(key: bytes, value: bytes, life: bytes) -> bytes:
    return pack(b"SET", key, value, *([b"PX", life] if life else []))


def _unless_described(plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """Have what has metadata left as it is."""
    return lambda found, *args: Plan(DESCRIBED) if found.is_described else plan(found, *args)


@_unless_described
def _add(found: Found, value: bytes, life: bytes) -> Plan:
    return Plan(None, [_put(found.key, value, life)]) if found.is_missing else Plan(b"")


def _get_or_claim(found: Found, stub: bytes, life: bytes) -> Plan:
    if found.life != _MISSING:
        return Plan(found.value)
    return Plan(None, [_put(found.key, stub, life)])


@_unless_described
def _touch(found: Found, life: bytes) -> Plan:
    if found.is_missing:
        return Plan(0)
    return Plan(1, [pack(b"PEXPIRE", found.key, life) if life else pack(b"PERSIST", found.key)])


@_unless_described
def _ttl(found: Found) -> Plan:
    return Plan(_MISSING if found.is_missing else found.life)


@_unless_described
def _has(found: Found) -> Plan:
    return Plan(int(not found.is_missing))


def _delete(*found: Found) -> Plan:
    heads = [each.value for each in found if each.is_described]
    count = sum(not each.is_missing for each in found) - len(heads)
    # A full server queues nothing, and a key must be removed whatever it holds by now.
    return Plan(
        [count, *heads] if heads else count,
        [pack(b"UNLINK", *[each.key for each in found])],
        queued=False,
    )


def _set_and_delete(found: Found, *others_and_value: Any) -> Plan:
    *others, value = others_and_value
    unlink = pack(b"UNLINK", found.key, *[each.key for each in others])
    # One behind the other, since a full server queues nothing.
    return Plan(b"OK", [unlink, pack(b"SET", found.key, value)], queued=False)


@_unless_described
def _incr(found: Found, delta: bytes) -> Plan:
    if found.is_missing:
        return Plan(None)
    return Plan(_LAST, [pack(b"INCRBY", found.key, delta), pack(b"GET", found.key)])


def _compare_and_set(found: Found, value: bytes, life: bytes, expected: bytes) -> Plan:
    return Plan(1, [_put(found.key, value, life)]) if found.value == expected else Plan(0)


def _replace(found: Found, value: bytes, expected: bytes) -> Plan:
    if found.value != expected:
        return Plan(0)
    return Plan(1, [pack(b"SET", found.key, value, b"KEEPTTL")])


def _renew(found: Found, stub: bytes, life: bytes) -> Plan:
    return Plan(1, [pack(b"PEXPIRE", found.key, life)]) if found.value == stub else Plan(0)


def _compare_and_delete(found: Found, expected: bytes) -> Plan:
    return Plan(1, [pack(b"UNLINK", found.key)]) if found.value == expected else Plan(0)


_PLANS: Final[dict[bytes, Callable[..., Plan]]] = {
    scripts.ADD.text: _add,
    scripts.GET_OR_CLAIM.text: _get_or_claim,
    scripts.TOUCH.text: _touch,
    scripts.TTL.text: _ttl,
    scripts.HAS.text: _has,
    scripts.DELETE.text: _delete,
    scripts.SET_AND_DELETE.text: _set_and_delete,
    scripts.INCR.text: _incr,
    scripts.FILL.text: _compare_and_set,
    scripts.RENEW.text: _renew,
    scripts.COMPARE_AND_SET.text: _compare_and_set,
    scripts.REPLACE.text: _replace,
    scripts.COMPARE_AND_DELETE.text: _compare_and_delete,
}
_WHOLE: Final = (
    scripts.GET_OR_CLAIM,
    scripts.COMPARE_AND_SET,
    scripts.REPLACE,
    scripts.COMPARE_AND_DELETE,
)
_READS_WHOLE: Final = frozenset({script.text for script in _WHOLE})
"""Those that need all of a value, not how it begins."""


class Transaction:
    """One attempt to do what a script does.

    Args:
        script: the parts of the EVAL: its name, the text, the number of keys, keys, arguments.
    """

    def __init__(self, script: Sequence[bytes]) -> None:
        _, text, count, *rest = script
        self._plan = _PLANS[text]
        self._reads_whole = text in _READS_WHOLE
        self._keys, self._arguments = rest[: int(count)], rest[int(count) :]
        self._reply: Reply = None

    def reads(self, server: Server) -> Batch:
        """Return what to begin with."""
        keys = self._keys
        return _batch(server, [pack(b"WATCH", *keys), *map(self._read, keys), *map(_pttl, keys)])

    def _read(self, key: bytes) -> bytes:
        if self._reads_whole:
            return pack(b"GET", key)
        return pack(b"GETRANGE", key, b"0", b"%d" % (HEAD_SIZE - 1))

    def plan(self, replies: Sequence[Reply]) -> Plan:
        """Return what to do, by the replies to `reads`."""
        for each in replies:
            if type(each) is ReplyError and each.code != "WRONGTYPE":
                return Plan(each)
        count = len(self._keys)
        values, lives = replies[1 : 1 + count], replies[1 + count :]
        return self._plan(*map(Found, self._keys, values, lives), *self._arguments)

    def writes(self, server: Server, replies: Sequence[Reply]) -> Batch:
        """Return what to send then; what only reads has an empty transaction, as a check."""
        self._reply, writes, queued = self.plan(replies)
        if not queued:
            return _batch(server, [*writes, _UNWATCH])
        parts = [_MULTI, *[_QUEUED] * len(writes), _EXEC]
        return _batch(server, [_MULTI, *writes, _EXEC], parts)

    def reply(self, replies: Sequence[Reply]) -> Reply:
        """Return the script's reply, an error, or `CHANGED`, by the replies to `writes`."""
        if type(self._reply) is ReplyError:
            return self._reply
        done = replies[-1]
        for each in (*replies, *(done or ())) if type(done) is list else replies:
            if type(each) is ReplyError:
                return each  # the first is the cause of others
        if done is None:
            return CHANGED
        return done[-1] if self._reply is _LAST else self._reply


def _pttl(key: bytes) -> bytes:
    return pack(b"PTTL", key)


def _batch(server: Server, packed: Sequence[bytes], parts: Sequence[bytes] | None = None) -> Batch:
    return Batch(server, b"".join(packed), parts or packed)
