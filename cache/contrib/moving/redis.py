"""What the options of redis-py, django-redis and their kind mean."""

from collections.abc import Mapping
from typing import Any

from twofold.contrib.moving import values
from twofold.contrib.moving.servers import redis_servers, sentinels
from twofold.contrib.moving.tables import (
    Becomes,
    Ignored,
    Moved,
    Refused,
    Table,
    Translated,
    Within,
)

_POOL = Ignored("each thread has a connection, and each event loop one or two, for all callers")
_RETRY = Ignored("what changes nothing is tried once more, within the deadline")
_HEALTH = Ignored("a connection that was lost is noticed, and made again within the deadline")
_SOCKET = Ignored("twofold sets up its sockets itself")
_BYTES = Ignored("values go to the server as bytes, and keys as ASCII")
_IN_LOCATION = Refused("write the server into LOCATION, as redis://host:port/db")
_LOGIN = Refused("write 'username' and 'password'")
_TLS = Refused("write 'ssl_ca_certs', 'ssl_certfile' and 'ssl_keyfile' with the paths of files")


def client_class(value: Any) -> Translated:
    """Return what a client class of django-redis or django-valkey adds to a plain one."""
    return _deployment(value, "client", _CLIENTS)


def connection_factory(value: Any) -> Translated:
    """Return what a connection factory of django-redis or django-valkey means."""
    return _deployment(value, "factory", _FACTORIES)


def _deployment(value: Any, kind: str, plain: frozenset[str]) -> Translated:
    """Return what a class says of how the servers stand together."""
    named = values.dotted(value) or ""
    module, _, name = named.rpartition(".")
    for word, made in _DEPLOYMENTS.items():
        if word in name:
            return made
    if not named or (module.partition(".")[0] in _PACKAGES and name in plain):
        return {}
    return Refused(f"leave it out: a {kind} of your own, and what it adds, has no counterpart")


def driver_class(value: Any) -> Translated:
    """Return what becomes of the class that the driver uses for its clients."""
    named = values.dotted(value) or "redis"
    if "Cluster" in named:
        return {"cluster": True}
    if named.partition(".")[0] in ("redis", "valkey"):
        return Ignored("twofold has connections of its own")
    return Refused(
        "leave it out: a driver of your own has no counterpart; for tests there is memory"
    )


def pool_class(value: Any) -> Translated:
    """Return what the class of a pool means: a cluster, or nothing."""
    return {"cluster": True} if "Cluster" in (values.dotted(value) or "") else _POOL


def connection_class(value: Any) -> Translated:
    """Return what the class of connections means: TLS, or nothing."""
    return {"tls": True} if "SSL" in (values.dotted(value) or "") else _SOCKET


_PACKAGES = frozenset({"django_redis", "django_valkey", "redis_cache"})
_CLIENTS = frozenset({"DefaultClient", "HerdClient", "AsyncDefaultClient", "AsyncHerdClient"})
_FACTORIES = frozenset({"ConnectionFactory", "AsyncConnectionFactory"})
_DEPLOYMENTS = {
    "Cluster": {"cluster": True},
    "Sentinel": {"behind_sentinels": True},
    "Shard": {"sharded": True},
}

_LOGIN_ROWS: Table = {
    "username": Becomes('`OPTIONS["username"]`', values.text("username")),
    "password": Becomes('`OPTIONS["password"]`', values.text("password")),
    "db": Becomes('`OPTIONS["db"]`, where `LOCATION` names none', values.whole("db")),
    "credential_provider": _LOGIN,
}

