"""The drop-in cache backends for Django: what Django's own tests of caches do not ask."""

import asyncio
import enum
import logging
import os
import pickle
import shutil
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import SyncToAsync

from tests import django_project
from tests.chaos import MemcachedServer, RedisServer, Server
from tests.chaos.processes import free_port
from tests.network_kinds import MEMCACHED, REDIS, Kind, connections

django_project.configure()

from django.contrib.sessions.models import Session
from django.core.cache import CacheHandler, InvalidCacheBackendError, caches
from django.core.cache.utils import make_template_fragment_key
from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import request_finished
from django.db import close_old_connections
from django.template import Context as TemplateContext
from django.template import Engine
from django.test import override_settings
from django.test.utils import setup_databases, teardown_databases
from django.utils import timezone

import twofold
from twofold.contrib.django import aclose_all, close_all
from twofold.contrib.django.base import TwofoldCache
from twofold.contrib.django.pickles import CannotPickle
from twofold.errors import BackendUnavailable, BlockingCallWarning, InvalidKey, SettingsError

STORES = ("FileCache", "MemcachedCache", "MemoryCache", "RedisCache", "SQLiteCache")
NETWORKED = ("MemcachedCache", "RedisCache")
KINDS: dict[str, Kind] = {"MemcachedCache": MEMCACHED, "RedisCache": REDIS}

Entry = dict[str, Any]
Use = Callable[..., TwofoldCache]


@pytest.fixture(scope="module")
def _thread() -> None:
    """Start the thread that Django keeps for sync code, so that no test seems to have left it."""
    SyncToAsync.single_thread_executor.submit(int).result()


@pytest.fixture(autouse=True)
def _closed(_thread: None, no_leaks: None) -> Iterator[None]:
    """Leave no connection and no thread of a test's caches open, and check that."""
    yield
    close_all()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that gives the `LOCATION` of an empty store for a backend."""

    def find(backend: str) -> Any:
        if backend in KINDS:
            server: Server = request.getfixturevalue(f"{KINDS[backend].name}_server")
            return KINDS[backend].url(server) if backend == "RedisCache" else server.address
        return str(tmp_path / backend)

    return find


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest) -> str:
    """Return the name of the backend that the test is to run on."""
    name: str = request.param
    return name


@pytest.fixture
def entry(backend: str, place: Callable[[str], Any]) -> Entry:
    """Return an entry of `CACHES` for an empty store."""
    return {"BACKEND": f"twofold.contrib.django.{backend}", "LOCATION": place(backend)}


@pytest.fixture
def use(entry: Entry) -> Iterator[Use]:
    """Return a function that makes Django use this entry, with more settings, as the default.

    The first argument holds settings beside `CACHES`; what was in use before is not any more.
    """
    used: list[override_settings] = []

    def set_up(settings: Entry | None = None, /, **more: Any) -> TwofoldCache:
        if used:
            used.pop().disable()
        used.append(override_settings(CACHES={"default": {**entry, **more}}, **(settings or {})))
        used[0].enable()
        return default()

    yield set_up
    if used:
        used[0].disable()


@pytest.fixture
def server(backend: str, request: pytest.FixtureRequest) -> Server:
    """Return the server behind the entry."""
    found: Server = request.getfixturevalue(f"{KINDS[backend].name}_server")
    return found


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Return a function that calls a method of a cache, or its twin in a loop of this test."""
    if request.param == "sync":
        yield lambda cache, name, *args, **options: getattr(cache, name)(*args, **options)
        return
    with asyncio.Runner() as runner:
        yield lambda cache, name, *args, **options: runner.run(
            getattr(cache, f"a{name}")(*args, **options)
        )
        runner.run(aclose_all())


@pytest.fixture(scope="module")
def database() -> Iterator[None]:
    """Have a database in memory, which all threads share, with the tables of the project."""
    databases = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(databases, verbosity=0)


def default() -> TwofoldCache:
    """Return Django's default cache, as this thread and request has it."""
    cache = caches["default"]
    assert isinstance(cache, TwofoldCache)
    return cache


def fresh() -> Any:
    """Return a new cache object, as each request under ASGI has one."""
    return CacheHandler().create_connection("default")


each_networked = pytest.mark.parametrize("backend", NETWORKED, indirect=True)


# Connections


@each_networked
def test_threads_share_what_they_can(use: Use, backend: str, server: Server) -> None:
    """200 requests in 8 threads, each with cache objects of its own, open 8 connections."""
    use()
    before = KINDS[backend].accepted(server)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: fresh().set(str(number), number), range(200)))
        found = list(threads.map(lambda number: fresh().get(str(number)), range(200)))
    assert found == list(range(200))
    opened = KINDS[backend].accepted(server) - before
    assert opened <= 8 + 1  # and one of the test's own, which counts them


