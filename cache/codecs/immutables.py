"""Values that nobody can change, which an in-process store may hold by reference."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
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

_CHANGEABLE = frozenset({bytearray, dict, list, set})

NESTING: Final = 8
"""Levels of tuples and frozen classes in each other, down to which they count as immutable."""


def is_immutable(value: Any, nesting: int = NESTING) -> bool:
    """Tell whether nobody can change `value`, or what it holds, as far as its type tells."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind in _CHANGEABLE:  # told by all that follows, later
        return False
    if kind is tuple or kind is frozenset:
        return _holds_immutables(value, nesting)
    if kind is datetime or kind is time:
        return type(value.tzinfo) in ZONES
    return kind in _OBJECTS or isinstance(value, Enum) or _is_frozen(kind, value, nesting)


def _holds_immutables(value: tuple[Any, ...] | frozenset[Any], nesting: int) -> bool:
    if ATOMS.issuperset(map(type, value)):
        return True
    return nesting > 0 and all(is_immutable(item, nesting - 1) for item in value)


def _is_frozen(kind: Any, value: Any, nesting: int) -> bool:
    """Tell whether `value` is of a frozen class, and holds only what nobody can change."""
    held = _held(kind, value)
    if held is None or nesting <= 0 or _adds_to_itself(kind):
        return False
    beside = getattr(value, "__dict__", {}).values()  # what is no field, too
    return all(is_immutable(each, nesting - 1) for each in (*held, *beside))


def parts_of(value: Any) -> Iterable[Any]:
    """Return what takes memory beside an immutable value itself: what it holds, as its types tell.

    Members of enums are there anyway.
    """
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return value  # type: ignore[no-any-return]
    if isinstance(value, PurePath):
        return (str(value),)
    held = None if isinstance(value, Enum) else _held(kind, value)
    if held is None:
        return ()
    own = getattr(value, "__dict__", {})  # which has fields, too, where there are no slots
    return {id(each): each for each in (own, *own.values(), *held)}.values()


def _adds_to_itself(kind: type) -> bool:
    """Tell whether a class keeps what a `cached_property`, of whatever library, has returned."""
    return any(_is_cached_property(each) for base in kind.__mro__ for each in vars(base).values())


def keeps_results(kind: type, name: str) -> bool:
    """Tell whether what values of a class have by a name is what a `cached_property` returned."""
    return any(_is_cached_property(vars(base).get(name)) for base in kind.__mro__)


def _is_cached_property(found: object) -> bool:
    return type(found).__name__ == "cached_property"


def _held(kind: Any, value: Any) -> Iterable[Any] | None:
    """Return the fields of a frozen dataclass, a named tuple, or a frozen class of a library."""
    own = vars(kind)
    if "__dataclass_params__" in own:
        is_frozen, names = own["__dataclass_params__"].frozen, own["__dataclass_fields__"]
    elif "__attrs_attrs__" in own:
        # What attrs gives to frozen classes is private, but for its name.
        is_frozen = getattr(kind.__setattr__, "__name__", "") == "_frozen_setattrs"
        names = [each.name for each in kind.__attrs_attrs__]
    elif hasattr(kind, "__struct_config__"):
        is_frozen, names = kind.__struct_config__.frozen, kind.__struct_fields__
    elif "__pydantic_fields__" in own:
        private = value.__pydantic_private__, value.__pydantic_extra__
        is_frozen = bool(kind.model_config.get("frozen")) and not any(private)
        names = kind.__pydantic_fields__
    elif issubclass(kind, tuple) and kind.__bases__ == (tuple,) and hasattr(kind, "_fields"):
        return [*value]
    else:
        return None
    return (getattr(value, name, None) for name in names) if is_frozen else None
