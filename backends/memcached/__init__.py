"""memcached, native on both faces."""

from twofold.backends.memcached.backend import MemcachedBackend

__all__ = ["MemcachedBackend"]