@each_networked
async def test_requests_in_a_loop_share_connections(use: Use, backend: str, server: Server) -> None:
    """200 requests in one loop, each in a context of its own, open a fixed few connections."""
    use()

    async def request(number: int) -> Any:
        cache = caches["default"]
        await cache.aset(str(number), number)
        return await asyncio.gather(*(cache.aget(str(number)) for _ in range(3)))

    before = KINDS[backend].accepted(server)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(request(n), context=Context()) for n in range(200)]
    assert await asyncio.gather(*tasks) == [[n, n, n] for n in range(200)]
    opened = KINDS[backend].accepted(server) - before
    await aclose_all()
    assert opened <= 4 + 1


@each_networked
async def test_twins_use_no_thread(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation is native in the loop: no thread is started for it, but one for claims."""
    used: list[str] = []
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def started(thread: threading.Thread) -> None:
        used.append(thread.name)
        start(thread)

    def submitted(pool: ThreadPoolExecutor, call: Any, *args: Any, **options: Any) -> Any:
        used.append(str(call))
        return submit(pool, call, *args, **options)

    cache = use()
    monkeypatch.setattr(threading.Thread, "start", started)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", submitted)
    await cache.aset("a", [1])
    await cache.aset_many({"b": 2, "c": "3"})
    assert await cache.aadd("d", 4)
    assert await cache.aget_many([*"abcd"]) == {"a": [1], "b": 2, "c": "3", "d": 4}
    assert await cache.aincr("b") == 3
    assert await cache.adecr("b") == 2
    assert await cache.atouch("c", 60)
    assert await cache.ahas_key("c")
    assert await cache.aget_or_set("e", 5) == 5
    assert await cache.aincr_version("e") == 2
    assert await cache.adelete("d")
    await cache.adelete_many([*"ab"])
    assert await cache.aget("c") == "3"
    await cache.aclear()
    await cache.aclose()
    await aclose_all()
    assert set(used) <= {"twofold-claims"}


@each_networked
def test_the_end_of_a_request_leaves_connections_open(use: Use, server: Server) -> None:
    """Neither `request_finished` nor `close_all()` of Django's costs the next request a dial."""
    cache = use()
    cache.set("key", 1)
    assert connections(server) == 1
    request_finished.disconnect(close_old_connections)
    try:
        request_finished.send(None)
    finally:
        request_finished.connect(close_old_connections)
    caches.close_all()
    cache.close()
    assert connections(server) == 1
    close_all()
    assert connections(server) == 0
    assert cache.get("key") == 1


@each_networked
async def test_aclose_all_closes_those_of_the_loop(use: Use, server: Server) -> None:
    """What a loop has opened is closed in it, and opened again when it is needed."""
    cache = use()
    await cache.aset("key", 1)
    await cache.aclose()
    assert connections(server) > 0
    await aclose_all()
    assert connections(server) == 0
    assert await cache.aget("key") == 1
    await aclose_all()


@each_networked
def test_other_settings_have_other_connections(use: Use, server: Server) -> None:
    """When a test overrides settings, caches are built anew and the old ones closed."""
    assert use(TIMEOUT=60).default_timeout == 60
    default().set("key", 1)
    assert use(TIMEOUT=5).default_timeout == 5
    assert connections(server) == 0
    assert default().get("key") == 1


# The same entries


KEYS: list[Entry] = [
    {},
    {"KEY_PREFIX": "shop", "VERSION": 3},
    {"KEY_PREFIX": "shop:eu"},
    {"KEY_PREFIX": "läden"},
    {"KEY_FUNCTION": "tests.test_django_backends.own_key"},
]


def own_key(key: str, prefix: str, version: int) -> str:
    """Return a key without Django's form."""
    return f"{prefix}/{version}/{key}"


@pytest.fixture
def _reread() -> Iterator[None]:
    """Have twofold look for its settings again, in Django's too."""
    twofold.configure()
    yield
    twofold.configure()


@pytest.mark.usefixtures("_reread")
@pytest.mark.parametrize("more", KEYS, ids=["plain", "prefix", "colon", "wide", "function"])
def test_twofold_reads_what_django_wrote(use: Use, more: Entry) -> None:
    """`twofold.caches` has the entries of Django's caches, and the other way round."""
    ours, theirs = twofold.caches, use(**more)
    theirs.set("key", {"a": (1, 2)})
    theirs.set("other", 7, version=2)
    assert ours["default"].get("key") == {"a": (1, 2)}
    assert ours["default"].incr("other", version=2) == 8
    ours["default"].set("back", {3})
    assert theirs.get_many(["key", "back"]) == {"key": {"a": (1, 2)}, "back": {3}}
    assert theirs.get("other", version=2) == 8
    assert ours["default"].delete("key")
    assert not theirs.has_key("key")
    twofold.close_all()


def test_both_faces_have_the_same_entries(use: Use) -> None:
    """What one face has written the other one reads."""
    cache = use()
    cache.set("sync", ["s"])

    async def other_face() -> Any:
        await cache.aset_many({"async": ["a"], "number": 1})
        found = await cache.aget("sync")
        await aclose_all()
        return found

    assert asyncio.run(other_face()) == ["s"]
    assert cache.get_many(["async", "number"]) == {"async": ["a"], "number": 1}


def test_clear_leaves_other_prefixes(entry: Entry, call: Callable[..., Any]) -> None:
    """`clear()` empties all versions of its prefix, and nothing else of the store."""
    aliases = {"default": "shop", "longer": "shops"}
    with override_settings(CACHES={a: {**entry, "KEY_PREFIX": p} for a, p in aliases.items()}):
        caches["longer"].set("key", 3)
        default().set_many({"key": 1, "more": 1})
        default().set("key", 2, version=2)
        call(default(), "clear")
        assert default().get_many(["key", "more"]) == {}
        assert default().get("key", version=2) is None
        assert caches["longer"].get("key") == 3


def test_a_key_function_has_nothing_to_clear_by(use: Use, call: Callable[..., Any]) -> None:
    """Without a common prefix `clear()` refuses, unless the whole store may be emptied."""
    cache = use(KEY_FUNCTION=own_key)
    cache.set("key", 1)
    with pytest.raises(SettingsError, match=r'OPTIONS\["clear"\] = "flush"'):
        call(cache, "clear")
    assert cache.get("key") == 1
    cache = use(KEY_FUNCTION=own_key, OPTIONS={"clear": "flush"})
    cache.set("key", 1)
    call(cache, "clear")
    assert cache.get("key") is None


# Pickles


unpickled: list[str] = []


class Harmful:
    """An object that does something when it is unpickled."""

    def __reduce__(self) -> Any:
        return unpickled.append, ("harm",)


each_of_bytes = pytest.mark.parametrize(
    "backend", [each for each in STORES if each != "MemoryCache"], indirect=True
)


@each_of_bytes
def test_what_another_secret_signed_is_never_unpickled(use: Use, call: Callable[..., Any]) -> None:
    """An entry that does not bear this project's signature is a miss, and runs nothing."""
    use({"SECRET_KEY": "somebody else's"}).set_many({"key": Harmful(), "more": Harmful()})
    cache = use()
    assert call(cache, "get", "key", "miss") == "miss"
    assert call(cache, "get_many", ["key", "more"]) == {}
    assert call(cache, "get_or_set", "key", 5) == 5
    assert unpickled == []


def test_an_unsigned_pickle_is_a_miss(redis_server: RedisServer) -> None:
    """Who can write to the server cannot make Django unpickle what they wrote."""
    forged = [pickle.dumps(Harmful()), b"\x80\x05harm", b""]
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": redis_server.url}
    with override_settings(CACHES={"default": entry}):
        default().set("key", ["mine"])
        (name,) = redis_server.command("KEYS", "*")
        signed = redis_server.command("GET", name)
        for value in [*forged, signed[:-1] + b"!", signed + pickle.dumps(Harmful())]:
            redis_server.command("SET", name, value)
            assert default().get("key", "miss") == "miss"
        redis_server.command("SET", b":1:another", signed)
        assert default().get("another", "miss") == "miss"
        redis_server.command("SET", name, signed)
        assert default().get("key") == ["mine"]
    assert unpickled == []


def test_numbers_are_the_servers_unless_they_are_signed(redis_server: RedisServer) -> None:
    """Bare numbers are counters of the server; signed ones are nobody else's to write."""
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": redis_server.url}
    for numbers, found in (({}, 8), ({"numbers": "signed"}, None)):
        with override_settings(CACHES={"default": {**entry, "OPTIONS": numbers}}):
            default().set("count", 6)
            assert default().incr("count") == 7
            redis_server.command("SET", ":1:count", "8")
            assert default().get("count") == found


@each_of_bytes
def test_former_secrets_are_recognised(use: Use, call: Callable[..., Any]) -> None:
    """With `SECRET_KEY_FALLBACKS` a new `SECRET_KEY` does not empty the cache."""
    use({"SECRET_KEY": "former"}).set("key", ["old"])
    cache = use({"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["former"]})
    assert call(cache, "get", "key") == ["old"]
    cache.set("newer", ["new"])
    cache = use({"SECRET_KEY": "new"})
    assert call(cache, "get", "key") is None
    assert call(cache, "get", "newer") == ["new"]


class Colour(enum.IntEnum):
    RED = 1


class Count(int):
    pass


@pytest.mark.parametrize("value", [True, False, Colour.RED, Count(7), 1.0, 2**70, -1, None])
def test_numbers_keep_their_types(use: Use, call: Callable[..., Any], value: Any) -> None:
    """A bool, an enum or a big number comes back as what it was."""
    cache = use()
    call(cache, "set", "key", value)
    found = call(cache, "get", "key", "miss")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("method", ["set", "add", "get_or_set"])
def test_what_pickle_refuses_is_a_pickle_error(
    use: Use, call: Callable[..., Any], method: str
) -> None:
    """Code that catches `pickle.PickleError` goes on working, and nothing is stored."""
    cache = use()
    with pytest.raises(pickle.PickleError) as caught:
        call(cache, method, "key", threading.Lock())
    assert isinstance(caught.value, CannotPickle)
    with pytest.raises(CannotPickle):
        call(cache, "set_many", {"good": 1, "key": threading.Lock()})
    assert call(cache, "get_many", ["key", "good"]) == {}


@pytest.mark.parametrize("backend", ["MemoryCache"], indirect=True)
def test_values_are_pickled_outside_the_lock(use: Use) -> None:
    """While a value is pickled, which may take long, other threads use the cache."""
    cache = use()

    class Slow:
        def __reduce__(self) -> Any:
            with ThreadPoolExecutor(1) as other:
                other.submit(fresh().set, "meanwhile", 1).result(5)
            return list, ()

    cache.set("set", Slow())
    assert cache.add("add", Slow())
    assert cache.get_many(["set", "add", "meanwhile"]) == {"set": [], "add": [], "meanwhile": 1}


# Values that ask the database


@pytest.fixture
def queryset(database: None) -> Iterator[Any]:
    """Return a QuerySet of one row that has asked nothing yet."""
    Session.objects.create(session_key="one", session_data="", expire_date=timezone.now())
    yield Session.objects.filter(session_key="one")
    Session.objects.all().delete()


async def test_a_lazy_queryset_is_stored_as_what_it_finds(use: Use, queryset: Any) -> None:
    """What must not ask the database in a loop is pickled in Django's thread for sync code."""
    cache = use()
    await cache.aset("set", queryset.all())
    assert await cache.aset_many({"many": queryset.all(), "plain": 1}) == []
    assert await cache.aadd("add", queryset.all())
    assert not await cache.aadd("add", queryset.all())

    def found() -> Any:
        return queryset.all()

    async def afound() -> Any:
        return queryset.all()

    for name, value in (("value", queryset.all()), ("call", found), ("acall", afound)):
        assert [each.pk for each in await cache.aget_or_set(name, value)] == ["one"]
    names = ["set", "many", "add", "value", "call", "acall"]
    got = await cache.aget_many(names)
    assert {name: [each.pk for each in got[name]] for name in got} == {n: ["one"] for n in names}
    assert await cache.aget("plain") == 1
    await aclose_all()


async def test_a_sync_default_may_use_the_database(use: Use, queryset: Any) -> None:
    """A function given to `aget_or_set` runs where Django runs sync code."""
    cache = use()
    assert await cache.aget_or_set("count", queryset.count) == 1
    await aclose_all()


# What operations mean


def test_add_that_is_over_at_once_adds_nothing(use: Use, call: Callable[..., Any]) -> None:
    """`add(timeout=0)` tells whether it could have added, as in Django."""
    cache = use()
    assert call(cache, "add", "key", 1, 0) is True
    assert call(cache, "add", "key", 1, timeout=-5) is True
    assert call(cache, "get", "key", "miss") == "miss"
    call(cache, "set", "key", 2)
    assert call(cache, "add", "key", 1, timeout=0) is False
    assert call(cache, "get", "key") == 2


@pytest.mark.parametrize("value", [1.5, "1", [1], None])
def test_only_whole_numbers_are_counted(use: Use, call: Callable[..., Any], value: Any) -> None:
    """Adding to anything else is a `TypeError`, and leaves it as it is."""
    cache = use()
    call(cache, "set", "key", value)
    with pytest.raises(TypeError):
        call(cache, "incr", "key")
    assert call(cache, "get", "key") == value


def test_counting_keeps_the_expiry(use: Use, call: Callable[..., Any]) -> None:
    """`incr` and `decr` give an entry no longer life."""
    cache = use()
    call(cache, "set", "key", 1, 5000)
    assert call(cache, "incr", "key", 4) == 5
    assert call(cache, "decr", "key", 2) == 3
    left = cache.cache.ttl(":1:key")
    assert left is not None
    assert 4900 < left <= 5001


@pytest.mark.parametrize("backend", ["MemcachedCache"], indirect=True)
def test_what_is_too_big_removes_the_older_value(use: Use, call: Callable[..., Any]) -> None:
    """A reader never finds a value that was to be replaced, though the new one has no room."""
    cache, big = use(), os.urandom(2**20 + 1)
    call(cache, "set_many", {"a": 1, "b": 1, "c": 1})
    call(cache, "set", "a", big)
    assert call(cache, "set_many", {"b": big, "c": 2}) == ["b"]
    assert call(cache, "get_many", [*"abc"]) == {"c": 2}


def test_concurrent_misses_are_computed_once(use: Use) -> None:
    """Threads and loops of a process that miss a key together share one computation."""
    use()
    runs: list[int] = []
    callers = threading.Barrier(6)
    asked = threading.Semaphore(0)

    def compute() -> str:
        runs.append(1)
        for _ in range(5):  # the others have asked, or are about to
            asked.acquire(timeout=5)
        return "value"

    def in_thread() -> Any:
        callers.wait()
        asked.release()
        return fresh().get_or_set("key", compute)

    async def in_loop() -> Any:
        callers.wait()
        asked.release()
        return await fresh().aget_or_set("key", compute)

    with ThreadPoolExecutor(6) as threads:
        waiting = [threads.submit(in_thread) for _ in range(3)]
        waiting += [threads.submit(asyncio.run, in_loop()) for _ in range(3)]
        assert [each.result() for each in waiting] == ["value"] * 6
    assert len(runs) == 1


async def test_a_sync_call_in_a_loop_warns(use: Use, backend: str) -> None:
    """A call that blocks a running loop works, and its line is told of; memory never blocks."""
    cache = use()
    if backend == "MemoryCache":
        assert cache.get("key") is None
        return
    with pytest.warns(BlockingCallWarning, match=r"await cache\.aget\(") as got:
        assert cache.get("key") is None
    with pytest.warns(BlockingCallWarning, match=r"await cache\.ahas_key\(") as had:
        assert "key" not in cache
    for name in ("incr_version", "decr_version"):
        with (
            pytest.warns(BlockingCallWarning, match=rf"await cache\.a{name}\(") as moved,
            suppress(ValueError),
        ):
            getattr(cache, name)("key")
        had.list.extend(moved)
    assert {each.filename for each in [*got, *had]} == {__file__}
    cache = use(OPTIONS={"blocking_calls": "allow"})
    assert cache.get("key") is None


# Settings


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"BACKEND": "MemoryCache", "OPTIONS": {"MAX_ENTIRES": 5}}, "did you mean 'max_entries'"),
        ({"BACKEND": "RedisCache", "OPTIONS": {"dead_line": 5}}, "did you mean 'deadline'"),
        ({"BACKEND": "RedisCache", "TIMOUT": 5}, "did you mean 'TIMEOUT'"),
        ({"BACKEND": "RedisCache", "LOCATION": "rediss//x"}, "LOCATION"),
        ({"BACKEND": "MemoryCache", "OPTIONS": {"on_error": "mis"}}, "did you mean 'miss'"),
    ],
)
def test_mistakes_in_settings_are_told(entry: Entry, message: str) -> None:
    """A wrong name is an `InvalidCacheBackendError` with the alias and the nearest right one."""
    path = f"twofold.contrib.django.{entry['BACKEND']}"
    with override_settings(CACHES={"default": {}, "sessions": {**entry, "BACKEND": path}}):
        with pytest.raises(InvalidCacheBackendError) as refused:
            caches["sessions"].get("key")
        assert message in str(refused.value)
        assert "CACHES['sessions']" in str(refused.value)


