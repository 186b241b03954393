"""Functions whose results cannot be stored: these are returned, and nobody waits for another's."""

from collections.abc import Callable
from typing import Any, Final

from twofold.callables import name_of, source_of
from twofold.clock import Clock
from twofold.errors import CannotSerialize
from twofold.events import ResultNotStored, emit

_FOR: Final = 10.0  # seconds for which callers of such a function do not wait for each other
_MOST: Final = 1024


class Unserializable:
    """The functions of one cache whose results could not be stored just now.

    Args:
        alias: of the cache.
        clock: tells the time.
        raises: whether that is to be an error.
    """

    def __init__(self, alias: str, clock: Clock, *, raises: bool) -> None:
        self.raises = raises
        self._alias = alias
        self._clock = clock
        self._until: dict[object, float] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._until)} functions>"

    def __contains__(self, function: Callable[[], Any]) -> bool:
        if not self._until:
            return False
        until = self._until.get(source_of(function))
        return until is not None and self._clock.monotonic() < until

    def note(self, function: Callable[[], Any], error: CannotSerialize) -> None:
        """Note that what a function returned could not be stored; tell of it the first time."""
        source = source_of(function)
        known = source in self._until
        if not known and len(self._until) >= _MOST:
            self._until.clear()
        self._until[source] = self._clock.monotonic() + _FOR
        if not known:
            emit(ResultNotStored(self._alias, name_of(function), str(error)))
