"""Whether a value that was brought back is what it was, all the way down."""

from collections.abc import Iterable
from datetime import datetime, time
from typing import Any

from twofold.codecs.immutables import ATOMS
from twofold.types.fields import names_of_fields


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are of the same types all the way down, and equal.

    What has fields is compared by these, whether its class has `__eq__` or not. NaN is the same
    as NaN.
    """
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in ATOMS:
        return bool(one == other) or one != one
    if kind is datetime or kind is time:
        return bool(one == other) and _is_same_zone(one, other)
    if isinstance(one, dict):
        return _are_same(one.items(), other.items())
    if isinstance(one, set | frozenset):
        return bool(one == other) and {*map(type, one)} == {*map(type, other)}
    names = names_of_fields(kind)
    if names is not None:
        return all(_has_same(one, other, name) for name in names)
    if isinstance(one, tuple | list):
        return _are_same(one, other)
    return bool(one == other)


def _is_same_zone(one: datetime | time, other: datetime | time) -> bool:
    """Tell whether zones have the same rules; of what has only an offset it is the offset."""
    if one.tzinfo is other.tzinfo:
        return True
    has_rules = one.tzinfo is not None and one.tzinfo.utcoffset(None) is None
    if has_rules and repr(one.tzinfo) != repr(other.tzinfo):
        return False
    return one.utcoffset() == other.utcoffset()


def _are_same(some: Iterable[Any], others: Iterable[Any]) -> bool:
    ours, theirs = list(some), list(others)
    return len(ours) == len(theirs) and all(map(is_same, ours, theirs))


def _has_same(one: Any, other: Any, name: str) -> bool:
    nothing = object()
    mine, theirs = getattr(one, name, nothing), getattr(other, name, nothing)
    return is_same(mine, theirs) or (mine is theirs)