@each_networked
def test_culling_is_for_stores_with_bounds(use: Use) -> None:
    """A server that evicts by its own rules ignores what Django's settings say of it."""
    cache = use(OPTIONS={"MAX_ENTRIES": 5, "CULL_FREQUENCY": 2})
    cache.set_many({str(number): number for number in range(20)})
    assert len(cache.get_many(map(str, range(20)))) == 20


@pytest.mark.parametrize("backend", ["FileCache", "SQLiteCache"], indirect=True)
def test_a_location_may_be_a_path(use: Use, entry: Entry) -> None:
    """A `Path` and the same text are one place."""
    use(LOCATION=Path(entry["LOCATION"])).set("key", 1)
    assert use().get("key") == 1


@pytest.mark.parametrize("form", ["{0},{1}", "{0};{1}", None])
def test_locations_name_several_servers(
    memcached_servers: list[MemcachedServer], form: str | None
) -> None:
    """Several servers are a list, or one text as Django takes it."""
    addresses = [each.address for each in memcached_servers]
    location: Any = addresses[:2] if form is None else form.format(*addresses)
    entry = {"BACKEND": "twofold.contrib.django.MemcachedCache", "LOCATION": location}
    with override_settings(CACHES={"default": entry}):
        default().set_many({str(number): number for number in range(50)})
        found = [len(each.all_keys()) for each in memcached_servers]
        assert found[0] + found[1] == 50
        assert min(found[:2]) > 5
        assert found[2] == 0


