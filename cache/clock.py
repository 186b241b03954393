"""The two clocks: monotonic for what lives in the process, wall for what outlives it."""

import sys
import time
from typing import Any, Protocol


class Clock(Protocol):
    """What tells the time; `twofold.testing.FakeClock` is the other one."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""

    def time(self) -> float:
        """Return seconds since the Unix epoch, as the machine believes them to be."""


SYSTEM_CLOCK: Clock = time
"""The machine's own clocks: the module, so that who replaces its functions, as freezegun
does, moves every entry."""


class _Travelling:
    """The machine's clocks where time-machine may travel, which moves the wall clock alone."""

    def __init__(self, hatch: Any) -> None:
        self._hatch = hatch

    def monotonic(self) -> float:
        if not self._hatch.is_travelling():
            return time.monotonic()
        real = self._hatch.time
        now: float = getattr(real, "monotonic", time.monotonic)()  # its 2.x moves this one too
        return now + time.time() - float(real.time())

    def time(self) -> float:
        return time.time()


def followed(clock: Clock) -> Clock:
    """Return `clock`, or the one that moves with time-machine where that has been imported."""
    hatch = getattr(sys.modules.get("time_machine"), "escape_hatch", None)
    return clock if hatch is None or clock is not SYSTEM_CLOCK else _Travelling(hatch)
