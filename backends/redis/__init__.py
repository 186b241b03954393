"""Redis and Valkey, native on both faces."""

from twofold.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
