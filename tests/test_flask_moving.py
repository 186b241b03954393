"""Settings of Flask-Caching: what each becomes."""

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.chaos import RedisServer
from tests.moving_page import shown, told
from twofold.contrib.flask import Caching, flask_caching
from twofold.errors import SettingsError

Entry = dict[str, Any]


def test_the_page_has_each_name_and_what_becomes_of_it() -> None:
    """The table of the documentation is that of the code, row by row."""
    assert told("Flask-Caching") == shown(flask_caching.SETTINGS)


FLASK: dict[str, tuple[Entry, Entry]] = {
    "null": ({"CACHE_TYPE": "NullCache", "CACHE_NO_NULL_WARNING": True}, {"BACKEND": "dummy"}),
    "null, short": ({"CACHE_TYPE": "null"}, {"BACKEND": "dummy"}),
    "none": ({"CACHE_TYPE": None}, {"BACKEND": "dummy"}),
    "simple": (
        {"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 300, "CACHE_THRESHOLD": 50},
        {"BACKEND": "memory", "TIMEOUT": 300, "LOCATION": "flask 50", "max_entries": 50},
    ),
    "simple, dotted": (
        {"CACHE_TYPE": "flask_caching.backends.simplecache.SimpleCache", "CACHE_THRESHOLD": 0},
        {"BACKEND": "memory", "LOCATION": "flask"},
    ),
    "for ever": (
        {"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": timedelta(0)},
        {"BACKEND": "memory", "TIMEOUT": None, "LOCATION": "flask"},
    ),
    "for ever, a fraction": (
        {"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 0.0},
        {"BACKEND": "memory", "TIMEOUT": None, "LOCATION": "flask"},
    ),
    "redis, IPv6": (
        {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "::1", "CACHE_REDIS_PORT": 6380},
        {"BACKEND": "redis", "LOCATION": "redis://[::1]:6380"},
    ),
    "files": (
        {
            "CACHE_TYPE": "FileSystemCache",
            "CACHE_DIR": Path("/c"),
            "CACHE_THRESHOLD": 0,
            "CACHE_OPTIONS": {"mode": 0o660},
        },
        {"BACKEND": "files", "LOCATION": "/c", "max_entries": None},
    ),
    "redis, host": (
        {
            "CACHE_TYPE": "redis",
            "CACHE_REDIS_HOST": "h",
            "CACHE_REDIS_PORT": "6380",
            "CACHE_REDIS_DB": "1",
            "CACHE_REDIS_PASSWORD": "sesame",
            "CACHE_KEY_PREFIX": "shop:",
            "CACHE_DEFAULT_TIMEOUT": 0,
            "CACHE_MEMCACHED_SERVERS": None,
        },
        {
            "BACKEND": "redis",
            "LOCATION": "redis://h:6380",
            "db": 1,
            "password": "sesame",
            "KEY_PREFIX": "shop",
            "TIMEOUT": None,
        },
    ),
    "redis, URL": (
        {
            "CACHE_TYPE": "flask_caching.backends.redis",
            "CACHE_REDIS_URL": "rediss://:p@h/2?ssl_cert_reqs=none",
            "CACHE_REDIS_HOST": "other",
            "CACHE_REDIS_DB": 0,
            "CACHE_IGNORE_ERRORS": True,
            "CACHE_OPTIONS": {"socket_timeout": 2, "max_connections": 5},
        },
        {
            "BACKEND": "redis",
            "LOCATION": "rediss://:p@h/2",
            "ssl_cert_reqs": "none",
            "deadline": 2.0,
            "on_error": "miss",
        },
    ),
    "redis, plain": (
        {"CACHE_TYPE": "RedisCache"},
        {"BACKEND": "redis", "LOCATION": "redis://localhost:6379"},
    ),
    "sentinels": (
        {
            "CACHE_TYPE": "RedisSentinelCache",
            "CACHE_REDIS_SENTINELS": [["s1", "26379"], ("s2", 26379)],
            "CACHE_REDIS_SENTINEL_MASTER": "main",
            "CACHE_REDIS_SENTINEL_PASSWORD": "x",
            "CACHE_REDIS_PASSWORD": "y",
            "CACHE_REDIS_DB": 1,
        },
        {
            "BACKEND": "redis",
            "LOCATION": ["redis://s1:26379", "redis://s2:26379"],
            "sentinel": "main",
            "sentinel_password": "x",
            "password": "y",
            "db": 1,
        },
    ),
    "sentinels, plain": (
        {"CACHE_TYPE": "RedisSentinelCache"},
        {"BACKEND": "redis", "LOCATION": "redis://127.0.0.1:26379", "sentinel": "mymaster"},
    ),
    "cluster": (
        {"CACHE_TYPE": "RedisClusterCache", "CACHE_REDIS_CLUSTER": "h:1,h:2", "CACHE_REDIS_DB": 0},
        {"BACKEND": "redis", "LOCATION": ["redis://h:1", "redis://h:2"], "cluster": True},
    ),
    "memcached": (
        {
            "CACHE_TYPE": "memcached",
            "CACHE_MEMCACHED_SERVERS": ("h:1", "h:2", "h:1"),
            "CACHE_ARGS": [],
            "CACHE_OPTIONS": {"pool_size": 4},
        },
        {"BACKEND": "memcached", "LOCATION": ["h:1", "h:2"]},
    ),
    "memcached, plain": (
        {"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": None},
        {"BACKEND": "memcached", "LOCATION": "127.0.0.1:11211"},
    ),
    "memcached, login": (
        {
            "CACHE_TYPE": "SASLMemcachedCache",
            "CACHE_MEMCACHED_SERVERS": ["h:1"],
            "CACHE_MEMCACHED_USERNAME": "u",
            "CACHE_MEMCACHED_PASSWORD": "p",
            "CACHE_REDIS_PASSWORD": "of another",
        },
        {"BACKEND": "memcached", "LOCATION": "h:1", "username": "u", "password": "p"},
    ),
}


@pytest.mark.parametrize("kind", FLASK)
def test_settings_of_flask_caching_mean_here_what_they_mean_there(kind: str) -> None:
    """The `CACHE_*` of an application become its `CACHES`."""
    config, expected = FLASK[kind]
    entry = flask_caching.translate(config).caches["default"]
    assert {**entry.pop("OPTIONS"), **entry} == expected


FLASK_REFUSED: dict[str, Entry] = {
    "CACHE_TYPE": {"CACHE_TYPE": "UWSGICache"},
    "CACHE_DIR": {"CACHE_TYPE": "FileSystemCache"},
    "CACHE_REDIS_HOST": {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": object()},
    "CACHE_MEMCACHED_SERVERS": {"CACHE_TYPE": "memcached", "CACHE_MEMCACHED_SERVERS": object()},
    "CACHE_KEY_PREFIX": {"CACHE_TYPE": "SimpleCache", "CACHE_KEY_PREFIX": "my shop"},
    "CACHE_THRESHOLD": {"CACHE_TYPE": "SimpleCache", "CACHE_THRESHOLD": "much"},
    "CACHE_ARGS": {"CACHE_TYPE": "SimpleCache", "CACHE_ARGS": ["x"]},
    "CACHE_SERIALIZER": {"CACHE_TYPE": "SimpleCache", "CACHE_SERIALIZER": object()},
    "CACHE_OPTIONS['nonsense']": {"CACHE_TYPE": "SimpleCache", "CACHE_OPTIONS": {"nonsense": 1}},
}


@pytest.mark.parametrize("name", FLASK_REFUSED)
def test_what_flask_cannot_have_says_what_to_write(name: str) -> None:
    """A refusal of `init_app` has the name as it was spelled, and the way out."""
    app = Flask("shop")
    app.config.update(FLASK_REFUSED[name])
    with pytest.raises(SettingsError, match=rf"{re.escape(name)}: (write|leave it out)"):
        Caching(app)


def test_all_that_flask_cannot_have_is_told_at_once() -> None:
    """One message names every setting that is not to be had."""
    config = {"CACHE_ARGS": ["x"], "CACHE_THRESHOLD": "much", "CACHE_TYPE": "UWSGICache"}
    with pytest.raises(SettingsError) as caught:
        flask_caching.translate(config)
    assert [name for name in config if name not in str(caught.value)] == []


def test_an_application_of_flask_caching_moves(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its settings choose the cache, and what is not needed is logged once, with the reason."""
    app = Flask("shop")
    app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=redis_server.url)
    app.config.update(CACHE_KEY_PREFIX="shop:", CACHE_SOURCE_CHECK=True)
    with caplog.at_level(logging.INFO, "twofold"):
        caching = Caching(app)
    with app.app_context():
        caching.cache.set("key", 1)
        assert caching.cache.get("key") == 1
    caching.close()
    assert redis_server.command("KEYS", "*") == [b"shop:1:key"]
    [line] = [each.getMessage() for each in caplog.records if "Flask-Caching" in each.getMessage()]
    assert "CACHE_SOURCE_CHECK: " in line


def test_caches_go_before_settings_of_flask_caching() -> None:
    """An application that has `CACHES` may have settings of Flask-Caching for something else."""
    app = Flask("shop")
    app.config.update(CACHE_TYPE="UWSGICache", CACHES="memory://before")
    caching = Caching(app)
    with app.app_context():
        assert "before" in repr(caching.cache.backend)
    caching.close()
