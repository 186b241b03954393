"""Tags of pages in all three frameworks: what was invalidated is computed anew, and no more."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from inspect import isawaitable
from threading import Event
from typing import Annotated, Any, NamedTuple, TypeAlias

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from flask import Flask
from flask import Response as FlaskResponse
from flask import request as flask_request
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route

from tests import django_project
from tests.chaos import RedisServer, eventually

django_project.configure()

from django.core.cache import caches as djangos
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.utils.decorators import method_decorator
from django.views import View

from twofold import (
    BackendUnavailable,
    Cache,
    InvalidKey,
    SettingsError,
    UnstableArgument,
    bypass,
    caches,
    configure,
    refreshing,
)
from twofold.claims.turns import Turns
from twofold.contrib.django import CacheMiddleware as DjangosMiddleware
from twofold.contrib.django import cache_page
from twofold.contrib.django import pages as pages_room
from twofold.contrib.flask import Caching
from twofold.contrib.http.tags import ViewTags
from twofold.contrib.starlette import CacheMiddleware, cached_page


class Answer(NamedTuple):
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def stored(self) -> bool:
        """Whether the cache says that it has stored this; Django's says nothing."""
        return self.headers.get("cache-status", "").endswith("stored")


class Site:
    """A view at /users/<user> whose page has tags, and tells how often it ran."""

    def __init__(self, url: str, **choices: Any) -> None:
        self.url = url
        self.runs = 0
        self.fields: dict[str, str] = {}
        self.during: Callable[[], object] = lambda: None
        self.tagged: list[tuple[str, str]] = []
        if callable(choices.get("tags")):
            choices["tags"] = self.told
        self.open(choices)

    def compute(self, user: str) -> str:
        self.runs += 1
        text = f"{user}: {self.runs}"
        self.during()
        return text

    def tell(self, where: str, told: str) -> Iterable[str]:
        """Return what a function of the request and the response tells."""
        self.tagged.append((where, told))
        return [f"path:{where}", *told.split()]

    def told(self, *args: Any) -> Iterable[str]:
        raise NotImplementedError

    def open(self, choices: Any) -> None:
        raise NotImplementedError

    def get(self, where: str = "/users/7", **headers: str) -> Answer:
        raise NotImplementedError

    @property
    def cache(self) -> Any:
        """What the pages are in."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def runs_for(self, *wheres: str, **headers: str) -> list[str]:
        return [self.get(where, **headers).text for where in wheres]


class StarletteSite(Site):
    def open(self, choices: Any) -> None:
        configure(self.url)
        caches["default"].clear()
        endpoint = cached_page(timeout=60, **choices)(self.endpoint)
        self.app = Starlette(routes=[Route("/users/{user}", endpoint)])
        self.app.add_middleware(CacheMiddleware)
        self.runner = asyncio.Runner()

    async def endpoint(self, request: Request) -> StarletteResponse:
        text = await asyncio.to_thread(self.compute, request.path_params["user"])
        return PlainTextResponse(text, headers=self.fields)

    def told(self, request: Request, response: StarletteResponse) -> Iterable[str]:
        return self.tell(request.url.path, response.headers.get("x-tags", ""))

    async def ask(self, where: str, headers: Mapping[str, str]) -> Answer:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
            got = await http.get(where, headers=headers)
        return Answer(got.status_code, got.text, dict(got.headers))

    def get(self, where: str = "/users/7", **headers: str) -> Answer:
        return self.runner.run(self.ask(where, _named(headers)), context=copy_context())

    @property
    def cache(self) -> Cache:
        return caches["default"]

    def close(self) -> None:
        self.runner.run(self.cache.aclear())
        self.runner.run(self.cache.aclose())
        self.runner.close()
        configure()


class FlaskSite(Site):
    def open(self, choices: Any) -> None:
        self.app = Flask("tags")
        self.app.config["CACHES"] = self.url
        self.caching = Caching(self.app)
        view = self.caching.cached_page(timeout=60, **choices)(self.view)
        self.app.add_url_rule("/users/<user>", "view", view)
        self.cache.clear()

    def view(self, user: str) -> FlaskResponse:
        return FlaskResponse(self.compute(user), headers=self.fields)

    def told(self, response: FlaskResponse) -> Iterable[str]:
        return self.tell(flask_request.path, response.headers.get("X-Tags", ""))

    def get(self, where: str = "/users/7", **headers: str) -> Answer:
        got = self.app.test_client().get(where, headers=_named(headers))
        told = {name.lower(): value for name, value in got.headers.items()}
        return Answer(got.status_code, got.text, told)

    @property
    def cache(self) -> Cache:
        with self.app.app_context():
            return self.caching.caches["default"]

    def close(self) -> None:
        self.cache.clear()
        self.caching.close()


class DjangoSite(Site):
    is_async = False

    def open(self, choices: Any) -> None:
        kind, _, rest = self.url.partition("://")
        backend = {"memory": "MemoryCache", "redis": "RedisCache"}[kind]
        location = rest if kind == "memory" else self.url
        entry = {"BACKEND": f"twofold.contrib.django.{backend}", "LOCATION": location}
        view = self.in_async if self.is_async else self.in_sync
        self.view = cache_page(60, **choices)(view)
        self.override = override_settings(CACHES={"default": entry})
        self.override.enable()
        self.cache.clear()

    def in_sync(self, request: HttpRequest, user: str) -> HttpResponse:
        return HttpResponse(self.compute(user), headers=self.fields)

    async def in_async(self, request: HttpRequest, user: str) -> HttpResponse:
        text = await asyncio.to_thread(self.compute, user)
        return HttpResponse(text, headers=self.fields)

    def told(self, request: HttpRequest, response: HttpResponse) -> Iterable[str]:
        return self.tell(request.path, response.headers.get("X-Tags", ""))

    def get(self, where: str = "/users/7", **headers: str) -> Answer:
        request = RequestFactory().get(where, headers=_named(headers))
        response: Any = self.view(request, user=where.rpartition("/")[2])
        if isawaitable(response):
            response = asyncio.run(_awaited(response))
        told = {name.lower(): value for name, value in response.items()}
        return Answer(response.status_code, response.content.decode(), told)

    @property
    def cache(self) -> Any:
        return djangos["default"]

    def close(self) -> None:
        self.cache.clear()
        self.override.disable()


class AsyncDjangoSite(DjangoSite):
    is_async = True


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def _awaited(response: Awaitable[Any]) -> Any:
    return await response


SITES: list[type[Site]] = [StarletteSite, FlaskSite, DjangoSite, AsyncDjangoSite]
MakeSite: TypeAlias = Callable[..., Site]


@pytest.fixture(params=SITES)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Site]:
    monkeypatch.setattr(pages_room, "turns", Turns())  # others know pages that cannot be shared
    found: type[Site] = request.param
    return found


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://page-tags"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
def make_site(kind: type[Site], url: str) -> Iterator[MakeSite]:
    """Make a site whose pages are in one of the stores."""
    made: list[Site] = []

    def make(**choices: Any) -> Site:
        made.append(kind(url, **choices))
        return made[-1]

    yield make
    for each in made:
        each.close()


BY_TEMPLATE: Any = ["user:{user}", "pages"]
BY_RESPONSE: Any = lambda *_: ()  # noqa: E731 - of the site
WAYS = [BY_TEMPLATE, BY_RESPONSE]
NAMES = ["by_template", "by_response"]
LONG = 7200


@pytest.mark.parametrize("fields", [{}, {"Vary": "Accept"}], ids=str)
def test_one_request_does_without_stored_pages(make_site: MakeSite, fields: dict[str, str]) -> None:
    """It has them computed, past the cache or anew; the others are served what is stored."""
    site = make_site()
    site.fields |= fields
    assert [site.get().text for _ in range(2)] == ["7: 1"] * 2
    with bypass():
        assert site.get().text == "7: 2"
    assert site.get().text == "7: 1"
    with refreshing():
        assert site.get().text == "7: 3"
    assert [site.get().text for _ in range(2)] == ["7: 3"] * 2
    with refreshing():
        assert site.get("/users/8").text == "8: 4"
    assert site.get("/users/8").text == "8: 4"


@pytest.mark.parametrize("keep_stale", [False, True])
@pytest.mark.parametrize("tags", WAYS, ids=NAMES)
def test_what_was_invalidated_is_computed_anew(
    make_site: MakeSite, tags: Any, keep_stale: bool
) -> None:
    """By a tag of one page, or of several; others stay. No page is served stale."""
    site = make_site(tags=tags)
    seven = "user:7" if tags is BY_TEMPLATE else "path:/users/7"
    site.fields["X-Tags"] = "pages"
    both = "/users/7", "/users/8"
    assert [site.runs_for(*both) for _ in range(2)] == [["7: 1", "8: 2"]] * 2
    site.cache.invalidate_tags(seven, keep_stale=keep_stale)
    assert [site.runs_for(*both) for _ in range(2)] == [["7: 3", "8: 2"]] * 2
    site.cache.invalidate_tags("pages", keep_stale=keep_stale)
    assert [site.runs_for(*both) for _ in range(2)] == [["7: 4", "8: 5"]] * 2
    site.cache.invalidate_tags("another", keep_stale=keep_stale)
    assert site.runs_for(*both) == ["7: 4", "8: 5"]


@pytest.mark.parametrize("keep_stale", [False, True])
@pytest.mark.parametrize("tags", WAYS, ids=NAMES)
def test_what_is_invalidated_while_a_page_is_computed(
    make_site: MakeSite, tags: Any, keep_stale: bool
) -> None:
    """Whoever asks afterwards is given what was begun afterwards, which is stored."""
    site = make_site(tags=tags)
    site.fields["X-Tags"] = "pages"
    site.during = lambda: site.cache.invalidate_tags("pages", keep_stale=keep_stale)
    first = site.get()
    assert first.text == "7: 1"
    assert not (first.stored and tags is BY_RESPONSE)  # which may not tell of a tag in time
    site.during = lambda: None
    assert site.runs_for("/users/7", "/users/7") == ["7: 2", "7: 2"]


@pytest.mark.parametrize("tags", WAYS, ids=NAMES)
def test_all_variants_have_the_tags(make_site: MakeSite, tags: Any) -> None:
    """Also where a page begins to vary, and where it ends to."""
    site = make_site(tags=tags)
    site.fields["X-Tags"] = "pages"

    def regions() -> list[str]:
        return [site.get(X_Region=each).text for each in ("EU", "US", "EU", "US")]

    assert regions() == ["7: 1"] * 4
    site.fields["Vary"] = "X-Region"
    site.cache.invalidate_tags("pages")
    assert regions() == ["7: 2", "7: 3"] * 2
    site.cache.invalidate_tags("pages")
    assert regions() == ["7: 4", "7: 5"] * 2
    del site.fields["Vary"]
    site.cache.invalidate_tags("pages")
    last = regions()
    assert last[2:] == last[:2]  # in Django an address varies on what it once did
    site.cache.invalidate_tags("pages")
    assert not set(regions()) & set(last)


def test_who_has_an_invalidated_page_is_sent_the_new_one(make_site: MakeSite) -> None:
    """Until then it is a 304."""
    site = make_site(tags=BY_TEMPLATE)
    site.fields["ETag"] = '"1"'
    site.get()
    if not isinstance(site, DjangoSite):  # there it is a middleware that answers so
        assert site.get(If_None_Match='"1"').status == 304
    site.fields["ETag"] = '"2"'
    site.cache.invalidate_tags("user:7")
    told = site.get(If_None_Match='"1"')
    assert (told.status, told.text, told.headers["etag"]) == (200, "7: 2", '"2"')


@pytest.mark.parametrize("said", ["private", "no-store"])
def test_what_is_not_stored_has_no_tags(make_site: MakeSite, said: str) -> None:
    """A function is asked of what is stored alone, once."""
    site = make_site(tags=BY_RESPONSE)
    site.fields |= {"Cache-Control": said, "X-Tags": "a b"}
    assert site.runs_for("/users/7", "/users/7") == ["7: 1", "7: 2"]
    assert site.tagged == []
    del site.fields["Cache-Control"]
    where = "/users/8"  # what is for nobody else is not waited for, nor stored, for a while
    assert site.runs_for(where, where) == ["8: 3", "8: 3"]
    assert site.tagged == [(where, "a b")]
    site.cache.invalidate_tags("b")
    assert site.runs_for(where) == ["8: 4"]


def test_who_waits_for_an_older_page_computes_once(kind: type[Site], redis_server: Any) -> None:
    """Those who ask after an invalidation wait for the page of before, and then one computes."""
    site = kind(redis_server.url, tags=BY_TEMPLATE)
    if isinstance(site, StarletteSite):
        site.get = _in_loops_of_their_own(site)  # type: ignore[method-assign]
    entered, goes_on = Event(), Event()

    def hold() -> None:
        if not entered.is_set():
            entered.set()
            assert goes_on.wait(20)

    site.during = hold
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(site.get)
        assert entered.wait(20)
        site.cache.invalidate_tags("user:7")
        later = [threads.submit(site.get) for _ in range(3)]
        claims = ours(site)._claims
        eventually(lambda: sum(each.waiting for each in claims) == 4, "all wait")
        goes_on.set()
        assert first.result(20).text == "7: 1"
        assert {each.result(20).text for each in later} == {"7: 2"}
    site.close()


def _in_loops_of_their_own(site: StarletteSite) -> Callable[..., Answer]:
    return lambda where="/users/7": asyncio.run(site.ask(where, {}))


def test_tags_live_as_long_as_their_page(make_site: MakeSite, url: str, redis_server: Any) -> None:
    """Also where it says itself how long it is fresh."""
    site = make_site(tags=BY_TEMPLATE)
    site.fields["Cache-Control"] = f"max-age={LONG}"
    site.get()
    if url.startswith("redis"):
        lives = [
            redis_server.command("PTTL", key) / 1000
            for key in redis_server.command("KEYS", "*!tag:*")
        ]
        at_least = 60 if isinstance(site, DjangoSite) else LONG  # by the decorator's timeout
        assert len(lives) == 2
        assert min(lives) >= at_least


def test_a_page_whose_tags_cannot_be_pinned_is_not_stored(
    kind: type[Site], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered all the same, and stored once the store can tell again."""
    site = kind(redis_server.url, tags=BY_TEMPLATE)

    def fail(*_: Any) -> Any:
        raise BackendUnavailable("away")

    async def afail(*_: Any) -> Any:
        raise BackendUnavailable("away")

    with monkeypatch.context() as patched:
        backend = ours(site).backend
        patched.setattr(backend, "look_many", fail)
        patched.setattr(backend, "alook_many", afail)
        assert site.runs_for("/users/7", "/users/8") == ["7: 1", "8: 2"]
        assert ours(site).stats().unavailable > 0
    assert redis_server.command("KEYS", "*") == []
    assert site.runs_for("/users/9", "/users/9") == ["9: 3", "9: 3"]
    site.close()


