"""Waiting for what takes a moment: bounded, and never by sleeping for luck."""

import glob
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from twofold.errors import BackendUnavailable

T = TypeVar("T")

_PAUSE = 0.01  # seconds between two looks


def eventually(condition: Callable[[], T], what: str, seconds: float = 30.0) -> T:
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


async def healthy(call: Callable[[], Awaitable[T]], seconds: float = 30.0) -> T:
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
    """Measures for how long the machine lets threads wait that want to run.

    What a test says of time holds beside that: on a shared machine everything stands
    still for moments, and no code can help it. Of a thread that only sleeps and looks
    the machine is kinder than of those that work: so where the system tells (Linux), it
    is asked for how long ours, and those of our servers, have waited for a processor.
    """

    _EVERY = 0.005  # seconds that the thread sleeps at a time
    _NOTICED = 0.01  # seconds: less is what threads of one process wait for each other
    _ASK_EVERY = 10  # looks
    _WITHIN = 1.0

    def __init__(self) -> None:
        self._longest = 0.0
        self._stood: deque[tuple[float, float]] = deque()
        self._waited: deque[tuple[float, float]] = deque()
        self._so_far = _waited_for_processors()
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    @property
    def longest(self) -> float:
        """Seconds that it stood still in some second, to this moment, all stalls together."""
        with self._lock:
            self._look()
            self._ask()
        return self._longest

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
        looks = 0
        while not self._over.wait(self._EVERY):
            looks += 1
            with self._lock:
                self._look()
                if looks % self._ASK_EVERY == 0:
                    self._ask()
                self._looked = time.monotonic()

    def _look(self) -> None:
        now = time.monotonic()
        if (late := now - self._looked - self._EVERY) > self._NOTICED:
            self._note(self._stood, late)
            self._looked = now

    def _ask(self) -> None:
        now = _waited_for_processors()
        self._note(self._waited, sum(now[each] - self._so_far.get(each, 0.0) for each in now))
        self._so_far = now

    def _note(self, seen: deque[tuple[float, float]], seconds: float) -> None:
        now = time.monotonic()
        seen.append((now, seconds))
        while seen[0][0] < now - self._WITHIN:
            seen.popleft()
        self._longest = max(self._longest, sum(each for _, each in seen))


def _waited_for_processors() -> dict[str, float]:
    """Return for how long each thread has waited, of this process and those that it has started."""
    waited: dict[str, float] = {}
    processes = [str(os.getpid())]
    for process in processes:
        for thread in glob.glob(f"/proc/{process}/task/*"):
            with suppress(OSError):
                waited[thread] = int(Path(thread, "schedstat").read_text().split()[1]) / 1e9
                processes += Path(thread, "children").read_text().split()
    return waited
