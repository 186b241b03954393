"""The file of one key, while its shard is locked."""

from contextlib import suppress

from twofold.backends.files import shelf
from twofold.backends.files.counts import Counts
from twofold.backends.files.entry import Entry, decode
from twofold.backends.files.faults import Damaged


class Slot:
    """What may be done to a key by the one who holds its shard's lock.

    Args:
        key: the key.
        number: its shard.
        name: the name of its file.
        folder: the descriptor of the shard.
        counts: keeps the numbers of the shard.
        limit: bytes of the largest file.
    """

    def __init__(
        self, key: str, number: int, name: str, folder: int, counts: Counts, limit: int
    ) -> None:
        self._key = key
        self._number = number
        self._name = name
        self._folder = folder
        self._counts = counts
        self._limit = limit
        self.grown: bool = False

    def entry(self) -> Entry | None:
        """Return what the file holds, expired or not; remove one that is damaged."""
        try:
            data = shelf.read(self._folder, self._name, self._limit)
            return None if data is None else decode(self._key, data)
        except Damaged:
            self.remove()
            return None

    def write(self, entry: Entry) -> None:
        """Put a new file in the place of the one that is there."""
        before = shelf.weigh(self._folder, self._name)
        after = shelf.replace(self._folder, self._name, self._key, entry)
        if before is None:
            self._count(1, after)
        elif after != before:
            self._count(0, after - before)
        self.grown = after > (before or 0)

    def remove(self) -> None:
        """Remove the file, if there is one."""
        before = shelf.weigh(self._folder, self._name)
        if shelf.remove(self._folder, self._name) and before is not None:
            self._count(-1, -before)

    def _count(self, entries: int, weight: int) -> None:
        # A number that is lost is found again when the shard is next counted.
        with suppress(OSError):
            self._counts.add(self._number, entries, weight)
