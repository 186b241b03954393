"""MessagePack by `ormsgpack`, with extension types for what MessagePack does not know.

An extension's code names the Python type. Its data is, for a container, the MessagePack
of its items in a list; for a `dict` with a key that is no text, of its keys and values
in turn; for the others, see their writers here.

`ormsgpack` itself calls `default` for unknown types only. It refuses dicts with other keys
and texts with lone surrogates outright, and packs `bytearray` and `memoryview` as bytes.
So a value is packed as it is, which is fast; if that fails, or may have swallowed a
buffer, the value is rewritten or looked through in Python first.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pickle import PicklingError
from struct import Struct
from types import NoneType
from typing import Any, Final, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
from ormsgpack import Ext, packb, unpackb

from twofold.codecs.immutables import ZONES, is_immutable
from twofold.codecs.refusal import refuse
from twofold.errors import CannotSerialize

_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)

# Each level may hold 1,024 levels of lists, of about 550 bytes of C stack each, when a
# forged entry is unpacked: all of them must fit into the 8 MB of a thread.
_NESTING = 12

_TUPLE, _SET, _FROZENSET, _DICT, _STR, _INT, _COMPLEX = range(1, 8)
_DECIMAL, _UUID, _DATETIME, _DATE, _TIME, _TIMEDELTA = range(8, 14)

_ITEMS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_NATIVE = frozenset({bool, bytes, float, NoneType})
_BUFFERS = frozenset({bytearray, memoryview})
_NESTS = frozenset({dict, list, *_ITEMS})

_TOO_DEEP = (
    f"it holds itself, or nests more than {_NESTING} tuples, sets and dicts with keys that"
    " are no text, or more than 250 lists and dicts, in each other"
)

_DATETIME_FIELDS = Struct(">HBBBBBIB")
_TIME_FIELDS = Struct(">BBBIB")
_TIMEDELTA_FIELDS = Struct(">iII")
_COMPLEX_FIELDS = Struct(">dd")

_Default: TypeAlias = Callable[[Any], Any]
_ExtHook: TypeAlias = Callable[[int, bytes], Any]


class Msgpack:
    """The default serializer: exact types, safe to read from anywhere.

    A value comes back equal and of the same types, or is refused: atoms of any kind
    (also big integers, `Decimal`, `UUID`, `complex`, dates and times with fixed offsets
    or `ZoneInfo`), in lists, tuples, sets, frozensets and dicts. Subclasses of these,
    enums, dataclasses and `bytearray` are refused.
    """

    name: Final = "msgpack"
    keeps: Callable[[Any], bool] = staticmethod(is_immutable)

    def dumps(self, value: Any) -> bytes:
        try:
            data = packb(value, _DEFAULT, _OPTIONS)
        except TypeError:
            return _dump_rewritten(value)
        # every buffer follows one of these marks; to find none is faster than to look at all
        if 0xC4 in data or 0xC5 in data or 0xC6 in data:
            _refuse_buffers(value)
        return data

    def loads(self, data: bytes) -> Any:
        return unpackb(data, ext_hook=_EXT_HOOK)


def _dump_rewritten(value: Any) -> bytes:
    try:
        return packb(_rewrite(value, _NESTING), None, _OPTIONS)
    except CannotSerialize:
        raise
    except (TypeError, RecursionError) as exc:
        raise refuse(Msgpack.name, value, _TOO_DEEP) from exc


def _rewrite(value: Any, nesting: int) -> Any:
    """Return `value` with an `Ext` wherever `ormsgpack` would refuse what it holds."""
    kind = type(value)
    if kind in _NATIVE:
        return value
    if kind is str:
        return value if _is_unicode(value) else _write_text(value)
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else _write_int(value)
    if kind is list:
        return [_rewrite(item, nesting) for item in value]
    if kind is dict:
        return _rewrite_dict(value, nesting)
    if kind in _ITEMS:
        return _pack_items(_ITEMS[kind], value, nesting)
    return _write(value)


def _rewrite_dict(value: dict[Any, Any], nesting: int) -> Any:
    if all(type(key) is str and _is_unicode(key) for key in value):
        return {key: _rewrite(item, nesting) for key, item in value.items()}
    return _pack_items(_DICT, (part for item in value.items() for part in item), nesting)


def _pack_items(code: int, items: Iterable[Any], nesting: int) -> Ext:
    if not nesting:
        raise RecursionError
    return Ext(code, packb([_rewrite(item, nesting - 1) for item in items], None, _OPTIONS))


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_buffers(value: Any) -> None:
    """Raise if `value` is or holds a buffer, which would come back as `bytes`."""
    kind = type(value)
    if kind in _BUFFERS:
        raise refuse(Msgpack.name, value, "it would come back as bytes")
    if kind not in _NESTS:
        return
    items = value.values() if kind is dict else value
    kinds = set(map(type, items))
    if not (kinds.isdisjoint(_BUFFERS) and kinds.isdisjoint(_NESTS)):
        for item in items:
            _refuse_buffers(item)


def _default_over(inner: _Default) -> _Default:
    """Return a `default` for `packb` one level above `inner`."""

    def default(value: Any) -> Ext:
        code = _ITEMS.get(type(value))
        if code is None:
            return _write(value)
        return Ext(code, packb(list(value), inner, _OPTIONS))

    return default


def _write(value: Any) -> Ext:
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise refuse(Msgpack.name, value)
    return writer(value)


def _write_text(value: str) -> Ext:
    return Ext(_STR, value.encode(errors="surrogatepass"))


def _write_int(value: int) -> Ext:
    return Ext(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _write_datetime(value: datetime) -> Ext:
    fields = _DATETIME_FIELDS.pack(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
    )
    return Ext(_DATETIME, fields + _dump_zone(value))


def _write_time(value: time) -> Ext:
    fields = _TIME_FIELDS.pack(
        value.hour, value.minute, value.second, value.microsecond, value.fold
    )
    return Ext(_TIME, fields + _dump_zone(value))


def _write_timedelta(value: timedelta) -> Ext:
    return Ext(_TIMEDELTA, _TIMEDELTA_FIELDS.pack(value.days, value.seconds, value.microseconds))


def _dump_zone(value: datetime | time) -> bytes:
    """Return nothing for no zone, else the packed name, offset, or offset and name."""
    zone = value.tzinfo
    if zone is None:
        return b""
    if type(zone) not in ZONES:
        raise refuse(Msgpack.name, value, f"its tzinfo is {zone!r}")
    try:
        return packb(_zone_name(zone) if type(zone) is ZoneInfo else _offset(zone))
    except PicklingError as exc:
        raise refuse(Msgpack.name, value, "its ZoneInfo comes from a file") from exc


def _zone_name(zone: ZoneInfo) -> str:
    zone.__reduce__()  # raises PicklingError for a zone that has no name to find it by
    return zone.key


def _offset(zone: Any) -> int | list[int | str]:
    delta: timedelta = zone.utcoffset(None)
    name: str = zone.tzname(None)
    micros = delta // timedelta(microseconds=1)
    return micros if name == timezone(delta).tzname(None) else [micros, name]


_WRITERS: dict[type, Callable[[Any], Ext]] = {
    int: _write_int,
    complex: lambda value: Ext(_COMPLEX, _COMPLEX_FIELDS.pack(value.real, value.imag)),
    Decimal: lambda value: Ext(_DECIMAL, str(value).encode()),
    UUID: lambda value: Ext(_UUID, value.bytes),
    datetime: _write_datetime,
    date: lambda value: Ext(_DATE, value.toordinal().to_bytes(4, "big")),
    time: _write_time,
    timedelta: _write_timedelta,
}


def _ext_hook_over(inner: _ExtHook) -> _ExtHook:
    """Return an `ext_hook` for `unpackb` one level above `inner`."""

    def ext_hook(code: int, data: bytes) -> Any:
        make = _MAKERS.get(code)
        if make is None:
            return _READERS[code](data)
        return make(unpackb(data, ext_hook=inner))

    return ext_hook


def _make_dict(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _read_datetime(data: bytes) -> datetime:
    year, month, day, hour, minute, second, micro, fold = _DATETIME_FIELDS.unpack_from(data)
    zone = _load_zone(data[_DATETIME_FIELDS.size :])
    return datetime(year, month, day, hour, minute, second, micro, zone, fold=fold)


def _read_time(data: bytes) -> time:
    hour, minute, second, micro, fold = _TIME_FIELDS.unpack_from(data)
    return time(hour, minute, second, micro, _load_zone(data[_TIME_FIELDS.size :]), fold=fold)


def _load_zone(data: bytes) -> timezone | ZoneInfo | None:
    if not data:
        return None
    zone = unpackb(data)
    if isinstance(zone, str):
        return ZoneInfo(zone)
    micros, *name = zone if isinstance(zone, list) else [zone]
    return timezone(timedelta(microseconds=micros), *name)


_MAKERS: dict[int, Callable[[list[Any]], Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _DICT: _make_dict,
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _STR: lambda data: data.decode(errors="surrogatepass"),
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
    _COMPLEX: lambda data: complex(*_COMPLEX_FIELDS.unpack(data)),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
    _DATETIME: _read_datetime,
    _DATE: lambda data: date.fromordinal(int.from_bytes(data, "big")),
    _TIME: _read_time,
    _TIMEDELTA: lambda data: timedelta(*_TIMEDELTA_FIELDS.unpack(data)),
}


def _defaults() -> _Default:
    default: _Default = _write
    for _ in range(_NESTING):
        default = _default_over(default)
    return default


def _ext_hooks() -> _ExtHook:
    ext_hook: _ExtHook = lambda code, data: _READERS[code](data)  # noqa: E731
    for _ in range(_NESTING):
        ext_hook = _ext_hook_over(ext_hook)
    return ext_hook


_DEFAULT = _defaults()
_EXT_HOOK = _ext_hooks()