@pytest.mark.parametrize("backend", ["FileCache"], indirect=True)
def test_files_come_and_go(use: Use, entry: Entry) -> None:
    """A directory that is removed is made again, closed to others; a damaged file is a miss."""
    folder = Path(entry["LOCATION"])
    cache = use()
    cache.set("key", [1])
    shutil.rmtree(folder)
    assert cache.get("key", "miss") == "miss"
    cache.set("key", [2])
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    for each in files:
        each.write_bytes(b"")
    assert cache.get("key", "miss") == "miss"


# Outages


@pytest.fixture
def nowhere(backend: str) -> Entry:
    """Return an entry for a server that is not there."""
    scheme = "redis://" if backend == "RedisCache" else ""
    location = f"{scheme}127.0.0.1:{free_port()}"
    return {"BACKEND": f"twofold.contrib.django.{backend}", "LOCATION": location}


@each_networked
def test_an_outage_is_a_miss(
    nowhere: Entry, call: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Pages go on without their cache, and one line of the log says so."""
    caplog.set_level(logging.WARNING, "twofold")
    with override_settings(CACHES={"default": nowhere}):
        cache = default()
        assert call(cache, "get", "key", "miss") == "miss"
        assert call(cache, "set", "key", 1) is False
        assert sorted(call(cache, "set_many", {"key": 1, "more": 2})) == ["key", "more"]
        assert call(cache, "get_many", ["key"]) == {}
        assert call(cache, "add", "key", 1) is False
        assert call(cache, "touch", "key") is False
        assert call(cache, "delete", "key") is False
        assert call(cache, "has_key", "key") is False
        assert call(cache, "get_or_set", "key", lambda: 5) == 5
        call(cache, "delete_many", ["key"])
        call(cache, "clear")
    assert [record.message[:32] for record in caplog.records] == [
        "cache 'default' is unavailable, g"[:32]
    ]


@each_networked
def test_an_outage_is_an_error_if_that_is_wanted(nowhere: Entry, call: Callable[..., Any]) -> None:
    """With `on_error` "raise" the caller decides."""
    with override_settings(CACHES={"default": {**nowhere, "OPTIONS": {"on_error": "raise"}}}):
        with pytest.raises(BackendUnavailable):
            call(default(), "get", "key")
        with pytest.raises(BackendUnavailable):
            call(default(), "set", "key", 1)


# Sessions and templates


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
@pytest.mark.parametrize("backend", ["RedisCache"], indirect=True)
def test_sessions(use: Use, database: None, engine: str, server: Server) -> None:
    """A session that one request has saved is read by the next one, in either face."""
    use()
    store = import_module(f"django.contrib.sessions.backends.{engine}")
    first = store.SessionStore()
    first["user"] = {"id": 7}
    first.save()

    async def later() -> Any:
        session = store.SessionStore(first.session_key)
        user = await session.aget("user")
        await session.aset("seen", True)
        await session.asave()
        await aclose_all()
        return user

    assert asyncio.run(later()) == {"id": 7}
    last = store.SessionStore(first.session_key)
    assert (last["user"], last["seen"]) == ({"id": 7}, True)
    assert isinstance(server, RedisServer)
    assert [name for name in server.command("KEYS", "*") if first.session_key.encode() in name]
    last.flush()
    assert store.SessionStore(first.session_key).load() == {}


def damage(place: Any, server: Server | None) -> None:
    """Make unreadable what a store has."""
    for file in Path(place).rglob("*.entry") if server is None and Path(place).is_dir() else ():
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    if server is None and Path(place).is_file():
        with sqlite3.connect(place) as database:
            database.execute("UPDATE twofold SET value = x'00'")
        database.close()
    if isinstance(server, RedisServer):
        for name in server.command("KEYS", "*"):
            server.command("SET", name, b"garbage")


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("engine", ["cache", "cached_db"])
def test_session_ids_never_reach_a_log(
    use: Use,
    database: None,
    engine: str,
    face: str,
    backend: str,
    entry: Entry,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong, neither a log nor a warning has what lets somebody in."""
    kind = KINDS.get(backend)
    server = request.getfixturevalue(f"own_{kind.name}") if kind else None
    place = entry["LOCATION"] if server is None else server.address
    use(LOCATION=place)
    store = import_module(f"django.contrib.sessions.backends.{engine}")

    async def later(key: str) -> None:
        session = store.SessionStore(key)
        await session.aload()
        await session.aexists(key)
        await aclose_all()

    def at_once(key: str) -> None:
        session = store.SessionStore(key)
        session.load()
        session.exists(key)
        close_all()

    def ask(key: str) -> None:
        asyncio.run(later(key)) if face == "async" else at_once(key)

    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        first = store.SessionStore()
        first["user"] = 7
        first.save()
        damage(place, server)
        ask(first.session_key)
        if server is not None:
            server.kill()
        ask(first.session_key)
    said = [each.getMessage() + str(each.exc_info) for each in caplog.records]
    assert [each for each in [*said, *map(str, warned)] if first.session_key in each] == []


def test_template_fragments(use: Use) -> None:
    """`{% cache %}` keeps what it rendered in our caches."""
    cache = use()
    template = Engine(libraries={"cache": "django.templatetags.cache"}).from_string(
        "{% load cache %}{% cache 60 side user %}{{ text }}{% endcache %}"
    )
    assert template.render(TemplateContext({"user": "ann", "text": "first"})) == "first"
    assert template.render(TemplateContext({"user": "ann", "text": "second"})) == "first"
    assert template.render(TemplateContext({"user": "bob", "text": "third"})) == "third"
    assert cache.get(make_template_fragment_key("side", ["ann"])) == "first"


@pytest.mark.parametrize("prefix", ["", "shop"])
@pytest.mark.parametrize("remove", ["delete", "clear"])
def test_a_removal_reaches_what_twofold_computes(prefix: str, remove: str) -> None:
    """What `twofold.cache` computes is not kept if Django's cache removed the key meanwhile."""
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "KEY_PREFIX": prefix}
    with override_settings(CACHES={"default": {**entry, "LOCATION": "removal"}}):
        twofold.configure()
        computing, go_on = threading.Event(), threading.Event()

        def compute() -> str:
            computing.set()
            assert go_on.wait(10)
            return "old"

        thread = threading.Thread(target=twofold.cache.get_or_set, args=("key", compute))
        thread.start()
        assert computing.wait(10)
        caches["default"].delete("key") if remove == "delete" else caches["default"].clear()
        go_on.set()
        thread.join()
        assert caches["default"].get("key") is None
        twofold.configure()


