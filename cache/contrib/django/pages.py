"""Pages in a cache, by Django's own rules, with the I/O of the cache taken out of them.

What may be stored, for how long and under which key is decided by Django's middleware,
which asks a cache as it goes. Here it asks a stand-in, which knows what was read so far
and notes what is to be written; the reading and writing is done outside, by the face of
the caller. So sync views do sync I/O, async views await theirs, and the rules are those
of the Django that is installed.

Four things are stricter than there:

- A page's key gets one more part, made of the values that its `Vary` names, each apart
  from the others and from none: in Django 5.2's own keys "EU" and "" meet "" and "EU".
- What a page of an address once varied on, all its later ones do. For Django the last
  one stored decides, so that a page without `Vary` hides those with.
- A request with `Authorization`, or of a user that the server or a middleware knows, is
  answered only with a page that is `public`, and only such a page of theirs is stored:
  the rule of all frameworks (`shared_with`), also in a Django before 5.2.19.
- A GET with content, which is in no key, goes past the cache.
"""

import re
from collections.abc import Awaitable, Callable
from copy import copy
from functools import cache
from hashlib import blake2b
from typing import Any, Protocol, TypeVar
from weakref import finalize

from django.http import HttpRequest, HttpResponse
from django.http.response import ResponseHeaders
from django.utils.cache import patch_vary_headers
from django.utils.functional import LazyObject

from twofold.claims.table import Claims
from twofold.claims.turns import Turn, Turns
from twofold.contrib.django.content import passes
from twofold.contrib.http.encoding import encode
from twofold.contrib.http.headers import Headers
from twofold.contrib.http.replay import says_personal
from twofold.contrib.http.storing import shared_with
from twofold.effects import BLOCKING, Effects, run_sync
from twofold.outage import Outage

T = TypeVar("T")

Proceed = Callable[[], Awaitable[HttpResponse]]
"""Goes on to what is inside: the next middleware, or the view."""

turns: Turns = Turns()
claims: Claims = Claims()
"""Who computes which page; the others wait."""

_NAME = re.compile(r"HTTP_[!-~]*")

_outages: dict[tuple[str, str], Outage] = {}  # by aliases, and what has failed there


class Middleware(Protocol):
    """What is needed of a middleware of Django's for caching."""

    cache_alias: str

    @property
    def cache(self) -> Any:
        """The cache, one of Django's."""

    def single_flight(self) -> bool:
        """Tell whether one request computes a page, and the others wait for it."""


class _Unread(Exception):
    """Django wants to know a key that was not read yet."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _StandIn:
    """Stands for a cache while Django decides."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.written: list[tuple[str, Any, float]] = []

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self.known:
            raise _Unread(key)
        return default if self.known[key] is None else self.known[key]

    def set(self, key: str, value: Any, timeout: float) -> None:
        self.written.append((key, value, timeout))


@cache
def _twin(kind: type[Any]) -> type[Any]:
    """Return a kind of middleware that decides as `kind` does, and has a stand-in for its cache."""
    return type(kind.__name__, (kind,), {"cache": property(lambda self: vars(self)["_stand_in"])})


def _deciding(middleware: Middleware, stand_in: _StandIn) -> Any:
    """Return what decides as `middleware` does, a user's own methods included."""
    twin = object.__new__(_twin(type(middleware)))
    vars(twin).update(vars(middleware), _stand_in=stand_in)
    return twin


class _Held(list[Turn]):
    """The turns that a request has taken inside of one `update`, and what is known there."""

    within: int = 0
    """How many caches of pages are around this one: what they store is another layer's."""
    made: HttpResponse | None = None
    """What came to `fetch`."""
    varies: tuple[str, ...] = ()
    """What earlier pages of the address varied on."""


def noting(request: HttpRequest, proceed: Proceed) -> Proceed:
    """Have `update` store what comes back here, where `fetch` answers in its place.

    The middleware between them runs on it for each request.
    """

    async def go_on() -> HttpResponse:
        response = await proceed()
        held = getattr(request, "_twofold_turns", None)
        if held is not None and not response.streaming and getattr(response, "is_rendered", True):
            held.made = _copied(response)
        return response

    return go_on


def _copied(response: HttpResponse) -> HttpResponse:
    """Return a response that does not change with `response`."""
    copied = copy(response)
    vars(copied).update(
        headers=ResponseHeaders(dict(response.headers)),
        cookies=copy(response.cookies),
        _container=list(response._container),  # type: ignore[attr-defined]
    )
    return copied


