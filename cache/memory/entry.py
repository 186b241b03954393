"""One entry, and the bytes it is counted with."""

from typing import Final

from twofold.backend import Stored

ENTRY_BYTES: Final = 290
"""What an entry costs beside the text of its key and its value, in CPython.

Measured on 3.11, in fresh processes with 400,000 entries: 280 to 290 with an expiry, some
70 less without.
"""


class Entry:
    """A value, until when it lives, and what the store needs to let it go."""

    __slots__ = ("bucket", "deadline", "key", "size", "value", "visited")

    def __init__(self, key: str, value: Stored, size: int, deadline: float) -> None:
        self.key: str = key
        self.value: Stored = value
        self.size: int = size
        self.deadline: float = deadline
        self.visited: bool = False
        self.bucket: set[str] | None = None


def same(stored: Stored, expected: Stored) -> bool:
    """Tell whether a stored value is the one that a caller has read before."""
    return stored is expected or (type(stored) is type(expected) and bool(stored == expected))
