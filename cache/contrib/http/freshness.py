"""For how long a response is fresh, and how old it is (RFC 9111, 4.2)."""

from twofold.contrib.http.cache_control import FOREVER, CacheControl, delta_seconds
from twofold.contrib.http.dates import parse_date
from twofold.contrib.http.headers import Headers


def explicit(headers: Headers) -> bool:
    """Tell whether the response itself says for how long it is fresh."""
    control = CacheControl(headers)
    return "s-maxage" in control or "max-age" in control or "expires" in headers


def lifetime(headers: Headers, now: float, default: float | None) -> float | None:
    """Return for how many seconds from `now` a response is fresh; 0 if it is stale.

    `s-maxage` goes before `max-age`, that before `Expires`, and `default` is for a
    response that says nothing (4.2.1). What is malformed, or given twice with different
    values, is stale. How old the response is already is taken off.

    Args:
        headers: of the response.
        now: seconds since the Unix epoch, when the response came.
        default: seconds; None for ever.
    """
    control = CacheControl(headers)
    fresh: float | None = default
    if control.malformed:
        return 0.0
    for name in ("s-maxage", "max-age"):
        if name in control:
            fresh = control.seconds(name)
            break
    else:
        if "expires" in headers:
            fresh = _until_expiry(headers, now)
    return None if fresh is None else max(0.0, float(fresh - age_on_arrival(headers, now)))


def age_on_arrival(headers: Headers, now: float) -> int:
    """Return how old a response is that came `now`, in seconds (4.2.3).

    That is its `Age`, where what is no number is 0 (5.1), or the time since its `Date`,
    whichever is more.
    """
    given = headers.members("age")[:1]
    told = (delta_seconds(given[0]) or 0) if given else 0
    made = date(headers, "date", now)
    return told if made is None else max(told, min(int(now - made), FOREVER))


def _until_expiry(headers: Headers, now: float) -> float:
    """Return the seconds between `Date`, or `now`, and `Expires`; 0 if one is no date."""
    expires = date(headers, "expires", now)
    made = date(headers, "date", now) if "date" in headers else now
    return 0.0 if expires is None or made is None else max(0.0, expires - made)


def date(headers: Headers, name: str, now: float) -> float | None:
    """Return a field that is an HTTP date, in seconds since the Unix epoch.

    None if it is absent, malformed, or given twice with different values.
    """
    given = set(headers.values(name))
    return parse_date(given.pop(), now) if len(given) == 1 else None
