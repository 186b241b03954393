"""The scope that a router is given, and which route it chose.

A middleware that changes the scope is to copy it (ASGI 3.0), so that what those inside of
it note there, the route and the user, is not in the scope that the cache was given.
"""

from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

IN_SCOPE = "twofold.responder"
"""Where in the scope an endpoint finds the responder of its request."""

DECORATED = "_twofold_page"
"""The attribute of an endpoint, and of what decorates it, that has pages of its own."""


class _Responder(Protocol):
    def reach(self, scope: Scope) -> None: ...


class _Reached:
    """Stands in front of a router, inside all middleware, and reports the scope there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        responder: _Responder | None = scope.get(IN_SCOPE)
        if responder is not None:
            responder.reach(scope)
        await self.app(scope, receive, send)


def watch(app: Any) -> None:
    """Have the responder of each request know the scope that the router of `app` is given."""
    router = router_of(app)
    if router is not None and not isinstance(router.middleware_stack, _Reached):
        router.middleware_stack = _Reached(router.middleware_stack)


def router_of(app: Any) -> Router | None:
    """Return the router of an application, through the middleware around it; None without one."""
    while app is not None and not isinstance(app, Router):
        app = app.router if isinstance(app, Starlette) else getattr(app, "app", None)
    return app


def is_route_known(scope: Scope, by_router: bool) -> bool:
    """Tell whether `scope` has the route that was chosen in the end, if any was.

    A mount is none: the router inside it was given a copy.

    Args:
        scope: what the first router was given, or the application.
        by_router: whether a router was given it.
    """
    return ("router" in scope or not by_router) and router_of(scope.get("endpoint")) is None


def is_decorated(scope: Scope) -> bool:
    """Tell whether the endpoint that was chosen has pages of its own."""
    endpoint = scope.get("endpoint")
    if isinstance(endpoint, type):
        endpoint = getattr(endpoint, "get", None)
    return hasattr(endpoint, DECORATED)
