"""The store inside the process: a dict of entries with bounds, shared by `LOCATION`.

A hit takes no lock: one dict lookup, one look at the clock, one flag. Writers take one,
and the thread that holds it may come in again: the interpreter can run a finaliser or a
signal handler amid a write, and that may call the cache. Its write is done after the one
it came into.

Eviction is second chance (CLOCK): entries stand in a ring in the order they came, a hit
sets an entry's `visited` flag, and the entry at the hand goes unless its flag is set, in
which case the flag is cleared and the entry is passed over (F. J. Corbató, 1968). Entries
that were taken out leave the ring when the hand comes by; removals move it on while there
are many. A write looks at a bounded number of entries. Locks do not stand in the ring: they
stay until they end.

Expired entries are found through buckets of keys by the time they end; each write removes
a few of them.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from twofold import counter
from twofold.backend import InlineBackend, Stored, is_lock
from twofold.backends.bounds import kept_by_culling, positive
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import after_fork_in_child, new_rlock
from twofold.errors import (
    BackendUnavailable,
    CacheError,
    CounterOverflow,
    MissingKey,
    NotACounter,
    SettingsError,
)
from twofold.urls import mask_location

T = TypeVar("T")

ENTRY_BYTES = 250
"""What an entry costs beside the text of its key and its value, in CPython."""

_SECOND_CHANCES = 8  # visited entries that one eviction passes over at most
_EXPIRED_PER_WRITE = 4
_PASSED_PER_REMOVAL = 8  # entries of the ring, when it needs tidying
_RING_AT_MOST = 1.25  # times as long as there are entries, before it does
_SHORTEST_LIFE = 2.0**-15  # seconds, that has buckets of its own width


class MemoryBackend(InlineBackend):
    """A store in this process; aliases with the same `LOCATION` share it.

    Args:
        location: the name of the store.
        max_entries: how many entries it holds at most.
        max_bytes: how many bytes keys, values and their entries take at most, about.
        cull_frequency: one in how many entries goes when there are too many, 0 for all
            but the newcomer; None for as few as needed.
        deadline: unused, for nothing here waits.
        clock: tells the time.
    """

    holds_objects = True

    def __init__(
        self,
        location: str = "",
        *,
        max_entries: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        cull_frequency: int | None = None,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(location, deadline=deadline, clock=clock)
        positive("max_entries", max_entries)
        positive("max_bytes", max_bytes)
        self._store = _stores.open(location, max_entries, max_bytes, cull_frequency)
        self._find = self._store.entries.get

    def __repr__(self) -> str:
        store = self._store
        return (
            f"<MemoryBackend {mask_location(str(self.location))!r} {len(store.entries)} of"
            f" {store.max_entries} entries, {store.bytes} of {store.max_bytes} bytes>"
        )

    def get(self, key: str) -> Stored | None:
        entry = self._find(key)
        if entry is None or entry.deadline <= self.clock.monotonic():
            return None
        entry.visited = True
        return entry.value

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        now, find, found = self.clock.monotonic(), self._find, {}
        for key in keys:
            entry = find(key)
            if entry is not None and entry.deadline > now:
                entry.visited = True
                found[key] = entry.value
        return found

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        store = self._store
        return store.do(store.put, key, value, _weigh(value), ttl, self.clock.monotonic())

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        store = self._store
        return store.do_at_once(store.add, key, value, _weigh(value), ttl, self.clock.monotonic())

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._store.do(self._store.touch, key, ttl, self.clock.monotonic())

    def ttl(self, key: str) -> float | None:
        entry, now = self._find(key), self.clock.monotonic()
        if entry is None or entry.deadline <= now:
            return 0.0
        return None if entry.deadline == math.inf else entry.deadline - now

    def delete(self, key: str) -> bool:
        return self._store.do(self._store.delete, key, self.clock.monotonic())

    def incr(self, key: str, delta: int) -> int:
        total = self._store.do_at_once(self._store.incr, key, delta, self.clock.monotonic())
        if isinstance(total, CacheError):
            raise total
        return total

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        store, weight = self._store, _weigh(value)
        return store.do_at_once(
            store.compare_and_set, key, expected, value, weight, ttl, self.clock.monotonic()
        )

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        store = self._store
        return store.do_at_once(store.compare_and_delete, key, expected, self.clock.monotonic())

    def clear(self, prefix: str) -> None:
        self._store.do(self._store.clear, prefix)


class _Entry:
    """A value, until when it lives, and what the store needs to let it go."""

    __slots__ = ("bucket", "deadline", "key", "value", "visited", "weight")

    def __init__(self, key: str, value: Stored, weight: int, deadline: float) -> None:
        self.key = key
        self.value = value
        self.weight = weight
        self.deadline = deadline
        self.visited = False
        self.bucket: set[str] | None = None


class _Store:
    """The entries of one `LOCATION`; reading them is free, all else goes through `do`."""

    def __init__(self, max_entries: int, max_bytes: int, cull_frequency: int | None) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.cull_frequency = cull_frequency
        self._kept = kept_by_culling(max_entries, cull_frequency) or max_entries
        self.entries: dict[str, _Entry] = {}
        self.bytes = 0
        self.busy = False
        self._torn = False
        self._lock = new_rlock()
        self._later: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._ring: deque[_Entry] = deque()
        self._expiries = _Expiries()
        after_fork_in_child(self)

    def do(self, step: Callable[..., T], *args: Any) -> T | bool:
        """Take one step, now or, if this thread is amid another one, right after that."""
        with self._lock:
            if self.busy:
                self._later.append((step, args))
                return True
            try:
                self.busy = True
                if self._torn:
                    self._mend()
                return step(*args)
            except BaseException:  # a signal's handler, for steps themselves raise nothing
                self._torn = True
                self._mend()
                raise
            finally:
                try:
                    if self._later:
                        self._catch_up()
                finally:
                    self.busy = False

    def do_at_once(self, step: Callable[..., T], *args: Any) -> T | bool:
        """Take a step whose outcome decides what the caller does, so that it cannot wait."""
        with self._lock:
            if self.busy:
                raise BackendUnavailable(
                    f"a finaliser or signal handler called {step.__name__} of a memory cache amid"
                    " another operation of it in the same thread: there, only get, set, touch,"
                    " delete and clear are possible"
                )
            return self.do(step, *args)

    def _catch_up(self) -> None:
        """Take the steps that came in amid another one."""
        try:
            while self._later:
                step, args = self._later.popleft()
                step(*args)
        except BaseException:
            self._torn = True
            self._mend()
            raise

    def _mend(self) -> None:
        """Keep the books anew: a step was broken off between two lines of theirs.

        An entry has at each of its own lines a value and a deadline that it may have.
        """
        ring: deque[_Entry] = deque()
        expiries = _Expiries()
        weight = 0
        first = min((entry.deadline for entry in self.entries.values()), default=0.0)
        for key, entry in self.entries.items():
            entry.weight = _weigh(entry.value) + len(key) + ENTRY_BYTES
            entry.bucket = None
            weight += entry.weight
            if entry.deadline != math.inf:
                expiries.add(entry, entry.deadline - first)
            if not is_lock(key):
                ring.append(entry)
        self._ring, self._expiries, self.bytes = ring, expiries, weight
        self._torn = False

    def put(self, key: str, value: Stored, weight: int, ttl: float | None, now: float) -> bool:
        """Store `value` in its own entry, and make room; False if it is too big for that."""
        weight += len(key) + ENTRY_BYTES
        if weight > self.max_bytes:
            return False
        deadline = math.inf if ttl is None else now + ttl
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = _Entry(key, value, weight, deadline)
            if not is_lock(key):
                self._ring.append(entry)
        else:
            self._release(entry)
            # A reader looks at the deadline first: no value gets a longer life than its own.
            if deadline < entry.deadline:
                entry.deadline = deadline
            entry.value = value
            entry.weight = weight
            entry.deadline = deadline
            entry.visited = True
        self.bytes += weight
        if ttl is not None:
            self._expiries.add(entry, ttl)
        if self._expiries.soonest <= now:
            self._expire(now)
        if self.bytes > self.max_bytes or len(self.entries) > self.max_entries:
            self._make_room(entry)
        return True

    def add(self, key: str, value: Stored, weight: int, ttl: float | None, now: float) -> bool:
        return self._live(key, now) is None and self.put(key, value, weight, ttl, now)

    def touch(self, key: str, ttl: float | None, now: float) -> bool:
        entry = self._live(key, now)
        if entry is None:
            return False
        if entry.bucket is not None:
            entry.bucket.discard(key)
            entry.bucket = None
        entry.deadline = math.inf if ttl is None else now + ttl
        if ttl is not None:
            self._expiries.add(entry, ttl)
        return True

    def delete(self, key: str, now: float) -> bool:
        entry = self._live(key, now)
        if entry is None:
            return False
        self._remove(entry)
        return True

    def incr(self, key: str, delta: int, now: float) -> int | CacheError:
        """Return the sum, or the error: a step that raises was broken off, see `do`."""
        entry = self._live(key, now)
        if entry is None:
            return MissingKey(f"no counter {key!r} to add to: set it first")
        if not counter.is_counter(entry.value):
            return NotACounter(f"{key!r} does not hold a signed 64-bit integer to add to")
        try:
            entry.value = counter.add(entry.value, delta)
        except CounterOverflow as error:
            return error
        entry.visited = True
        return int(entry.value)

    def compare_and_set(
        self,
        key: str,
        expected: Stored,
        value: Stored,
        weight: int,
        ttl: float | None,
        now: float,
    ) -> bool:
        entry = self._live(key, now)
        return (
            entry is not None
            and _same(entry.value, expected)
            and self.put(key, value, weight, ttl, now)
        )

    def compare_and_delete(self, key: str, expected: Stored, now: float) -> bool:
        entry = self._live(key, now)
        if entry is None or not _same(entry.value, expected):
            return False
        self._remove(entry)
        return True

    def clear(self, prefix: str) -> bool:
        """Take out every entry whose key begins with `prefix`."""
        if prefix:
            for entry in [e for key, e in self.entries.items() if key.startswith(prefix)]:
                self._remove(entry)
        else:
            self.entries.clear()
            self._ring.clear()
            self._expiries = _Expiries()
            self.bytes = 0
        return True

    def _live(self, key: str, now: float) -> _Entry | None:
        """Return the entry of `key` unless its time is over."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.deadline > now else None

    def _remove(self, entry: _Entry) -> None:
        """Take an entry out."""
        del self.entries[entry.key]
        self._release(entry)
        entry.value = None  # the ring still holds the entry
        if len(self._ring) > _RING_AT_MOST * len(self.entries) + _PASSED_PER_REMOVAL:
            self._tidy()

    def _release(self, entry: _Entry) -> None:
        self.bytes -= entry.weight
        if entry.bucket is not None:
            entry.bucket.discard(entry.key)
            entry.bucket = None

    def _expire(self, now: float) -> None:
        """Take out some of the entries whose time is over."""
        for _ in range(_EXPIRED_PER_WRITE):
            key = self._expiries.due(now)
            if key is None:
                break
            self._remove(self.entries[key])

    def _make_room(self, newcomer: _Entry) -> None:
        """Evict down to the bounds, or to what a culling leaves of too many entries."""
        is_full = len(self.entries) > self.max_entries
        most = self._kept if is_full else self.max_entries
        while self.bytes > self.max_bytes or len(self.entries) > most:
            if not self._evict(newcomer):
                break

    def _evict(self, newcomer: _Entry) -> bool:
        """Take out the oldest entry that was not asked for since it was looked at last.

        The newcomer, whose write this is, stays; False if there is nothing else but locks.
        """
        chances = _SECOND_CHANCES
        while self._ring:
            entry = self._ring.popleft()
            if self.entries.get(entry.key) is not entry:
                continue
            if entry is newcomer:
                self._ring.append(entry)
                if len(self._ring) == 1:
                    return False
                continue
            if not (entry.visited and chances):
                self._remove(entry)
                return True
            entry.visited = False
            chances -= 1
            self._ring.append(entry)
        return False

    def _tidy(self) -> None:
        """Pass a few entries by the hand, and let those go that were taken out."""
        for _ in range(_PASSED_PER_REMOVAL):
            entry = self._ring.popleft()
            if self.entries.get(entry.key) is entry:
                self._ring.append(entry)

    def _after_fork(self) -> None:
        """Start with a free lock; what a writer left half done in the parent is dropped."""
        half_done, self.busy = self.busy, False
        self._lock = new_rlock()
        self._later.clear()
        if half_done:
            self.do(self.clear, "")


