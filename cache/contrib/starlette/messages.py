"""Requests and responses: of ASGI and Starlette, and of the rules."""

from typing import Any, TypeAlias
from urllib.parse import quote

from anyio import Path
from starlette.responses import FileResponse
from starlette.responses import Response as StarletteResponse
from starlette.types import Scope

from twofold.contrib.http import Headers, Request, Response
from twofold.contrib.http.spelling import IN_PATH

RawFields: TypeAlias = list[tuple[bytes, bytes]]

_NONE = Headers()


def request_of(
    scope: Scope, root_path: str = "", application: str = "", known: Headers = _NONE
) -> Request:
    """Return the request that an ASGI scope describes, as its header fields describe its content.

    Args:
        scope: as the application, or a part of it, has it.
        root_path: of the application; parts have others.
        application: its name.
        known: the fields that it probably has.
    """
    headers = Headers.of_known(scope["headers"], known)
    return Request(
        method=scope["method"],
        scheme=scope.get("scheme", "http"),
        host=b"\n".join(headers.raw("host")) or _server(scope),
        path=scope.get("raw_path") or quote(scope["path"], safe=IN_PATH).encode(),
        query=scope.get("query_string", b""),
        headers=headers,
        app_path=scope["path"],
        has_user=has_user(scope),
        root_path=root_path,
        application=application,
    )


def _server(scope: Scope) -> bytes:
    return ":".join(str(part) for part in scope.get("server") or ()).encode()


def has_user(scope: Scope) -> bool:
    """Tell whether `AuthenticationMiddleware`, or another middleware, has identified the user."""
    user: Any = scope.get("user")
    return user is not None and bool(getattr(user, "is_authenticated", True))


def starlette_response(response: Response) -> StarletteResponse:
    """Return a response with exactly these fields, for a framework to send."""
    made = StarletteResponse(response.body, response.status)
    made.raw_headers = list(response.headers.pairs)
    return made


def add_fields(response: StarletteResponse, fields: RawFields) -> StarletteResponse:
    """Add to a response what the dependencies of its request have set; its own fields go first."""
    if not fields:
        return response
    own = {name for name, _ in response.raw_headers} - {b"set-cookie", b"vary"}
    response.raw_headers.extend(each for each in fields if each[0] not in own)
    return response


async def response_of(response: StarletteResponse) -> Response:
    """Return what a response will send; its body is None if it is a stream, or a long file."""
    if isinstance(response, FileResponse):
        return await _read(response)
    body = getattr(response, "body", None)
    whole = bytes(body) if isinstance(body, bytes | memoryview) else None
    return Response(response.status_code, Headers(response.raw_headers), whole)


async def _read(response: FileResponse) -> Response:
    """Return the file that a response will send; without a body if it is sent in parts."""
    path, body = Path(response.path), None
    if await path.is_file():
        about = await path.stat()
        response.set_stat_headers(about)
        if about.st_size < response.chunk_size:
            body = await path.read_bytes()
    return Response(response.status_code, Headers(response.raw_headers), body)
