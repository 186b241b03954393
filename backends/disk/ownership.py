"""Whose a file or folder is: stores on disk use none that another user can write in.

Where there are no users with numbers, on Windows, only the kind of a thing is looked at.
"""

import os
import stat
from contextlib import suppress

from twofold.backends.descriptors import NO_LINK, note_opened
from twofold.errors import BackendUnavailable

_WRITABLE_BY_OTHERS = 0o022
_WRITABLE_BY_ALL = 0o002


def require_own_folder(path: str, found: os.stat_result) -> None:
    """Raise `BackendUnavailable` if another user can write in a folder."""
    if not stat.S_ISDIR(found.st_mode):
        raise BackendUnavailable(
            f"LOCATION {path!r} is {_kind(found, 'no directory')};"
            " give the path of a directory, or of none yet"
        )
    _require_own("the cache directory", path, found)


def require_own_file(path: str, found: os.stat_result) -> None:
    """Raise `BackendUnavailable` if another user can write to a file."""
    if not stat.S_ISREG(found.st_mode):
        raise BackendUnavailable(
            f"LOCATION {path!r} is {_kind(found, 'no regular file')};"
            " give the path of a file, or of none yet"
        )
    if found.st_nlink > 1:
        raise BackendUnavailable(
            f"the cache file {path!r} has another name too, a hard link, so that writing to it"
            " would change what that names: remove one of the two"
        )
    _require_own("the cache file", path, found)


def require_safe_place(folder: str) -> None:
    """Raise `BackendUnavailable` if any user may put a file in place of another's there."""
    found = os.stat(folder)
    if _has_users() and found.st_mode & _WRITABLE_BY_ALL and not found.st_mode & stat.S_ISVTX:
        raise BackendUnavailable(
            f"any user may replace files in {folder!r}, of mode {_mode(found)}:"
            " run chmod o-w on it, or give LOCATION a directory of its own"
        )


def make_folders(path: str) -> None:
    """Make a directory with those above it that are missing; each is its owner's alone."""
    missing: list[str] = []
    while not os.path.lexists(path) and path not in missing:  # as a drive that is not there is
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        with suppress(FileExistsError):
            make_folder(each)


def make_folder(path: str, folder: int | None = None) -> None:
    """Make a directory of mode 0700, even if the umask denies its owner something."""
    os.mkdir(path, 0o700, dir_fd=folder)
    made = os.stat(path, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(made.st_mode) and made.st_mode & 0o700 != 0o700:
        os.chmod(path, 0o700, dir_fd=folder)


def make_file(noted: list[int], path: str, flags: int) -> int:
    """Open a file as `note_opened` does, made with mode 0600 even if the umask denies that."""
    descriptor = note_opened(noted, path, flags | os.O_CREAT | NO_LINK, 0o600)
    if os.fstat(descriptor).st_mode & 0o600 != 0o600 and os.chmod in os.supports_fd:
        os.chmod(descriptor, 0o600)
    return descriptor


def _require_own(what: str, path: str, found: os.stat_result) -> None:
    if not _has_users():
        return
    if found.st_uid != os.geteuid():
        raise BackendUnavailable(
            f"{what} {path!r} belongs to user {found.st_uid}, and this process runs as user"
            f" {os.geteuid()}; let LOCATION be one of its own"
        )
    if found.st_mode & _WRITABLE_BY_OTHERS:
        is_for_all = found.st_mode & stat.S_ISVTX  # as /tmp is, which must stay so
        raise BackendUnavailable(
            f"others may write in {what} {path!r}, of mode {_mode(found)}:"
            f" {'' if is_for_all else 'run chmod go-w on it, or '}give another LOCATION"
        )


def _has_users() -> bool:
    return hasattr(os, "geteuid")


def _kind(found: os.stat_result, otherwise: str) -> str:
    return "a symbolic link" if stat.S_ISLNK(found.st_mode) else otherwise


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):o}"
