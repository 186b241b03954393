"""Django's cache objects over the caches behind them, and the operations that compute."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Unpack

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func

from twofold.callables import name_of
from twofold.contrib.django.pickles import evaluated
from twofold.contrib.django.settings import claim_prefix, frozen, raw_keys, raw_settings
from twofold.contrib.django.stores import stores
from twofold.core import Cache
from twofold.errors import InvalidTimeout, ReentrantCall
from twofold.freshness.options import Freshness
from twofold.keys import FullKeys, many, normalise
from twofold.timeouts import Timeout, seconds


class ComputingCache(BaseCache):
    """What computes what it misses, over the cache behind it, where its settings lead.

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
        common = f"{self.key_prefix}:" if self.can_clear else ""
        return stores.get(
            frozen((self.store, location, params, common)),
            lambda: _alias(location, params),
            lambda: {
                **raw_settings(self.store, location, params, bounded=self.bounded),
                "KEY_PREFIX": claim_prefix(params),
            },
            lambda prefix: FullKeys(prefix, common=common),
        )

    @property
    def can_clear(self) -> bool:
        """Whether the keys of this cache can be told from others' by how they begin."""
        own_keys = type(self).make_key is not BaseCache.make_key
        scope = f"{self.key_prefix}:"
        plain = self.key_func is default_key_func and normalise(scope) == scope
        return plain and not own_keys

    def __repr__(self) -> str:
        shown = "not in use yet" if self._found is None else repr(self._found[1])
        return f"<{type(self).__name__} {shown}>"

    @classmethod
    def to_twofold(cls, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an entry of Django's `CACHES` is in twofold's: the same keys and values."""
        params = {name: value for name, value in entry.items() if name not in _PLACE}
        raw = raw_settings(cls.store, entry.get("LOCATION", ""), params, bounded=cls.bounded)
        return {**raw, **raw_keys(params)}

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> Any:
        """Return the value of `key`; if it is missing, store and return `default`.

        A callable is called, once however many threads and tasks miss the key together;
        with a timeout of 0 or less each caller calls its own. The timeout may be a function of
        what it returns; what may be served after that is as in `twofold.cache`.
        """
        full, life = self.make_and_validate_key(key, version), self._life_of(timeout)
        try:
            return self.cache.get_or_set(full, default, life, **freshness)
        except ReentrantCall:
            return default() if callable(default) else default

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> Any:
        """Do what `get_or_set` does; an async function is awaited.

        A sync function runs in the thread that Django keeps for sync code, where it may
        use the database; to refresh behind, in a thread of its own.
        """
        full, life = self.make_and_validate_key(key, version), self._life_of(timeout)

        async def produce() -> Any:
            return await evaluated(await _result(default))

        produce.__qualname__ = name_of(default)
        given = default if type(default) is int else produce  # ints that are given are counters
        try:
            return await self.cache.aget_or_set(full, given, life, **freshness)
        except ReentrantCall:
            return await _result(default)

    def mark_stale(self, key: Any, version: int | None = None) -> bool:
        """Make the value of `key` stale, and return whether there was one that was fresh."""
        return self.cache.mark_stale(self.make_and_validate_key(key, version))

    async def amark_stale(self, key: Any, version: int | None = None) -> bool:
        return await self.cache.amark_stale(self.make_and_validate_key(key, version))

    def _names(self, keys: Iterable[Any], version: int | None) -> dict[str, Any]:
        """Return the caller's keys by the full ones."""
        return {self.make_and_validate_key(key, version): key for key in many(keys)}

    def _life_of(
        self, timeout: Timeout | Callable[[Any], Timeout]
    ) -> float | Callable[[Any], Timeout] | None:
        """Return a timeout in seconds, or as the function of the result that it is."""
        return timeout if callable(timeout) else self._life(timeout)

    def _life(self, timeout: Timeout) -> float | None:
        default = self.default_timeout
        return default if timeout is DEFAULT_TIMEOUT else seconds(timeout, default)


_PLACE = frozenset({"BACKEND", "LOCATION"})


def _alias(location: Any, params: Mapping[str, Any]) -> str:
    """Return the alias of an entry, which Django does not tell its backends."""
    for alias, entry in settings.CACHES.items():
        rest = {name: value for name, value in entry.items() if name not in _PLACE}
        place = entry.get("LOCATION", "")
        if rest == params and location in (place, str(place)):
            return str(alias)
    return "?"


async def _result(default: Any) -> Any:
    """Return a default, or what it returns when it is called."""
    if not callable(default):
        return default
    if iscoroutinefunction(default):
        return await default()
    return await sync_to_async(default, thread_sensitive=True)()
