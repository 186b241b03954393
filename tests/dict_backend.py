"""A third party's backend, as short as one can be: the sync half alone, over a dict."""

import threading

from twofold import counter
from twofold.backend import Backend
from twofold.clock import SYSTEM_CLOCK, Clock


class DictBackend(Backend):
    """A third party's store: the sync half alone, in a dict."""

    def __init__(self, location: str = "", *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(location, clock=clock)
        self._entries: dict[str, tuple[bytes, float | None]] = {}
        self._lock = threading.RLock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            value, ends = self._entries.get(key, (None, None))
            return value if ends is None or ends > self.clock.monotonic() else None

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        with self._lock:
            self._entries[key] = value, None if ttl is None else self.clock.monotonic() + ttl
            return True

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        with self._lock:
            return self.get(key) is None and self.set(key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        with self._lock:
            value = self.get(key)
            return value is not None and self.set(key, value, ttl)

    def ttl(self, key: str) -> float | None:
        with self._lock:
            ends = self._entries[key][1] if self.get(key) is not None else 0.0
            return ends and ends - self.clock.monotonic()

    def delete(self, key: str) -> bool:
        with self._lock:
            there = self.get(key) is not None
            self._entries.pop(key, None)
            return there

    def incr(self, key: str, delta: int) -> int:
        with self._lock:
            total = counter.total(key, self.get(key), delta)
            self._entries[key] = counter.write(total), self._entries[key][1]
            return total

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        with self._lock:
            return self.get(key) == expected and self.set(key, value, ttl)

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        with self._lock:
            return self.get(key) == expected and self.delete(key)

    def clear(self, prefix: str) -> None:
        with self._lock:
            for key in [key for key in self._entries if key.startswith(prefix)]:
                del self._entries[key]
