"""The files in one open folder: reading, replacing, removing and listing them.

No path is walked here, and no link followed: each name is looked up in a folder that is
open already. The times of a file repeat what its head says, for a scan that need not
open it: that of access is when it was written, that of modification when it expires.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from twofold.backends.files.entry import HEAD_BYTES, Entry, encode, is_entry, is_held, weight
from twofold.backends.files.faults import Damaged, is_planted

TEMPORARY: Final = "twofold.tmp"
"""The file that is written now, in any shard: who writes holds the shard's lock."""

_NO_LINK: Final = os.O_NOFOLLOW | os.O_NONBLOCK
_READ: Final = os.O_RDONLY | _NO_LINK | getattr(os, "O_NOATIME", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY
_NANO: Final = 1e9


class Seen(NamedTuple):
    """A file of ours as a scan finds it."""

    name: str
    inode: int
    changed: int
    written: int
    """By the wall clock, in nanoseconds."""
    expires: int
    """Likewise; 0 for never."""
    weight: int

    def is_over(self, now: float) -> bool:
        """Tell whether its time is over, so that it may go."""
        return 0 < self.expires / _NANO <= now

    def is_held(self) -> bool:
        """Tell whether it is a lock's or a lease's."""
        return is_held(self.name)


def read(folder: int, name: str, limit: int) -> bytes | None:
    """Return what a file of at most `limit` bytes holds; None if there is none.

    Raises:
        Damaged: it is a link, no regular file, or too large.
    """
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if is_planted(exc):
            raise Damaged("it is no file of ours") from exc
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise Damaged("it is no regular file, or too large")
        return os.read(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def head(folder: int, name: str) -> bytes:
    """Return the first bytes of a file; nothing if it is none of ours."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.read(descriptor, HEAD_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def replace(folder: int, name: str, key: str, entry: Entry) -> int:
    """Put a whole new file in the place of `name`, at once, and return its weight."""
    data = encode(key, entry)
    descriptor = _create(folder)
    try:
        try:
            os.fchmod(descriptor, 0o600)  # which the umask may have made less
            _write(descriptor, data)
            os.utime(descriptor, ns=(_nano(entry.written), _nano(entry.expires)))
        finally:
            os.close(descriptor)
        _rename(folder, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(TEMPORARY, dir_fd=folder)
        raise
    return weight(len(data))


def _create(folder: int) -> int:
    try:
        return os.open(TEMPORARY, _CREATE, 0o600, dir_fd=folder)
    except FileExistsError:  # its writer was killed, or he would hold the lock
        remove(folder, TEMPORARY)
        return os.open(TEMPORARY, _CREATE, 0o600, dir_fd=folder)


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _nano(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, int(seconds * _NANO))


def _rename(folder: int, name: str) -> None:
    try:
        os.rename(TEMPORARY, name, src_dir_fd=folder, dst_dir_fd=folder)
    except IsADirectoryError:
        remove(folder, name)
        os.rename(TEMPORARY, name, src_dir_fd=folder, dst_dir_fd=folder)


def weigh(folder: int, name: str) -> int | None:
    """Return what a file weighs; None if there is none."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return weight(found.st_size) if stat.S_ISREG(found.st_mode) else None


def remove(folder: int, name: str) -> bool:
    """Remove a file, or an empty directory in its place; return whether it was there."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def scan(folder: int) -> list[Seen]:
    """Return the files of ours."""
    return [seen for name in names(folder) if (seen := look(folder, name)) is not None]


def look(folder: int, name: str) -> Seen | None:
    """Return what a regular file is by its inode; None if there is none."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    times = found.st_ctime_ns, found.st_atime_ns, found.st_mtime_ns
    return Seen(name, found.st_ino, *times, weight(found.st_size))


def names(folder: int) -> list[str]:
    """Return the names of ours."""
    with _listed(folder) as entries:
        return [each.name for each in entries if is_entry(each.name)]


@contextmanager
def _listed(folder: int) -> "Iterator[Iterator[os.DirEntry[str]]]":
    # Opened anew, since whoever lists a descriptor moves it for all who share it.
    descriptor = os.open(".", _LIST, dir_fd=folder)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)
