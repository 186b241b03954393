"""The keys of pages: of a URL, and of one variant of what is there."""

import re
from collections.abc import Sequence
from hashlib import blake2b

from twofold.contrib.http.encoding import encode
from twofold.contrib.http.headers import Headers
from twofold.contrib.http.messages import Request

_HEAD = 80  # characters of the URL that a reader of the store is shown
_UNFIT = re.compile(rb"[^!-~]+")


def page_key(request: Request, realm: str) -> str:
    """Return the key of the URL that `request` is for, the same for GET and HEAD.

    Scheme, host, path and query count as they came: what one application takes for the
    same, another may not. Pages of two realms do not meet.
    """
    url = [
        realm.encode(),
        request.scheme.encode(),
        request.host,
        request.path,
        request.app_path.encode("utf-8", "surrogatepass"),
        request.query,
    ]
    head = _UNFIT.sub(b"", request.host + request.path)[:_HEAD].decode()
    return f"{realm}:{head}#{_digest(encode(url))}"


def variant_key(page: str, token: bytes, names: Sequence[str], headers: Headers) -> str:
    """Return the key of the variant that a request with `headers` is given.

    Of each field in `names`, absent is not the same as empty, nor two fields as one.

    Args:
        page: the key of the URL.
        token: tells the variants made since the URL was last invalidated from older ones.
        names: what the response varies with, lower-case and sorted.
        headers: of the request.
    """
    selected = [part for name in names for part in ([name.encode()], headers.raw(name))]
    return f"{page}~{_digest(encode([page.encode(), token], *selected))}"


def _digest(encoded: bytes) -> str:
    return blake2b(encoded, digest_size=20).hexdigest()
