"""Names that other libraries have, and addresses that are almost URLs, are answered with ours."""

import asyncio
import functools
import inspect
import re
from importlib.util import find_spec
from typing import Any

import pytest

import twofold
from twofold import (
    Cache,
    InvalidKey,
    InvalidTimeout,
    SettingsError,
    cache,
    cached,
    caches,
    configure,
)
from twofold.elsewhere import _OPERATIONS, NAMES, OF_CALLS, OF_DECORATORS, operation
from twofold.settings.config import _READERS

aset: Any = cache.aset
DJANGO = "django.core.cache.backends"

SETTINGS = [
    (lambda: Cache("memory://", ttl=5), "did you mean 'timeout'?"),
    (lambda: Cache("memory://", expire=5), "did you mean 'timeout'?"),
    (lambda: Cache("memory://", namespace="a"), "did you mean 'key_prefix'?"),
    (lambda: Cache("memory://", maxsize=5), "it is OPTIONS['max_entries']"),
    (lambda: Cache("memory://", stale=5), "it is FRESHNESS['stale']"),
    (lambda: Cache("memory://", options={"maxsize": 5}), "did you mean 'max_entries'?"),
    (lambda: Cache("memory://?maxsize=5"), "did you mean 'max_entries'?"),
    (lambda: Cache("memory://?ttl=5"), "it is TIMEOUT"),
    (lambda: Cache("redis://h?socket_timeout=5"), "did you mean 'deadline'?"),
    (lambda: Cache("redis://h?max_connections=5"), "leave it out: each thread has a connection"),
    (lambda: Cache("redis://h?decode_responses=True"), "leave it out: values come back"),
    (lambda: Cache("mem://"), "did you mean 'memory'?"),
    (lambda: Cache("locmem://"), "did you mean 'memory'?"),
    (lambda: Cache("disk://c"), "did you mean 'files'?"),
    (lambda: Cache("redis:localhost"), "did you mean 'redis://localhost'?"),
    (lambda: Cache("redis//localhost"), "did you mean 'redis://localhost'?"),
    (lambda: Cache("redis:/localhost:6379/0"), "did you mean 'redis://localhost:6379/0'?"),
    (lambda: Cache("localhost:6379"), "did you mean 'redis://localhost:6379'?"),
    (lambda: Cache("redis"), "did you mean 'redis://localhost'?"),
    (lambda: Cache("memory"), "did you mean 'memory://'?"),
    (lambda: Cache("sqlite"), "did you mean 'sqlite:///cache.db'?"),
    (lambda: Cache("files"), "did you mean 'files:///cache'?"),
    (lambda: Cache("memcached"), "did you mean 'memcached://localhost'?"),
    (lambda: Cache("valkey"), "did you mean 'valkey://localhost'?"),
    (lambda: configure("localhost:6379"), "did you mean 'redis://localhost:6379'?"),
    (lambda: configure("redis"), "did you mean 'redis://localhost'?"),
    (lambda: configure("memory"), "did you mean 'memory://'?"),
    (lambda: configure({"BACKEND": "memory"}), "settings stand under an alias"),
    (lambda: configure(url="redis://h"), "configure('redis://localhost')"),  # type: ignore[arg-type]
    (lambda: configure(default="redis://h"), "configure('redis://localhost')"),  # type: ignore[arg-type]
    (lambda: Cache("memory://?keyprefix=a"), "it is KEY_PREFIX"),
    (lambda: Cache("memory://?key-prefix=a"), "it is KEY_PREFIX"),
    (lambda: Cache("memory://?timout=5"), "it is TIMEOUT"),
    (lambda: setting(BACKEND="sqlite", LOCATION="redis://:pw@h"), "'redis://:***@h' is no path of"),
    (lambda: setting(BACKEND="nowhere.cache.RedisCache"), "did you mean 'redis'?"),
    (lambda: setting(BACKEND=f"{DJANGO}.redis.RedisCache"), "did you mean 'redis'?"),
    (lambda: setting(BACKEND=f"{DJANGO}.locmem.LocMemCache"), "did you mean 'memory'?"),
    (lambda: setting(BACKEND=f"{DJANGO}.memcached.PyMemcacheCache"), "did you mean 'memcached'?"),
    (lambda: setting(BACKEND=f"{DJANGO}.memcached.PyLibMCCache"), "did you mean 'memcached'?"),
    (lambda: setting(BACKEND=f"{DJANGO}.filebased.FileBasedCache"), "did you mean 'files'?"),
    (lambda: setting(BACKEND="twofold.contrib.django.RedisCache"), "did you mean 'redis'?"),
    (
        lambda: caches["redis://:pw@h"],
        "no cache 'redis://:***@h' in CACHES",
    ),
    (lambda: setting(TTL=5), "did you mean 'TIMEOUT'?"),
    (lambda: setting(EXPIRE=5), "did you mean 'TIMEOUT'?"),
    (lambda: setting(HOST="h"), "did you mean 'LOCATION'?"),
    (lambda: setting(URL="redis://h"), "did you mean 'LOCATION'?"),
    (lambda: setting(ENGINE="redis"), "did you mean 'BACKEND'?"),
    (lambda: setting(PREFIX="a"), "did you mean 'KEY_PREFIX'?"),
    (lambda: setting(MAXSIZE=5), "it is OPTIONS['max_entries']"),
    (lambda: setting(PASSWORD="p"), "it is OPTIONS['password']"),
    (lambda: setting(STALE=5), "it is FRESHNESS['stale']"),
    (lambda: setting(OPTIONS={"host": "h"}), "it is LOCATION"),
    (lambda: Cache("memory://?passwrd=p"), "it is OPTIONS['password'], of stores that have"),
    (lambda: setting(OPTIONS={"ignore_exceptions": True}), "did you mean 'on_error'?"),
    (lambda: cache.get_or_set("k", dict, ttl=5), "did you mean 'timeout'?"),
    (lambda: cache.get_or_set("k", dict, expiration_time=5), "did you mean 'timeout'?"),
    (lambda: cached(ttl=60), "timeout="),
    (lambda: cached.many(ttl=60), "timeout="),
]

