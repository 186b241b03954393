"""One encoding of lists of bytes, in which no two lists meet."""

from collections.abc import Sequence


def encode(*lists: Sequence[bytes]) -> bytes:
    """Return `lists`, each with its length and those of its members in front."""
    return b"".join(
        part
        for each in lists
        for part in (_length(each), *(piece for one in each for piece in (_length(one), one)))
    )


def _length(sized: Sequence[object]) -> bytes:
    return len(sized).to_bytes(8, "big")
