"""The file: making it, opening it, and putting a damaged one aside.

All of this happens under a lock on a file beside it, because SQLite finds a database's
`-wal` by name: opening a file while another process moves it aside would join one file's
entries to the other's log.

The file itself is never opened but by SQLite, except to make it: closing any descriptor of
a file drops every POSIX lock that the process holds on it, SQLite's included.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

from twofold.backends.descriptors import is_systems
from twofold.backends.disk.faults import DiskFault, is_disk_fault
from twofold.backends.disk.locks import locked_too_long, wait_for_lock
from twofold.backends.disk.ownership import (
    make_file,
    make_folders,
    require_own_file,
    require_safe_place,
)
from twofold.backends.sqlite.codes import CorruptDatabase, InUse, is_busy, is_corrupt
from twofold.backends.sqlite.statements import SCHEMA, TABLE
from twofold.display import printable
from twofold.errors import BackendUnavailable, DeadlineExceeded, SettingsError

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("twofold.sqlite")

Identity: TypeAlias = tuple[int, int]
"""Device and inode of a file: what a path names now, though it may name another later."""

_APPLICATION: Final = 0x32666F6C  # "2fol", in the header of every file of ours
_VERSION: Final = 1  # of the schema
_PARTS: Final = ("", "-wal", "-shm")
_JOURNAL: Final = "-journal"
_LOCK: Final = "-lock"
_WAL_PAGES: Final = 4000  # written before they are copied into the file: 16 MB
_CACHE_KIB: Final = 8192  # of pages at most that a connection keeps in memory


class DatabaseFile:
    """One path, and the database that it names at the moment."""

    def __init__(self, path: str, deadline: float) -> None:
        self.path = path
        self._deadline = deadline

    def names(self, identity: Identity) -> bool:
        """Tell whether the path still names the file with this identity."""
        try:
            found = os.lstat(self.path)
        except OSError as exc:
            if not is_systems(exc):
                raise
            return False
        return (found.st_dev, found.st_ino) == identity

    def connect(self, until: float) -> tuple[sqlite3.Connection, Identity]:
        """Open the file by `until`, a monotonic time; make it if there is none.

        Raises:
            SettingsError: the path names something that is not ours.
            DiskFault: there is no room for it.
            BackendUnavailable: it cannot be opened; `DeadlineExceeded` if it is locked.
            sqlite3.Error: likewise.
        """
        return self._guarded(until, self._open_or_begin_anew, until)

    def _open_or_begin_anew(self, until: float) -> tuple[sqlite3.Connection, Identity]:
        try:
            return self._open(until)
        except sqlite3.Error as exc:
            if not is_corrupt(exc):
                raise
            self._move_aside(exc)
        return self._open(until)

    def quarantine(self, identity: Identity, why: sqlite3.Error, until: float) -> None:
        """Move the file aside, unless another process has replaced it already."""
        self._guarded(until, self._quarantine, identity, why)

    def _quarantine(self, identity: Identity, why: sqlite3.Error) -> None:
        if self.names(identity):
            self._move_aside(why)

    def _guarded(self, until: float, work: Callable[..., T], *args: Any) -> T:
        """Do `work` with the lock beside the file held, and translate what the system says."""
        opened: list[int] = []
        try:
            make_folders(os.path.dirname(self.path))
            self._require_ours()
            self._lock(make_file(opened, self.path + _LOCK, os.O_RDWR), until)
            return work(*args)
        except BackendUnavailable:
            raise
        except OSError as exc:
            if not is_systems(exc):
                raise
            error = DiskFault if is_disk_fault(exc) else BackendUnavailable
            raise error(
                f"the cache file {self.path} cannot be used: {exc}. Let its folder have room and be"
                " this user's to write in, or let LOCATION be another path"
            ) from exc
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _require_ours(self) -> None:
        """Raise if another user can write to these files, or replace them."""
        require_safe_place(os.path.dirname(self.path))
        for part in (*_PARTS, _JOURNAL, _LOCK):
            with suppress(FileNotFoundError):
                require_own_file(self.path + part, os.lstat(self.path + part))

    def _lock(self, descriptor: int, until: float) -> None:
        if not wait_for_lock(descriptor, until):
            raise self.locked_too_long()

    def _open(self, until: float) -> tuple[sqlite3.Connection, Identity]:
        identity = self._make()
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            # Bytes, since no damaged text can then fail to be decoded.
            connection.text_factory = bytes
            self._prepare(connection, until)
            self._require_ours()  # the log too, which is open now
            self._require(identity)
        except BaseException:
            connection.close()
            raise
        return connection, identity

    def _make(self) -> Identity:
        """Make the file if there is none, readable for its owner alone."""
        with suppress(FileExistsError):
            opened: list[int] = []
            try:
                make_file(opened, self.path, os.O_RDWR | os.O_EXCL)
            finally:
                for descriptor in opened:
                    os.close(descriptor)
        found = os.lstat(self.path)
        require_own_file(self.path, found)
        return found.st_dev, found.st_ino

    def _require(self, identity: Identity) -> None:
        if not self.names(identity):
            raise BackendUnavailable(
                f"the cache file {self.path} was replaced while it was opened: try again"
            )

    def _prepare(self, connection: sqlite3.Connection, until: float) -> None:
        """Set the connection up, once it is certain that the file is ours."""

        def ask(statement: str, until: float = until) -> Any:
            connection.execute(patience(until - time.monotonic()))
            row = connection.execute(statement).fetchone()
            return row and row[0]

        is_new = self._is_new(
            ask("PRAGMA application_id"),
            ask("PRAGMA user_version"),
            ask(_TABLES),
        )
        try:
            mode = ask(_WAL, 0.0 if is_new else until)
        except sqlite3.OperationalError as exc:
            if is_new and is_busy(exc):  # all who make a file hold the lock beside it
                raise CorruptDatabase("it was emptied while it was in use") from exc
            raise
        if mode != b"wal":
            raise BackendUnavailable(
                f"the file system of {self.path} cannot do write-ahead logging;"
                " let LOCATION be on a local disk"
            )
        ask("PRAGMA synchronous = NORMAL")
        ask(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        ask(f"PRAGMA journal_size_limit = {_WAL_PAGES * 4096}")
        ask(f"PRAGMA cache_size = {-_CACHE_KIB}")
        ask("PRAGMA cell_size_check = ON")
        if is_new:
            for statement in _CREATION:
                ask(statement)
        connection.execute(patience(self._deadline))

    def _is_new(self, application: int, version: int, tables: bytes | None) -> bool:
        """Tell whether the database is empty; raise if it is not this release's."""
        names = (tables or b"").split(b",")
        if application != _APPLICATION and TABLE not in names:
            if application or tables:
                raise SettingsError(
                    f"LOCATION {self.path!r} is a database of another program, which is left"
                    " as it is; give the cache a path of its own"
                )
            return True
        if (application, version) != (_APPLICATION, _VERSION) or TABLE not in names:
            raise CorruptDatabase("its schema is not the one of this release")
        return False

    def _move_aside(self, why: sqlite3.Error) -> None:
        """Rename the file, over one renamed before; the database first.

        A connection that still has it open sees by that that the `-wal` of that name, or a
        later one, is not its own to delete.
        """
        aside = self.path + ".corrupt"
        for part in _PARTS:
            try:
                os.replace(self.path + part, aside + part)
            except FileNotFoundError:
                with suppress(FileNotFoundError):
                    os.unlink(aside + part)
            except PermissionError as exc:
                if not is_systems(exc):
                    raise
                raise InUse(
                    f"the cache file {self.path} is unusable ({why}), and cannot be moved aside"
                    f" while another program has it open: {exc}. End the programs that use it"
                ) from exc
        logger.warning(
            "the cache file %s was unusable (%s): its entries are misses, a new one is begun,"
            " and the old one is kept as %s",
            *map(printable, map(str, (self.path, why, aside))),
        )

    def locked_too_long(self) -> DeadlineExceeded:
        """Return the error of a caller that waited too long for a lock."""
        return locked_too_long(f"the cache file {self.path}", self._deadline)


_WAL = "PRAGMA journal_mode = WAL"
_TABLES = (
    "SELECT group_concat(name) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
)
_CREATION = (
    "BEGIN IMMEDIATE",
    *SCHEMA,
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
    "COMMIT",
)


def patience(seconds: float) -> str:
    """Return the statement that sets how long later ones wait for another connection's lock."""
    return f"PRAGMA busy_timeout = {max(0, round(seconds * 1000))}"
