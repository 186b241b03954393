"""Whether a request has content that its header fields do not announce."""

from io import BufferedReader, RawIOBase
from typing import Any

import flask

_TOLD_BY_FIELDS = ("HTTP/1.0", "HTTP/1.1")
"""Versions in which content has a length or a coding (RFC 9112, 6.3), unlike in later ones."""


def has_content(request: flask.Request) -> bool:
    """Tell whether there is any, or may have been: reads its first byte, and puts it back.

    Without a length Flask reads content only from a server that says where it ends.
    """
    environ = request.environ
    told = environ.get("SERVER_PROTOCOL") in _TOLD_BY_FIELDS or environ.get("CONTENT_LENGTH")
    if told or not environ.get("wsgi.input_terminated"):
        return False
    if "stream" in vars(request):
        return True
    first = environ["wsgi.input"].read(1)
    if first:
        environ["wsgi.input"] = BufferedReader(_PutBack(first, environ["wsgi.input"]))
    return bool(first)


class _PutBack(RawIOBase):
    """A stream after what was read of it already."""

    def __init__(self, first: bytes, rest: Any) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._first or self._rest.read(len(buffer))
        self._first = b""
        buffer[: len(read)] = read
        return len(read)
