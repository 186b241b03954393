"""msgspec and pydantic: imported when a type is to be converted, and not before."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias
from uuid import UUID

from twofold.interrupts import raise_if_of_others
from twofold.types.outline import TEXTS, Outline

_Way: TypeAlias = tuple[
    tuple[Callable[[Any], Any], ...], Callable[[Any], Any], Callable[[bytes], Any] | None
]
"""What makes plain data of a value, the best first; what makes a value of such; and what makes
one of their MessagePack, where that goes without them."""

_PLAIN = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)
"""What serializers keep that keep the types of Python, and msgspec would turn into text."""


class Refused(Exception):
    """A library does not know a type; the text says why."""


def _msgspec() -> Any:
    try:
        return import_module("msgspec")
    except ImportError as exc:
        raise Refused("values of types are converted by msgspec: pip install msgspec") from exc


def by_msgspec(annotation: Any, rich: bool) -> _Way:
    """Return how msgspec converts a type."""
    msgspec = _msgspec()
    given = {"builtin_types": _PLAIN} if rich else {"str_keys": True}
    encode, decode = msgspec.json.encode, msgspec.json.decode
    try:
        msgspec.msgpack.Decoder(annotation, dec_hook=_of_plain)
    except Exception as exc:  # of many kinds: numbers of 64 bits and more are not implemented
        raise_if_of_others(exc)
        raise Refused(str(exc)) from exc
    to_builtins, convert = msgspec.to_builtins, msgspec.convert

    def to_plain(value: Any) -> Any:
        return to_builtins(value, enc_hook=_to_plain, **given)

    def to_json(value: Any) -> Any:
        return decode(encode(value, enc_hook=_to_plain))

    outline = Outline(annotation)
    hook: dict[str, Any] = {"dec_hook": _of_plain} if outline.has_others else {}  # it costs time
    from_plain = partial(convert, type=annotation, **hook, **({} if rich else {"str_keys": True}))
    if not rich:
        return (to_json,), from_plain, None
    decoder = msgspec.msgpack.Decoder(annotation, ext_hook=_refuse_extension, **hook)
    return (to_plain,), from_plain, None if outline.has_extensions else decoder.decode


def checker(annotation: Any, rich: bool) -> Callable[[Any], Any]:
    """Return what makes a value of a type of data: the same, or it raises or makes another one."""
    try:
        _, check, _ = by_msgspec(annotation, rich)
    except Refused:  # it knows no union of types that it would read from the same data
        check = partial(_adapter(annotation).validator.validate_python, strict=True)
    return check


def _to_plain(value: Any) -> Any:
    if isinstance(value, TEXTS):
        return str(value)
    if type(value) is complex:
        return [value.real, value.imag]
    raise TypeError(f"a value of type {type(value).__qualname__} is in it")


def _refuse_extension(code: int, _data: memoryview) -> Any:
    raise ValueError(f"extension {code} is what the serializer reads")


def _of_plain(kind: type, data: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, TEXTS) and type(data) is str:
        return kind(data)
    if kind is complex:
        return complex(*map(float, data))
    raise TypeError(f"no {kind} can be made of it")


def by_pydantic(annotation: Any, rich: bool) -> _Way:
    """Return how pydantic converts a type: by its JSON, or else by what it makes of that in Python.

    JSON keeps no infinite numbers, and no bytes that are no text.
    """
    to_builtins: Any = _msgspec().to_builtins
    adapter = _adapter(annotation)
    given = {"builtin_types": _PLAIN} if rich else {"str_keys": True}
    text = bytes if rich else str
    dump_json, dump_python = adapter.dump_json, adapter.dump_python
    validate_json, validate_python = adapter.validator.validate_json, adapter.validate_python
    if _has_aliases(adapter.core_schema):  # to say so takes a third of the time of a small model
        validate_json = partial(validate_json, by_alias=False, by_name=True)

    def to_json(value: Any) -> Any:
        dumped = dump_json(value, by_alias=False, round_trip=True, warnings="error")
        return dumped if rich else dumped.decode()

    def to_python(value: Any) -> Any:
        dumped = dump_python(value, by_alias=False, round_trip=True, warnings="error")
        return [to_builtins(dumped, enc_hook=_to_plain, **given)]

    def from_plain(plain: Any) -> Any:
        if type(plain) is text:
            return validate_json(plain)
        (data,) = plain
        return validate_python(data, by_alias=False, by_name=True)

    return (to_json, to_python), from_plain, None


def _adapter(annotation: Any) -> Any:
    try:
        return import_module("pydantic").TypeAdapter(annotation)
    except Exception as exc:  # of many kinds: its own, and those of a class's hooks
        raise_if_of_others(exc)
        raise Refused(str(exc)) from exc


def reason(error: Exception) -> str:
    """Return what a library says of a value, without that: it may be for no log."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        first = errors(include_url=False, include_context=False, include_input=False)[0]
        return ": ".join((".".join(map(str, first["loc"])), first["msg"])).removeprefix(": ")
    text, _, value = " ".join(str(error).split()).partition("input_value=")
    return f"{type(error).__name__}: {text.rstrip(' ,[') if value else text}"


def _has_aliases(schema: Any) -> bool:
    """Tell whether a schema of pydantic's has fields that data may have by other names."""
    if isinstance(schema, Mapping):
        return not _ALIASES.isdisjoint(schema) or any(map(_has_aliases, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_has_aliases, schema))


_ALIASES = frozenset({"alias", "validation_alias"})
