"""A stored page, and the record of what the page of a URL varies with."""

import re
from functools import lru_cache
from typing import Any, NamedTuple

from twofold.contrib.http.headers import Headers, Pairs
from twofold.contrib.http.messages import Request, Response
from twofold.contrib.http.storing import serves
from twofold.contrib.http.validators import not_modified, of_304
from twofold.timeouts import CLOCK_SLACK

_LATEST = 2.0**53  # seconds; more has no seconds
_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\n)*")
_KNOWN = 512  # of fields that were looked through


class Page(NamedTuple):
    """A complete response, as it is stored: nothing in it can be changed."""

    status: int
    headers: Headers
    body: bytes
    stored: float
    """Seconds since the Unix epoch."""
    lifetime: float | None
    """Seconds from then; None for ever."""
    age: int
    """Seconds that it was old already when it came."""

    def plain(self) -> tuple[Any, ...]:
        """Return what is given to the store."""
        return ("page1", self.status, self.headers.pairs, *self[2:])

    def left(self, now: float) -> float | None:
        """Return for how many seconds it is fresh yet: 0 or less if it is not; None for ever."""
        if self.lifetime is None:
            return None
        written_later = self.stored > now + CLOCK_SLACK  # the clock was set back: of unknown age
        return 0.0 if written_later else self.stored + self.lifetime - now

    def serves(self, request: Request, now: float) -> bool:
        """Tell whether it is fresh, and may be the answer to `request`."""
        left = self.left(now)
        return (left is None or left > 0) and serves(request, self.headers)

    def answer(self, request: Request, now: float) -> Response:
        """Return the answer to a GET or HEAD: the page, its head, or that it is known already."""
        age = max(0, int(now - self.stored)) + self.age
        left = self.left(now)
        ttl = b"" if left is None else b"; ttl=%d" % left
        told = ((b"age", b"%d" % age), (b"cache-status", b"twofold; hit" + ttl))
        kept = self.headers.without("age") if "age" in self.headers else self.headers
        headers = kept.followed_by(told)
        return conditional(request, Response(self.status, headers, self.body), now)


def conditional(request: Request, response: Response, now: float) -> Response:
    """Return `response`, as a 304 if the client has it already; to HEAD without its body."""
    if response.status == 200 and not_modified(request.headers, response.headers, now):
        told = response.headers.only("age", "cache-status")
        kept = of_304(response.headers)
        return Response(304, Headers((*kept.pairs, *told.pairs)), b"")
    if request.method == "HEAD":
        return Response(response.status, response.headers, b"")
    return response


class Varied(NamedTuple):
    """Says under which keys the variants of a URL's page are."""

    names: tuple[str, ...]
    token: bytes
    """Names no variant from before the URL was invalidated."""

    def plain(self) -> tuple[Any, ...]:
        """Return what is given to the store."""
        return ("vary1", *self)


def read(stored: Any) -> "Page | Varied | None":
    """Return what was stored; None for whatever cannot be read."""
    match stored:
        case ("page1", int() as status, tuple() as fields, bytes() as body, *times):
            return _page(status, fields, body, times)
        case ("vary1", tuple() as names, bytes() as token):
            return Varied(names, token) if all(isinstance(each, str) for each in names) else None
    return None


def _page(status: int, fields: Pairs, body: bytes, times: list[Any]) -> Page | None:
    match times:
        case (float() as stored, (float() | None) as lifetime, int() as age):
            headers = _headers(fields)
            if headers is None:
                return None
            page = Page(status, headers, body, stored, lifetime, age)
            return page if _is_dated(page) and _is_sendable(page) else None
    return None


def _is_dated(page: Page) -> bool:
    """Tell whether the times of a page are numbers to reckon with, and not infinite or none."""
    lifetime = 0.0 if page.lifetime is None else page.lifetime
    return 0 <= page.stored <= _LATEST and 0 <= lifetime <= _LATEST and 0 <= page.age <= _LATEST


def _is_sendable(page: Page) -> bool:
    """Tell whether a page is exactly one response, which its author may not have checked.

    Nothing says that its body ends elsewhere.
    """
    headers, length = page.headers, b"%d" % len(page.body)
    return (
        type(page.status) is int
        and 200 <= page.status <= 599
        and not (page.body and page.status in (204, 304))
        and {length}.issuperset(headers.raw("content-length"))
        and "transfer-encoding" not in headers
    )


def _headers(fields: Pairs) -> Headers | None:
    """Return the fields of a response, each of which is one line; None if they are not."""
    try:
        return _of_lines(fields)
    except TypeError:  # no pair of bytes
        return None


@lru_cache(maxsize=_KNOWN)
def _of_lines(fields: Pairs) -> Headers | None:
    lines = b"".join([b"%b:%b\n" % field for field in fields])
    well_formed = _LINES.fullmatch(lines) is not None and lines.count(b"\n") == len(fields)
    return Headers.of_bytes(fields) if well_formed else None
