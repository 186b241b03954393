"""The fields of classes that have some, whoever made the class: names, types, names in data."""

from dataclasses import fields as fields_of_dataclass
from dataclasses import is_dataclass
from typing import Any, NamedTuple, get_type_hints, is_typeddict


class Field(NamedTuple):
    """One field of a class."""

    name: str
    annotation: Any
    label: str
    """What it is called in the data, and whatever else tells how it stands there."""


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
    labels = getattr(kind, "__struct_encode_fields__", names)
    return [
        Field(name, hints.get(name, Any), label) for name, label in zip(names, labels, strict=True)
    ]


def _of_pydantic(kind: Any) -> list[Field]:
    if not getattr(kind, "__pydantic_complete__", True) and hasattr(kind, "model_rebuild"):
        kind.model_rebuild(raise_errors=False)
        if not kind.__pydantic_complete__:
            raise NameError(f"{kind.__qualname__} names types that are not there yet")
    return [
        Field(
            name,
            each.annotation,
            f"{name} {each.alias} {each.validation_alias} {each.serialization_alias}",
        )
        for name, each in kind.__pydantic_fields__.items()
    ]
