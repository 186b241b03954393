"""The nearest right name for a mistyped one."""

from collections.abc import Collection, Iterable

from twofold.display import shown


def did_you_mean(name: str, right: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the one of `right` nearest to `name`, or nothing."""
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in right}
    nearest = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[nearest[0]]!r}?" if nearest else ""


def unknown(kind: str, name: str, right: Collection[str]) -> str:
    """Return the message for a name that is none of the `right` ones."""
    near = did_you_mean(name, right)
    return f"there is no {kind} {shown(name)}{near or '.'} There are: {', '.join(sorted(right))}"
