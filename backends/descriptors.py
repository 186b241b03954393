"""Descriptors that no exception of a signal's handler can lose.

A handler can run, and raise, as soon as a call has returned: what `os.open` has just
returned is then nobody's. Here it stands in its owner's list within the same call.
"""

import os
from functools import partial
from typing import Final

NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
"""The flag by which no symbolic link is opened."""


def note_opened(
    noted: list[int], path: str, flags: int, mode: int = 0o777, *, folder: int | None = None
) -> int:
    """Open `path` as `os.open` does, and return the descriptor, which `noted` has by then."""
    noted += map(partial(os.open, mode=mode, dir_fd=folder), (path,), (flags,))
    return noted[-1]


def close_noted(noted: list[int]) -> None:
    """Close what is noted; it is forgotten within the same call, so that it is closed once."""
    for _ in map(os.close, map(noted.pop, [0] * len(noted))):
        pass


def is_systems(exc: OSError) -> bool:
    """Tell whether the system says it; a signal's handler has raised it otherwise.

    Such as `TimeoutError`, which is an `OSError`.
    """
    return exc.errno is not None
