"""Serializers by name or dotted path; JSON, pickle, and the coat for a third party's."""

import pickle
from collections.abc import Callable
from json import JSONDecoder, JSONEncoder
from math import isfinite
from types import ModuleType, NoneType
from typing import Any, Final, Protocol

from twofold.codecs import named
from twofold.codecs.immutables import is_immutable
from twofold.codecs.limits import HEAVY, may_build
from twofold.codecs.msgpack import Msgpack
from twofold.codecs.refusal import refuse, refuse_used_up
from twofold.errors import CannotSerialize, SettingsError
from twofold.interrupts import raise_if_of_others
from twofold.spelling import did_you_mean


class Serializer(Protocol):
    """What turns values into bytes and back, as the same types.

    A third party's needs only `dumps` and `loads`; `resolve_serializer` adds the rest.
    """

    @property
    def name(self) -> str:
        """A name; entries written under another one are misses."""

    def dumps(self, value: Any) -> bytes:
        """Return `value` as bytes, or raise `CannotSerialize`."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What `loads` raises where data are damaged."""

    def loads(self, data: bytes) -> Any:
        """Return what was dumped."""

    def loads_foreign(self, data: bytes) -> Any:
        """Do what `loads` does, with data that anybody may have written.

        Raises:
            ValueError: they would need more stack or memory than they may.
        """

    def bound(self, data: bytes, size: int) -> None:
        """Raise ValueError if `data` would become more than an entry of `size` bytes may."""

    def may_share(self, value: Any) -> bool:
        """Tell whether an in-process store may hold `value` itself: it is immutable."""


_NAME = "$type"  # the one key of an object that stands for a value of a registered type
_NAMES = b'"$type"'


def _of_object(found: dict[str, Any]) -> Any:
    """Return the value that an object of JSON stands for."""
    if found.keys() != {_NAME}:
        return found
    parts = found[_NAME]
    if type(parts) is not list:
        raise ValueError("neither a value of a registered type nor a dict that has the key")
    if len(parts) == 1:
        return {_NAME: parts[0]}
    name, mark, plain = parts
    if type(mark) is not str:
        raise ValueError("no mark")
    return named.value_of([name, bytes.fromhex(mark), plain], rich=False)


class Json:
    """JSON, strictly: what would come back as something else is refused.

    Values of registered types are objects, `{"$type": [name, mark, data]}`.
    """

    name: Final = "json"
    errors: tuple[type[Exception], ...] = (ValueError, RecursionError)

    _encode = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    _decode = JSONDecoder().decode
    _decode_named = JSONDecoder(object_hook=_of_object).decode

    def dumps(self, value: Any) -> bytes:
        try:
            if not _is_exact(value):
                return self._encode(_with_names(value)).encode()
            data = self._encode(value).encode()
            return self._encode(_with_names(value)).encode() if _NAMES in data else data
        except CannotSerialize:
            raise
        except (ValueError, RecursionError) as exc:
            raise_if_of_others(exc)
            raise refuse(self.name, value, _reason(exc)) from exc

    def loads(self, data: bytes) -> Any:
        return (self._decode_named if _NAMES in data else self._decode)(data.decode())

    def loads_foreign(self, data: bytes) -> Any:
        if len(data) > HEAVY:
            self.bound(data, len(data))
        return self.loads(data)

    def bound(self, data: bytes, size: int) -> None:
        may = may_build(size)
        if _JSON_TIMES * len(data) <= may:
            return
        containers = data.count(b"[") + data.count(b"{")
        if _JSON_BYTE * len(data) + _JSON_CONTAINER * containers > may:
            raise ValueError(f"it might build more than {may} bytes")

    def may_share(self, value: Any) -> bool:
        return type(value) in _JSON_ATOMS or (type(value) is float and isfinite(value))


class Pickle:
    """Pickle: nearly everything, and only for stores that nobody else can write to."""

    name: Final = "pickle"
    errors: tuple[type[Exception], ...] = (Exception,)
    may_share: Callable[[Any], bool] = staticmethod(is_immutable)

    def dumps(self, value: Any) -> bytes:
        if not is_immutable(value):
            refuse_used_up(value)
        try:
            return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as exc:
            raise_if_of_others(exc)
            raise refuse(self.name, value, _reason(exc)) from exc

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301

    loads_foreign = loads

    def bound(self, data: bytes, size: int) -> None:
        """Do nothing: who writes a pickle that is read can do what he likes anyway."""


