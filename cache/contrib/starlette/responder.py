"""Sends the response of one request, by way of the cache."""

from starlette.types import Message, Scope, Send

from twofold.contrib.http import Exchange, Headers, Pages, Response, add_public, add_vary
from twofold.contrib.starlette import session
from twofold.contrib.starlette.declared import declared_headers
from twofold.contrib.starlette.messages import request_of
from twofold.effects import NATIVE
from twofold.policy import Timeout

IN_SCOPE = "twofold.responder"
"""Where in the scope an endpoint finds the responder of its request."""


class Responder:
    """Stands between an application and the server's `send`, for one request.

    A response is stored only if one message brings its whole body, as that of all but
    streams does; so no part of a body is ever held back to see what follows.
    """

    def __init__(self, pages: Pages, scope: Scope, send: Send) -> None:
        self._pages = pages
        self._scope = scope
        self._server = send
        self._exchange: Exchange | None = None
        self._session = session.snapshot(scope)
        self._vary: set[str] = set()
        self._public = False
        self._held: Message | None = None
        self._answered = False
        scope[IN_SCOPE] = self

    def __repr__(self) -> str:
        return f"<Responder {self._exchange!r}>"

    async def open(self, scope: Scope, timeout: Timeout, realm: str) -> Response | None:
        """Return what is answered from the cache, if anything; see `Pages.open`."""
        self.release(shared=False)  # those who wait for a page of the other realm
        self._exchange = None
        exchange = await self._pages.open(NATIVE, request_of(scope), timeout, realm)
        if exchange.answer is None:
            self._exchange, self._scope = exchange, scope
        return exchange.answer

    def declare(self, vary: set[str], public: bool) -> None:
        """Have the response say that it varies with `vary`, and that it is `public`."""
        self._vary, self._public = vary, public

    def release(self, shared: bool | None = None) -> None:
        """Let others go on who wait for this page."""
        if self._exchange is not None:
            self._exchange.release(shared)

    async def answer(self, response: Response) -> None:
        """Send a whole response; what the application still sends goes nowhere."""
        self._answered = True
        await self._start({"type": "http.response.start"}, response)
        await self._server({"type": "http.response.body", "body": response.body})

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        if self._answered:
            return
        if self._exchange is None:
            await self._server(message)
        elif message["type"] == "http.response.start":
            if self._may_be_whole(message):
                self._held = message
            else:
                await self._pass(self._exchange, message)
        elif self._held is None:
            await self._server(message)
        elif _is_whole(self._held, message):
            whole = self._response(self._held, message["body"])
            await self.answer(await self._exchange.respond(NATIVE, whole))
        else:
            await self._pass(self._exchange, self._held)
            await self._server(message)

    async def _pass(self, exchange: Exchange, start: Message) -> None:
        """Send the head of a response; all that follows passes as it comes."""
        self._held = None
        head = await exchange.respond(NATIVE, self._response(start, None))
        await self._start(start, head)

    async def _start(self, message: Message, response: Response) -> None:
        headers = list(response.headers.pairs)
        await self._server({**message, "status": response.status, "headers": headers})

    def _response(self, start: Message, body: bytes | None) -> Response:
        """Return the response, with all that it is known to vary with."""
        headers = Headers(start.get("headers", ()))
        headers = add_vary(headers, self._vary | declared_headers(self._scope))
        return Response(start["status"], add_public(headers) if self._public else headers, body)

    def _may_be_whole(self, start: Message) -> bool:
        """Tell whether it is worth looking at the first message of the body."""
        length = _length(start)
        if length is None or length > self._pages.max_body or start.get("trailers"):
            return False
        return not session.changed(self._scope, self._session)


def _length(start: Message) -> int | None:
    """Return the `Content-Length` of a response; None without one, as when it is streamed."""
    given = Headers(start.get("headers", ())).values("content-length")
    return int(given[0]) if len(given) == 1 and given[0].isdigit() else None


def _is_whole(start: Message, message: Message) -> bool:
    """Tell whether `message`, the first after `start`, brings the whole body."""
    return message["type"] == "http.response.body" and len(message.get("body", b"")) == _length(
        start
    )
