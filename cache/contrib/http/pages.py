"""A shared cache of pages, and what one request does there.

exchange = await pages.open(io, request)
try:
    if exchange.answer is not None:
        return exchange.answer
    ...                                          # compute the response
    return await exchange.respond(io, response)
finally:
    await exchange.close(io)
"""

from time import monotonic

from twofold.claims.keys import KeyClaim
from twofold.claims.turns import Turn, Turns
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.contrib.http.cache_control import CacheControl
from twofold.contrib.http.freshness import age_on_arrival, lifetime
from twofold.contrib.http.headers import Headers, add_vary
from twofold.contrib.http.keys import page_key
from twofold.contrib.http.messages import Request, Response
from twofold.contrib.http.page import Page, conditional
from twofold.contrib.http.spelling import named, places
from twofold.contrib.http.store import PageStore, Place
from twofold.contrib.http.storing import bypasses, may_store
from twofold.contrib.http.tags import Given, PageTags
from twofold.contrib.http.validators import entity_tag
from twofold.core import Cache
from twofold.effects import Effects
from twofold.freshness.overrides import override, requests
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout

LAYERS = ("page", "page-inner", "endpoint")
"""What is stored in front of an application, what within a cache that is, and what behind all
middleware: they do not meet.
"""

_CORS = ("", "-cors")
"""Requests without an `Origin`, and those with one, whose pages do not meet either.

An application may send `Vary` to the latter only, as Starlette's CORS middleware before 1.7 does.
"""

MAX_BODY = 1 << 20
"""Bytes that the body of a stored page has at most, unless told otherwise."""


