"""The two clocks: monotonic for what lives in the process, wall for what outlives it."""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What tells the time; `twofold.testing.FakeClock` is the other one."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""

    def time(self) -> float:
        """Return seconds since the Unix epoch, as the machine believes them to be."""


class SystemClock:
    """The machine's own clocks."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    time: Callable[[], float] = staticmethod(time.time)


SYSTEM_CLOCK: Clock = SystemClock()
