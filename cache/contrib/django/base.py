"""What the drop-in backends have in common: Django's names, parameters and rules, in two faces.

Keys are Django's own. Connections, which Django's objects leave to each thread or request, are
shared: see `stores`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from twofold.contrib.django.lives import LivingCache
from twofold.contrib.django.pickles import needs_thread, pickled
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import (
    CannotSerialize,
    PartlyUnavailable,
    SettingsError,
)
from twofold.timeouts import Timeout

T = TypeVar("T")


class TwofoldCache(LivingCache):
    """What the drop-in backends have in common; a subclass names the store.

    Timeouts may also be a `timedelta` or text like "10m". Outages are misses, logged
    as they begin and end (`OPTIONS["on_error"] = "raise"` makes them errors); a sync call in a
    running event loop warns (`OPTIONS["blocking_calls"]`).
    """

    def get(
        self,
        key: Any,
        default: Any = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Any:
        """Return the value of `key`, or `default`; None is a hit, a stale one if `allow_stale`."""
        full = self.make_and_validate_key(key, version)
        return self.cache.get(full, default, allow_stale=allow_stale)

    async def aget(
        self,
        key: Any,
        default: Any = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Any:
        full = self.make_and_validate_key(key, version)
        return await self.cache.aget(full, default, allow_stale=allow_stale)

    def get_many(
        self, keys: Iterable[Any], version: int | None = None, *, allow_stale: bool = False
    ) -> dict[Any, Any]:
        """Return the values of those of `keys` that are there, in one round trip."""
        names = self._names(keys, version)
        try:
            return _renamed(names, self.cache.get_many(names, allow_stale=allow_stale))
        except PartlyUnavailable as error:
            error.result = _renamed(names, error.result)
            raise

    async def aget_many(
        self, keys: Iterable[Any], version: int | None = None, *, allow_stale: bool = False
    ) -> dict[Any, Any]:
        names = self._names(keys, version)
        try:
            return _renamed(names, await self.cache.aget_many(names, allow_stale=allow_stale))
        except PartlyUnavailable as error:
            error.result = _renamed(names, error.result)
            raise

    def set(  # type: ignore[override]  # Django's returns nothing
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store `value`, and return whether there was room; if not, the older one is removed.

        With `stale` it is kept for as long as that after its timeout; see `get`. With `tags` it
        can be invalidated together with others, see `invalidate_tags`.
        """
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        done = self.cache.set(full, value, life, stale=stale, tags=tags)
        if not done and self.cache.available:
            self.cache.delete(full)
        return done

    async def aset(  # type: ignore[override]
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        pinned = await self._pinned(tags, life, stale)
        done = await pickled_if_lazy(
            lambda v: self.cache.aset(full, v, life, stale=stale, tags=pinned), value
        )
        if not done and self.cache.available:
            await self.cache.adelete(full)
        return done

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> list[Any]:
        """Store all of `data` in one round trip, and return the keys that failed."""
        names, life = self._names(data, version), self._life(timeout)
        items = {full: data[key] for full, key in names.items()}
        failed = self.cache.set_many(items, life, stale=stale, tags=tags)
        if failed and self.cache.available:
            self.cache.delete_many(failed)
        return [names[full] for full in failed]

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> list[Any]:
        names, life = self._names(data, version), self._life(timeout)
        items = {full: data[key] for full, key in names.items()}
        pinned = await self._pinned(tags, life, stale)
        try:
            failed = await self.cache.aset_many(items, life, stale=stale, tags=pinned)
        except CannotSerialize as error:
            if not needs_thread(error):
                raise
            lazy = {full: await pickled(value) for full, value in items.items()}
            failed = await self.cache.aset_many(lazy, life, stale=stale, tags=pinned)
        if failed and self.cache.available:
            await self.cache.adelete_many(failed)
        return [names[full] for full in failed]

    def add(
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store `value` only if `key` is missing, and return whether it was."""
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        if life == 0:
            return not self.cache.has_key(full)
        return self.cache.add(full, value, life, stale=stale, tags=tags)

    async def aadd(
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        if life == 0:
            return not await self.cache.ahas_key(full)
        pinned = await self._pinned(tags, life, stale)
        return await pickled_if_lazy(
            lambda v: self.cache.aadd(full, v, life, stale=stale, tags=pinned), value
        )

    def touch(
        self, key: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Give `key` a new life, and return whether it was there."""
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        return self.cache.touch(full, life)

    async def atouch(
        self, key: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        return await self.cache.atouch(full, life)

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove `key`, and return whether it was there."""
        return self.cache.delete(self.make_and_validate_key(key, version))

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        return await self.cache.adelete(self.make_and_validate_key(key, version))

    def delete_many(  # type: ignore[override]  # Django's returns nothing
        self, keys: Iterable[Any], version: int | None = None
    ) -> int | None:
        """Remove `keys` in one round trip, and return how many were there; None without keys."""
        names = self._names(keys, version)
        return self.cache.delete_many(names) if names else None

    async def adelete_many(  # type: ignore[override]
        self, keys: Iterable[Any], version: int | None = None
    ) -> int | None:
        names = self._names(keys, version)
        return await self.cache.adelete_many(names) if names else None

    def invalidate_tags(self, *tags: str, keep_stale: bool = False) -> None:
        """Make all entries invalid that have one of `tags`, in all versions of this prefix.

        What is being computed now under one of them is invalid as well. With `keep_stale` they
        are stale instead; see `twofold.Cache.invalidate_tags`.
        """
        self.cache.invalidate_tags(*tags, keep_stale=keep_stale)

    async def ainvalidate_tags(self, *tags: str, keep_stale: bool = False) -> None:
        await self.cache.ainvalidate_tags(*tags, keep_stale=keep_stale)

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether `key` is there."""
        return self.cache.has_key(self.make_and_validate_key(key, version))

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        return await self.cache.ahas_key(self.make_and_validate_key(key, version))

    def __contains__(self, key: Any) -> bool:
        return self.has_key(key)

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add `delta`, atomically, keeping the expiry; raise ValueError if `key` is missing."""
        return self.cache.incr(self.make_and_validate_key(key, version), delta)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self.cache.aincr(self.make_and_validate_key(key, version), delta)

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move the value of `key`, with its life and tags, `delta` versions on; return the new one.

        Raises:
            ValueError: `key` is missing.
        """
        if self.cache._guard is not None:
            self.cache._guard("incr_version")
        return run_sync(self._move(BLOCKING, key, delta, version))

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._move(NATIVE, key, delta, version)

    def decr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move the value of `key` `delta` versions back; see `incr_version`."""
        if self.cache._guard is not None:
            self.cache._guard("decr_version")
        return run_sync(self._move(BLOCKING, key, -delta, version))

    async def adecr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._move(NATIVE, key, -delta, version)

    async def _move(self, io: Effects, key: Any, delta: int, version: int | None) -> int:
        cache, there = self.cache, (self.version if version is None else version) + delta
        old, new = (cache._key(self.make_and_validate_key(key, each)) for each in (version, there))
        await cache._move_to(io, key, old, new, there)
        return there

    def clear(self) -> None:
        """Remove every entry of this prefix, in all versions, or what `OPTIONS["clear"]` says.

        Raises:
            SettingsError: a `KEY_FUNCTION` makes keys without that prefix.
        """
        if self.cache.flushes:
            self.cache.clear()
        else:
            self.cache.clear_prefix(self._scope())

    async def aclear(self) -> None:
        if self.cache.flushes:
            await self.cache.aclear()
        else:
            await self.cache.aclear_prefix(self._scope())

    def close(self, **kwargs: Any) -> None:
        """Do nothing: Django calls this at the end of each request, and connections stay.

        `twofold.contrib.django.close_all()` closes them.
        """

    async def aclose(self, **kwargs: Any) -> None:
        """Do what `close` does: nothing."""

    async def _pinned(
        self, tags: Iterable[str], life: float | None, stale: Timeout
    ) -> Iterable[str]:
        """Return tags that count from now on, also while a lazy value asks the database."""
        if not tags or life == 0:
            return ()
        return await self.cache._pinned(NATIVE, tags, life, stale)

    def _scope(self) -> str:
        """Return what the keys of this cache begin with."""
        if not self.can_clear:
            raise SettingsError(
                f"CACHES[{self.cache.alias!r}]: with a KEY_FUNCTION, or a KEY_PREFIX that is not"
                " plain ASCII without blanks, the keys have no common prefix to clear by;"
                ' OPTIONS["clear"] = "flush" lets clear() empty the whole store'
            )
        return f"{self.key_prefix}:"


def _renamed(names: Mapping[str, Any], found: Mapping[str, Any]) -> dict[Any, Any]:
    """Return what was found, by the caller's own keys."""
    return {names[full]: value for full, value in found.items()}


async def pickled_if_lazy(store: Callable[[Any], Awaitable[T]], value: Any) -> T:
    """Store `value`, pickled in a thread if that asks the database."""
    try:
        return await store(value)
    except CannotSerialize as error:
        if not needs_thread(error):
            raise
    return await store(await pickled(value))
