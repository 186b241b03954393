"""Drop-in cache backends for Django, one for each store.

Each is a `BaseCache`, so that sessions, `cache_page`, template fragments and third-party
apps go on working; the `a` methods are native.
"""

from collections.abc import Callable
from typing import Any, Unpack

from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT,
    InvalidCacheKey,
    memcache_key_warnings,
)

from twofold.contrib.django.base import TwofoldCache
from twofold.contrib.django.redis import RedisCache as RedisCache
from twofold.freshness.options import Freshness
from twofold.timeouts import Timeout


class MemoryCache(TwofoldCache):
    """A cache in the process, as `LocMemCache`; entries with the same `LOCATION` share it."""

    store = "memory"
    bounded = True


class SQLiteCache(TwofoldCache):
    """A cache in one SQLite file, whose path is `LOCATION`, for all processes of a host."""

    store = "sqlite"
    bounded = True


class FileCache(TwofoldCache):
    """A cache of one file an entry, as `FileBasedCache`; `LOCATION` is the directory."""

    store = "files"
    bounded = True


class MemcachedCache(TwofoldCache):
    """A cache on memcached; `LOCATION` is `host:port` or `unix:/path`, or several."""

    store = "memcached"

    def validate_key(self, key: str) -> None:
        """Raise `InvalidCacheKey` for a key that other clients of memcached could not use."""
        for warning in memcache_key_warnings(key):
            raise InvalidCacheKey(warning)


class DummyCache(TwofoldCache):
    """A cache that keeps nothing; what is computed is each caller's own."""

    store = "dummy"

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> Any:
        return super().get_or_set(key, default, 0, version, **freshness)

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> Any:
        return await super().aget_or_set(key, default, 0, version, **freshness)
