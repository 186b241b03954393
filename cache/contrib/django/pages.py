"""Pages in a cache, by Django's own rules, which are asked without I/O: see `deciding`.

The reading and writing is done here, by the face of the caller. So sync views do sync I/O,
async views await theirs, and the rules are those of the Django that is installed.

Five things are stricter than there:

- A page's key gets one more part, made of the values that its `Vary` names, each apart
  from the others and from none: in Django 5.2's own keys "EU" and "" meet "" and "EU".
- What a page of an address once varied on, all its later ones do. For Django the last
  one stored decides, so that a page without `Vary` hides those with.
- A request with `Authorization`, or of a user that the server or a middleware knows, is
  answered only with a page that is `public`, and only such a page of theirs is stored:
  the rule of all frameworks (`shared_with`), also in a Django before 5.2.19.
- A GET with content, which is in no key, goes past the cache.
- What one visitor alone may have been told is not shared, also where no middleware has
  said so yet: see `visitors`.

One request computes a page, and the others wait; in a cache of ours other processes do too,
and what was removed meanwhile is not stored: see `shelf`. What is missing, and held, is the
page; or what the pages of the address vary on, as long as nobody knows that.
"""

from collections.abc import Awaitable, Callable, Iterable
from copy import copy
from functools import partial
from typing import Any, Final, TypeAlias
from weakref import finalize

from django.http import HttpRequest, HttpResponse
from django.http.response import ResponseHeaders
from django.utils.cache import patch_vary_headers

from twofold.claims.turns import Turns
from twofold.contrib.django.content import bypasses
from twofold.contrib.django.deciding import Middleware, OneAddress, StandIn, deciding
from twofold.contrib.django.page_lookup import (
    Look,
    fields,
    is_authenticated,
    is_for,
    varied_key,
    with_language,
    within_others,
)
from twofold.contrib.django.page_store import attempt, write
from twofold.contrib.django.shelf import Hold, cache_behind
from twofold.contrib.django.visitors import is_for_one, is_told_otherwise, say_session
from twofold.contrib.http.storing import forbids
from twofold.contrib.http.tags import PageTags
from twofold.core import Cache
from twofold.effects import BLOCKING, Effects, run_sync
from twofold.freshness.overrides import override, requests
from twofold.metadata import Meta, Pins
from twofold.tags.names import Pinned

Told: TypeAlias = tuple[str, ...] | Callable[[HttpResponse], Iterable[str]]
"""The tags of a page, or what tells them once its response is there."""

Proceed = Callable[[], Awaitable[HttpResponse]]
"""Goes on to what is inside: the next middleware, or the view."""

NO_TAGS: Final = PageTags()

turns: Turns = Turns()
"""The callers that compute a page while others wait for it."""


class _Held(list[Hold]):
    """What a request has to compute inside of one `update`, and what is known there."""

    within: int = 0
    """How many caches of pages are around this one: what they store is another layer's."""
    outer: "_Held | None" = None
    """What the next one of these has to compute."""
    made: HttpResponse | None = None
    """What came to `fetch`."""
    varies: tuple[str, ...] = ()
    """What earlier pages of the address varied on."""
    tags: PageTags = NO_TAGS
    """Those of the page."""
    page: HttpResponse | None = None
    """What is to be stored."""
    is_tagged_within: bool = False
    """Whether a cache inside keeps the page, with tags that nobody knows here."""

    def tag(self, told: Told, outer: "_Held | None") -> None:
        """Give the page tags; what is around keeps none then."""
        if told:
            self.tags = PageTags(partial(self._tell, told) if callable(told) else told)
        while told and outer is not None:
            outer.is_tagged_within, outer = True, outer.outer

    def _tell(self, function: Callable[[HttpResponse], Iterable[str]]) -> Iterable[str]:
        return () if self.page is None else function(self.page)

    def over(self, cache: Cache | None) -> Hold | None:
        """Return the first hold of a key of `cache`."""
        return next(
            (hold for hold in self if cache is not None and hold.shelf.cache is cache), None
        )

    async def release(self, io: Effects, shared: bool | None = None) -> None:
        """Let all who wait go on; a second call does nothing."""
        for hold in self:
            await hold.release(io, shared)

    def forget(self) -> None:
        """Do what `release` does where nothing can be awaited."""
        for hold in self:
            hold.forget()


def noting(request: HttpRequest, proceed: Proceed) -> Proceed:
    """Have `update` store what comes back here, where `fetch` answers in its place.

    The middleware between them runs on it for each request.
    """

    async def go_on() -> HttpResponse:
        response = await proceed()
        held = getattr(request, "_twofold_held", None)
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
    if bypasses(request):
        return await proceed()
    held: _Held | None = getattr(request, "_twofold_held", None)
    tags = NO_TAGS if held is None else held.tags
    look = Look(request, middleware, tags.known)
    response, key = await look(io)
    if response is not None and requests and override() == "refresh":
        await look.remove(io)
        response, key = await look(io)
    if response is not None or not key or held is None:
        return response or await proceed()
    if middleware.single_flight():
        response = await _hold(io, look, key, held)
    if response is None and tags is not NO_TAGS and (cache := look.shelf.cache) is not None:
        await attempt(middleware, "pin", tags.begin(io, cache), None)
    return response or await proceed()


async def _hold(io: Effects, look: Look, key: str, held: _Held) -> HttpResponse | None:
    """Hold the `key` of a page that is missing, unless another computes it: then return it."""
    looked: list[tuple[HttpResponse | None, str]] = [(None, key)]

    async def find(io: Effects) -> tuple[HttpResponse | None, str]:
        return looked.pop() if looked else await look(io)

    hold = Hold(look.shelf)
    held.append(hold)
    return await hold.find(io, turns, find, look.is_usable, str(look.is_known), look.began)