@pytest.mark.parametrize("entry", [{}, {"BACKEND": "RedisCache", "SECRET": "a secret of its own"}])
def test_no_secret_key_is_needed_where_none_signs(entry: Entry) -> None:
    """What is not signed, or by another secret, works without a SECRET_KEY."""
    path = f"twofold.contrib.django.{entry.get('BACKEND', 'MemoryCache')}"
    with override_settings(CACHES={"default": {**entry, "BACKEND": path}}, SECRET_KEY=""):
        assert caches["default"].cache.alias == "default"


@pytest.mark.parametrize("store", ["MemoryCache", "DummyCache"])
def test_what_is_not_stored_is_not_shared(store: str) -> None:
    """With a timeout of 0, or nothing kept at all, each caller has what it computed itself."""
    entry = {"BACKEND": f"twofold.contrib.django.{store}", "LOCATION": "unshared"}
    timeout = 0 if store == "MemoryCache" else 60
    together = threading.Barrier(2)

    def mine(value: object) -> object:
        together.wait(10)
        return value

    def ask(value: object) -> object:
        return caches["default"].get_or_set("key", lambda: mine(value), timeout)

    async def aask() -> list[object]:
        async def compute(value: int) -> int:
            await asyncio.sleep(0.01)
            return value

        cache = caches["default"]
        asked = [cache.aget_or_set("key", partial(compute, n), timeout) for n in range(2)]
        return list(await asyncio.gather(*asked))

    with override_settings(CACHES={"default": entry}):
        with ThreadPoolExecutor(2) as threads:
            assert [*threads.map(ask, ["alice", "bob"])] == ["alice", "bob"]
        assert asyncio.run(aask()) == [0, 1]


