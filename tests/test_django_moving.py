"""Settings of other caches: what each name becomes, and that both sides then do the same."""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import django_project
from tests.chaos import (
    Certificates,
    MemcachedServer,
    RedisCluster,
    RedisSentinels,
    RedisServer,
)
from tests.moving_page import shown, told
from tests.test_secrets import chain, misplaced

django_project.configure()

from django.core import checks
from django.core.cache import InvalidCacheBackendError, caches
from django.test import override_settings
from django_redis.pool import ConnectionFactory
from redis.exceptions import RedisError

from twofold.assembly import build_backend
from twofold.contrib.django import close_all
from twofold.contrib.django import translation as of_django
from twofold.contrib.django.backends import (
    DummyCache,
    FileCache,
    MemcachedCache,
    MemoryCache,
    RedisCache,
    SQLiteCache,
    TwofoldCache,
)
from twofold.contrib.moving import Refused, Table, memcached, redis
from twofold.errors import BackendUnavailable, SettingsError
from twofold.settings import read_cache

DEFAULT = "django_redis.client.DefaultClient"
SENTINEL = "django_redis.client.SentinelClient"
OURS = {"redis": "RedisCache", "memcached": "MemcachedCache"}
NOWHERE = "redis://127.0.0.1:1"

Entry = dict[str, Any]


@pytest.fixture(autouse=True)
def _closed(no_leaks: None) -> Iterator[None]:
    """Leave no connection of a test's caches open, and check that."""
    yield
    close_all()
    caches.close_all()


# The tables, and the page


TABLES: dict[str, Table] = {
    "Beside `OPTIONS`": of_django.ENTRY,
    "Settings of the project": redis.GLOBALS,
    "Redis: `OPTIONS`": {n: row for n, row in redis.OPTIONS.items() if n not in redis.DRIVER},
    "Redis: names of redis-py": redis.POOL,
    "Redis: `SENTINEL_KWARGS`": {
        n: row for n, row in redis.OF_SENTINELS.items() if redis.DRIVER.get(n) != row
    },
    "memcached: `OPTIONS`": memcached.OPTIONS,
    "memcached: `behaviors` of pylibmc": memcached.BEHAVIORS,
}


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_has_each_name_and_what_becomes_of_it(heading: str) -> None:
    """The tables of the documentation are those of the code, row by row."""
    assert told(heading) == shown(TABLES[heading])


@pytest.mark.parametrize("heading", TABLES)
def test_every_refusal_says_what_to_do(heading: str) -> None:
    """What is refused is to be written in another way, or left out."""
    for row in TABLES[heading].values():
        if isinstance(row, Refused):
            assert row.instead.startswith(("write ", "leave it out: "))


# What entries become


def become(cls: type[TwofoldCache], entry: Entry) -> tuple[Any, Entry]:
    """Return the location and what else is not the default of an entry that is moved."""
    plain = cls.to_twofold({})
    moved = cls.to_twofold(entry)
    settings = {n: v for n, v in moved.items() if n.isupper() and v != plain.get(n)}
    options = {n: v for n, v in moved["OPTIONS"].items() if v != plain["OPTIONS"].get(n)}
    settings.pop("OPTIONS", None)
    return settings.pop("LOCATION", ""), {**settings, **options}


