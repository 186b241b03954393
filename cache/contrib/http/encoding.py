"""One encoding of lists of bytes, in which no two lists meet."""

from collections.abc import Sequence


def encode(*lists: Sequence[bytes]) -> bytes:
    """Return `lists`, each with its length and those of its members in front."""
    parts: list[bytes] = []
    for each in lists:
        parts.append(_length(each))
        for one in each:
            parts += (_length(one), one)
    return b"".join(parts)


def _length(sized: Sequence[object]) -> bytes:
    return len(sized).to_bytes(8, "big")