async def fetch(
    io: Effects, request: HttpRequest, middleware: Middleware, proceed: Proceed
) -> HttpResponse:
    """Answer from the cache, or go on; then the turn to compute is kept for `update`."""
    if passes(request):
        return await proceed()
    held: list[Turn] | None = getattr(request, "_twofold_turns", None)
    response, key = await _look(io, request, middleware)
    if response is not None or not key or held is None or not middleware.single_flight():
        return response or await proceed()
    looked = [(response, key)]

    async def look(io: Effects) -> tuple[HttpResponse | None, str]:
        return looked.pop() if looked else await _look(io, request, middleware)

    response, _ = await turns.find(io, claims, look, held)
    return response or await proceed()


async def update(
    io: Effects, request: HttpRequest, middleware: Middleware, proceed: Proceed
) -> HttpResponse:
    """Go on, and store what comes back if it may be stored; then release the turn."""
    if passes(request):
        return await proceed()
    outer = getattr(request, "_twofold_turns", None)
    held = _Held()
    held.within = 0 if outer is None else outer.within + 1
    varies = getattr(request, "_twofold_varies", [])
    request._twofold_turns = held  # type: ignore[attr-defined]
    shared = None
    try:
        response = await proceed()
        held.varies = tuple(getattr(request, "_twofold_varies", ()))
        if not getattr(response, "is_rendered", True):
            _store_when_rendered(request, response, middleware, held)
            held = _Held()
        else:
            shared = await _store(io, request, response, middleware, held)
        return response
    finally:
        request._twofold_turns = outer  # type: ignore[attr-defined]
        request._twofold_varies = varies  # type: ignore[attr-defined]
        _release(held, shared)


def _store_when_rendered(
    request: HttpRequest, response: Any, middleware: Middleware, held: _Held
) -> None:
    """Store a response that Django renders later, in a thread if an event loop runs."""
    finalize(response, _release, held, None).atexit = False  # should it never be rendered

    def render() -> HttpResponse:
        del response.render
        try:
            rendered: HttpResponse = response.render()
        except BaseException:
            _release(held, None)
            raise
        return rendered

    def store(rendered: HttpResponse) -> None:
        shared = None
        try:
            shared = run_sync(_store(BLOCKING, request, rendered, middleware, held))
        finally:
            _release(held, shared)

    response.render = render
    response.add_post_render_callback(store)


def _release(held: list[Turn], shared: bool | None) -> None:
    for turn in held:
        turn.release(shared)


async def _look(
    io: Effects, request: HttpRequest, middleware: Middleware
) -> tuple[HttpResponse | None, str]:
    """Return the page, or None and the key that was missing; "" if no page may answer."""
    stand_in = _StandIn()
    rule = _deciding(middleware, stand_in)
    key = ""
    headers: list[str] = []
    within = getattr(getattr(request, "_twofold_turns", None), "within", 0)
    is_known = _is_authenticated(request)
    while True:
        try:
            response = rule.process_request(request)
        except _Unread as unread:
            key = f"{middleware.cache_alias}:{unread.key}:{is_known}:{within}"
            own = _key(unread.key, headers, request, within) if stand_in.known else unread.key
            found = await _read(io, middleware, own)
            if not stand_in.known:
                found = found if _is_names(found) else None
                headers = request._twofold_varies = found or []  # type: ignore[attr-defined]
            elif not (isinstance(found, HttpResponse) and _is_for(is_known, found)):
                found = None
            stand_in.known[unread.key] = found
        else:
            return response, key


def _is_names(found: Any) -> bool:
    """Tell whether something read lists headers, as Django stores them: anybody may put numbers."""
    return isinstance(found, list) and all(
        isinstance(each, str) and _NAME.fullmatch(each) for each in found
    )


def _is_for(is_known: bool, response: HttpResponse) -> bool:
    """Tell whether a response may be shared as far as it is known who asks."""
    return not is_known or shared_with(is_known, _control(response))


def _control(response: HttpResponse) -> Headers:
    return Headers([(b"cache-control", response.get("Cache-Control", "").encode())])


