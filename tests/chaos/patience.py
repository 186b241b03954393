"""Waiting for what takes a moment: bounded, and never by sleeping for luck."""

import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from twofold.errors import BackendUnavailable

T = TypeVar("T")

_PAUSE = 0.01  # seconds between two looks


def eventually(condition: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Return what `condition` gives once that is true; `AssertionError` after `seconds`.

    While a server is down, looking at it fails: an `OSError` counts as "not yet".
    """
    ends = time.monotonic() + seconds
    while True:
        seen: T | OSError
        try:
            seen = condition()
        except OSError as error:
            seen = error
        if seen and not isinstance(seen, OSError):
            return seen
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {seen!r})")
        time.sleep(_PAUSE)


async def healthy(call: Callable[[], Awaitable[T]], seconds: float = 10.0) -> T:
    """Return what a call on a healthy server returns, made again where it was too late.

    The deadline that a test needs for what it is about may be short for what comes before: a
    busy machine takes longer now and then. The call may have happened, so it is one that may twice.
    """
    ends = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except BackendUnavailable:
            if time.monotonic() > ends:
                raise
        time.sleep(_PAUSE)  # in both faces: nothing else is going on yet


class Stalls:
    """Measures for how long the machine lets a thread wait that wants to run.

    What a test says of time holds beside that: on a shared machine everything stands
    still for moments, and no code can help it.
    """

    _EVERY = 0.005  # seconds that the thread sleeps at a time
    _NOTICED = 0.01  # seconds: less is what threads of one process wait for each other
    _WITHIN = 1.0

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds that it stood still in some second, all stalls together."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        stalls: deque[tuple[float, float]] = deque()
        before = time.monotonic()
        while not self._over.wait(self._EVERY):
            now = time.monotonic()
            if (late := now - before - self._EVERY) > self._NOTICED:
                stalls.append((now, late))
                while stalls[0][0] < now - self._WITHIN:
                    stalls.popleft()
                self.longest = max(self.longest, sum(each for _, each in stalls))
            before = now
