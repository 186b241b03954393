"""Caches that are looked up each time they are used, as caches of values of one type."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twofold.types.outline import Unknown
from twofold.types.shapes import Shape

C = TypeVar("C", bound="_Typable")


class _Typable(Protocol):
    def _of_type(self: C, shape: Shape, tell_other: Callable[[str], None] | None) -> C: ...


def of_type(
    find: Callable[[], Any],
    shape: Callable[[], Shape | None],
    tell_other: Callable[[str], None] | None = None,
) -> Callable[[], Any]:
    """Return what finds what `find` does, as a cache of values of a type.

    Args:
        find: looks the cache up.
        shape: returns the type; None if nothing is known of it. NameError from it says that the
            type cannot be found.
        tell_other: see `TypedCodec`. With it, a type that cannot be found, or converted, counts
            as none.
    """
    known: tuple[Any, Any] = (None, None)

    def found() -> Any:
        nonlocal known
        cache, (last, typed) = find(), known
        if cache is not last:
            typed = _typed(cache, shape, tell_other)
            known = cache, typed
        return typed

    return found


def _typed(
    cache: C, shape: Callable[[], Shape | None], tell_other: Callable[[str], None] | None
) -> C:
    try:
        named = shape()
        return cache if named is None else cache._of_type(named, tell_other)
    except (NameError, Unknown):
        if tell_other is None:
            raise
        return cache
