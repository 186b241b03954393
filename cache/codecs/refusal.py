"""Why a value cannot be stored, and what to do about it."""

import inspect
import sys

from twofold.errors import CannotSerialize


def refuse(serializer: str, value: object, why: str = "") -> CannotSerialize:
    """Return the error for a value that `serializer` cannot bring back as it is."""
    if inspect.isawaitable(value):
        return _awaitable(value)
    if _is_of_django(value):
        return _of_django(serializer, value)
    advice = [
        "let the annotation of the function name the type, or `twofold.register_type` it",
        "store a plain form of it",
        "choose SERIALIZER 'pickle' if only you can write to the store",
        "choose SERIALIZER None on a memory alias",
    ]
    if serializer == "pickle":
        del advice[2]
    return CannotSerialize(
        f"The serializer {serializer!r} cannot hold a value of type {type_name(value)}"
        f"{why and ': '}{why}. Either {', or '.join(advice)}."
    )


def _is_of_django(value: object) -> bool:
    """Tell whether `value` is a model's instance, or a query."""
    models = sys.modules.get("django.db.models")
    kinds = [getattr(models, name, None) for name in ("Model", "QuerySet")]
    return isinstance(value, tuple(kind for kind in kinds if kind is not None))


def _of_django(serializer: str, value: object) -> CannotSerialize:
    return CannotSerialize(
        f"The serializer {serializer!r} cannot hold a value of type {type_name(value)}, which"
        " belongs to Django's database. Store its primary key, or what `.values()` returns as a"
        " list; or choose SERIALIZER 'pickle' if only you can write to the store, and give"
        " `list(queryset)`."
    )


def refuse_awaitable(value: object) -> None:
    """Raise `CannotSerialize` if `value` would have to be awaited."""
    if inspect.isawaitable(value):
        raise _awaitable(value)


def type_name(value: object) -> str:
    """Return the full name of the type of `value`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _awaitable(value: object) -> CannotSerialize:
    return CannotSerialize(
        f"A value of type {type_name(value)} cannot be stored, for it can be awaited only once."
        " Await it and store its result, or give the async function itself to the async twin"
        " (`aget_or_set`)."
    )
