"""What the drop-in backends have in common: Django's names, parameters and rules, in two faces.

Keys are Django's own. Connections, which Django's objects leave to each thread or request, are
shared: see `stores`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, ClassVar, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT,
    BaseCache,
    default_key_func,
)

from twofold.contrib.django.pickles import evaluated, needs_thread, pickled
from twofold.contrib.django.settings import claim_prefix, frozen, raw_keys, raw_settings
from twofold.contrib.django.stores import stores
from twofold.core import Cache
from twofold.errors import (
    CannotSerialize,
    InvalidTimeout,
    PartlyUnavailable,
    ReentrantCall,
    SettingsError,
)
from twofold.keys import many, normalise
from twofold.timeouts import Timeout, seconds

T = TypeVar("T")


class TwofoldCache(BaseCache):
    """What the drop-in backends have in common; a subclass names the store.

    Timeouts may also be a `timedelta` or text like "10m". Outages are misses, logged
    as they begin and end (`OPTIONS["on_error"] = "raise"` makes them errors); a sync call in a
    running event loop warns (`OPTIONS["blocking_calls"]`).

    Args:
        location: the entry's `LOCATION`.
        params: the rest of the entry.
    """

    store: ClassVar[str]
    """The short name of the store."""

    bounded: ClassVar[bool] = False
    """Whether the store has bounds, so that `MAX_ENTRIES` and `CULL_FREQUENCY` apply."""

    def __init__(self, location: Any, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._location = location
        self._params = params
        self._found: tuple[int, Cache] | None = None
        with suppress(InvalidTimeout):  # `cache` raises it
            self.default_timeout: float | None = seconds(
                params.get("timeout", params.get("TIMEOUT", 300))
            )

    @property
    def cache(self) -> Cache:
        """The cache behind this object, made when it is first needed.

        Raises:
            InvalidCacheBackendError: the entry asks for what cannot be.
        """
        found = self._found
        if found is None or found[0] != stores.generation:
            found = self._found = stores.generation, self._find()
        return found[1]

    def _find(self) -> Cache:
        location, params = self._location, self._params
        return stores.get(
            frozen((self.store, location, params)),
            lambda: _alias(location, params),
            lambda: {
                **raw_settings(self.store, location, params, bounded=self.bounded),
                "KEY_PREFIX": claim_prefix(params),
            },
        )

    def __repr__(self) -> str:
        shown = "not in use yet" if self._found is None else repr(self._found[1])
        return f"<{type(self).__name__} {shown}>"

    @classmethod
    def to_twofold(cls, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an entry of Django's `CACHES` is in twofold's: the same keys and values."""
        params = {name: value for name, value in entry.items() if name not in _PLACE}
        raw = raw_settings(cls.store, entry.get("LOCATION", ""), params, bounded=cls.bounded)
        return {**raw, **raw_keys(params)}

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value of `key`, or `default`; a stored None is a hit."""
        return self.cache.get(self.make_and_validate_key(key, version), default)

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return await self.cache.aget(self.make_and_validate_key(key, version), default)

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those of `keys` that are there, in one round trip."""
        names = self._names(keys, version)
        try:
            return _renamed(names, self.cache.get_many(names))
        except PartlyUnavailable as error:
            error.result = _renamed(names, error.result)
            raise

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        names = self._names(keys, version)
        try:
            return _renamed(names, await self.cache.aget_many(names))
        except PartlyUnavailable as error:
            error.result = _renamed(names, error.result)
            raise

    def set(
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        """Store `value`; if the store has no room for it, the older one is removed anyway."""
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        if not self.cache.set(full, value, life) and self.cache.available:
            self.cache.delete(full)

    async def aset(
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        done = await _pickled_if_lazy(lambda v: self.cache.aset(full, v, life), value)
        if not done and self.cache.available:
            await self.cache.adelete(full)

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Store all of `data` in one round trip, and return the keys that failed."""
        names, life = self._names(data, version), self._life(timeout)
        items = {full: data[key] for full, key in names.items()}
        failed = self.cache.set_many(items, life)
        if failed and self.cache.available:
            self.cache.delete_many(failed)
        return [names[full] for full in failed]

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        names, life = self._names(data, version), self._life(timeout)
        items = {full: data[key] for full, key in names.items()}
        try:
            failed = await self.cache.aset_many(items, life)
        except CannotSerialize as error:
            if not needs_thread(error):
                raise
            lazy = {full: await pickled(value) for full, value in items.items()}
            failed = await self.cache.aset_many(lazy, life)
        if failed and self.cache.available:
            await self.cache.adelete_many(failed)
        return [names[full] for full in failed]

    def add(
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store `value` only if `key` is missing, and return whether it was."""
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        if life == 0:
            return not self.cache.has_key(full)
        return self.cache.add(full, value, life)

    async def aadd(
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        if life == 0:
            return not await self.cache.ahas_key(full)
        return await _pickled_if_lazy(lambda v: self.cache.aadd(full, v, life), value)

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Return the value of `key`; if it is missing, store and return `default`.

        A callable is called, once however many threads and tasks miss the key together;
        with a timeout of 0 or less each caller calls its own.
        """
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        try:
            return self.cache.get_or_set(full, default, life)
        except ReentrantCall:
            return default() if callable(default) else default

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Do what `get_or_set` does; an async function is awaited.

        A sync function runs in the thread that Django keeps for sync code, where it may
        use the database.
        """
        full, life = self.make_and_validate_key(key, version), self._life(timeout)

        async def produce() -> Any:
            return await evaluated(await _result(default))

        try:
            return await self.cache.aget_or_set(full, produce, life)
        except ReentrantCall:
            return await _result(default)

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

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Remove `keys` in one round trip."""
        self.cache.delete_many(self._names(keys, version))

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        await self.cache.adelete_many(self._names(keys, version))

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

    @property
    def can_clear(self) -> bool:
        """Whether the keys of this cache can be told from others' by how they begin."""
        own_keys = type(self).make_key is not BaseCache.make_key
        scope = f"{self.key_prefix}:"
        plain = self.key_func is default_key_func and normalise(scope) == scope
        return plain and not own_keys

    def close(self, **kwargs: Any) -> None:
        """Do nothing: Django calls this at the end of each request, and connections stay.

        `twofold.contrib.django.close_all()` closes them.
        """

    async def aclose(self, **kwargs: Any) -> None:
        """Do what `close` does: nothing."""

    def _scope(self) -> str:
        """Return what the keys of this cache begin with."""
        if not self.can_clear:
            raise SettingsError(
                f"CACHES[{self.cache.alias!r}]: with a KEY_FUNCTION, or a KEY_PREFIX that is not"
                " plain ASCII without blanks, the keys have no common prefix to clear by;"
                ' OPTIONS["clear"] = "flush" lets clear() empty the whole store'
            )
        return f"{self.key_prefix}:"

    def _names(self, keys: Iterable[Any], version: int | None) -> dict[str, Any]:
        """Return the caller's keys by the full ones."""
        return {self.make_and_validate_key(key, version): key for key in many(keys)}

    def _life(self, timeout: Timeout) -> float | None:
        default = self.default_timeout
        return default if timeout is DEFAULT_TIMEOUT else seconds(timeout, default)


_PLACE = frozenset({"BACKEND", "LOCATION"})


def _renamed(names: Mapping[str, Any], found: Mapping[str, Any]) -> dict[Any, Any]:
    """Return what was found, by the caller's own keys."""
    return {names[full]: value for full, value in found.items()}


def _alias(location: Any, params: Mapping[str, Any]) -> str:
    """Return the alias of an entry, which Django does not tell its backends."""
    for alias, entry in settings.CACHES.items():
        rest = {name: value for name, value in entry.items() if name not in _PLACE}
        place = entry.get("LOCATION", "")
        if rest == params and location in (place, str(place)):
            return str(alias)
    return "?"


async def _pickled_if_lazy(store: Callable[[Any], Awaitable[T]], value: Any) -> T:
    """Store `value`, pickled in a thread if that asks the database."""
    try:
        return await store(value)
    except CannotSerialize as error:
        if not needs_thread(error):
            raise
    return await store(await pickled(value))


async def _result(default: Any) -> Any:
    """Return a default, or what it returns when it is called."""
    if not callable(default):
        return default
    if iscoroutinefunction(default):
        return await default()
    return await sync_to_async(default, thread_sensitive=True)()
