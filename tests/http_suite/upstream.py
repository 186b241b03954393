"""What both applications need to forward a request to the origin, and its response back."""

import os
from collections.abc import Iterable

import httpx

ORIGIN = os.environ.get("SUITE_ORIGIN", "")
"""Where the suite's own server is: "http://127.0.0.1:12345"."""

TIMEOUT = 0
"""No page that does not say for how long it is fresh; most tests rely on that."""

NOTHING_KEPT = httpx.Limits(max_keepalive_connections=0)
"""No connection is used twice: the origin closes some without a word."""

Fields = list[tuple[bytes, bytes]]


def forwarded(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return the fields that go to the origin."""
    return _without(fields, b"connection", b"host", b"keep-alive", b"transfer-encoding")


def returned(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return the fields that come from it; what `Connection` names the cache is to take out."""
    return _without(fields, b"keep-alive", b"transfer-encoding")


def _without(fields: Iterable[tuple[bytes, bytes]], *names: bytes) -> Fields:
    return [pair for pair in fields if pair[0].lower() not in names]
