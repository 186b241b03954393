"""Dates of HTTP (RFC 9110, 5.6.7), and nothing that only looks like one."""

import re
from datetime import UTC, datetime

_NOW_TO_COME = 50  # years; a two-digit year that lies further ahead is past

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = "|".join(_MONTHS)
_TIME = r"(?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_SHORT = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_FORMS = [
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"{_SHORT}, (?P<day>[0-9]{{2}}) (?P<month>{_MONTH}) (?P<year>[0-9]{{4}}) {_TIME} gmt",
        rf"{_LONG}, (?P<day>[0-9]{{2}})-(?P<month>{_MONTH})-(?P<year>[0-9]{{2}}) {_TIME} gmt",
        rf"{_SHORT} (?P<month>{_MONTH}) (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
]
"""IMF-fixdate, and the two obsolete forms; of a fixed length, so that none costs time."""


def parse_date(text: str, now: float) -> float | None:
    """Return seconds since the Unix epoch; None for what is no HTTP date.

    Names count in whatever case, as most who read dates have it.

    Args:
        text: the value of a field.
        now: seconds since the Unix epoch; it tells the century of a year of two digits.
    """
    found = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if found is None:
        return None
    year = int(found["year"]) if len(found["year"]) == 4 else _full(int(found["year"]), now)
    month = _MONTHS.index(found["month"].lower()) + 1
    hour, minute, second = (int(found[name]) for name in ("hour", "minute", "second"))
    try:
        begun = datetime(year, month, int(found["day"]), hour, minute, tzinfo=UTC)
    except ValueError:  # no such day, or hour
        return None
    return begun.timestamp() + second


def _full(year: int, now: float) -> int:
    """Return the year that ends in these two digits and is not far ahead."""
    this = datetime.fromtimestamp(now, UTC).year
    full = this - this % 100 + year
    return full - 100 if full > this + _NOW_TO_COME else full
