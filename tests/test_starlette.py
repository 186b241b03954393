"""Pages of Starlette and FastAPI: the middleware, the decorator, the lifespan."""

import asyncio
import inspect
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
)
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBearer
from pydantic import AliasChoices, BaseModel, Field
from starlette.applications import Starlette
from starlette.authentication import SimpleUser, UnauthenticatedUser
from starlette.background import BackgroundTask
from starlette.datastructures import MutableHeaders
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from tests.chaos import RedisServer
from tests.chaos.patience import eventually
from twofold import (
    DEFAULT_TIMEOUT,
    InvalidTimeout,
    SettingsError,
    bypass,
    cache,
    caches,
    configure,
    refreshing,
)
from twofold.contrib.starlette import CacheMiddleware, cached_page, twofold_lifespan
from twofold.contrib.starlette.application import application_name

pytestmark = pytest.mark.usefixtures("empty_cache")

USERS, ASKING = ("ann", "bob"), 20


@pytest.fixture
def empty_cache() -> Iterator[None]:
    """A cache in memory that other tests have left nothing in."""
    configure("memory://")
    caches["default"].clear()
    yield
    configure()


class Counter:
    """Counts how often something ran, in whatever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def __call__(self) -> int:
        with self._lock:
            self.count += 1
            return self.count


@pytest.fixture
def computed() -> Counter:
    return Counter()


def client(app: Any) -> httpx.AsyncClient:
    """Return a client of `app`, without a network; errors of the application are 500s."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example")


def pages_of(app: Any) -> Any:
    """Return the pages of the middleware in the stack of `app`."""
    layer = app.middleware_stack
    while not isinstance(layer, CacheMiddleware):
        layer = layer.app
    return layer.pages


def site(endpoint: Any, timeout: Any = 60, **options: Any) -> Starlette:
    """Return an application whose every page is cached."""
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/{rest:path}", endpoint, methods=methods)])
    app.add_middleware(CacheMiddleware, timeout=timeout, **options)
    return app


def hit(response: httpx.Response) -> bool:
    """Tell whether the last cache served a response."""
    return "twofold; hit" in response.headers.get("cache-status", "")


# The middleware


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_page_is_computed_once(computed: Counter, is_async: bool) -> None:
    """Of a `def` and of an `async def`, one computation serves all who ask together and later."""

    async def page(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return PlainTextResponse(f"page {computed()}")

    def sync_page(request: Request) -> Response:
        time.sleep(0.05)
        return PlainTextResponse(f"page {computed()}")

    app = site(page if is_async else sync_page)
    async with client(app) as http:
        together = await asyncio.gather(*(http.get("/") for _ in range(ASKING)))
        later = await http.get("/")
    assert {each.text for each in (*together, later)} == {"page 1"}
    assert sum(not hit(each) for each in together) == 1
    assert later.headers["age"] == "0"
    assert not pages_of(app).store.claims().table


async def test_head_and_conditions(computed: Counter) -> None:
    """HEAD and `If-None-Match` are answered from the stored page."""

    async def page(request: Request) -> Response:
        computed()
        return PlainTextResponse("page")

    async with client(site(page)) as http:
        tag = (await http.get("/")).headers["etag"]
        head = await http.head("/")
        known = await http.get("/", headers={"If-None-Match": tag})
    assert (head.status_code, head.text, head.headers["content-length"]) == (200, "", "4")
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    assert computed.count == 1


async def test_the_one_who_computes_may_have_the_page_already() -> None:
    """Its client gets a 304, though the application sent the page; others get the page."""

    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    async with client(site(page)) as http:
        tag = (await http.get("/one")).headers["etag"]
        assert (await http.get("/two", headers={"If-None-Match": tag})).status_code == 304
        assert (await http.get("/two")).text == "page"


async def test_only_what_says_so(computed: Counter) -> None:
    """With a timeout of 0 a page is stored only if it says for how long it is fresh."""

    async def page(request: Request) -> Response:
        fresh = {"Cache-Control": "max-age=60"} if "fresh" in request.url.path else {}
        return PlainTextResponse(str(computed()), headers=fresh)

    async with client(site(page, timeout=0)) as http:
        assert [(await http.get("/fresh")).text for _ in range(2)] == ["1", "1"]
        assert [(await http.get("/other")).text for _ in range(2)] == ["2", "3"]


async def test_the_caches_own_timeout() -> None:
    """`DEFAULT_TIMEOUT` means that of the settings."""
    configure({"default": {"LOCATION": "memory://own", "TIMEOUT": 7}})

    async def page(request: Request) -> Response:
        return PlainTextResponse("")

    async with client(site(page, timeout=DEFAULT_TIMEOUT)) as http:
        await http.get("/")
        assert (await http.get("/")).headers["cache-status"] == "twofold; hit; ttl=6"


@pytest.mark.parametrize(
    "fields",
    [
        {"Set-Cookie": "unrelated=1"},
        {"Cache-Control": "Private"},
        {"Cache-Control": 'max-age=60, private = "x"'},
        {"Cache-Control": "no-store"},
        {"Cache-Control": "no-cache"},
        {"Vary": " Accept , * "},
    ],
    ids=str,
)
async def test_what_must_not_be_shared_is_not(computed: Counter, fields: dict[str, str]) -> None:
    """Such a page is computed for each who asks, without waiting for each other."""

    async def page(request: Request) -> Response:
        return PlainTextResponse(str(computed()), headers=fields)

    async with client(site(page)) as http:
        pages = await asyncio.gather(*(http.get("/") for _ in range(5)))
    assert len({each.text for each in pages}) == 5
    assert {each.headers["cache-status"] for each in pages} == {"twofold; fwd=miss"}


@pytest.mark.parametrize(("name", "status"), [("Cookie", 200), ("Authorization", 200)])
async def test_users_never_cross(name: str, status: int) -> None:
    """Who sends credentials gets a page of their own, also where nothing says `Vary`."""

    async def page(request: Request) -> Response:
        await asyncio.sleep(0.01)
        return PlainTextResponse(request.headers.get(name, "nobody"), status)

    async with client(site(page)) as http:
        for _ in range(3):
            asked = [{name: user} for user in USERS * 3] + [{}] * 3
            pages = await asyncio.gather(*(http.get("/", headers=each) for each in asked))
            assert [each.text for each in pages] == [each.get(name, "nobody") for each in asked]


@pytest.mark.parametrize("inside", [True, False])
async def test_sessions_never_cross(computed: Counter, inside: bool) -> None:
    """A page that reads or writes a session is for its owner, wherever the middleware stands."""

    async def page(request: Request) -> Response:
        if "user" in request.query_params:
            request.session["user"] = request.query_params["user"]
        token = request.session.setdefault("token", str(computed()))
        return PlainTextResponse(request.session.get("user", "nobody") + token)

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(SessionMiddleware, secret_key="s")
    app.add_middleware(CacheMiddleware, timeout=60)
    if inside:
        app.user_middleware.reverse()
    async with client(app) as ann, client(app) as bob, client(app) as nobody:
        first = [(await http.get("/")).text for http in (ann, bob, nobody)]
        assert first == ["nobody1", "nobody2", "nobody3"]
        for http, user in ((ann, "ann"), (bob, "bob")):
            assert (await http.get("/", params={"user": user})).text[:3] == user
        for _ in range(2):
            seen = [(await http.get("/")).text for http in (ann, bob, nobody)]
            assert seen == ["ann1", "bob2", "nobody3"]


async def test_a_page_that_only_reads_the_session(computed: Counter) -> None:
    """It is one page for all who have no session."""

    async def page(request: Request) -> Response:
        return PlainTextResponse(f"{request.session.get('user')}{computed()}")

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(CacheMiddleware, timeout=60)
    app.add_middleware(SessionMiddleware, secret_key="s")
    async with client(app) as http:
        assert [(await http.get("/")).text for _ in range(2)] == ["None1", "None1"]


@pytest.mark.parametrize("session", [{}, {"user": "ann"}], ids=str)
async def test_a_session_that_is_a_dict(computed: Counter, session: dict[str, str]) -> None:
    """Of one that does not know itself, as before Starlette 1.0, changes are seen."""

    async def page(request: Request) -> Response:
        if "write" in request.url.path:
            request.session["token"] = "own"
        return PlainTextResponse(str(computed()))

    inner = site(page)

    async def with_session(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "session": session.copy()}, receive, send)

    async with client(with_session) as http:
        assert [(await http.get("/read")).text for _ in range(2)] == ["1", "1"]
        assert [(await http.get("/write")).text for _ in range(2)] == ["2", "3"]


