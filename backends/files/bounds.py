"""The bounds: what goes when there is too much, and what is swept along the way.

The counts tell when there is too much, so a write scans nothing. What is to go is found
by a scan of a few shards, for many writes at a time: keys are spread over the shards by
their digests, so the oldest of a few are about the oldest of all. All are scanned where
there are few entries.

Stubs count for nothing and are never evicted: each stands for a value that may come, and
ends with its own life.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Final

from twofold.backends.descriptors import is_systems
from twofold.backends.files import directory
from twofold.backends.files.counts import ShardCounts, Totals
from twofold.backends.files.directory import FileInfo, Room
from twofold.backends.files.entry import SHARDS, CorruptFile, decode, key_in
from twofold.backends.files.tree import Handle, Tree
from twofold.bounds import NO_BOUND, kept_by_culling
from twofold.clock import Clock
from twofold.errors import BackendUnavailable, DeadlineExceeded

_BATCH_PART: Final = 32  # of the bound, by which it is undercut
_LONGEST_BATCH: Final = 512  # entries
_SAMPLE: Final = 1024  # entries to choose from, at least
_CHOICE: Final = 8  # entries to choose from, for each that goes, at least
_SWEEP_EVERY: Final = 1024  # new entries, from one shard to the next
_LARGEST_LOCK: Final = 4096  # bytes of the file of a lock that is looked into


class Bounds:
    """Keeps the entries of a tree within bounds."""

    def __init__(
        self,
        tree: Tree,
        counts: ShardCounts,
        clock: Clock,
        max_entries: int | None,
        max_bytes: int,
        cull_frequency: int | None,
    ) -> None:
        most = NO_BOUND if max_entries is None else max_entries
        self._tree = tree
        self._counts = counts
        self._clock = clock
        self._max_entries = most
        self._max_bytes = max_bytes
        self._kept = kept_by_culling(max_entries, cull_frequency) or (
            most - min(most // _BATCH_PART, _LONGEST_BATCH)
        )
        self._kept_bytes = max_bytes - max_bytes // _BATCH_PART
        self._turn = os.getpid() % SHARDS  # so that processes begin with different shards
        self._grown = 0

    def keep(self, newcomer: str, until: float) -> None:
        """Make room after a write that grew; never evicts `newcomer`, the file being written.

        Nothing is raised: the write itself has been done.
        """
        self._grown += 1
        try:
            if self._grown == 1:
                self._remove_leftovers()
            totals = self._known_totals()
            if totals.entries > self._max_entries or totals.bytes > self._max_bytes:
                self._make_room(newcomer, until)
            if self._grown % _SWEEP_EVERY == 0:
                self.refresh(next(self._turns()), 0.0)
        except BackendUnavailable:
            pass
        except OSError as exc:
            if not is_systems(exc):
                raise

    def refresh(self, number: int, until: float) -> None:
        """Count a shard again; remove expired files, and what a killed writer has left."""
        self._tree.locked(number, until, self._refresh, number)

    def _refresh(self, shard: Handle, number: int) -> None:
        now = self._clock.time()
        self._counts.lose(number)  # until it is counted, whatever comes meanwhile
        directory.remove(shard.descriptor, directory.TEMPORARY)
        left: list[Room] = []
        for info in directory.scan(shard.descriptor):
            if self._is_expired(shard.descriptor, info, now):
                directory.remove(shard.descriptor, info.name)
            else:
                left.append(info.room)
        self._counts.put(number, *_sum(left))

    def clear(self, number: int, prefix: bytes, until: float) -> None:
        """Remove the files of a shard whose keys begin so."""
        self._tree.locked(number, until, self._clear, number, prefix)

    def _clear(self, shard: Handle, number: int, prefix: bytes) -> None:
        folder = shard.descriptor
        self._take_out(
            number,
            folder,
            (
                info
                for info in directory.scan(folder)
                if not prefix or key_in(directory.head(folder, info.name)).startswith(prefix)
            ),
        )

    def _remove_leftovers(self) -> None:
        """Remove what killed writers have left, before this process writes much."""
        for number in range(SHARDS):
            with suppress(DeadlineExceeded):
                self._tree.locked(number, 0.0, _remove_temporary)

    def _known_totals(self) -> Totals:
        """Return the totals; count the shards of which nothing is known."""
        totals = self._counts.totals()
        if not totals.unknown:
            return totals
        for number in totals.unknown:
            with suppress(DeadlineExceeded):
                self.refresh(number, 0.0)
        return self._counts.totals()

    def _make_room(self, newcomer: str, until: float) -> None:
        """Remove what is over the bounds: the expired, then the oldest of a sample."""
        found = self._sample(until)
        totals = self._counts.totals()
        entries = totals.entries - self._kept if totals.entries > self._max_entries else 0
        size = totals.bytes - self._kept_bytes if totals.bytes > self._max_bytes else 0
        going: dict[int, list[FileInfo]] = defaultdict(list)
        for number, info in self._in_order(found, newcomer):
            if entries <= 0 and size <= 0:
                break
            entries -= 1
            size -= info.room.size
            going[number].append(info)
        for number, each in going.items():
            self._remove(number, each, until)
            if monotonic() >= until:
                break

    def _sample(self, until: float) -> list[tuple[int, FileInfo]]:
        """Return entries to choose from, with their shards; half of the time is for removing."""
        halfway = (monotonic() + until) / 2
        enough = max(_SAMPLE, _CHOICE * (self._counts.totals().entries - self._kept))
        found: list[tuple[int, FileInfo]] = []
        for number in islice(self._turns(), SHARDS):
            here = self._scan(number)
            if len(here) != self._counts.entries(number):
                self.refresh(number, until)
                here = self._scan(number)
            found += ((number, info) for info in here)
            if len(found) >= enough or monotonic() >= halfway:
                break
        return found

    def _scan(self, number: int) -> list[FileInfo]:
        """Return the files of a shard that count."""
        shard = self._tree.find(number)
        found = [] if shard is None else directory.scan(shard.descriptor)
        return [info for info in found if info.room.entries]

    def _turns(self) -> Iterator[int]:
        """Yield one shard after the other, from where the last one stopped."""
        while True:
            self._turn = (self._turn + 1) % SHARDS
            yield self._turn

    def _in_order(
        self, found: Iterable[tuple[int, FileInfo]], newcomer: str
    ) -> list[tuple[int, FileInfo]]:
        """Return what may go, the expired first; a lock only if it seems to be expired."""
        now = self._clock.time()
        keyed = [
            (not is_over, info.written, info.changed, number, info)
            for number, info in found
            if info.name != newcomer
            if (is_over := info.is_over(now)) or not info.is_held()
        ]
        return [(number, info) for *_, number, info in sorted(keyed)]

    def _remove(self, number: int, going: Iterable[FileInfo], until: float) -> None:
        """Remove the files that have not changed since they were listed."""
        self._tree.locked(number, until, self._remove_unchanged, number, going)

    def _remove_unchanged(self, shard: Handle, number: int, going: Iterable[FileInfo]) -> None:
        now, folder = self._clock.time(), shard.descriptor
        self._take_out(
            number,
            folder,
            (
                info
                for info in going
                if directory.look(folder, info.name) == info
                if not info.is_held() or self._is_expired(folder, info, now)
            ),
        )

    def _take_out(self, number: int, folder: int, going: Iterable[FileInfo]) -> None:
        """Remove files of a shard that is locked."""
        try:
            gone = _sum(info.room for info in going if directory.remove(folder, info.name))
            self._counts.add(number, -gone.entries, -gone.size)
        except BaseException:
            self._counts.lose(number)
            raise

    def _is_expired(self, folder: int, info: FileInfo, now: float) -> bool:
        """Tell whether a file's time is over; what a lock's says inside decides."""
        if not info.is_over(now) or not info.is_held():
            return info.is_over(now)
        key = key_in(directory.head(folder, info.name)).decode("ascii", "replace")
        try:
            entry = decode(
                key, directory.read(directory.opener(folder), info.name, _LARGEST_LOCK) or b""
            )
        except CorruptFile:
            return True
        return entry.expires is not None and entry.expires <= now


def _sum(rooms: Iterable[Room]) -> Room:
    entries = size = 0
    for room in rooms:
        entries += room.entries
        size += room.size
    return Room(entries, size)


def _remove_temporary(shard: Handle) -> None:
    directory.remove(shard.descriptor, directory.TEMPORARY)
