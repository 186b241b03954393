"""The backend: operations on the entries, over the sessions, with what faults cost."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Literal, TypeAlias, TypeVar

from twofold.backend import Backend, Fill, Looked
from twofold.backends.disk.faults import DiskFault, RareWarnings
from twofold.backends.sqlite.bounds import Bounds
from twofold.backends.sqlite.codes import is_busy, is_corrupt, is_disk_error
from twofold.backends.sqlite.database import DatabaseFile
from twofold.backends.sqlite.entries import Entries, Found
from twofold.backends.sqlite.sessions import Session, Sessions
from twofold.bounds import kept_by_culling, positive
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import Call
from twofold.errors import BackendUnavailable, CacheError, DeadlineExceeded, SettingsError

T = TypeVar("T")

How: TypeAlias = Callable[..., Any]
"""A method of `Session` that does some work and returns its outcome."""


_READS = frozenset({"get", "get_many", "has", "look", "look_many", "ttl"})
_ATTEMPTS = 3
_BATCH_WAIT = 0.8  # of the deadline: leaves a locked-out batch time for its reads


class SQLiteBackend(Backend):
    """A durable store in one SQLite file, for many threads and processes of one host.

    The file is in WAL mode, whose processes share memory: let it be on a local disk, never
    on a network file system. It is made with mode 0600, missing folders with 0700.
    Beside it stand `-wal` (up to about 16 MB), `-shm` and `-lock`. A file of these that
    belongs to another user, that others may write to, or that is hard-linked, is refused
    with `BackendUnavailable`, as is a folder in which any user may replace files.

    Bounds: expired entries go first, then those stored longest ago. An entry that is
    rewritten while it is among the youngest quarter keeps its age. The bounds are looked
    at once in `max_entries / 32` new entries, 4096 at most, whichever process writes
    them, and at each value of more than a tenth of `max_bytes` shared by those. So for a
    moment there may be 3 % more entries, a tenth more bytes and the last value on top; a
    lowered bound is approached by 8192 entries a time; a culling takes 65,536 at most.
    Stubs count as no entries, and are not evicted.

    Time: entries are stamped by the wall clock. Those from before it was set back begin
    their lives again when they are next asked for.

    Faults: a damaged file is moved aside to `.corrupt` and replaced; one of another
    release likewise; one of another program is refused with `SettingsError`. While the
    disk is full or fails, reads miss and values are not stored; what cannot be removed,
    touched or counted then raises `BackendUnavailable`. Each is logged once by
    "twofold.sqlite". If the file is deleted or replaced, that is noticed within a second.

    Args:
        location: the path of the file; `~` is expanded.
        max_entries: entries to keep; None for any number.
        max_bytes: bytes to keep, counted in pages of the file; a larger value is not stored.
        cull_frequency: one in how many entries goes when there are too many, 0 for all
            but the newcomer; None for as few as needed.
        deadline: seconds that one operation may take; how long to wait for locks.
        clock: tells the time.

    Raises:
        SettingsError: an argument is wrong, or the path names a database of another program.
    """

    workers = 4
    batch_size = 128
    hides_stubs = True
    tells_metadata = True

    def __init__(
        self,
        location: str = "",
        *,
        max_entries: int | None = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        cull_frequency: int | None = None,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(location, deadline=deadline, clock=clock)
        if not location or location == ":memory:":
            raise SettingsError(
                f"LOCATION of an SQLite cache is the path of its file, not {location!r};"
                " for a cache without a file use BACKEND 'memory'"
            )
        if max_entries is not None:
            positive("max_entries", max_entries)
        positive("max_bytes", max_bytes)
        kept = kept_by_culling(max_entries, cull_frequency)
        path = os.path.abspath(os.path.expanduser(location))
        bounds = Bounds(self.clock, max_entries, max_bytes, kept)
        self._entries = Entries(self.clock, bounds, max_bytes)
        self._early = self._entries.early
        self._sessions = Sessions(DatabaseFile(path, self.deadline), self.deadline)
        self._rewrite_or_write = partial(Session.write, quick=self._entries.rewrite)
        self._claim = partial(Session.write, quick=self._entries.claim)
        self._fill = partial(Session.write, quick=self._entries.fill_young)
        self._path = path
        self._warnings = RareWarnings("sqlite")

    def get(self, key: str) -> bytes | None:
        # `_do_or` and `_do`, written out: their calls would be a third of a hit's cost.
        started = monotonic()
        session = self._sessions.local.session
        error = None
        if session is not None and started < session.look_at and not session.batching:
            try:
                with session.lock:
                    value = self._entries.get(session.db, key)
                return self._done(value) if self._early else value
            except sqlite3.Error as exc:
                error = exc
        return self._do_or(None, Session.look, self._entries.get, key, error=error)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return self._do_or({}, Session.read, self._entries.get_many, keys)

    def look(self, key: str) -> Looked | None:
        return self._do_or(None, Session.look, self._entries.look, key)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return self._do_or({}, Session.read, self._entries.look_many, keys)

    def has(self, key: str) -> bool:
        return self._do_or(False, Session.look, self._entries.has, key)

    def ttl(self, key: str) -> float | None:
        missing: float | None = 0.0
        return self._do_or(missing, Session.look, self._entries.ttl, key)

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > self._entries.largest:
            return False
        stored = self._do_or(False, self._rewrite_or_write, self._entries.set, key, value, ttl)
        return stored or self._drop([key])

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        largest = self._entries.largest
        fitting = {key: value for key, value in items.items() if len(value) <= largest}
        failed = [key for key in items if key not in fitting]
        rows = {key: (value, ttl) for key, value in fitting.items()}
        if not self._do_or(False, Session.write, self._entries.set_many, rows):
            self._drop(fitting)
            failed = list(items)
        return failed

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        return self._store(value, Session.write, self._entries.add, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._write(self._entries.touch, key, ttl)

    def delete(self, key: str) -> bool:
        return self._write(self._entries.delete, key)

    def delete_many(self, keys: Sequence[str]) -> int:
        return self._write(self._entries.delete_many, keys)

    def set_and_delete(self, key: str, value: bytes, keys: Sequence[str]) -> None:
        work = self._entries.set_and_delete
        if not self._store(value, Session.write, work, key, value, keys):
            self.delete_many([key, *keys])

    def incr(self, key: str, delta: int) -> int:
        return self._write(self._entries.incr, key, delta)

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        work = self._entries.compare_and_set
        return self._store(value, Session.write, work, key, expected, value, ttl)

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        return self._store(value, Session.write, self._entries.replace, key, expected, value)

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        return self._write(self._entries.compare_and_delete, key, expected)

    def get_or_claim(self, key: str, stub: bytes, life: float) -> bytes | None:
        full: Found = ()
        found = self._do_or(full, self._claim, self._entries.get_or_claim, key, stub, life)
        if not found:
            self._drop(())  # a store that only misses write to needs room for their values too
            return None
        return found[0]

    def fill(self, key: str, stub: bytes, value: bytes, ttl: float | None) -> bool:
        return self._store(value, self._fill, self._entries.fill, key, stub, value, ttl)

    def get_or_claim_many(
        self, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        work, full = self._entries.get_or_claim_many, dict[str, bytes | None]()
        found = self._do_or(full, Session.write, work, keys, stub, life)
        if found or not keys:
            return found
        self._drop(())
        return dict.fromkeys(keys)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        largest, none = self._entries.largest, dict[str, bool]()
        fitting = {key: each for key, each in fills.items() if len(each.value) <= largest}
        filled = self._do_or(none, Session.write, self._entries.fill_many, fitting)
        return dict.fromkeys(fills, False) | filled

    def release_many(self, held: Mapping[str, bytes]) -> dict[str, bool]:
        return self._write(self._entries.release_many, held)

    def renew(self, key: str, stub: bytes, life: float) -> bool:
        return self._write(self._entries.renew, key, stub, life)

    def release(self, key: str, stub: bytes) -> bool:
        return self._write(self._entries.release, key, stub)

    def clear(self, prefix: str) -> None:
        self._write(self._entries.clear, prefix)

    def close(self) -> None:
        super().close()
        self._sessions.close()

    def run_batch(self, calls: Sequence[Call]) -> None:
        """Run all gets among `calls` as one, all sets as one, the rest in one transaction."""
        if len(calls) == 1:
            calls[0].run()
            return
        until = monotonic() + _BATCH_WAIT * self.deadline
        gets, sets, others = _sorted(calls)
        if gets:
            self._get_together(gets)
        if sets:
            self._set_together(sets, until)
        if others and not self._run_together(others, until):
            _run_one_by_one(others)

    def _get_together(self, gets: Sequence[Call]) -> None:
        try:
            found = self.get_many([call.args[0] for call in gets])
        except Exception:
            _run_one_by_one(gets)
        else:
            for call in gets:
                call.succeed(found.get(call.args[0]))

    def _set_together(self, sets: Sequence[Call], until: float) -> None:
        try:
            rows = {key: (value, ttl) for key, value, ttl in (call.args for call in sets)}
            together = all(len(value) <= self._entries.largest for value, _ in rows.values())
            if together:
                self._do_again(until, None, Session.write, self._entries.set_many, rows)
        except DeadlineExceeded:
            self._lock_out(sets)
            return
        except Exception:
            together = False
        if not together:
            _run_one_by_one(sets)
            return
        for call in sets:
            call.succeed(True)

    def _run_together(self, calls: Sequence[Call], until: float) -> bool:
        """Run `calls` in one transaction; False if it failed, so that none has its outcome."""
        begin = "BEGIN" if all(map(_is_read, calls)) else "BEGIN IMMEDIATE"
        try:
            session = self._sessions.ready(until)
            session.hurry(until, self.deadline, Session.batch, begin, calls)
        except sqlite3.Error as exc:
            if not is_busy(exc):
                return False
            self._lock_out(calls)
        except CacheError:
            return False
        return True

    def _lock_out(self, calls: Sequence[Call]) -> None:
        """Run what needs no lock, in the time that waiting for the lock has left."""
        for call in calls:
            if _is_read(call):
                call.run()
            else:
                call.fail(self._sessions.file.locked_too_long())

    def _do_or(
        self,
        otherwise: T,
        how: How,
        work: Callable[..., T],
        *args: Any,
        error: sqlite3.Error | None = None,
    ) -> T:
        """Do `work`, or return `otherwise` if the file can be neither used nor replaced."""
        try:
            return self._do(how, work, *args, error=error)
        except DiskFault:
            return otherwise

    def _store(self, value: bytes, how: How, work: Callable[..., bool], *args: Any) -> bool:
        """Do `work`, which stores `value`; False if that is too large, or the disk is at fault."""
        return len(value) <= self._entries.largest and self._do_or(False, how, work, *args)

    def _write(self, work: Callable[..., T], *args: Any) -> T:
        return self._do(Session.write, work, *args)

    def _do(
        self,
        how: How,
        work: Callable[..., T],
        *args: Any,
        error: sqlite3.Error | None = None,
    ) -> T:
        """Do `work(cursor, *args)` in this thread's session, `how` being one of its methods.

        `error` is what it has raised before, if it was tried.
        """
        started = monotonic()
        session = self._sessions.local.session
        if session is not None and session.batching:
            return session.join(work, *args)
        if error is None and session is not None and started < session.look_at:
            try:
                with session.lock:
                    result: T = how(session, work, *args)
            except sqlite3.Error as exc:
                error = exc
            else:
                return self._done(result) if self._early else result
        return self._done(self._do_again(started + self.deadline, error, how, work, *args))

    def _done(self, result: T) -> T:
        """Return `result`, once the entries that it found to be from later begin again."""
        if self._early:
            with suppress(BackendUnavailable):  # a later call will do it
                self._do_again(monotonic(), None, Session.write, self._entries.begin_again)
        return result

    def _do_again(
        self,
        until: float,
        error: sqlite3.Error | None,
        how: How,
        work: Callable[..., T],
        *args: Any,
    ) -> T:
        """Do `work` after a look at the path, and at the `error` of the last time."""
        for _ in range(_ATTEMPTS):
            try:
                if error is not None:
                    self._recover(error, until)
                session = self._sessions.ready(until)
                result: T = session.hurry(until, self.deadline, how, work, *args)
                return result
            except sqlite3.Error as exc:
                error = exc
            except DiskFault as fault:
                self._warn(fault)
                raise
        given_up = DiskFault(
            f"the cache file {self._path} failed {_ATTEMPTS} times: {error}. Look at the disk, or"
            " let LOCATION be another path"
        )
        self._warn(given_up)
        raise given_up from error

    def _recover(self, error: sqlite3.Error, until: float) -> None:
        """Make another attempt worth while, or raise what `error` means."""
        if is_busy(error):
            raise self._sessions.file.locked_too_long() from error
        session = self._sessions.local.session
        if session is not None and self._is_lost(session, error, until):
            return
        if is_disk_error(error):
            raise DiskFault(
                f"the cache file {self._path} cannot be written: {error}. Make room on the disk, or"
                " let LOCATION be on another one"
            ) from error
        if not is_corrupt(error):
            raise BackendUnavailable(
                f"the cache file {self._path} cannot be used: {error}. Let this user read and write"
                " it, or let LOCATION be another path"
            ) from error

    def _is_lost(self, session: Session, error: sqlite3.Error, until: float) -> bool:
        """Tell whether `error` is of a closed connection or a lost file, and close what is lost."""
        file = self._sessions.file
        if session.closed:
            return isinstance(error, sqlite3.ProgrammingError)
        if is_corrupt(error) or not file.names(session.identity):
            session.close()
            self._sessions.distrust()
            if is_corrupt(error):
                self._sessions.quarantine(session.identity, error, until)
            return True
        if not is_disk_error(error) or session.connection.in_transaction:
            session.close()
        return False

    def _drop(self, keys: Iterable[str]) -> Literal[False]:
        """Remove `keys` that could not be stored, and make room, as far as the disk lets."""
        with suppress(BackendUnavailable):
            self._do(Session.look, Entries.checkpoint)
            self._write(self._entries.evict_for, keys)
        return False

    def _warn(self, fault: DiskFault) -> None:
        self._warnings.warn(f"{fault}; reads miss and nothing is stored until that has changed")


def _run_one_by_one(calls: Sequence[Call]) -> None:
    for call in calls:
        call.run()


def _sorted(calls: Sequence[Call]) -> tuple[list[Call], list[Call], list[Call]]:
    """Return the gets, the sets and the others; a subclass's own get or set is of the others."""
    gets: list[Call] = []
    sets: list[Call] = []
    others: list[Call] = []
    kinds = {SQLiteBackend.get: gets, SQLiteBackend.set: sets}
    for call in calls:
        if not call.future.done():
            kinds.get(getattr(call.function, "__func__", call.function), others).append(call)
    return gets, sets, others


def _is_read(call: Call) -> bool:
    return getattr(call.function, "__name__", "") in _READS
