"""Keys that are not refreshed for a while, and what is told of failed refreshes."""

import math
from collections.abc import Callable
from typing import Any, Final

from twofold.callables import name_of
from twofold.clock import Clock
from twofold.effects import is_ending
from twofold.events import RefreshFailed, emit

ELSEWHERE: Final = 1.0
"""Seconds for which a key is left to another process that refreshes it, or is out of reach."""

_QUIET = 10.0  # seconds before a function is told of again that has worked in between

_MOST = 4096


class Rests:
    """What one cache is not to refresh now.

    Args:
        alias: of the cache.
        clock: tells the time.
        until: until when keys are left as they are, by all caches of the store.
    """

    def __init__(self, alias: str, clock: Clock, until: dict[str, float]) -> None:
        self._alias = alias
        self._clock = clock
        self._until = until
        self._lost: dict[str, None] = {}
        self._failing: dict[str, None] = {}
        self._told: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._until)} keys>"

    def __contains__(self, key: str) -> bool:
        until = self._until.get(key)
        return until is not None and self._clock.monotonic() < until

    def begin(self, key: str, seconds: float) -> None:
        """Leave `key` as it is for so long."""
        _bound(self._until)
        self._until[key] = self._clock.monotonic() + seconds

    def end(self, key: str) -> None:
        """Let `key` be refreshed by whoever asks next."""
        self._until.pop(key, None)

    def fail(
        self, key: str, function: Callable[..., Any], seconds: float, error: Exception
    ) -> None:
        """Note that a refresh has failed, and tell of the function's first failure in a row.

        One that fails now and then, as many do when an outage begins, is told of each 10 s.
        """
        self.begin(key, seconds)
        name, now = name_of(function), self._clock.monotonic()
        quiet = name in self._failing or now < self._told.get(name, -math.inf) + _QUIET
        if not quiet and not is_ending():
            _bound(self._failing)
            _bound(self._told)
            self._failing[name], self._told[name] = None, now
            emit(RefreshFailed(self._alias, name, repr(error)))

    def succeed(self, key: str, function: Callable[..., Any]) -> None:
        """Note that a value was computed."""
        if self._until:
            self.end(key)
        if self._failing:
            self._failing.pop(name_of(function), None)

    def lose(self, key: str) -> None:
        """Note that an event loop ended amid a refresh: a caller waits for the next one."""
        _bound(self._lost)
        self._lost[key] = None

    def was_lost(self, key: str) -> bool:
        """Tell whether the last refresh was lost so; once."""
        return bool(self._lost) and self._lost.pop(key, self) is None


def _bound(kept: dict[str, Any]) -> None:
    """Make room for one more, at the cost of the oldest."""
    if len(kept) >= _MOST:
        for key in list(kept)[: _MOST // 2]:
            kept.pop(key, None)
