"""Which tags entries had when they were read last: guesses, to be read along with them.

A wrong one costs a key that is read in vain, and never a wrong value: what has become of an entry
is told by its own tags alone.
"""

from collections.abc import Iterable
from typing import Final

from twofold.metadata import Pins

_MOST: Final = 4096  # entries
_FEW: Final = 16  # tags of one entry


class Seen(dict[str, tuple[str, ...]]):
    """The names of the tags of entries, by their keys."""

    def note(self, key: str, pins: Pins) -> None:
        """Note the tags of an entry that was read, unless they are many."""
        if len(pins) <= _FEW:
            if len(self) >= _MOST:
                self.clear()
            self[key] = tuple([name for name, _ in pins])

    def of(self, keys: Iterable[str]) -> set[tuple[str, ...]]:
        """Return the tags that each of `keys` had."""
        found: set[tuple[str, ...] | None] = {*map(self.get, keys)}
        return {each for each in found if each is not None}