class Pages:
    """The pages that one middleware, extension or application keeps.

    Args:
        cache: an alias of the settings, or a cache.
        max_body: bytes; a page with a larger body is not stored.
        clock: tells the time.
    """

    def __init__(
        self, cache: Cache | str = "default", max_body: int = MAX_BODY, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.store: PageStore = PageStore(cache)
        self.max_body = max_body
        self.clock = clock
        self.turns: Turns = Turns(clock)

    def __repr__(self) -> str:
        return f"<Pages {self.store!r}>"

    async def open(
        self,
        io: Effects,
        request: Request,
        timeout: Timeout = DEFAULT_TIMEOUT,
        layer: str = "page",
        tags: Given = (),
    ) -> "Exchange":
        """Begin to answer `request`, perhaps after another has computed its page.

        The exchange must be closed in any case. Directives of the request
        other than `no-store` and `only-if-cached` are advice (RFC 9111, 5.2.1), and not
        taken: with them every client could have every page computed at will. The application
        can say so, by `bypass` and `refreshing`.

        Args:
            io: the face of the caller.
            request: what is asked for.
            timeout: how long a page lives that says nothing of it; the cache's own if absent.
            layer: "endpoint"; or "page", with "-inner" for each cache around it.
            tags: what the page can be invalidated by.
        """
        exchange = Exchange(self, request, self.store.seconds(timeout), layer, tags)
        overridden = override() if requests else None
        if not request.reads or bypasses(request) or overridden == "bypass":
            return exchange
        try:
            if overridden == "refresh":
                await self.remove(io, request, layer)
            await exchange.open(io)
            return exchange
        except GeneratorExit:  # the loop is gone, and nothing can be awaited
            exchange.abandon()
            raise
        except BaseException:
            await exchange.close(io)
            raise

    async def remove(self, io: Effects, request: Request, layer: str = "page") -> None:
        """Remove the page of a URL, in all its variants; what is being computed is not kept."""
        keys = [page_key(each, layer + cors) for each in places(request) for cors in _CORS]
        await self.store.drop(self.store.bounded(io), keys)


class Exchange:
    """One request at the cache, from the look for its page to its answer."""

    def __init__(
        self,
        pages: Pages,
        request: Request,
        timeout: float | None,
        layer: str,
        tags: Given = (),
    ) -> None:
        self.answer: Response | None = None
        """What to answer without computing."""
        self.reason: str = "bypass"
        self._pages = pages
        self._request = request
        self._timeout = timeout
        self._own = layer
        self._layer = layer + _CORS["origin" in request.headers]
        self._key: str | None = None
        self._place: Place | None = None
        self._taken: list[Turn] = []
        self._claim: KeyClaim | None = None
        self._since = 0.0
        self._tags = PageTags(tags)

    def __repr__(self) -> str:
        return f"<Exchange {self._request.method} {self._request.path!r} {self.turn}>"

    @property
    def turn(self) -> Turn | None:
        """The right to compute the page, if this request took it."""
        return self._taken[-1] if self._taken else None

    def _url(self) -> str:
        """Return the key of the URL, which is computed only if the cache is asked at all."""
        if self._key is None:
            self._key = page_key(self._request, self._layer)
        return self._key

    async def open(self, io: Effects) -> None:
        """Look for the answer, perhaps after another has computed it; else take the turn."""
        self.reason = "miss"
        wishes = CacheControl(self._request.headers)
        only_if_cached = "only-if-cached" in wishes
        if self._request.method == "HEAD" or only_if_cached or "no-store" in wishes:
            page, _ = await self.look(io)
        else:
            page = await self.find(io)
            if self._claim is not None:  # it may be stored
                await self._pages.store.begin(io, self._tags, self._timeout)
        if page is not None:
            self.answer = page.answer(self._request, self._pages.clock.time())
        elif only_if_cached:
            self.answer = Response(504, self.status_of(Headers()), b"")

    async def look(self, io: Effects) -> tuple[Page | None, str]:
        """Return the stored page that may be the answer; or None, and what is missing."""
        store, self._since = self._pages.store, monotonic()
        io = store.bounded(io)
        asked, tags = self._request.headers, self._tags.known
        page, self._place = await store.find(io, self._url(), asked, tags)
        if page is not None and self._serves(page):
            return page, self._place.key
        return None, store.place(self._place.key)

    async def find(self, io: Effects) -> Page | None:
        """Return what `look` finds, perhaps after another has computed it; else take the turn."""
        pages = self._pages
        # A request with credentials may get what no other one may.
        sent = f" {self._request.authenticated} {'cookie' in self._request.headers}"
        page, _ = await pages.turns.find(
            io, pages.store.claims(), self.look, self._taken, sent, self._look_again
        )
        return page

    async def _look_again(self, io: Effects, turn: Turn) -> tuple[Page | None, str]:
        """Claim what is missing, unless another process has stored it meanwhile."""
        assert self._place is not None  # noqa: S101 - there was a look before
        store = self._pages.store
        self._claim = claim = store.claim(self._place, turn)  # noted before it is taken
        came = await store.take(io, claim, self._serves, self._since)
        if came is None:
            self._claim = None
        if came:
            await self._unclaim(io)
        if came or store.cache().backend.private:
            return await self.look(io)
        return None, turn.key

    def _serves(self, page: Page) -> bool:
        return page.serves(self._request, self._pages.clock.time())

    async def respond(
        self, io: Effects, response: Response, seen: Request | None = None
    ) -> Response:
        """Return what to answer with the response that was computed; store it if it may be.

        A response whose body is None is streamed: it is not stored, and only the head of
        what is returned counts. The turn, if there is one, is over.

        Args:
            io: the face of the caller.
            response: what was computed.
            seen: the request that the application was given, where that may differ.
        """
        if self._request.changes:
            await self._invalidate(io, response, {self._request, seen or self._request})
        if not self._request.reads:
            return response
        page = self._page_of(response)
        kept = False if page is None else await self._keep(io, page)
        if page is None or not kept:
            await self._unclaim(io)
            # What was computed beside others is not stored; the next one may be.
            beside = self.turn is not None and not self.turn.leads
            self.release(shared=None if kept is None else page is not None and beside)
            return response._replace(headers=self.status_of(response.headers))
        self.release(shared=True)
        headers = self.status_of(page.headers, "; stored")
        return conditional(self._request, Response(page.status, headers, page.body), page.stored)

    def release(self, shared: bool | None = None) -> None:
        """Let others go on who wait for this page in this process."""
        for turn in self._taken:
            turn.release(shared)

    async def close(self, io: Effects) -> None:
        """Let others go on, here and in other processes; a second call does nothing."""
        try:
            await self._close(io)
        finally:  # a signal's handler may have broken that off
            await self._close(io)

    async def _close(self, io: Effects) -> None:
        self.release()
        await self._unclaim(io)

    async def _unclaim(self, io: Effects) -> None:
        if self._claim is not None:
            await self._claim.release(io)
            self._claim = None

    def abandon(self) -> None:
        """Do what `close` does where nothing can be awaited, since the loop is gone."""
        self.release()
        if self._claim is not None:
            self._claim.forget()
            self._claim = None

    def status_of(self, headers: Headers, stored: str = "") -> Headers:
        """Return `headers` with what the cache did (RFC 9211)."""
        return headers.plus("cache-status", f"twofold; fwd={self.reason}{stored}")

    def _page_of(self, response: Response) -> Page | None:
        """Return the page to store; None if the response is not to be."""
        status, body = response.status, response.body
        headers = _of_origin(self._request, response.headers)
        if body is None or len(body) > self._pages.max_body or not _complete(headers, body):
            return None
        if self.reason == "bypass" or not may_store(self._request, status, headers):
            return None
        now = self._pages.clock.time()
        fresh = lifetime(headers, now, self._timeout)
        if fresh is not None and fresh <= 0:
            return None
        kept = _described(status, headers.end_to_end(), body)
        return Page(status, kept, body, now, fresh, age_on_arrival(headers, now))

    async def _keep(self, io: Effects, page: Page) -> bool | None:
        """Store `page`, unless its URL, or a tag, was invalidated while it was being computed."""
        claim, place = self._claim, self._place
        if claim is None or place is None:
            return False
        io = self._pages.store.bounded(io)
        asked = self._request.headers
        kept = await self._pages.store.keep(io, place, claim, asked, page, self._tags)
        await self._unclaim(io)
        return kept

    async def _invalidate(self, io: Effects, response: Response, asked: set[Request]) -> None:
        """Remove the pages of a URL that was changed with success, and of those it names."""
        if 200 <= response.status < 400:
            changed = {*asked, *(to for each in asked for to in named(each, response.headers))}
            layers = [layer + cors for layer in {*LAYERS, self._own} for cors in _CORS]
            keys = sorted({page_key(each, layer) for each in changed for layer in layers})
            await self._pages.store.drop(io, keys)


def _of_origin(request: Request, headers: Headers) -> Headers:
    """Return `headers` with `Vary: Origin`, unless the response to an origin is for all."""
    if "origin" not in request.headers or headers.values("access-control-allow-origin") == ["*"]:
        return headers
    return add_vary(headers, ["origin"])


def _complete(headers: Headers, body: bytes) -> bool:
    """Tell whether `body` is as long as the response says, if it does."""
    return all(length == str(len(body)) for length in headers.values("content-length"))


def _described(status: int, headers: Headers, body: bytes) -> Headers:
    """Return `headers` with the length and, of what can be revalidated, the tag of `body`."""
    if "content-length" not in headers and status != 204:
        headers = headers.plus("content-length", str(len(body)))
    if status == 200 and "etag" not in headers:
        headers = headers.plus("etag", entity_tag(headers, body))
    return headers
