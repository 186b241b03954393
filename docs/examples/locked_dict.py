# docs/examples/locked_dict.py
from threading import RLock

from twofold import counter
from twofold.backend import Backend


class LockedDict(Backend):
    """A dict behind a lock, written for sync code only."""

    def __init__(self, location="", **options):
        super().__init__(location, **options)
        self._rows, self._lock = {}, RLock()

    def get(self, key):
        value, end = self._rows.get(key, (None, None))
        return value if end is None or end > self.clock.monotonic() else None

    def set(self, key, value, ttl):
        with self._lock:
            self._rows[key] = value, None if ttl is None else self.clock.monotonic() + ttl
            return True

    def add(self, key, value, ttl):
        with self._lock:
            return self.get(key) is None and self.set(key, value, ttl)

    def touch(self, key, ttl):
        with self._lock:
            value = self.get(key)
            return value is not None and self.set(key, value, ttl)

    def ttl(self, key):
        _, end = self._rows.get(key, (None, 0.0))
        return end and max(0.0, end - self.clock.monotonic())

    def delete(self, key):
        with self._lock:
            return self.get(key) is not None and bool(self._rows.pop(key))

    def incr(self, key, delta):
        with self._lock:
            total = counter.total(key, self.get(key), delta)
            self._rows[key] = counter.write(total), self._rows[key][1]
            return total

    def compare_and_set(self, key, expected, value, ttl):
        with self._lock:
            return self.get(key) == expected and self.set(key, value, ttl)

    def compare_and_delete(self, key, expected):
        with self._lock:
            return self.get(key) == expected and self.delete(key)

    def clear(self, prefix):
        with self._lock:
            for key in [key for key in self._rows if key.startswith(prefix)]:
                del self._rows[key]