def test_a_function_may_ask_for_its_own_key() -> None:
    """As in Django, the inner call computes for itself."""
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "nested"}
    with override_settings(CACHES={"default": entry}):
        cache = caches["default"]

        def outer() -> str:
            return f"outer {cache.get_or_set('key', lambda: 'inner')}"

        async def aouter() -> str:
            return f"outer {await cache.aget_or_set('akey', lambda: 'inner')}"

        assert cache.get_or_set("key", outer) == "outer inner"
        assert asyncio.run(cache.aget_or_set("akey", aouter)) == "outer inner"


def test_cache_objects_follow_the_settings() -> None:
    """An object that Django keeps signs with the SECRET_KEY that holds now."""
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "followed"}
    with override_settings(CACHES={"default": entry}):
        kept = caches["default"]
        before = kept.cache
        with override_settings(SECRET_KEY="another secret, as long as the first one"):
            assert kept.cache is not before


def test_a_prefix_that_is_digested_is_not_cleared_by() -> None:
    """Such prefixes look alike in the store: `clear` refuses instead of taking others along."""
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "prefixes"}
    both = {"default": {**entry, "KEY_PREFIX": "ö"}, "other": {**entry, "KEY_PREFIX": "ü"}}
    with override_settings(CACHES=both):
        caches["other"].set("key", 1)
        with pytest.raises(SettingsError, match="plain ASCII"):
            caches["default"].clear()
        assert caches["other"].get("key") == 1


