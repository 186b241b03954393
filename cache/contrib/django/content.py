"""Whether a request has content, as a GET should not have: it is in no key."""

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from twofold.freshness.overrides import override, requests

_TOLD_BY_FIELDS = ("1.0", "1.1")
"""Versions in which content has a length or a coding (RFC 9112, 6.3), unlike in later ones."""


def bypasses(request: HttpRequest) -> bool:
    """Tell whether a request is no matter of the cache: only the view is to answer it."""
    if requests and override() == "bypass":
        return True
    return request.method in ("GET", "HEAD") and _has_content(request)


def _has_content(request: HttpRequest) -> bool:
    length = str(request.META.get("CONTENT_LENGTH") or "")
    if length.strip("0") or "HTTP_TRANSFER_ENCODING" in request.META:
        return True
    if not isinstance(request, ASGIRequest):
        return False
    told = request.scope.get("http_version", "1.1") in _TOLD_BY_FIELDS
    return False if told else _was_sent(request)


def _was_sent(request: Any) -> bool:
    """Tell whether the server has handed content over: looks at its first byte."""
    if hasattr(request, "_body"):
        return bool(request._body)
    if request._read_started:
        return True
    stream = request._stream
    place = stream.tell()
    sent = bool(stream.read(1))
    stream.seek(place)
    return sent
