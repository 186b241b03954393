"""redis-py's own clients of a cache's servers, for what a cache does not do.

`get_redis_connection` of django-redis finds them too.
"""

import re
from collections.abc import Hashable
from random import choice
from typing import TYPE_CHECKING, Any, Final

from twofold.codecs.msgpack import Msgpack
from twofold.contrib.django.settings import frozen
from twofold.contrib.django.stores import stores
from twofold.contrib.django.structures import StructuredCache, packed, unpacked
from twofold.errors import SettingsError

if TYPE_CHECKING:
    from redis import Redis

_VALKEY: Final = re.compile(r"\Avalkey(?=s?://)")
_OPTIONS: Final = (
    "username",
    "password",
    "db",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)


class Clients:
    """The clients of one cache of Django's.

    Args:
        cache: the cache.
    """

    def __init__(self, cache: StructuredCache) -> None:
        self._cache = cache

    def __repr__(self) -> str:
        return f"<Clients of {self._cache!r}>"

    def get_client(self, write: bool = True) -> "Redis":
        """Return a client of the primary, or without `write` of a replica, if there is one.

        It is the process's own, with a pool of connections beside the cache's; it knows nothing of
        prefixes and serializers, see `make_key`.

        Raises:
            SettingsError: redis-py is missing, or this is a cluster, or found by sentinels.
        """
        entry = self._cache.to_twofold({"LOCATION": self._cache._location, **self._cache._params})
        options = entry.get("OPTIONS", {})
        if options.get("cluster") or options.get("sentinel"):
            raise SettingsError(
                "there is no client of redis-py for a cluster, or for sentinels: make one, with"
                " redis.RedisCluster or redis.sentinel.Sentinel"
            )
        location = entry["LOCATION"]
        first, *others = [location] if isinstance(location, str) else location
        url = first if write or not others else choice(others)  # noqa: S311 - not for secrets
        return _client(url, {name: options[name] for name in _OPTIONS if name in options})

    # What is written for django-redis looks at these two.
    _serializer = Msgpack()

    def _has_compression_enabled(self) -> bool:
        return False  # of members of sets, which patterns are matched with

    def encode(self, value: Any) -> bytes:
        """Return what a member of a set or the like is on the server."""
        return packed(value)

    def decode(self, data: bytes) -> Any:
        """Return a member of a set or the like."""
        return unpacked(data)

    def make_key(self, key: Any, version: int | None = None) -> str:
        """Return what a key of the cache's is on the server."""
        [full] = self._cache._at(key, version=version)
        return full


_made: dict[Hashable, "Redis"] = {}


def _client(url: str, options: dict[str, Any]) -> "Redis":
    place = frozen((url, options))
    if place not in _made:
        try:
            from redis import Redis
        except ImportError as error:
            raise SettingsError("a client needs redis-py: pip install '.[redis]'") from error
        _made.setdefault(place, Redis.from_url(_VALKEY.sub("redis", url), **options))
    return _made[place]


def _disconnect() -> None:
    for client in _made.values():
        client.connection_pool.disconnect()


stores.beside.append(_disconnect)
