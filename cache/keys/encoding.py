"""A value as text that no value of another type or content shares.

Only structural encodings are used: the text tells the type and the whole content of the
value. Neither `repr` nor `hash` of a foreign type is trusted. A custom `__repr__` is no
identity: that of an array or a data frame leaves out the middle, that of an ORM object
leaves out fields; two different values would meet in one key, and one caller would read
the other's result. What has no structural encoding is refused with `Unencodable`.

The text is printable ASCII without blanks, and balanced: brackets and quotes outside of
quoted text close, so that encodings joined by commas never run into each other.
"""

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
from typing import Any, TypeAlias
from uuid import UUID

from twofold.keys.names import class_name, digest, module_name
from twofold.keys.proxies import is_proxy, unwrap

_MAX_DEPTH = 64
_LONG_INT = 128  # bits; Python refuses to write very long ones in decimal
_LONG = 1024  # characters that a text has at most; a longer one is digested

_Seen: TypeAlias = dict[int, tuple[object, str]]
"""The texts of objects that one encoding has met, by id; each is kept alive with its own."""


class Unencodable(Exception):
    """The reason why a value has no structural encoding."""


class Opaque(Unencodable):
    """The same, where nothing but the class of the value could help."""


def encode(value: object) -> str:
    """Return the typed text of `value`, in time and length that its size bounds.

    Raises:
        Unencodable: its content cannot be told, or is nested in itself or too deeply.
    """
    scalar = _SCALARS.get(type(value))
    return _walk(value, 0, {}) if scalar is None else scalar(value)


def _walk(value: object, depth: int, seen: _Seen) -> str:
    """Return the text of what is no scalar; of what is met again, the one made before.

    What holds one list twice, on each of thirty levels, is small, but the text of its
    content would have a billion parts: so long texts stand in others by their digest.
    """
    name = id(value)
    if name in seen:
        return seen[name][1]
    if depth > _MAX_DEPTH:
        raise Unencodable(f"it is nested in itself, or more than {_MAX_DEPTH} levels deep")
    text = _CONTAINERS.get(type(value), _encode_instance)(value, depth + 1, seen)
    if len(text) > _LONG:
        text = f"#{digest(text)}"
    seen[name] = value, text
    return text


def is_immutable(value: object) -> bool:
    """Tell whether the encoding of `value` is the same for as long as it lives."""
    if type(value) in (tuple, frozenset):
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    return type(value) in _SCALARS or issubclass(type(value), Enum | type)  # a proxy denies its own


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
    bits = value.bit_length()
    if bits <= _LONG_INT:
        return int.__repr__(value)
    return hex(value) if bits <= 4 * _LONG else f"int#{digest(hex(value))}"


def _encode_str(value: str) -> str:
    if len(value) > _LONG:
        return f"str#{digest(value)}"
    return ascii(value).replace(" ", "\\x20")


def _encode_bytes(value: bytes) -> str:
    if len(value) > _LONG:
        return f"bytes#{digest(value)}"
    return bytes.__repr__(value).replace(" ", "\\x20")


def _encode_decimal(value: Decimal) -> str:
    text = str(value)
    return f"Decimal({text})" if len(text) <= _LONG else f"Decimal#{digest(text)}"


def _encode_complex(value: complex) -> str:
    return f"complex({value.real!r},{value.imag!r})"


def _encode_range(value: range) -> str:
    return f"range({','.join(map(_encode_int, (value.start, value.stop, value.step)))})"


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


def _encode_part(value: object, depth: int, seen: _Seen) -> str:
    scalar = _SCALARS.get(type(value))
    return _walk(value, depth, seen) if scalar is None else scalar(value)


def _encode_all(values: Iterable[object], depth: int, seen: _Seen) -> list[str]:
    texts = []
    for value in values:  # a comprehension would be a call more, and so would `_encode_part`
        scalar = _SCALARS.get(type(value))
        texts.append(scalar(value) if scalar else _walk(value, depth, seen))
    return texts


def _encode_tuple(value: tuple[object, ...], depth: int, seen: _Seen) -> str:
    return f"({','.join(_encode_all(value, depth, seen))})"


