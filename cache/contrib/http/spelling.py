"""One spelling of the many that a URL has (RFC 9110, 4.2.3; RFC 3986, 6.2.2)."""

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urljoin, urlsplit

from twofold.contrib.http.headers import Headers
from twofold.contrib.http.messages import Request

IN_PATH = "/:@!$&'()*+,;=~"
"""What stands for itself in a path (RFC 3986, 3.3), beside letters and digits."""

_IN_URL = IN_PATH.encode() + b"?%-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DEFAULT_PORTS = {"http": b":80", "https": b":443"}
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")


def spelled_host(scheme: str, host: bytes) -> bytes:
    """Return `host` in lower case, without the port that is meant anyway."""
    return host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, b":")).removesuffix(b":")


def spelled(text: bytes) -> bytes:
    """Return a path or query with the escapes that it needs and no more, in capitals.

    Clients escape as much as they like of what may not stand in a URL: `?ids[]=1` is sent so by
    browsers, and as `?ids%5B%5D=1` by others.
    """
    if text.translate(None, _IN_URL):
        text = quote(text, safe=f"{IN_PATH}?%").encode()
    return _ESCAPE.sub(_escape, text) if b"%" in text else text


def _escape(found: re.Match[bytes]) -> bytes:
    one = bytes((int(found[0][1:], 16),))
    return one if _UNRESERVED.match(one) else found[0].upper()


def rewritten(request: Request, path: bytes) -> str:
    """Return the path that the application sees, if it is not the one that was asked for.

    Nor that below the root path, which something in front may have taken off.

    Args:
        request: of which the application sees `app_path`.
        path: what was asked for, as `spelled`.
    """
    asked = unquote(path.decode())
    seen = request.app_path
    return "" if seen == asked or seen == request.root_path + asked else seen


def named(request: Request, headers: Headers) -> Iterator[Request]:
    """Yield what a response names, of the same origin, as changed too (RFC 9111, 4.4)."""
    for name in ("location", "content-location"):
        for reference in headers.values(name):
            yield from _targets(request, reference)


def _targets(request: Request, reference: str) -> Iterator[Request]:
    """Yield what `reference` means; also as it is seen behind what takes the root path off."""
    host = spelled_host(request.scheme, request.host).decode("latin-1")
    base = f"{request.scheme}://{host}{request.path.decode('latin-1')}"
    try:
        url = urlsplit(urljoin(base, reference))
    except ValueError:  # an address of IPv6 that is none
        return
    there = spelled_host(url.scheme, url.netloc.encode("latin-1")).decode("latin-1")
    if (url.scheme, there) != (request.scheme, host):
        return
    path, query = (_quoted(part).encode() for part in (url.path, url.query))
    yield from places(request._replace(path=path, query=query, app_path=""))


def places(request: Request) -> Iterator[Request]:
    """Yield `request`, and as it comes through what takes the root path off on the way."""
    yield request
    root = request.root_path.encode("utf-8", "surrogatepass")
    if root and request.path.startswith(root + b"/"):
        yield request._replace(path=request.path[len(root) :])


def _quoted(part: str) -> str:
    """Return a part of a reference with what no URL has escaped, as clients do."""
    return quote(part, safe=f"{IN_PATH}?%", encoding="latin-1")