async def update(
    io: Effects,
    request: HttpRequest,
    middleware: Middleware,
    proceed: Proceed,
    told: Told = (),
) -> HttpResponse:
    """Go on, and store what comes back if it may be stored; then let those who wait go on."""
    if bypasses(request):
        return await proceed()
    outer: _Held | None = getattr(request, "_twofold_held", None)
    held = _Held()
    held.outer, held.within = outer, 0 if outer is None else outer.within + 1
    held.tag(told, outer)
    varies = getattr(request, "_twofold_varies", [])
    request._twofold_held = held  # type: ignore[attr-defined]
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
    except GeneratorExit:  # the loop is gone, and nothing can be awaited
        held.forget()
        raise
    finally:
        request._twofold_held = outer  # type: ignore[attr-defined]
        request._twofold_varies = varies  # type: ignore[attr-defined]
        await held.release(io, shared)


def _store_when_rendered(
    request: HttpRequest, response: Any, middleware: Middleware, held: _Held
) -> None:
    """Store a response that Django renders later, in a thread if an event loop runs."""
    finalize(response, held.forget).atexit = False  # should it never be rendered

    def render() -> HttpResponse:
        del response.render
        try:
            rendered: HttpResponse = response.render()
        except BaseException:
            run_sync(held.release(BLOCKING))
            raise
        return rendered

    def store(rendered: HttpResponse) -> None:
        shared = None
        try:
            shared = run_sync(_store(BLOCKING, request, rendered, middleware, held))
        finally:
            run_sync(held.release(BLOCKING, shared))

    response.render = render
    response.add_post_render_callback(store)


async def _store(
    io: Effects,
    request: HttpRequest,
    response: HttpResponse,
    middleware: Middleware,
    held: _Held,
) -> bool | None:
    """Store `response` if Django's rules allow it, and return whether others will find it.

    None says that a tag of it was invalidated meanwhile: the next one may be stored.

    Args:
        io: the face of the caller.
        request: what was asked for.
        response: what is sent.
        middleware: whose rules hold.
        held: what is known of the request; its `made` is stored in place of the
            response, under the conditions of both.
    """
    made = held.made
    if held.is_tagged_within or is_for_one(request, response, made):
        return False
    if made is not None:
        if made.status_code != response.status_code or forbids(fields(made)):
            return False
        _say_as(made, response)
    say_session(request, response)
    _mend_vary(held.varies, response)
    if forbids(fields(response)):
        return False
    stand_in = StandIn()
    with OneAddress(request):
        deciding(middleware, stand_in).process_response(request, response)
    is_known = is_authenticated(request) or is_told_otherwise(request)
    if not stand_in.written or not is_for(is_known, response):
        return False
    (header_key, headers, timeout), (page_key, page, _) = stand_in.written
    held.page = _under(page, made)
    headers = with_language(headers, request, response)
    own = varied_key(within_others(page_key, held.within), headers, request)
    names = within_others(header_key, held.within), headers
    hold = held.over(cache_behind(middleware.cache))
    if hold is not None and hold.beside:
        return True  # the next one stores it
    keeping = _keep(io, middleware, held, held.tags.tell(), names, (own, held.page), timeout)
    return await attempt(middleware, "write", keeping, False)


async def _keep(
    io: Effects,
    middleware: Middleware,
    held: _Held,
    tags: tuple[str, ...],
    names: tuple[str, list[str]],
    shown: tuple[str, HttpResponse],
    timeout: float,
) -> bool | None:
    """Store a page with its tags, and what it varies on; see `_store`."""
    cache = cache_behind(middleware.cache)
    hold = held.over(cache)
    pins = await held.tags.end(io, tags, timeout)
    if pins is None:
        return None
    if hold is not None:
        kept = await _fill(io, middleware, hold, names, shown, timeout, pins)
    else:
        pinned = Pinned.of(pins)
        kept = await write(io, middleware, *shown, timeout, pinned) and await write(
            io, middleware, *names, timeout
        )
    if kept and pins and cache is not None and hold is not None and hold.followed:
        return kept if await cache._maker.holds(io, pins) else None  # as `PageStore.keep`
    return kept


async def _fill(
    io: Effects,
    middleware: Middleware,
    hold: Hold,
    names: tuple[str, list[str]],
    shown: tuple[str, HttpResponse],
    timeout: float,
    pins: Pins,
) -> bool:
    """Store a page, and what it varies on, unless it was removed while it was computed.

    The page goes first: what has no room must not leave others to wait for it.
    """
    own, page = shown
    meta = Meta(0.0, tags=pins) if pins else None
    if hold.is_of(own):
        filled = await hold.fill(io, page, timeout, meta)
        return filled and await write(io, middleware, *names, timeout)
    if not await hold.fill_other(io, own, page, timeout, meta):
        return False
    if not hold.is_of(names[0]):
        return await write(io, middleware, *names, timeout)
    if await hold.fill(io, names[1], timeout):
        return True
    # All was cleared between the two, perhaps before the page was there.
    await io.op(middleware.cache.delete, middleware.cache.adelete, own)
    return False


def _say_as(made: HttpResponse, response: HttpResponse) -> None:
    """Have `response`, which a middleware may have made itself, say what `made` says of storing."""
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


def _mend_vary(varies: tuple[str, ...], response: HttpResponse) -> None:
    """Take blanks off `Vary`, as Django 5.2 does not, and add what pages here varied on."""
    if "Vary" in response.headers:
        response.headers["Vary"] = response.headers["Vary"].strip()
    if varies:
        names = [name.removeprefix("HTTP_").replace("_", "-").title() for name in varies]
        patch_vary_headers(response, names)