# Tags


def test_what_has_a_tag_is_invalidated_by_it(use: Use, call: Callable[..., Any]) -> None:
    """All that stores takes tags; they count in all versions, and for nothing without them."""
    cache = use()
    call(cache, "set", "set", 1, tags=["user:7", "all"])
    assert call(cache, "set_many", {"many": 2}, version=2, tags=["user:7"]) == []
    assert call(cache, "add", "add", 3, tags=["user:7"]) is True
    assert call(cache, "get_or_set", "computed", lambda: 4, tags=["user:7"]) == 4
    assert call(cache, "get_or_set", "told", lambda: [5], tags=lambda v: [f"user:{v[0]}"]) == [5]
    call(cache, "set", "plain", 6)
    names = ["set", "add", "computed", "told", "plain"]
    assert call(cache, "get_many", names) == dict(zip(names, (1, 3, 4, [5], 6), strict=True))
    assert call(cache, "get", "many", version=2) == 2
    call(cache, "invalidate_tags", "user:7")
    assert call(cache, "get_many", names) == {"told": [5], "plain": 6}
    assert call(cache, "get", "many", version=2) is None
    assert call(cache, "get_or_set", "computed", lambda: 8, tags=["user:7"]) == 8


def test_an_invalidated_value_may_be_kept_as_a_stale_one(
    use: Use, call: Callable[..., Any]
) -> None:
    cache = use()
    call(cache, "set", "key", "old", 60, stale=60, tags=["news"])
    call(cache, "invalidate_tags", "news", keep_stale=True)
    assert call(cache, "get", "key") is None
    assert call(cache, "get", "key", allow_stale=True) == "old"


