"""A store inside the process, shared by its threads and event loops, that its `LOCATION` names.

A hit takes no lock: one dict lookup, one look at the clock, one flag.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TypeVar
from weakref import WeakValueDictionary

from twofold.backend import InlineBackend, Looked, Stored
from twofold.bounds import positive
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.display import mask_location
from twofold.effects import after_fork_in_child, new_rlock
from twofold.errors import CacheError, SettingsError
from twofold.memory.entry import Entry
from twofold.memory.store import Store
from twofold.metadata import Described, HasMetadata, Meta, Removed, size_of

T = TypeVar("T")


class Stores:
    """The stores by `LOCATION`, each of which is shared for as long as a backend uses it."""

    def __init__(self) -> None:
        self._open: WeakValueDictionary[str, Store] = WeakValueDictionary()
        self._lock = new_rlock()
        after_fork_in_child(self)

    def open(
        self,
        user: object,
        location: str,
        max_entries: int,
        max_bytes: int,
        cull_frequency: int | None,
    ) -> Store:
        bounds = max_entries, max_bytes, cull_frequency
        with self._lock:
            store = self._open.get(location)
            if store is None:
                store = self._open.setdefault(location, Store(*bounds))
            if (store.max_entries, store.max_bytes, store.cull_frequency) != bounds:
                raise SettingsError(
                    f"the memory store {mask_location(location)!r} is in use with"
                    f" max_entries={store.max_entries}, max_bytes={store.max_bytes} and"
                    f" cull_frequency={store.cull_frequency}: give both aliases the same"
                    " OPTIONS, or this one a LOCATION of its own"
                )
            store.users.add(user)
        return store

    def leave(self, location: str, user: object) -> None:
        """Have the next one begin with an empty store, if `user` was the last one of this."""
        with self._lock:
            store = self._open.get(location)
            if store is not None and user in store.users:
                store.users.discard(user)
                if not store.users:
                    del self._open[location]

    def _after_fork(self) -> None:
        self._lock = new_rlock()


_stores = Stores()


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
    private = True
    tells_metadata = True

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
        self._store = _stores.open(self, location, max_entries, max_bytes, cull_frequency)
        self._find = self._store.entries.get

    def __repr__(self) -> str:
        store = self._store
        return (
            f"<MemoryBackend {mask_location(str(self.location))!r} {len(store.entries)} of"
            f" {store.max_entries} entries, {store.bytes} of {store.max_bytes} bytes>"
        )

    @property
    def identity(self) -> Store:
        return self._store

    @property
    def evicted(self) -> int:
        return self._store.evicted

    def retire(self) -> None:
        self.close()
        _stores.leave(str(self.location), self)  # cached functions may hold this for longer

    def exclusive(self) -> AbstractContextManager[object]:
        return self._store.lock

    def get(self, key: str) -> Stored | None:
        find = self._find  # not at once: CPython 3.11 looks for a method of that name first
        entry = find(key)
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

    def look(self, key: str) -> Looked | None:
        return self.look_many([key]).get(key)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        found: dict[str, Looked] = {}
        with self._store.lock:  # a value and its own deadline, not that of the one before
            now = self.clock.monotonic()
            for key in keys:
                entry = self._find(key)
                if entry is not None and entry.deadline > now:
                    entry.visited = True
                    found[key] = entry.value, _left(entry, now)
        return found

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        store = self._store
        return store.do(store.put, key, value, size_of(value), ttl, self.clock.monotonic())

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        store = self._store
        size, now = size_of(value), self.clock.monotonic()
        return _returned(store.do(store.add, key, value, size, ttl, now))

    def touch(self, key: str, ttl: float | None) -> bool:
        return _returned(self._store.do(self._store.touch, key, ttl, self.clock.monotonic()))

    def ttl(self, key: str) -> float | None:
        entry, now = self._find(key), self.clock.monotonic()
        if entry is None or entry.deadline <= now:
            return 0.0
        if type(entry.value) is Described:
            raise HasMetadata(key)
        return _left(entry, now)

    def delete(self, key: str) -> bool:
        return self._store.do(self._store.delete, key, self.clock.monotonic()) is not None

    def delete_many(self, keys: Sequence[str]) -> int:
        store, now = self._store, self.clock.monotonic()
        gone = [store.do(store.delete, key, now) for key in keys]
        metas = [each for each in gone if type(each) is Meta]
        return Removed.of(len(gone) - gone.count(None) - len(metas), metas)

    def has(self, key: str) -> bool:
        value = self.get(key)
        if type(value) is Described:
            raise HasMetadata(key)
        return value is not None

    def incr(self, key: str, delta: int) -> int:
        return _returned(self._store.do(self._store.incr, key, delta, self.clock.monotonic()))

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        store, size = self._store, size_of(value)
        return store.do(
            store.compare_and_set, key, expected, value, size, ttl, self.clock.monotonic()
        )

    def replace(self, key: str, expected: Stored, value: Stored) -> bool:
        store, size = self._store, size_of(value)
        now = self.clock.monotonic()
        return store.do(store.replace, key, expected, value, size, now)

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        store = self._store
        return store.do(store.compare_and_delete, key, expected, self.clock.monotonic())

    def clear(self, prefix: str) -> None:
        self._store.do(self._store.clear, prefix)


def _left(entry: Entry, now: float) -> float | None:
    return None if entry.deadline == math.inf else entry.deadline - now


def _returned(result: T | CacheError) -> T:
    """Return what a step returned, or raise the error that it returned."""
    if type(result) is not int and isinstance(result, CacheError):
        raise result
    return result
