"""ASGI middleware: a shared cache in front of an application, or of some of its endpoints."""

from enum import Enum
from typing import Final, Never

from starlette.types import ASGIApp, Receive, Scope, Send

from twofold.contrib.http import MAX_BODY, Pages, Response
from twofold.contrib.http.misplaced import tell_misplaced
from twofold.contrib.starlette.application import application_name, endpoints
from twofold.contrib.starlette.content import Content
from twofold.contrib.starlette.responder import Responder
from twofold.contrib.starlette.routes import watch
from twofold.core import Cache
from twofold.spelling import unexpected
from twofold.timeouts import Timeout, seconds


class _Absent(Enum):
    DECORATED_ONLY = "DECORATED_ONLY"


_DECORATED_ONLY: Final = _Absent.DECORATED_ONLY


class CacheMiddleware:
    """A shared HTTP cache by RFC 9111.

    Args:
        app: the application.
        cache: an alias of the settings, or a cache.
        timeout: cache the whole application: each page for as long as it says, and one
            that says nothing for `timeout`; with 0, only pages that say so. Without it,
            only endpoints decorated by `cached_page` are cached.
        max_body: bytes; a page with a larger body passes through and is not stored.
        name: tells the application from others that use the same store; the names of its
            endpoints do, unless given.
    """

    def __init__(
        self,
        app: ASGIApp,
        cache: Cache | str = "default",
        timeout: Timeout | _Absent = _DECORATED_ONLY,
        max_body: int = MAX_BODY,
        name: str | None = None,
        **others: Never,
    ) -> None:
        if others:
            raise unexpected(CacheMiddleware, others)
        if timeout is not _DECORATED_ONLY:
            seconds(timeout)
        self.app: ASGIApp = app
        self._application = name
        self.pages: Pages = Pages(cache, max_body)
        self.timeout = timeout
        self._watched: object = self

    def __repr__(self) -> str:
        return f"<CacheMiddleware {self.pages!r} timeout={self.timeout!r}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        content = Content(scope, receive)
        responder = Responder(self.pages, scope, content, send, self._name(scope))
        try:
            answer = await self._look(responder, scope)
            if answer is not None:
                await responder.answer(answer)
            else:
                await self.app(scope, content.receive, responder.send)
        except GeneratorExit:
            responder.abandon()
            raise
        finally:
            responder.release()
            await responder.close()

    def _name(self, scope: Scope) -> str:
        """Return what is in the keys of pages; told by the first request, when all is in place."""
        if self._application is None:
            apps = (self.app, scope.get("app", self.app))
            self._application = application_name(*apps)
            tell_misplaced(endpoints(apps))
        return self._application

    async def _look(self, responder: Responder, scope: Scope) -> Response | None:
        """Return the stored page, if whole applications are cached; changes are noted anyway."""
        if self.timeout is not _DECORATED_ONLY:
            self._watch(scope.get("app"))
            return await responder.open(self.timeout)
        if responder.request.changes:
            self._watch(scope.get("app"))
            return await responder.open(0)
        return None

    def _watch(self, app: object) -> None:
        """See what the router of the application, which was not there before, is given."""
        if app is not self._watched:
            watch(self.app)
            watch(app)
            self._watched = app
