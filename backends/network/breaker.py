"""A circuit breaker for one server, with jittered back-off.

Closed, it lets every call through. Open, it refuses each in microseconds, and the server is
pinged in the background until it answers well. (M. Nygard, "Release It!", 2007, whose half-open
state lets a call through to find out: here no caller has to wait for that.)
"""

import random

from twofold.backend import BreakerState
from twofold.backends.network.errors import ConnectError
from twofold.effects import after_fork_in_child, new_rlock
from twofold.events import BreakerClosed, BreakerOpened, emit

FAILURES = 3
"""Failures in a row that open it; a refusal opens it at once."""

FIRST_PAUSE = 0.05
"""Seconds at most before the first ping, doubled at each failure."""

LONGEST_PAUSE = 0.4
"""Seconds at most before any ping."""


class Breaker:
    """The circuit breaker of one server, for all threads and event loops.

    Args:
        name: the server's, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tripped: bool = False
        """Whether it is open."""
        self.failures: int = 0
        """Failures since the last reply to a caller."""
        self.error: str = ""
        """The last failure."""
        self._lock = new_rlock()  # a signal's handler may ask too
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Breaker {self.name} {self.state}>"

    @property
    def state(self) -> BreakerState:
        """What it does with the next call."""
        return "open" if self.tripped else "closed"

    @property
    def pause(self) -> float:
        """Seconds to wait before the next ping."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10))
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads pings

    def refusal(self) -> ConnectError:
        """Return the error of a call that it does not let through."""
        return ConnectError(
            f"{self.name} is not asked: circuit breaker open until it answers a ping;"
            f" last error: {self.error}",
            refused=True,
        )

    def succeed(self) -> None:
        """Note a reply to a caller; a late one does not close it, since the next may not come."""
        with self._lock:
            if not self.tripped:
                self.failures, self.error = 0, ""

    def fail(self, error: BaseException, *, refused: bool = False) -> bool:
        """Note a failure, and tell whether it opens; `refused`: the server said no at once."""
        with self._lock:
            self._count(error)
            if self.tripped or not (refused or self.failures >= FAILURES):
                return False
            self.tripped = True
        emit(BreakerOpened(self.name, str(error)))
        return True

    def close(self) -> None:
        """Note a good answer to a ping.

        The failures count on until a caller is answered: where pings come through and nothing
        else does, it opens again at once, and for longer.
        """
        with self._lock:
            was_tripped, self.tripped = self.tripped, False
        if was_tripped:
            emit(BreakerClosed(self.name))

    def stay_open(self, error: BaseException) -> None:
        """Note a ping that failed, unless a later one did not."""
        with self._lock:
            if self.tripped:
                self._count(error)

    def _count(self, error: BaseException) -> None:
        self.failures += 1
        self.error = str(error)

    def _after_fork(self) -> None:
        self._lock = new_rlock()
