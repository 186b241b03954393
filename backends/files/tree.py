"""The directory of a cache: its shards, whom they belong to, and their locks.

Folders stay open, so that a file is opened by its name alone, and no link on the way to
it can lead elsewhere. A folder is closed when nobody uses it any more. Readers look at
the path once a second, writers each time, whether it still names what is open.

Who writes in a shard holds a lock in the process, and `flock` on the shard's folder.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from twofold.backends.files.entry import SHARDS
from twofold.effects import Lock, after_fork_in_child, new_lock
from twofold.errors import BackendUnavailable, DeadlineExceeded

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_LOOK_EVERY: Final = 1.0  # seconds for which readers believe in the folders that are open
_FIRST_PAUSE: Final = 0.000_25  # seconds from the first look at a lock to the second
_LONGEST_PAUSE: Final = 0.004
_COUNTS: Final = "twofold.counts"


class Handle:
    """An open directory or file, closed when nobody keeps it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: int = descriptor
        found = os.fstat(descriptor)
        self.identity: tuple[int, int] = (found.st_dev, found.st_ino)

    def names(self, found: os.stat_result) -> bool:
        """Tell whether `found` is what is open here."""
        return (found.st_dev, found.st_ino) == self.identity

    def close(self) -> None:
        """Close it, once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()


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
        """Let go of all folders; they are opened anew."""
        self._root: Handle | None = None
        self._counts: Handle | None = None
        self._shards: dict[int, Handle] = {}
        self._look_at = 0.0

    def find(self, number: int) -> Handle | None:
        """Return a shard as it was a second ago, or now; None if there is none."""
        if time.monotonic() < self._look_at:
            shard = self._shards.get(number)
            if shard is not None:
                return shard
        else:
            self.refresh()
        return self._open_shard(number, self._open_root())

    @contextmanager
    def locked(self, number: int, until: float) -> Iterator[Handle]:
        """Hold the lock of a shard, which is made if there is none; wait until then for it.

        Raises:
            DeadlineExceeded: somebody else has kept the lock.
            BackendUnavailable: the directory is not ours alone.
            OSError: what the file system says.
        """
        lock = self._locks[number]
        if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise self._late()
        try:
            shard = self._take(number, until)
            try:
                yield shard
            finally:
                # A child that was forked meanwhile has the descriptor too.
                fcntl.flock(shard.descriptor, fcntl.LOCK_UN)
        finally:
            lock.release()

    def refresh(self) -> None:
        """Let go of all folders unless the path still names them."""
        if not self._is_current():
            self.forget()

    def counts(self) -> Handle:
        """Return the file of counts, as `find` returns a shard; it is made if there is none."""
        counts = self._counts
        if counts is None:
            root = self._open_root() or self._make_root()
            counts = self._open_counts(root) or self._open_counts(root)
            if counts is None:
                raise BackendUnavailable(f"{self.path}/{_COUNTS} is no file: remove it")
            self._counts = counts
        return counts

    def _open_counts(self, root: Handle) -> Handle | None:
        """Return the file of counts; remove what is none, or has another name too: None then."""
        try:
            counts = Handle(os.open(_COUNTS, _FILE, 0o600, dir_fd=root.descriptor))
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

    def _take(self, number: int, until: float) -> Handle:
        """Return the shard that the path names, locked."""
        while True:
            shard = self._shards.get(number) or self._make_shard(number)
            if shard is not None:
                self._flock(shard, until)
                if self._is_still(number, shard):
                    return shard
            self.forget()
            if time.monotonic() >= until:
                raise BackendUnavailable(f"the cache directory {self.path} is removed all the time")

    def _is_still(self, number: int, shard: Handle) -> bool:
        """Tell whether the path names a locked shard; let go of its lock if it does not."""
        is_still = False
        try:
            is_still = self._is_current() and self._has(number, shard)
        finally:
            if not is_still:
                fcntl.flock(shard.descriptor, fcntl.LOCK_UN)
        return is_still

    def _flock(self, shard: Handle, until: float) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                return fcntl.flock(shard.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise self._late() from None
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _is_current(self) -> bool:
        """Tell whether the path names the directory that is open; believe so for a second."""
        root = self._root
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if root is None or not root.names(found):
            return False
        self._require_ours(self.path, found)
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
        """Return the directory, None if there is none."""
        if self._root is None:
            try:
                found = os.lstat(self.path)
                self._require_ours(self.path, found)
                root = Handle(os.open(self.path, _FOLDER))
            except FileNotFoundError:
                return None
            self._require_ours(self.path, os.fstat(root.descriptor))
            self._root, self._shards, self._counts = root, {}, None
            self._look_at = time.monotonic() + _LOOK_EVERY
            return root
        return self._root

    def _make_root(self) -> Handle:
        """Make the directory, with those above it; each is its owner's alone."""
        missing = []
        path = self.path
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for each in reversed(missing):
            with suppress(FileExistsError):
                _make(each)
        root = self._open_root()
        if root is None:
            raise BackendUnavailable(
                f"the cache directory {self.path} was removed while it was made"
            )
        return root

    def _open_shard(self, number: int, root: Handle | None) -> Handle | None:
        """Return a shard; None if there is none, or a link in its place."""
        if root is None:
            return None
        name = _name(number)
        try:
            shard = Handle(os.open(name, _FOLDER, dir_fd=root.descriptor))
        except FileNotFoundError:
            return None
        except OSError:
            if _is_link(root, name):
                return None
            raise
        self._require_ours(f"{self.path}/{name}", os.fstat(shard.descriptor))
        self._shards[number] = shard
        return shard

    def _make_shard(self, number: int) -> Handle | None:
        """Return a shard; make it if there is none, or a link in its place.

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
            _make(name, root.descriptor)
        return self._open_shard(number, root)

    def _require_ours(self, path: str, found: os.stat_result) -> None:
        """Raise unless nobody but this process's user can write in a directory."""
        if not stat.S_ISDIR(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no directory"
            raise BackendUnavailable(
                f"LOCATION {path!r} is {what}; give the path of a directory, or of none yet"
            )
        if found.st_uid != os.geteuid():
            raise BackendUnavailable(
                f"the cache directory {path!r} belongs to user {found.st_uid}, and this process"
                f" runs as user {os.geteuid()}; let LOCATION be a directory of its own"
            )
        if found.st_mode & 0o022:
            raise BackendUnavailable(
                f"others may write in the cache directory {path!r}, of mode"
                f" {stat.S_IMODE(found.st_mode):o}: run chmod go-w on it, or give another LOCATION"
            )

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the cache directory {self.path} was locked for longer than the deadline of"
            f" {self._deadline:g} s; OPTIONS['deadline'] sets the limit"
        )

    def _after_fork(self) -> None:
        """Close what is inherited: a lock that the parent holds must not outlive the parent."""
        inherited = [self._root, self._counts, *self._shards.values()]
        self._start()
        for each in inherited:
            if each is not None:
                each.close()


def _name(number: int) -> str:
    return f"{number:02x}"


def _make(path: str, folder: int | None = None) -> None:
    """Make a directory of mode 0700, even if the umask denies its owner something."""
    os.mkdir(path, 0o700, dir_fd=folder)
    made = os.stat(path, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(made.st_mode) and made.st_mode & 0o700 != 0o700:
        os.chmod(path, 0o700, dir_fd=folder)


def _is_link(root: Handle, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=root.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(found.st_mode)