ARGUMENTS = [
    (lambda: cache.set("k", 1, ttl=5), "did you mean 'timeout'?"),
    (lambda: cache.set("k", 1, ex=5), "did you mean 'timeout'?"),
    (lambda: cache.set("k", 1, expire=5), "did you mean 'timeout'?"),
    (lambda: cache.set("k", 1, expires_in=5), "did you mean 'timeout'?"),
    (lambda: cache.set("k", 1, tag="t"), "did you mean 'tags'?"),
    (lambda: cache.set("k", 1, nx=True), "add(key, value)"),
    (lambda: cache.set("k", 1, nonsense=1), "unexpected keyword argument 'nonsense'"),
    (lambda: asyncio.run(aset("k", 1, ttl=5)), "aset() got an unexpected keyword argument 'ttl'"),
    (lambda: cache.add("k", 1, ttl=5), "did you mean 'timeout'?"),
    (lambda: asyncio.run(cache.aadd("k", 1, ttl=5)), "did you mean 'timeout'?"),
    (lambda: cache.set_many({"k": 1}, ttl=5), "did you mean 'timeout'?"),
    (lambda: asyncio.run(cache.aset_many({"k": 1}, ttl=5)), "did you mean 'timeout'?"),
    (lambda: cache.touch("k", ttl=5), "did you mean 'timeout'?"),
    (lambda: asyncio.run(cache.atouch("k", ttl=5)), "did you mean 'timeout'?"),
    (lambda: cache.lock("k", expire=5), "did you mean 'timeout'?"),
    (lambda: cache.lock("k", blocking=False), "did you mean 'wait'?"),
]