async def test_a_change_is_seen_at_once(computed: Counter) -> None:
    """A successful POST removes the page of its URL."""

    async def page(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    async with client(site(page)) as http:
        assert (await http.get("/a?b")).text == "1"
        assert (await http.post("/a?b")).text == "2"
        assert (await http.get("/a?b")).text == "3"


async def test_an_error_is_not_shared(computed: Counter) -> None:
    """When the one who computes fails, the next one computes."""

    async def page(request: Request) -> Response:
        await asyncio.sleep(0.01)
        if computed() == 1:
            raise LookupError
        return PlainTextResponse("page")

    app = site(page)
    async with client(app) as http:
        pages = await asyncio.gather(*(http.get("/") for _ in range(5)))
    assert sorted(each.status_code for each in pages) == [200] * 4 + [500]
    assert computed.count == 2
    assert not pages_of(app).store.claims().table


async def test_a_cancelled_request_leaves_nothing(computed: Counter) -> None:
    """Whoever is cancelled while computing or waiting leaves no half page and nobody waiting."""
    entered = asyncio.Event()

    async def page(request: Request) -> Response:
        if computed() == 1:
            entered.set()
            await asyncio.sleep(60)
        return PlainTextResponse("page")

    app = site(page)
    async with client(app) as http:
        first = asyncio.create_task(http.get("/"))
        await entered.wait()
        second, third = (asyncio.create_task(http.get("/")) for _ in range(2))
        await asyncio.sleep(0.02)
        first.cancel()
        second.cancel()
        assert (await third).text == "page"
        await asyncio.gather(first, second, return_exceptions=True)
    assert computed.count == 2
    assert not pages_of(app).store.claims().table


async def ask(app: Any, messages: list[Message], **given: Any) -> list[Message]:
    """Return what the server is sent when the application behind `CacheMiddleware` sends this."""
    sent: list[Message] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], **given}
    await CacheMiddleware(inner, timeout=60)(scope, app, send)
    return sent


def start(*fields: tuple[str, str], **more: Any) -> Message:
    headers = [(name.encode(), value.encode()) for name, value in fields]
    return {"type": "http.response.start", "status": 200, "headers": headers, **more}


def body(text: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": more}


PATHSEND = {"type": "http.response.pathsend", "path": "/x"}


@pytest.mark.parametrize(
    "messages",
    [
        [start(), body(b"a", True), body(b"b")],
        [start(), body(b"a")],
        [start(("content-length", "2")), body(b"a", True), body(b"b")],
        [start(("content-length", "3")), body(b"a")],
        [start(("content-length", "x")), body(b"a")],
        [start(("content-length", "1"), trailers=True), body(b"a")],
        [start(("content-length", "9")), PATHSEND],
        [start(("content-length", str(1 << 21))), body(b"a" * (1 << 21))],
        [start(), {"type": "http.response.zerocopysend", "file": 0}],
        [{"type": "http.response.debug", "info": {}}, start(), body(b"")],
    ],
    ids=lambda messages: " ".join(each["type"].rpartition(".")[2] for each in messages),
)
async def test_what_is_not_one_whole_body_passes(messages: list[Message]) -> None:
    """Streams, files, trailers and large bodies pass message by message, and are not stored."""
    sent = await ask(None, messages)
    head = next(each for each in sent if each["type"] == "http.response.start")
    assert head["headers"].pop() == (b"cache-status", b"twofold; fwd=miss")
    assert sent == messages
    assert not [
        name for name, _ in (await ask(None, messages))[0].get("headers", ()) if name == b"age"
    ]


async def test_a_whole_body_in_a_stream_of_one() -> None:
    """What a `BaseHTTPMiddleware` makes of a page, one chunk and an empty one, is a page."""
    messages = [start(("content-length", "1")), body(b"a", True), body(b"")]
    for status in (b"twofold; fwd=miss; stored", b"twofold; hit; ttl=59"):
        sent = await ask(None, messages)
        assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
        assert (b"cache-status", status) in sent[0]["headers"]
        assert sent[1]["body"] == b"a"


async def test_each_message_passes_before_the_next() -> None:
    """Of a stream neither the head nor a chunk is held back."""
    reached: list[int] = []
    sent: list[Message] = []

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (start(), body(b"a", True), body(b"b")):
            await send(message)
            reached.append(len(sent))

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await CacheMiddleware(streaming, timeout=60)(scope, None, send)  # type: ignore[arg-type]
    assert reached == [1, 2, 3]


async def test_no_content_is_a_whole_body() -> None:
    """A 204 has no length to tell, and is stored like any other page."""
    messages = [{**start(), "status": 204}, body(b"")]
    for status in (b"twofold; fwd=miss; stored", b"twofold; hit; ttl=59"):
        sent = await ask(None, messages)
        assert (b"cache-status", status) in sent[0]["headers"]
        assert (sent[0]["status"], sent[1]["body"]) == (204, b"")


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "1, 1"])
async def test_a_length_that_is_no_number_passes(length: str) -> None:
    """What an application tells of its body is not believed, and costs nothing."""
    headers = [(b"content-length", length.encode("latin-1"))]
    sent = await ask(None, [{**start(), "headers": headers}, body(b"a")])
    assert (b"cache-status", b"twofold; fwd=miss") in sent[0]["headers"]


class Later:
    """Asks an application as a server of HTTP/2 does, where no field tells of content."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def get(self, *pieces: bytes, version: str = "2", **given: Any) -> tuple[str, str]:
        """Return what is answered, and what the cache did."""
        coming = [
            {"type": "http.request", "body": each, "more_body": number < len(pieces)}
            for number, each in enumerate(pieces, 1)
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            return coming.pop(0) if coming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        await self._app({**scope, "http_version": version, **given}, receive, send)
        status = dict(sent[0]["headers"]).get(b"cache-status", b"").decode()
        return b"".join(each.get("body", b"") for each in sent).decode(), status.split("; ")[1]


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("decorated", [False, True])
async def test_content_that_no_field_tells_of(decorated: bool, wraps: bool) -> None:
    """A GET with content over HTTP/2 passes, and the endpoint is given all of it."""

    async def page(request: Request) -> Response:
        return PlainTextResponse((await request.body()).decode() or "none")

    app = Starlette(routes=[Route("/", cached_page(page) if decorated else page)])
    if wraps:
        app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, proceed: proceed(request))
    options = {} if decorated else {"timeout": 60}
    app.add_middleware(CacheMiddleware, **options)
    http = Later(app)
    for pieces in ([b"evil"], [b"", b"evil"], [b"ev", b"il"], [b"ev", b"i", b"l"]):
        assert await http.get(*pieces) == ("evil", "fwd=bypass")
    assert await http.get(b"") == ("none", "fwd=miss")
    assert (await http.get(b""))[1] == "hit"
    assert await http.get(b"evil") == ("evil", "fwd=bypass")
    assert (await http.get(b"", version="1.1"))[1] == "hit"


async def test_a_body_that_was_read_before_the_endpoint_counts() -> None:
    """FastAPI reads a declared body first; the decorated endpoint's page is not stored."""
    app = FastAPI()

    @app.get("/")
    @cached_page
    async def page(text: Annotated[str, Body()] = "none") -> str:
        return text

    app.add_middleware(CacheMiddleware)
    assert await Later(app).get(b"evil") == ('"evil"', "fwd=bypass")
    assert await Later(app).get(b"") == ('"none"', "fwd=miss")