def test_another_version_has_the_tags_and_the_life(use: Use, call: Callable[..., Any]) -> None:
    """What was moved there, and back, is invalidated as it would have been."""
    cache = use()
    call(cache, "set", "key", [1], 1000, stale=50, tags=["t"])
    assert call(cache, "incr_version", "key", 2) == 3
    assert call(cache, "get", "key") is None
    assert call(cache, "get", "key", version=3) == [1]
    assert 990 < call(cache, "ttl", "key", version=3) <= 1000
    assert call(cache, "decr_version", "key", version=3) == 2
    assert call(cache, "get", "key", version=2) == [1]
    call(cache, "invalidate_tags", "t")
    assert call(cache, "get", "key", version=2, allow_stale=True) is None
    with pytest.raises(ValueError, match="no value of 'key'"):
        call(cache, "incr_version", "key", 1, 2)


@pytest.mark.parametrize("backend", ["RedisCache", "MemoryCache"], indirect=True)
def test_tags_belong_to_a_prefix(entry: Entry) -> None:
    """Entries of one store and prefix share their tags, and no others do."""
    entries = {
        "default": {**entry, "KEY_PREFIX": "a"},
        "same": {**entry, "KEY_PREFIX": "a", "TIMEOUT": 60, "VERSION": 2},
        "other": {**entry, "KEY_PREFIX": "b"},
        "made": {**entry, "KEY_PREFIX": "a", "KEY_FUNCTION": own_key},
    }
    with override_settings(CACHES=entries):
        for alias in entries:
            caches[alias].set("key", alias, tags=["t"])  # type: ignore[call-arg]
        default().invalidate_tags("t")
        found = {alias: caches[alias].get("key") for alias in entries}
    assert found == {"default": None, "same": None, "other": "other", "made": None}


def test_wrong_tags_are_told(use: Use, call: Callable[..., Any]) -> None:
    """Before anything is stored."""
    cache = use()
    for wrong in ("user:7", [""], [7], 7):
        for way in ("set", "add"):
            with pytest.raises(InvalidKey, match="tag"):
                call(cache, way, "key", 1, tags=wrong)
        with pytest.raises(InvalidKey, match="tag"):
            call(cache, "set_many", {"key": 1}, tags=wrong)
        with pytest.raises(InvalidKey, match="tag"):
            call(cache, "get_or_set", "key", 1, tags=wrong)
    call(cache, "set", "none", 1, tags=())
    call(cache, "set", "null", 1, tags=None)
    assert call(cache, "get_many", ["key", "none", "null"]) == {"none": 1, "null": 1}


class Asking:
    """What asks the database when it is pickled, and before its answer is there the tag ends."""

    def __init__(self, cache: TwofoldCache) -> None:
        self.cache = cache

    def __reduce__(self) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.cache.invalidate_tags("t")
            return list, ()
        raise SynchronousOnlyOperation


@pytest.mark.parametrize("way", ["aset", "aadd", "aset_many"])
async def test_an_invalidation_while_a_lazy_value_is_found_is_not_lost(use: Use, way: str) -> None:
    """Tags count from when the call begins."""
    cache = use()
    value = Asking(cache)
    given: Any = ({"key": value},) if way == "aset_many" else ("key", value)
    await getattr(cache, way)(*given, tags=["t"])
    assert await cache.aget("key") is None
    await cache.aset("key", 1, tags=["t"])
    assert await cache.aget("key") == 1
    await aclose_all()
