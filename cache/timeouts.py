"""What a timeout means."""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any, Final, TypeAlias

from twofold.display import shown
from twofold.errors import InvalidTimeout


class _DefaultTimeout(Enum):
    DEFAULT_TIMEOUT = "DEFAULT_TIMEOUT"

    def __repr__(self) -> str:
        return self.name


DEFAULT_TIMEOUT: Final = _DefaultTimeout.DEFAULT_TIMEOUT
"""In place of a timeout: the alias's own `TIMEOUT`."""

Timeout: TypeAlias = float | timedelta | str | _DefaultTimeout | None
"""Seconds, a `timedelta`, text like "1h30m", None for ever, or `DEFAULT_TIMEOUT`."""

Condition: TypeAlias = Callable[[Any], bool]
"""Tells whether to store a computed value."""


CLOCK_SLACK = 1.0
"""Seconds by which two readings of one wall clock may disagree."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"([0-9]++(?:\.[0-9]++)?+)\s*+(ms|[smhdw])\s*+")
_LONGEST = 100 * 365 * 86400  # a hundred years: below what any store's clock overflows at


def seconds(timeout: Timeout, default: float | None = None) -> float | None:
    """Return how many seconds `timeout` is; None for ever; 0 or less for gone at once.

    Raises:
        InvalidTimeout: it is a bool, NaN, infinite, or no duration at all.
    """
    if (type(timeout) is int or type(timeout) is float) and 0 < timeout <= _LONGEST:
        return float(timeout)  # the usual one, the fast way
    if timeout is None:
        return None
    if timeout is DEFAULT_TIMEOUT:
        return default
    if isinstance(timeout, str):
        amount = _read(timeout)
    elif isinstance(timeout, timedelta):
        amount = timeout.total_seconds()
    elif isinstance(timeout, int | float) and not isinstance(timeout, bool):
        amount = timeout if isinstance(timeout, int) else float(timeout)
    else:
        raise InvalidTimeout(
            f"a timeout is a number of seconds, a timedelta, text like '10m', or None for ever;"
            f" not {shown(timeout)}"
        )
    if isinstance(amount, float) and not math.isfinite(amount):
        raise InvalidTimeout(
            f"the timeout {shown(timeout)} is no finite number; None means for ever"
        )
    return float(min(amount, _LONGEST)) if amount > 0 else 0.0


def _read(text: str) -> float:
    """Return the seconds that text like "1h30m", "250ms" or "90" stands for."""
    stripped = text.strip().lower()
    try:
        return float(stripped)
    except ValueError:
        pass
    total, at = 0.0, 0
    while part := _PART.match(stripped, at):
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not at or at < len(stripped):
        raise InvalidTimeout(
            f"the timeout {shown(text)} is no duration: write '90', '500ms', '10m' or '1h30m'"
            f" (units: {', '.join(_UNITS)})"
        )
    return total


def is_from_later(now: float, written: float) -> bool:
    """Tell whether the wall clock was set back since an entry was written, by more than a bit.

    Its age is unknown then. The next read gives it its whole life once more,
    from now on: nothing ends before its time since a clock was wrong, a lock least of all,
    and nothing lives longer than its life after it was first asked for.
    """
    return written > now + CLOCK_SLACK
