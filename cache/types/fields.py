"""The fields of classes that have some, whoever made the class: names, types, names in data."""

from dataclasses import fields as fields_of_dataclass
from dataclasses import is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any, NamedTuple, get_type_hints, is_typeddict

from twofold.codecs.immutables import ATOMS


class Field(NamedTuple):
    """One field of a class."""

    name: str
    annotation: Any
    label: str
    """What it is called in the data, and whatever else tells how it stands there; what it is by
    default, where the data may not tell."""


def is_pydantic(kind: type) -> bool:
    """Tell whether pydantic made a class."""
    return "__pydantic_core_schema__" in vars(kind) or hasattr(kind, "__pydantic_fields__")


def names_of_fields(kind: type) -> tuple[str, ...] | None:
    """Return the names of the fields that tell values of a class apart; None if it has none."""
    if hasattr(kind, "__pydantic_fields__") and not is_dataclass(kind):
        return (*kind.__pydantic_fields__, "__pydantic_extra__")
    if is_dataclass(kind):
        return tuple(each.name for each in fields_of_dataclass(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(each.name for each in kind.__attrs_attrs__)
    if hasattr(kind, "__struct_fields__"):
        return tuple(kind.__struct_fields__)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple(kind._fields)
    return None


def fields_of(kind: type) -> list[Field] | None:
    """Return the fields of a class, with their annotations resolved; None if it has none.

    Raises:
        NameError: an annotation names what is not there yet, or cannot be found.
    """
    if hasattr(kind, "__pydantic_fields__"):
        return _of_pydantic(kind)
    names = names_of_fields(kind)
    if names is None and not is_typeddict(kind):
        return None
    hints = get_type_hints(kind, include_extras=True)
    if names is None:
        names = tuple(hints)
    labels, untold = getattr(kind, "__struct_encode_fields__", names), _untold(kind)
    return [
        Field(name, hints.get(name, Any), f"{label}{untold.get(name, '')}")
        for name, label in zip(names, labels, strict=True)
    ]


def _untold(kind: Any) -> dict[str, str]:
    """Return what fields are by default of which the data may say nothing."""
    if is_dataclass(kind):
        return {each.name: _default(each) for each in fields_of_dataclass(kind) if not each.init}
    if hasattr(kind, "__attrs_attrs__"):
        return {each.name: _default(each) for each in kind.__attrs_attrs__ if not each.init}
    if hasattr(kind, "__struct_config__") and kind.__struct_config__.omit_defaults:
        structs = import_module("msgspec.structs")
        return {each.name: _default(each) for each in structs.fields(kind)}
    return {}


def _default(field: Any) -> str:
    """Return a text of what a field is by default, the same in every process."""
    value, make = field.default, getattr(field, "default_factory", None)
    if callable(make):
        return f" = {getattr(make, '__qualname__', type(make).__name__)}()"
    if isinstance(value, Enum):
        value = value.value
    return f" = {value!r}" if type(value) in ATOMS else f" = {type(value).__name__}"


def _of_pydantic(kind: Any) -> list[Field]:
    if not getattr(kind, "__pydantic_complete__", True) and hasattr(kind, "model_rebuild"):
        kind.model_rebuild(raise_errors=False)
        if not kind.__pydantic_complete__:
            raise NameError(f"{kind.__qualname__} names types that are not there yet")
    return [
        Field(
            name,
            each.annotation,
            f"{name} {each.alias} {each.validation_alias} {each.serialization_alias}"
            f"{_default(each) if _is_untold(each) else ''}",
        )
        for name, each in kind.__pydantic_fields__.items()
    ]


def _is_untold(field: Any) -> bool:
    """Tell whether data may say nothing of a field of pydantic's."""
    excludes = field.exclude or getattr(field, "exclude_if", None) is not None
    return bool(excludes) or field.init is False
