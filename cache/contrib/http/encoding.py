"""One encoding of lists of bytes, in which no two lists meet."""

from collections.abc import Sequence
from struct import pack


def encode(*lists: Sequence[bytes]) -> bytes:
    """Return `lists`, each with its length and those of its members in front."""
    parts: list[bytes] = []
    for each in lists:
        parts += (pack(f">{len(each) + 1}Q", len(each), *map(len, each)), *each)
    return b"".join(parts)
