"""What a disk that is full or fails costs, and how rarely that is logged."""

import errno
from time import monotonic
from typing import Final

from twofold.errors import BackendUnavailable
from twofold.events import StoreFailed, emit

_CODES: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_WARN_EVERY: Final = 60.0  # seconds between two warnings


class DiskFault(BackendUnavailable):
    """The disk is full or fails, or a file cannot be replaced now.

    It costs misses and values that are not stored; what promises that something is gone
    or counted lets it through.
    """


def is_disk_fault(exc: OSError) -> bool:
    """Tell whether the disk is full or fails."""
    return exc.errno in _CODES


class RareWarnings:
    """The log of one store's faults: each may happen at every call, so one a minute."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._next = 0.0

    def warn(self, what: object) -> None:
        """Tell what has happened, unless something was told within the last minute."""
        now = monotonic()
        if now >= self._next:
            self._next = now + _WARN_EVERY
            emit(StoreFailed(self._store, str(what)))
