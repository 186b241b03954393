"""The file of one key, while its shard is locked."""

from collections.abc import Callable
from typing import Any, TypeVar

from twofold import counter
from twofold.backends.descriptors import is_systems
from twofold.backends.files import directory
from twofold.backends.files.counts import ShardCounts
from twofold.backends.files.directory import Room
from twofold.backends.files.entry import CorruptFile, Entry, decode
from twofold.backends.files.tree import Handle
from twofold.clock import Clock
from twofold.metadata import HasMetadata, has_metadata
from twofold.stub import is_stub
from twofold.timeouts import is_from_later

T = TypeVar("T")


def visible(key: str, entry: Entry | None) -> Entry | None:
    """Return a living entry unless it is a stub; raise `HasMetadata`."""
    if entry is None or is_stub(entry.value):
        return None
    if has_metadata(entry.value):
        raise HasMetadata(key)
    return entry


class LockedFile:
    """The operations on one key, for a caller that holds the lock of its shard.

    Args:
        key: the key.
        number: its shard.
        name: the name of its file.
        counts: keeps the numbers of the shard.
        limit: bytes of the largest file.
        clock: tells the time.
    """

    def __init__(
        self,
        key: str,
        number: int,
        name: str,
        counts: ShardCounts,
        limit: int,
        clock: Clock,
    ) -> None:
        self._key = key
        self._number = number
        self._name = name
        self._folder = -1
        self._counts = counts
        self._limit = limit
        self._clock = clock
        self.grown: bool = False

    def within(self, shard: Handle, work: Callable[..., T], *args: Any) -> T:
        """Return `work(self, *args)`, done in the shard, which is locked."""
        self._folder = shard.descriptor
        del shard  # as the caller does
        return work(self, *args)

    def set(self, value: bytes, ttl: float | None) -> bool:
        try:
            self._write(self._entry(value, ttl))
        except OSError as exc:
            if is_systems(exc):
                # A miss is right, the older value would be wrong.
                self._remove()
            raise
        return True

    def add(self, value: bytes, ttl: float | None) -> bool:
        if self._visible() is not None:
            return False
        self._write(self._entry(value, ttl))
        return True

    def touch(self, ttl: float | None) -> bool:
        entry = self._visible()
        if entry is None:
            return False
        self._write(self._entry(entry.value, ttl))
        return True

    def delete(self) -> bytes | None:
        """Return the value that was removed; an expired one goes too, it could live again."""
        entry = self.living()
        self._remove()
        return None if entry is None or is_stub(entry.value) else entry.value

    def incr(self, delta: int) -> int:
        entry = self._visible()
        total = counter.total(self._key, None if entry is None else entry.value, delta)
        if entry is not None:
            self._write(entry._replace(value=counter.write(total)))
        return total

    def compare_and_set(self, expected: bytes, value: bytes, ttl: float | None) -> bool:
        entry = self.living()
        if entry is None or entry.value != expected:
            return False
        self._write(self._entry(value, ttl))
        return True

    def replace(self, expected: bytes, value: bytes) -> bool:
        entry = self.living()
        if entry is None or entry.value != expected or is_stub(expected):
            return False
        self._write(entry._replace(value=value))
        return True

    def compare_and_delete(self, expected: bytes) -> bool:
        entry = self.living()
        if entry is None or entry.value != expected:
            return False
        self._remove()
        return True

    def get_or_claim(self, stub: bytes, life: float) -> bytes | None:
        entry = self.living()
        if entry is not None:
            return entry.value
        self._write(self._entry(stub, life))
        return None

    def _visible(self) -> Entry | None:
        return visible(self._key, self.living())

    def living(self) -> Entry | None:
        """Return the entry unless its time is over; remove a file that is damaged.

        One that the clock was set back behind begins its life again, see `is_from_later`.
        """
        entry = self._read()
        if entry is None or entry.expires is None:
            return entry
        now = self._clock.time()
        if entry.expires <= now:
            return None
        if is_from_later(now, entry.written):
            entry = entry._replace(written=now, expires=now + entry.expires - entry.written)
            self._write(entry)
        return entry

    def _entry(self, value: bytes, ttl: float | None) -> Entry:
        now = self._clock.time()
        return Entry(value, now, None if ttl is None else now + ttl)

    def _read(self) -> Entry | None:
        try:
            data = directory.read(directory.opener(self._folder), self._name, self._limit)
            return None if data is None else decode(self._key, data)
        except CorruptFile:
            self._remove()
            return None

    def _write(self, entry: Entry) -> None:
        """Put a new file in place of the one that is there."""
        try:
            before = directory.room(self._folder, self._name)
            after = directory.replace(self._folder, self._name, self._key, entry)
            self._count(before, after)
        except BaseException:
            self._lose_count()
            raise
        self.grown = after > before

    def _remove(self) -> None:
        """Remove the file, if there is one."""
        try:
            before = directory.room(self._folder, self._name)
            if directory.remove(self._folder, self._name):
                self._count(before, directory.NO_ROOM)
        except BaseException:
            self._lose_count()
            raise

    def _count(self, before: Room, after: Room) -> None:
        if before == after:
            return
        try:
            self._counts.add(self._number, after.entries - before.entries, after.size - before.size)
        except OSError as exc:  # it is found again when the shard is next counted
            if not is_systems(exc):
                raise

    def _lose_count(self) -> None:
        """Have the shard counted again: its numbers may or may not include a step that failed."""
        try:
            self._counts.lose(self._number)
        except OSError as exc:
            if not is_systems(exc):
                raise