class _Expiries:
    """Keys in buckets by when they end.

    A bucket is as wide as a 64th to a 32nd of the life of the entries in it, so there are
    at most some sixty buckets for each doubling of the longest life, however many keys.
    """

    def __init__(self) -> None:
        self.soonest = math.inf
        """When the first of the buckets ends."""
        self._buckets: dict[float, set[str]] = {}
        self._ends: list[float] = []

    def add(self, entry: _Entry, ttl: float) -> None:
        """Take in the key of an entry that lives for `ttl`."""
        if ttl < _SHORTEST_LIFE:
            ttl = _SHORTEST_LIFE
        width = math.ldexp(1.0, math.frexp(ttl)[1] - 6)
        end = (entry.deadline // width + 1.0) * width
        bucket = self._buckets.get(end)
        if bucket is None:
            bucket = self._open(end)
        bucket.add(entry.key)
        entry.bucket = bucket

    def due(self, now: float) -> str | None:
        """Take out a key that has ended, or return None."""
        while self.soonest <= now:
            bucket = self._buckets[self.soonest]
            if bucket:
                return bucket.pop()
            del self._buckets[heappop(self._ends)]
            self.soonest = self._ends[0] if self._ends else math.inf
        return None

    def _open(self, end: float) -> set[str]:
        bucket = self._buckets[end] = set()
        heappush(self._ends, end)
        self.soonest = self._ends[0]
        return bucket


class _Stores:
    """The stores by `LOCATION`, each of which lives as long as a backend uses it."""

    def __init__(self) -> None:
        self._open: WeakValueDictionary[str, _Store] = WeakValueDictionary()
        self._lock = new_rlock()
        after_fork_in_child(self)

    def open(
        self, location: str, max_entries: int, max_bytes: int, cull_frequency: int | None
    ) -> _Store:
        bounds = max_entries, max_bytes, cull_frequency
        with self._lock:
            store = self._open.get(location)
            if store is None:
                store = self._open.setdefault(location, _Store(*bounds))
        if (store.max_entries, store.max_bytes, store.cull_frequency) != bounds:
            raise SettingsError(
                f"the memory store {mask_location(location)!r} is in use with"
                f" max_entries={store.max_entries}, max_bytes={store.max_bytes} and"
                f" cull_frequency={store.cull_frequency}: give both aliases the same"
                " OPTIONS, or this one a LOCATION of its own"
            )
        return store

    def _after_fork(self) -> None:
        self._lock = new_rlock()


_stores = _Stores()


def _weigh(value: Stored) -> int:
    """Return the bytes that `value` takes, with the items of a tuple or frozenset."""
    weight = sys.getsizeof(value)
    if type(value) is tuple or type(value) is frozenset:
        weight += sum(map(_weigh, value))
    return weight


def _same(stored: Stored, expected: Stored) -> bool:
    return stored is expected or (type(stored) is type(expected) and bool(stored == expected))
