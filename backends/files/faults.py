"""What an error of the file system means for a cache."""

import errno
from typing import Final

from twofold.errors import BackendUnavailable

_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_LOST: Final = {errno.ENOENT, errno.ESTALE}  # the directory, while it was written to
_PLANTED: Final = {
    errno.ELOOP,
    errno.EMLINK,
    errno.ENXIO,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.EAGAIN,  # of a pipe
    errno.EINVAL,  # of a device
}


class Damaged(Exception):
    """A file is not what was written there: it counts as missing, and is to be removed."""


class Fault(BackendUnavailable):
    """The disk is full or fails.

    It costs misses and values that are not stored; what promises that something is gone
    or counted lets it through.
    """


def is_fault(exc: OSError) -> bool:
    """Tell whether the disk is full or fails, or the directory is just being removed."""
    return exc.errno in _DISK | _LOST


def is_planted(exc: OSError) -> bool:
    """Tell whether what could not be opened or read is no file of ours, but a link or a device."""
    return exc.errno in _PLANTED
