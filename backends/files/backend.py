"""The backend: operations on the files of keys, with what faults cost."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final

from twofold import counter
from twofold.backend import Backend
from twofold.backends.bounds import positive
from twofold.backends.files import shelf
from twofold.backends.files.bounds import Bounds
from twofold.backends.files.counts import Counts
from twofold.backends.files.entry import HEAD_BYTES, SHARDS, Entry, decode, place, weight
from twofold.backends.files.faults import Damaged, Fault, is_fault
from twofold.backends.files.slot import Slot
from twofold.backends.files.tree import Tree
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.display import printable
from twofold.errors import BackendUnavailable, SettingsError
from twofold.policy import wall_expired

logger: logging.Logger = logging.getLogger("twofold.files")

_WARN_EVERY: Final = 60.0  # seconds between two warnings
_LARGEST_VALUE: Final = 999_000_000


class FilesBackend(Backend):
    """A durable store of one file per entry, for many threads and processes of one host.

    The directory is to be on a local disk. It is made with mode 0700, as its 64 folders
    are, and files with 0600. One that belongs to another user, or that others may write
    in, is refused with `BackendUnavailable`. No symbolic link in it is followed.

    Bounds: expired entries go first, then those stored or touched longest ago. There are
    never more, but for a moment, whichever process writes; room is made for several
    writes at a time, a 32nd of the bounds or 512 entries. Bytes are counted in blocks of
    4096. In a large store the oldest of a few folders go, which are about the oldest.

    Time: entries are stamped by the wall clock. One with an expiry that was written in
    the future, before the clock was set back, is expired.

    Faults: a damaged file is a miss, and removed. While the disk is full or fails, reads
    miss and values are not stored; what cannot be removed, touched or counted then raises
    `BackendUnavailable`. Each is logged once a minute by "twofold.files". If the directory
    is removed, the next write makes it anew; readers notice it within a second.

    Args:
        location: the path of the directory; `~` is expanded.
        max_entries: entries to keep; None for any number.
        max_bytes: bytes of disk to keep; a larger value is not stored.
        cull_frequency: one in how many entries goes when there are too many, 0 for all
            but the newcomer; None for as few as needed.
        deadline: seconds to wait at most for who writes at the same time.
        clock: tells the time.

    Raises:
        SettingsError: an argument is none of these.
    """

    workers = 4
    batch_size = 32

    def __init__(
        self,
        location: str = "",
        *,
        max_entries: int | None = 100_000,
        max_bytes: int = 512 * 1024 * 1024,
        cull_frequency: int | None = None,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(location, deadline=deadline, clock=clock)
        if not location:
            raise SettingsError("LOCATION of a cache of files is the path of their directory")
        if max_entries is not None:
            positive("max_entries", max_entries)
        self._max_bytes = positive("max_bytes", max_bytes)
        self._limit = min(max_bytes, _LARGEST_VALUE) + HEAD_BYTES
        self._tree = Tree(os.path.abspath(os.path.expanduser(location)), self.deadline)
        self._counts = Counts(self._tree)
        self._bounds = Bounds(
            self._tree, self._counts, clock, max_entries, max_bytes, cull_frequency
        )
        self._now = clock.time
        self._warned_at = -_WARN_EVERY

    def get(self, key: str) -> bytes | None:
        entry = self._find(key)
        return None if entry is None else entry.value

    def ttl(self, key: str) -> float | None:
        entry = self._find(key)
        if entry is None:
            return 0.0
        return None if entry.expires is None else max(0.0, entry.expires - self._now())

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        return self._set(key, value, ttl, self._until())

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        until = self._until()
        return [key for key, value in items.items() if not self._set(key, value, ttl, until)]

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        if not self._fits(key, value):
            return False
        try:
            with self._slot(key, self._until()) as slot:
                if self._living(slot.entry()) is not None:
                    return False
                slot.write(self._entry(value, ttl))
        except Fault as fault:
            return self._warn(fault)
        return True

    def touch(self, key: str, ttl: float | None) -> bool:
        with self._slot(key, self._until()) as slot:
            entry = self._living(slot.entry())
            if entry is None:
                return False
            slot.write(self._entry(entry.value, ttl))
        return True

    def delete(self, key: str) -> bool:
        return self._delete(key, self._until())

    def delete_many(self, keys: Sequence[str]) -> int:
        until = self._until()
        return sum(self._delete(key, until) for key in keys)

    def incr(self, key: str, delta: int) -> int:
        with self._slot(key, self._until()) as slot:
            entry = self._living(slot.entry())
            total = counter.total(key, None if entry is None else entry.value, delta)
            if entry is not None:
                slot.write(entry._replace(value=counter.write(total)))
        return total

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        if not self._fits(key, value):
            return False
        try:
            with self._slot(key, self._until()) as slot:
                entry = self._living(slot.entry())
                if entry is None or entry.value != expected:
                    return False
                slot.write(self._entry(value, ttl))
        except Fault as fault:
            return self._warn(fault)
        return True

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        with self._slot(key, self._until()) as slot:
            entry = self._living(slot.entry())
            if entry is None or entry.value != expected:
                return False
            slot.remove()
        return True

    def clear(self, prefix: str) -> None:
        """Remove the files of ours whose keys begin so, and nothing else."""
        until = self._until()
        with self._translated():
            self._tree.refresh()
            for number in range(SHARDS):
                if self._tree.find(number) is not None:
                    self._bounds.clear(number, prefix.encode(), until)

    def close(self) -> None:
        super().close()
        self._tree.forget()

    def _find(self, key: str) -> Entry | None:
        """Return the living entry of `key`, without a lock."""
        number, name = place(key)
        try:
            shard = self._tree.find(number)
            if shard is None:
                return None
            data = shelf.read(shard.descriptor, name, self._limit)
            return None if data is None else self._living(decode(key, data))
        except Damaged as damage:
            self._discard(key, damage)
        except OSError as exc:
            error = self._translate(exc)
            if not isinstance(error, Fault):
                raise error from exc
            self._warn(error)
        return None

    def _living(self, entry: Entry | None) -> Entry | None:
        """Return `entry` unless its time is over."""
        if entry is None or entry.expires is None:
            return entry
        return None if wall_expired(self._now(), entry.written, entry.expires) else entry

    def _entry(self, value: bytes, ttl: float | None) -> Entry:
        now = self._now()
        return Entry(value, now, None if ttl is None else now + ttl)

    def _fits(self, key: str, value: bytes) -> bool:
        size = HEAD_BYTES - 250 + len(key) + len(value)
        return size <= self._limit and weight(size) <= self._max_bytes

    def _set(self, key: str, value: bytes, ttl: float | None, until: float) -> bool:
        if not self._fits(key, value):
            return False
        try:
            with self._slot(key, until) as slot:
                try:
                    slot.write(self._entry(value, ttl))
                except OSError:
                    slot.remove()  # an older value must not live on in the place of this one
                    raise
        except Fault as fault:
            return self._warn(fault)
        return True

    def _delete(self, key: str, until: float) -> bool:
        """Remove an expired entry too: with the clock set back, it could live again."""
        with self._slot(key, until) as slot:
            there = self._living(slot.entry()) is not None
            slot.remove()
        return there

    @contextmanager
    def _slot(self, key: str, until: float) -> Iterator[Slot]:
        """Hold the lock over the file of `key`; make room afterwards if it has grown."""
        number, name = place(key)
        with self._translated():
            with self._tree.locked(number, until) as shard:
                slot = Slot(key, number, name, shard.descriptor, self._counts, self._limit)
                yield slot
            if slot.grown:
                self._bounds.keep(name, until)

    def _discard(self, key: str, damage: Damaged) -> None:
        """Remove a damaged file, if it still is one and nobody else is at it."""
        _, name = place(key)  # and not the key, which may be a session's
        self._warn(f"the file {name} in the cache directory {self._tree.path}: {damage}")
        with suppress(BackendUnavailable), self._slot(key, monotonic()) as slot:
            slot.entry()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BackendUnavailable:
            raise
        except OSError as exc:
            raise self._translate(exc) from exc

    def _translate(self, exc: OSError) -> BackendUnavailable:
        kind = Fault if is_fault(exc) else BackendUnavailable
        return kind(f"the cache directory {self._tree.path} cannot be used: {exc}")

    def _until(self) -> float:
        return monotonic() + self.deadline

    def _warn(self, what: object) -> bool:
        """Log what has happened, now and then; return False: nothing is stored."""
        now = monotonic()
        if now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            logger.warning("%s", printable(str(what)))
        return False
