"""Calls that are made again and again while they are needed, for example renewals of a lock.

One daemon thread makes all of them, for both faces and every event loop: an event loop that a
user's function holds up would renew nothing. It begins with the first, and ends a moment after
the last, so that many short ones in turn do not each cost a thread. A forked child begins
without any.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from twofold.effects.forks import after_fork_in_child, leak_on_fork
from twofold.effects.locks import new_rlock

_LINGER = 0.1  # seconds that the thread stays without work

_log = logging.getLogger("twofold")


class Tick:
    """One function that a `Ticker` calls until it returns False, or is cancelled."""

    def __init__(self, ticker: "Ticker", function: Callable[[], bool], every: float) -> None:
        self.every = every
        self.due: float = 0.0
        self._ticker = ticker
        self._function = function

    def __repr__(self) -> str:
        return f"<Tick {self._function!r} every {self.every:g} s>"

    def start(self) -> None:
        """Have it called, first when its time has passed."""
        self._ticker._start(self)

    def cancel(self) -> None:
        """Have it not called any more; a call that is being made goes on."""
        self._ticker._remove(self)

    def run(self) -> None:
        """Make one call; whatever it raises is logged, and the next one follows."""
        try:
            if not self._function():
                self.cancel()
        except Exception as error:
            _log.warning("%r failed, next try in %g s: %s", self._function, self.every, error)
        self.due = time.monotonic() + self.every


class Ticker:
    """Calls functions again and again, in one thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = new_rlock()  # a handler may come in while the thread starts
        self._ticks: set[Tick] = set()
        self._thread: threading.Thread | None = None
        self._wakes: float = 0.0  # when the thread wakes by itself
        self._idle = False
        self._wake: SimpleQueue[None] = SimpleQueue()  # unlike an Event, signals' handlers may put
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Ticker {self._name!r} {len(self._ticks)} ticks>"

    def add(self, function: Callable[[], bool], every: float) -> Tick:
        """Call `function` every so many seconds, first after that time, until it returns False.

        The thread that calls is held up by each call: it is not to take long.
        """
        tick = self.tick(function, every)
        tick.start()
        return tick

    def tick(self, function: Callable[[], bool], every: float) -> Tick:
        """Return what `add` does, not started yet: who notes it first can cancel it."""
        return Tick(self, function, every)

    def _start(self, tick: Tick) -> None:
        tick.due = time.monotonic() + tick.every
        with self._lock:
            self._ticks.add(tick)
            if self._thread is None or not self._thread.is_alive():
                self._idle = False
                # A thread that an exception of a signal's handler kept from starting is replaced.
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif tick.due < self._wakes:
                self._wake.put(None)

    def _remove(self, tick: Tick) -> None:
        with self._lock:
            self._ticks.discard(tick)
            if not self._ticks and self._wakes > time.monotonic() + _LINGER:
                self._wake.put(None)

    def _run(self) -> None:
        while (pause := self._pause()) is not None:
            with suppress(Empty):
                self._wake.get(timeout=pause)
            for tick in self._due():
                tick.run()

    def _pause(self) -> float | None:
        """Return the seconds to the next call; None, and the thread is to end, without any."""
        with self._lock:
            if not self._ticks and self._idle:
                self._thread = None
                return None
            now = time.monotonic()
            self._idle = not self._ticks
            self._wakes = min((tick.due for tick in self._ticks), default=now + _LINGER)
            return max(0.0, self._wakes - now)

    def _due(self) -> list[Tick]:
        now = time.monotonic()
        with self._lock:
            return [tick for tick in self._ticks if tick.due <= now]

    def _after_fork(self) -> None:
        leak_on_fork(self._lock, self._ticks, self._thread, self._wake)
        self._lock, self._wake = new_rlock(), SimpleQueue()
        self._ticks, self._thread = set(), None


renewals: Ticker = Ticker("twofold-renewals")
"""The thread that renews what is held in stores for longer than one life."""
