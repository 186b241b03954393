"""When entries end: keys in buckets, so that those that have are found without a scan."""

from heapq import heappop, heappush
from math import frexp, inf, ldexp
from typing import Final

from twofold.memory.entry import Entry

_SHORTEST_LIFE: Final = 2.0**-15  # seconds, that has buckets of its own width


class Expiries:
    """Keys in buckets by when they end.

    A bucket is as wide as a 64th to a 32nd of the life of the entries in it, so there are
    at most some sixty buckets for each doubling of the longest life, however many keys.
    """

    def __init__(self) -> None:
        self.soonest: float = inf
        """When the first of the buckets ends."""
        self._buckets: dict[float, set[str]] = {}
        self._ends: list[float] = []

    def move(self, entry: Entry, ttl: float | None) -> None:
        """Have the key of an entry that lives for `ttl` where it belongs by its deadline."""
        old = entry.bucket
        if ttl is None:
            if old is not None:
                old.discard(entry.key)
                entry.bucket = None
            return
        if ttl < _SHORTEST_LIFE:
            ttl = _SHORTEST_LIFE
        width = ldexp(1.0, frexp(ttl)[1] - 6)
        end = (entry.deadline // width + 1.0) * width
        bucket = self._buckets.get(end)
        if bucket is None:
            bucket = self._open(end)
        elif bucket is old:
            return
        if old is not None:
            old.discard(entry.key)
        bucket.add(entry.key)
        entry.bucket = bucket

    def due(self, now: float) -> str | None:
        """Take out a key that has ended, or return None."""
        while self.soonest <= now:
            bucket = self._buckets[self.soonest]
            if bucket:
                return bucket.pop()
            del self._buckets[heappop(self._ends)]
            self.soonest = self._ends[0] if self._ends else inf
        return None

    def _open(self, end: float) -> set[str]:
        bucket = self._buckets[end] = set()
        heappush(self._ends, end)
        self.soonest = self._ends[0]
        return bucket
