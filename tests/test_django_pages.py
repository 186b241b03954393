"""Pages in Django: `cache_page` and the middleware, for sync and for async views."""

import asyncio
import gc
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import timedelta
from inspect import isawaitable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests import django_project
from tests.chaos import RedisServer

django_project.configure()

from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.base import BaseCache
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware import cache as rules
from django.template import Context, Engine, TemplateSyntaxError
from django.template.backends.django import DjangoTemplates
from django.template.response import SimpleTemplateResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils.cache import learn_cache_key, patch_response_headers
from django.utils.decorators import method_decorator
from django.utils.translation import get_language
from django.views import View
from django.views.decorators.cache import cache_page as djangos_page

from twofold import BlockingCallWarning
from twofold.claims import table
from twofold.claims.stored import StoredClaim
from twofold.claims.table import Claim
from twofold.claims.turns import Turns
from twofold.contrib.django import (
    CacheMiddleware,
    FetchFromCacheMiddleware,
    RedisCache,
    UpdateCacheMiddleware,
    cache_page,
    make_template_fragment_key,
    page_store,
)
from twofold.contrib.django import pages as pages_room
from twofold.contrib.django.shelf import elsewhere

MEMORY = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "pages"}


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin with no turn taken, and check that none is left."""
    monkeypatch.setattr(pages_room, "turns", Turns())
    before = claimed()
    yield
    assert claimed() <= before


def claimed() -> set[Claim]:
    """Return what is being computed in this process, for whatever cache."""
    return {claim for claims in (elsewhere, *table._by_store.values()) for claim in claims}


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have Django use an empty cache on this store."""
    entry: dict[str, Any] = MEMORY
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES={"default": entry}):
        caches["default"].clear()
        yield
        caches["default"].clear()


@pytest.fixture
def memory() -> Iterator[None]:
    """Have Django use an empty cache in memory."""
    with override_settings(CACHES={"default": MEMORY}):
        caches["default"].clear()
        yield
        caches["default"].clear()


Answer = Callable[[HttpRequest], HttpResponse]


class Site:
    """One view under `cache_page`, which tells how often it ran."""

    def __init__(self, answer: Answer, is_async: bool, **options: Any) -> None:
        self.runs = 0
        self._answer = answer
        self.view: Callable[..., Any] = cache_page(60, **options)(
            self._in_async if is_async else self._in_sync
        )

    def _in_sync(self, request: HttpRequest) -> HttpResponse:
        self.runs += 1
        return self._answer(request)

    async def _in_async(self, request: HttpRequest) -> HttpResponse:
        self.runs += 1
        await asyncio.sleep(0)
        return self._answer(request)

    def get(self, where: str = "/page", /, *, method: str = "GET", **headers: str) -> HttpResponse:
        request = RequestFactory().generic(
            method, where, headers={name.replace("_", "-"): each for name, each in headers.items()}
        )
        response = self.view(request)
        return asyncio.run(response) if isawaitable(response) else response


@pytest.fixture(params=["sync", "async"])
def site(request: pytest.FixtureRequest) -> Callable[..., Site]:
    """Return a function that makes a site of what answers a request."""

    def make(answer: Answer, **options: Any) -> Site:
        return Site(answer, request.param == "async", **options)

    return make


def of_user(**headers: str) -> Answer:
    """Return a view that answers each user with their own page, under these headers."""

    def answer(request: HttpRequest) -> HttpResponse:
        told = [request.headers.get(name, "-") for name in ("Cookie", "Authorization", "X-Region")]
        page = "|".join([*told, request.headers.get("X-Tenant", "-")])
        return HttpResponse(page, headers=headers)

    return answer


# What is shared


def test_a_page_is_computed_once(site: Callable[..., Site], store: None) -> None:
    """The second request is answered from the cache, with its age."""
    shop = site(lambda request: HttpResponse("page"))
    first, second = shop.get(), shop.get()
    assert (first.content, second.content, shop.runs) == (b"page", b"page", 1)
    assert "Age" not in first
    assert int(second["Age"]) >= 0
    assert second["Cache-Control"] == "max-age=60"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("/page",), ("/page?a=1",)),
        (("/page?a=1&b=2",), ("/page?b=2&a=1",)),
        (("/page",), ("/Page",)),
    ],
)
def test_pages_have_their_own_address(
    site: Callable[..., Site], memory: None, one: tuple[str], other: tuple[str]
) -> None:
    """Another path or query is another page."""
    shop = site(lambda request: HttpResponse(request.get_full_path()))
    assert shop.get(*one).content != shop.get(*other).content
    assert shop.runs == 2


def test_hosts_have_their_own_pages(site: Callable[..., Site], memory: None) -> None:
    """The same path of another host is another page."""
    shop = site(lambda request: HttpResponse(request.get_host()))
    assert shop.get(host="one.test").content == b"one.test"
    assert shop.get(host="two.test").content == b"two.test"


def test_head_is_answered_with_a_stored_get(site: Callable[..., Site], memory: None) -> None:
    """A HEAD request finds the page of a GET; its own page is no GET's."""
    shop = site(lambda request: HttpResponse(request.method))
    assert shop.get("/a", method="HEAD").content == b"HEAD"
    assert shop.get("/a").content == b"GET"
    assert shop.get("/b").content == b"GET"
    assert shop.get("/b", method="HEAD").content == b"GET"
    assert shop.runs == 3


# What is not shared