def ours(site: Site) -> Cache:
    """Return the cache of ours behind a site's."""
    cache: Cache = site.cache if isinstance(site.cache, Cache) else site.cache.cache
    return cache


def test_a_hit_whose_tags_are_known_asks_once_for_both(
    kind: type[Site], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page and tags come in one round trip; in Django after what the page varies on."""
    site = kind(redis_server.url, tags=BY_TEMPLATE)
    site.get()
    backend, asked = ours(site).backend, []
    for name in ("get", "get_many", "aget", "aget_many"):
        real = getattr(backend, name)
        patched = lambda *args, real=real, name=name: (asked.append(name), real(*args))[1]  # noqa: E731
        monkeypatch.setattr(backend, name, patched)
    assert site.get().text == "7: 1"
    assert len(asked) == (2 if isinstance(site, DjangoSite) else 1)
    assert asked[-1] in ("get_many", "aget_many")
    site.close()


def test_tags_are_not_looked_at_again_for_nobody(
    kind: type[Site], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds the page looks at them; once it is stored, those count who have waited."""
    site = kind(redis_server.url, tags=BY_TEMPLATE)
    backend, read = ours(site).backend, list[str]()
    for name in ("get", "get_many", "aget", "aget_many"):
        real = getattr(backend, name)

        def reading(asked: Any, real: Any = real) -> Any:
            read.extend([asked] if isinstance(asked, str) else asked)
            return real(asked)

        monkeypatch.setattr(backend, name, reading)
    site.during = read.clear
    assert site.get().text == "7: 1"
    assert not any("!tag:" in key for key in read)
    site.during = lambda: None
    assert site.get().text == "7: 1"
    assert any("!tag:" in key for key in read)
    site.close()


@pytest.mark.parametrize("tags", WAYS, ids=NAMES)
def test_another_process_invalidates(
    kind: type[Site], tags: Any, redis_server: RedisServer
) -> None:
    """By the same prefix, before and while the page is computed."""
    site = kind(redis_server.url, tags=tags)
    site.fields["X-Tags"] = "pages"
    prefix = ours(site)._keys.tag("").removesuffix("!tag:").rstrip(":")
    other = Cache(redis_server.url, key_prefix=prefix)
    assert site.runs_for("/users/7", "/users/7") == ["7: 1", "7: 1"]
    other.invalidate_tags("pages")
    site.during = lambda: other.invalidate_tags("pages")
    assert site.runs_for("/users/7", "/users/7") == ["7: 2", "7: 3"]
    other.close()
    site.close()


def test_mistakes_are_told(kind: type[Site]) -> None:
    """Where the view is decorated, as far as that can be known then."""
    for tags, error, why in [
        ("user", InvalidKey, "stands in place of many"),
        (["user:{"], SettingsError, "no template"),
        ([7], InvalidKey, "a tag is text"),
    ]:
        with pytest.raises(error, match=why):
            kind("memory://page-tags", tags=tags)
    if kind is StarletteSite:  # what a path has is known by then
        site = kind("memory://page-tags", tags=["{usr}"])
        with pytest.raises(SettingsError, match=r"names 'usr'.*did you mean 'user'"):
            site.get()
        site.close()
    else:
        with pytest.raises(SettingsError, match=r"names 'usr'.*did you mean 'user'"):
            kind("memory://page-tags", tags=["{usr}"])


# Starlette and FastAPI


@pytest.mark.parametrize(
    ("tag", "user"), [("{user.id}", None), ("{user[id]}", {}), ("{user[0]}", [])]
)
def test_a_field_that_is_not_there_is_told(tag: str, user: Any) -> None:
    """As it is of a function that is cached: by the template, and what the value said."""

    def view(user: Any) -> None:
        pass

    tags = ViewTags(view, "view", ["page", tag], closed=True)
    with pytest.raises(UnstableArgument, match=f"{re.escape(tag)}, and there is none in this call"):
        tags.names((user,), {})


def fastapi(**choices: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    runs: list[int] = []

    def double(user: int) -> int:
        return 2 * user

    @app.get("/users/{user}/{page}")
    @cached_page(**choices)
    async def endpoint(user: int, twice: Annotated[int, Depends(double)], q: str = "none") -> int:
        runs.append(user)
        if user == 404:
            raise HTTPException(404, headers={"X-Tags": "missing"})
        return len(runs)

    return app


async def answers(app: Any, *wheres: str) -> list[str]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        return [(await http.get(each)).text for each in wheres]


@pytest.fixture
def memory() -> Iterator[Cache]:
    """A cache in memory that is the process's."""
    configure("memory://page-tags")
    caches["default"].clear()
    yield caches["default"]
    configure()


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("user:{user}", "user:7"),
        ("of {page}", "of last"),
        ("{twice:04}", "0014"),
        ("{q!r}", "'none'"),
        ("{user}{{}}", "7{}"),
    ],
)
async def test_templates_over_what_an_endpoint_is_given(memory: Cache, tag: str, name: str) -> None:
    """Its parameters as FastAPI has converted them, those of the path, dependencies, defaults."""
    app = fastapi(tags=[tag])
    assert await answers(app, "/users/007/last", "/users/007/last") == ["1", "1"]
    await memory.ainvalidate_tags(name)
    assert await answers(app, "/users/007/last") == ["2"]


