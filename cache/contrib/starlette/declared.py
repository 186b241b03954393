"""What a FastAPI path operation says that it reads: headers and cookies enter `Vary`."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from starlette.types import Scope

_BY_AUTHORIZATION = ("http", "oauth2", "openIdConnect")
"""Kinds of security schemes that read this field."""


def declared_headers(scope: Scope) -> set[str]:
    """Return the header fields that the route of `scope` and its dependencies declare.

    Those are `Header()` and `Cookie()` parameters, models of them, and security schemes;
    of dependencies that are overridden, what stands in their place. Nobody knows what code
    reads of a whole `Request`; and a route that is not FastAPI's declares nothing.

    Args:
        scope: as the endpoint has it.
    """
    route = effective_route(scope)
    dependant = getattr(route, "dependant", None)
    if dependant is None:
        return set()
    provider = getattr(route, "dependency_overrides_provider", None)
    return set(_fields(dependant, getattr(provider, "dependency_overrides", {})))


def effective_route(scope: Scope) -> Any:
    """Return the route that answers, with what the routers that include it add to it.

    Newer versions of FastAPI keep that beside the route itself.
    """
    route = scope.get("route")
    effective = scope.get("fastapi", {}).get("effective_route_context")
    return effective if getattr(effective, "original_route", None) is route else route


def _fields(dependant: Any, overrides: Mapping[Any, Any]) -> Iterator[str]:
    for parameter in dependant.header_params:
        yield from _names(parameter)
    if dependant.cookie_params:
        yield "cookie"
    yield from _of_scheme(getattr(dependant.call, "model", None))
    for each in dependant.dependencies:
        yield from _fields(_overridden(each, overrides), overrides)


def _overridden(dependant: Any, overrides: Mapping[Any, Any]) -> Any:
    """Return what FastAPI asks in place of a dependency."""
    call = overrides.get(dependant.call, dependant.call) if overrides else dependant.call
    if call is dependant.call:
        return dependant
    from fastapi.dependencies.utils import get_dependant

    return get_dependant(path="", call=call)


def _of_scheme(scheme: Any) -> Iterator[str]:
    """Return the field that a security scheme reads."""
    place = getattr(getattr(scheme, "in_", None), "value", None)
    if place == "header":
        yield scheme.name.lower()
    elif place == "cookie":
        yield "cookie"
    elif getattr(getattr(scheme, "type_", None), "value", None) in _BY_AUTHORIZATION:
        yield "authorization"


def _names(parameter: Any) -> Iterator[str]:
    """Return the header of a parameter; of a model of headers, those of its fields."""
    annotation = parameter.field_info.annotation
    models = [each for each in (annotation, *get_args(annotation)) if _has_fields(each)]
    for model in models:
        yield from _of_model(model)
    if not models:
        own = _spellings(parameter.field_info.validation_alias)
        reads_own = own and hasattr(parameter, "validation_alias")  # in newer versions
        yield from own if reads_own else {parameter.alias.lower()}


def _has_fields(annotation: Any) -> bool:
    return isinstance(getattr(annotation, "model_fields", None), dict)


def _of_model(model: Any) -> Iterator[str]:
    """Return the headers of a model; "*" for one that looks at whatever else was sent."""
    config = model.model_config
    if config.get("extra") in ("allow", "forbid"):
        yield "*"
    for name, field in model.model_fields.items():
        aliases = _spellings(field.validation_alias or field.alias)
        yield from aliases
        by_name = config.get("validate_by_name") or config.get("populate_by_name")
        if not aliases or by_name or config.get("validate_by_alias") is False:
            yield from {name.lower(), name.lower().replace("_", "-")}


def _spellings(alias: Any) -> set[str]:
    """Return the names that an alias, a choice of aliases or a path begins with."""
    if alias is None:
        return set()
    if isinstance(alias, str):
        return {alias.lower()}
    if choices := getattr(alias, "choices", None):
        return {name for each in choices for name in _spellings(each)}
    return {str(alias.path[0]).lower()}
