"""Exceptions that are kept like values: the class by its name, the arguments and the attributes.

Nothing is ever imported because a store names it: only classes that the reader lists are raised.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from twofold.entry import Entry

Form: TypeAlias = list[Any]
"""What an exception is made of: its arguments, and its attributes by their names."""


def name_of_class(kind: type[Exception]) -> str:
    """Return what a class of exceptions is called in a store."""
    return f"{kind.__module__}.{kind.__qualname__}"


def forms(error: Exception) -> Iterator[Form]:
    """Return of what `error` can be made again, the best first; of nothing, if it cannot be.

    Where its attributes, or its arguments, cannot be stored, its class may make them of less.
    """
    given, text = list(error.args), _text(error)
    for form in ([given, dict(vars(error))], [given, {}], [[text], {}]):
        made = None if text is None else _made(type(error), form)
        if made is not None and _text(made) == text and vars(made).keys() == vars(error).keys():
            yield form


def rebuilt(entry: Entry, kinds: Iterable[type[Exception]]) -> Exception | None:
    """Return the exception that `entry` keeps, if it is of one of just these classes."""
    if entry.meta is None or not entry.meta.error:
        return None
    for kind in kinds:
        if name_of_class(kind) == entry.meta.error:
            return _made(kind, entry.value)
    return None


def _text(error: Exception | None) -> str | None:
    try:
        return None if error is None else str(error)
    except Exception:  # it is the user's own class: whatever it raises, it cannot be told so
        return None


def _made(kind: type[Exception], form: Any) -> Exception | None:
    """Return an exception made of a form, or None.

    What is given to a class is often less than what it makes `args` of: so its own `__init__`
    may refuse these, or make something else of them.
    """
    try:
        given, attributes = form
        try:
            made = kind(*given)
        except Exception:
            made = kind.__new__(kind, *given)
        made.args = tuple(given)
        vars(made).update(attributes)
    except Exception:  # of the user's own class, or of what a store holds
        return None
    return made
