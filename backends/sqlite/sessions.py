"""Connections: one for each thread, none that crosses a fork.

SQLite keeps its file locks per process and file. A child that opened a file of which it
has inherited a connection would believe to hold locks that it does not, and lose writes.
So a process closes its connections before it forks; threads open new ones when they next
need them. What a child inherits nevertheless, it keeps and never touches.
"""

import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from twofold.backends.sqlite.codes import InUse, Replaced
from twofold.backends.sqlite.database import DatabaseFile, Identity, patience
from twofold.effects import (
    Call,
    Lock,
    ThreadLocal,
    after_fork_in_child,
    leak_on_fork,
    new_lock,
    take,
)

T = TypeVar("T")

_LOOK_EVERY = 1.0  # seconds from one look at whether the file was replaced to the next


class Session:
    """One thread's connection.

    Its lock is held while it is in use, so that another thread can close it only in
    between. It closes itself when its thread ends.
    """

    def __init__(
        self, file: DatabaseFile, connection: sqlite3.Connection, identity: Identity
    ) -> None:
        self.connection = connection
        self._pid = os.getpid()
        self._file = file
        self.identity = identity
        self.db: sqlite3.Cursor = self.connection.cursor()
        self.lock: Lock = new_lock()
        self.look_at: float = time.monotonic() + _LOOK_EVERY
        self.batching: bool = False
        self.closed: bool = False
        self._failure: sqlite3.Error | None = None

    def look(self, work: Callable[..., T], *args: Any) -> T:
        """Do `work`, which is one statement that reads."""
        return work(self.db, *args)

    def read(self, work: Callable[..., T], *args: Any) -> T:
        """Do `work`, which reads only, on one state of the file."""
        return _transact("BEGIN", self.db, work, *args)

    def write(self, work: Callable[..., T], *args: Any, quick: Callable[..., T] | None = None) -> T:
        """Do `work` in a transaction that holds the write lock from its beginning.

        Unless `quick`, which is one statement, does the same and returns something true.
        Looking at the path afterwards makes sure that nothing is removed from a file
        that was already replaced, while it lives on in the new one.
        """
        result = quick and quick(self.db, *args)
        if not result:
            result = _transact("BEGIN IMMEDIATE", self.db, work, *args)
        if not self._file.names(self.identity):
            raise Replaced(f"{self._file.path} was replaced while it was written to")
        return result

    def batch(self, begin: str, calls: Sequence[Call]) -> None:
        """Run `calls` in one transaction, whose statements are theirs; raise if any failed.

        Nothing is left of it then, and no call is answered yet, so they may run again.
        """
        if begin == "BEGIN":
            self.read(self._run_calls, calls)
        else:
            self.write(self._run_calls, calls)

    def _run_calls(self, _db: sqlite3.Cursor, calls: Sequence[Call]) -> None:
        self.batching, self._failure = True, None
        try:
            for call in calls:
                call.run()
                if self._failure is not None:
                    raise self._failure
        finally:
            self.batching, self._failure = False, None

    def join(self, work: Callable[..., T], *args: Any) -> T:
        """Do `work` for a call of the batch that runs now; note what fails the batch."""
        try:
            return work(self.db, *args)
        except sqlite3.Error as exc:
            self._failure = exc
            raise

    def hurry(self, until: float, deadline: float, how: Callable[..., T], *args: Any) -> T:
        """Return `how(self, *args)`, which waits for locks until a monotonic time at most.

        Afterwards a statement may wait for `deadline` again.
        """
        usual = patience(deadline)
        with self.lock:
            try:
                self.connection.execute(patience(until - time.monotonic()))
                return how(self, *args)
            finally:  # no function between, that a signal's handler could end at once
                self.connection.execute(usual)

    def close(self) -> None:
        """Close the connection, once it is not in use."""
        with self.lock:
            self._close()

    def close_soon(self, seconds: float) -> None:
        """Close unless the thread is at work for longer than `seconds`."""
        taken: list[bool] = []
        try:
            if take(self.lock, seconds, taken):
                self._close()
        finally:
            if taken:
                self.lock.release()

    def _close(self) -> None:
        self.closed = True
        # A statement that failed is still the cursor's, and would keep the file open.
        with suppress(sqlite3.Error, AttributeError):  # there may be no cursor yet
            self.db.close()
        with suppress(sqlite3.Error):
            self.connection.close()

    def __del__(self) -> None:
        # The interpreter drops a handler's exception here, as in every finaliser. Nothing else
        # is lost: the connection closes itself too when it goes, and `Sessions` has parked
        # what a child inherits. Python 3.13 warns of one that was not closed before.
        if getattr(self, "_pid", 0) == os.getpid():  # it is not while there is no connection yet
            self._close()
        else:
            leak_on_fork(self.__dict__)


