"""A value as text that no value of another type or content shares.

Only structural encodings are used: the text tells the type and the whole content of the
value. Neither `repr` nor `hash` of a foreign type is trusted. A custom `__repr__` is no
identity: that of an array or a data frame leaves out the middle, that of an ORM object
leaves out fields; two different values would meet in one key, and one caller would read
the other's result. What has no structural encoding is refused with `Unencodable`.

The text is printable ASCII without blanks, and balanced: brackets and quotes outside of
quoted text close, so that encodings joined by commas never run into each other.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import BuiltinFunctionType, FunctionType
from typing import Any
from uuid import UUID

_MAX_DEPTH = 64
_LONG_INT = 128  # bits; Python refuses to write very long ones in decimal


class Unencodable(Exception):
    """The reason why a value has no structural encoding."""


def encode(value: object, depth: int = 0) -> str:
    """Return the typed text of `value`.

    Raises:
        Unencodable: its content cannot be told, or is nested in itself or too deeply.
    """
    if depth > _MAX_DEPTH:
        raise Unencodable(f"it is nested in itself, or more than {_MAX_DEPTH} levels deep")
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    container = _CONTAINERS.get(type(value))
    if container is not None:
        return container(value, depth + 1)
    return _encode_instance(value, depth + 1)


def is_immutable(value: object) -> bool:
    """Tell whether the encoding of `value` is the same for as long as it lives."""
    if type(value) in (tuple, frozenset):
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    return type(value) in _SCALARS or isinstance(value, Enum | type)


def module_name(thing: Any) -> str | None:
    """Return the name under which others import the module of a class or function.

    A script that runs as `__main__` goes by its own name: otherwise all scripts that
    share a store would share their keys.
    """
    name: str | None = getattr(thing, "__module__", None)
    if name not in ("__main__", "__mp_main__"):  # the latter in a spawned child
        return name
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return os.path.splitext(os.path.basename(path))[0] if path else name


def class_name(cls: type) -> str:
    """Return the full name of `cls`, for messages and for what declares its own key."""
    module = module_name(cls)
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _class_name(cls: type) -> str:
    """Return the full name of a class; a local one has none that is its own."""
    if "<locals>" in cls.__qualname__:
        raise Unencodable(f"its class {class_name(cls)} is local to a function")
    return _ascii(class_name(cls))


def _global_name(thing: Any) -> str:
    """Return the full name by which `thing` is found again in its module."""
    module, qualname = getattr(thing, "__module__", None), thing.__qualname__
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not thing:
        raise Unencodable(f"{qualname!r} of module {module!r} is not found there by its name")
    return f"{_ascii(f'{module_name(thing)}.{qualname}')}"


def _ascii(text: str) -> str:
    """Escape what is not ASCII in an identifier."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")


def _encode_int(value: int) -> str:
    return int.__repr__(value) if value.bit_length() <= _LONG_INT else hex(value)


def _encode_str(value: str) -> str:
    return ascii(value).replace(" ", "\\x20")


def _encode_bytes(value: bytes) -> str:
    return bytes.__repr__(value).replace(" ", "\\x20")


def _encode_complex(value: complex) -> str:
    return f"complex({value.real!r},{value.imag!r})"


def _encode_range(value: range) -> str:
    return f"range({value.start},{value.stop},{value.step})"


def _encode_path(value: PurePath) -> str:
    return f"{type(value).__name__}({_encode_str(str(value))})"


def _encode_delta(value: timedelta) -> str:
    return f"timedelta({value.days},{value.seconds},{value.microseconds})"


def _encode_time(value: datetime | time) -> str:
    zone = "" if value.tzinfo is None else f",{_encode_zone(value.tzinfo)}"
    fold = ",fold" if value.fold else ""
    return f"{type(value).__name__}({value.isoformat()}{zone}{fold})"


def _encode_zone(zone: tzinfo) -> str:
    """Encode a time zone by its name in the database of zones, or by its fixed offset."""
    if type(zone) is timezone:
        return f"timezone({_encode_str(str(zone))},{_encode_delta(zone.utcoffset(None))})"
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)  # zoneinfo, pytz
    if not isinstance(name, str):
        raise Unencodable(f"its time zone, a {class_name(type(zone))}, has no name")
    return f"{_class_name(type(zone))}({_encode_str(name)})"


def _join(values: Iterable[object], depth: int) -> str:
    return ",".join([encode(value, depth) for value in values])


def _encode_tuple(value: tuple[object, ...], depth: int) -> str:
    return f"({_join(value, depth)})"


