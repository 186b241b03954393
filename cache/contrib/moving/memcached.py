"""What the options of pymemcache, pylibmc and python-memcached mean."""

from collections.abc import Mapping
from typing import Any

from twofold.contrib.moving import values
from twofold.contrib.moving.servers import memcached_servers
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
_SOCKET = Ignored("twofold sets up its sockets itself, without delay")
_DEAD = Ignored(
    "a server that is down is tried again soon, and its keys are nowhere else meanwhile"
)
_RETRY = Ignored("what changes nothing is tried once more, within the deadline")
_PLACES = Ignored("keys have their servers by rendezvous hashing of `host:port`")
_KEYS = Ignored("keys are checked and made to fit by twofold")
_REPLIES = Ignored("every reply is read, so that what was not stored is known")
_PROTOCOL = Ignored(
    "the text protocol is spoken; a login is that of `--auth-file`, which is not SASL"
)
_SIZE = Ignored("the server is asked for the largest size that it takes")
_SERIALIZER = Refused("write SERIALIZER with the dotted path of a class that has dumps and loads")


def serde(value: Any) -> Translated:
    """Return what one of pymemcache's pairs of functions is here."""
    kind = type(value).__name__
    if value is None or kind == "PickleSerde":
        return {}
    if kind == "CompressedSerde":
        return {"COMPRESSOR": "zlib"}
    return _SERIALIZER


def tls_context(value: Any) -> Translated:
    """Return what an `SSLContext` is here; it does not say which authorities it trusts."""
    return {} if value is None else Refused("write 'tls': True, and 'ssl_ca_certs' and its like")


def compress_from(value: Any) -> Translated:
    """Return what it means to compress values of more than so many bytes."""
    number = values.as_number(value)
    if number is None or number < 0 or number % 1:
        return Refused("write a number of bytes")
    return {"COMPRESSOR": "zlib", "COMPRESS_MIN": int(number)} if number else {}


BEHAVIORS: Table = {
    "connect_timeout": Becomes('`OPTIONS["deadline"]`, of milliseconds there', values.milliseconds),
    "poll_timeout": Becomes('`OPTIONS["deadline"]`, of milliseconds there', values.milliseconds),
    "receive_timeout": Becomes('`OPTIONS["deadline"]`, of microseconds there', values.microseconds),
    "send_timeout": Becomes('`OPTIONS["deadline"]`, of microseconds there', values.microseconds),
    "no_block": _SOCKET,
    "socket_recv_size": _SOCKET,
    "socket_send_size": _SOCKET,
    "io_bytes_watermark": _SOCKET,
    "io_key_prefetch": _SOCKET,
    "io_msg_watermark": _SOCKET,
    "tcp_nodelay": _SOCKET,
    "tcp_keepalive": _SOCKET,
    "tcp_keepidle": _SOCKET,
    "ketama": _PLACES,
    "ketama_weighted": _PLACES,
    "ketama_hash": _PLACES,
    "distribution": _PLACES,
    "hash": _PLACES,
    "verify_keys": _KEYS,
    "hash_with_namespace": _KEYS,
    "remove_failed": _DEAD,
    "auto_eject": _DEAD,
    "failure_limit": _DEAD,
    "dead_timeout": _DEAD,
    "retry_timeout": _DEAD,
    "auto_eject_hosts": _DEAD,
    "server_failure_limit": _DEAD,
    "rehash": _DEAD,
    "cas": _REPLIES,
    "support_cas": _REPLIES,
    "noreply": _REPLIES,
    "buffer_requests": _REPLIES,
    "number_of_replicas": Refused("leave it out: an entry is on one server"),
    "num_replicas": Refused("leave it out: an entry is on one server"),
    "pickle_protocol": Ignored("pickles have the newest protocol"),
}
"""The `behaviors` of pylibmc."""

_LIMIT = Becomes('`OPTIONS["deadline"]`, the longer of the time limits', values.seconds)

OPTIONS: Table = {
    "dead_timeout": _DEAD,
    "retry_timeout": _DEAD,
    "behaviors": Within("each by its name below", BEHAVIORS),
    "timeout": _LIMIT,
    "connect_timeout": _LIMIT,
    "socket_timeout": _LIMIT,
    "no_delay": _SOCKET,
    "socket_keepalive": _SOCKET,
    "socket_module": _SOCKET,
    "use_pooling": _POOL,
    "max_pool_size": _POOL,
    "pool_idle_timeout": _POOL,
    "lock_generator": _POOL,
    "retry_attempts": _RETRY,
    "dead_retry": _DEAD,
    "ignore_exc": Becomes(
        '`OPTIONS["on_error"]`: `"miss"` for True, `"raise"` for False', values.outages
    ),
    "hasher": _PLACES,
    "default_noreply": _REPLIES,
    "allow_unicode_keys": _KEYS,
    "encoding": _KEYS,
    "key_prefix": Refused("write it into KEY_PREFIX"),
    "serde": Becomes(
        'the default for pickles; `COMPRESSOR` `"zlib"` for `compressed_serde`', serde
    ),
    "serializer": _SERIALIZER,
    "deserializer": _SERIALIZER,
    "pickler": _SERIALIZER,
    "unpickler": _SERIALIZER,
    "tls_context": Becomes("nothing for None", tls_context),
    "username": Becomes('`OPTIONS["username"]`', values.text("username")),
    "password": Becomes('`OPTIONS["password"]`', values.text("password")),
    "binary": _PROTOCOL,
    "pickleprotocol": Ignored("pickles have the newest protocol"),
    "server_max_key_length": _KEYS,
    "server_max_value_length": _SIZE,
    "max_item_size": _SIZE,
    "min_compress_len": Becomes('`COMPRESS_MIN`, and `COMPRESSOR` `"zlib"`', compress_from),
    "max_entries": Ignored("the server's `-m` bounds the store"),
    "cull_frequency": Ignored("the server's `-m` bounds the store"),
}

_PYLIBMC = BEHAVIORS.keys() - {"connect_timeout", "dead_timeout", "retry_timeout"}
"""Names by which `OPTIONS` are told to be the behaviors themselves, whose units differ."""


def move(location: Any, options: Mapping[str, Any], where: str) -> Moved:
    """Return what an entry for memcached means; see `redis.move`."""
    moved = Moved()
    names = {str(name).lower().lstrip("_") for name in options}
    table = {**OPTIONS, **BEHAVIORS} if names & _PYLIBMC else OPTIONS
    moved.read(options, table, where)
    memcached_servers(moved, location)
    return moved