async def test_what_is_raised_has_tags_too(memory: Cache) -> None:
    """As a response: an exception that is kept as a page is one."""
    told: list[int] = []

    def tags(request: Request, response: StarletteResponse) -> list[str]:
        told.append(response.status_code)
        return [response.headers["x-tags"]]

    app = fastapi(tags=tags)
    first = await answers(app, "/users/404/a", "/users/404/a")
    await memory.ainvalidate_tags("missing")
    assert await answers(app, "/users/404/a") == first[:1]
    assert told == [404, 404]


# Flask


def test_class_based_views_in_flask() -> None:
    """A decorator of a class sees what the path has, by name."""
    app = Flask("tags")
    app.config["CACHES"] = "memory://page-tags"
    caching, runs = Caching(app), list[int]()

    class Users(MethodView):
        decorators = [caching.cached_page(tags=["user:{user}"])]  # noqa: RUF012

        def get(self, user: int) -> str:
            runs.append(user)
            return str(len(runs))

    app.add_url_rule("/<int:user>", view_func=Users.as_view("users"))
    http = app.test_client()
    assert [http.get("/7").text for _ in range(2)] == ["1", "1"]
    with app.app_context():
        caching.cache.invalidate_tags("user:7")
    assert http.get("/7").text == "2"
    with app.app_context():
        caching.cache.clear()
    caching.close()