async def test_applications_and_their_mounts_are_kept_apart() -> None:
    """Two applications in one store, and two places of one, have their own pages."""

    async def shop(request: Request) -> Response:
        return PlainTextResponse("shop" + request.scope["root_path"])

    class Admin(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("admin" + request.scope["root_path"])

    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("plain" + scope["root_path"])(scope, receive, send)

    def routed(endpoint: Any) -> Any:
        return CacheMiddleware(Starlette(routes=[Route("/", endpoint)]), timeout=60)

    def hidden(endpoint: Any) -> Starlette:
        """Return an application with a middleware that does not say what it stands around."""
        app = Starlette(routes=[Route("/", endpoint)])
        app.add_middleware(lambda app: partial(app))
        app.add_middleware(CacheMiddleware, timeout=60)
        return app

    def decorated() -> Starlette:
        @cached_page
        async def page(request: Request) -> Response:
            return PlainTextResponse("page" + request.scope["root_path"])

        app = Starlette(routes=[Route("/", page)])
        app.add_middleware(CacheMiddleware)
        return app

    mounted = Starlette(routes=[Mount("/", partial(plain))])
    apps = [routed(shop), routed(Admin), CacheMiddleware(plain, timeout=60)]
    apps += [hidden(shop), hidden(Admin), decorated()]
    apps += [CacheMiddleware(GZipMiddleware(mounted), timeout=60, name=name) for name in "ab"]
    roots = ("", "/v1", "/v2")
    names = ["shop", "admin", "plain", "shop", "admin", "page", "plain", "plain"]
    for done in ("fwd=miss", "hit"):
        for app, name in zip(apps, names, strict=True):
            got = [await Later(app).get(b"", root_path=root) for root in roots]
            assert got == [(f"{name}{root}", done) for root in roots]
    again = Later(routed(shop))
    assert (await again.get(b"", root_path=""))[1] == "hit"


def test_an_application_is_named_by_all_of_its_endpoints() -> None:
    """Those behind middleware, in mounts and in routers of routers count, in whatever order."""

    class Shop(HTTPEndpoint): ...

    def page() -> None: ...

    inner, outer = APIRouter(), APIRouter()
    inner.add_api_route("/", page)
    outer.include_router(inner, prefix="/b")
    included, plain = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    included.include_router(outer, prefix="/a")
    plain.add_api_route("/elsewhere", page)
    shop = Starlette(routes=[Route("/", Shop), Mount("/", GZipMiddleware(included))])
    other = Starlette(routes=[Mount("/", plain), Route("/", Shop)])
    shop.mount("/itself", shop)
    empty = Starlette()
    names = [application_name(each) for each in (included, plain, shop, other, Shop, empty)]
    assert names[0] == names[1]
    assert names[2] == names[3]
    assert len(set(names)) == 4


async def test_a_change_removes_what_it_names_below_a_mount(computed: Counter) -> None:
    """A decorated endpoint's page goes by the place of the application, not of its part."""

    @cached_page
    async def item(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    async def create(request: Request) -> Response:
        return PlainTextResponse("", 201, {"Location": str(request.url_for("shop:item"))})

    routes = [Route("/items/~7", item, name="item"), Route("/items", create, methods=["POST"])]
    app = Starlette(routes=[Mount("/shop", routes=routes, name="shop")])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        for text in ("1", "2"):
            assert [(await http.get("/shop/items/~7")).text for _ in "ab"] == [text] * 2
            assert (await http.post("/shop/items")).status_code == 201
        assert (await http.get("/shop/items/%7E7")).text == "3"


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "of the future"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    """What is not HTTP gets the very scope and channels that the server gave."""
    seen: list[Any] = []

    async def inner(*given: Any) -> None:
        seen.extend(given)

    given: tuple[Any, Any, Any] = ({"type": kind}, object(), object())
    await CacheMiddleware(inner, timeout=60)(*given)
    assert all(one is other for one, other in zip(seen, given, strict=True))


@pytest.mark.parametrize("middleware", [GZipMiddleware, BaseHTTPMiddleware])
async def test_among_other_middleware(computed: Counter, middleware: Any) -> None:
    """Pages are stored whether a middleware stands inside or outside, and stay what they are."""

    async def page(request: Request) -> Response:
        return PlainTextResponse(f"{computed()}" * 1000)

    async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        return await call_next(request)

    options = {"dispatch": dispatch} if middleware is BaseHTTPMiddleware else {}
    for n in (1, 2):
        app = site(page)
        app.add_middleware(middleware, **options)
        if n == 2:
            app.user_middleware.reverse()
        async with client(app) as http:
            pages = [await http.get(f"/{n}") for _ in range(2)]
        assert [each.text for each in pages] == [str(n) * 1000] * 2
        assert [hit(each) for each in pages] == [False, True]


async def test_encodings_are_variants(computed: Counter) -> None:
    """A compressed page is not given to a client that did not ask for it."""

    async def page(request: Request) -> Response:
        return PlainTextResponse("a" * 1000)

    app = site(page)
    app.add_middleware(GZipMiddleware)
    app.user_middleware.reverse()
    async with client(app) as http:
        for _ in range(2):
            for accepted in ("gzip", "identity"):
                got = await http.get("/", headers={"Accept-Encoding": accepted})
                assert got.headers.get("content-encoding", accepted) == accepted
                assert got.text == "a" * 1000


# The decorator, in Starlette


@pytest.mark.parametrize("bare", [True, False])
async def test_only_decorated_endpoints(computed: Counter, bare: bool) -> None:
    """Without a timeout the middleware leaves alone what is not decorated."""

    async def page(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    decorated = cached_page(page) if bare else cached_page(timeout=60)(page)
    app = Starlette(routes=[Route("/cached", decorated), Route("/plain", page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        assert [(await http.get("/cached")).text for _ in range(2)] == ["1", "1"]
        plain = [await http.get("/plain") for _ in range(2)]
        head = await http.head("/cached")
    assert [each.text for each in plain] == ["2", "3"]
    assert "cache-status" not in plain[0].headers
    assert (head.text, head.headers["content-length"]) == ("", "1")


async def test_class_based_endpoints(computed: Counter) -> None:
    """Methods of an `HTTPEndpoint` are decorated like functions."""

    class Page(HTTPEndpoint):
        @cached_page
        async def get(self, request: Request) -> Response:
            return PlainTextResponse(str(computed()))

        @cached_page
        def post(self, request: Request) -> Response:
            return PlainTextResponse("changed")

    app = Starlette(routes=[Route("/", Page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        assert [(await http.get("/")).text for _ in range(2)] == ["1", "1"]
        assert (await http.post("/")).text == "changed"
        assert (await http.get("/")).text == "2"


async def test_mounted_applications_do_not_meet() -> None:
    """The same path below two mounts, or two hosts, is two pages."""

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse(str(request.url))

    inner = [Route("/", page)]
    app = Starlette(routes=[Mount("/a", routes=inner), Mount("/b", routes=inner)])
    app.add_middleware(CacheMiddleware)
    urls = [f"http://{host}.example/{mount}/" for host in "xy" for mount in "ab"]
    async with client(app) as http:
        for _ in range(2):
            assert [(await http.get(url)).text for url in urls] == urls


async def test_what_an_endpoint_declares(computed: Counter) -> None:
    """`vary` and `public` say of an endpoint's pages what its code knows."""

    @cached_page(vary=["Cookie"])
    async def own(request: Request) -> Response:
        return PlainTextResponse(request.cookies.get("user", "nobody") + str(computed()))

    @cached_page(vary="X-Lang")
    async def speaking(request: Request) -> Response:
        return PlainTextResponse(request.headers.get("x-lang", "none"))

    @cached_page(public=True)
    async def common(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    routes = [Route("/own", own), Route("/common", common), Route("/speaking", speaking)]
    app = Starlette(routes=routes)
    app.add_middleware(CacheMiddleware)
    asked = [{"Cookie": f"user={user}"} for user in USERS] + [{}]
    async with client(app) as http:
        for _ in range(2):
            seen = [(await http.get("/own", headers=each)).text for each in asked]
            assert seen == ["ann1", "bob2", "nobody3"]
        shared = [await http.get("/common", headers=each) for each in asked]
        assert {each.text for each in shared} == {"4"}
        assert shared[0].headers["cache-control"] == "public"
        for lang in ("de", "en") * 2:
            assert (await http.get("/speaking", headers={"X-Lang": lang})).text == lang


async def test_a_decorated_stream_passes() -> None:
    """An endpoint may return a stream now and then: it passes as it comes."""

    @cached_page
    async def page(request: Request) -> Response:
        return StreamingResponse(iter(["a", "b"]))

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        pages = [await http.get("/") for _ in range(2)]
    assert [each.text for each in pages] == ["ab", "ab"]
    assert not any(hit(each) for each in pages)


async def test_files_are_files(tmp_path: Any) -> None:
    """A small file is a page; of a large one, chunks pass as they are read."""
    (tmp_path / "small").write_bytes(b"s" * 10)
    (tmp_path / "large").write_bytes(b"l" * 200_000)

    @cached_page
    async def page(request: Request) -> Response:
        return FileResponse(tmp_path / request.path_params["name"])

    app = Starlette(routes=[Route("/{name}", page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        for name, stored in (("small", True), ("large", False)):
            pages = [await http.get(f"/{name}") for _ in range(2)]
            assert [each.content for each in pages] == [(tmp_path / name).read_bytes()] * 2
            assert hit(pages[1]) is stored
        part = await http.get("/small", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"ssss")


async def test_background_tasks_of_a_page_run_once(computed: Counter) -> None:
    """They belong to the computation: a hit has none."""

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse("page", background=BackgroundTask(computed))

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        assert [(await http.get("/")).text for _ in range(2)] == ["page"] * 2
    assert computed.count == 1


async def test_mistakes_are_told() -> None:
    """No middleware, a generator, a wrong timeout: each is told, with what to do."""

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", page)])
    with pytest.raises(SettingsError, match=r"page is decorated.*add_middleware"):
        await httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://shop.example"
        ).get("/")

    async def stream() -> AsyncIterator[str]:
        yield ""

    with pytest.raises(SettingsError, match="yields"):
        cached_page(stream)
    with pytest.raises(InvalidTimeout):
        cached_page(timeout="soon")


async def test_a_decorated_function_can_be_called() -> None:
    """Without a request, as in a test, the endpoint just runs."""

    @cached_page
    def page(n: int) -> int:
        return n

    @cached_page
    async def apage(n: int) -> int:
        return n

    assert (await page(1), await apage(n=2)) == (1, 2)


# The decorator, in FastAPI


class Stored(BaseModel):
    name: str
    secret: str = "hidden"


class Shown(BaseModel):
    name: str


class Language(BaseModel):
    x_lang: str = "none"


def fast(*endpoints: Any, dependencies: Any = (), **options: Any) -> FastAPI:
    """Return an application with a path for each endpoint, at its name."""
    app = FastAPI(dependencies=dependencies)
    app.add_middleware(CacheMiddleware, **options)
    for endpoint in endpoints:
        app.get(f"/{endpoint.__name__}")(endpoint)
    return app


@pytest.mark.parametrize("is_async", [True, False])
async def test_response_models_go_on_working(computed: Counter, is_async: bool) -> None:
    """What an endpoint returns is filtered and serialized by FastAPI, and then stored."""

    async def page(number: int, q: str = "") -> Stored:
        return Stored(name=f"{number}{q}{computed()}")

    def sync_page(number: int, q: str = "") -> Stored:
        return Stored(name=f"{number}{q}{computed()}")

    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    endpoint = cached_page(timeout=60)(page if is_async else sync_page)
    app.get("/{number}", response_model=Shown)(endpoint)
    async with client(app) as http:
        pages = await asyncio.gather(*(http.get("/5?q=x") for _ in range(ASKING)))
        assert {each.text for each in pages} == {'{"name":"5x1"}'}
        assert (await http.get("/6?q=x")).json() == {"name": "6x2"}
        wrong = [await http.get("/six") for _ in range(2)]
    assert [each.status_code for each in wrong] == [422, 422]
    assert computed.count == 2


async def test_openapi_and_signature_stay() -> None:
    """The schema is that of the plain endpoint: what FastAPI gives us beside is no part of it."""

    def page(number: int, lang: Annotated[str, Header()] = "en", **more: Any) -> Shown:
        """Tell of it."""
        return Shown(name="")

    def apage(request: Request, number: "int" = 1) -> "Shown":
        return Shown(name="")

    plain, cached = (
        fast(page, apage).openapi(),
        fast(cached_page(page), cached_page(apage)).openapi(),
    )
    assert cached == plain
    assert [*inspect.signature(cached_page(apage)).parameters] == [
        "request",
        "number",
        "twofold_response",
    ]
    assert [*inspect.signature(cached_page(page)).parameters] == [
        "number",
        "lang",
        "twofold_request",
        "twofold_response",
        "more",
    ]


async def test_annotations_that_cannot_be_evaluated(computed: Counter) -> None:
    """An endpoint of Starlette may have annotations of names that only type checkers know."""

    @cached_page
    async def page(request: "OnlyForTypeCheckers") -> "OnlyForTypeCheckers":  # type: ignore  # noqa: F821
        return PlainTextResponse(str(computed()))

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        assert [(await http.get("/")).text for _ in range(2)] == ["1", "1"]


@pytest.mark.parametrize("status", [403, 404])
async def test_dependencies_are_asked_at_each_request(computed: Counter, status: int) -> None:
    """A dependency may refuse a request that there is a page for, with a timeout or without."""

    def insider(request: Request) -> str:
        if request.headers.get("x-badge") not in USERS:
            raise HTTPException(status)
        return request.headers["x-badge"]

    def database() -> object:
        return object()

    @cached_page
    async def page(
        badge: Annotated[str, Depends(insider)], session: Annotated[object, Depends(database)]
    ) -> int:
        return computed()

    for options in ({}, {"timeout": 60}):
        async with client(fast(page, **options)) as http:
            for user in USERS:
                assert (await http.get("/page", headers={"X-Badge": user})).json() == 1
                refused = await http.get("/page")
                assert refused.status_code == status


class Aliased(BaseModel):
    value: str = Field("none", validation_alias="X-Tenant")


class Chosen(BaseModel):
    value: str = Field("none", validation_alias=AliasChoices("X-Old", "X-New"))


class Named(BaseModel):
    model_config = {"populate_by_name": True}
    x_lang: str = Field("none", alias="X-Other")


def read_bearer(sent: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> str:
    return sent.credentials if sent else "none"


@pytest.mark.parametrize(
    ("parameter", "field", "varies"),
    [
        (Annotated[str, Header(alias="X-User")], "X-User: {}", "x-user"),
        (Annotated[str, Header(validation_alias="X-User")], "X-User: {}", "x-user"),
        (
            Annotated[str, Header(validation_alias=AliasChoices("X-Old", "X-New"))],
            "X-New: {}",
            "x-new, x-old",
        ),
        (Annotated[str, Cookie(alias="user")], "Cookie: user={}", "cookie"),
        (Annotated[str, Depends(APIKeyHeader(name="X-Key"))], "X-Key: {}", "x-key"),
        (Annotated[str, Depends(APIKeyCookie(name="user"))], "Cookie: user={}", "cookie"),
        (Annotated[str, Depends(read_bearer)], "Authorization: Bearer {}", "authorization"),
        (Annotated[Language, Header()], "X-Lang: {}", "x-lang, x_lang"),
        (Annotated[Language | None, Header()], "X-Lang: {}", "x-lang, x_lang"),
        (Annotated[Aliased, Header()], "X-Tenant: {}", "x-tenant"),
        (Annotated[Chosen, Header()], "X-New: {}", "x-new, x-old"),
        (Annotated[Named, Header()], "X-Lang: {}", "x-lang, x-other, x_lang"),
    ],
    ids=[
        "alias",
        "validation alias",
        "choices",
        "cookie",
        "key in a field",
        "key in a cookie",
        "bearer",
        "model",
        "optional model",
        "aliased model",
        "model of choices",
        "model of names",
    ],
)
@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=str)
async def test_declared_headers_vary(
    computed: Counter, parameter: Any, field: str, varies: str, options: Any
) -> None:
    """What an endpoint, or a dependency of its dependencies, declares to read parts its pages."""

    def inner(value: parameter) -> str:
        return next(iter(value.model_dump().values())) if isinstance(value, BaseModel) else value

    async def page(value: Annotated[str, Depends(inner)]) -> str:
        return value + str(computed())

    name, _, pattern = field.partition(": ")
    app = fast(page if options else cached_page(page), **options)
    async with client(app) as http:
        for n in range(2):
            for user in USERS:
                got = await http.get("/page", headers={name: pattern.format(user)})
                assert got.json()[:3] == user
                assert got.headers["vary"] == varies
                assert hit(got) is (n == 1 and name != "Authorization")


@pytest.mark.parametrize("where", ["route", "router", "inclusion", "application", "mount"])
@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=str)
async def test_headers_declared_around_an_endpoint_vary(
    computed: Counter, where: str, options: Any
) -> None:
    """So do the dependencies that a router, its inclusion or the application add to its own."""

    def read(x_user: Annotated[str, Header()]) -> None: ...

    async def page() -> int:
        return computed()

    given: dict[str, list[Any]] = {
        each: [Depends(read)] if each == where else []
        for each in ("route", "router", "inclusion", "application")
    }
    router = APIRouter(dependencies=given["router"])
    endpoint = page if options else cached_page(page)
    router.get("/page", dependencies=given["route"])(endpoint)
    inner = FastAPI(dependencies=[Depends(read)])
    inner.include_router(router)
    app = fast(dependencies=given["application"], **options)
    app.include_router(router, prefix="/in", dependencies=given["inclusion"])
    app.mount("/mounted", inner)
    async with client(app) as http:
        for n in ("1", "2") * 2:
            path = "/mounted/page" if where == "mount" else "/in/page"
            got = await http.get(path, headers={"X-User": n})
            assert (got.text, got.headers["vary"]) == (n, "x-user")


async def test_what_stands_in_for_a_dependency_varies(computed: Counter) -> None:
    """Where a dependency is overridden, the headers of what is asked in its place count."""

    def by_header(x_user: Annotated[str, Header()] = "none") -> str:
        return x_user

    def by_key(value: Annotated[str, Depends(APIKeyHeader(name="X-Key"))]) -> str:
        return value

    @cached_page
    async def page(user: Annotated[str, Depends(by_header)]) -> str:
        return user

    app = fast(page)
    app.dependency_overrides[by_header] = by_key
    async with client(app) as http:
        for user in USERS * 2:
            got = await http.get("/page", headers={"X-Key": user})
            assert (got.json(), got.headers["vary"]) == (user, "x-key")


async def test_a_model_of_whatever_was_sent_is_not_stored(computed: Counter) -> None:
    """Nobody knows what a model with extra fields reads: its pages vary with everything."""

    class Everything(BaseModel):
        model_config = {"extra": "allow"}

    @cached_page
    async def page(sent: Annotated[Everything, Header()]) -> int:
        return computed()

    async with client(fast(page)) as http:
        assert [(await http.get("/page")).json() for _ in range(2)] == [1, 2]


async def test_a_key_in_the_query_is_in_the_url() -> None:
    """Such a key adds nothing to `Vary`."""

    async def page(key: Annotated[str, Depends(APIKeyQuery(name="key"))]) -> str:
        return key

    async with client(fast(cached_page(page))) as http:
        for user in USERS * 2:
            got = await http.get(f"/page?key={user}")
            assert (got.json(), "vary" in got.headers) == (user, False)


async def test_a_change_by_an_endpoint_that_is_not_decorated(computed: Counter) -> None:
    """Any successful unsafe request removes the decorated page of its URL."""

    @cached_page
    async def page() -> int:
        return computed()

    app = fast(page)
    app.put("/page")(lambda: None)
    async with client(app) as http:
        assert (await http.get("/page")).json() == 1
        assert (await http.put("/page")).status_code == 200
        assert (await http.get("/page")).json() == 2


async def test_dependencies_of_many_run_side_by_side(computed: Counter) -> None:
    """Where the whole application is cached too, nobody waits in front of a decorated endpoint."""
    entered, all_in = Counter(), asyncio.Event()

    async def enter() -> None:
        if entered() == 5:
            all_in.set()

    @cached_page
    async def page(_: Annotated[None, Depends(enter)]) -> int:
        await asyncio.wait_for(all_in.wait(), 5)
        return computed()

    async with client(fast(page, timeout=60)) as http:
        pages = await asyncio.gather(*(http.get("/page") for _ in range(5)))
    assert {each.text for each in pages} == {"1"}


async def test_a_sync_endpoint_leaves_the_loop_alone(computed: Counter) -> None:
    """A `def` runs in a worker thread, decorated or not."""
    ours = threading.get_ident()

    @cached_page
    def page() -> bool:
        return threading.get_ident() == ours

    async with client(fast(page)) as http:
        assert (await http.get("/page")).json() is False


async def test_the_own_response_of_an_endpoint(computed: Counter) -> None:
    """Fields that an endpoint sets on the `Response` it was given are stored with the page."""

    @cached_page
    async def page(response: Response) -> int:
        response.headers["X-Own"] = "1"
        response.headers["Cache-Control"] = "s-maxage=5"
        return computed()

    async with client(fast(page)) as http:
        pages = [await http.get("/page") for _ in range(2)]
    assert [each.headers["x-own"] for each in pages] == ["1", "1"]
    assert pages[1].headers["cache-status"] == "twofold; hit; ttl=4"


# What is stored is what is replayed, at the same layer


def envelope(app: Any) -> None:
    """Put what `app` responds into an envelope, as a new response."""

    @app.middleware("http")
    async def wrap(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        response = await call_next(request)
        inner = b"".join([each async for each in response.body_iterator])
        return JSONResponse({"data": json.loads(inner)}, response.status_code)


class Numbered:
    """Appends the number of the request, to the fields of each response and to the scope."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.numbers = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = str(self.numbers())

        async def send_numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("X-Number", number)
            await send(message)

        await self.app({**scope, "number": number}, receive, send_numbered)


async def test_inner_middleware_runs_once_for_each_request(computed: Counter) -> None:
    """It changes a stored page of an endpoint as it changes a new one: once, for its request."""

    @cached_page(vary=["X-Lang"])
    async def page() -> int:
        return computed()

    app = fast()
    app.get("/page")(page)
    app.user_middleware.clear()
    app.add_middleware(Numbered)
    envelope(app)
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        pages = [await http.get("/page") for _ in range(3)]
        other = await http.get("/page", headers={"X-Lang": "de"})
        tag = pages[0].headers["etag"]
        known = await http.get("/page", headers={"If-None-Match": tag})
    assert [each.text for each in pages] == ['{"data":1}'] * 3
    assert [hit(each) for each in pages] == [False, True, True]
    assert (other.text, other.headers["vary"]) == ('{"data":2}', "x-lang")
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize("where", ["application", "mount", "route", "sub-application"])
async def test_a_field_is_that_of_its_own_request(computed: Counter, where: str) -> None:
    """Wherever a middleware stands that appends fields, a hit has that of its own request."""

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    numbered = {each: [Middleware(Numbered)] * (each == where) for each in ("mount", "route")}
    routes = [Route("/page", page, middleware=numbered["route"])]
    if where == "sub-application":
        inner = Starlette(routes=routes, middleware=[Middleware(Numbered)])
        routes = [Mount("/in", inner)]
    else:
        routes = [Mount("/in", routes=routes, middleware=numbered["mount"])]
    app = Starlette(routes=routes)
    if where == "application":
        app.add_middleware(Numbered)
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        pages = [await http.get("/in/page") for _ in range(2)]
    assert [each.headers.get_list("x-number") for each in pages] == [["1"], ["2"]]
    assert [(each.text, hit(each)) for each in pages] == [("1", False), ("1", True)]


@pytest.mark.parametrize(
    ("fields", "hits"),
    [
        ({"Cache-Control": "private"}, False),
        ({"Cache-Control": "max-age=0"}, False),
        ({"Set-Cookie": "a=b"}, False),
        ({"Vary": "*"}, False),
        ({"X-Other": "1"}, True),
    ],
    ids=str,
)
async def test_the_response_that_is_sent_allows_or_not(
    computed: Counter, fields: dict[str, str], hits: bool
) -> None:
    """What middleware says of a response holds for the endpoint's page that is in it."""

    @cached_page
    async def page() -> int:
        return computed()

    app = fast(page)

    @app.middleware("http")
    async def add(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        response = await call_next(request)
        response.headers.update(fields)
        return response

    app.user_middleware.reverse()
    async with client(app) as http:
        assert [hit(await http.get("/page")) for _ in range(2)] == [False, hits]


async def test_what_middleware_reads_for_an_endpoint_parts_its_pages(computed: Counter) -> None:
    """A `Vary` that middleware adds counts, and is said once on a hit."""

    @cached_page
    async def page(request: Request) -> str:
        return f"{request.state.lang}{computed()}"

    app = fast(page)

    @app.middleware("http")
    async def speak(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        request.state.lang = request.headers["x-lang"]
        response = await call_next(request)
        response.headers.append("Vary", "X-Lang")
        return response

    app.user_middleware.reverse()
    async with client(app) as http:
        for _ in range(2):
            for n, lang in enumerate(("de", "en"), 1):
                got = await http.get("/page", headers={"X-Lang": lang})
                assert got.json() == f"{lang}{n}"
                assert got.headers.get_list("vary") == ["X-Lang"]


@pytest.mark.parametrize("kind", ["function", "dependency"])
async def test_a_cached_endpoint_that_is_called_by_another(computed: Counter, kind: str) -> None:
    """It returns what the function returns, each time, and stores nothing for that request."""

    @cached_page(vary=["X-Own"])
    async def prices(request: Request) -> dict[str, int]:
        return {"tea": computed()}

    @cached_page
    async def bare() -> int:
        return 1

    @cached_page
    async def tea(request: Request) -> int:
        return (await prices(request))["tea"] + await bare()

    async def by_dependency(found: Annotated[Any, Depends(prices)]) -> int:
        return found["tea"] + await bare()

    app = fast(prices)
    app.get("/tea")(tea if kind == "function" else by_dependency)
    async with client(app) as http:
        seen = [await http.get("/tea") for _ in range(2)]
        own = [await http.get("/prices") for _ in range(2)]
    stored = kind == "function"
    assert [each.json() for each in seen] == [2, 2 if stored else 3]
    assert [hit(each) for each in seen] == [False, stored]
    assert "vary" not in seen[0].headers
    assert own[0].json() == own[1].json() != {"tea": 1}
    assert [hit(each) for each in own] == [False, True]


async def test_what_dependencies_set_is_of_the_request(computed: Counter) -> None:
    """Fields that dependencies set are those of each request; the endpoint's are the page's."""

    def count(response: Response) -> None:
        response.headers["X-Count"] = str(computed())
        response.headers["X-Whose"] = "dependency"

    @cached_page
    async def page(response: Response) -> dict[str, int]:
        response.headers["X-Whose"] = "endpoint"
        response.status_code = 203
        return {"own": computed()}

    @cached_page
    def unaware() -> int:
        return 1

    @cached_page
    def own() -> Response:
        return PlainTextResponse("own")

    app = fast(page, unaware, own, dependencies=[Depends(count)])
    async with client(app) as http:
        pages = [await http.get("/page") for _ in range(2)]
        others = [await http.get("/unaware") for _ in range(2)]
        owns = [await http.get("/own") for _ in range(2)]
    assert [each.headers.get_list("x-count") for each in pages] == [["1"], ["3"]]
    assert [each.headers.get_list("x-whose") for each in pages] == [["endpoint"]] * 2
    assert [(each.status_code, each.text) for each in pages] == [(203, '{"own":2}')] * 2
    assert [each.headers.get_list("x-count") for each in others] == [["4"], ["5"]]
    assert all("x-count" not in each.headers for each in owns)
    assert [hit(each) for each in (*pages, *others, *owns)] == [False, True] * 3


async def test_what_an_endpoint_takes_from_dependencies_stays_away() -> None:
    """A field of theirs that it removed is not on a stored page, others are."""

    def careful(response: Response) -> None:
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Kept"] = "1"

    @cached_page(timeout=60)
    def page(response: Response) -> str:
        del response.headers["Cache-Control"]
        return "page"

    async with client(fast(page, dependencies=[Depends(careful)])) as http:
        pages = [await http.get("/page") for _ in range(2)]
    assert [hit(each) for each in pages] == [False, True]
    assert [("cache-control" in each.headers, each.headers["x-kept"]) for each in pages] == [
        (False, "1")
    ] * 2


async def test_a_cookie_that_a_dependency_sets_is_for_its_own_request(computed: Counter) -> None:
    """Such a page is not stored, though the endpoint's own response has no cookie."""

    def remember(response: Response) -> None:
        response.set_cookie("seen", str(computed()))

    @cached_page
    def page() -> int:
        return 1

    async with client(fast(page, dependencies=[Depends(remember)])) as http:
        first = await http.get("/page")
    async with client(fast(page, dependencies=[Depends(remember)])) as http:
        second = await http.get("/page")
    assert [each.headers["set-cookie"].split(";")[0] for each in (first, second)] == [
        "seen=1",
        "seen=2",
    ]


async def test_dependencies_that_yield_end_as_ever(computed: Counter) -> None:
    """They are open while the endpoint runs, end after a hit too, and see what it raises."""
    events: list[str] = []

    async def database() -> AsyncIterator[str]:
        events.append("begin")
        try:
            yield "open"
        except HTTPException:
            events.append("rollback")
            raise
        finally:
            events.append("end")

    @cached_page
    async def page(session: Annotated[str, Depends(database)], fails: bool = False) -> str:
        if fails:
            raise HTTPException(404)
        return session + str(computed())

    async with client(fast(page)) as http:
        assert [(await http.get("/page")).json() for _ in range(2)] == ["open1", "open1"]
        assert (await http.get("/page?fails=1")).status_code == 404
    assert events == ["begin", "end"] * 2 + ["begin", "rollback", "end"]


@pytest.mark.parametrize("kind", [HTTPException, StarletteHTTPException])
async def test_what_an_endpoint_raises_is_raised_again(computed: Counter, kind: Any) -> None:
    """A 404 is a page too; handlers and dependencies see the exception at each request."""
    seen: list[Any] = []

    async def database() -> AsyncIterator[None]:
        try:
            yield
        except kind as error:
            seen.append(error.detail)
            raise

    @cached_page(vary="X-Lang")
    async def page(_: Annotated[None, Depends(database)], name: str = "") -> str:
        computed()
        raise kind(404, f"no {name}" if name else {"code": 7}, headers={"X-Own": "1"})

    app = fast(page)

    @app.exception_handler(kind)
    async def handle(request: Request, error: Any) -> Response:
        status, headers = error.status_code, error.headers
        return JSONResponse({"told": error.detail, "n": len(seen)}, status, headers)

    async with client(app) as http:
        pages = [await http.get("/page") for _ in range(2)]
        other = await http.get("/page?name=tea")
    assert [each.status_code for each in (*pages, other)] == [404] * 3
    assert [each.json() for each in pages] == [{"told": {"code": 7}, "n": n} for n in (1, 2)]
    assert [(each.headers["x-own"], each.headers["vary"]) for each in pages] == [
        ("1", "x-lang")
    ] * 2
    assert [hit(each) for each in pages] == [False, True]
    assert (other.json()["told"], computed.count) == ("no tea", 2)


async def test_what_cannot_be_raised_again_is_not_stored(computed: Counter) -> None:
    """Nobody knows what an exception of a class of one's own holds, nor what is no JSON."""

    class Own(HTTPException):
        pass

    @cached_page
    async def page(kind: str) -> str:
        computed()
        errors = {
            "own": Own(404),
            "set": HTTPException(404, {1, 2}),
            "tuple": HTTPException(404, (1, 2)),
            "status": HTTPException(403),
        }
        raise errors[kind]

    async with client(fast(page)) as http:
        for kind in ("own", "set", "tuple", "status"):
            assert not any([hit(await http.get(f"/page?kind={kind}")) for _ in range(2)])
    assert computed.count == 8


async def test_endpoints_have_whatever_names(computed: Counter) -> None:
    """A name in another alphabet is one, and a partial function has that of what it calls."""

    async def цены(request: Request, more: str = "") -> Response:
        return PlainTextResponse(f"{computed()}{more}")

    app = Starlette()
    app.add_route("/one", cached_page(цены))
    app.add_route("/two", cached_page(partial(цены, more="!")))
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        assert [(await http.get("/one")).text for _ in range(2)] == ["1", "1"]
        assert [(await http.get("/two")).text for _ in range(2)] == ["2!", "2!"]


async def test_background_tasks_of_dependencies_run_on_hits(computed: Counter) -> None:
    """What a dependency has done after a response is done after a stored one too."""

    def log(tasks: BackgroundTasks) -> None:
        tasks.add_task(computed)

    @cached_page
    def page() -> int:
        return 1

    async with client(fast(page, dependencies=[Depends(log)])) as http:
        assert [hit(await http.get("/page")) for _ in range(2)] == [False, True]
    assert computed.count == 2


async def test_routes_make_their_own_responses(computed: Counter) -> None:
    """One endpoint on two routes is filtered, and answered, as each of them says."""

    @cached_page
    async def page() -> Stored:
        return Stored(name=str(computed()))

    app = fast()
    app.get("/shown", response_model=Shown, status_code=203)(page)
    router = APIRouter(default_response_class=PlainTextResponse)
    router.get("/text", response_model=None)(cached_page(lambda: "text"))
    app.include_router(router, prefix="/in")
    app.get("/all")(page)
    async with client(app) as http:
        for _ in range(2):
            shown = await http.get("/shown")
            assert (shown.status_code, shown.json()) == (203, {"name": "1"})
            assert (await http.get("/all")).json() == {"name": "2", "secret": "hidden"}
            text = await http.get("/in/text")
            assert (text.text, text.headers["content-type"][:10]) == ("text", "text/plain")
    assert computed.count == 2


# Scopes that middleware copies, and users


class Copying:
    """Changes the scope as ASGI wants it: in a copy. It rewrites the path, and tells the user."""

    def __init__(self, app: Any, user: bool = False) -> None:
        self.app = app
        self._user = user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        copied = {**scope, "number": 1}
        if scope["type"] == "http":
            copied["path"] = scope["path"].removeprefix("/v1")
            if self._user:
                name = dict(scope["headers"]).get(b"x-user", b"").decode()
                copied["user"] = SimpleUser(name) if name else UnauthenticatedUser()
        await self.app(copied, receive, send)


@pytest.mark.parametrize("where", ["added", "around", "added within", "router", "mount"])
async def test_a_copied_scope_hides_nothing(computed: Counter, where: str) -> None:
    """The headers that the route declares part its pages, or these are not stored."""

    async def page(x_user: Annotated[str, Header()]) -> str:
        return x_user + str(computed())

    app: Any = FastAPI()
    app.get("/page")(page)
    app.get("/other")(lambda: computed())
    if where == "added within":
        app.add_middleware(BaseHTTPMiddleware, dispatch=_pass)
    if where in ("added", "added within"):
        app.add_middleware(Copying)
        app.add_middleware(CacheMiddleware, timeout=60)
    elif where == "router":
        app.router.middleware_stack = Copying(app.router.middleware_stack)
        app.add_middleware(CacheMiddleware, timeout=60)
    elif where == "mount":
        app = Starlette(routes=[Mount("/v1", Copying(app))])
        app.add_middleware(CacheMiddleware, timeout=60)
    else:
        app = CacheMiddleware(Copying(app), timeout=60)
    async with client(app) as http:
        for _ in range(2):
            for user in USERS:
                got = await http.get("/v1/page", headers={"X-User": user})
                assert got.json()[:3] == user
        known = where not in ("router", "mount")
        assert hit(got) is known
        if known:
            assert got.headers["vary"] == "x-user"
            assert not hit(await http.get("/v1/other"))
            other = await http.get("/v1/other", headers={"X-User": "ann"})
            assert hit(other)
            assert "vary" not in other.headers


class Secure:
    """Tells the application that requests came by HTTPS, as what knows its proxy does."""

    def __init__(self, app: Any, copies: bool) -> None:
        self.app = app
        self._copies = copies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            told = scope.copy() if self._copies else scope
            told["scheme"] = "https"
        await self.app(told, receive, send)


@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=str)
@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("around", [True, False])
async def test_a_change_removes_what_the_application_has_a_page_for(
    computed: Counter, options: Any, copies: bool, around: bool
) -> None:
    """Also where middleware inside of the cache tells the application another URL."""

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse(f"{request.url} {computed()}")

    async def change(request: Request) -> Response:
        return Response(status_code=201, headers={"Location": str(request.url_for("other"))})

    app: Any = Starlette(routes=[Route("/page", page), Route("/other", page, name="other")])
    app.add_route("/page", change, methods=["POST"])
    if around:
        app = CacheMiddleware(Secure(app, copies), **options)
    else:
        app.add_middleware(Secure, copies=copies)
        app.add_middleware(CacheMiddleware, **options)
    async with client(app) as http:
        for where in ("/page", "/other", "/page", "/other"):
            first = await http.get(where)
        assert hit(first)
        assert (await http.post("/page")).status_code == 201
        seen = [(await http.get(where)).text for where in ("/page", "/other")]
    assert seen == ["https://shop.example/page 3", "https://shop.example/other 4"]


class Enveloping:
    """Puts each page into an envelope of its own, which is private unless told otherwise."""

    def __init__(self, app: Any, control: str = "private") -> None:
        self.app = app
        self._control = control.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.start = message
                return
            body = b"<%b>" % message["body"]
            fields = {**dict(self.start["headers"]), b"cache-control": self._control}
            fields[b"content-length"] = b"%d" % len(body)
            await send({**self.start, "headers": list(fields.items())})
            await send({**message, "body": body})

        await self.app(scope, receive, send_enveloped)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("control", ["private", "max-age=60"])
async def test_a_cache_within_another_has_its_own_pages(
    computed: Counter, layers: int, control: str
) -> None:
    """What the inner one stored is no answer of the outer one, past all that is between."""

    async def page(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    between = Middleware(Enveloping, control=control)
    caching = Middleware(CacheMiddleware, timeout=60)
    inner = [between, caching] * (layers - 1)
    app = Starlette(routes=[Route("/", page, methods=["GET", "POST"])])
    app.user_middleware = [caching, *inner]
    left, right = "<" * (layers - 1), ">" * (layers - 1)
    async with client(app) as http:
        answers = [(await http.get("/")).text for _ in range(3)]
        await http.post("/")
        answers.append((await http.get("/")).text)
    assert answers == [f"{left}{n}{right}" for n in (1, 1, 1, 3)]


async def test_who_takes_the_credentials_off_hides_no_user(computed: Counter) -> None:
    """A middleware that has verified a token may keep it from the application."""

    async def without_credentials(scope: Scope, receive: Receive, send: Send) -> None:
        fields = [each for each in scope["headers"] if each[0] != b"authorization"]
        await router({**scope, "headers": fields}, receive, send)

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse(str(computed()))

    router = Starlette(routes=[Route("/", page)])
    async with client(CacheMiddleware(without_credentials)) as http:
        users = [{"Authorization": f"Bearer {user}"} for user in USERS]
        asked = [*users, {}, *users, {}]
        pages = [(await http.get("/", headers=each)).text for each in asked]
    assert pages == ["1", "2", "3", "4", "5", "3"]


async def test_who_wants_nothing_computed_is_told_so_once() -> None:
    """`only-if-cached` without a page is a 504 with one `Cache-Status`, of endpoints too."""

    @cached_page
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(CacheMiddleware)
    async with client(app) as http:
        answer = await http.get("/", headers={"Cache-Control": "only-if-cached"})
    assert (answer.status_code, answer.headers["cache-status"]) == (504, "twofold; fwd=miss")


async def _pass(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
    return await call_next(request)


@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=str)
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("public", [True, False])
async def test_a_known_user_shares_only_what_is_public(
    computed: Counter, options: Any, inside: bool, public: bool
) -> None:
    """By whatever field a middleware knows a user, and wherever it stands."""

    async def page(request: Request) -> Response:
        text = f"{request.user.display_name}{computed()}"
        return PlainTextResponse(text, headers={"Cache-Control": "public"} if public else {})

    endpoint = page if options else cached_page(page)
    app = Starlette(routes=[Route("/page", endpoint)])
    app.add_middleware(Copying, user=True)
    app.add_middleware(CacheMiddleware, **options)
    if not inside:
        app.user_middleware.reverse()
    asked = [{"X-User": "ann"}, {"X-User": "bob"}, {}, {"X-User": "ann"}, {}, {"X-User": "bob"}]
    async with client(app) as http:
        pages = [(await http.get("/page", headers=each)).text for each in asked]
    if public:
        assert pages == ["ann1"] * 6
    elif inside and options:  # who it is is told too late for the answer from the cache
        assert pages == ["ann1", "bob2", "3", "ann4", "5", "bob6"]
    else:
        assert pages == ["ann1", "bob2", "3", "ann4", "3", "bob5"]


class LateCORS:
    """Allows every origin that names itself, and says `Vary` to no other, as many do."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = dict(scope["headers"]).get(b"origin")

        async def send_allowed(message: Message) -> None:
            if origin and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin.decode()
                headers.add_vary_header("Origin")
            await send(message)

        await self.app(scope, receive, send_allowed)


@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=str)
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("credentials", [True, False])
@pytest.mark.parametrize("own", [True, False])
async def test_origins_get_their_own_fields(
    computed: Counter, options: Any, inside: bool, credentials: bool, own: bool
) -> None:
    """In whatever order they ask, each has what CORS allows it, on a hit too."""

    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/page", page if options else cached_page(page))])
    if own:
        app.add_middleware(LateCORS)
    else:
        origins = ["http://0.example", "http://1.example"]
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_credentials=credentials)
    app.add_middleware(CacheMiddleware, **options)
    if not inside:
        app.user_middleware.reverse()
    async with client(app) as http:
        for asked in (None, "http://0.example", "http://1.example", None) * 2:
            got = await http.get("/page", headers={"Origin": asked} if asked else {})
            assert got.headers.get("access-control-allow-origin") == asked
        assert hit(got)
        if not own:
            got = await http.get("/page", headers={"Origin": "http://2.example"})
            assert "access-control-allow-origin" not in got.headers
            got = await http.get("/page", headers={"Origin": "http://0.example"})
            assert got.headers["access-control-allow-origin"] == "http://0.example"
            assert hit(got)


async def test_a_cache_around_another_leaves_endpoints_alone(computed: Counter) -> None:
    """A whole application that is cached asks the dependencies of a mounted one each time."""

    def insider(request: Request) -> None:
        if "x-badge" not in request.headers:
            raise HTTPException(403)

    @cached_page
    async def page(_: Annotated[None, Depends(insider)]) -> int:
        return computed()

    app = Starlette(routes=[Mount("/in", fast(page))])
    app.add_middleware(CacheMiddleware, timeout=60)
    async with client(app) as http:
        assert (await http.get("/in/page", headers={"X-Badge": "1"})).json() == 1
        assert (await http.get("/in/page")).status_code == 403
        assert (await http.get("/in/page", headers={"X-Badge": "1"})).json() == 1


# The end of an application


async def test_the_lifespan_closes_everything(redis_server: RedisServer) -> None:
    """At its end no connection is left; it may have been called, or stand in one of one's own."""
    events: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        async with twofold_lifespan():
            events.append("begin")
            yield {"state": "mine"}
            events.append("end")

    for lifespan in (twofold_lifespan, twofold_lifespan(), own):
        configure(redis_server.url)
        app = FastAPI(lifespan=lifespan)
        async with app.router.lifespan_context(app) as state:
            await caches["default"].aset("k", 1)
            assert [each.connections for each in caches["default"].stats().servers] == [1]
        assert [each.connections for each in caches["default"].stats().servers] == [0]
    assert (events, state) == (["begin", "end"], {"state": "mine"})


# Over real sockets


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve `app` by uvicorn in a thread, and yield its URL."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, ws="none", http="h11", log_level="error", timeout_keep_alive=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            eventually(lambda: server.started, "uvicorn runs")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_crowd_over_real_sockets(
    computed: Counter, store: str, request: pytest.FixtureRequest
) -> None:
    """Twenty who ask together have one page computed, of a `def` and of an `async def`."""
    if store == "redis":
        configure(request.getfixturevalue("redis_server").url)

    @cached_page
    async def page() -> int:
        await asyncio.sleep(0.2)
        return computed()

    @cached_page
    def sync_page() -> int:
        time.sleep(0.2)
        return computed()

    async def crowd(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient() as http:
            return await asyncio.gather(*(http.get(url) for _ in range(ASKING)))

    app = fast(page, sync_page)
    app.router.lifespan_context = twofold_lifespan
    with served(app) as url:
        for n, name in enumerate(("page", "sync_page"), 1):
            pages = asyncio.run(crowd(f"{url}/{name}"))
            assert [each.text for each in pages] == [str(n)] * ASKING
    assert computed.count == 2


def test_two_users_over_real_sockets(computed: Counter) -> None:
    """Of two users that hammer one page, none ever sees the other's."""

    @cached_page
    async def page(request: Request) -> str:
        await asyncio.sleep(0)
        return request.headers.get("cookie") or request.headers.get("authorization") or "nobody"

    kinds = [{"Cookie": "ann"}, {"Cookie": "bob"}, {"Authorization": "ann"}, {}]

    async def hammer(url: str) -> list[tuple[str, str]]:
        async with httpx.AsyncClient() as http:
            asked = kinds * 30
            pages = await asyncio.gather(*(http.get(url, headers=each) for each in asked))
        return [
            (next(iter(each.values()), "nobody"), got.json())
            for each, got in zip(asked, pages, strict=True)
        ]

    with served(fast(page)) as url:
        for asked, seen in asyncio.run(hammer(f"{url}/page")):
            assert asked == seen


def test_a_stream_reaches_its_client_while_it_is_made() -> None:
    """The first chunk is there before the last one is made."""
    seen = threading.Event()

    async def page(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.to_thread(seen.wait, 10)
            yield b"last" if seen.is_set() else b"late"

        return StreamingResponse(chunks())

    with served(site(page)) as url, httpx.stream("GET", url) as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        seen.set()
        assert b"".join(chunks) == b"last"


def test_a_client_that_goes_away(computed: Counter) -> None:
    """It leaves no half page, no turn, and nobody who waits for it."""
    entered = threading.Event()

    async def page(request: Request) -> Response:
        if computed() == 1:
            entered.set()
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
            raise ConnectionError("nobody is there")
        return PlainTextResponse("x" * 1000)

    async def broken_stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10_000):
                yield b"x" * 100_000
                await asyncio.sleep(0.001)

        return StreamingResponse(chunks())

    app = Starlette(routes=[Route("/", page), Route("/stream", broken_stream)])
    app.add_middleware(CacheMiddleware, timeout=60)
    with served(app) as url, ExitStack() as left, httpx.Client() as http:
        gone = left.enter_context(
            socket.create_connection(httpx.URL(url).netloc.decode().split(":"))
        )
        gone.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert entered.wait(10)
        gone.close()
        assert http.get(url, headers={"Host": "x"}).text == "x" * 1000
        with httpx.stream("GET", f"{url}/stream") as response:
            assert next(response.iter_raw())
        assert hit(http.get(url, headers={"Host": "x"}))
        eventually(lambda: not pages_of(app).store.claims().table, "no turn is left")


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_an_outage_costs_no_page(
    computed: Counter, own_redis: RedisServer, on_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the server killed every page is a 200, and the log says so once."""
    configure({"default": {"LOCATION": own_redis.url, "OPTIONS": {"on_error": on_error}}})

    @cached_page
    async def page() -> int:
        return computed()

    app = fast(page)
    app.router.lifespan_context = twofold_lifespan
    with served(app) as url, httpx.Client() as http:
        assert [http.get(f"{url}/page").text for _ in range(2)] == ["1", "1"]
        own_redis.kill()
        with caplog.at_level(logging.WARNING, "twofold"):
            pages = [http.get(f"{url}/page") for _ in range(4)]
        assert [(each.status_code, each.text) for each in pages] == [
            (200, str(n)) for n in range(2, 6)
        ]
        assert len([each for each in caplog.records if each.name == "twofold"]) == 1
        own_redis.start()
        eventually(lambda: hit(http.get(f"{url}/page")), "pages are cached again")


@pytest.mark.parametrize("style", ["function", "asgi", "dependency"])
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
async def test_one_request_does_without_the_cache(
    computed: Counter, style: str, is_async: bool
) -> None:
    """What middleware or an async dependency decides holds in the endpoint, in a thread, too."""

    def overriding(headers: Any) -> Any:
        scopes: dict[str, Any] = {"no-store": bypass, "no-cache": refreshing}
        return scopes.get(headers.get("cache-control", ""), nullcontext)()

    async def depends(request: Request) -> AsyncIterator[None]:
        with overriding(request.headers) if style == "dependency" else nullcontext():
            yield

    app = FastAPI(dependencies=[Depends(depends)])

    def answer() -> int:
        return cache.get_or_set("k", computed)

    async def aanswer() -> int:
        return await cache.aget_or_set("k", computed)

    app.get("/")(aanswer if is_async else answer)
    if style == "function":

        @app.middleware("http")
        async def override(request: Request, call_next: Any) -> Any:
            with overriding(request.headers):
                return await call_next(request)

    class Overriding:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            with overriding(Request(scope).headers) if style == "asgi" else nullcontext():
                await self.app(scope, receive, send)

    app.add_middleware(Overriding)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://site"
    ) as client:

        async def ask(control: str = "") -> str:
            return (await client.get("/", headers={"cache-control": control})).text

        asked = ["", "", "no-store", "", "no-cache", ""]
        assert [await ask(each) for each in asked] == ["1", "1", "2", "1", "3", "3"]


async def test_the_end_of_the_application_waits_for_refreshes() -> None:
    """Which run as tasks of its loop, and go on after their requests."""
    may_end, made = asyncio.Event(), asyncio.Event()

    async def compute() -> str:
        await may_end.wait()
        made.set()
        return "new"

    async with twofold_lifespan():
        await cache.aset("k", "old", stale=60)
        await cache.amark_stale("k")
        assert await cache.aget_or_set("k", compute, stale=60) == "old"
        asyncio.get_running_loop().call_later(0.02, may_end.set)
    assert made.is_set()
    assert await cache.aget("k") == "new"


@pytest.mark.parametrize("meant", [False, True], ids=["above its route", "served both ways"])
async def test_a_page_above_its_route_is_told_of(
    meant: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """FastAPI has the plain function then, and never calls the one with pages."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)

    async def front() -> str:
        return "Welcome"

    page = cached_page(app.get("/")(front))
    if meant:
        app.get("/kept")(page)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        answers = [await client.get("/") for _ in range(2)]
    assert [each.json() for each in answers] == ["Welcome"] * 2
    told = [each for each in caplog.messages if "front() is served without" in each]
    assert len(told) == (not meant)
