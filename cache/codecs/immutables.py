"""Values that nobody can change, which an in-process store may hold by reference."""

from dataclasses import fields
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
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

_OBJECTS = frozenset(
    {
        PosixPath,
        PurePosixPath,
        PureWindowsPath,
        WindowsPath,
        IPv4Address,
        IPv4Network,
        IPv6Address,
        IPv6Network,
    }
)

_NESTING = 8


def is_immutable(value: Any, nesting: int = _NESTING) -> bool:
    """Tell whether nobody can change `value`, or what it holds, as far as its type tells."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is tuple or kind is frozenset:
        return _holds_immutables(value, nesting)
    if kind is datetime or kind is time:
        return type(value.tzinfo) in ZONES
    return kind in _OBJECTS or isinstance(value, Enum) or _is_frozen(kind, value, nesting)


def _holds_immutables(value: tuple[Any, ...] | frozenset[Any], nesting: int) -> bool:
    if ATOMS.issuperset(map(type, value)):
        return True
    return nesting > 0 and all(is_immutable(item, nesting - 1) for item in value)


def _is_frozen(kind: type, value: Any, nesting: int) -> bool:
    """Tell whether `value` is a frozen dataclass or a named tuple, of what nobody can change."""
    parameters = vars(kind).get("__dataclass_params__")
    if parameters is not None and parameters.frozen:
        held = (getattr(value, each.name, None) for each in fields(kind))
    elif issubclass(kind, tuple) and kind.__bases__ == (tuple,) and hasattr(kind, "_fields"):
        held = iter(value)
    else:
        return False
    return nesting > 0 and all(is_immutable(item, nesting - 1) for item in held)
