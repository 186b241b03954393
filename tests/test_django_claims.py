"""Pages and fragments in Django, among processes: one computes, and no removal is lost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import django_project, test_claims
from tests.chaos import eventually
from tests.test_claims import Steps, together

django_project.configure()

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import Context, Engine
from django.template.backends.django import DjangoTemplates
from django.template.response import SimpleTemplateResponse
from django.test import RequestFactory, override_settings
from django.utils.cache import get_cache_key

from twofold.claims.turns import Turns
from twofold.contrib.django import cache_page, make_template_fragment_key
from twofold.contrib.django import fragments as fragments_room
from twofold.contrib.django import pages as pages_room
from twofold.contrib.django.stores import stores
from twofold.core import Cache
from twofold.effects import Blocking

ENGINE = DjangoTemplates({"NAME": "t", "DIRS": [], "APP_DIRS": False, "OPTIONS": {}})
FRAGMENTS = Engine(libraries={"twofold": "twofold.contrib.django.templatetags.twofold"})

Answer = Callable[[HttpRequest], Any]


@pytest.fixture(params=["sqlite", "redis"], autouse=True)
def _aliases(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Two aliases of one store that know of each other by the store alone, as processes do."""
    entry: dict[str, Any] = {"BACKEND": "twofold.contrib.django.SQLiteCache"}
    entry["LOCATION"] = f"{tmp_path}/store"
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": server.url}
    made = {
        alias: {**entry, "OPTIONS": {"blocking_calls": "allow", "deadline": deadline}}
        for alias, deadline in (("default", 20.0), ("theirs", 21.0))
    }
    monkeypatch.setattr(pages_room, "turns", Turns())
    monkeypatch.setattr(fragments_room, "turns", Turns())
    with override_settings(CACHES=made):
        caches["default"].clear()
        assert behind("default")._claims is not behind("theirs")._claims
        yield
        caches["default"].clear()


def behind(alias: str) -> Cache:
    cache: Cache = caches[alias].cache  # type: ignore[attr-defined]
    return cache


def claimed() -> list[str]:
    """Return the keys that are being computed in the alias `default`."""
    return list(behind("default")._claims.table)


class Shop:
    """A view, sync or async, cached in each of the two aliases."""

    def __init__(self, answer: Answer, is_async: bool, timeout: float = 60) -> None:
        self.runs = 0
        self.claimed: set[str] = set()
        self._answer = answer
        self._is_async = is_async
        view = self._in_async if is_async else self._in_sync
        self.views = {alias: cache_page(timeout, cache=alias)(view) for alias in caches}

    def _in_sync(self, request: HttpRequest) -> Any:
        self.runs += 1
        self.claimed.update(claimed())
        return self._answer(request)

    async def _in_async(self, request: HttpRequest) -> Any:
        return self._in_sync(request)

    def ask(self, alias: str = "default", **headers: str) -> bytes:
        response = self.views[alias](RequestFactory().get("/page", headers=headers))
        response = asyncio.run(response) if self._is_async else response
        if not getattr(response, "is_rendered", True):
            response.render()
        return b"".join(response)


@pytest.fixture(params=["sync", "async"])
def shop(request: pytest.FixtureRequest) -> Callable[[Answer], Shop]:
    """Return a function that makes a shop of what answers a request."""
    return lambda answer: Shop(answer, request.param == "async")


def page_of(text: str, **values: Any) -> SimpleTemplateResponse:
    return SimpleTemplateResponse(ENGINE.from_string(text), values)


def fragment(alias: str, value: Any) -> str:
    text = "{% load twofold %}{% cache 60 box using=alias %}{{ value }}{% endcache %}"
    text = text.replace("alias", f'"{alias}"')
    return FRAGMENTS.from_string(text).render(Context({"value": value}))


class Shown:
    """What renders as what a function returns."""

    def __init__(self, show: Callable[[], str]) -> None:
        self._show = show

    def __str__(self) -> str:
        return self._show()