URL = "redis://10.0.0.1:6379"
REDIS: dict[str, tuple[Entry, Any, Entry]] = {
    "django": ({"LOCATION": URL}, URL, {}),
    "django, a leader and replicas": (
        {"LOCATION": [URL, "redis://10.0.0.2:6379"]},
        [URL, "redis://10.0.0.2:6379"],
        {},
    ),
    "django, pools and parsers": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "db": "10",
                "parser_class": "redis.connection.PythonParser",
                "pool_class": "redis.BlockingConnectionPool",
            },
        },
        URL,
        {"db": 10},
    ),
    "django, semicolons": ({"LOCATION": f"{URL}/1; {URL}/2"}, [f"{URL}/1", f"{URL}/2"], {}),
    "one server twice": ({"LOCATION": [f"{URL}/1", f"{URL}/1"]}, f"{URL}/1", {}),
    "one server twice, as text": ({"LOCATION": f"{URL}?db=1,{URL}?db=1"}, f"{URL}?db=1", {}),
    "a tuple": ({"LOCATION": (URL,)}, URL, {}),
    "no scheme": ({"LOCATION": "10.0.0.1:6379"}, URL, {}),
    "no scheme, two": (
        {"LOCATION": "10.0.0.1:6379,10.0.0.2:6379"},
        [URL, "redis://10.0.0.2:6379"],
        {},
    ),
    "host:port:db": ({"LOCATION": "10.0.0.1:6379:3"}, f"{URL}/3", {}),
    "a socket": (
        {"LOCATION": "/run/redis.sock", "OPTIONS": {"DB": 1}},
        "unix:///run/redis.sock",
        {"db": 1},
    ),
    "a socket with unix: and a database": (
        {"LOCATION": "unix:/run/redis.sock:1", "OPTIONS": {"REVERSE_KEY_FUNCTION": "shop.key"}},
        "unix:///run/redis.sock?db=1",
        {},
    ),
    "a socket with unix:": ({"LOCATION": "unix:/run/redis.sock"}, "unix:///run/redis.sock", {}),
    "a dict": ({"LOCATION": [{"host": "10.0.0.1", "port": 6379}]}, URL, {}),
    "a pair of IPv6": ({"LOCATION": [("::1", 6379)]}, "redis://[::1]:6379", {}),
    "valkey": ({"LOCATION": "valkey://10.0.0.1:6379/1"}, f"{URL}/1", {}),
    "no location": ({"OPTIONS": {"CLIENT_CLASS": DEFAULT}}, "", {}),
    "a password of digits": ({"OPTIONS": {"PASSWORD": 1234}}, "", {"password": "1234"}),
    "client class": ({"LOCATION": URL, "OPTIONS": {"CLIENT_CLASS": DEFAULT}}, URL, {}),
    "herd": (
        {"LOCATION": URL, "OPTIONS": {"CLIENT_CLASS": "django_redis.client.HerdClient"}},
        URL,
        {},
    ),
    "errors are raised": (
        {"LOCATION": URL, "OPTIONS": {"IGNORE_EXCEPTIONS": False}},
        URL,
        {"on_error": "raise"},
    ),
    "own options go first": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "IGNORE_EXCEPTIONS": True,
                "on_error": "raise",
                "SOCKET_TIMEOUT": 5,
                "deadline": 2,
            },
        },
        URL,
        {"on_error": "raise", "deadline": 2},
    ),
    "time limits": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "SOCKET_CONNECT_TIMEOUT": 2,
                "SOCKET_TIMEOUT": 5,
                "CONNECTION_POOL_KWARGS": {"socket_timeout": "7.5", "socket_connect_timeout": None},
            },
        },
        URL,
        {"deadline": 7.5},
    ),
    "compressed json": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
                "COMPRESSOR": "django_redis.compressors.gzip.GzipCompressor",
            },
        },
        URL,
        {"SERIALIZER": "twofold.contrib.django.lossy.DjangoJson", "COMPRESSOR": "zlib"},
    ),
    "msgpack and zstd": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "SERIALIZER": "django_redis.serializers.msgpack.MSGPackSerializer",
                "COMPRESSOR": "django_redis.compressors.zstd.ZStdCompressor",
                "PICKLE_VERSION": -1,
            },
        },
        URL,
        {"SERIALIZER": "msgpack", "COMPRESSOR": "zstd"},
    ),
    "pickle and nothing": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "SERIALIZER": "django_redis.serializers.pickle.PickleSerializer",
                "COMPRESSOR": "django_redis.compressors.identity.IdentityCompressor",
            },
        },
        URL,
        {},
    ),
    "a serializer of one's own": (
        {"LOCATION": URL, "OPTIONS": {"serializer": "shop.caching.Serializer"}},
        URL,
        {"SERIALIZER": "shop.caching.Serializer"},
    ),
    "unverified, None": (
        {"LOCATION": "rediss://h", "OPTIONS": {"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": None}}},
        "rediss://h",
        {"ssl_cert_reqs": "none"},
    ),
    "unverified, False": (
        {"LOCATION": "rediss://h", "OPTIONS": {"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": False}}},
        "rediss://h",
        {"ssl_cert_reqs": "none"},
    ),
    "unverified, of ssl": (
        {
            "LOCATION": "rediss://h",
            "OPTIONS": {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False},
        },
        "rediss://h",
        {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
    ),
    "unverified, in the URL": (
        {"LOCATION": "rediss://:sesame@h:6380/0?ssl_cert_reqs=CERT_NONE&socket_timeout=3"},
        "rediss://:sesame@h:6380/0",
        {"ssl_cert_reqs": "none", "deadline": 3.0},
    ),
    "verified": (
        {
            "LOCATION": "rediss://h",
            "OPTIONS": {"ssl_cert_reqs": "optional", "ssl_ca_certs": Path("/ca.pem")},
        },
        "rediss://h",
        {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"},
    ),
    "TLS by an option": (
        {"LOCATION": "redis://h", "OPTIONS": {"REDIS_CLIENT_KWARGS": {"ssl": True}}},
        "rediss://h",
        {},
    ),
    "TLS by a class": (
        {
            "LOCATION": "redis://h",
            "OPTIONS": {"CONNECTION_POOL_KWARGS": {"connection_class": "redis.SSLConnection"}},
        },
        "rediss://h",
        {},
    ),
    "login": (
        {"LOCATION": URL, "OPTIONS": {"USERNAME": "app", "PASSWORD": "12345", "DB": 2}},
        URL,
        {"username": "app", "password": "12345", "db": 2},
    ),
    "two databases": (
        {"LOCATION": f"{URL}/1", "OPTIONS": {"DB": 2, "PASSWORD": ""}},
        f"{URL}/1",
        {},
    ),
    "sentinels": (
        {
            "LOCATION": "redis://u:p%40@mymaster/2",
            "OPTIONS": {
                "CLIENT_CLASS": SENTINEL,
                "SENTINELS": [("s1", 26379), ["s2", "26379"]],
                "SENTINEL_KWARGS": {"password": "x", "username": "y", "socket_timeout": 3},
                "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
            },
        },
        ["redis://s1:26379", "redis://s2:26379"],
        {
            "sentinel": "mymaster",
            "db": 2,
            "username": "u",
            "password": "p@",
            "sentinel_password": "x",
            "sentinel_username": "y",
            "deadline": 3.0,
        },
    ),
    "sentinels, primary and replica": (
        {
            "LOCATION": [
                "rediss://mymaster?db=1&is_master=1",
                "rediss://mymaster?db=1&is_master=0",
            ],
            "OPTIONS": {
                "SENTINELS": [("s1", 26379)],
                "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            },
        },
        "rediss://s1:26379",
        {"sentinel": "mymaster", "db": 1},
    ),
    "sentinels, named": (
        {
            "LOCATION": ["redis://s1:26379/0"],
            "OPTIONS": {
                "SENTINELS": [("s1", 26379)],
                "CONNECTION_POOL_KWARGS": {"service_name": "main", "sentinel_manager": object()},
            },
        },
        "redis://s1:26379",
        {"sentinel": "main", "db": 0},
    ),
    "no sentinels": ({"LOCATION": URL, "OPTIONS": {"SENTINELS": []}}, URL, {}),
    "cluster": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.ClusterClient",
                "CONNECTION_FACTORY": "django_redis.pool.ClusterConnectionFactory",
            },
        },
        URL,
        {"cluster": True},
    ),
    "cluster, by the driver's classes": (
        {
            "LOCATION": URL,
            "OPTIONS": {
                "REDIS_CLIENT_CLASS": "rediscluster.RedisCluster",
                "CONNECTION_POOL_CLASS": "rediscluster.connection.ClusterConnectionPool",
                "CONNECTION_POOL_KWARGS": {"skip_full_coverage_check": True},
            },
        },
        URL,
        {"cluster": True},
    ),
    "one shard": (
        {"LOCATION": URL, "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"}},
        URL,
        {},
    ),
    "beside the options": (
        {
            "LOCATION": URL,
            "REVERSE_KEY_FUNCTION": "a.b",
            "TIMEOUT": 60,
            "MAX_ENTRIES": 9,
            "max_entries": 9,
        },
        URL,
        {"TIMEOUT": 60},
    ),
}
MEMCACHED: dict[str, tuple[Entry, Any, Entry]] = {
    "django's example": (
        {
            "LOCATION": "127.0.0.1:11211",
            "OPTIONS": {
                "no_delay": True,
                "ignore_exc": True,
                "max_pool_size": 4,
                "use_pooling": True,
            },
        },
        "127.0.0.1:11211",
        {},
    ),
    "django's example of pylibmc": (
        {
            "LOCATION": "127.0.0.1:11211",
            "OPTIONS": {
                "binary": True,
                "username": "u",
                "password": "p",
                "behaviors": {"ketama": True},
            },
        },
        "127.0.0.1:11211",
        {"username": "u", "password": "p"},
    ),
    "a hosted one": (
        {
            "LOCATION": "cache.example.org:11211",
            "BINARY": True,
            "OPTIONS": {
                "tcp_nodelay": True,
                "connect_timeout": 2000,
                "send_timeout": 750_000,
                "_poll_timeout": 3000,
            },
        },
        "cache.example.org:11211",
        {"deadline": 3.0},
    ),
    "errors and limits": (
        {
            "LOCATION": ["h:1", "h:2"],
            "OPTIONS": {"ignore_exc": False, "connect_timeout": 1, "timeout": 0.5},
        },
        ["h:1", "h:2"],
        {"on_error": "raise", "deadline": 1.0},
    ),
    "one server twice": ({"LOCATION": "h:1;h:2;h:1"}, ["h:1", "h:2"], {}),
    "a pair": ({"LOCATION": [("h", 1)]}, "h:1", {}),
    "a login beside the options": (
        {"LOCATION": "h:1", "BINARY": True, "USERNAME": "u", "PASSWORD": "p"},
        "h:1",
        {"username": "u", "password": "p"},
    ),
    "a socket": ({"LOCATION": "unix:/run/memcached.sock"}, "unix:/run/memcached.sock", {}),
    "compression": (
        {"LOCATION": "h:1", "OPTIONS": {"min_compress_len": 500, "server_max_value_length": 1}},
        "h:1",
        {"COMPRESSOR": "zlib", "COMPRESS_MIN": 500},
    ),
    "beside the options": (
        {"LOCATION": "h:1", "MAX_ENTRIES": 300, "TIMEOUT": 6.307e7, "OPTIONS": None},
        "h:1",
        {"TIMEOUT": 6.307e7},
    ),
}


