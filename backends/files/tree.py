"""The directory of a cache: its shards, their owners, and their locks.

Folders stay open, so that a file is opened by its name alone, and no link on the way to
it can lead elsewhere. A folder is closed with its last user. Readers check once a second,
writers each time, that the path still names the open directory.

A writer holds two locks of its shard: one among the threads of the process, and `flock`
on the shard's folder among processes.
"""

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from twofold.backends.descriptors import NO_LINK, Descriptor
from twofold.backends.disk.locks import locked_too_long, unlock, wait_for_lock
from twofold.backends.disk.ownership import make_folder, make_folders, require_own_folder
from twofold.backends.files.directory import Opener, opener
from twofold.backends.files.entry import SHARDS
from twofold.effects import Lock, after_fork_in_child, new_lock, take
from twofold.errors import BackendUnavailable, DeadlineExceeded

T = TypeVar("T")

IS_POSSIBLE: Final = os.open in os.supports_dir_fd
"""Whether this system opens files within an open folder; Windows does not."""

_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | NO_LINK
_FILE: Final = os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_NONBLOCK", 0)
_LOOK_EVERY: Final = 1.0  # seconds for which readers believe in the folders that are open
_COUNTS: Final = "twofold.counts"


class Handle(Descriptor):
    """An open directory or file of a cache."""

    def __init__(
        self, path: str, flags: int, mode: int = 0o777, *, folder: int | None = None
    ) -> None:
        super().__init__(path, flags, mode, folder=folder)
        found = os.fstat(self.descriptor)
        self.identity: tuple[int, int] = (found.st_dev, found.st_ino)
        self.opener: Opener = opener(self.descriptor)

    def names(self, found: os.stat_result) -> bool:
        """Tell whether `found` is what is open here."""
        return (found.st_dev, found.st_ino) == self.identity

    def close(self) -> None:
        self.opener = opener(-1)
        super().close()


