"""Requests and responses: of ASGI and Starlette, and of the rules."""

from starlette.responses import Response as StarletteResponse
from starlette.types import Scope

from twofold.contrib.http import Headers, Request, Response


def request_of(scope: Scope) -> Request:
    """Return the request that an ASGI scope describes."""
    headers = Headers(scope["headers"])
    return Request(
        method=scope["method"],
        scheme=scope.get("scheme", "http"),
        host=b"\n".join(headers.raw("host")) or repr(scope.get("server")).encode(),
        path=scope.get("raw_path") or b"",
        query=scope.get("query_string", b""),
        headers=headers,
        app_path=scope["path"],
    )


def starlette_response(response: Response) -> StarletteResponse:
    """Return a response with exactly these fields, for a framework to send."""
    made = StarletteResponse(response.body, response.status)
    made.raw_headers = list(response.headers.pairs)
    return made
