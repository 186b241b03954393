"""Reading MessagePack with the extension types for Python's types.

`ormsgpack` calls a hook for each extension. Hooks nest as extensions do, so there is one for
each level, and none for a level too many.
"""

import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache, lru_cache
from os.path import isfile, join
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from ormsgpack import unpackb

from twofold.codecs import extensions, named
from twofold.codecs.callbacks import note, raise_interrupt
from twofold.codecs.extent import check_depth

_ExtHook: TypeAlias = Callable[[int, bytes], Any]
_Makers: TypeAlias = Mapping[int, Callable[[list[Any]], Any]]


def _ext_hook_over(inner: _ExtHook | None, makers: _Makers, *, checks: bool) -> _ExtHook:
    """Return an `ext_hook` for `unpackb` one level above `inner`."""
    unpack = _unpack_checked if checks else unpackb

    def ext_hook(code: int, data: bytes) -> Any:
        try:
            make = makers.get(code)
            if make is None:
                return _READERS[code](data)
            if code != extensions.ROWS:
                return make(unpack(data, ext_hook=inner))
            return make([data[:1], unpack(data[1:], ext_hook=inner)])
        except BaseException as exc:
            if exc.args != _HOOK_FAILED:
                note(exc)
            raise

    return ext_hook


def _unpack_checked(data: bytes, ext_hook: _ExtHook | None) -> Any:
    check_depth(data, extensions.CONTAINERS)
    return unpackb(data, ext_hook=ext_hook)


def is_lost(error: ValueError) -> bool:
    """Tell whether something came into a hook before its first step, and is lost.

    Then nothing is wrong with the data. What came later is raised.
    """
    return not raise_interrupt() and error.args == _HOOK_FAILED


_HOOK_FAILED = ("ext_hook failed",)


def _make_foreign_set(items: list[Any]) -> set[Any]:
    if len(items) > _MAY_COLLIDE:
        _refuse_collisions(items)
    return set(items)


def _make_foreign_frozenset(items: list[Any]) -> frozenset[Any]:
    if len(items) > _MAY_COLLIDE:
        _refuse_collisions(items)
    return frozenset(items)


def _make_foreign_dict(parts: list[Any]) -> dict[Any, Any]:
    if len(parts) > _MAY_COLLIDE:
        _refuse_collisions(parts[::2])
    return _make_dict(parts)


def _refuse_collisions(keys: list[Any]) -> None:
    """Raise ValueError where hashes were chosen to be the same, which takes quadratic time."""
    if len(keys) > _MAY_COLLIDE and len(keys) - len(set(map(hash, keys))) > _COLLISIONS:
        raise ValueError("too many keys have the same hash")


_MAY_COLLIDE = 4096  # so many do not take long, whatever their hashes
_COLLISIONS = 1024


def _make_rows(parts: list[Any]) -> list[tuple[Any, ...]]:
    width, items = parts
    if type(items) is not list:  # the letters of a text, and the keys of a dict, are no items
        raise ValueError("rows without a list of items")
    return [*zip(*[iter(items)] * ord(width), strict=True)]


def _make_named(parts: list[Any]) -> Any:
    return named.value_of(parts, rich=True)


def _make_dict(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _read_datetime(data: bytes) -> datetime:
    year, month, day, hour, minute, second, micro, fold = extensions.DATETIME_FIELDS.unpack_from(
        data
    )
    zone = _load_zone(data[extensions.DATETIME_FIELDS.size :])
    return datetime(year, month, day, hour, minute, second, micro, zone, fold=fold)


def _read_time(data: bytes) -> time:
    hour, minute, second, micro, fold = extensions.TIME_FIELDS.unpack_from(data)
    return time(
        hour, minute, second, micro, _load_zone(data[extensions.TIME_FIELDS.size :]), fold=fold
    )


def _load_zone(data: bytes) -> timezone | ZoneInfo | None:
    if not data:
        return None
    if len(data) > extensions.MAX_ZONE:
        raise ValueError("a time zone with a longer name than was ever written")
    zone = unpackb(data)
    if isinstance(zone, str):
        return _named_zone(zone)
    micros, *name = zone if isinstance(zone, list) else [zone]
    return timezone(timedelta(microseconds=micros), *name)


@lru_cache(maxsize=512)
def _named_zone(name: str) -> ZoneInfo:
    # Of what is no file `ZoneInfo` would import a part of the package `tzdata`, by that name.
    is_file = any(isfile(join(each, name)) for each in zoneinfo.TZPATH)
    if not is_file and name not in _names_of_zones():
        raise ValueError(f"no time zone {name!r}")
    try:
        return ZoneInfo(name)
    except PermissionError as exc:
        raise ValueError(f"no time zone {name!r}") from exc


_names_of_zones = cache(zoneinfo.available_timezones)  # they take a moment to find


_MAKERS: dict[int, Callable[[list[Any]], Any]] = {
    extensions.TUPLE: tuple,
    extensions.SET: set,
    extensions.FROZENSET: frozenset,
    extensions.DICT: _make_dict,
    extensions.ROWS: _make_rows,
    extensions.NAMED: _make_named,
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    extensions.STR: lambda data: data.decode(errors="surrogatepass"),
    extensions.INT: lambda data: int.from_bytes(data, "big", signed=True),
    extensions.COMPLEX: lambda data: complex(*extensions.COMPLEX_FIELDS.unpack(data)),
    extensions.DECIMAL: lambda data: Decimal(data.decode()),
    extensions.UUID: lambda data: UUID(bytes=data),
    extensions.DATETIME: _read_datetime,
    extensions.DATE: lambda data: date.fromordinal(int.from_bytes(data, "big")),
    extensions.TIME: _read_time,
    extensions.TIMEDELTA: lambda data: timedelta(*extensions.TIMEDELTA_FIELDS.unpack(data)),
}


_FOREIGN_MAKERS = {
    **_MAKERS,
    extensions.SET: _make_foreign_set,
    extensions.FROZENSET: _make_foreign_frozenset,
    extensions.DICT: _make_foreign_dict,
}


def _ext_hooks(makers: _Makers, *, checks: bool) -> Iterator[_ExtHook]:
    """Yield what reads extensions in ever more of each other."""
    ext_hook = _ext_hook_over(None, {}, checks=False)
    for nesting in range(1, extensions.NESTING + 2):
        checked = checks and nesting == extensions.CHECKED
        ext_hook = _ext_hook_over(ext_hook, makers, checks=checked)
        yield ext_hook


HOOK: _ExtHook
FOREIGN_HOOK: _ExtHook
OUTER_FOREIGN_HOOK: _ExtHook
HOOK = list(_ext_hooks(_MAKERS, checks=False))[-1]
FOREIGN_HOOK, OUTER_FOREIGN_HOOK = list(_ext_hooks(_FOREIGN_MAKERS, checks=True))[-2:]
