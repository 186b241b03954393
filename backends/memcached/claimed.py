"""The numbers of the stubs that were stored last, by which they are replaced without a look."""

from collections import OrderedDict
from contextlib import suppress
from typing import Final

_MOST: Final = 8192  # of as many computations at a time


class Claimed:
    """What `cas` wants to know of each stub; whatever is forgotten costs a `gets`.

    Each step is one call in C, so that threads and signals' handlers find it whole. A forked
    child may use what it inherits: the server takes each number once.
    """

    def __init__(self) -> None:
        self._uniques: OrderedDict[tuple[str, bytes], int] = OrderedDict()

    def note(self, key: str, stub: bytes, unique: int) -> None:
        """Remember the number of `stub` under `key`, and forget the oldest of too many."""
        self._uniques[key, stub] = unique
        if len(self._uniques) > _MOST:
            with suppress(KeyError):
                self._uniques.popitem(last=False)

    def take(self, key: str, stub: bytes) -> int | None:
        """Return the number of `stub`, and forget it; None if it is not known."""
        return self._uniques.pop((key, stub), None)