def _encode_list(value: list[object], depth: int, seen: _Seen) -> str:
    return f"[{','.join(_encode_all(value, depth, seen))}]"


def _encode_dict(value: dict[object, object], depth: int, seen: _Seen) -> str:
    items = []
    for key, each in value.items():  # not by `_encode_part`: two calls less for each item
        scalar = _SCALARS.get(type(key))
        name = scalar(key) if scalar else _walk(key, depth, seen)
        scalar = _SCALARS.get(type(each))
        items.append(f"{name}:{scalar(each) if scalar else _walk(each, depth, seen)}")
    items.sort()
    return f"{{{','.join(items)}}}"


def _encode_set(value: set[object] | frozenset[object], depth: int, seen: _Seen) -> str:
    return f"{type(value).__name__}({','.join(sorted(_encode_all(value, depth, seen)))})"


def _encode_pattern(value: re.Pattern[Any], depth: int, seen: _Seen) -> str:
    return f"re.Pattern({_encode_part(value.pattern, depth, seen)},{value.flags})"


def _encode_instance(value: Any, depth: int, seen: _Seen) -> str:
    """Encode an instance of a type that is not of the fixed ones.

    Its type counts, never its `__class__`: a mock of a UUID says there that it is one.
    """
    cls = type(value)
    if hasattr(cls, "__cache_key__") and not issubclass(cls, type):
        identity = _encode_part(value.__cache_key__(), depth, seen)
        return f"{_ascii(class_name(cls))}({identity})"
    if issubclass(cls, _NAMED):
        return _global_name(value)
    if issubclass(cls, Flag):
        return f"{_global_name(cls)}({_encode_part(value.value, depth, seen)})"
    if issubclass(cls, Enum):
        return f"{_global_name(cls)}.{_ascii(value.name)}"
    if issubclass(cls, UUID):
        return f"{_class_name(cls)}({value.hex})"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _encode_fields(value, cls._fields, value, depth, seen)
    base = next((base for base in _EXTENDABLE if issubclass(cls, base)), None)
    if base is not None:
        return _encode_subclass(value, base)
    if is_dataclass(cls) and not issubclass(cls, _OPAQUE):
        names = [field.name for field in fields(cls)]
        each = [getattr(value, name) for name in names]
        return _encode_fields(value, names, each, depth, seen)
    if is_proxy(value):  # last, since asking an Enum's class for what it lacks is slow
        return _encode_part(unwrap(value), depth, seen)
    raise Opaque(f"the content of {class_name(cls)} cannot be told from outside")


def _encode_fields(
    value: object, names: Iterable[str], values: Iterable[object], depth: int, seen: _Seen
) -> str:
    """Encode a named tuple or a dataclass: its class and all its fields."""
    _refuse_more_state(value, set(names))
    pairs = zip(names, _encode_all(values, depth, seen), strict=True)
    text = ",".join(f"{_ascii(name)}={each}" for name, each in pairs)
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
    extra = (slots | vars(value).keys() if hasattr(value, "__dict__") else slots) - names - _TYPING
    for name in sorted(extra):
        if not isinstance(getattr(cls, name, None), cached_property):
            raise Unencodable(f"a {class_name(cls)} carries {name!r} besides its content")


def _slots(cls: type) -> set[str]:
    """Return the names of instance variables that `cls` keeps in slots."""
    slots = cls.__dict__.get("__slots__", ())
    return {slots} if isinstance(slots, str) else set(slots) - {"__dict__", "__weakref__"}


_TYPING = {"__orig_class__"}  # what `Box[int](1)` leaves on a `Box(1)`, which is its equal
_NAMED = (type, FunctionType, BuiltinFunctionType)
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
    Decimal: _encode_decimal,
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

_CONTAINERS: dict[type, Callable[[Any, int, _Seen], str]] = {
    tuple: _encode_tuple,
    list: _encode_list,
    dict: _encode_dict,
    set: _encode_set,
    frozenset: _encode_set,
    re.Pattern: _encode_pattern,
}
