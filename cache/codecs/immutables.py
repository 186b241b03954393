"""Values that nobody can change, which an in-process store may hold by reference."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import NoneType
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

ATOMS: Final = frozenset(
    {bool, bytes, complex, date, Decimal, float, int, NoneType, str, timedelta, UUID}
)
"""Types whose every value is immutable, whatever it holds."""

ZONES: Final = frozenset({NoneType, timezone, ZoneInfo})
"""Types of `tzinfo` that are immutable; a user's own need not be."""

_NESTING = 8


def is_immutable(value: Any, nesting: int = _NESTING) -> bool:
    """Tell whether `value` is an atom, or tuples and frozensets of atoms, by exact type."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is tuple or kind is frozenset:
        return _holds_immutables(value, nesting)
    return (kind is datetime or kind is time) and type(value.tzinfo) in ZONES


def _holds_immutables(value: tuple[Any, ...] | frozenset[Any], nesting: int) -> bool:
    if ATOMS.issuperset(map(type, value)):
        return True
    return nesting > 0 and all(is_immutable(item, nesting - 1) for item in value)
