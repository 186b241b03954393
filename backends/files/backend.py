"""The backend: operations on the files of keys, with what faults cost."""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeVar

from twofold.backend import Backend, Looked
from twofold.backends.descriptors import is_systems
from twofold.backends.disk.faults import DiskFault, RareWarnings, is_disk_fault
from twofold.backends.files import directory
from twofold.backends.files.bounds import Bounds
from twofold.backends.files.counts import ShardCounts
from twofold.backends.files.entry import (
    HEAD_BYTES,
    SHARDS,
    CorruptFile,
    Entry,
    decode,
    disk_bytes,
    place,
)
from twofold.backends.files.locked_file import LockedFile, visible
from twofold.backends.files.tree import IS_POSSIBLE, Tree
from twofold.bounds import positive
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.errors import BackendUnavailable, SettingsError
from twofold.metadata import Removed, has_metadata, head
from twofold.timeouts import is_from_later

T = TypeVar("T")


_LARGEST_VALUE: Final = 999_000_000
_REMOVED: Final = {errno.ENOENT, errno.ESTALE}  # the directory, while it was written to


class FilesBackend(Backend):
    """A durable store of one file per entry, for many threads and processes of one host.

    The directory must be on a local disk. It is made with mode 0700, as its 64 folders
    are, and files with 0600; 0400 marks a stub. One that belongs to another user, or that
    others may write in, is refused with `BackendUnavailable`. No symbolic link in it is
    followed.

    Bounds: expired entries go first, then those stored or touched longest ago. There are
    never more, but for a moment, whichever process writes; room is made for several
    writes at a time, a 32nd of the bounds or 512 entries. Bytes are counted in blocks of
    4096. In a large store the oldest of a few folders go, which are about the oldest.
    Stubs count for nothing, and are not evicted.

    Time: entries are stamped by the wall clock. Those from before it was set back begin
    their lives again when they are next asked for.

    Faults: a damaged file is a miss, and removed. While the disk is full or fails, reads
    miss and values are not stored; what cannot be removed, touched or counted then raises
    `BackendUnavailable`. Each is logged once a minute by "twofold.files". If the directory
    is removed, the next write makes a new one; readers notice it within a second.

    Args:
        location: the path of the directory; `~` is expanded.
        max_entries: entries to keep; None for any number.
        max_bytes: bytes of disk to keep; a larger value is not stored.
        cull_frequency: one in how many entries goes when there are too many, 0 for all
            but the newcomer; None for as few as needed.
        deadline: seconds that one operation may wait for locks of other writers.
        clock: tells the time.

    Raises:
        SettingsError: an argument is wrong, or this is Windows.
    """

    workers = 4
    batch_size = 32
    hides_stubs = True
    tells_metadata = True

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
        if not IS_POSSIBLE:
            raise SettingsError(
                "BACKEND 'files' needs what this system does not have, locks on directories and"
                " files that are opened within an open directory: use BACKEND 'sqlite'"
            )
        if not location:
            raise SettingsError("LOCATION of a cache of files is the path of a directory: give one")
        if max_entries is not None:
            positive("max_entries", max_entries)
        self._max_bytes = positive("max_bytes", max_bytes)
        self._limit = min(max_bytes, _LARGEST_VALUE) + HEAD_BYTES
        self._tree = Tree(os.path.abspath(os.path.expanduser(location)), self.deadline)
        self._counts = ShardCounts(self._tree)
        self._bounds = Bounds(
            self._tree, self._counts, self.clock, max_entries, max_bytes, cull_frequency
        )
        self._warnings = RareWarnings("files")

    def get(self, key: str) -> bytes | None:
        entry = self._find(key)
        return None if entry is None else entry.value

    def look(self, key: str) -> Looked | None:
        entry = self._find(key)
        return None if entry is None else (entry.value, self._left(entry))

    def has(self, key: str) -> bool:
        return visible(key, self._find(key)) is not None

    def ttl(self, key: str) -> float | None:
        entry = visible(key, self._find(key))
        return 0.0 if entry is None else self._left(entry)

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        return self._store(key, value, self._until(), LockedFile.set, value, ttl)

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        until = self._until()
        return [
            key
            for key, value in items.items()
            if not self._store(key, value, until, LockedFile.set, value, ttl)
        ]

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        return self._store(key, value, self._until(), LockedFile.add, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._at(key, self._until(), LockedFile.touch, ttl)

    def delete(self, key: str) -> bool:
        return self._at(key, self._until(), LockedFile.delete) is not None

    def delete_many(self, keys: Sequence[str]) -> int:
        until = self._until()
        gone = [self._at(key, until, LockedFile.delete) for key in keys]
        described = [value for value in gone if has_metadata(value)]
        return Removed.of(len(gone) - gone.count(None) - len(described), map(head, described))

    def incr(self, key: str, delta: int) -> int:
        return self._at(key, self._until(), LockedFile.incr, delta)

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        return self._store(
            key, value, self._until(), LockedFile.compare_and_set, expected, value, ttl
        )

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        return self._store(key, value, self._until(), LockedFile.replace, expected, value)

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        return self._at(key, self._until(), LockedFile.compare_and_delete, expected)

    def get_or_claim(self, key: str, stub: bytes, life: float) -> bytes | None:
        try:
            return self._at(key, self._until(), LockedFile.get_or_claim, stub, life)
        except DiskFault as fault:
            self._warnings.warn(fault)
            return None

    def clear(self, prefix: str) -> None:
        """Remove this cache's files whose keys begin with `prefix`, and nothing else."""
        self._translated(self._clear, prefix.encode(), self._until())

    def _clear(self, prefix: bytes, until: float) -> None:
        self._tree.refresh()
        for number in range(SHARDS):
            if self._tree.find(number) is not None:
                self._bounds.clear(number, prefix, until)

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
            data = directory.read(shard.opener, name, self._limit)
            return None if data is None else self._living(key, decode(key, data))
        except CorruptFile as corrupt:
            self._discard(key, corrupt)
        except OSError as exc:
            if not is_systems(exc):
                raise
            error = self._translate(exc)
            if not isinstance(error, DiskFault):
                raise error from exc
            self._warnings.warn(error)
        return None

    def _left(self, entry: Entry) -> float | None:
        if entry.expires is None:
            return None
        return max(0.0, min(entry.expires - self.clock.time(), entry.expires - entry.written))

    def _living(self, key: str, entry: Entry) -> Entry | None:
        """Return `entry` unless its time is over."""
        if entry.expires is None:
            return entry
        now = self.clock.time()
        if entry.written <= now < entry.expires:  # the usual case first
            return entry
        if entry.expires <= now:
            return None
        if is_from_later(now, entry.written):
            with suppress(BackendUnavailable):  # a later call will do it
                self._at(key, monotonic(), LockedFile.living)
        return entry

    def _fits(self, key: str, value: bytes) -> bool:
        size = HEAD_BYTES - 250 + len(key) + len(value)
        return size <= self._limit and disk_bytes(size) <= self._max_bytes

    def _store(
        self, key: str, value: bytes, until: float, work: Callable[..., bool], *args: Any
    ) -> bool:
        """Do `work`, which stores `value`; False if it is too large, or the disk is at fault."""
        if not self._fits(key, value):
            return False
        try:
            return self._at(key, until, work, *args)
        except DiskFault as fault:
            self._warnings.warn(fault)
            return False

    def _at(self, key: str, until: float, work: Callable[..., T], *args: Any) -> T:
        """Return `work(file, *args)`, done with the lock over the file of `key` held.

        Room is made afterwards if the file has grown.
        """
        number, name = place(key)
        file = LockedFile(key, number, name, self._counts, self._limit, self.clock)
        result: T = self._translated(self._tree.locked, number, until, file.within, work, *args)
        if file.grown:
            self._bounds.keep(name, until)
        return result

    def _discard(self, key: str, corrupt: CorruptFile) -> None:
        """Remove a damaged file, unless it is locked or has been replaced by now."""
        _, name = place(key)  # and not the key, which may be a session's
        self._warnings.warn(
            f"the file {name} in the cache directory {self._tree.path}: {corrupt}. It is removed,"
            " and its entry is a miss"
        )
        with suppress(BackendUnavailable):
            self._at(key, monotonic(), LockedFile.living)

    def _translated(self, work: Callable[..., T], *args: Any) -> T:
        """Return `work(*args)`, and raise the system's errors as ours."""
        try:
            return work(*args)
        except OSError as exc:
            if not is_systems(exc):
                raise
            raise self._translate(exc) from exc

    def _translate(self, exc: OSError) -> BackendUnavailable:
        is_fault = is_disk_fault(exc) or exc.errno in _REMOVED
        kind = DiskFault if is_fault else BackendUnavailable
        return kind(
            f"the cache directory {self._tree.path} cannot be used: {exc}."
            " Give it room and let this user write in it, or let LOCATION be another one"
        )

    def _until(self) -> float:
        return monotonic() + self.deadline
