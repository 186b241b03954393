"""Whether a value that was brought back is what it was, all the way down."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime, time, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from twofold.codecs.immutables import ATOMS, keeps_results
from twofold.types.fields import names_of_fields

_BY_VALUE: Final = ATOMS - {Decimal}
"""Atoms that are the same where they are equal, NaN aside; of decimals that is but the number."""


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are of the same types all the way down, and equal.

    What has fields is compared by these, and by what it has beside them, whether its class has
    `__eq__` or not. NaN is the same as NaN.
    """
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _BY_VALUE:
        return bool(one == other) or one != one
    if kind is Decimal:
        return str(one) == str(other)
    if kind is datetime or kind is time:
        return bool(one == other) and one.fold == other.fold and _is_same_zone(one, other)
    if isinstance(one, dict):
        if isinstance(one, defaultdict) and one.default_factory is not other.default_factory:
            return False
        return _are_same([*one], [*other]) and _are_same(one.values(), other.values())
    if isinstance(one, set | frozenset):
        return bool(one == other) and _are_same_in_any_order(one, other)
    names = names_of_fields(kind)
    if names is not None:
        if not all(_has_same(one, other, name) for name in names):
            return False
        has_more = _has_more(one, names) or _has_more(other, names)
        return not has_more or is_same(_beside(one, names), _beside(other, names))
    if isinstance(one, tuple | list):
        return _are_same(one, other)
    if kind is deque:
        return bool(one.maxlen == other.maxlen) and _are_same(one, other)
    return bool(one == other)


def _is_same_zone(one: datetime | time, other: datetime | time) -> bool:
    """Tell whether zones are the same; of what has only an offset it is the offset."""
    if one.tzinfo is other.tzinfo:
        return True
    if _is_more_than_offset(one.tzinfo) and repr(one.tzinfo) != repr(other.tzinfo):
        return False
    return one.utcoffset() == other.utcoffset()


def _is_more_than_offset(zone: tzinfo | None) -> bool:
    """Tell whether a zone has rules, a key, or a name of its own."""
    if type(zone) is timezone:
        return zone.tzname(None) != timezone(zone.utcoffset(None)).tzname(None)
    return zone is not None and (isinstance(zone, ZoneInfo) or zone.utcoffset(None) is None)


def _are_same(some: Iterable[Any], others: Iterable[Any]) -> bool:
    ours, theirs = list(some), list(others)
    if _are_of_one_kind(ours, theirs) and ours == theirs:  # as usual, in few steps
        return True
    return len(ours) == len(theirs) and all(map(is_same, ours, theirs))


def _are_same_in_any_order(some: Iterable[Any], others: Iterable[Any]) -> bool:
    """Do so for the members of sets that are equal."""
    ours, theirs = list(some), list(others)
    if _are_of_one_kind(ours, theirs):
        return True
    there = {each: each for each in theirs}
    return all(each in there and is_same(each, there[each]) for each in ours)


def _are_of_one_kind(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """Tell whether it is enough that all are equal."""
    kinds = {*map(type, ours), *map(type, theirs)}
    return len(kinds) == 1 and kinds <= _BY_VALUE


def _has_same(one: Any, other: Any, name: str) -> bool:
    nothing = object()
    return is_same(getattr(one, name, nothing), getattr(other, name, nothing))


def _has_more(value: Any, names: Sequence[str]) -> bool:
    """Tell whether `_beside` may return anything; fields may be in slots."""
    own: dict[str, Any] = getattr(value, "__dict__", {})
    return bool(own) and (len(own) > len(names) or names[0] not in own)


def _beside(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return what a value has beside its fields, and is not made anew when it is asked for."""
    more = getattr(value, "__dict__", {}).keys() - {*names}
    kind = type(value)
    return {name: vars(value)[name] for name in sorted(more) if not keeps_results(kind, name)}
