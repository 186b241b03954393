"""Work behind requests in Django: outside their transactions, and leaving no connection."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import django_project
from tests.chaos import eventually

django_project.configure()

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.cache import InvalidCacheBackendError, caches
from django.core.checks import run_checks
from django.core.handlers.asgi import ASGIHandler
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.test import AsyncClient, Client, override_settings
from django.urls import path

import twofold
from twofold import SettingsError, bypass, events, refreshing
from twofold.contrib.django import aclose_all, close_all

ENTRY: dict[str, Any] = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "workers"}


@pytest.fixture(scope="module", autouse=True)
def _thread() -> None:
    """Start the thread that Django keeps for sync code, so that no test seems to have left it."""
    SyncToAsync.single_thread_executor.submit(int).result()


@pytest.fixture(autouse=True)
def cache(no_leaks: None) -> Iterator[Any]:
    """Have Django use an empty cache in memory."""
    with override_settings(CACHES={"default": ENTRY}):
        caches["default"].clear()
        yield caches["default"]
        caches["default"].clear()
        close_all()


class Database:
    """A SQLite database in a file, with a table, and who has asked it."""

    def __init__(self, path: Path) -> None:
        connections.settings["file"] = {**connections.settings["default"], "NAME": str(path)}
        self.asked: list[tuple[str, Any]] = []
        self.may_ask = threading.Event()
        self.run("CREATE TABLE rows (name text)")

    def run(self, query: str) -> Any:
        with connections["file"].cursor() as cursor:
            return cursor.execute(query).fetchone()

    def count(self) -> int:
        """Count the rows, as soon as that is wanted."""
        assert self.may_ask.wait(10)
        rows = self.run("SELECT count(*) FROM rows")[0]
        self.asked.append((threading.current_thread().name, connections["file"].connection))
        return int(rows)

    def close(self) -> None:
        connections["file"].close()
        del connections["file"]
        del connections.settings["file"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "file.db")
    yield made
    made.close()


def is_closed(connection: Any) -> bool:
    try:
        connection.total_changes  # noqa: B018
    except sqlite3.ProgrammingError:
        return True
    return False


def test_a_refresh_in_a_thread_is_outside_the_transaction(cache: Any, database: Database) -> None:
    """What the caller has not committed it does not see; its connection is closed afterwards."""
    cache.set("k", [-1], stale=60)
    cache.mark_stale("k")
    with transaction.atomic(using="file"):
        database.run("INSERT INTO rows VALUES ('uncommitted')")
        assert cache.get_or_set("k", database.count, stale=60) == [-1]
        database.may_ask.set()
        eventually(lambda: cache.get("k") is not None, "it is refreshed")
        assert cache.get("k") == 0
        assert database.run("SELECT count(*) FROM rows")[0] == 1
    close_all()
    ((name, connection),) = database.asked
    assert name == "twofold-background"
    assert is_closed(connection)


class Site:
    """Django's ASGI application, with one view."""

    def __init__(self, view: Callable[..., Any], *middleware: Any) -> None:
        self.urlpatterns = [path("", view)]
        self.settings = override_settings(ROOT_URLCONF=self, MIDDLEWARE=list(middleware))

    async def ask(self) -> str:
        """Make one request as servers do."""
        sent: list[Any] = []
        received: asyncio.Queue[Any] = asyncio.Queue()
        received.put_nowait({"type": "http.request", "body": b""})

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        with self.settings:
            await ASGIHandler()(scope, received.get, send)
        return b"".join(each.get("body", b"") for each in sent).decode()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_refresh_in_a_task_has_a_thread_of_its_own(
    cache: Any, database: Database, kind: str
) -> None:
    """The request neither waits for it nor shares its thread; its connection is closed after."""
    await cache.aset("k", [-1], stale=60)
    await cache.amark_stale("k")
    requests: list[str] = []

    async def acount() -> int:
        return await sync_to_async(database.count)()

    async def view(request: HttpRequest) -> HttpResponse:
        count = database.count if kind == "sync" else acount
        stale = await cache.aget_or_set("k", count, stale=60)
        requests.append(await sync_to_async(lambda: threading.current_thread().name)())
        return HttpResponse(str(stale))

    assert await Site(view).ask() == "[-1]"
    database.may_ask.set()
    await aclose_all()  # waits for it
    ((name, connection),) = database.asked
    assert name != requests[0]
    eventually(lambda: is_closed(connection), "its connection is closed")
    assert await cache.aget("k") == 0