@pytest.mark.parametrize("kind", REDIS)
def test_entries_for_redis_mean_here_what_they_mean_there(kind: str) -> None:
    """What projects write for Django's backend, django-redis and its kind is translated."""
    entry, location, rest = REDIS[kind]
    assert become(RedisCache, entry) == (location, rest)


@pytest.mark.parametrize("kind", MEMCACHED)
def test_entries_for_memcached_mean_here_what_they_mean_there(kind: str) -> None:
    """What projects write for pymemcache and pylibmc is translated."""
    entry, location, rest = MEMCACHED[kind]
    assert become(MemcachedCache, entry) == (location, rest)


@pytest.mark.parametrize("cls", [DummyCache, FileCache, MemoryCache, SQLiteCache])
def test_stores_without_a_server_need_no_options_for_one(cls: type[TwofoldCache]) -> None:
    """A project that changes `BACKEND` alone, for its tests, may leave the rest as it is."""
    entry = {"OPTIONS": {"CLIENT_CLASS": DEFAULT, "no_delay": True, "behaviors": {"ketama": True}}}
    assert become(cls, {"LOCATION": "", **entry})[1] == {}


def test_a_password_in_the_place_of_a_name_is_not_shown() -> None:
    """A store in memory is named by its `LOCATION`, which may be the URL of a server."""
    moved = MemoryCache.to_twofold({"LOCATION": "redis://:sesame@h", "OPTIONS": {}})
    assert "sesame" not in moved["LOCATION"]


