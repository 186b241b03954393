"""Descriptors that no exception of a signal's handler can lose.

A handler can run, and raise, as soon as a call has returned: what `os.open` has just
returned is then lost. Here it stands in its owner's list within the same call.
"""

import os
from functools import partial
from typing import Final
from weakref import ref

NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
"""The flag by which no symbolic link is opened."""


def note_opened(
    noted: list[int], path: str, flags: int, mode: int = 0o777, *, folder: int | None = None
) -> int:
    """Open `path` as `os.open` does, and return the descriptor, which `noted` has by then."""
    noted += map(partial(os.open, dir_fd=folder), (path,), (flags,), (mode,))
    return noted[-1]


class Descriptor:
    """An open directory or file, closed when it is no longer referred to.

    It has no finaliser of Python's, in which a handler's exception would be lost together
    with the descriptor: a weak reference to it calls what closes, and that is C alone.
    The arguments are those of `os.open`, `folder` being its `dir_fd`.
    """

    def __init__(
        self, path: str, flags: int, mode: int = 0o777, *, folder: int | None = None
    ) -> None:
        noted: list[int] = []
        # It closes once, and does not mind one that is closed already.
        self._closing = map(os.closerange, noted, map((1).__add__, noted))
        self._guard = ref(self, partial(next, self._closing))
        self.descriptor: int = note_opened(noted, path, flags, mode, folder=folder)
        _guards[self.descriptor] = self._guard  # which must not be part of a cycle of garbage

    def close(self) -> None:
        """Close it, once."""
        self.descriptor = -1
        next(self._closing, None)


_guards: dict[int, object] = {}


def is_systems(exc: OSError) -> bool:
    """Tell whether the system says it; a signal's handler has raised it otherwise.

    Such as `TimeoutError`, which is an `OSError`.
    """
    return exc.errno is not None
