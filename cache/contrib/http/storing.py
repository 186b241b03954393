"""What a shared cache may store, and to which requests it may serve it (RFC 9111, 3)."""

from twofold.contrib.http.cache_control import CacheControl
from twofold.contrib.http.freshness import explicit
from twofold.contrib.http.headers import Headers, varying
from twofold.contrib.http.messages import Request

_CACHEABLE = frozenset({200, 203, 204, 300, 404, 410, 414, 501})
"""Statuses that may be stored without being told so.

Those of RFC 9110, 15.1, except 206 and those by which a mistake would last: a client that is sent
elsewhere (301, 308) or told that there is no such method (405) does not ask again.
"""

_NOT_OURS = frozenset(
    {b"range", b"if-range", b"if-match", b"if-unmodified-since", b"transfer-encoding"}
)

_FORBIDS = ("private", "no-store", "no-cache")


def may_store(request: Request, status: int, headers: Headers) -> bool:
    """Tell whether a complete response may be given to others than the client that asked for it.

    Stricter than the RFC in three points: what would need revalidation is not stored; of
    an answer to `Authorization` only `public` makes one for all; and a request with a
    `Cookie` is treated like it, unless the response varies with the cookie.
    """
    return (
        request.method == "GET"
        and not bypasses(request)
        and "no-store" not in CacheControl(request.headers)
        and _storable_status(status, headers)
        and not forbids(headers)
        and serves(request, headers)
    )


def forbids(headers: Headers) -> bool:
    """Tell whether a response says that it is not for others, or what nobody can read."""
    control = CacheControl(headers)
    return (
        control.malformed
        or any(name in control for name in _FORBIDS)
        or _pragma(headers)
        or "set-cookie" in headers
        or "content-range" in headers
        or varying(headers) is None
    )


def bypasses(request: Request) -> bool:
    """Tell whether a request is no matter of the cache: only the application can answer it.

    Ranges, and the conditions that guard a change, are not ours to evaluate; content, which
    a GET should not have, is in no key; and fields of extreme length are not worth parsing.
    """
    return (
        request.headers.overlong
        or request.has_content
        or request.headers.any_of(_NOT_OURS)
        or any(length.strip("0") for length in request.headers.values("content-length"))
    )


def serves(request: Request, headers: Headers) -> bool:
    """Tell whether a response may be shared as far as the credentials of `request` go.

    A request with credentials may get another page than one without. So this holds for
    reading as for storing.
    """
    if not shared_with(request.authenticated, headers):
        return False
    return (
        "cookie" not in request.headers
        or "public" in CacheControl(headers)
        or "cookie" in (varying(headers) or ())
    )


def shared_with(authenticated: bool, headers: Headers) -> bool:
    """Tell whether a response is one that a known user shares with others (RFC 9111, 3.5).

    The rule of all frameworks: a user who is authenticated, by whatever means, is given no
    shared page but a `public` one, and nothing else that was made for them is stored.
    """
    return not authenticated or "public" in CacheControl(headers)


def _storable_status(status: int, headers: Headers) -> bool:
    """Tell of a final status; an error of the server is stored only if the RFC lists it."""
    if status in _CACHEABLE:
        return True
    return 200 <= status < 500 and status not in (206, 304) and explicit(headers)


def _pragma(headers: Headers) -> bool:
    """Tell whether a response without `Cache-Control` says the old `Pragma: no-cache`."""
    if "cache-control" in headers:
        return False
    return any(each.lower() == "no-cache" for each in headers.members("pragma"))
