"""MessagePack by `ormsgpack`, with extension types for what MessagePack does not know.

An extension's code names the Python type. Its data is, for a container, the MessagePack
of its items in a list; for a `dict` with a key that is no text, of its keys and values
in turn; for a list of tuples of one width, see `rows`; for the others, see their writers here.

`ormsgpack` itself calls `default` for unknown types only. It refuses dicts with other keys
and texts with lone surrogates outright, and packs `bytearray` and `memoryview` as bytes.
So a value is packed as it is, which is fast, up to its first tuple: that may be one of many,
which go faster as rows. If it fails, the value is rewritten in Python; if it may have
swallowed a buffer, it is looked through.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pickle import PicklingError
from types import NoneType
from typing import Any, Final, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
from ormsgpack import Ext, packb, unpackb

from twofold.codecs import extensions, named
from twofold.codecs.callbacks import note, raise_interrupt
from twofold.codecs.extent import check_built, check_depth
from twofold.codecs.immutables import ZONES, is_immutable
from twofold.codecs.limits import HEAVY, may_build
from twofold.codecs.refusal import refuse
from twofold.codecs.unpacking import FOREIGN_HOOK, HOOK, OUTER_FOREIGN_HOOK, is_lost
from twofold.errors import CannotSerialize
from twofold.interrupts import raise_if_of_others

_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)

_ITEMS: dict[type, int] = {
    tuple: extensions.TUPLE,
    set: extensions.SET,
    frozenset: extensions.FROZENSET,
}
_NATIVE = frozenset({bool, bytes, float, NoneType})
_BUFFERS = frozenset({bytearray, memoryview})
_TEXTS = frozenset({str})
_NESTS = frozenset({dict, list, *_ITEMS})
_PLAIN = frozenset({bool, bytes, dict, float, int, list, NoneType, str, tuple})

_ROWS = 4  # tuples in a list that are worth the look whether they have one width
_ROWS_DEPTH = 3  # dicts in each other that are looked through for rows
_EXTENSIONS = frozenset({0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)})  # how one begins

# What `ormsgpack` says of what is no better as rows.
_NEED_REWRITING = {("Dict key must be str",), ("string contains surrogates",)}

_TOO_DEEP = (
    f"it holds itself, or nests more than {extensions.NESTING} tuples, sets and dicts with"
    " keys that are no text, or more than 250 lists and dicts, in each other"
)

_DefaultHook: TypeAlias = Callable[[Any], Ext]


class Msgpack:
    """The default serializer: exact types, safe to read from anywhere.

    A value comes back equal and of the same types, or is refused: atoms of any kind
    (also big integers, `Decimal`, `UUID`, `complex`, dates and times with fixed offsets
    or `ZoneInfo`), in lists, tuples, sets, frozensets and dicts. Subclasses of these,
    enums, dataclasses and `bytearray` are refused, but for paths, IP addresses, and types that
    are registered.
    """

    name: Final = "msgpack"
    errors: tuple[type[Exception], ...] = (ValueError,)
    may_share: Callable[[Any], bool] = staticmethod(is_immutable)

    def dumps(self, value: Any) -> bytes:
        try:
            data = packb(value, _OUTER if _is_container(value) else _up_to_a_tuple, _OPTIONS)
        except TypeError as error:
            raise_interrupt()
            unknown = error.args in _NEED_REWRITING
            return _dump_rewritten(value) if unknown else _dump_with_rows(value)
        # every buffer follows one of these marks; to find none is faster than to look at all
        if (0xC4 in data or 0xC5 in data or 0xC6 in data) and type(value) is not bytes:
            _refuse_buffers(value)
        return data

    def loads(self, data: bytes) -> Any:
        try:
            return unpackb(data, ext_hook=HOOK)
        except ValueError as error:
            if not is_lost(error):
                raise
        return self.loads(data)

    def loads_foreign(self, data: bytes) -> Any:
        if len(data) > HEAVY:
            self.bound(data, len(data))
        try:
            outer = data and data[0] in _EXTENSIONS
            return unpackb(data, ext_hook=OUTER_FOREIGN_HOOK if outer else FOREIGN_HOOK)
        except ValueError as error:
            if not is_lost(error):
                raise
        return self.loads_foreign(data)

    def bound(self, data: bytes, size: int) -> None:
        check_built(data, extensions.CONTAINERS, may_build(size))


def _is_container(value: Any) -> bool:
    """Tell whether `value` becomes an extension whose data are MessagePack."""
    return type(value) in _ITEMS or type(value) in named.by_type


def _up_to_a_tuple(value: Any) -> Ext:
    """Do as `_DEFAULT`, but stop at a tuple, which may be one of many rows."""
    kind = type(value)
    if kind is tuple:
        raise TypeError
    if kind in _ITEMS or kind in named.by_type:
        return _DEFAULT(value)
    try:
        return _write(value)
    except BaseException as exc:
        note(exc)
        raise


def _dump_with_rows(value: Any) -> bytes:
    packed: Any = value
    try:
        if type(value) is list:
            packed = _rows(value, _DEFAULT) or value
        elif type(value) is dict:
            packed = _with_rows(value, _ROWS_DEPTH)
        data = packb(packed, _DEFAULT, _OPTIONS)
    except TypeError:
        raise_interrupt()
        return _dump_rewritten(value)
    if 0xC4 in data or 0xC5 in data or 0xC6 in data:
        _refuse_buffers(packed)
    return data


def _with_rows(value: dict[Any, Any], depth: int) -> dict[Any, Any]:
    """Return `value` with each list of rows in it as an `Ext`."""
    found: dict[Any, Any] = {}
    for key, item in value.items():
        if type(item) is list and len(item) >= _ROWS:
            rows = _rows(item, _INNER)
            if rows is not None:
                found[key] = rows
        elif type(item) is dict and depth:
            found[key] = _with_rows(item, depth - 1)
    return {**value, **found} if found else value


def _rows(value: list[Any], inner: _DefaultHook) -> Ext | None:
    """Return what a database returns, a list of tuples of one width, as one `Ext`."""
    if len(value) < _ROWS or type(value[0]) is not tuple:
        return None
    width = len(value[0])
    items: list[Any] = []
    for row in value:
        if type(row) is not tuple or len(row) != width:
            return None
        items += row
    if not 0 < width <= extensions.WIDEST:
        return None
    data = packb(items, inner, _OPTIONS)
    if 0xC4 in data or 0xC5 in data or 0xC6 in data:
        _refuse_buffers(items)
    return Ext(extensions.ROWS, bytes((width,)) + data)


def _dump_rewritten(value: Any) -> bytes:
    nesting = extensions.NESTING + (type(value) is not list and not _has_text_keys(value))
    try:
        return packb(_rewrite(value, nesting), None, _OPTIONS)
    except CannotSerialize as refused:
        raise refused from refused.__cause__  # not from what was tried before
    except (TypeError, ValueError, RecursionError) as exc:
        raise_if_of_others(exc)
        raise refuse(Msgpack.name, value, _TOO_DEEP) from exc


def _has_text_keys(value: Any) -> bool:
    """Tell whether `value` is a dict that MessagePack itself knows."""
    is_of_texts = type(value) is dict and _TEXTS.issuperset(map(type, value))
    return is_of_texts and all(map(_is_unicode, value))


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
    if kind in named.by_type:
        parts = named.parts_of(Msgpack.name, value, rich=True)
        return _pack_items(extensions.NAMED, parts, nesting)
    return _write(value)


def _rewrite_dict(value: dict[Any, Any], nesting: int) -> Any:
    if _has_text_keys(value):
        return {key: _rewrite(item, nesting) for key, item in value.items()}
    return _pack_items(extensions.DICT, (part for item in value.items() for part in item), nesting)


def _pack_items(code: int, items: Iterable[Any], nesting: int) -> Ext:
    if not nesting:
        raise RecursionError
    data = packb([_rewrite(item, nesting - 1) for item in items], None, _OPTIONS)
    if nesting == extensions.CHECKED:
        check_depth(data, extensions.CONTAINERS)
    return Ext(code, data)


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_buffers(value: Any) -> None:
    """Raise if `value` is or holds a buffer, which would come back as `bytes`.

    The garbage collector tells what is in many containers at a time.
    """
    level = [value]
    while level:
        kinds = {*map(type, level)}
        if not kinds.isdisjoint(_BUFFERS):
            found = next(item for item in level if type(item) in _BUFFERS)
            raise refuse(Msgpack.name, found, "it would come back as bytes")
        if not kinds <= _PLAIN:  # others lead to their classes, and to all that those know
            level = [item for item in level if type(item) in _NESTS]
        level = gc.get_referents(*level)


def _default_over(inner: _DefaultHook, *, checks: bool) -> _DefaultHook:
    """Return a `default` for `packb` one level above `inner`."""

    def default(value: Any) -> Ext:
        try:
            code = _ITEMS.get(type(value))
            if code is None:
                if type(value) not in named.by_type:
                    return _write(value)
                code, value = extensions.NAMED, named.parts_of(Msgpack.name, value, rich=True)
            data = packb(list(value), inner, _OPTIONS)
            if checks:
                check_depth(data, extensions.CONTAINERS)
            return Ext(code, data)
        except BaseException as exc:
            note(exc)
            raise

    return default


def _write(value: Any) -> Ext:
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise refuse(Msgpack.name, value)
    return writer(value)


def _write_text(value: str) -> Ext:
    return Ext(extensions.STR, value.encode(errors="surrogatepass"))


def _write_int(value: int) -> Ext:
    return Ext(extensions.INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _write_datetime(value: datetime) -> Ext:
    fields = extensions.DATETIME_FIELDS.pack(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
    )
    zone = b"" if value.tzinfo is None else _dump_zone(value)
    return Ext(extensions.DATETIME, fields + zone)


def _write_time(value: time) -> Ext:
    fields = extensions.TIME_FIELDS.pack(
        value.hour, value.minute, value.second, value.microsecond, value.fold
    )
    zone = b"" if value.tzinfo is None else _dump_zone(value)
    return Ext(extensions.TIME, fields + zone)


def _write_timedelta(value: timedelta) -> Ext:
    return Ext(
        extensions.TIMEDELTA,
        extensions.TIMEDELTA_FIELDS.pack(value.days, value.seconds, value.microseconds),
    )


def _dump_zone(value: datetime | time) -> bytes:
    """Return the packed name of a zone, its offset, or offset and name."""
    zone = value.tzinfo
    if type(zone) not in ZONES:
        raise refuse(Msgpack.name, value, f"its tzinfo is {zone!r}")
    try:
        data = packb(_zone_name(zone) if type(zone) is ZoneInfo else _offset(zone))
    except PicklingError as exc:
        raise refuse(Msgpack.name, value, "its ZoneInfo comes from a file") from exc
    if len(data) > extensions.MAX_ZONE:
        raise refuse(Msgpack.name, value, "the name of its time zone is too long")
    return data


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
    complex: lambda value: Ext(
        extensions.COMPLEX, extensions.COMPLEX_FIELDS.pack(value.real, value.imag)
    ),
    Decimal: lambda value: Ext(extensions.DECIMAL, str(value).encode()),
    UUID: lambda value: Ext(extensions.UUID, value.bytes),
    datetime: _write_datetime,
    date: lambda value: Ext(extensions.DATE, value.toordinal().to_bytes(4, "big")),
    time: _write_time,
    timedelta: _write_timedelta,
}


def _defaults() -> Iterator[_DefaultHook]:
    """Yield what writes extensions in ever more of each other; the last two are for outermost."""
    default: _DefaultHook = _write
    for nesting in range(1, extensions.NESTING + 2):
        default = _default_over(default, checks=nesting == extensions.CHECKED)
        yield default


_INNER: _DefaultHook
_DEFAULT: _DefaultHook
_OUTER: _DefaultHook
_INNER, _DEFAULT, _OUTER = list(_defaults())[-3:]
