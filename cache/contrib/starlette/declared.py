"""What a FastAPI path operation says that it reads: headers and cookies enter `Vary`."""

from collections.abc import Iterator
from typing import Any


def declared_headers(route: Any) -> set[str]:
    """Return the header fields that a route and its dependencies declare as parameters.

    Those are `Header()` and `Cookie()` parameters and API keys. Nobody knows what code
    reads of a whole `Request`; and a route that is not FastAPI's declares nothing.
    """
    dependant = getattr(route, "dependant", None)
    return set() if dependant is None else set(_fields(dependant))


def _fields(dependant: Any) -> Iterator[str]:
    for parameter in dependant.header_params:
        yield from _names(parameter)
    if dependant.cookie_params:
        yield "cookie"
    scheme: Any = getattr(dependant.call, "model", None)
    place = getattr(getattr(scheme, "in_", None), "value", None)
    if place in ("header", "cookie"):
        yield scheme.name.lower() if place == "header" else place
    for each in dependant.dependencies:
        yield from _fields(each)


def _names(parameter: Any) -> Iterator[str]:
    """Return the header of a parameter; of a model of headers, those of its fields."""
    fields = getattr(parameter.field_info.annotation, "model_fields", None)
    if fields is None:
        yield parameter.alias.lower()
        return
    for name, field in fields.items():
        yield from {(field.alias or name).lower(), (field.alias or name).lower().replace("_", "-")}