_TLS_ROWS: Table = {
    "ssl": Becomes("`rediss://` in `LOCATION`", values.flag("tls")),
    "ssl_cert_reqs": Becomes(
        '`OPTIONS["ssl_cert_reqs"]`: `"none"` for None, False and `ssl.CERT_NONE`',
        values.verification,
    ),
    "ssl_check_hostname": Becomes(
        '`OPTIONS["ssl_check_hostname"]`', values.flag("ssl_check_hostname")
    ),
    "ssl_ca_certs": Becomes('`OPTIONS["ssl_ca_certs"]`', values.path("ssl_ca_certs")),
    "ssl_certfile": Becomes('`OPTIONS["ssl_certfile"]`', values.path("ssl_certfile")),
    "ssl_keyfile": Becomes('`OPTIONS["ssl_keyfile"]`', values.path("ssl_keyfile")),
    "ssl_ca_path": _TLS,
    "ssl_ca_data": _TLS,
    "ssl_context": _TLS,
    "ssl_password": Refused("write 'ssl_keyfile' with the path of a key without a password"),
    "ssl_min_version": Ignored("the oldest TLS is what Python's `ssl` allows by default"),
    "ssl_ciphers": Ignored("the ciphers are those that Python's `ssl` allows by default"),
    "ssl_validate_ocsp": Refused("leave it out: revocation is not looked up"),
    "ssl_validate_ocsp_stapled": Refused("leave it out: revocation is not looked up"),
}

_CONNECTION_ROWS: Table = {
    "socket_timeout": Becomes(
        '`OPTIONS["deadline"]`, the longest of the time limits', values.seconds
    ),
    "socket_connect_timeout": Becomes(
        '`OPTIONS["deadline"]`, the longest of the time limits', values.seconds
    ),
    "socket_keepalive": _SOCKET,
    "socket_keepalive_options": _SOCKET,
    "socket_read_size": _SOCKET,
    "socket_type": _SOCKET,
    "health_check_interval": _HEALTH,
    "retry": _RETRY,
    "retry_on_timeout": _RETRY,
    "retry_on_error": _RETRY,
    "max_connections": _POOL,
    "queue_class": _POOL,
    "encoding": _BYTES,
    "encoding_errors": _BYTES,
    "decode_responses": _BYTES,
    "protocol": Ignored("RESP2 is spoken, which every server knows"),
    "parser_class": Ignored("replies are read by twofold"),
    "connection_class": Becomes("TLS for `SSLConnection`, else nothing", connection_class),
    "client_name": Ignored("connections have no name"),
    "lib_name": Ignored("connections have no name"),
    "lib_version": Ignored("connections have no name"),
    "redis_connect_func": Refused(
        "leave it out: what is to happen on connecting has no counterpart"
    ),
    "sentinel_manager": Ignored("`SENTINELS` says where they are"),
    "is_master": Ignored("the primary is asked, for reads too"),
    "host": _IN_LOCATION,
    "port": _IN_LOCATION,
    "path": _IN_LOCATION,
    "unix_socket_path": _IN_LOCATION,
}

_SERVICE = Becomes('`OPTIONS["sentinel"]`', values.text("sentinel"))
_SERVICE_ROWS: Table = {
    "master_name": _SERVICE,
    "service_name": _SERVICE,
    "sentinel_service_name": _SERVICE,
}

DRIVER: Table = {**_CONNECTION_ROWS, **_LOGIN_ROWS, **_TLS_ROWS, **_SERVICE_ROWS}
"""The arguments of redis-py's connections, as in the query of a URL too."""

CLIENT: Table = {
    **DRIVER,
    "require_full_coverage": Ignored("a slot that nobody has is an outage for its keys alone"),
    "skip_full_coverage_check": Ignored("a slot that nobody has is an outage for its keys alone"),
    "read_from_replicas": Ignored("in a cluster the primaries are asked, for reads too"),
    "startup_nodes": Refused("write the servers into LOCATION, as a list of URLs"),
}

POOL: Table = {**CLIENT, "timeout": _POOL}

OF_SENTINELS: Table = {
    **_CONNECTION_ROWS,
    "username": Becomes('`OPTIONS["sentinel_username"]`', values.text("sentinel_username")),
    "password": Becomes('`OPTIONS["sentinel_password"]`', values.text("sentinel_password")),
    **_TLS_ROWS,
    "db": Ignored("sentinels have no databases"),
}

_POOL_CLASS = Becomes(f"`cluster` for those of clusters, else not needed: {_POOL.why}", pool_class)
_POOL_KWARGS = Within("each by its name below", POOL)
_CLIENT_KWARGS = Within("each by its name below", CLIENT)
_SERIALIZER = Becomes(
    "`SERIALIZER`: `PickleSerializer` is the default, `JSONSerializer` and `MSGPackSerializer`"
    " have a counterpart, a path of your own is taken as it is",
    values.serializer,
)
_COMPRESSOR = Becomes(
    '`COMPRESSOR`: `"zlib"` for Zlib and Gzip, `"zstd"`, `"lz4"`, none for Identity',
    values.compressor,
)

