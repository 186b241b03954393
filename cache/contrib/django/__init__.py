"""twofold in Django: drop-in cache backends, page caching that never blocks the loop.

CACHES = {
    "default": {
        "BACKEND": "twofold.contrib.django.RedisCache",
        "LOCATION": "redis://127.0.0.1:6379",
    }
}
"""

try:
    import django as _django  # noqa: F401
except ImportError as _exc:
    raise ImportError("twofold.contrib.django needs pip install '.[django]'") from _exc

from twofold.contrib.django.backends import (
    DummyCache,
    FileCache,
    MemcachedCache,
    MemoryCache,
    RedisCache,
    SQLiteCache,
)
from twofold.contrib.django.fragments import make_template_fragment_key
from twofold.contrib.django.middleware import (
    CacheMiddleware,
    FetchFromCacheMiddleware,
    UpdateCacheMiddleware,
    cache_page,
)
from twofold.contrib.django.stores import aclose_all, close_all

__all__ = [
    "CacheMiddleware",
    "DummyCache",
    "FetchFromCacheMiddleware",
    "FileCache",
    "MemcachedCache",
    "MemoryCache",
    "RedisCache",
    "SQLiteCache",
    "UpdateCacheMiddleware",
    "aclose_all",
    "cache_page",
    "close_all",
    "make_template_fragment_key",
]
