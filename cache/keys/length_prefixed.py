"""Lists of bytes as one text of bytes, each with its length in front: no two give the same."""

from collections.abc import Sequence
from struct import pack


def length_prefixed(*lists: Sequence[bytes]) -> bytes:
    """Return `lists`, each with its length and those of its members in front."""
    parts: list[bytes] = []
    for each in lists:
        parts += (pack(f">{len(each) + 1}Q", len(each), *map(len, each)), *each)
    return b"".join(parts)
