"""A reference tier over a watch, in 40 lines, and how old what it serves becomes.

Run as a program, it reads until its input ends, and prints when it read what from near.
"""

import json
import sys
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from twofold.backends.redis import RedisBackend
from twofold.errors import BackendUnavailable

PREFIX = "w:"
KEYS = [f"{PREFIX}{n}" for n in range(4)]
_READ_EVERY = 0.0005  # seconds
_WRITE_EVERY = 0.01

Seen = dict[tuple[str, int], float]
"""When a version of a key was last read from near."""


class Near:
    """Keeps what was looked up, until it is told of a change."""

    def __init__(self, backend: Any, bound: float, *prefixes: str) -> None:
        self.told: list[Any] = []
        self._backend = backend
        self._lock = threading.Lock()
        self._copies: dict[str, bytes] = {}
        self._reads: defaultdict[str, set[object]] = defaultdict(set)
        self.watch = backend.watch(prefixes or (PREFIX,), self, bound)

    @property
    def is_live(self) -> bool:
        """Whether copies may be served."""
        return bool(time.monotonic() < self.watch.valid_until())

    def changed(self, keys: Any) -> None:
        self._drop("changed", keys)

    def flushed(self) -> None:
        self._drop("flushed", [*self._copies, *self._reads])

    def lost(self) -> None:
        self._drop("lost", [*self._copies, *self._reads])

    def _drop(self, what: str, keys: Any) -> None:
        with self._lock:
            self.told.append(tuple(keys) if what == "changed" else what)
            for key in keys:
                self._copies.pop(key, None)
                self._reads.pop(key, None)

    def get(self, key: str) -> tuple[bytes | None, float | None]:
        """Return a value, and when it was near, if it was."""
        now = time.monotonic()
        if now < self.watch.valid_until():
            with self._lock:
                if key in self._copies:
                    return self._copies[key], now
        mine = object()
        with self._lock:
            self._reads[key].add(mine)
        try:
            looked = self._backend.look(key)
        except BackendUnavailable:
            looked = None
        with self._lock:
            is_good = mine in self._reads[key] and time.monotonic() < self.watch.valid_until()
            self._reads[key].discard(mine)
            if looked is None:
                return None, None
            if is_good and looked[1] is None:
                self._copies[key] = looked[0]
        return looked[0], None


class Thread:
    """Does something again and again while it is entered."""

    def __init__(self, step: Callable[[int], None], every: float) -> None:
        self._step = step
        self._every = every
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        n = 0
        while not self._ends.wait(self._every):
            self._step(n)
            n += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()


class Reader(Thread):
    """Reads all keys in turn."""

    def __init__(self, near: Near) -> None:
        super().__init__(self._read, _READ_EVERY)
        self.seen: Seen = {}
        self._near = near

    def _read(self, n: int) -> None:
        key = KEYS[n % len(KEYS)]
        value, at = self._near.get(key)
        if value is not None and at is not None:
            self.seen[key, int(value)] = at


class Writer(Thread):
    """Writes all keys in turn, by a function that raises if a write is not acknowledged."""

    def __init__(self, write: Callable[[str, bytes], object], first: int = 0) -> None:
        super().__init__(self._write_next, _WRITE_EVERY)
        self._write = write
        self._first = first
        self.last: float = 0.0
        """When a write was last acknowledged."""
        self._acknowledged: dict[str, tuple[list[int], list[float]]] = {
            key: ([], []) for key in KEYS
        }

    def _write_next(self, n: int) -> None:
        key, n = KEYS[n % len(KEYS)], n + self._first
        with suppress(OSError, BackendUnavailable):
            self._write(key, b"%d" % n)
            versions, times = self._acknowledged[key]
            self.last = time.monotonic()
            times.append(self.last)
            versions.append(n)

    def staleness(self, seen: Seen) -> float:
        """Return for how many seconds what was served had been replaced, at most."""
        worst = 0.0
        for (key, version), at in seen.items():
            versions, times = self._acknowledged[key]
            later = bisect_right(versions, version)
            if later < len(versions):
                worst = max(worst, at - times[later])
        return worst


def main(url: str, bound: float) -> None:
    """Read until the input ends, and print what was seen."""
    backend = RedisBackend(url, deadline=bound)
    near = Near(backend, bound)
    with Reader(near) as reader:
        print("ready", flush=True)
        sys.stdin.read()
    print(json.dumps([[*version, at] for version, at in reader.seen.items()]))
    near.watch.close()
    backend.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