def _is_authenticated(request: HttpRequest) -> bool:
    """Tell whether it is known who asks, by other means than a session.

    Django's `request.user` is lazy, and a page that looks at it varies on the cookie. A
    user that is there at once was found otherwise, by a token for instance.
    """
    if "HTTP_AUTHORIZATION" in request.META or request.META.get("REMOTE_USER"):
        return True
    user = vars(request).get("user")
    return not isinstance(user, LazyObject) and bool(getattr(user, "is_authenticated", False))


async def _store(
    io: Effects,
    request: HttpRequest,
    response: HttpResponse,
    middleware: Middleware,
    held: _Held,
) -> bool:
    """Store `response` if Django's rules allow it, and return whether others will find it.

    Args:
        io: the face of the caller.
        request: what was asked for.
        response: what is sent.
        middleware: whose rules hold.
        held: what is known of the request; its `made` is stored in the place of the
            response, under the conditions of both.
    """
    made = held.made
    if made is not None:
        if made.status_code != response.status_code or says_personal(_control(made)):
            return False
        _say_as(made, response)
    _mend_vary(held.varies, response)
    stand_in = _StandIn()
    _deciding(middleware, stand_in).process_response(request, response)
    if not stand_in.written or not _is_for(_is_authenticated(request), response):
        return False
    (header_key, headers, timeout), (page_key, page, _) = stand_in.written
    own = _key(page_key, headers, request, held.within)
    # The page goes first: what has no room must not leave others to wait for it.
    return await _write(io, middleware, own, _under(page, made), timeout) and await _write(
        io, middleware, header_key, headers, timeout
    )


def _say_as(made: HttpResponse, response: HttpResponse) -> None:
    """Have `response`, which a middleware may have made anew, say what `made` says of storing."""
    if "Cache-Control" not in response.headers and "Cache-Control" in made.headers:
        response.headers["Cache-Control"] = made.headers["Cache-Control"]
    if names := made.headers.get("Vary", "").replace(",", " ").split():
        patch_vary_headers(response, names)


def _under(response: HttpResponse, made: HttpResponse | None) -> HttpResponse:
    """Return what is stored: `made`, with what `response` says of that, or itself."""
    if made is None:
        return response
    for name in ("Cache-Control", "Expires", "Vary"):
        if name in response.headers:
            made.headers[name] = response.headers[name]
    return made


def _key(key: str, headers: list[str], request: HttpRequest, within: int) -> str:
    """Return Django's `key` of a page with the digest of `headers`, by name; absent is not empty.

    A page for an origin is for that alone, also where nothing says `Vary: Origin`; and the
    place of the application counts, which Django takes for a part of the path. A cache
    `within` others has pages of its own.
    """
    key = f"{key}.{within}" if within else key
    if "HTTP_ORIGIN" in request.META and "HTTP_ORIGIN" not in headers:
        headers = [*headers, "HTTP_ORIGIN"]
    place = request.META.get("SCRIPT_NAME", "")
    if not headers and not place:
        return key
    values = [request.META.get(name) for name in headers]
    told = [encode([] if value is None else [value.encode()]) for value in values]
    names = [name.encode() for name in (place, *headers)]
    return f"{key}.{blake2b(encode(names, told), digest_size=20).hexdigest()}"


def _mend_vary(varies: tuple[str, ...], response: HttpResponse) -> None:
    """Take blanks off `Vary`, as Django 5.2 does not, and add what pages here varied on."""
    if "Vary" in response.headers:
        response.headers["Vary"] = response.headers["Vary"].strip()
    if varies:
        names = [name.removeprefix("HTTP_").replace("_", "-").title() for name in varies]
        patch_vary_headers(response, names)


async def _read(io: Effects, middleware: Middleware, key: str) -> Any:
    cache = middleware.cache
    return await _try(middleware, "read", io.op(cache.get, cache.aget, key), None)


async def _write(io: Effects, middleware: Middleware, key: str, value: Any, timeout: float) -> bool:
    """Store a value, and return whether that was done: `set_many` tells, in all caches."""
    cache = middleware.cache
    storing = io.op(cache.set_many, cache.aset_many, {key: value}, timeout)
    return not await _try(middleware, "write", storing, [key])


async def _try(middleware: Middleware, what: str, doing: Awaitable[T], otherwise: T) -> T:
    """Return what an operation brings, or `otherwise` in an outage."""
    place = middleware.cache_alias, what
    try:
        result = await doing
    except Exception as error:
        _outages.setdefault(place, Outage(middleware.cache_alias)).fail(error, what)
        return otherwise
    if place in _outages:
        _outages[place].end(what)
    return result