@pytest.mark.parametrize("url", ["redis://u:hidden@h", "redis://hidden@h"])
def test_whatever_option_of_django_a_url_was_written_into_its_login_is_not_shown(url: str) -> None:
    """That is so of what is translated, of what is refused, and of dicts of options within."""
    for name, cls in product(
        [*redis.OPTIONS, *memcached.OPTIONS, "deadline", "on_error", url],
        [RedisCache, MemcachedCache, MemoryCache],
    ):
        for value in [*misplaced(url), {"password": url}, {"socket_timeout": url}]:
            if "service" not in name and name != "master_name":  # any text names a service
                assert_not_shown(cls, {"OPTIONS": {name: value}})
    for name, value in product(
        ["TIMEOUT", "SERIALIZER", "COMPRESSOR", "BINARY", url], misplaced(url)
    ):
        assert_not_shown(RedisCache, {name: value})


def assert_not_shown(cls: type[TwofoldCache], params: dict[str, Any]) -> None:
    """Assert that a cache of Django's with these settings, or what refuses it, hides a login."""
    try:
        shown = [repr(cls("", params).cache)]
    except InvalidCacheBackendError as error:
        shown = list(chain(error))
    assert not [text for text in shown if "hidden" in text], params


@pytest.mark.parametrize(
    "name", ["DJANGO_REDIS_IGNORE_EXCEPTIONS", "DJANGO_VALKEY_IGNORE_EXCEPTIONS"]
)
def test_settings_of_the_project_count(name: str) -> None:
    """What is said for all of a project holds, unless an entry says otherwise."""
    with override_settings(**{name: False}):
        assert on_error(RedisCache) == "raise"
        assert on_error(RedisCache, IGNORE_EXCEPTIONS=True) == "miss"
        assert on_error(MemcachedCache) == "miss"