# Django


@pytest.fixture
def django_memory() -> Iterator[None]:
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "page-tags"}
    others = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={"default": entry, "djangos": others}):
        djangos["default"].clear()
        yield
        djangos["default"].clear()


class Users(View):
    """A view as a class, decorated as Django's documentation says."""

    runs = 0

    def get(self, request: HttpRequest, user: int) -> HttpResponse:
        Users.runs += 1
        return HttpResponse(str(Users.runs))


@pytest.mark.parametrize("tag", ["user:{user}", "user:{request.path}"])
def test_class_based_views_in_django(django_memory: None, tag: str) -> None:
    """By `method_decorator`, which has no parameters of its own."""
    decorate = method_decorator(cache_page(60, tags=[tag]), name="dispatch")
    view: Any = decorate(type("Own", (Users,), {})).as_view()
    ask = lambda: view(RequestFactory().get("/7"), user=7).content  # noqa: E731
    first = ask()
    assert ask() == first
    djangos["default"].invalidate_tags("user:7", "user:/7")
    assert ask() != first


@pytest.mark.parametrize("name", ["io", "proceed", "function", "view"])
def test_values_of_a_path_have_any_names_in_django(django_memory: None, name: str) -> None:
    """Those of our own parameters too, in both faces."""

    @cache_page(60, tags=[f"thing:{{{name}}}"])
    def sync(request: HttpRequest, **path: str) -> HttpResponse:
        return HttpResponse(path[name])

    @cache_page(60, tags=[f"thing:{{{name}}}"])
    async def native(request: HttpRequest, **path: str) -> HttpResponse:
        return HttpResponse(path[name])

    assert sync(RequestFactory().get("/sync/7"), **{name: "7"}).content == b"7"
    answer: Any = native(RequestFactory().get("/native/7"), **{name: "7"})
    assert asyncio.run(answer).content == b"7"


