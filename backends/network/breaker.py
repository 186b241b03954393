"""A circuit breaker for one server, with jittered back-off.

Closed, it lets every call through. Open, it refuses each in microseconds. Half-open, it
lets one call through as a probe; any reply closes it. (M. Nygard, "Release It!", 2007.)
"""

import random
from collections.abc import Callable
from time import monotonic

from twofold.backend import BreakerState
from twofold.backends.network.errors import ConnectError
from twofold.effects import after_fork_in_child, new_rlock
from twofold.events import BreakerClosed, BreakerOpened, emit

FAILURES = 3
"""Failures in a row that open it; a refusal opens it at once."""

FIRST_PAUSE = 0.05
"""Seconds at most before the first probe, doubled at each failure."""

LONGEST_PAUSE = 0.4
"""Seconds at most before any probe."""

PROBE_EVERY = 0.25
"""Seconds from one probe to the next while the first has no answer."""


class Breaker:
    """The circuit breaker of one server, for all threads and event loops.

    Args:
        name: the server's, for messages.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self.name = name
        self.tripped: bool = False
        """Whether it is open or half-open."""
        self.failures: int = 0
        """Failures since the last reply."""
        self.error: str = ""
        """The last failure."""
        self._clock = clock
        self._probing = False
        self._next_probe = 0.0
        self._lock = new_rlock()  # a signal's handler may ask too
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Breaker {self.name} {self.state}>"

    @property
    def state(self) -> BreakerState:
        """What it does with the next call."""
        if not self.tripped:
            return "closed"
        return "half-open" if self._probing or self._clock() >= self._next_probe else "open"

    @property
    def ready(self) -> bool:
        """Whether it would let a call through now."""
        return not self.tripped or self._clock() >= self._next_probe

    def admit(self) -> None:
        """Let a call through, as a probe if it is tripped.

        Raises:
            ConnectError: it is not time for a probe.
        """
        with self._lock:
            if not self.tripped:
                return
            now = self._clock()
            if now >= self._next_probe:
                # The others are refused meanwhile: one call is enough to find out.
                self._next_probe = now + PROBE_EVERY
                self._probing = True
                return
            wait = self._next_probe - now
        raise ConnectError(
            f"{self.name} is not asked: circuit breaker open, next probe in {wait:.2f} s;"
            f" last error: {self.error}",
            refused=True,
        )

    def succeed(self) -> None:
        """Note a reply."""
        with self._lock:
            was_tripped, self.tripped, self._probing = self.tripped, False, False
            self.failures, self.error = 0, ""
        if was_tripped:
            emit(BreakerClosed(self.name))

    def fail(self, error: BaseException, *, refused: bool = False) -> None:
        """Note a failure; `refused`: the server said no at once."""
        with self._lock:
            was_tripped = self.tripped
            self.failures += 1
            self.error = str(error)
            if refused or self.tripped or self.failures >= FAILURES:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures - 1, 10))
                self._next_probe = self._clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads probes
                self.tripped, self._probing = True, False
            opened = self.tripped and not was_tripped
        if opened:
            emit(BreakerOpened(self.name, str(error)))

    def _after_fork(self) -> None:
        self._lock = new_rlock()
