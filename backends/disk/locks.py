"""The lock of an open file, by which processes exclude each other; it ends with the descriptor.

By `flock` where there is one: it is one call, that a signal's handler cannot split.
"""

import time
from typing import Final

from twofold.errors import DeadlineExceeded

_FIRST_PAUSE: Final = 0.000_25  # seconds from the first look at a lock to the second
_LONGEST_PAUSE: Final = 0.004

try:
    import fcntl
except ImportError:  # on Windows
    from filelock import lock_descriptor, unlock_descriptor

    def _try_lock(descriptor: int) -> bool:
        taken: bool = lock_descriptor(descriptor, blocking=False)
        return taken

    def unlock(descriptor: int) -> None:
        """Release the lock, if it is held."""
        unlock_descriptor(descriptor)

else:

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Release the lock, if it is held."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def wait_for_lock(descriptor: int, until: float) -> bool:
    """Take the lock by a monotonic time, once at least, and tell whether it was taken.

    It is polled: a call of `flock` that waits can be ended by nothing but a signal.
    """
    pause = _FIRST_PAUSE
    while not _try_lock(descriptor):
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def locked_too_long(what: str, deadline: float) -> DeadlineExceeded:
    """Return the error of a caller that waited too long for a lock."""
    return DeadlineExceeded(
        f"{what} was locked by others for longer than the deadline of {deadline:g} s;"
        " OPTIONS['deadline'] gives it more time"
    )