def setting(**settings: Any) -> None:
    configure({"default": {"BACKEND": "redis", **settings}})


@pytest.mark.parametrize(("call", "answer"), SETTINGS, ids=[answer for _, answer in SETTINGS])
def test_a_near_miss_is_answered_with_our_name(call: Any, answer: str) -> None:
    """The message says what to write."""
    with pytest.raises(SettingsError, match=re.escape(answer)):
        call()


@pytest.mark.parametrize(("call", "answer"), ARGUMENTS)
def test_an_argument_that_there_is_not_is_a_type_error_as_ever(call: Any, answer: str) -> None:
    """It names the operation, what was given, and ours."""
    with pytest.raises(TypeError, match=re.escape(answer)):
        call()


@pytest.mark.parametrize("name", ["other", "others"])
def test_what_takes_wrong_names_is_no_name_to_write(name: str) -> None:
    """Every name that is not an operation's ends there."""
    with pytest.raises(TypeError, match=f"argument '{name}'$"):
        cache.set("k", 1, **{name: 1})


@pytest.mark.parametrize("name", OF_CALLS)
def test_what_has_no_counterpart_in_calls_is_answered(name: str) -> None:
    """Rather than by the name that happens to be spelled like it."""
    with pytest.raises(TypeError, match=re.escape(OF_CALLS[name])):
        cache.set("k", 1, **{name: 1})


@pytest.mark.parametrize("name", OF_DECORATORS)
def test_options_of_other_decorators_are_answered(name: str) -> None:
    """Each with what to write; what is an option here too is taken."""
    if name in inspect.signature(cached).parameters:
        cached(**{name: "default"})
        return
    with pytest.raises(SettingsError, match=re.escape(OF_DECORATORS[name])):
        cached(**{name: 1})


@pytest.mark.parametrize("name", _OPERATIONS)
def test_operations_of_other_caches_are_answered(name: str) -> None:
    """In both faces, by an AttributeError; nobody finds the name by `hasattr`, TAB or `dir`."""
    assert name not in dir(cache)
    for each in (name, f"a{name}"):
        assert not hasattr(cache, each)
        with pytest.raises(AttributeError, match=re.escape(f"{each!r}: {_OPERATIONS[name]}")):
            getattr(cache, each)


def test_what_is_answered_for_an_operation_is_there() -> None:
    """What the answers name is an operation of a cache, unless they say where else it is."""
    for answer in {operation(name) for name in _OPERATIONS}:
        assert answer is not None
        first = re.match(r"(\w+)\(", answer)
        if first and first[1] != "close":
            assert hasattr(Cache, first[1]), answer
        for other in re.findall(r"twofold\.(\w+)", answer):
            assert hasattr(twofold, other), answer


def test_a_mistyped_operation_is_answered_by_python() -> None:
    """It knows what object was asked, and suggests what is near."""
    with pytest.raises(AttributeError) as raised:
        cache.gett  # type: ignore[attr-defined]  # noqa: B018
    assert (raised.value.name, type(raised.value.obj)) == ("gett", Cache)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_imported_elsewhere_is_answered(name: str) -> None:
    """`from twofold import …` tells what to import; that is there, and the name no module's."""
    with pytest.raises(ImportError, match=re.escape(f"{name!r}: {NAMES[name]}")):
        exec(f"from twofold import {name}")
    with pytest.raises(AttributeError, match=re.escape(f"{name!r}: {NAMES[name]}")):
        getattr(twofold, name)
    assert find_spec(f"twofold.{name}") is None
    for ours in re.findall(r"import (\w+)", NAMES[name]):
        assert ours in twofold.__all__


def test_a_module_has_no_other_names() -> None:
    """As of every module: pickle, for one, looks through all modules for a function's name."""
    assert not hasattr(twofold, "nonsense")
    assert not hasattr(twofold, "memoize")
    assert not hasattr(twofold, "__path_hook__")


