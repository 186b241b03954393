"""The keys of pages: of a URL, and of one variant of what is there."""

import re
from collections.abc import Sequence
from hashlib import blake2b

from twofold.contrib.http.headers import Headers
from twofold.contrib.http.messages import Request
from twofold.contrib.http.spelling import rewritten, spelled, spelled_host
from twofold.keys.length_prefixed import length_prefixed

_HEAD = 80  # characters of the URL that a reader of the store is shown
_UNFIT = re.compile(rb"[^!-~]+")


def page_key(request: Request, layer: str) -> str:
    """Return the key of the URL that `request` is for, the same for GET and HEAD.

    Scheme, host, path and query count, in whatever of the spellings that the RFCs call
    equivalent; what an application may take for the same beyond those, another may not.
    Pages of two layers, of two applications, and of two places of one do not meet.
    """
    host = spelled_host(request.scheme, request.host)
    path = spelled(request.path) or b"/"
    of_application = (request.application, request.root_path, rewritten(request, path))
    url = [
        layer.encode(),
        *(each.encode("utf-8", "surrogatepass") for each in of_application),
        request.scheme.encode(),
        host,
        path,
        spelled(request.query),
    ]
    head = _UNFIT.sub(b"", host + path)[:_HEAD].decode()
    return f"{layer}:{head}#{_digest(length_prefixed(url))}"


def variant_key(page: str, token: bytes, names: Sequence[str], headers: Headers) -> str:
    """Return the key of the variant that a request with `headers` is given.

    Of each field in `names`, absent is not the same as empty, and two fields are not the same
    as one.

    Args:
        page: the key of the URL.
        token: tells the variants made since the URL was last invalidated from older ones.
        names: what the response varies with, lower-case and sorted.
        headers: of the request.
    """
    given: dict[bytes, list[bytes]] = {_bytes(name): [] for name in names}
    for name, value in headers.pairs:
        if (values := given.get(name.lower())) is not None:
            values.append(value)
    selected = [part for name, values in given.items() for part in ([name], values)]
    return f"{page}~{_digest(length_prefixed([page.encode(), token], *selected))}"


def _bytes(name: str) -> bytes:
    return name.encode("latin-1", "backslashreplace")


def _digest(encoded: bytes) -> str:
    return blake2b(encoded, digest_size=20).hexdigest()