@pytest.mark.parametrize("single_flight", [True, False])
def test_caches_around_keep_no_page_with_tags(django_memory: None, single_flight: bool) -> None:
    """They know nothing of the tags; so the page is where these are."""
    runs: list[int] = []

    def view(request: HttpRequest, user: int) -> HttpResponse:
        runs.append(user)
        return HttpResponse(str(len(runs)))

    inner = cache_page(60, tags=["user:{user}"], single_flight=single_flight)(view)
    between = cache_page(60, tags=["between"])(inner)
    outer = DjangosMiddleware(between, 60)
    ask = lambda: outer(RequestFactory().get("/7")).content  # noqa: E731
    outer.get_response = lambda request: between(request, user=7)
    assert [ask(), ask()] == [b"1", b"1"]
    djangos["default"].invalidate_tags("user:7")
    assert [ask(), ask()] == [b"2", b"2"]


def test_another_cache_of_djangos_keeps_no_page_with_tags(django_memory: None) -> None:
    """Nobody could invalidate it there."""
    runs: list[int] = []

    def view(request: HttpRequest) -> HttpResponse:
        runs.append(1)
        return HttpResponse(str(len(runs)))

    tagged = cache_page(60, cache="djangos", tags=["t"])(view)
    untagged = cache_page(60, cache="djangos")(view)
    ask = lambda view: view(RequestFactory().get("/")).content  # noqa: E731
    assert [ask(tagged), ask(tagged)] == [b"1", b"2"]
    assert [ask(untagged), ask(untagged)] == [b"3", b"3"]
