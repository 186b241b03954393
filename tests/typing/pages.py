"""What type checkers must say of cached pages; checked, never run."""

from collections.abc import Callable
from typing import assert_type

import flask
from django.http import HttpRequest, HttpResponse
from starlette.requests import Request
from starlette.responses import Response

from twofold.contrib.django import cache_page
from twofold.contrib.flask import Caching
from twofold.contrib.starlette import cached_page


@cached_page(timeout="1m", tags=["user:{user}", "users"])
async def by_template(user: int) -> list[int]:
    return [user]


def of_both(request: Request, response: Response) -> list[str]:
    return [request.url.path, response.headers["x-tags"]]


@cached_page(tags=of_both)
def by_both(user: int) -> list[int]:
    return [user]


async def called() -> None:
    assert_type(await by_template(7), list[int] | Response)
    assert_type(await by_both(7), list[int] | Response)


cached_page(tags=lambda request, response: [request.url.path, *response.headers])
cached_page(tags=7)  # type: ignore[call-overload]  # pyright: ignore
cached_page(tags=lambda request: [])  # type: ignore[arg-type, misc]  # pyright: ignore

caching = Caching()


@caching.cached_page(tags=("user:{user}",))
def in_flask(user: int) -> str:
    return str(user)


assert_type(in_flask, Callable[..., flask.Response])
caching.cached_page(tags=lambda response: response.headers.getlist("X-Tags"))
caching.cached_page(tags=None)  # type: ignore[call-overload]  # pyright: ignore


@cache_page(60, tags={"user:{user}"})
def in_django(request: HttpRequest, user: int) -> HttpResponse:
    return HttpResponse(str(user))


assert_type(in_django(HttpRequest(), 7), HttpResponse)
cache_page(60, tags=lambda request, response: [request.path, response["X-Tags"]])
cache_page(60, tags=7)  # type: ignore[arg-type]  # pyright: ignore
