"""Why a value cannot be stored, and what to do about it."""

import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from io import IOBase
from types import AsyncGeneratorType, GeneratorType

from twofold.errors import CannotSerialize


def refuse(serializer: str, value: object, why: str = "") -> CannotSerialize:
    """Return the error for a value that `serializer` cannot bring back as it is."""
    special = in_particular(value)
    if special is not None:
        return special
    if _is_of_django(value):
        return _of_django(serializer, value)
    advice = [
        "let the annotation of the function name the type, or `twofold.register_type` it, if it is"
        " an enum or has fields, as a dataclass or a model has",
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
    return any(_is_of(f"django.db.models.{name}", value) for name in ("Model", "QuerySet"))


def _of_django(serializer: str, value: object) -> CannotSerialize:
    return CannotSerialize(
        f"The serializer {serializer!r} cannot hold a value of type {type_name(value)}, which"
        " belongs to Django's database. Store its primary key, or what `.values()` returns as a"
        " list; or choose SERIALIZER 'pickle' if only you can write to the store, and give"
        " `list(queryset)`."
    )


def in_particular(value: object) -> CannotSerialize | None:
    """Return the error for a value of a kind that has a way of its own; None if it has none."""
    if inspect.isawaitable(value):
        return _awaitable(value)
    if isinstance(value, Iterator | AsyncIterator) and not _is_more(value):
        return _read_once(value)
    room = next((room for path, room in _RESPONSES.items() if _is_of(path, value)), None)
    if room is None:
        return None
    return CannotSerialize(
        f"A value of type {type_name(value)} is a whole response: let {room} keep it, or store what"
        " it is made of."
    )


_RESPONSES = {
    "django.http.HttpResponseBase": "`cache_page` of twofold.contrib.django",
    "starlette.responses.Response": "`cached_page` of twofold.contrib.starlette",
    "werkzeug.wrappers.Response": "`cached_page` of twofold.contrib.flask",
}


def _is_of(path: str, value: object) -> bool:
    """Tell whether `value` is of a class, without importing the module of that."""
    module, _, name = path.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _is_more(value: object) -> bool:
    """Tell whether an iterator is a file, or a mock, which has whatever it is asked for."""
    return isinstance(value, IOBase) or _is_of("unittest.mock.NonCallableMock", value)


def refuse_used_up(value: object) -> None:
    """Raise `CannotSerialize` if `value` is of use to one only: a coroutine, a generator."""
    if inspect.isawaitable(value):
        raise _awaitable(value)
    if isinstance(value, GeneratorType | AsyncGeneratorType):
        raise _read_once(value)


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


def _read_once(value: object) -> CannotSerialize:
    return CannotSerialize(
        f"A value of type {type_name(value)} cannot be stored, for it can be read only once. Store"
        " a list of what it yields."
    )
