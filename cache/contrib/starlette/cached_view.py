"""One request at a cached endpoint, from the look for its page until the application has answered.

What the endpoint made is stored, and replayed in its place: see `replay`.
"""

from typing import Any

from starlette.types import Scope

from twofold.contrib.http import (
    Exchange,
    Given,
    Headers,
    Pages,
    Request,
    Response,
    add_public,
    add_vary,
)
from twofold.contrib.http.headers import Pairs, varying
from twofold.contrib.http.page import conditional
from twofold.contrib.http.replay import (
    looking,
    page_of,
    replay_of,
    tagged,
)
from twofold.contrib.starlette import session
from twofold.contrib.starlette.content import Content
from twofold.contrib.starlette.declared import declared_headers
from twofold.contrib.starlette.messages import request_of
from twofold.effects import NATIVE, Effects
from twofold.timeouts import Timeout

_NOTHING = Response(200, Headers(), None)


class CachedView:
    """Stands between an endpoint and the end of its request.

    Args:
        pages: where the page is.
        request: as it came to the middleware.
        content: tells whether it has any.
        scope: as the endpoint has it.
        maker: names the endpoint, without blanks.
        before: the session that the request came with.
    """

    def __init__(
        self,
        pages: Pages,
        request: Request,
        content: Content,
        scope: Scope,
        maker: str,
        before: dict[str, Any] | None,
    ) -> None:
        self._pages = pages
        self._request = request
        self._content = content
        self._scope = scope
        self._maker = maker
        self.kind: str = ""
        """In what way the endpoint made what is stored; see `endpoint`."""
        self._exchange: Exchange | None = None
        self._given: Response | None = None
        self._told: Pairs = ()
        self._tag = ""  # of what is given, if that is stored and had none
        self._session = session.snapshot(scope) if before is None else before
        self._varies: set[str] = set()

    def __repr__(self) -> str:
        return f"<CachedView of {self._maker} {self._exchange!r}>"

    async def open(self, timeout: Timeout, tags: Given = ()) -> Response | None:
        """Return what the endpoint once made, if that is stored."""
        whole = self._request
        asked = request_of(self._scope, whole.root_path, whole.application, whole.headers)
        if whole.authenticated and not asked.authenticated:  # a middleware took the field off
            asked = asked._replace(has_user=True)
        asked = looking(await self._content.told(asked))
        self._exchange = exchange = await self._pages.open(NATIVE, asked, timeout, "endpoint", tags)
        answer = exchange.answer
        if answer is None:
            return None
        replay = replay_of(answer)
        maker, _, self.kind = replay.maker.partition(" ")
        if maker != self._maker:
            return self._unless_computed(answer)
        _, self._given, self._told, self._tag = replay
        return self._given

    def _unless_computed(self, answer: Response) -> Response | None:
        """Return the answer to a client that wants no page computed; None if there is a page."""
        if answer.status != 504:
            return None
        self._exchange = None  # it has told all that it has to
        return answer

    @property
    def made(self) -> Response:
        """What the endpoint made; nothing before that is known."""
        return _NOTHING if self._given is None else self._given

    def describe(self, headers: Headers, vary: set[str], public: bool) -> Headers:
        """Return the fields of what the endpoint made, with what it varies with, and `public`."""
        self._varies = vary | declared_headers(self._scope) | session.fields_read(self._scope)
        headers = add_vary(headers, self._varies)
        return add_public(headers) if public else headers

    def take(self, made: Response, kind: str) -> None:
        """Keep what the endpoint made, and in what way."""
        if self._request.method == "GET" and not session.changed(self._scope, self._session):
            self._given, self.kind = made, kind

    async def finish(self, final: Response) -> Response:
        """Return what to send of the final response; store the page if that allows it.

        Its body is None while it is streamed.
        """
        if self._exchange is None or self._has_failed(final):
            return final
        final = Response(final.status, self._varied(final.headers), final.body)
        told = self._told or await self._store(self._exchange, final)
        shared = bool(self._told) or told[-1][1].endswith(b"stored")
        is_page = shared and final.status == 200
        headers = tagged(final, self._given, self._tag) if is_page else final.headers
        final = Response(final.status, headers.followed_by(told), final.body)
        if final.body is None or not is_page:
            return final
        return conditional(self._request, final, self._pages.clock.time())

    def _varied(self, final: Headers) -> Headers:
        """Return the final fields, with all that the page varies with."""
        if self._given is None:
            return add_vary(final, self._varies)
        given = self._given.headers
        return (
            final if final is given else add_vary(final, self._varies.union(varying(given) or ()))
        )

    def _has_failed(self, final: Response) -> bool:
        """Tell whether something else answers in place of a stored page."""
        return bool(self._told) and self._given is not None and self._given.status != final.status

    async def _store(self, exchange: Exchange, final: Response) -> Pairs:
        """Store the page if it may be, and return the fields that say what the cache did."""
        page = final._replace(body=None)
        if self._given is not None:
            page = page_of(self._given, final, f"{self._maker} {self.kind}")
        answered = await exchange.respond(NATIVE, page)
        self._tag = replay_of(answered).tag
        return answered.headers.only("cache-status").pairs[-1:]

    def release(self) -> None:
        """Let others go on who wait for this page."""
        if self._exchange is not None:
            self._exchange.release()

    async def close(self, io: Effects) -> None:
        """Let other processes go on as well."""
        if self._exchange is not None:
            await self._exchange.close(io)

    def abandon(self) -> None:
        """Do what `close` does where nothing can be awaited."""
        if self._exchange is not None:
            self._exchange.abandon()
