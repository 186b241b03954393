"""Results that cannot be stored: these are returned, and nobody waits for another's."""

from collections.abc import Callable
from typing import Any, Final

from twofold.callables import name_of, source_of
from twofold.clock import Clock
from twofold.errors import CannotSerialize
from twofold.events import ResultNotStored, emit

_FOR: Final = 10.0  # seconds for which callers of such a key do not wait for each other
_MOST: Final = 1024


class Unserializable:
    """The functions of one cache whose results could not be stored, and for which keys just now.

    Args:
        alias: of the cache.
        clock: tells the time.
        raises: whether that is to be an error.
    """

    def __init__(self, alias: str, clock: Clock, *, raises: bool) -> None:
        self.raises = raises
        self._alias = alias
        self._clock = clock
        self._until: dict[tuple[object, str], float] = {}
        self._told: set[object] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._told)} functions>"

    def holds(self, function: Callable[[], Any], key: str) -> bool:
        """Tell whether what a function returned for `key` could not be stored just now."""
        if not self._until:
            return False
        until = self._until.get((source_of(function), key))
        return until is not None and self._clock.monotonic() < until

    def note(self, function: Callable[[], Any], key: str, error: CannotSerialize) -> None:
        """Note that what a function returned could not be stored; tell of its first time."""
        source = source_of(function)
        if len(self._until) >= _MOST:
            self._until.clear()
        self._until[source, key] = self._clock.monotonic() + _FOR
        if source not in self._told:
            if len(self._told) >= _MOST:
                self._told.clear()
            self._told.add(source)
            emit(ResultNotStored(self._alias, name_of(function), str(error)))