KEYS = Becomes("the names that `keys()` and `iter_keys()` return", lambda _: {})

OPTIONS: Table = {
    **DRIVER,
    "client_class": Becomes(
        "nothing for `DefaultClient` and `HerdClient`, `cluster` for those of clusters, `sentinel`"
        " for `SentinelClient`",
        client_class,
    ),
    "connection_factory": Becomes("as `CLIENT_CLASS`", connection_factory),
    "connection_pool_class": _POOL_CLASS,
    "connection_pool_kwargs": _POOL_KWARGS,
    "connection_pool_class_kwargs": _POOL_KWARGS,
    "pool_class": _POOL_CLASS,
    "redis_client_class": Becomes(
        "nothing, if it is redis-py's; `cluster` for those of clusters", driver_class
    ),
    "redis_client_kwargs": _CLIENT_KWARGS,
    "base_client_class": Becomes(
        "nothing, if it is valkey-py's; `cluster` for those of clusters", driver_class
    ),
    "base_client_kwargs": _CLIENT_KWARGS,
    "parser_cls": Ignored("replies are read by twofold"),
    "sentinels": Becomes('`LOCATION`, whose host becomes `OPTIONS["sentinel"]`', sentinels),
    "sentinel_kwargs": Within("the login and the time limits of the sentinels", OF_SENTINELS),
    "serializer": _SERIALIZER,
    "serializer_class": _SERIALIZER,
    "compressor": _COMPRESSOR,
    "compressor_class": _COMPRESSOR,
    "pickle_version": Ignored("pickles have the newest protocol"),
    "ignore_exceptions": Becomes(
        '`OPTIONS["on_error"]`: `"miss"` for True, `"raise"` for False', values.outages
    ),
    "log_ignored_exceptions": Ignored("an outage is logged as it begins and as it ends"),
    "close_connection": Ignored("connections outlive requests"),
    "replica_read_only": Ignored("replicas are only read"),
    "reverse_key_function": KEYS,
    "max_entries": Ignored("the server's `maxmemory` bounds the store"),
    "cull_frequency": Ignored("the server's `maxmemory` bounds the store"),
}

GLOBALS: Table = {
    "django_redis_ignore_exceptions": OPTIONS["ignore_exceptions"],
    "django_redis_connection_factory": OPTIONS["connection_factory"],
    "django_redis_log_ignored_exceptions": OPTIONS["log_ignored_exceptions"],
    "django_redis_logger": OPTIONS["log_ignored_exceptions"],
    "django_redis_close_connection": OPTIONS["close_connection"],
    "django_redis_scan_itersize": Ignored("`clear()` asks for 1,000 keys a time"),
    "django_valkey_ignore_exceptions": OPTIONS["ignore_exceptions"],
    "django_valkey_connection_factory": OPTIONS["connection_factory"],
    "django_valkey_log_ignored_exceptions": OPTIONS["log_ignored_exceptions"],
    "django_valkey_logger": OPTIONS["log_ignored_exceptions"],
    "django_valkey_close_connection": OPTIONS["close_connection"],
    "cache_compress_min_length": Becomes("`COMPRESS_MIN`", values.whole("COMPRESS_MIN")),
    "cache_compress_level": Ignored("compressors have the levels that they have by default"),
    "cache_herd_timeout": Ignored("`get_or_set` computes once, however many wait"),
}
"""Settings of a whole project, in upper case, beside `CACHES`."""


def move(
    location: Any, options: Mapping[str, Any], project: Mapping[str, Any], where: str
) -> Moved:
    """Return what an entry for Redis means.

    Args:
        location: its `LOCATION`.
        options: its `OPTIONS`.
        project: settings of the project that are in `GLOBALS`, which options go before.
        where: how an option is spelled in messages, with braces for its name.
    """
    moved = Moved()
    moved.read(project, GLOBALS, "{}")
    moved.read(options, OPTIONS, where)
    redis_servers(moved, location, DRIVER)
    return moved
