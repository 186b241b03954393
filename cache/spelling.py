"""The nearest right name for a mistyped one."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from twofold.display import shown


def did_you_mean(name: str, right: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the one of `right` nearest to `name`, or nothing.

    A name that other libraries have for one of `right` is near to that.
    """
    from difflib import get_close_matches

    from twofold.elsewhere import OURS

    by_lower = {each.lower(): each for each in right}
    ours = OURS.get(name.lower())
    nearest = [ours] if ours in by_lower else []
    nearest = nearest or get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[nearest[0]]!r}?" if nearest else ""


def unknown(kind: str, name: str, right: Collection[str]) -> str:
    """Return the message for a name that is none of the `right` ones."""
    from twofold.elsewhere import setting

    near = did_you_mean(name, right)
    if not near and kind in ("setting", "option") and (advice := setting(name)):
        near = f": {advice}."
    return f"there is no {kind} {shown(name)}{near or '.'} There are: {', '.join(sorted(right))}"


def unexpected(operation: Callable[..., Any], given: Iterable[str]) -> TypeError:
    """Return the error for arguments by names that an operation does not have."""
    from inspect import Parameter, signature

    from twofold.elsewhere import OF_CALLS

    name = next(iter(given))
    parameters = signature(operation).parameters.values()
    right = [each.name for each in parameters if each.kind is not Parameter.VAR_KEYWORD]
    advice = OF_CALLS.get(name)
    near = f": {advice}" if advice else did_you_mean(name, right)
    return TypeError(f"{operation.__name__}() got an unexpected keyword argument {name!r}{near}")