def _encode_list(value: list[object], depth: int) -> str:
    return f"[{_join(value, depth)}]"


def _encode_dict(value: dict[object, object], depth: int) -> str:
    items = [f"{encode(key, depth)}:{encode(each, depth)}" for key, each in value.items()]
    return f"{{{','.join(sorted(items))}}}"


def _encode_set(value: set[object] | frozenset[object], depth: int) -> str:
    items = sorted([encode(each, depth) for each in value])
    return f"{type(value).__name__}({','.join(items)})"


def _encode_pattern(value: re.Pattern[Any], depth: int) -> str:
    return f"re.Pattern({encode(value.pattern, depth)},{value.flags})"


def _encode_instance(value: Any, depth: int) -> str:
    """Encode an instance of a type that is not of the fixed ones."""
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return _global_name(value)
    cls = type(value)
    if hasattr(cls, "__cache_key__"):
        return f"{_ascii(class_name(cls))}({encode(value.__cache_key__(), depth)})"
    if isinstance(value, Flag):
        return f"{_global_name(cls)}({encode(value.value, depth)})"
    if isinstance(value, Enum):
        return f"{_global_name(cls)}.{_ascii(value.name)}"
    if isinstance(value, UUID):
        return f"{_class_name(cls)}({value.hex})"
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return _encode_fields(value, cls._fields, value, depth)
    base = next((base for base in _EXTENDABLE if isinstance(value, base)), None)
    if base is not None:
        return _encode_subclass(value, base)
    if is_dataclass(cls) and not isinstance(value, _OPAQUE):
        names = [field.name for field in fields(cls)]
        return _encode_fields(value, names, [getattr(value, name) for name in names], depth)
    raise Unencodable(f"the content of a {class_name(cls)} cannot be told from outside")


def _encode_fields(
    value: object, names: Iterable[str], values: Iterable[object], depth: int
) -> str:
    """Encode a named tuple or a dataclass: its class and all its fields."""
    _refuse_more_state(value, set(names))
    pairs = zip(names, values, strict=True)
    text = ",".join(f"{_ascii(name)}={encode(each, depth)}" for name, each in pairs)
    return f"{_class_name(type(value))}({text})"


def _encode_subclass(value: object, base: type) -> str:
    """Encode an instance of a subclass of a scalar that adds behaviour but no state."""
    _refuse_more_state(value, set())
    return f"{_class_name(type(value))}({_SCALARS[base](_plain(value, base))})"


def _plain(value: Any, base: type) -> object:
    """Return the bare `base` in `value`, whatever its class makes of conversions."""
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return bytes.__getitem__(value, slice(None))
    return int.__pos__(value) if base is int else float.__pos__(value)


def _refuse_more_state(value: object, names: set[str]) -> None:
    """Refuse a value that carries more than what is encoded of it."""
    cls = type(value)
    slots = {name for each in cls.__mro__ for name in _slots(each)}
    extra = (slots | vars(value).keys() if hasattr(value, "__dict__") else slots) - names
    for name in sorted(extra):
        if not isinstance(getattr(cls, name, None), cached_property):
            raise Unencodable(f"a {class_name(cls)} carries {name!r} besides its content")


def _slots(cls: type) -> set[str]:
    """Return the names of instance variables that `cls` keeps in slots."""
    slots = cls.__dict__.get("__slots__", ())
    return {slots} if isinstance(slots, str) else set(slots) - {"__dict__", "__weakref__"}


_EXTENDABLE = (str, bytes, int, float)
_OPAQUE = (tuple, list, dict, set, frozenset)  # what a dataclass derived from them also holds

_SCALARS: dict[type, Callable[[Any], str]] = {
    type(None): repr,
    bool: repr,
    int: _encode_int,
    float: float.__repr__,
    complex: _encode_complex,
    str: _encode_str,
    bytes: _encode_bytes,
    range: _encode_range,
    Decimal: lambda value: f"Decimal({value})",
    UUID: lambda value: f"UUID({value.hex})",
    datetime: _encode_time,
    time: _encode_time,
    date: lambda value: f"date({value.isoformat()})",
    timedelta: _encode_delta,
    PurePosixPath: _encode_path,
    PosixPath: _encode_path,
    PureWindowsPath: _encode_path,
    WindowsPath: _encode_path,
}

_CONTAINERS: dict[type, Callable[[Any, int], str]] = {
    tuple: _encode_tuple,
    list: _encode_list,
    dict: _encode_dict,
    set: _encode_set,
    frozenset: _encode_set,
    re.Pattern: _encode_pattern,
}
