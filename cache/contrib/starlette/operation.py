"""What a path operation of FastAPI returns, as the response that FastAPI makes of it."""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from twofold.contrib.starlette.declared import effective_route
from twofold.contrib.starlette.messages import RawFields

Respond: TypeAlias = Callable[[Request], Awaitable[Response]]

_IN_SCOPE = "twofold.returned"


class _Returned(NamedTuple):
    """What an endpoint returned, and set on the `Response` that it was given."""

    value: Any
    status: int | None
    fields: RawFields


class Operations:
    """Makes responses as the routes of one endpoint do, of what the endpoint returned.

    Of each route there is a twin, whose endpoint asks for nothing and returns what was
    returned already. So filters, serialization and response class are FastAPI's own.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Respond]] = {}

    async def respond(
        self, request: Request, value: Any, status: int | None, fields: RawFields
    ) -> Response:
        """Return the response to a value, with the status and the fields that were set for it."""
        request.scope[_IN_SCOPE] = _Returned(value, status, fields)
        return await self._of(effective_route(request.scope), request)(request)

    def _of(self, route: Any, request: Request) -> Respond:
        known = self._known.get(id(route))
        if known is None:
            respond = _twin(route, request.scope["route"])
            known = self._known.setdefault(id(route), (route, respond))
        return known[1]


def _twin(effective: Any, route: Any) -> Respond:
    from fastapi.dependencies.models import Dependant
    from fastapi.routing import APIRoute

    twin = copy(route)
    own = vars(twin)
    own.update((name, each) for name, each in vars(effective).items() if name in own)
    own["dependant"] = Dependant(
        call=_returned, request_param_name="request", response_param_name="response"
    )
    own["body_field"] = None
    return APIRoute.get_route_handler(twin)


async def _returned(request: Request, response: Response) -> Any:
    returned: _Returned = request.scope.pop(_IN_SCOPE)
    if returned.status:
        response.status_code = returned.status
    response.headers.raw.extend(returned.fields)
    return returned.value
