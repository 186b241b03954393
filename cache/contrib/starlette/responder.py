"""Sends the response of one request, by way of the cache."""

from starlette.types import Message, Scope, Send

from twofold.contrib.http import Exchange, Headers, Pages, Request, Response, add_vary
from twofold.contrib.http.storing import shared_with
from twofold.contrib.starlette import session
from twofold.contrib.starlette.cached_view import CachedView
from twofold.contrib.starlette.content import Content
from twofold.contrib.starlette.declared import declared_headers
from twofold.contrib.starlette.messages import has_user, request_of
from twofold.contrib.starlette.routes import IN_SCOPE, is_decorated, is_route_known
from twofold.effects import NATIVE
from twofold.timeouts import Timeout


class Responder:
    """Stands between an application and the server's `send`, for one request.

    A response is stored only if one message contains its whole body, as that of all but
    streams does; so no part of a body is ever held back to see what follows.
    """

    def __init__(
        self, pages: Pages, scope: Scope, content: Content, send: Send, application: str
    ) -> None:
        self.request: Request = request_of(scope, scope.get("root_path", ""), application)
        self._pages = pages
        self._content = content
        self._scope = scope
        self._server = send
        self._exchange: Exchange | None = None
        self._left: Exchange | None = None
        self._view: CachedView | None = None
        self._session = session.snapshot(scope)
        self._told_user = "user" in scope
        self._by_router = False
        self._held: _Head | None = None
        self._answered = False
        self._around: Responder | None = scope.get(IN_SCOPE)
        self._layer: str = "page" if self._around is None else f"{self._around._layer}-inner"
        scope[IN_SCOPE] = self

    def __repr__(self) -> str:
        return f"<Responder {self._view or self._exchange!r}>"

    async def open(self, timeout: Timeout) -> Response | None:
        """Return what is answered from the cache, if anything; see `Pages.open`."""
        request = await self._content.told(self.request)
        exchange = await self._pages.open(NATIVE, request, timeout, self._layer)
        if exchange.answer is None:
            self._exchange = exchange
        return exchange.answer

    def cached_view(self, scope: Scope, maker: str) -> CachedView | None:
        """Leave the page to the endpoint that is asked first; None if another was."""
        if self._view is not None or not self.request.reads:
            return None
        self._leave()
        self._view = CachedView(
            self._pages, self.request, self._content, scope, maker, self._session
        )
        return self._view

    def _leave(self) -> None:
        """Store no page of the application, here and in the caches around this one."""
        self.release(shared=False)  # those who wait for a page of the other layer
        self._left, self._exchange = self._exchange, None
        if self._around is not None:
            self._around._leave()

    def reach(self, scope: Scope) -> None:
        """Remember the scope that a router was given."""
        self._scope, self._by_router = scope, True
        if self._around is not None:
            self._around.reach(scope)

    def release(self, shared: bool | None = None) -> None:
        """Let others go on who wait for this page."""
        if self._exchange is not None:
            self._exchange.release(shared)
        if self._view is not None:
            self._view.release()

    async def close(self) -> None:
        """Let other processes go on as well."""
        for each in (self._exchange, self._left, self._view):
            if each is not None:
                await each.close(NATIVE)

    def abandon(self) -> None:
        """Do what `close` does where nothing can be awaited."""
        for each in (self._exchange, self._left, self._view):
            if each is not None:
                each.abandon()

    async def answer(self, response: Response) -> None:
        """Send a whole response; what the application still sends goes nowhere."""
        self._answered = True
        await self._start({"type": "http.response.start"}, response)
        await self._server({"type": "http.response.body", "body": response.body})

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        if self._answered:
            return
        if self._exchange is None and self._view is None:
            await self._server(message)
        elif message["type"] == "http.response.start":
            head = _Head(message, self._view)
            if head.may_be_whole(self._pages.max_body):
                self._held = head
            else:
                await self._pass(head)
        elif self._held is None:
            await self._server(message)
        elif self._held.is_for_whole(message):
            await self.answer(await self._finished(self._held, message["body"]))
        else:
            await self._pass(self._held)
            await self._server(message)

    async def _pass(self, head: "_Head") -> None:
        """Send the head of a response; all that follows passes as it comes."""
        self._held = None
        await self._start(head.message, await self._finished(head, None))

    async def _start(self, message: Message, response: Response) -> None:
        headers = list(response.headers.pairs)
        await self._server({**message, "status": response.status, "headers": headers})

    async def _finished(self, head: "_Head", body: bytes | None) -> Response:
        """Return what is sent in the end, and have it stored if it may be."""
        response = Response(head.message["status"], head.headers, body)
        if self._view is not None:
            return await self._view.finish(response)
        if self._exchange is None:
            return response
        read = session.fields_read(self._scope)
        headers = add_vary(response.headers, declared_headers(self._scope) | read)
        page = Response(response.status, headers, body if self._is_shared(headers) else None)
        answer = await self._exchange.respond(NATIVE, page, self._seen())
        return answer if page.body is body else answer._replace(body=body)

    def _seen(self) -> Request | None:
        """Return a request that changes something as the application was given it.

        Middleware may have told it another scheme, host or path, of which endpoints have pages.
        """
        if not self.request.changes:
            return None
        return request_of(self._scope, self.request.root_path, self.request.application)

    def _is_shared(self, headers: Headers) -> bool:
        """Tell whether it is known for whom the response is, and that it is for more than one.

        A user that the application identifies is known too late for a stored page; and
        what answers instead of a decorated endpoint, for example a dependency, must be asked again.
        """
        if is_decorated(self._scope) or not is_route_known(self._scope, self._by_router):
            return False
        told_inside = "user" in self._scope and not self._told_user
        by_user = told_inside or has_user(self._scope)
        return shared_with(by_user, headers) and not session.changed(self._scope, self._session)


class _Head:
    """The first message of a response; its fields are read once, or known from the view."""

    def __init__(self, message: Message, view: CachedView | None) -> None:
        known = Headers() if view is None else view.made.headers
        self.message = message
        self.headers: Headers = Headers.of_known(message.get("headers", ()), known)
        self._length = _length(message["status"], self.headers)

    def may_be_whole(self, max_body: int) -> bool:
        """Tell whether it is worth looking at the first message of the body."""
        length = self._length
        return not (length is None or length > max_body or self.message.get("trailers"))

    def is_for_whole(self, message: Message) -> bool:
        """Tell whether `message`, the first after this one, contains the whole body."""
        body: bytes = message.get("body", b"")
        return message["type"] == "http.response.body" and len(body) == self._length


def _length(status: int, headers: Headers) -> int | None:
    """Return the length of the body; None where it is not told, as when it is streamed."""
    given = headers.values("content-length")
    if not given and status == 204:
        return 0
    told = len(given) == 1 and given[0].isascii() and given[0].isdigit() and len(given[0]) < 16
    return int(given[0]) if told else None
