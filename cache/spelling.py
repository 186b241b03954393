"""The nearest right name for a mistyped one."""

from collections.abc import Collection, Iterable

from twofold.display import shown

_ELSEWHERE = {
    "timeout": "ttl expire expires expire_in expires_in expiration expiration_time expiry"
    " time_to_live lifetime max_age maxage default_timeout cache_timeout",
    "max_entries": "maxsize max_size size capacity threshold",
    "key_prefix": "prefix namespace",
    "key_function": "key_builder key_func make_key",
    "memory": "mem simple locmem ram local",
    "files": "file filesystem disk",
    "memcached": "memcache pymemcache",
}
"""What our names are called in other libraries."""

_OURS = {theirs: ours for ours, names in _ELSEWHERE.items() for theirs in names.split()}


def did_you_mean(name: str, right: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the one of `right` nearest to `name`, or nothing.

    A name that other libraries have for one of `right` is near to that.
    """
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in right}
    ours = _OURS.get(name.lower())
    nearest = [ours] if ours in by_lower else []
    nearest = nearest or get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[nearest[0]]!r}?" if nearest else ""


def unknown(kind: str, name: str, right: Collection[str]) -> str:
    """Return the message for a name that is none of the `right` ones."""
    near = did_you_mean(name, right)
    return f"there is no {kind} {shown(name)}{near or '.'} There are: {', '.join(sorted(right))}"
