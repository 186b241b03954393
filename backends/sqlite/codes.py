"""What an error of SQLite means for a cache."""

import sqlite3
from typing import Final

from twofold.backends.disk.faults import DiskFault

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

# Our statements are known to be right, so an error or a broken constraint is the file's.
_CORRUPT: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
}
_DISK: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class CorruptDatabase(sqlite3.DatabaseError):
    """What the file holds is not what was written there; found by a check of our own."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


class Replaced(sqlite3.OperationalError):
    """What was written is in a file that the path no longer names."""


class InUse(DiskFault):
    """The file cannot be moved aside, as on Windows while a connection has it open."""


def is_busy(exc: sqlite3.Error) -> bool:
    """Tell whether another connection kept the file's lock for too long."""
    return _code(exc) & 0xFF in _BUSY


def is_corrupt(exc: sqlite3.Error) -> bool:
    """Tell whether the file is corrupt, truncated or no database at all."""
    code = _code(exc)
    return code & 0xFF in _CORRUPT or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_disk_error(exc: sqlite3.Error) -> bool:
    """Tell whether the disk is full or fails."""
    return _code(exc) & 0xFF in _DISK


def _code(exc: sqlite3.Error) -> int:
    """Return SQLite's extended code; 0 for errors of the Python module itself."""
    code: int = getattr(exc, "sqlite_errorcode", 0)
    return code
