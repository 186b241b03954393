"""Copies of any value, for stores in this process: what they are made of never leaves it."""

import gc
import pickle
import sys
from collections.abc import Iterable
from copy import deepcopy
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final, Protocol

from twofold.codecs.refusal import in_particular, refuse_used_up, type_name
from twofold.errors import CannotSerialize
from twofold.interrupts import raise_if_of_others


class Copies(Protocol):
    """A value of which each reader is given a copy."""

    def copy(self) -> Any:
        """Return one more copy; it may raise anything."""


class InBytes:
    """A value as bytes, from which each reader has a value of its own."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self.data)} bytes>"

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.data.__sizeof__()


class Pickled(InBytes):
    """A value as a pickle."""

    __slots__ = ()

    def copy(self) -> Any:
        return pickle.loads(self.data)  # noqa: S301 - this process has made it


class Cloned:
    """A copy of a value, of which further ones are made."""

    __slots__ = ("kept",)

    def __init__(self, kept: Any) -> None:
        self.kept: Any = kept

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {type_name(self.kept)}>"

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + _size([self.kept])

    def copy(self) -> Any:
        return deepcopy(self.kept)


COPIES: Final = frozenset({Pickled, Cloned})


def copies_of(value: Any) -> Copies:
    """Return what copies of `value` are made of.

    Raises:
        CannotSerialize: it cannot be copied.
    """
    refuse_used_up(value)
    for make in (_pickled, _cloned):
        try:
            made = make(value)
            if type(made.copy()) is type(value):
                return made
            why = "its copies are of another type"
        except _NO_PICKLE as exc:
            raise_if_of_others(exc)
            why = f"{type(exc).__name__}: {exc}"
        except Exception as exc:  # of its own class: to ask it otherwise would not be better
            raise_if_of_others(exc)
            why = f"{type(exc).__name__}: {exc}"
            break
    raise in_particular(value) or CannotSerialize(
        f"A value of type {type_name(value)} cannot be copied, so that nobody would have one of his"
        f" own: {why}. Store a plain form of it, or choose SERIALIZER None on this alias, which"
        " keeps and shares the value itself."
    )


def _pickled(value: Any) -> Copies:
    return Pickled(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def _cloned(value: Any) -> Copies:
    kept = deepcopy(value)
    if kept is value:
        raise TypeError("its copy is the value itself")
    return Cloned(kept)


_NO_PICKLE = (AttributeError, pickle.PicklingError, TypeError)
_SHARED = (BuiltinFunctionType, CodeType, FunctionType, ModuleType, type)
_MOST = 10_000  # objects that are measured


def _size(level: Iterable[Any]) -> int:
    """Return the bytes of objects and of all that they hold, about."""
    seen: dict[int, Any] = {}
    while level and len(seen) < _MOST:
        fresh = {id(each): each for each in level if not isinstance(each, _SHARED)}
        level = gc.get_referents(*(fresh[each] for each in fresh.keys() - seen.keys()))
        seen |= fresh
    return sum(map(sys.getsizeof, seen.values()))