def test_overridden_settings_of_the_project_count_at_once() -> None:
    """A test that overrides them has caches that follow."""
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": NOWHERE}
    with override_settings(CACHES={"default": entry}):
        assert caches["default"].get("key") is None
        strict = override_settings(DJANGO_REDIS_IGNORE_EXCEPTIONS=False)
        with strict, pytest.raises(BackendUnavailable):
            caches["default"].get("key")
        assert caches["default"].get("key") is None


def on_error(cls: type[TwofoldCache], **options: Any) -> object:
    return cls.to_twofold({"LOCATION": "h:1", "OPTIONS": options})["OPTIONS"]["on_error"]


# What cannot be had


REFUSED: dict[str, tuple[type[TwofoldCache], Entry, str]] = {
    "CLIENT_CLASS": (RedisCache, {"CLIENT_CLASS": "shop.Client"}, "leave it out"),
    "CONNECTION_FACTORY": (RedisCache, {"CONNECTION_FACTORY": "shop.Factory"}, "leave it out"),
    "REDIS_CLIENT_CLASS": (RedisCache, {"REDIS_CLIENT_CLASS": "fakeredis.FakeRedis"}, "memory"),
    "COMPRESSOR": (
        RedisCache,
        {"COMPRESSOR": "django_redis.compressors.lzma.LzmaCompressor"},
        "COMPRESSOR 'zlib', 'zstd' or 'lz4'",
    ),
    "serializer": (RedisCache, {"serializer": object()}, "dotted path"),
    "SERIALIZER": (
        RedisCache,
        {"SERIALIZER": "django_redis.serializers.x.XSerializer"},
        "'pickle'",
    ),
    "SOCKET_TIMEOUT": (RedisCache, {"SOCKET_TIMEOUT": "soon"}, "OPTIONS['deadline']"),
    "ssl_ca_data": (RedisCache, {"ssl_ca_data": "..."}, "'ssl_ca_certs'"),
    "ssl_cert_reqs": (RedisCache, {"ssl_cert_reqs": "maybe"}, "'required' or 'none'"),
    "ssl_check_hostname": (RedisCache, {"ssl_check_hostname": "maybe"}, "True or False"),
    "SENTINELS": (RedisCache, {"CLIENT_CLASS": SENTINEL}, "(host, port)"),
    "IGNORE_EXCEPTIONS": (RedisCache, {"IGNORE_EXCEPTIONS": "maybe"}, "True or False"),
    "PASSWORD": (RedisCache, {"PASSWORD": ["sesame"]}, "text"),
    "DB": (RedisCache, {"DB": "first"}, "a number"),
    "CONNECTION_POOL_KWARGS": (RedisCache, {"CONNECTION_POOL_KWARGS": "many"}, "a dict"),
    "nonsense": (RedisCache, {"CONNECTION_POOL_KWARGS": {"nonsense": 1}}, "not known here"),
    "deadlin": (RedisCache, {"deadlin": 1}, "did you mean 'deadline'?"),
    "on_error": (RedisCache, {"on_error": "mis"}, "did you mean 'miss'?"),
    "key_prefix": (MemcachedCache, {"key_prefix": b"shop"}, "KEY_PREFIX"),
    "tls_context": (MemcachedCache, {"tls_context": object()}, "'tls': True"),
    "serde": (MemcachedCache, {"serde": object()}, "SERIALIZER"),
    "min_compress_len": (MemcachedCache, {"min_compress_len": "much"}, "bytes"),
    "num_replicas": (MemcachedCache, {"behaviors": {"num_replicas": 2}}, "one server"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_says_what_to_write(name: str) -> None:
    """A refusal has the name as it was spelled, and the way out."""
    cls, options, way_out = REFUSED[name]
    with pytest.raises(SettingsError, match=re.escape(repr(name))) as caught:
        cls.to_twofold({"LOCATION": "h:1", "OPTIONS": options})
    assert way_out in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_all_that_cannot_be_had_is_told_at_once() -> None:
    """One message names every option and setting that is not to be had."""
    options = {
        name: value
        for cls, given, _ in REFUSED.values()
        if cls is RedisCache
        for name, value in given.items()
    }
    entry = {"LOCATION": "redis://:sesame@h", "OPTIONS": options, "SERIALISER": "json"}
    with pytest.raises(SettingsError) as caught:
        RedisCache.to_twofold(entry)
    message = str(caught.value)
    assert [name for name in [*options, "SERIALISER"] if name not in message] == []
    assert "sesame" not in message


def test_shards_of_redis_are_refused() -> None:
    """Keys are not spread over servers of Redis that are no cluster."""
    options = {"CLIENT_CLASS": "django_redis.client.ShardClient"}
    with pytest.raises(SettingsError, match="'cluster'"):
        RedisCache.to_twofold({"LOCATION": ["redis://a", "redis://b"], "OPTIONS": options})


def test_services_of_sentinels_are_one() -> None:
    """An alias is one service."""
    entry = {"LOCATION": ["redis://a", "redis://b"], "OPTIONS": {"SENTINELS": [("s", 1)]}}
    with pytest.raises(SettingsError, match="LOCATION: write one URL"):
        RedisCache.to_twofold(entry)


@pytest.mark.parametrize("cls", [RedisCache, MemcachedCache])
@pytest.mark.parametrize("location", [None, 6379, [None], [("h", 1, 2)], [{"port": 1}]])
def test_a_location_is_text_or_a_list(cls: type[TwofoldCache], location: Any) -> None:
    """What names no server, such as a variable that is not set, is refused."""
    with pytest.raises(SettingsError, match="LOCATION: write a URL"):
        cls.to_twofold({"LOCATION": location})


PIECES = ("redis", "://", ":", "/", "@", "?", "[", "]", ",", ";", "h", "1", "db=1", "&", "%", " ")


@given(
    cls=st.sampled_from([RedisCache, MemcachedCache]),
    location=st.lists(st.sampled_from(PIECES)).map("".join),
    options=st.dictionaries(
        st.sampled_from(["DB", "SENTINELS", "ssl", "socket_timeout", "behaviors", "USERNAME"]),
        st.sampled_from([None, True, 1, "1", [("h", 1)], {"h": 1}, b"h"]),
    ),
)
def test_whatever_is_written_is_read_or_refused(
    cls: type[TwofoldCache], location: str, options: Entry
) -> None:
    """No entry makes another error than ours, or one that shows what lets somebody in."""
    secret = {**options, "PASSWORD": "sesame"}
    for entry in (
        {"LOCATION": location, "OPTIONS": secret},
        {"LOCATION": f"redis://:sesame@h{location}", "OPTIONS": options},
    ):
        with suppress(SettingsError), hidden("sesame"):
            build_backend(read_cache("default", cls.to_twofold(entry)))


@contextmanager
def hidden(secret: str) -> Iterator[None]:
    """Check that an error does not show a secret."""
    try:
        yield
    except SettingsError as error:
        if secret in str(error):
            raise AssertionError(str(error)) from error
        raise


def test_half_a_password_is_left_to_the_backend() -> None:
    """What follows a "?" in a URL may be of a password, and is not read as options."""
    location = "redis://:se?same=1@h"
    assert become(RedisCache, {"LOCATION": location})[0] == location
    with pytest.raises(SettingsError) as caught:
        read_cache("default", RedisCache.to_twofold({"LOCATION": location}))
    assert "same" not in str(caught.value)


def test_what_is_not_needed_is_told_once() -> None:
    """The check lists what an entry has in vain, with the reason, and nobody else tells of it."""
    options = {
        "CLIENT_CLASS": DEFAULT,
        "PICKLE_VERSION": -1,
        "CONNECTION_POOL_KWARGS": {"retry": 1},
    }
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": URL, "OPTIONS": options}
    with override_settings(CACHES={"default": entry}, DJANGO_REDIS_LOGGER="shop"):
        [message] = checks.run_checks(tags=[checks.Tags.caches])
    assert (message.id, message.level) == ("twofold.I001", checks.INFO)
    for name, why in {
        "OPTIONS['PICKLE_VERSION']": "newest protocol",
        "OPTIONS['CONNECTION_POOL_KWARGS']['retry']": "tried once more",
        "DJANGO_REDIS_LOGGER": "logged as it begins",
    }.items():
        assert re.search(rf"{re.escape(name)}: [^;]*{why}", message.msg)
    assert "CLIENT_CLASS" not in message.msg


# Beside the peers, on real servers


def both(theirs: str, entry: Entry) -> Mapping[str, Entry]:
    """Return the same entry for a peer and for us: `BACKEND` alone differs."""
    store = "memcached" if "memcached" in theirs else "redis"
    ours = f"twofold.contrib.django.{OURS[store]}"
    return {"theirs": {**entry, "BACKEND": theirs}, "ours": {**entry, "BACKEND": ours}}


def does_the_same(settings: Mapping[str, Entry]) -> None:
    """Store and find values by both, which a key and a version tell apart."""
    with override_settings(CACHES={**settings, "default": settings["ours"]}):
        for alias in settings:
            cache = caches[alias]
            cache.clear()
            cache.set("key", {"a": [1]}, 60)
            cache.set_many({"one": 1, "two": "2"}, 60)
            assert cache.get("key") == {"a": [1]}
            assert cache.get_many(["one", "two", "three"]) == {"one": 1, "two": "2"}
            assert cache.incr("one") == 2
            assert cache.add("key", 1) is False
            cache.delete("key")
            assert cache.get("key") is None
            let_go(cache)


def let_go(cache: Any) -> None:
    """Close what a peer has open, which it keeps for the process."""
    close_all()
    cache.close()
    pools = [*getattr(getattr(cache, "_cache", None), "_pools", {}).values()]
    factory = getattr(getattr(cache, "client", None), "connection_factory", None)
    asked = getattr(getattr(factory, "_sentinel", None), "sentinels", [])
    pools += [each.connection_pool for each in asked]
    for pool in [*pools, *ConnectionFactory._pools.values()]:
        pool.disconnect()
    ConnectionFactory._pools.clear()


DJANGO_REDIS = "django_redis.cache.RedisCache"
PLAIN_REDIS = "django.core.cache.backends.redis.RedisCache"
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
SAME: dict[str, tuple[str, Entry]] = {
    "django": (PLAIN_REDIS, {}),
    "django, options": (
        PLAIN_REDIS,
        {"OPTIONS": {"db": 3, "socket_connect_timeout": 5, "health_check_interval": 30}},
    ),
    "django-redis": (DJANGO_REDIS, {"OPTIONS": {"CLIENT_CLASS": DEFAULT}, "KEY_PREFIX": "shop"}),
    "django-redis, much": (
        DJANGO_REDIS,
        {
            "TIMEOUT": 3600,
            "OPTIONS": {
                "CLIENT_CLASS": DEFAULT,
                "IGNORE_EXCEPTIONS": True,
                "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
                "SOCKET_TIMEOUT": 5,
                "SOCKET_CONNECT_TIMEOUT": 5,
                "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
                "CONNECTION_POOL_KWARGS": {"max_connections": 9, "retry_on_timeout": True, "db": 2},
                "PICKLE_VERSION": -1,
            },
        },
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_one_line_moves_a_project_on_redis(kind: str, redis_server: RedisServer) -> None:
    """With `BACKEND` alone changed, the same code does the same in the same database."""
    theirs, entry = SAME[kind]
    settings = both(theirs, {"LOCATION": redis_server.url, **entry})
    does_the_same(settings)
    redis_server.flush()
    with override_settings(CACHES={**settings, "default": settings["ours"]}):
        names = []
        for alias in settings:
            caches[alias].set("key", 1)
            names.append((*redis_server.info("keyspace"), caches[alias].make_key("key")))
            caches[alias].clear()
            let_go(caches[alias])
    assert names[0] == names[1]


@pytest.mark.parametrize("form", ["{0.host}:{0.port}", "redis://{0.host}:{0.port}?db=1"])
def test_one_line_moves_a_project_with_a_short_location(
    form: str, redis_server: RedisServer
) -> None:
    """A server without a scheme, named twice, is one server."""
    location = form.format(redis_server)
    with override_settings(CACHES={"default": {**both("", {"LOCATION": [location] * 2})["ours"]}}):
        caches["default"].set("key", 1)
        assert caches["default"].get("key") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"ignore_exc": True, "no_delay": True},
        {"use_pooling": True, "max_pool_size": 4, "timeout": 2},
    ],
)
def test_one_line_moves_a_project_on_memcached(
    options: Entry, memcached_server: MemcachedServer
) -> None:
    """With `BACKEND` alone changed, the same code does the same."""
    does_the_same(both(PYMEMCACHE, {"LOCATION": memcached_server.address, "OPTIONS": options}))


def test_one_line_moves_a_project_behind_sentinels(redis_sentinels: RedisSentinels) -> None:
    """What django-redis is told of sentinels leads to the same primary."""
    entry = {
        "LOCATION": "redis://mymaster/0",
        "OPTIONS": {
            "CLIENT_CLASS": DEFAULT,
            "SENTINELS": redis_sentinels.addresses,
            "SOCKET_TIMEOUT": 5,
        },
    }
    with override_settings(
        DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory"
    ):
        does_the_same(both(DJANGO_REDIS, entry))


def test_one_line_moves_a_project_on_a_cluster(redis_cluster: RedisCluster) -> None:
    """A client class for clusters finds all nodes by one of them."""
    entry = {
        "BACKEND": "twofold.contrib.django.RedisCache",
        "LOCATION": redis_cluster.urls[0],
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ClusterClient"},
    }
    with override_settings(CACHES={"default": entry}):
        values = {f"key{number}": number for number in range(50)}
        caches["default"].set_many(values)
        assert caches["default"].get_many(values) == values


@pytest.mark.parametrize("reqs", [None, "none", ssl.CERT_NONE])
def test_one_line_moves_a_project_with_unverified_tls(
    reqs: Any, tls_redis: RedisServer, certificates: Certificates
) -> None:
    """Each spelling by which a certificate is not verified is understood."""
    options = {"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": reqs, "ssl_check_hostname": False}}
    does_the_same(both(DJANGO_REDIS, {"LOCATION": tls_redis.url, "OPTIONS": options}))


@pytest.mark.parametrize("ignored", [True, False])
def test_an_outage_is_what_it_was(ignored: bool) -> None:
    """Where errors were ignored they are misses, and where they were raised they are."""
    options = {"IGNORE_EXCEPTIONS": ignored, "SOCKET_TIMEOUT": 1}
    settings = both(DJANGO_REDIS, {"LOCATION": NOWHERE, "OPTIONS": options})
    with override_settings(CACHES={**settings, "default": settings["ours"]}):
        for alias in settings:
            if ignored:
                assert caches[alias].get("key", "default") == "default"
            else:
                with pytest.raises((RedisError, BackendUnavailable)):
                    caches[alias].get("key")
            let_go(caches[alias])


def test_an_entry_that_cannot_be_had_is_an_error_at_first_use() -> None:
    """Django's error for a backend carries the message."""
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "OPTIONS": {"CLIENT_CLASS": "a.B"}}
    refused = pytest.raises(InvalidCacheBackendError, match=r"CACHES.*CLIENT_CLASS.*leave it out")
    with override_settings(CACHES={"default": entry}), refused:
        caches["default"].get("key")
