"""How much an entry that anybody may have written is let build in memory."""

from typing import Final

ALWAYS: Final = 32 * 1024 * 1024
"""Bytes that any entry may build."""

TIMES: Final = 512
"""How many bytes an entry may build for each of its own."""

NEVER: Final = 1024 * 1024 * 1024
"""Bytes more than which no entry may build."""

_MOST = 128  # bytes at most that one byte of a payload becomes

LIGHT: Final = ALWAYS // _MOST
"""Bytes of payload that build no more than any entry may."""

HEAVY: Final = NEVER // _MOST
"""Bytes of an entry that is not packed, up to which it cannot build too much."""


def may_build(size: int) -> int:
    """Return how many bytes an entry of `size` bytes may build."""
    return ALWAYS if TIMES * size <= ALWAYS else min(TIMES * size, NEVER)
