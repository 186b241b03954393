"""What Flask-Caching has, in twofold's words: its `CACHE_*` settings, and methods."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from twofold.contrib.moving import (
    Becomes,
    Ignored,
    Moved,
    Refused,
    Table,
    Translated,
    Within,
    values,
)
from twofold.contrib.moving import memcached as of_memcached
from twofold.contrib.moving import redis as of_redis
from twofold.contrib.moving.servers import (
    host_and_port,
    memcached_servers,
    redis_servers,
    sentinels,
)
from twofold.contrib.moving.tables import complaint
from twofold.errors import SettingsError
from twofold.keys import check_prefix

TYPE = "CACHE_TYPE"
"""The setting that says that there are such."""

METHODS: Mapping[str, str] = {
    "cached": "@caching.cached_page for a view, @twofold.cached for a function",
    "memoize": "@twofold.cached",
    "delete_memoized": "function.invalidate(…), with its arguments, or function.cache_clear()",
    "delete_memoized_verhash": "function.cache_clear()",
    "unlink": "caching.cache.delete_many",
}
"""What to write for a method of its `Cache` that an operation of ours is no twin of."""

_STORES = {
    "null": "dummy",
    "simple": "memory",
    "filesystem": "files",
    "memcached": "memcached",
    "saslmemcached": "memcached",
    "spreadsaslmemcached": "memcached",
    "redis": "redis",
    "redissentinel": "redis",
    "rediscluster": "redis",
}
_NO_STORE = Refused(
    "write 'SimpleCache', 'FileSystemCache', 'RedisCache', 'RedisSentinelCache',"
    " 'RedisClusterCache', 'MemcachedCache' or 'NullCache', or CACHES with a BACKEND"
)
_NAMES = Ignored("`@cached` makes keys of the function's name and its arguments")


def _type(value: Any) -> Translated:
    word = _word(value)
    return {"BACKEND": _STORES[word], "type": word} if word in _STORES else _NO_STORE


def _word(value: Any) -> str:
    """Return what tells the types apart, of a short name or a dotted path."""
    name = (values.dotted(value) or "null").rpartition(".")[2]
    return name.lower().removesuffix("cache")


def _timeout(value: Any) -> Translated:
    never = value in (None, timedelta(0)) or values.as_number(value) == 0
    return {"TIMEOUT": None if never else value}


def _prefix(value: Any) -> Translated:
    if value is None or isinstance(value, str):
        try:
            return {"KEY_PREFIX": check_prefix((value or "").rstrip(":"))}
        except SettingsError as error:
            return Refused(f"write another one: {error}")
    return Refused("write text")


def _threshold(value: Any) -> Translated:
    number = values.as_number(value)
    if number is None or number < 0 or number % 1:
        return Refused("write a number of entries")
    return {"max_entries": int(number) or None}


def _ignore_errors(value: Any) -> Translated:
    """Return what happens in an outage; False is what Flask-Caching has by default."""
    return values.outages(value) if values.as_flag(value) is not False else {}


def _arguments(value: Any) -> Translated:
    return Refused("write them into CACHE_OPTIONS, by name") if value else {}


def _serializer(value: Any) -> Translated:
    return {} if value is None else Refused("write CACHES with a SERIALIZER")


def _servers(value: Any) -> Translated:
    if value is None or isinstance(value, str | list | tuple):
        return {"servers": value or "127.0.0.1:11211"}
    return Refused("write a list of servers")


_OF_ALL: Table = {
    "default_timeout": Becomes("`TIMEOUT`", _timeout),
    "threshold": Becomes('`OPTIONS["max_entries"]`', _threshold),
    "key_prefix": Becomes("`KEY_PREFIX`", _prefix),
    "ignore_delete_many_errors": Becomes("as `CACHE_IGNORE_ERRORS`", _ignore_errors),
}
_OF_STORES: dict[str, Table] = {
    "redis": {**of_redis.CLIENT, **_OF_ALL},
    "memcached": {
        **of_memcached.OPTIONS,
        **_OF_ALL,
        "pool_size": of_memcached.OPTIONS["max_pool_size"],
        "pool_blocking": of_memcached.OPTIONS["use_pooling"],
    },
    "files": {
        **_OF_ALL,
        "mode": Ignored("files are for their owner alone"),
        "hash_method": Ignored("names of files are BLAKE2b digests"),
    },
    "memory": _OF_ALL,
    "dummy": _OF_ALL,
}

SETTINGS: Table = {
    "cache_type": Becomes("`BACKEND`, of a short name or a dotted path", _type),
    "cache_default_timeout": Becomes("`TIMEOUT`; 0 is for ever", _timeout),
    "cache_key_prefix": Becomes("`KEY_PREFIX`, without a `:` at its end", _prefix),
    "cache_threshold": Becomes(
        '`OPTIONS["max_entries"]` in memory and files; 0 is no limit in files', _threshold
    ),
    "cache_ignore_errors": Becomes('`OPTIONS["on_error"]` `"miss"` for True', _ignore_errors),
    "cache_options": Within("each by its name, as in `OPTIONS` in Django", {}),
    "cache_args": Becomes("nothing, if empty", _arguments),
    "cache_dir": Becomes("`LOCATION` of files", values.path("dir")),
    "cache_redis_url": Becomes("`LOCATION` of Redis", values.text("url")),
    "cache_redis_host": Becomes("`LOCATION` of Redis", values.text("host")),
    "cache_redis_port": Becomes("`LOCATION` of Redis", values.whole("port")),
    "cache_redis_username": of_redis.DRIVER["username"],
    "cache_redis_password": of_redis.DRIVER["password"],
    "cache_redis_db": of_redis.DRIVER["db"],
    "cache_redis_sentinels": Becomes("`LOCATION` of Redis, behind sentinels", sentinels),
    "cache_redis_sentinel_master": of_redis.DRIVER["service_name"],
    "cache_redis_sentinel_password": of_redis.OF_SENTINELS["password"],
    "cache_redis_cluster": Becomes("`LOCATION` of Redis, a cluster", values.text("nodes")),
    "cache_memcached_servers": Becomes("`LOCATION` of memcached", _servers),
    "cache_memcached_username": Becomes(
        '`OPTIONS["username"]` of memcached', values.text("memcached_username")
    ),
    "cache_memcached_password": Becomes(
        '`OPTIONS["password"]` of memcached', values.text("memcached_password")
    ),
    "cache_serializer": Becomes("nothing for None", _serializer),
    "cache_no_null_warning": Ignored("nothing warns of `NullCache`"),
    "cache_source_check": Ignored("`VERSION`, or `key=`, makes new keys of changed code"),
    "cache_enable_signals": Ignored("there are no signals"),
    "cache_hash_method": _NAMES,
    "cache_file_hash_method": _NAMES,
}
"""What becomes of each; those of a store that `CACHE_TYPE` does not name count for nothing."""


class Translation(NamedTuple):
    """`CACHES`, and why some of the settings are not needed."""

    caches: dict[str, dict[str, Any]]
    ignored: dict[str, str]

    def __repr__(self) -> str:
        """Show no settings, which may have passwords."""
        return f"<Translation of {', '.join(self.caches)}>"


def translate(config: Mapping[str, Any]) -> Translation:
    """Return what the `CACHE_*` settings in `config` mean.

    Raises:
        SettingsError: some of it cannot be had; all of that is in the message.
    """
    moved = Moved()
    store = _STORES.get(_word(config.get(TYPE)), "dummy")
    table = {**SETTINGS, "cache_options": Within("", _OF_STORES[store])}
    moved.read({name: config[name] for name in config if name.lower() in SETTINGS}, table, "{}")
    if not moved.refused:
        _PLACES[store](moved)
    if moved.refused:
        raise SettingsError(complaint(moved.refused))
    return Translation({"default": _entry(store, moved.made)}, moved.ignored)


def _entry(store: str, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `CACHES` of what was made, as far as it is for this store."""
    wanted = _WANTED[store] | {"on_error"}
    options = {name: value for name, value in made.items() if name in wanted}
    return {**{n: v for n, v in made.items() if n.isupper()}, "OPTIONS": options}