class Foreign:
    """A third party's serializer, an object with `dumps` and `loads`."""

    def __init__(self, theirs: Any) -> None:
        self.name: str = _foreign_name(theirs)
        self.errors: tuple[type[Exception], ...] = (Exception,)
        self.loads: Callable[[bytes], Any] = theirs.loads
        self.loads_foreign: Callable[[bytes], Any] = theirs.loads
        self.may_share: Callable[[Any], bool] = getattr(theirs, "may_share", lambda _: False)
        self._dumps = theirs.dumps

    def dumps(self, value: Any) -> bytes:
        refuse_used_up(value)
        try:
            data = self._dumps(value)
        except CannotSerialize:
            raise
        except Exception as exc:
            raise_if_of_others(exc)
            raise refuse(self.name, value, _reason(exc)) from exc
        if type(data) is not bytes:
            raise refuse(self.name, value, f"its dumps() returned {type(data).__name__}, not bytes")
        return data

    def bound(self, data: bytes, size: int) -> None:
        """Do nothing: only they know what their data become."""


_JSON_ATOMS = frozenset({bool, int, NoneType, str})
_JSON_TYPES = _JSON_ATOMS | {float}
_JSON_TEXTS = frozenset({str})

_JSON_TIMES = 40  # bytes at most that one byte becomes, about
_JSON_BYTE = 20  # the same, of what is neither list nor dict
_JSON_CONTAINER = 256  # bytes that a small one takes at most

_SERIALIZERS: Final[dict[str, Callable[[], Serializer]]] = {
    "msgpack": Msgpack,
    "json": Json,
    "pickle": Pickle,
}


def resolve_serializer(wanted: Any) -> Serializer:
    """Return the serializer for a name, a dotted path, a class or an object.

    Raises:
        SettingsError: there is none, or it lacks `dumps` or `loads`.
    """
    if isinstance(wanted, Msgpack | Json | Pickle | Foreign):
        return wanted
    if not isinstance(wanted, str):
        return _adopt(wanted, wanted)
    make = _SERIALIZERS.get(wanted)
    if make is not None:
        return make()
    if "." not in wanted and ":" not in wanted:
        hint = did_you_mean(wanted, _SERIALIZERS)
        raise SettingsError(
            f"SERIALIZER {wanted!r} is none of 'msgpack', 'json', 'pickle',"
            f" nor the dotted path of a class{hint}"
        )
    return _adopt(_find(wanted), wanted)


def _find(path: str) -> Any:
    from pkgutil import resolve_name

    try:
        return resolve_name(path)
    except (ImportError, AttributeError, ValueError) as exc:
        raise SettingsError(
            f"SERIALIZER {path!r} cannot be imported: {exc}. Give the dotted path of a class,"
            " or of an object, with dumps(value) and loads(data)."
        ) from exc


def _adopt(found: Any, wanted: object) -> Serializer:
    try:
        theirs = found() if isinstance(found, type) else found
    except Exception as exc:
        raise SettingsError(f"SERIALIZER {wanted!r} cannot be made: {_reason(exc)}") from exc
    if isinstance(theirs, Msgpack | Json | Pickle):
        return theirs
    if not (callable(getattr(theirs, "dumps", None)) and callable(getattr(theirs, "loads", None))):
        raise SettingsError(
            f"SERIALIZER {wanted!r} has no dumps(value) and loads(data); a serializer needs both."
        )
    return Foreign(theirs)


def _foreign_name(theirs: object) -> str:
    """Return a name with a colon, which no built-in name has."""
    if isinstance(theirs, ModuleType):
        return f"{theirs.__name__}:"
    return f"{type(theirs).__module__}:{type(theirs).__qualname__}"


def _reason(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "it holds itself, or is nested too deep"
    return f"{type(exc).__name__}: {exc}"


def _is_exact(value: Any) -> bool:
    """Tell whether JSON brings `value` back as it is, if it can be written at all."""
    kind = type(value)
    if kind in _JSON_TYPES:
        return True
    if kind is not dict and kind is not list:
        return False
    items = value
    if kind is dict:
        _refuse_keys(value)
        items = value.values()
    return _JSON_TYPES.issuperset(map(type, items)) or all(map(_is_exact, items))


def _with_names(value: Any) -> Any:
    """Return `value` with objects in the place of values of registered types, or raise."""
    kind = type(value)
    if kind in _JSON_TYPES:
        return value
    if kind is list:
        return [_with_names(item) for item in value]
    if kind is dict:
        _refuse_keys(value)
        found = {key: _with_names(item) for key, item in value.items()}
        return {_NAME: [found[_NAME]]} if found.keys() == {_NAME} else found
    name, mark, plain = named.parts_of(Json.name, value, rich=False)
    return {_NAME: [name, mark.hex(), _with_names(plain)]}


def _refuse_keys(value: dict[Any, Any]) -> None:
    if _JSON_TEXTS.issuperset(map(type, value)):
        return
    key = next(key for key in value if type(key) is not str)
    raise refuse(Json.name, key, "as a key, it would come back as text")
