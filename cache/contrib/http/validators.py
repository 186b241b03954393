"""Entity tags and conditional requests (RFC 9110, 8.8 and 13)."""

import re
from hashlib import blake2b

from twofold.contrib.http.freshness import date
from twofold.contrib.http.headers import Headers
from twofold.keys.length_prefixed import length_prefixed

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')

_OF_304 = ("cache-control", "content-location", "date", "etag", "expires", "vary")
"""What a 304 carries of the fields of the 200 (RFC 9110, 15.4.5)."""


CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})
"""The fields by which a client says what it has already."""


def entity_tag(headers: Headers, body: bytes) -> str:
    """Return a strong tag: equal only for equal bytes of the same type and encoding."""
    described = [headers.raw(name) for name in ("content-type", "content-encoding")]
    digest = blake2b(length_prefixed(*described, [body]), digest_size=20)
    return f'"{digest.hexdigest()}"'


def not_modified(conditions: Headers, headers: Headers, now: float) -> bool:
    """Tell whether a client that sent `conditions` has a response with `headers` already.

    `If-None-Match` is compared weakly, and if it is there `If-Modified-Since` is not
    looked at (13.1.2, 13.1.3).
    """
    if not conditions.any_of(CONDITIONS):
        return False
    if "if-none-match" in conditions:
        return _matches(", ".join(conditions.values("if-none-match")), headers)
    known = date(conditions, "if-modified-since", now)
    if known is None:
        return False
    changed = date(headers, "last-modified", now)
    return changed is not None and changed <= known


def _matches(text: str, headers: Headers) -> bool:
    if text == "*":
        return True
    tags = headers.values("etag")
    return bool(tags) and tags[0].removeprefix("W/") in _TAG.findall(text)


def of_304(headers: Headers) -> Headers:
    """Return the fields that the 304 in place of a 200 with `headers` carries."""
    return headers.only(*_OF_304)