class Tree:
    """The folders of one cache, made when they are first written to."""

    def __init__(self, path: str, deadline: float) -> None:
        self.path: str = path
        self._deadline = deadline
        self._start()
        after_fork_in_child(self)

    def _start(self) -> None:
        self._locks: list[Lock] = [new_lock() for _ in range(SHARDS)]
        self.forget()

    def forget(self) -> None:
        """Close all folders; they are opened again when they are needed."""
        self._root: Handle | None = None
        self._counts: Handle | None = None
        self._shards: dict[int, Handle] = {}
        self._look_at = 0.0

    def find(self, number: int) -> Handle | None:
        """Return a shard, at most a second out of date; None if it does not exist."""
        if time.monotonic() < self._look_at:
            shard = self._shards.get(number)
            if shard is not None:
                return shard
        else:
            self.refresh()
        return self._open_shard(number, self._open_root())

    def locked(self, number: int, until: float, work: Callable[..., T], *args: Any) -> T:
        """Return `work(shard, *args)`, done while the lock of a shard is held.

        A missing shard is made. `until` is the monotonic time at which waiting for the lock ends.

        Raises:
            DeadlineExceeded: another writer kept the lock.
            BackendUnavailable: the directory is not ours alone.
            OSError: what the file system says.
        """
        # No context manager of Python's: a signal's handler can raise on the way in and out.
        lock, taken = self._locks[number], list[bool]()
        try:
            if not take(lock, until - time.monotonic(), taken):
                raise self._locked_too_long()
            return self._work_in(number, until, work, *args)
        finally:
            if taken:
                lock.release()

    def refresh(self) -> None:
        """Close all folders unless the path still names them."""
        if not self._is_current():
            self.forget()

    def counts(self) -> Handle:
        """Return the file of counts, at most a second out of date; it is made if it is missing."""
        counts = self._counts
        if counts is None:
            root = self._open_root() or self._make_root()
            counts = self._open_counts(root) or self._open_counts(root)
            if counts is None:
                raise BackendUnavailable(
                    f"{self.path}/{_COUNTS} is not a file of this cache: remove it"
                )
            self._counts = counts
        return counts

    def _open_counts(self, root: Handle) -> Handle | None:
        """Open the file of counts; None if something else stood there, which is removed."""
        try:
            counts = Handle(_COUNTS, _FILE, 0o600, folder=root.descriptor)
            found = os.fstat(counts.descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.fchmod(counts.descriptor, 0o600)
                return counts
        except OSError:
            if not _is_link(root, _COUNTS):
                raise
        with suppress(FileNotFoundError):
            os.unlink(_COUNTS, dir_fd=root.descriptor)
        return None

    def _work_in(self, number: int, until: float, work: Callable[..., T], *args: Any) -> T:
        """Do `work` in the shard that the path names, locked for other processes too."""
        while True:
            shard = self._shards.get(number) or self._make_shard(number)
            if shard is not None:
                try:
                    if not wait_for_lock(shard.descriptor, until):
                        raise self._locked_too_long()
                    if self._is_current() and self._has(number, shard):
                        return work(shard, *args)
                finally:
                    # A child that was forked meanwhile has the descriptor too.
                    unlock(shard.descriptor)
                    del shard  # or an error's traceback would keep the folder open
            self.forget()
            if time.monotonic() >= until:
                raise BackendUnavailable(
                    f"the cache directory {self.path} is removed again and again: find out what"
                    " does it, or let LOCATION be another one"
                )

    def _is_current(self) -> bool:
        """Tell whether the path names the directory that is open; believe so for a second."""
        root = self._root
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if root is None or not root.names(found):
            return False
        require_own_folder(self.path, found)
        if time.monotonic() >= self._look_at:
            self._shards, self._counts = {}, None
            self._look_at = time.monotonic() + _LOOK_EVERY
        return True

    def _has(self, number: int, shard: Handle) -> bool:
        root = self._root
        try:
            return root is not None and shard.names(
                os.stat(_name(number), dir_fd=root.descriptor, follow_symlinks=False)
            )
        except FileNotFoundError:
            return False

    def _open_root(self) -> Handle | None:
        """Return the directory; None if it does not exist."""
        if self._root is None:
            try:
                found = os.lstat(self.path)
                require_own_folder(self.path, found)
                root = Handle(self.path, _FOLDER)
            except FileNotFoundError:
                return None
            require_own_folder(self.path, os.fstat(root.descriptor))
            self._root, self._shards, self._counts = root, {}, None
            self._look_at = time.monotonic() + _LOOK_EVERY
            return root
        return self._root

    def _make_root(self) -> Handle:
        """Make the directory, with those above it; each is its owner's alone."""
        make_folders(self.path)
        root = self._open_root()
        if root is None:
            raise BackendUnavailable(
                f"the cache directory {self.path} was removed as soon as it was made: try again"
            )
        return root

    def _open_shard(self, number: int, root: Handle | None) -> Handle | None:
        """Return a shard; None if it does not exist, or is a link."""
        if root is None:
            return None
        name = _name(number)
        try:
            shard = Handle(name, _FOLDER, folder=root.descriptor)
        except FileNotFoundError:
            return None
        except OSError:
            if _is_link(root, name):
                return None
            raise
        require_own_folder(f"{self.path}/{name}", os.fstat(shard.descriptor))
        self._shards[number] = shard
        return shard

    def _make_shard(self, number: int) -> Handle | None:
        """Return a shard; make it if it does not exist, or is a link.

        None if what is there, or the directory itself, has just been removed.
        """
        root = self._open_root() or self._make_root()
        shard = self._open_shard(number, root)
        if shard is not None:
            return shard
        name = _name(number)
        with suppress(FileExistsError, FileNotFoundError):
            if _is_link(root, name):
                os.unlink(name, dir_fd=root.descriptor)
            make_folder(name, root.descriptor)
        return self._open_shard(number, root)

    def _locked_too_long(self) -> DeadlineExceeded:
        return locked_too_long(f"the cache directory {self.path}", self._deadline)

    def _after_fork(self) -> None:
        """Close what is inherited: a lock that the parent holds must not outlive the parent."""
        inherited = [self._root, self._counts, *self._shards.values()]
        self._start()
        for each in inherited:
            if each is not None:
                each.close()


def _name(number: int) -> str:
    return f"{number:02x}"


def _is_link(root: Handle, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=root.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(found.st_mode)
