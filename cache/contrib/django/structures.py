"""What sets, hashes and sorted sets have in common: how they are asked for, and what is in them.

They are data beside the cache, as django-redis has them, and nothing but Redis has such: none of
the rules of caching holds for them, but that they are under the cache's prefix, and that an outage
is as if nothing was there. `expire`, `ttl`, `delete`, `delete_pattern` and `clear` know them.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from twofold.codecs.msgpack import Msgpack
from twofold.contrib.django.base import TwofoldCache
from twofold.errors import BackendUnavailable, CannotSerialize

_MARK = b"\xc1"  # neither UTF-8 nor MessagePack has it

_msgpack = Msgpack()


class Structures(Protocol):
    """A store that has them."""

    def structure(self, name: bytes, keys: Sequence[str], *parts: bytes) -> Any:
        """Return the reply to a command."""

    async def astructure(self, name: bytes, keys: Sequence[str], *parts: bytes) -> Any:
        """Do what `structure` does."""


class StructuredCache(TwofoldCache):
    """What asks for sets and the like, in both faces."""

    def _ask(self, name: bytes, keys: Sequence[str], *parts: bytes, nothing: Any) -> Any:
        """Return the reply to a command; `nothing` in an outage that is a miss."""
        cache = self.cache
        if cache._guard is not None:
            cache._guard(name.decode().lower())
        try:
            reply = cast("Structures", cache.backend).structure(name, keys, *parts)
        except BackendUnavailable as error:
            if not cache._noted(error):
                raise
            return nothing
        finally:
            self._drop_near(name, keys)
        cache._reached()
        return reply

    async def _aask(self, name: bytes, keys: Sequence[str], *parts: bytes, nothing: Any) -> Any:
        cache = self.cache
        try:
            reply = await cast("Structures", cache.backend).astructure(name, keys, *parts)
        except BackendUnavailable as error:
            if not cache._noted(error):
                raise
            return nothing
        finally:
            self._drop_near(name, keys)
        cache._reached()
        return reply

    def _drop_near(self, name: bytes, keys: Sequence[str]) -> None:
        """Drop the copy of a value that a set may have replaced, whatever came of the command."""
        near = self.cache._near
        if near is not None and name.endswith(b"STORE"):
            near.tier.drop(keys[:1])

    def _at(self, *keys: Any, version: int | None = None) -> list[str]:
        """Return the full keys of structures."""
        return [self.cache._key(self.make_and_validate_key(key, version), None) for key in keys]


def packed(member: Any) -> bytes:
    """Return the bytes of a member; equal ones have the same, in every process.

    Text is itself, for patterns and other programs; all else is marked MessagePack.

    Raises:
        CannotSerialize: its bytes would not be the same each time, or it is no plain value.
    """
    if isinstance(member, str):
        try:
            return member.encode()
        except UnicodeEncodeError:
            pass
    elif not _is_hashable(member) or _is_unordered(member):
        raise CannotSerialize(
            f"a {type(member).__name__} that can be changed, or has no order, is no member: use a"
            " tuple of what is in it, sorted where it has no order"
        )
    return _MARK + _msgpack.dumps(member)


def unpacked(data: bytes) -> Any:
    """Return a member; the bytes themselves if another program has written what is none of ours."""
    try:
        member = _msgpack.loads_foreign(data[1:]) if data[:1] == _MARK else data.decode()
    except ValueError:
        return data
    return member if _is_hashable(member) else data


def number(score: float | str) -> bytes:
    """Return a score, or a bound of scores such as "-inf" or "(5", as the server reads it."""
    return (score if isinstance(score, str) else repr(score)).encode()


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_unordered(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_unordered, value))
    return isinstance(value, frozenset)
