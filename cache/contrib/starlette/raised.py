"""What an endpoint answers by raising: an `HTTPException`, as a page and back.

The response to it is made outside of the endpoint, for each request. So what is stored is the
exception, and raised again at a hit: dependencies and handlers see it as ever.
"""

import json
from importlib import import_module

from starlette.exceptions import HTTPException

from twofold.contrib.http import Headers, Response

RAISED = ("starlette.exceptions", "fastapi.exceptions")
"""The modules whose `HTTPException` can be stored; of other classes nobody knows what they hold."""


def page_of_error(error: HTTPException) -> Response | None:
    """Return an exception as a page; None if it cannot be stored."""
    module = type(error).__module__
    if module not in RAISED or type(error) is not _class_in(module):
        return None
    try:
        detail = json.dumps(error.detail)
        if json.loads(detail) != error.detail:
            return None
    except (TypeError, ValueError, RecursionError):
        return None
    headers = Headers.of_text((error.headers or {}).items())
    return Response(error.status_code, headers, detail.encode())


def error_of_page(page: Response, module: str) -> HTTPException:
    """Return the exception that was stored as a page, of the class in `module`."""
    headers = dict(page.headers.without("content-length").text())
    return _class_in(module)(page.status, json.loads(page.body or b"null"), headers or None)


def _class_in(module: str) -> type[HTTPException]:
    found: type[HTTPException] = import_module(module).HTTPException
    return found
