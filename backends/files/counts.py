"""How many entries each shard has, and what they take of the disk: a file that all processes share.

Each shard has two signed 64-bit integers: its entries plus one, and their bytes of disk.
Each writer, holding the shard's lock, keeps its numbers right, so that no write needs a scan. A
file that is missing or too short has zeros there: unknown, until the shard is counted.
"""

import os
from struct import Struct
from typing import Final, NamedTuple

from twofold.backends.files.entry import SHARDS
from twofold.backends.files.tree import Tree

_PAIR: Final = Struct("<qq")
_ALL: Final = Struct(f"<{2 * SHARDS}q")
_MOST: Final = 2**62


class Totals(NamedTuple):
    """What all shards have that are known."""

    entries: int
    bytes: int
    unknown: tuple[int, ...]
    """The shards to count."""


class ShardCounts:
    """The numbers of all shards of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def totals(self) -> Totals:
        """Return the sums over the shards that are known, and which are not."""
        descriptor = self._tree.counts().descriptor
        numbers = _ALL.unpack(os.pread(descriptor, _ALL.size, 0).ljust(_ALL.size, b"\0"))
        entries, sizes = numbers[::2], numbers[1::2]
        if min(entries) > 0 and min(sizes) >= 0:
            return Totals(sum(entries) - SHARDS, sum(sizes), ())
        known = [entries[n] > 0 <= sizes[n] for n in range(SHARDS)]
        unknown = tuple(n for n in range(SHARDS) if not known[n])
        counted = [n for n in range(SHARDS) if known[n]]
        return Totals(sum(entries[n] - 1 for n in counted), sum(sizes[n] for n in counted), unknown)

    def entries(self, number: int) -> int:
        """Return how many entries a shard has; less than 0 if that is unknown."""
        return self._pair(number)[0] - 1

    def add(self, number: int, entries: int, size: int) -> None:
        """Add to the numbers of a shard that is locked."""
        before, taken = self._pair(number)
        if before > 0:
            self.put(number, before - 1 + entries, taken + size)

    def put(self, number: int, entries: int, size: int) -> None:
        """Set the numbers of a shard that is locked; such as cannot be are unknown ones."""
        fits = 0 <= entries < _MOST and 0 <= size < _MOST
        self._write(number, entries + 1 if fits else 0, size if fits else 0)

    def lose(self, number: int) -> None:
        """Forget the numbers of a shard that is locked, so that it is counted again."""
        self._write(number, 0, 0)

    def _write(self, number: int, *pair: int) -> None:
        os.pwrite(self._tree.counts().descriptor, _PAIR.pack(*pair), number * _PAIR.size)

    def _pair(self, number: int) -> tuple[int, int]:
        descriptor = self._tree.counts().descriptor
        data = os.pread(descriptor, _PAIR.size, number * _PAIR.size)
        entries, size = _PAIR.unpack(data.ljust(_PAIR.size, b"\0"))
        return entries, size
