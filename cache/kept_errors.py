"""Exceptions that are kept like values: the class by its name, and the arguments.

Nothing is ever imported because a store names it: only classes that the reader lists are raised.
"""

from collections.abc import Iterable
from typing import Any

from twofold.entry import Entry


def name_of_class(kind: type[Exception]) -> str:
    """Return what a class of exceptions is called in a store."""
    return f"{kind.__module__}.{kind.__qualname__}"


def arguments(error: Exception) -> list[Any]:
    """Return from what `error` can be made again: its arguments, or else its text."""
    given = list(error.args)
    return given if _same(error, given) else [str(error)]


def rebuilt(entry: Entry, kinds: Iterable[type[Exception]]) -> Exception | None:
    """Return the exception that `entry` keeps, if it is of one of just these classes."""
    if entry.meta is None or not entry.meta.error or not isinstance(entry.value, list):
        return None
    for kind in kinds:
        if name_of_class(kind) == entry.meta.error:
            return _made(kind, entry.value)
    return None


def can_be_rebuilt(error: Exception, given: list[Any]) -> bool:
    """Tell whether arguments make an exception of the class of `error`."""
    return _made(type(error), given) is not None


def _same(error: Exception, given: list[Any]) -> bool:
    made = _made(type(error), given)
    return made is not None and str(made) == str(error)


def _made(kind: type[Exception], given: list[Any]) -> Exception | None:
    try:
        return kind(*given)
    except Exception:  # it is the user's own class: whatever it raises, it cannot be made so
        return None
