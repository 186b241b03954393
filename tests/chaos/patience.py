"""Waiting for what takes a moment: bounded, and never by sleeping for luck."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.01  # seconds between two looks


def eventually(condition: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Return what `condition` gives once that is true; `AssertionError` after `seconds`.

    While a server is down, looking at it fails: an `OSError` counts as "not yet".
    """
    ends = time.monotonic() + seconds
    while True:
        seen: T | OSError
        try:
            seen = condition()
        except OSError as error:
            seen = error
        if seen and not isinstance(seen, OSError):
            return seen
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {seen!r})")
        time.sleep(_PAUSE)