@pytest.mark.parametrize("rendered", [False, True], ids=["plain", "template"])
def test_another_process_is_waited_for(shop: Callable[[Answer], Shop], rendered: bool) -> None:
    """While another process computes a page, or renders it, that page is waited for."""
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert may_end.wait(30)
        return "page"

    def answer(request: HttpRequest) -> Any:
        return page_of("{{ page }}", page=Shown(slow)) if rendered else HttpResponse(slow())

    view = shop(answer)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(view.ask, "theirs")
        assert begun.wait(30)
        second = threads.submit(view.ask, "default")
        eventually(lambda: bool(claimed()), "it waits")
        may_end.set()
        assert (first.result(30), second.result(30)) == (b"page", b"page")
    assert view.runs == 1


REMOVALS: dict[str, Callable[[str], Any]] = {
    "delete": lambda key: behind("theirs").backend.delete(key),
    "clear": lambda key: caches["theirs"].clear(),
}


@pytest.mark.parametrize("removal", sorted(REMOVALS))
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
@pytest.mark.parametrize("fields", [{}, {"Vary": "Region"}], ids=["plain", "varying"])
def test_a_removal_elsewhere_is_not_lost(
    shop: Callable[[Answer], Shop], removal: str, known: bool, fields: dict[str, str]
) -> None:
    """What another process removes while a page is computed is not there after that."""
    source = ["known"]

    def answer(request: HttpRequest) -> HttpResponse:
        page = source[0]
        if page == "old":
            source[0] = "new"
            for key in claimed():
                REMOVALS[removal](key)
        return HttpResponse(page, headers=fields)

    view = shop(answer)
    if known:
        view.ask(Region="EU")
        request = RequestFactory().get("/page", headers={"Region": "EU"})
        assert fields or caches["default"].delete(get_cache_key(request, cache=caches["default"]))
    source[0] = "old"
    assert view.ask(Region="US") == b"old"
    assert view.ask("theirs", Region="US") == b"new"
    assert view.ask("default", Region="US") == b"new"


