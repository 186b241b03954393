"""Tags of entries that a store keeps in this process, as objects.

An entry refers to the tags that it was computed under, and an invalidation counts in these: to know
its standing nothing is looked up. A tag that no entry and no computation refers to any more is
forgotten.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

from twofold.effects import Effects, RLock, after_fork_in_child, leak_on_fork, new_rlock
from twofold.metadata import Pins
from twofold.tags.generations import NOTHING, Standing, Tags


class _Tag:
    """The generation of a tag: the numbers of its invalidations."""

    __slots__ = ("__weakref__", "hard", "soft")

    def __init__(self) -> None:
        self.hard: int = 0
        self.soft: int = 0


class _Pin(NamedTuple):
    tag: _Tag
    hard: int
    soft: int


class TagTable:
    """The tags of all caches of one store, by their keys."""

    def __init__(self) -> None:
        self.epoch: int = 0
        self._tags: WeakValueDictionary[str, _Tag] = WeakValueDictionary()
        self._made: dict[str, _Tag] = {}  # those that are on their way into the above
        self._lock: RLock = new_rlock()  # a finaliser may come in
        after_fork_in_child(self)

    def pin(self, key: str) -> _Pin:
        with self._lock:
            tag = self._tags.get(key)
            if tag is None:
                # A finaliser or a signal's handler that comes in between any two of these steps
                # pins the same tag: one that another has taken the place of nobody invalidates.
                made = self._made.setdefault(key, _Tag())
                tag = self._tags.get(key)
                if tag is None:
                    tag = self._tags[key] = made
                self._made.pop(key, None)
            return _Pin(tag, tag.hard, tag.soft)

    def invalidate(self, keys: Iterable[str], *, keep_stale: bool) -> None:
        with self._lock:
            self.epoch += 1
            for key in keys:
                tag = self._tags.get(key)
                if tag is None:
                    continue
                if keep_stale:
                    tag.soft += 1
                else:
                    tag.hard += 1

    def _after_fork(self) -> None:
        leak_on_fork(self._lock)
        self._lock = new_rlock()


class _Shared:
    """The tables of all stores, and the lock over them."""

    def __init__(self) -> None:
        self.lock: RLock = new_rlock()
        self.tables: WeakKeyDictionary[object, TagTable] = WeakKeyDictionary()
        after_fork_in_child(self)

    def _after_fork(self) -> None:
        leak_on_fork(self.lock)
        self.lock = new_rlock()


_shared: Final = _Shared()


def table_of(store: object) -> TagTable:
    """Return the tags of a store, the same for all its caches for as long as it is there."""
    with _shared.lock:
        return _shared.tables.setdefault(store, TagTable())


class LocalTags(Tags):
    """The tags of one cache.

    Args:
        table: those of its store.
        key: makes the key of a tag of its name.
    """

    are_read = False

    def __init__(self, table: TagTable, key: Callable[[str], str]) -> None:
        self._table = table
        self._key = key

    def keys(self, names: Iterable[str]) -> list[str]:
        return []

    def standing(self, pins: Pins, known: Mapping[str, Any] = NOTHING) -> Standing:
        standing = Standing.CURRENT
        for _, pin in pins:
            if type(pin) is not _Pin or pin.hard < pin.tag.hard:
                return Standing.GONE
            if pin.soft < pin.tag.soft:
                standing = Standing.STALE
        return standing

    def described(self, names: Iterable[str], known: Mapping[str, Any]) -> bytes:
        return b""

    async def pin(self, io: Effects, names: Iterable[str], life: float | None) -> Pins:
        return tuple((name, self._table.pin(self._key(name))) for name in names)

    async def epoch(self, io: Effects) -> int:
        return self._table.epoch

    async def standings(
        self, io: Effects, pinned: Sequence[Pins], known: Mapping[str, Any] = NOTHING
    ) -> list[Standing]:
        return [self.standing(pins) for pins in pinned]

    async def invalidate(self, io: Effects, names: Sequence[str], *, keep_stale: bool) -> None:
        self._table.invalidate([self._key(name) for name in names], keep_stale=keep_stale)
