"""One encoding of lists of bytes, in which no two lists meet."""

from collections.abc import Sequence
from struct import Struct

_length = Struct(">Q").pack


def encode(*lists: Sequence[bytes]) -> bytes:
    """Return `lists`, each with its length and those of its members in front."""
    parts: list[bytes] = []
    for each in lists:
        parts.append(_length(len(each)))
        for one in each:
            parts += (_length(len(one)), one)
    return b"".join(parts)