@pytest.mark.parametrize(
    ("varied", "removal"), [(False, "clear"), (True, "clear"), (False, "delete")]
)
def test_no_step_stores_what_was_removed(
    shop: Callable[[Answer], Shop], varied: bool, removal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step of a request a foreign removal comes before, the old page is gone."""
    monkeypatch.setattr(test_claims, "STEPS", (*test_claims.STEPS, *STORING))
    for step in range(20):
        stores.forget()
        caches["theirs"].clear()
        source = ["old"]

        def act(source: list[str] = source) -> None:
            source[0] = "new"
            for key in claimed() or [""]:
                REMOVALS[removal](key)

        def answer(request: HttpRequest, source: list[str] = source) -> HttpResponse:
            vary = "Accept" if request.headers["Region"] == "EU" else "Region"
            return HttpResponse(source[0], headers={"Vary": vary})

        view = shop(answer)
        if varied:
            view.ask("theirs", Region="EU")
        steps = Steps(behind("default").backend, step, act, lambda: None)
        assert view.ask(Region="US", Accept="x") in (b"old", b"new")
        if not steps.acted:
            assert step > 4
            return
        for region in ("UK", "US"):
            assert view.ask("theirs", Region=region, Accept="x") == b"new"
    pytest.fail("a page takes no twenty steps")


STORING = ("renew", "compare_and_set", "set_many")


def failing(request: HttpRequest) -> Any:
    raise ValueError("broken")


def streamed(request: HttpRequest) -> Any:
    return StreamingHttpResponse([b"streamed"])


def private(request: HttpRequest) -> Any:
    return HttpResponse("mine", headers={"Cache-Control": "private"})


def not_rendered(request: HttpRequest) -> Any:
    return page_of("{{ broken }}", broken=Shown(lambda: failing(request)))


@pytest.mark.parametrize("answer", [failing, streamed, private, not_rendered])
def test_what_stores_no_page_leaves_no_claim(
    shop: Callable[[Answer], Shop], answer: Answer
) -> None:
    """After an error, and what may not be stored, no other process waits."""
    view = shop(answer)
    for alias in ("default", "theirs"):
        try:
            assert view.ask(alias) in (b"streamed", b"mine")
        except ValueError as error:
            assert str(error) == "broken"  # noqa: PT017 - some answers fail, and some do not
    assert view.runs == 2
    assert view.claimed
    assert not any(behind("theirs").backend.get(key) for key in view.claimed)


def test_a_page_is_stored_though_the_one_before_was_not(shop: Callable[[Answer], Shop]) -> None:
    """Where nobody waits for a page, since it was for one alone, the next may be for all."""
    pages = [HttpResponse("mine", headers={"Cache-Control": "private"}), HttpResponse("page")]
    view = shop(lambda request: pages.pop(0))
    assert [view.ask() for _ in range(3)] == [b"mine", b"page", b"page"]


def test_who_waits_does_so_for_one_page_at_most(
    shop: Callable[[Answer], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages for one client alone, of another process, do not hold up those of this one in turn."""
    view = shop(lambda request: HttpResponse("page"))
    view.ask()
    stores.forget()
    caches["theirs"].clear()
    (key,) = view.claimed
    backend, looks = behind("default").backend, 0

    def claim_elsewhere(asked: str) -> None:
        nonlocal looks
        if asked == key:
            looks += 1
            behind("theirs").backend.set(key, b"\xf3of-another-host%d" % looks, 1000.0)

    claim, aclaim = backend.get_or_claim, backend.aget_or_claim

    def look(*args: Any) -> Any:
        claim_elsewhere(args[0])
        return claim(*args)

    async def alook(*args: Any) -> Any:
        claim_elsewhere(args[0])
        return await aclaim(*args)

    monkeypatch.setattr(backend, "get_or_claim", look)
    if backend.kind == "native":  # others call the sync half in a thread
        monkeypatch.setattr(backend, "aget_or_claim", alook)
    assert view.ask() == b"page"
    assert looks == 2


async def test_a_client_that_goes_away_leaves_no_claim() -> None:
    """A cancelled request lets go of its page before it ends."""
    begun = asyncio.Event()
    keys: list[str] = []

    @cache_page(60)
    async def view(request: HttpRequest) -> HttpResponse:
        keys.extend(claimed())
        begun.set()
        await asyncio.sleep(1000)
        return HttpResponse("page")

    asked = asyncio.create_task(view(RequestFactory().get("/page")))
    await begun.wait()
    assert await behind("theirs").backend.aget(keys[0])
    asked.cancel()
    await asyncio.wait([asked])
    assert await behind("theirs").backend.aget(keys[0]) is None


def test_a_loop_that_is_gone_keeps_nobody_here_waiting() -> None:
    """What is never resumed forgets its claim, which this process takes over at once."""
    begun: list[HttpRequest] = []

    @cache_page(60)
    async def view(request: HttpRequest) -> HttpResponse:
        begun.append(request)
        if len(begun) == 1:
            await asyncio.get_running_loop().create_future()
        return HttpResponse("page")

    async def begin() -> None:
        while not begun:
            await asyncio.sleep(0.001)

    asked = view(RequestFactory().get("/page"))
    loop = asyncio.new_event_loop()
    task = loop.create_task(asked)
    task._log_destroy_pending = False
    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert claimed()
    asked.close()
    assert not claimed()
    assert asyncio.run(view(RequestFactory().get("/page"))).content == b"page"


def test_a_view_that_asks_for_its_own_page_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the two requests would not wait for each other, being of different users."""

    @cache_page(60)
    def view(request: HttpRequest) -> HttpResponse:
        if "Authorization" in request.headers:
            inner = view(RequestFactory().get("/page"))
            return HttpResponse(inner.content + b" around")
        return HttpResponse("page")

    monkeypatch.setattr(Blocking, "sleep", None)
    asked = RequestFactory().get("/page", headers={"Authorization": "x"})
    assert view(asked).content == b"page around"


def test_a_fragment_of_another_process_is_waited_for() -> None:
    """While another process renders a fragment, it is waited for."""
    begun, may_end = threading.Event(), threading.Event()
    runs: list[int] = []

    def slow() -> str:
        runs.append(1)
        begun.set()
        assert may_end.wait(30)
        return "text"

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fragment, "theirs", Shown(slow))
        assert begun.wait(30)
        second = threads.submit(fragment, "default", Shown(slow))
        eventually(lambda: bool(claimed()), "it waits")
        may_end.set()
        assert (first.result(30), second.result(30)) == ("text", "text")
    assert len(runs) == 1


@pytest.mark.parametrize("removal", ["delete", "clear"])
def test_a_fragment_removed_elsewhere_is_not_stored(removal: str) -> None:
    """What another process removes while it is rendered is not there after that."""

    def old() -> str:
        if removal == "clear":
            caches["theirs"].clear()
        else:
            caches["theirs"].delete(make_template_fragment_key("box"))
        return "old"

    assert fragment("default", Shown(old)) == "old"
    assert not fragments_room.turns._unshared  # the next one is worth waiting for
    assert fragment("theirs", "new") == "new"
    assert fragment("default", "newer") == "new"


def test_a_fragment_that_fails_leaves_no_claim() -> None:
    """The error is its own request's, and the next one renders."""
    keys: list[str] = []

    def fail() -> str:
        keys.extend(claimed())
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fragment("default", Shown(fail))
    assert len(keys) == 1
    assert behind("theirs").backend.get(keys[0]) is None
    assert fragment("theirs", "text") == "text"


def test_closing_ends_the_thread_that_renews() -> None:
    """It is there from the first claim on, and not when Django's caches are closed."""
    assert fragment("default", "text") == "text"
    assert "twofold-claims" in {each.name for each in threading.enumerate()}
    stores.close()
    eventually(
        lambda: "twofold-claims" not in {each.name for each in threading.enumerate()},
        "the thread ends",
    )


PROCESS = """
import asyncio, sys, time
from tests import django_project
django_project.configure()

from django.conf import settings
from django.http import HttpResponse
from django.template import Context, Engine
from django.test import RequestFactory
from twofold.contrib.django import cache_page, close_all

backend, location, log = sys.argv[1:]
options = {"blocking_calls": "allow", "deadline": 20.0}
settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}}
engine = Engine(libraries={"twofold": "twofold.contrib.django.templatetags.twofold"})
template = engine.from_string("{% load twofold %}{% cache 60 box %}{{ page }}{% endcache %}")

class Page:
    def __init__(self, kind):
        self.kind = kind

    def __str__(self):
        with open(log, "a") as written:
            written.write(self.kind + "\\n")
        time.sleep(0.2)
        return self.kind

@cache_page(60)
def view(request):
    return HttpResponse(str(Page("sync")))

@cache_page(60)
async def aview(request):
    return HttpResponse(await asyncio.to_thread(str, Page("async")))

print("ready", flush=True)
sys.stdin.readline()
assert view(RequestFactory().get("/sync")).content == b"sync"
assert asyncio.run(aview(RequestFactory().get("/async"))).content == b"async"
assert template.render(Context({"page": Page("fragment")})) == "fragment"
close_all()
"""


@pytest.mark.parametrize("_aliases", ["redis"], indirect=True)
def test_processes_compute_once(tmp_path: Path) -> None:
    """Of four processes that want a page or a fragment together one computes it."""
    log = tmp_path / "log"
    entry = settings.CACHES["default"]
    together(PROCESS, entry["BACKEND"], entry["LOCATION"], str(log))
    assert log.read_text().split() == ["sync", "async", "fragment"]