def test_signatures_say_what_may_be_given() -> None:
    """`inspect.signature`, and so TAB and `help`, name the options of the decorators."""
    for decorator in (cached, cached.many):
        names = set(inspect.signature(decorator).parameters)
        assert names - {"function", "freshness"} == {
            *(decorator._names - twofold.Freshness.__annotations__.keys())
        }
    assert [*inspect.signature(cache.set).parameters][:4] == ["key", "value", "timeout", "version"]


def test_valkey_is_redis() -> None:
    """Its scheme is one of ours."""
    assert type(Cache("valkey://localhost").backend).__name__ == "RedisBackend"


@pytest.mark.parametrize("location", ["shop", "not an address", ""])
def test_what_is_no_address_is_answered_without_a_guess(location: str) -> None:
    """A wrong guess is worse than none."""
    with pytest.raises(SettingsError) as refused:
        Cache(location)
    assert "did you mean" not in str(refused.value)


@pytest.mark.parametrize("name", _READERS)
def test_settings_without_an_alias_are_told(name: str) -> None:
    """A dict of settings is not one of aliases."""
    with pytest.raises(SettingsError, match="under an alias"):
        configure({name: "memory"})


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("cached_page(60)", "cached_page(timeout=60)"),
        ("cached_page('10m')", "cached_page(timeout=60)"),
        ("cached_page(ttl=60)", "did you mean 'timeout'?"),
        ("starlette_page(60)", "cached_page(timeout=60)"),
        ("starlette_page(expire=60)", "did you mean 'timeout'?"),
        ("CacheMiddleware(None, ttl=60)", "did you mean 'timeout'?"),
        ("CacheMiddleware(None, timeout='10x')", "'10x' is no duration"),
        ("cache_page(60, ttl=60)", "did you mean"),
        ("cache_page('10x')", "'10x' is no duration"),
        ("cache_page(print)", "a timeout is a number of seconds"),
        ("caching.cached(timeout=60)", "write @caching.cached_page for a view, @twofold.cached"),
        ("caching.memoize(60)", "write @twofold.cached"),
        ("caching.set('a', 1)", "write caching.cache.set"),
    ],
)
def test_what_is_near_to_pages_is_answered_with_ours(mistake: str, says: str) -> None:
    """Where it is written, and not at the first request."""
    from twofold.contrib.django import cache_page
    from twofold.contrib.flask import Caching
    from twofold.contrib.starlette import CacheMiddleware
    from twofold.contrib.starlette import cached_page as starlette_page

    caching = Caching()
    names = {"caching": caching, "cached_page": caching.cached_page, "cache_page": cache_page}
    names |= {"starlette_page": starlette_page, "CacheMiddleware": CacheMiddleware}
    with pytest.raises((SettingsError, InvalidTimeout, TypeError, AttributeError)) as caught:
        eval(mistake, names)
    assert says in str(caught.value)


@pytest.mark.parametrize("data", [["k"], {"k"}, [("k", 1)], "k", None])
def test_many_values_that_are_no_dict_are_refused(data: Any) -> None:
    """In both faces, in our words."""
    with pytest.raises(InvalidKey, match="a dict of keys to values, not "):
        cache.set_many(data)
    with pytest.raises(InvalidKey, match="a dict of keys to values, not "):
        asyncio.run(cache.aset_many(data))


def test_a_name_that_says_no_store_is_near_to_none() -> None:
    """Each class of caches is called so."""
    with pytest.raises(SettingsError, match=r"or correct the path$"):
        setting(BACKEND="no_such.CacheBackend")


@pytest.mark.parametrize("above", [property, functools.cached_property])
def test_a_property_stands_above(above: Any) -> None:
    """A property is no function, and the message says where it goes."""
    with pytest.raises(SettingsError, match="this is a property: put @cached below it"):
        cached(timeout=60)(above(lambda _: 1))