USERS = [
    ({"Vary": "Cookie"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Vary": "Cookie"}, {"cookie": "u=1"}, {}),
    ({"Vary": " Cookie "}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Vary": "Accept-Encoding ,\tCookie"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Vary": "*"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Vary": " * "}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Vary": "Accept, * , Pony"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": "private"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": "Private"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": "max-age=9, PRIVATE"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": 'private="Set-Cookie"'}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": 'private = "Set-Cookie"'}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": "No-Store"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({"Cache-Control": "no-cache"}, {"cookie": "u=1"}, {"cookie": "u=2"}),
    ({}, {"authorization": "u1"}, {"authorization": "u2"}),
    ({}, {"authorization": "u1"}, {}),
    ({}, {}, {"authorization": "u1"}),
    ({"Vary": "X-Region"}, {}, {"x_region": ""}),
    ({"Vary": "X-Region"}, {"x_region": ""}, {}),
    (
        {"Vary": "X-Region, X-Tenant"},
        {"x_region": "EU", "x_tenant": ""},
        {"x_region": "", "x_tenant": "EU"},
    ),
    ({"Vary": "X-Region, X-Tenant"}, {"x_region": "EU"}, {"x_tenant": "EU"}),
    ({"Vary": "X-Region, X-Tenant"}, {"x_region": "E", "x_tenant": "U"}, {"x_region": "EU"}),
]


@pytest.mark.parametrize(("headers", "one", "other"), USERS)
def test_users_never_cross(
    site: Callable[..., Site],
    memory: None,
    headers: dict[str, str],
    one: dict[str, str],
    other: dict[str, str],
) -> None:
    """Nobody is given the page of somebody else, in whatever order they ask."""
    shop = site(of_user(**headers))
    mine = site(of_user(**headers), key_prefix="apart")
    expected = [shop.get("/own", **one).content]
    caches["default"].clear()
    expected.append(shop.get("/own", **other).content)
    caches["default"].clear()
    got = [mine.get(**each).content for each in (one, other, one, other)]
    assert got == expected * 2
    assert len(set(expected)) == len({str(one), str(other)}) or "" in {*one.values()} | {
        *other.values()
    }


def test_what_varies_once_varies_on(site: Callable[..., Site], memory: None) -> None:
    """A page for nobody in particular, which says no `Vary`, does not hide those of users."""

    def answer(request: HttpRequest) -> HttpResponse:
        if user := request.headers.get("Cookie"):
            return HttpResponse(user, headers={"Vary": "Cookie"})
        return HttpResponse("nobody")

    shop = site(answer)
    for _ in range(2):
        assert shop.get(cookie="u=1").content == b"u=1"
        assert shop.get().content == b"nobody"
        assert shop.get(cookie="u=2").content == b"u=2"
    assert shop.runs == 3


@pytest.mark.parametrize("i18n", [True, False])
@pytest.mark.parametrize("chosen", [True, False], ids=["LocaleMiddleware", "the view"])
def test_languages_are_told_apart_by_who_chooses_them(
    site: Callable[..., Site], memory: None, i18n: bool, chosen: bool
) -> None:
    """A view that reads the field has a page for each; one that does not shares its page.

    Where Django chooses, one page for a language serves all who prefer that, in whatever words.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        asked = request.headers.get("Accept-Language", "-")
        if chosen:
            request.LANGUAGE_CODE = get_language()  # type: ignore[attr-defined]
        return HttpResponse(asked, headers={"Vary": "Accept-Language"})

    with override_settings(USE_I18N=i18n):
        shop = site(answer)
        asked = [{}, {"accept_language": "de"}, {"accept_language": "en"}, {}] * 2
        told = [shop.get(**each).content for each in asked]
    apart = [b"-", b"de", b"en", b"-"] * 2
    assert told == ([b"-"] * 8 if chosen and i18n else apart)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(60, 60), (1.5, 2), ("10m", 600), (timedelta(hours=1), 3600), (0, 0), (None, 600)],
    ids=str,
)
def test_a_timeout_is_whatever_it_is_elsewhere(memory: None, timeout: Any, seconds: int) -> None:
    """The client is told whole seconds; None leaves it to Django's setting."""
    view = cache_page(timeout)(plain)
    assert view(RequestFactory().get("/"))["Cache-Control"] == f"max-age={seconds}"


@pytest.mark.parametrize("name", ["dispatch", "get"])
def test_async_classes_are_decorated(memory: None, name: str) -> None:
    """As Django tells it, by `method_decorator`, though `dispatch` is no `async def`."""
    numbers = iter("123")

    class Numbered(View):
        async def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(next(numbers))

        async def post(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("posted")

    view = method_decorator(cache_page(60), name=name)(Numbered).as_view()

    async def ask(method: str) -> bytes:
        answer: HttpResponse = await view(RequestFactory().generic(method, "/"))  # type: ignore[misc]
        return answer.content

    assert [asyncio.run(ask(each)) for each in ("GET", "GET", "POST", "PUT", "GET")] == [
        b"1",
        b"1",
        b"posted",
        b"",
        b"1",
    ]


class BeforeTheFixes(CacheMiddleware):
    """Decides as Django did before the releases that look at these fields, or worse."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        patch_response_headers(response, 60)
        key = learn_cache_key(request, response, 60, self.key_prefix, cache=self.cache)
        self.cache.set(key, response, 60)
        return response


@pytest.mark.parametrize(
    ("headers", "runs"),
    [
        ({"Cache-Control": "No-Store"}, 2),
        ({"Cache-Control": "no-cache"}, 2),
        ({"Cache-Control": "PRIVATE"}, 2),
        ({"Cache-Control": "max-age=60; private"}, 2),
        ({"Pragma": "no-cache"}, 2),
        ({"Vary": " * "}, 2),
        ({"Vary": "Accept, *"}, 2),
        ({"Vary": "Accept"}, 1),
    ],
    ids=str,
)
def test_what_forbids_to_share_counts_in_every_django(
    memory: None, headers: dict[str, str], runs: int
) -> None:
    """Such a page is not stored, whatever the Django that is installed looks at."""
    numbers = iter("12")
    site = BeforeTheFixes(lambda request: HttpResponse(next(numbers), headers=headers))
    for _ in range(2):
        last = site(RequestFactory().get("/")).content
    assert last == b"%d" % runs


class Known:
    """A user whom a middleware found by a token."""

    is_authenticated = True


@pytest.mark.parametrize("known_by", ["Authorization", "REMOTE_USER", "a middleware"])
@pytest.mark.parametrize("its_guard", [True, False], ids=["5.2.19", "before"])
def test_a_known_user_shares_only_what_is_public(
    memory: None, monkeypatch: pytest.MonkeyPatch, known_by: str, its_guard: bool
) -> None:
    """However a user was found, their page is not stored, and they get none of others."""
    if not its_guard:
        monkeypatch.setattr(rules, "patch_vary_headers", lambda *_: None, raising=False)
    runs: list[HttpRequest] = []

    def ask(view: Callable[..., HttpResponse], known: bool) -> HttpResponse:
        request = RequestFactory().get("/page")
        if known and known_by == "a middleware":
            request.user = Known()  # type: ignore[assignment]
        elif known:
            name = "HTTP_AUTHORIZATION" if known_by == "Authorization" else known_by
            request.META[name] = "ann"
        return view(request)

    for headers, expected in (({}, 5), ({"Cache-Control": "public"}, 1)):

        @cache_page(60, key_prefix=str(expected))
        def view(request: HttpRequest) -> HttpResponse:
            runs.append(request)
            return HttpResponse("page", headers=headers)  # noqa: B023 - called in this round

        runs.clear()
        for known in (True, True, False, True, False, True):
            ask(view, known)
        assert len(runs) == expected


def test_public_is_for_all(site: Callable[..., Site], memory: None) -> None:
    """A response marked `public` is shared though the request was authorized."""
    shop = site(of_user(**{"Cache-Control": "public"}))
    assert shop.get(authorization="u1").content == shop.get(authorization="u2").content
    assert shop.runs == 1


def test_origins_get_their_own_pages(site: Callable[..., Site], memory: None) -> None:
    """What allows an origin is given to no other, though `Vary` is said to that alone, or not."""

    def answer(request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("Origin", "")
        return HttpResponse(origin, headers={"Access-Control-Allow-Origin": origin})

    shop = site(answer)
    for origin in ("", "http://a.example", "http://b.example") * 2:
        headers = {"origin": origin} if origin else {}
        assert shop.get(**headers)["Access-Control-Allow-Origin"] == origin
    assert shop.runs == 3


def test_cookies_that_are_set_stay_with_their_user(site: Callable[..., Site], memory: None) -> None:
    """A response that sets a cookie and varies on Cookie is not stored, whoever asks."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = HttpResponse("page", headers={"Vary": "Cookie"})
        response.set_cookie("session", "secret")
        return response

    shop = site(answer)
    for _ in range(2):
        shop.get(cookie="unrelated=1")
    shop.get()
    shop.get()
    assert shop.runs == 4


@pytest.mark.parametrize("status", [201, 204, 301, 404, 500])
def test_only_ok_is_stored(site: Callable[..., Site], memory: None, status: int) -> None:
    """Other responses than 200 are not kept."""
    shop = site(lambda request: HttpResponse(status=status))
    assert [shop.get().status_code, shop.get().status_code, shop.runs] == [status, status, 2]


def test_max_age_zero_is_not_stored(site: Callable[..., Site], memory: None) -> None:
    """What says it is stale at once is not kept, as far as `cache_page` leaves it to max-age."""
    with override_settings(CACHE_MIDDLEWARE_SECONDS=60):
        runs = 0

        def view(request: HttpRequest) -> HttpResponse:
            nonlocal runs
            runs += 1
            return HttpResponse(headers={"Cache-Control": "max-age=0"})

        middleware = CacheMiddleware(view)
        for _ in range(2):
            middleware(RequestFactory().get("/"))
    assert runs == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_unsafe_methods_go_through(site: Callable[..., Site], memory: None, method: str) -> None:
    """They are neither answered from the cache nor stored."""
    shop = site(lambda request: HttpResponse(request.method))
    shop.get()
    assert shop.get(method=method).content == method.encode()
    assert shop.get().content == b"GET"
    assert shop.runs == 2


def test_streams_pass_through(site: Callable[..., Site], memory: None) -> None:
    """A streaming response is handed on as it is, and not stored."""
    taken: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(3):
            taken.append(number)
            yield b"part"

    shop = site(lambda request: StreamingHttpResponse(parts()))  # type: ignore[arg-type, return-value]
    assert shop.get().streaming
    assert taken == []
    shop.get()
    assert shop.runs == 2


# One computation


class Gate:
    """A view that waits until it is let go, from sync and from async code."""

    def __init__(self, answer: Answer) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()
        self.runs = 0
        self._answer = answer

    def in_sync(self, request: HttpRequest) -> HttpResponse:
        self.runs += 1
        self.inside.release()
        assert self.open.wait(10)
        return self._answer(request)

    async def in_async(self, request: HttpRequest) -> HttpResponse:
        self.runs += 1
        self.inside.release()
        while not self.open.is_set():
            await asyncio.sleep(0.001)
        return self._answer(request)


def ask(view: Callable[..., Any], **headers: str) -> HttpResponse:
    response = view(RequestFactory().get("/page", headers=headers))
    return asyncio.run(response) if isawaitable(response) else response


def waiting(view: Callable[..., Any], many: int) -> "list[Any]":
    """Start `many` threads that ask for the page."""
    threads = ThreadPoolExecutor(many)
    asked = [threads.submit(ask, view) for _ in range(many)]
    threads.shutdown(wait=False)
    return asked


@pytest.mark.parametrize("face", ["in_sync", "in_async"])
def test_one_computes_and_the_others_wait(face: str, store: None) -> None:
    """Twenty who ask together in threads, some with loops of their own, run the view once."""
    gate = Gate(lambda request: HttpResponse("page"))
    view = cache_page(60)(getattr(gate, face))
    asked = waiting(view, 20)
    assert gate.inside.acquire(timeout=10)
    assert not gate.inside.acquire(timeout=0.2)
    gate.open.set()
    assert {each.result(10).content for each in asked} == {b"page"}
    assert gate.runs == 1


async def test_tasks_share_a_page(store: None) -> None:
    """Twenty tasks of one loop run the view once, and the loop goes on meanwhile."""
    gate = Gate(lambda request: HttpResponse("page"))
    view = cache_page(60)(gate.in_async)
    asked = [asyncio.create_task(view(RequestFactory().get("/page"))) for _ in range(20)]
    while not gate.runs:
        await asyncio.sleep(0)
    gate.open.set()
    assert {each.content for each in await asyncio.gather(*asked)} == {b"page"}
    assert gate.runs == 1


@pytest.mark.parametrize("face", ["in_sync", "in_async"])
def test_single_flight_is_an_option(face: str, memory: None) -> None:
    """Without it each computes for itself."""
    gate = Gate(lambda request: HttpResponse("page"))
    asked = waiting(cache_page(60, single_flight=False)(getattr(gate, face)), 5)
    for _ in range(5):
        assert gate.inside.acquire(timeout=10)
    gate.open.set()
    assert {each.result(10).content for each in asked} == {b"page"}


def test_the_middleware_takes_it_from_a_setting(memory: None) -> None:
    """`CACHE_MIDDLEWARE_SINGLE_FLIGHT = False` lets each compute for itself."""
    gate = Gate(lambda request: HttpResponse("page"))
    with override_settings(CACHE_MIDDLEWARE_SINGLE_FLIGHT=False):
        asked = waiting(CacheMiddleware(gate.in_sync), 3)
        for _ in range(3):
            assert gate.inside.acquire(timeout=10)
        gate.open.set()
        assert {each.result(10).content for each in asked} == {b"page"}


async def test_those_who_wait_get_their_own_page(memory: None) -> None:
    """Where it turns out that the page varies, each user's is computed, and none crosses."""
    gate = Gate(lambda request: HttpResponse(request.headers["Cookie"], headers={"Vary": "Cookie"}))
    view = cache_page(60)(gate.in_async)
    users = [f"user={n % 4}" for n in range(20)]
    asked = [
        asyncio.create_task(view(RequestFactory().get("/page", headers={"cookie": user})))
        for user in users
    ]
    while not gate.runs:
        await asyncio.sleep(0)
    gate.open.set()
    assert [each.content.decode() for each in await asyncio.gather(*asked)] == users
    assert gate.runs == 4


@pytest.mark.parametrize(
    ("page", "headers"), [("mine", {"Cache-Control": "private"}), ("too big" * 10_000, {})]
)
async def test_what_is_not_stored_is_not_done_in_turn(page: str, headers: dict[str, str]) -> None:
    """After the first of such pages all run side by side, and so do those who come next."""
    gate = Gate(lambda request: HttpResponse(page, headers=headers))
    small = {**MEMORY, "OPTIONS": {"max_bytes": 10_000}}
    with override_settings(CACHES={"default": small}):
        view = cache_page(60)(gate.in_async)
        gate.open.set()
        await view(RequestFactory().get("/page"))
        gate.open.clear()
        asked = [asyncio.create_task(view(RequestFactory().get("/page"))) for _ in range(10)]
        async with asyncio.timeout(10):
            while gate.runs < 11:
                await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*asked)


@pytest.mark.parametrize("face", ["in_sync", "in_async"])
def test_errors_are_not_shared(face: str, memory: None) -> None:
    """Who computes gets the error; the next one computes anew, and nothing is stored."""
    failures = iter([ValueError("mine")])

    def answer(request: HttpRequest) -> HttpResponse:
        if error := next(failures, None):
            raise error
        return HttpResponse("page")

    gate = Gate(answer)
    asked = waiting(cache_page(60)(getattr(gate, face)), 5)
    assert gate.inside.acquire(timeout=10)
    gate.open.set()
    errors = [each for each in asked if each.exception(10)]
    assert [str(each.exception()) for each in errors] == ["mine"]
    assert gate.runs == 2


async def test_a_client_that_goes_away(store: None) -> None:
    """A cancelled request stores nothing and leaves nothing; the next one computes."""
    gate = Gate(lambda request: HttpResponse("page"))
    view = cache_page(60)(gate.in_async)
    gone = asyncio.create_task(view(RequestFactory().get("/page")))
    while not gate.runs:
        await asyncio.sleep(0)
    others = [asyncio.create_task(view(RequestFactory().get("/page"))) for _ in range(3)]
    await asyncio.sleep(0.01)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.open.set()
    assert {each.content for each in await asyncio.gather(*others)} == {b"page"}
    assert gate.runs == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_view_may_be_decorated_twice(site: Callable[..., Site], memory: None) -> None:
    """A decorated view behind the middleware does not wait for itself."""
    shop = site(lambda request: HttpResponse("page"))
    nested = CacheMiddleware(shop.view, page_timeout=60, key_prefix="", cache_alias=None)
    assert ask(nested).content == b"page"
    assert ask(nested).content == b"page"
    assert shop.runs == 1


@pytest.mark.parametrize("path", ["/", "/?more"])
def test_a_hit_makes_the_address_once(memory: None, monkeypatch: Any, path: str) -> None:
    """Django makes it for each key, and is asked anew for each; the request stays as it was."""
    view = cache_page(60)(lambda _request: HttpResponse("page"))
    view(RequestFactory().get(path))
    made: list[Any] = []
    make = HttpRequest.build_absolute_uri
    monkeypatch.setattr(
        HttpRequest,
        "build_absolute_uri",
        lambda self, location=None: made.append(location) or make(self, location),  # type: ignore[func-returns-value]
    )
    request = RequestFactory().get(path)
    assert view(request).content == b"page"
    assert made == [None]
    assert request.build_absolute_uri("/other") == "http://testserver/other"
    assert made == [None, "/other"]


async def test_a_copy_of_a_request_has_its_own_address(tmp_path: Path) -> None:
    """One that is made while the store is asked for the page keeps nothing of that."""
    view = cache_page(60)(Gate(lambda _request: HttpResponse("page")).in_async)
    files = {"BACKEND": "twofold.contrib.django.FileCache", "LOCATION": str(tmp_path / "cache")}
    with override_settings(CACHES={"default": files}):
        request = RequestFactory().get("/one")
        looking = asyncio.create_task(view(request))
        await asyncio.sleep(0)
        other = copy(request)
        other.path = "/other"
        assert other.build_absolute_uri() == "http://testserver/other"
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking


def test_a_users_own_rules_count(memory: None) -> None:
    """Methods that a subclass of the middleware overrides decide, also about its cache."""
    other = {**MEMORY, "LOCATION": "elsewhere"}

    class Elsewhere(UpdateCacheMiddleware):
        @property
        def cache(self) -> Any:
            return caches["elsewhere"]

        def process_response(self, request: Any, response: Any) -> Any:
            return (
                response
                if request.headers.get("X-User")
                else super().process_response(request, response)
            )

    class Here(FetchFromCacheMiddleware):
        cache = Elsewhere.cache

        def process_request(self, request: Any) -> Any:
            return None if request.headers.get("X-User") else super().process_request(request)

    with override_settings(CACHES={"default": MEMORY, "elsewhere": other}):
        middleware = Elsewhere(Here(lambda request: HttpResponse(request.headers.get("X-User"))))
        assert [ask(middleware, **{"X-User": user}).content for user in ("a", "b")] == [b"a", b"b"]
        assert ask(middleware).content == b"None"
        assert "Age" in ask(middleware).headers
        assert ask(middleware, **{"X-User": "a"}).content == b"a"
        caches["elsewhere"].clear()
        assert "Age" not in ask(middleware).headers


def test_what_an_inner_page_varied_on_is_not_an_outer_ones(memory: None) -> None:
    """Each of two caches around one view knows what its own pages varied on."""
    shown = iter(["cookie", "banner"])

    def view(request: HttpRequest) -> HttpResponse:
        if next(shown) == "banner":
            return HttpResponse("banner")
        return HttpResponse(request.headers["Cookie"], headers={"Vary": "Cookie"})

    outer = cache_page(60, key_prefix="outer")(cache_page(60, key_prefix="inner")(view))
    assert ask(outer, cookie="u=1").content == b"u=1"
    store = caches["default"].cache.backend  # type: ignore[attr-defined]
    for key in [key for key in store._store.entries if ".inner." in key]:
        store.delete(key)
    assert ask(outer, cookie="u=2").content == b"banner"
    assert ask(outer, cookie="u=1").content == b"u=1"


# Responses that are rendered later


ENGINE = DjangoTemplates({"NAME": "t", "DIRS": [], "APP_DIRS": False, "OPTIONS": {}})


def page_of(text: str) -> SimpleTemplateResponse:
    return SimpleTemplateResponse(ENGINE.from_string(text))


def test_what_one_page_varied_on_a_template_does_too(
    site: Callable[..., Site], memory: None
) -> None:
    """A page that is rendered later, and says no `Vary`, hides none that was stored before."""

    def answer(request: HttpRequest) -> HttpResponse:
        region = request.headers.get("Region")
        page = page_of(region or "none")
        if region:
            page.headers["Vary"] = "Region"
        return page

    shop = site(answer)
    for region in ("EU", "", "EU", "US", ""):
        got: Any = shop.get(**({"Region": region} if region else {}))
        assert got.render().content.decode() == (region or "none")


def test_template_responses_are_stored_once_rendered(
    site: Callable[..., Site], memory: None
) -> None:
    """What template-response middleware adds is in the page; a hit is rendered already."""
    shop = site(lambda request: page_of("hello"))
    first: Any = shop.get()
    assert not first.is_rendered
    first.render()
    assert shop.get().content == b"hello"
    assert shop.runs == 1


def test_rendering_belongs_to_the_turn(memory: None) -> None:
    """Who waits does so until the page is rendered; if that fails, the next one computes."""
    started: list[Any] = []

    def view(request: HttpRequest) -> Any:
        started.append(page_of("hello"))
        return started[-1]

    cached_view = cache_page(60)(view)
    mine: Any = cached_view(RequestFactory().get("/page"))
    asked = waiting(lambda request: cached_view(request).render(), 3)
    done = threading.Event()
    assert not done.wait(0.1)
    assert len(started) == 1
    mine.render()
    assert {each.result(10).content for each in asked} == {b"hello"}
    assert len(started) == 1


def test_a_rendering_that_fails_releases_its_turn(memory: None) -> None:
    """The error is the request's own, and the next one computes at once."""
    pages = [page_of("{{ broken }}"), page_of("hello")]
    pages[0].context_data = {"broken": type("Broken", (), {"__str__": lambda self: 1 / 0})()}
    cached_view = cache_page(60)(lambda request: pages.pop(0))
    failing: Any = cached_view(RequestFactory().get("/page"))
    with pytest.raises(ZeroDivisionError):
        failing.render()
    assert not claimed()
    assert cached_view(RequestFactory().get("/page")).render().content == b"hello"
    assert cached_view(RequestFactory().get("/page")).content == b"hello"


def test_a_page_that_is_never_rendered_releases_its_turn(memory: None) -> None:
    """A response that is thrown away lets the next one compute."""
    runs = 0

    def view(request: HttpRequest) -> Any:
        nonlocal runs
        runs += 1
        return page_of("hello")

    cached_view = cache_page(60)(view)
    cached_view(RequestFactory().get("/page"))
    gc.collect()
    assert cached_view(RequestFactory().get("/page")).render().content == b"hello"
    assert runs == 2


# A cache that fails


class Broken(BaseCache):
    """A cache whose server is away, of somebody else's making."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("away")

    set = add = touch = delete = clear = get

    async def aget(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("away")

    aset = aadd = atouch = adelete = aclear = aget


def test_a_broken_cache_is_no_broken_page(
    site: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    """Pages are answered without it, and that is logged once."""
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.Broken"}}):
        shop = site(lambda request: HttpResponse("page"))
        with caplog.at_level(logging.WARNING, "twofold"):
            assert [shop.get().content for _ in range(3)] == [b"page"] * 3
    assert [each.getMessage() for each in caplog.records if each.name == "twofold"] == [
        f"cache 'default' fails to {what}, going on without it: ConnectionError('away')"
        for what in ("read", "write")
    ]
    page_store._outages.clear()


def test_an_unpicklable_response_is_answered(
    site: Callable[..., Site], memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A page that cannot be stored is answered all the same."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = HttpResponse("page")
        response.lock = threading.Lock()  # type: ignore[attr-defined]
        return response

    shop = site(answer)
    with caplog.at_level(logging.WARNING, "twofold"):
        assert [shop.get().content for _ in range(2)] == [b"page"] * 2
    assert shop.runs == 2
    assert caplog.text.count("going on without it") == 1
    page_store._outages.clear()


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_server_that_dies(
    own_redis: RedisServer, face: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With Redis killed, pages go on, and it is logged once."""
    entry = {
        "BACKEND": "twofold.contrib.django.RedisCache",
        "LOCATION": own_redis.url,
        "OPTIONS": {"deadline": 20.0},  # on a busy machine, too, it is there until it is killed
    }
    with override_settings(CACHES={"default": entry}):
        shop = Site(lambda request: HttpResponse("page"), face == "async")
        shop.get()
        shop.get()
        assert shop.runs == 1
        own_redis.kill()
        with caplog.at_level(logging.WARNING, "twofold"):
            assert [shop.get().content for _ in range(5)] == [b"page"] * 5
    assert shop.runs == 6
    messages = [each.getMessage() for each in caplog.records if each.name == "twofold"]
    assert len(messages) == 1
    assert "is unavailable" in messages[0]


@pytest.mark.parametrize("face", ["sync", "async"])
def test_making_a_cache_takes_no_time_of_its_store(
    redis_server: RedisServer, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline begins with the first read, not with the imports and settings before it."""
    made, asked = list[float](), list[float]()
    find, take = RedisCache._find, StoredClaim.take

    def make(self: RedisCache) -> Any:
        cache = find(self)
        made.append(time.monotonic())
        return cache

    async def took(self: StoredClaim, *args: Any, **options: Any) -> Any:
        asked.append(args[3])
        return await take(self, *args, **options)

    monkeypatch.setattr(RedisCache, "_find", make)
    monkeypatch.setattr(StoredClaim, "take", took)
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": redis_server.url}
    with override_settings(CACHES={"default": entry}):
        Site(lambda request: HttpResponse("page"), face == "async").get()
    assert len(asked) == 1
    assert made[0] <= asked[0]


# The middleware in a project


def greet(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.session.get('name', 'nobody')}")  # type: ignore[attr-defined]


async def agreet(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{await request.session.aget('name', 'nobody')}")  # type: ignore[attr-defined]


def enter(request: HttpRequest) -> HttpResponse:
    request.session["name"] = request.GET["name"]  # type: ignore[attr-defined]
    return HttpResponse("entered")


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


urlpatterns = [path("sync", greet), path("async", agreet), path("enter", enter), path("", plain)]


@pytest.fixture
def project(store: None) -> Iterator[None]:
    """Have Django run these views behind sessions and our middleware."""
    with override_settings(
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        MIDDLEWARE=[
            "twofold.contrib.django.UpdateCacheMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "twofold.contrib.django.FetchFromCacheMiddleware",
        ],
    ):
        yield


@pytest.mark.parametrize("where", ["/sync", "/async"])
def test_sessions_stay_apart(project: None, where: str) -> None:
    """Behind the middleware two users see their own pages, and no cookie goes astray."""
    one, other, nobody = Client(), Client(), Client()
    one.get("/enter?name=one")
    other.get("/enter?name=other")
    for _ in range(2):
        assert one.get(where).content == b"one"
        assert other.get(where).content == b"other"
        assert nobody.get(where).content == b"nobody"
    assert not nobody.cookies
    assert one.cookies["sessionid"].value != other.cookies["sessionid"].value


@pytest.mark.parametrize("where", ["/sync", "/async"])
async def test_sessions_stay_apart_under_asgi(project: None, where: str) -> None:
    """So they do where Django runs in an event loop, which no call of the cache blocks."""
    one, other = AsyncClient(), AsyncClient()
    await one.get("/enter?name=one")
    await other.get("/enter?name=other")
    for _ in range(2):
        assert (await one.get(where)).content == b"one"
        assert (await other.get(where)).content == b"other"


async def test_the_warning_of_djangos_own_caching_names_ours(redis_server: RedisServer) -> None:
    """Under Django's `cache_page`, or middleware, no `a` twin is of use to an async view."""

    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")

    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": redis_server.url}
    request, ours = RequestFactory().get("/page"), r"of twofold\.contrib\.django instead"
    with override_settings(CACHES={"default": entry}):
        with pytest.warns(BlockingCallWarning, match=ours):
            await djangos_page(60)(view)(request)
        with pytest.warns(BlockingCallWarning, match=ours):
            rules.FetchFromCacheMiddleware(view).process_request(request)


@pytest.mark.parametrize(
    "tags", ["twofold.contrib.django.templatetags.twofold", "django.templatetags.cache"]
)
async def test_the_warning_of_a_framework_names_what_the_view_calls(
    redis_server: RedisServer, tags: str
) -> None:
    """A session and a fragment ask for the view: its line is told of, and what to call there."""
    text = "{% load tags %}{% cache 60 part %}part{% endcache %}"
    template = Engine(libraries={"tags": tags}).from_string(text)
    entry = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": redis_server.url}
    with override_settings(CACHES={"default": entry}):
        with pytest.warns(BlockingCallWarning, match=r"await request\.session\.aget\(") as session:
            CacheSession("of-this-test").get("name")
        with pytest.warns(BlockingCallWarning, match=r"await sync_to_async\(render\)") as fragment:
            template.render(Context())
    assert {each.filename for each in [*session, *fragment]} == {__file__}


async def test_the_pair_answers_from_the_cache(project: None) -> None:
    """A page without a session is stored by the one and found by the other."""
    client = AsyncClient()
    first, second = await client.get("/"), await client.get("/")
    assert "Age" not in first.headers
    assert "Age" in second.headers
    assert "Vary" not in first.headers


class Between:
    """Stands between the two middlewares: a new response in the place of each, numbered."""

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response
        self.numbers = iter(range(1, 99))

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response.headers["X-Inner"] = "changed"
        response.write(b"?")
        return JsonResponse({"data": response.content.decode(), "n": next(self.numbers)})


@pytest.mark.parametrize("headers", [{}, {"Vary": "Cookie"}, {"Cache-Control": "private"}], ids=str)
def test_what_stands_between_the_pair_runs_once_for_each_request(
    memory: None, headers: dict[str, str]
) -> None:
    """It is given what the view made, on a hit too; what that said of storing still counts."""
    runs = []

    def view(request: HttpRequest) -> HttpResponse:
        runs.append(1)
        return HttpResponse(request.headers.get("Cookie") or "-", headers=headers)

    site = UpdateCacheMiddleware(Between(FetchFromCacheMiddleware(view)))
    asked = ["u=1", "u=2"] * 2 if headers else ["-"] * 4
    for n, user in enumerate(asked, 1):
        given = {} if user == "-" else {"cookie": user}
        answer = site(RequestFactory().get("/", headers=given))
        assert json.loads(answer.content) == {"data": f"{user}?", "n": n}
        assert "X-Inner" not in answer.headers
    assert len(runs) == {"": 1, "Vary": 2, "Cache-Control": 4}["".join(headers)]


@pytest.mark.parametrize("fields", [{}, {"Transfer-Encoding": "chunked"}], ids=str)
def test_a_get_with_content_passes(
    site: Callable[..., Site], memory: None, fields: dict[str, str]
) -> None:
    """What it made of its content is for nobody else, nor is a page for who sent content."""
    shop = site(lambda request: HttpResponse(b"%d" % shop.runs + request.body))
    bodies = [b"evil", b"", b"evil", b"0"]
    answers = []
    for body in bodies:
        request = RequestFactory().generic("GET", "/", body, headers=fields if body else {})
        answer = shop.view(request)
        answers.append((asyncio.run(answer) if isawaitable(answer) else answer).content)
    assert answers == [b"1evil", b"2", b"3evil", b"40"]


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("read", [True, False])
def test_content_without_a_length_is_seen(memory: None, version: str, read: bool) -> None:
    """Over HTTP/2 no field tells of it; whether something has read it before, or nothing."""
    runs = Counter[bytes]()

    @cache_page(60)
    def view(request: HttpRequest) -> HttpResponse:
        runs[request.body] += 1
        return HttpResponse(b"body " + request.body)

    scope = {"type": "http", "method": "GET", "path": "/", "http_version": version}
    scope |= {"headers": [(b"host", b"shop.example")], "server": ("shop.example", 80)}
    for body in (b"evil", b"", b"evil", b""):
        request = ASGIRequest(scope, BytesIO(body))
        assert not read or request.body == body
        assert view(request).content == b"body " + body
    assert runs == {b"evil": 2, b"": 1}


NO_PAGES: list[Any] = [5, True, "x", b"x", [1], ["HTTP_A\n"], {"a": 1}, [], HttpResponse("?")]


@pytest.mark.parametrize("place", [0, 1], ids=["page", "names"])
@pytest.mark.parametrize("other", NO_PAGES, ids=str)
def test_what_is_no_page_is_a_miss(
    site: Callable[..., Site], memory: None, place: int, other: Any
) -> None:
    """Somebody else may have put a number there, which nobody signs, or anything."""
    shop = site(lambda request: HttpResponse("page"))
    shop.get()
    entries = caches["default"].cache.backend._store.entries  # type: ignore[attr-defined]
    keys = sorted(entries, key=lambda full: ".cache_header." in full)
    caches["default"].cache.set(keys[place], other)  # type: ignore[attr-defined]
    is_page = place == 0 and isinstance(other, HttpResponse)
    for _ in range(2):
        assert shop.get().content == (b"?" if is_page else b"page")


def test_what_a_view_keeps_private_no_middleware_makes_public(memory: None) -> None:
    """Also where what stands between the pair answers with a response of its own."""

    def replaced(request: HttpRequest) -> HttpResponse:
        inner = fetch(request)
        return HttpResponse(inner.content, headers={"Cache-Control": "max-age=60"})

    numbers = iter("123")
    private = {"Cache-Control": "private"}
    fetch = FetchFromCacheMiddleware(lambda request: HttpResponse(next(numbers), headers=private))
    site = UpdateCacheMiddleware(replaced)
    answers = [site(RequestFactory().get("/")).content for _ in range(3)]
    assert answers == [b"1", b"2", b"3"]


@pytest.mark.parametrize("pair", [True, False])
def test_a_cache_within_another_has_its_own_pages(memory: None, pair: bool) -> None:
    """What `cache_page` stored is no answer of the middleware, past a decorator that refuses."""

    def members_only(request: HttpRequest) -> HttpResponse:
        if "member" not in request.COOKIES:
            return HttpResponse("no", status=403)
        return HttpResponse(view(request).content + b"!", headers={"Cache-Control": "private"})

    numbers = iter("123")
    view = cache_page(60)(lambda request: HttpResponse(next(numbers)))
    inner = FetchFromCacheMiddleware(members_only) if pair else members_only
    site = UpdateCacheMiddleware(inner) if pair else CacheMiddleware(members_only)
    asked = [{"Cookie": "member=1"}, {}, {"Cookie": "member=1"}]
    answers = [site(RequestFactory().get("/", headers=each)).content for each in asked]
    assert answers == [b"1!", b"no", b"1!"]


def test_the_pair_stores_what_is_rendered_outside_of_it(memory: None) -> None:
    """A template that is rendered later is stored then, by the pair too."""
    site = UpdateCacheMiddleware(FetchFromCacheMiddleware(lambda request: page_of("rendered")))
    assert site(RequestFactory().get("/")).render().content == b"rendered"
    assert site(RequestFactory().get("/")).content == b"rendered"


def test_two_places_have_their_own_pages(memory: None) -> None:
    """The same path below two script names, or the same URL made of two, are two pages."""
    places = [("", "/a/b/c"), ("/a", "/b/c"), ("/a/b", "/c"), ("/b", "/c")]

    @cache_page(60)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.META["SCRIPT_NAME"])

    for _ in range(2):
        for place, path_info in places:
            request = RequestFactory().get(path_info, SCRIPT_NAME=place)
            assert view(request).content.decode() == place


def test_fetching_alone_takes_no_turn(memory: None) -> None:
    """Without the middleware that stores, nobody waits for what will not be stored."""
    middleware = FetchFromCacheMiddleware(plain)
    assert middleware(RequestFactory().get("/")).content == b"plain"
    request = RequestFactory().get("/")
    cache_page(60, key_prefix="other")(plain)(request)
    assert middleware(request).content == b"plain"


def test_handlers_take_the_middleware(project: None) -> None:
    """Django's WSGI and ASGI handlers load it in either mode."""
    assert WSGIHandler()
    assert ASGIHandler()
    for ours in (CacheMiddleware, FetchFromCacheMiddleware, UpdateCacheMiddleware):
        assert isinstance(ours(plain), getattr(rules, ours.__name__))


# Fragments


def render(text: str, **context: Any) -> str:
    engine = Engine(libraries={"twofold": "twofold.contrib.django.templatetags.twofold"})
    return engine.from_string("{% load twofold %}" + text).render(Context(context))


def test_what_is_no_fragment_is_a_miss(memory: None) -> None:
    """Somebody else may have put a number there, which nobody signs."""
    caches["default"].set(make_template_fragment_key("box"), 5)
    assert render("{% cache 60 box %}text{% endcache %}") == "text"


def test_fragments_are_kept(store: None) -> None:
    """A fragment is rendered once for the same values, and anew for others."""
    text = "{% cache 60 box name %}{{ value }}{% endcache %}"
    assert render(text, name="a", value="<1>") == "&lt;1&gt;"
    assert render(text, name="a", value="2") == "&lt;1&gt;"
    assert render(text, name="b", value="2") == "2"


def test_fragments_do_not_meet(memory: None) -> None:
    """Values are kept apart, whatever is in them."""
    text = "{% cache 60 box one two %}{{ one }}|{{ two }}{% endcache %}"
    assert render(text, one="a:b", two="c") == "a:b|c"
    assert render(text, one="a", two="b:c") == "a|b:c"
    assert make_template_fragment_key("box", ["a:b", "c"]) != make_template_fragment_key(
        "box", ["a", "b:c"]
    )
    assert make_template_fragment_key("box") == make_template_fragment_key("box", [])
    assert make_template_fragment_key("box", [""]) != make_template_fragment_key("box", [])


def test_a_fragment_is_rendered_once(memory: None) -> None:
    """Ten threads that miss a fragment together render it once."""
    runs = threading.Semaphore(0)
    together = threading.Barrier(10)

    class Slow:
        def __str__(self) -> str:
            runs.release()
            threading.Event().wait(0.05)
            return "slow"

    def work() -> str:
        together.wait(10)
        return render("{% cache 60 slow %}{{ value }}{% endcache %}", value=Slow())

    with ThreadPoolExecutor(10) as threads:
        assert {each.result() for each in [threads.submit(work) for _ in range(10)]} == {"slow"}
    assert runs.acquire(blocking=False)
    assert not runs.acquire(blocking=False)


def test_errors_of_fragments_are_not_shared(memory: None) -> None:
    """Who waited for a render that failed renders for itself."""
    inside, go_on = threading.Event(), threading.Event()

    class Value:
        def __init__(self, error: Exception | None) -> None:
            self.error = error

        def __str__(self) -> str:
            if self.error is None:
                return "fine"
            inside.set()
            assert go_on.wait(10)
            raise self.error

    text = "{% cache 60 mine %}{{ value }}{% endcache %}"
    with ThreadPoolExecutor(2) as threads:
        failing = threads.submit(render, text, value=Value(ValueError("mine")))
        assert inside.wait(10)
        waiting = threads.submit(render, text, value=Value(None))
        go_on.set()
        assert isinstance(failing.exception(10), ValueError)
        assert waiting.result(10) == "fine"


@pytest.mark.parametrize("timeout", [0, -1])
def test_fragments_without_a_life_are_not_kept(memory: None, timeout: int) -> None:
    """A timeout of 0 renders for each request, also within another fragment of that name."""
    text = "{% cache seconds box %}{{ value }}{% cache seconds box %}!{% endcache %}{% endcache %}"
    assert render(text, seconds=timeout, value="alice") == "alice!"
    assert render(text, seconds=timeout, value="bob") == "bob!"
    assert render(text, seconds=60, value="kept") == "kept!"


def test_fragments_without_a_life_are_not_done_in_turn(memory: None) -> None:
    """Two requests render such a fragment side by side."""
    together = threading.Barrier(2)

    class Value:
        def __str__(self) -> str:
            together.wait(10)
            return "mine"

    with ThreadPoolExecutor(2) as threads:
        text = "{% cache 0 box %}{{ value }}{% endcache %}"
        asked = [threads.submit(render, text, value=Value()) for _ in range(2)]
        assert [each.result(15) for each in asked] == ["mine", "mine"]


def test_headers_are_told_by_name(site: Callable[..., Site], memory: None) -> None:
    """A page that varied with one header is no answer where another one has the same value."""
    names = iter(["X-A", "X-B", "X-B"])

    def answer(request: HttpRequest) -> HttpResponse:
        name = next(names)
        return HttpResponse(f"{name}={request.headers.get(name)}", headers={"Vary": name})

    shop = site(answer)
    shop.get(x_a="x")
    store = caches["default"].cache.backend  # type: ignore[attr-defined]
    for key in [key for key in store._store.entries if "cache_header" in key]:
        store.delete(key)
    shop.get(x_b="y")
    assert shop.get(x_b="x").content == b"X-B=x"


def test_a_fragment_names_its_cache(memory: None) -> None:
    """`using` takes another alias; without it "template_fragments" is taken where it is."""
    other = {**MEMORY, "LOCATION": "fragments"}
    with override_settings(CACHES={"default": MEMORY, "template_fragments": other}):
        render("{% cache None box %}x{% endcache %}")
        key = make_template_fragment_key("box")
        assert (caches["template_fragments"].get(key), caches["default"].get(key)) == ("x", None)
        render('{% cache None box using="default" %}y{% endcache %}')
        assert caches["default"].get(key) == "y"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{% cache 'x' box %}{% endcache %}", "a number of seconds"),
        ("{% cache unknown box %}{% endcache %}", "a number of seconds"),
        ("{% cache 1 box using='none' %}{% endcache %}", "names no cache"),
        ("{% cache 1 %}{% endcache %}", "requires at least 2 arguments"),
    ],
)
def test_fragments_refuse(memory: None, text: str, what: str) -> None:
    """What the tag cannot do is told when the template is compiled or rendered."""
    with pytest.raises(TemplateSyntaxError, match=what):
        render(text)


def test_an_unknown_alias_is_no_page() -> None:
    """An alias that is not in CACHES is an error of the project, and told."""
    view = cache_page(60, cache="none")(plain)
    with pytest.raises(InvalidCacheBackendError, match="none"):
        view(RequestFactory().get("/"))