class _Living(Generic[T]):
    """Weak references to things, to list those that are still alive.

    A `WeakSet` raises if another thread adds to it while it is listed.
    """

    def __init__(self) -> None:
        self._refs: set[weakref.ref[T]] = set()

    def add(self, thing: T) -> None:
        """Know `thing` while it lives."""
        self._refs.add(weakref.ref(thing, self._refs.discard))

    def now(self) -> list[T]:
        """Return those that live."""
        # Listing a set is one step that no other thread can come between.
        return [thing for ref in list(self._refs) if (thing := ref()) is not None]


class _Local(ThreadLocal):
    """The session of one thread, which may be closed or with a replaced file."""

    session: Session | None = None


class Sessions:
    """The sessions of this process's threads with one file."""

    def __init__(self, file: DatabaseFile, deadline: float) -> None:
        self.file = file
        self._deadline = deadline
        self._start()
        after_fork_in_child(self)
        _every.add(self)

    def _start(self) -> None:
        self.local: _Local = _Local()
        self._all: _Living[Session] = _Living()
        self._opening = new_lock()

    def ready(self, until: float) -> Session:
        """Return this thread's session with the file that the path names now."""
        session = self.local.session
        if session is not None and not session.closed:
            if self.file.names(session.identity):
                session.look_at = time.monotonic() + _LOOK_EVERY
                return session
            session.close()
        return self._open(until)

    def _open(self, until: float) -> Session:
        # Held over I/O, since a fork must not happen during it.
        taken: list[bool] = []
        try:
            if not take(self._opening, until - time.monotonic(), taken):
                raise self.file.locked_too_long()
            session = Session(self.file, *self._alone(until, self.file.connect, until))
            self._all.add(session)
        finally:
            if taken:
                self._opening.release()
        self.local.session = session
        return session

    def quarantine(self, identity: Identity, why: sqlite3.Error, until: float) -> None:
        """Have the file moved aside, as `DatabaseFile.quarantine` does."""
        self._alone(until, self.file.quarantine, identity, why, until)

    def _alone(self, until: float, work: Callable[..., T], *args: Any) -> T:
        """Do `work`, again without the sessions of other threads if they stand in its way."""
        try:
            return work(*args)
        except InUse:
            for session in self._all.now():
                session.close_soon(max(0.0, until - time.monotonic()) / 2)
            return work(*args)

    def distrust(self) -> None:
        """Have every session look at the path before it does anything more."""
        for session in self._all.now():
            session.look_at = 0.0

    def close(self) -> None:
        """Close the sessions of all threads, each once it is not in use."""
        for session in self._all.now():
            session.close()

    def hold(self, taken: list[bool]) -> None:
        """Close all sessions and let none be opened; `taken` tells if `release` is needed."""
        take(self._opening, self._deadline, taken)
        for session in self._all.now():
            session.close_soon(self._deadline)

    def release(self) -> None:
        """Let sessions be opened again."""
        self._opening.release()

    def _after_fork(self) -> None:
        leak_on_fork(self.local, self._all.now(), self._opening)
        self._start()


_every: _Living[Sessions] = _Living()
_forking = ThreadLocal()


def _before_fork() -> None:
    _forking.held = [(sessions, list[bool]()) for sessions in _every.now()]
    for sessions, taken in _forking.held:
        sessions.hold(taken)


def _after_fork_in_parent() -> None:
    for sessions, taken in _forking.__dict__.get("held", ()):
        if taken:
            sessions.release()
    _forking.held = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)


def _transact(begin: str, db: sqlite3.Cursor, work: Callable[..., T], *args: Any) -> T:
    try:
        db.execute(begin)
        result = work(db, *args)
        db.execute("COMMIT")
        return result
    except BaseException:
        _roll_back(db)
        raise


def _roll_back(db: sqlite3.Cursor) -> None:
    """Undo what is open; after some errors SQLite has done so itself."""
    if db.connection.in_transaction:
        db.execute("ROLLBACK")
