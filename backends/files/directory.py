"""The files in one open folder: reading, replacing, removing and listing them.

No path is walked here, and no link followed: each name is looked up in a folder that is
open already. The times of a file repeat what its head says, for a scan that need not
open it: that of access is when it was written, that of modification when it expires. A file
that holds a stub (see `twofold.stub`) may be read only, and counts for nothing.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from twofold.backends.descriptors import NO_LINK, is_systems, note_opened
from twofold.backends.files.entry import (
    HEAD_BYTES,
    CorruptFile,
    Entry,
    disk_bytes,
    encode,
    is_entry,
    is_held,
)
from twofold.stub import is_stub

TEMPORARY: Final = "twofold.tmp"
"""The file being written in a shard: one at a time, since the writer holds the shard's lock."""

_NO_WAIT: Final = NO_LINK | getattr(os, "O_NONBLOCK", 0)
_READ: Final = os.O_RDONLY | _NO_WAIT | getattr(os, "O_NOATIME", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_WAIT
_VALUE_MODE: Final = 0o600
_STUB_MODE: Final = 0o400
_LIST: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NANO: Final = 1e9
_FOREIGN: Final = {
    errno.ELOOP,
    errno.EMLINK,
    errno.ENXIO,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.EAGAIN,  # of a pipe
    errno.EINVAL,  # of a device
}
_CHUNK: Final = 16384  # bytes that are read before it is asked what is read, and how much


class Room(NamedTuple):
    """What a file takes: nothing, if it is missing or holds a stub."""

    entries: int
    size: int
    """Bytes of the disk."""


NO_ROOM: Final = Room(0, 0)

Opener: TypeAlias = Callable[[str], int]
"""Returns the descriptor of a file, opened to be read, by its name in one folder."""


def opener(folder: int) -> Opener:
    """Return the one of an open folder."""
    return partial(os.open, flags=_READ, dir_fd=folder)


class FileInfo(NamedTuple):
    """A file of this cache as a scan finds it."""

    name: str
    inode: int
    changed: int
    written: int
    """By the wall clock, in nanoseconds."""
    expires: int
    """Likewise; 0 for never."""
    room: Room

    def is_over(self, now: float) -> bool:
        """Tell whether its time is over, so that it may go."""
        return 0 < self.expires / _NANO <= now

    def is_held(self) -> bool:
        """Tell whether it is a lock's or a claim's."""
        return is_held(self.name)


def read(open_: Opener, name: str, limit: int) -> bytes | None:
    """Return what a file of at most `limit` bytes holds; None if it does not exist.

    Raises:
        CorruptFile: it is a link, no regular file, or too large.
    """
    opened: deque[int] = deque()  # asks an iterator for no length, unlike a list
    try:
        opened += map(open_, (name,))  # as `note_opened`, in half of the time
        data = os.read(opened[0], _CHUNK)
        return data if len(data) < _CHUNK else _read_on(opened[0], limit)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if is_foreign_file(exc):
            raise CorruptFile("it is not a file of this cache") from exc
        raise
    finally:
        if opened:
            os.close(opened[0])


def is_foreign_file(exc: OSError) -> bool:
    """Tell whether what could not be opened or read is a link or a device."""
    return exc.errno in _FOREIGN


def _read_on(descriptor: int, limit: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
        raise CorruptFile("it is no regular file, or too large")
    return os.pread(descriptor, found.st_size, 0)  # again: to join two parts would cost more


def head(folder: int, name: str) -> bytes:
    """Return the first bytes of a file; nothing if it cannot be read."""
    opened: list[int] = []
    try:
        return os.read(note_opened(opened, name, _READ, folder=folder), HEAD_BYTES)
    except OSError as exc:
        if not is_systems(exc):
            raise
        return b""
    finally:
        for each in opened:
            os.close(each)


def replace(folder: int, name: str, key: str, entry: Entry) -> Room:
    """Put a whole new file in place of `name`, at once, and return what it takes."""
    data = encode(key, entry)
    stub = is_stub(entry.value)
    try:
        _create(folder, data, entry, _STUB_MODE if stub else _VALUE_MODE)
        _rename(folder, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(TEMPORARY, dir_fd=folder)
        raise
    return NO_ROOM if stub else Room(1, disk_bytes(len(data)))


def _create(folder: int, data: bytes, entry: Entry, mode: int) -> None:
    """Write the temporary file."""
    opened: list[int] = []
    try:
        try:
            descriptor = note_opened(opened, TEMPORARY, _CREATE, mode, folder=folder)
        except FileExistsError:  # stale: a live writer would hold the lock
            remove(folder, TEMPORARY)
            descriptor = note_opened(opened, TEMPORARY, _CREATE, mode, folder=folder)
        os.fchmod(descriptor, mode)  # which the umask may have made less
        _write(descriptor, data)
        os.utime(descriptor, ns=(_nano(entry.written), _nano(entry.expires)))
    finally:
        for each in opened:
            os.close(each)


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


def room(folder: int, name: str) -> Room:
    """Return what a file takes, which is nothing if it is no regular one."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return NO_ROOM
    return _room(found) if stat.S_ISREG(found.st_mode) else NO_ROOM


def _room(found: os.stat_result) -> Room:
    is_value = found.st_mode & stat.S_IWUSR
    return Room(1, disk_bytes(found.st_size)) if is_value else NO_ROOM


def remove(folder: int, name: str) -> bool:
    """Remove a file, or an empty directory in its place; return whether it was there."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def scan(folder: int) -> list[FileInfo]:
    """Return the files of this cache."""
    return [info for name in names(folder) if (info := look(folder, name)) is not None]


def look(folder: int, name: str) -> FileInfo | None:
    """Return what the inode of a regular file says; None if it is none."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    times = found.st_ctime_ns, found.st_atime_ns, found.st_mtime_ns
    return FileInfo(name, found.st_ino, *times, _room(found))


def names(folder: int) -> list[str]:
    """Return the names of this cache's files."""
    opened: list[int] = []
    try:
        # Its own descriptor, since listing moves the position that all users of one share.
        listed = os.listdir(note_opened(opened, ".", _LIST, folder=folder))
        return [name for name in listed if is_entry(name)]
    finally:
        for each in opened:
            os.close(each)