_TLS = {name for name in of_redis.DRIVER if name.startswith("ssl_")}
_WANTED: dict[str, set[str]] = {
    "redis": {"username", "password", "db", "deadline", "cluster", "sentinel", *_TLS}
    | {"sentinel_username", "sentinel_password"},
    "memcached": {"username", "password", "deadline"},
    "files": {"max_entries"},
    "memory": {"max_entries"},
    "dummy": set(),
}


def _in_redis(moved: Moved) -> None:
    made, kind = moved.made, moved.made["type"]
    host, port = made.get("host", "localhost"), made.get("port", 6379)
    location: Any = made.get("url") or (host if "://" in host else host_and_port((host, port)))
    behind = kind == "redissentinel"
    if behind:
        location = made.setdefault("sentinel", "mymaster")
        made.setdefault("sentinels", ["127.0.0.1:26379"])
    else:
        for name in ("sentinel", "sentinels", "sentinel_password"):
            made.pop(name, None)
    if kind == "rediscluster":
        made["cluster"] = True
        made.pop("db", None)
        location = made.get("url") or made.get("nodes") or location
    redis_servers(moved, location, of_redis.DRIVER)


def _in_memcached(moved: Moved) -> None:
    made = moved.made
    for name in ("username", "password"):
        made.pop(name, None)  # of Redis
        if f"memcached_{name}" in made:
            made[name] = made[f"memcached_{name}"]
    memcached_servers(moved, made.get("servers", "127.0.0.1:11211"))


def _in_files(moved: Moved) -> None:
    if "dir" not in moved.made:
        moved.refused["CACHE_DIR"] = "write the path of a directory"
    moved.made["LOCATION"] = moved.made.get("dir", "")


def _in_memory(moved: Moved) -> None:
    """Name the store by its bound: stores of one name have the same bounds."""
    bound = moved.made.pop("max_entries", None)
    moved.made["LOCATION"] = f"flask {bound}" if bound else "flask"
    if bound:
        moved.made["max_entries"] = bound


def _nowhere(_: Moved) -> None:
    """A store that keeps nothing has no place."""


_PLACES: dict[str, Callable[[Moved], None]] = {
    "redis": _in_redis,
    "memcached": _in_memcached,
    "files": _in_files,
    "memory": _in_memory,
    "dummy": _nowhere,
}