def test_freshness_of_a_drop_in(cache: Any) -> None:
    """Options of a call, of the alias, and a timeout of the result, in the words of twofold."""
    assert cache.get_or_set("k", lambda: "old", lambda value: 100 * len(value), stale="1h") == "old"
    assert 200 < twofold.caches["default"].ttl("k") <= 300
    assert cache.mark_stale("k")
    assert not cache.mark_stale("k")
    assert (cache.get("k"), cache.get("k", allow_stale=True)) == (None, "old")
    assert cache.get_many(["k"]) == {}
    assert cache.get_many(["k"], allow_stale=True) == {"k": "old"}
    assert cache.get_or_set("k", lambda: "new", stale="1h", wait=None) == "new"
    cache.set_many({"a": "x"}, stale=60)
    cache.add("b", "x", stale=60)
    assert cache.mark_stale("a")
    assert cache.mark_stale("b")
    assert set(cache.get_many(["a", "b"], allow_stale=True)) == {"a", "b"}
    with pytest.raises(SettingsError, match="did you mean 'stale'"):
        cache.get_or_set("k", dict, stail=1)


async def test_freshness_of_a_drop_in_in_async_code(cache: Any) -> None:
    """A failed refresh is told of by the name of the function, and ints stay counters."""
    told: list[Any] = []
    unsubscribe = events.subscribe(told.append)

    def broken() -> str:
        raise RuntimeError("down")

    assert await cache.aget_or_set("k", lambda: "old", stale=60) == "old"
    assert await cache.amark_stale("k")
    assert await cache.aget("k", allow_stale=True) == "old"
    assert await cache.aget_many(["k"], allow_stale=True) == {"k": "old"}
    assert await cache.aget_or_set("k", broken, stale=60, wait=None) == "old"
    unsubscribe()
    assert ["broken" in each.function for each in told] == [True]
    assert await cache.aget_or_set("n", 5, stale=60) == 5
    assert await cache.aincr("n") == 6
    await cache.aset("s", "x", stale=60)
    await cache.aset_many({"t": "x"}, stale=60)
    await cache.aadd("u", "x", stale=60)
    assert all([await cache.amark_stale(key) for key in "stu"])


@pytest.mark.parametrize(
    "backend", ["DummyCache", "FileCache", "MemcachedCache", "MemoryCache", "RedisCache"]
)
def test_settings_that_cannot_be_are_found_by_the_check(backend: str) -> None:
    """And by whoever asks that cache first; twofold itself reads the same."""
    entry = {"BACKEND": f"twofold.contrib.django.{backend}", "LOCATION": "127.0.0.1:1"}
    if backend == "RedisCache":
        entry["LOCATION"] = "redis://127.0.0.1:1"
    with override_settings(CACHES={"default": {**entry, "FRESHNESS": {"stail": 1}}}):
        (found,) = [each for each in run_checks() if each.id == "twofold.E001"]
        assert "did you mean 'stale'" in found.msg
        with pytest.raises(InvalidCacheBackendError, match="FRESHNESS"):
            caches["default"].get("k")
    with override_settings(CACHES={"default": {**entry, "FRESHNESS": {"stale": "1h"}}}):
        assert not [each for each in run_checks() if each.id == "twofold.E001"]
        assert caches["default"].cache._freshness.stale == 3600  # type: ignore[attr-defined]
        twofold.configure()  # from where settings are, whatever a test before has given
        assert twofold.caches["default"]._freshness.stale == 3600


def overriding(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Middleware by which a client has what is shown computed anew, or without a cache."""

    def middleware(request: HttpRequest) -> HttpResponse:
        scopes: dict[str, Any] = {"no-store": bypass, "no-cache": refreshing}
        scope = scopes.get(request.headers.get("Cache-Control", ""))
        if scope is None:
            return get_response(request)
        with scope():
            return get_response(request)

    return middleware


TEMPLATE = Engine(libraries={"twofold": "twofold.contrib.django.templatetags.twofold"})
_numbers = iter(range(1, 99))


def shown(request: HttpRequest) -> HttpResponse:
    """Show a number, in a fragment."""
    text = "{% load twofold %}{% cache 60 box %}{{ number }}{% endcache %}"
    context = Context({"number": next(_numbers)})
    value = caches["default"].get_or_set("value", lambda: str(next(_numbers)))
    return HttpResponse(f"{TEMPLATE.from_string(text).render(context)} {value}")


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_one_request_does_without_the_cache(cache: Any, server: str) -> None:
    """What middleware decides holds in a sync view, which ASGI runs in a thread, and template."""
    site = Site(shown, f"{__name__}.overriding")

    def ask(control: str) -> list[int]:
        with site.settings:
            if server == "wsgi":
                answer = Client().get("/", headers={"cache-control": control})
            else:
                answer = asyncio.run(AsyncClient().get("/", headers={"cache-control": control}))
        return [int(each) for each in answer.content.split()]

    stored = ask("")
    assert ask("") == stored
    bypassed = ask("no-store")
    assert set(bypassed).isdisjoint(stored)
    assert ask("") == stored
    renewed = ask("no-cache")
    assert set(renewed).isdisjoint(stored)
    assert ask("") == renewed
