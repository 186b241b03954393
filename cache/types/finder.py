"""Caches that are looked up each time they are used, as caches of values of one type."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twofold.types.outline import Unknown
from twofold.types.shapes import Shape

C = TypeVar("C", bound="_Typable")


class _Typable(Protocol):
    def _of_type(self: C, shape: Shape, tell_other: Callable[[str], None] | None) -> C: ...


class OfType:
    """What `find` returns, as a cache of values of a type.

    Args:
        find: looks the cache up.
        shape: returns the type; None if nothing is known of it. NameError from it says that the
            type cannot be found.
        tell_other: see `TypedCodec`. With it, a type that cannot be found, or converted, counts
            as none.
    """

    def __init__(
        self,
        find: Callable[[], Any],
        shape: Callable[[], Shape | None],
        tell_other: Callable[[str], None] | None = None,
    ) -> None:
        self._find = find
        self._shape = shape
        self._tell_other = tell_other
        self._known: tuple[Any, Any] = (None, None)

    def __call__(self) -> Any:
        cache, known = self._find(), self._known
        if known[0] is cache:
            return known[1]
        self._known = known = cache, self._typed(cache)
        return known[1]

    def _typed(self, cache: Any) -> Any:
        try:
            shape = self._shape()
            return cache if shape is None else cache._of_type(shape, self._tell_other)
        except (NameError, Unknown):
            if self._tell_other is None:
                raise
            return cache
