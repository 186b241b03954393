"""The entries in the file: every SQL statement, and the bounds.

Each method works through the cursor it is given and knows nothing of connections. Those
that write are called inside a transaction that holds the write lock, so that reading
first and writing then is atomic.

A row has its key, value and a CRC-32 of both, since SQLite itself does not notice flipped
bits; `expires` and `written` by the wall clock; and `due`, the expiry rounded up, whose
index finds expired rows and is left alone when a row is rewritten soon. New rows are
appended, so the order of rowids is the order of storing.
"""

import math
import sqlite3
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias
from zlib import crc32

from twofold import counter
from twofold.backends.sqlite.codes import CorruptDatabase
from twofold.clock import Clock
from twofold.keys.kinds import MARKS
from twofold.policy import is_from_later

SCHEMA: Final = (
    "CREATE TABLE twofold (key TEXT PRIMARY KEY, value BLOB, crc INTEGER,"
    " expires REAL, written REAL, due INTEGER)",
    "CREATE INDEX twofold_due ON twofold (due) WHERE due IS NOT NULL",
)
TABLE: Final = b"twofold"

_GET = "SELECT value, crc, expires, written FROM twofold WHERE key = ?"
_GET_MANY = "SELECT key, value, crc, expires, written FROM twofold WHERE key IN ({})"
_LIFE = "SELECT expires, written FROM twofold WHERE key = ?"
_LIVES = "SELECT expires, written FROM twofold WHERE key IN ({})"
_PLACE = "SELECT rowid, due, (SELECT max(rowid) FROM twofold) FROM twofold WHERE key = ?"
_PLACES = "SELECT key, rowid, due FROM twofold WHERE key IN ({})"
_NEWEST = "SELECT max(rowid) FROM twofold"
_APPEND = (
    "INSERT OR REPLACE INTO twofold (value, crc, expires, written, due, key)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_REWRITE = "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ? WHERE key = ?"
_REWRITE_DUE = (
    "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ?, due = ? WHERE key = ?"
)
_REWRITE_YOUNG = (
    "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ?"
    " WHERE key = ? AND due IS ? AND rowid > ?"
)
_REPLACE = "UPDATE twofold SET value = ?, crc = ? WHERE key = ?"
_TOUCH = "UPDATE twofold SET expires = ?, written = ?, due = ? WHERE key = ?"
_DELETE = "DELETE FROM twofold WHERE key = ?"
_DELETE_MANY = "DELETE FROM twofold WHERE key IN ({})"
_CLEAR = "DELETE FROM twofold"
_CLEAR_RANGE = "DELETE FROM twofold WHERE key >= ? AND key < ?"
_COUNT = "SELECT count(*) FROM twofold"
_SWEEP = (
    "DELETE FROM twofold WHERE rowid IN"
    " (SELECT rowid FROM twofold WHERE due <= ? ORDER BY due LIMIT ?)"
)
_VALUES = (  # those for which `keys.kinds.is_lock` is false
    "(instr(key, '!') = 0 OR instr(key, ':') < instr(key, '!') OR {})"
).format(" AND ".join(f"substr(key, instr(key, '!'), {len(mark)}) != '{mark}'" for mark in MARKS))
_OLDEST = " ".join(
    (
        "SELECT rowid, length(value) + 2 * length(key) + 48 FROM twofold",
        "WHERE rowid < ? AND",
        _VALUES,
        "ORDER BY rowid LIMIT ?",
    )
)
_EVICT = " ".join(("DELETE FROM twofold WHERE rowid <= ? AND", _VALUES))

_NO_TIMES = "a row's times are no numbers"
_CHUNK = 500  # keys in one statement; SQLite before 3.32 takes 999 variables
_SWEEP_EVERY = 16  # new rows
_SWEEP_ROWS = 64
_LONGEST_INTERVAL = 4096  # new rows from one count to the next
_STEP_ROWS = 8192  # removed at a time, about 30 ms
_CULLED_ROWS = 65_536  # likewise, where room is made for many writes at once
_LARGEST_VALUE = 999_000_000  # SQLite's own limit is 1e9 bytes a row
_NEWEST_FOR = 1.0  # seconds for which a look for the last rowid serves
_EMPTY_PAGES = 4  # of a file without entries

EntryRow: TypeAlias = tuple[bytes, int, float | None, float, int | None, str]
"""Value, check, expires, written, due, key."""


class Entries:
    """The operations on the table of entries, and its bounds.

    Args:
        clock: its wall clock stamps the entries.
        max_entries: rows to keep; None for any number.
        max_bytes: bytes of pages in use to keep.
        kept: rows that a culling leaves; None for `max_entries`, without culling.
    """

    def __init__(
        self, clock: Clock, max_entries: int | None, max_bytes: int, kept: int | None = None
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._kept = kept
        self._max_bytes = max_bytes
        rows = max_entries or 100_000
        self._interval = max(1, min(_LONGEST_INTERVAL, rows // 32))
        self._recent = rows // 4
        self._large = max_bytes // (10 * self._interval)
        self._newest = 0
        self._newest_at = 0.0
        self._rewriting = False
        self.early: deque[str] = deque(maxlen=_CHUNK)
        """Keys that were found to be from before the clock was set back, see `begin_again`."""
        self.largest: int = min(max_bytes, _LARGEST_VALUE)

    def get(self, db: sqlite3.Cursor, key: str) -> bytes | None:
        row = db.execute(_GET, (key,)).fetchone()
        return None if row is None else self._value(key, row)

    def get_many(self, db: sqlite3.Cursor, keys: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for chunk in _chunks(keys):
            for name, *row in db.execute(_GET_MANY.format(_marks(chunk)), chunk).fetchall():
                key = name.decode("utf-8", "replace")
                value = self._value(key, row)
                if value is not None:
                    found[key] = value
        return found

    def ttl(self, db: sqlite3.Cursor, key: str) -> float | None:
        life = db.execute(_LIFE, (key,)).fetchone()
        if life is None or self._is_over(key, *life):
            return 0.0
        expires, written = life
        if expires is None:
            return None
        left: float = min(expires - self._clock.time(), expires - written)
        return max(0.0, left)

    def has(self, db: sqlite3.Cursor, key: str) -> bool:
        life = db.execute(_LIFE, (key,)).fetchone()
        return life is not None and not self._is_over(key, *life)

    def rewrite(self, db: sqlite3.Cursor, key: str, value: bytes, ttl: float | None) -> bool:
        """Store `value` by one statement, or return False: then `set` is to do it.

        It can if the key is there, is young and will be due as before. It tries if that
        was so for the last key, and the last rowid was read within a second.
        """
        now = self._clock.time()
        if not self._rewriting or not 0 <= now - self._newest_at < _NEWEST_FOR:
            return False
        if len(value) >= self._large:
            return False
        expires, due = _expiry(now, ttl)
        check = crc32(value, crc32(key.encode()))  # `_check`, without a call
        row = (value, check, expires, now, key, due, self._newest - self._recent)
        self._rewriting = db.execute(_REWRITE_YOUNG, row).rowcount == 1
        return self._rewriting

    def set(self, db: sqlite3.Cursor, key: str, value: bytes, ttl: float | None) -> bool:
        """Store `value`; one that is rewritten while it is young keeps its place.

        That leaves two indexes and a page of the table alone. Young are the last quarter of
        `max_entries` rows.
        """
        row = self._row(key, value, ttl)
        place = db.execute(_PLACE, (key,)).fetchone()
        if place is None or place[0] <= place[2] - self._recent:
            self._rewriting = False
            db.execute(_APPEND, row)
            rowid = db.lastrowid or 0
            self._keep_bounds(db, rowid - 1, rowid, len(value))
            return True
        _, due, newest = place
        self._newest, self._newest_at, self._rewriting = newest, row[3], due == row[4]
        _rewrite(db, [row], due)
        self._keep_bounds(db, newest, newest, len(value))
        return True

    def set_many(self, db: sqlite3.Cursor, items: Mapping[str, tuple[bytes, float | None]]) -> bool:
        """Do as `set` does, for each key with its value and ttl."""
        young, newest = self._young(db, list(items))
        rewritten: dict[int | None, list[EntryRow]] = {}
        appended: list[EntryRow] = []
        for key, (value, ttl) in items.items():
            row = self._row(key, value, ttl)
            if key in young:
                rewritten.setdefault(young[key], []).append(row)
            else:
                appended.append(row)
        for due, rows in rewritten.items():
            _rewrite(db, rows, due)
        db.executemany(_APPEND, appended)
        largest = max((len(value) for value, _ in items.values()), default=0)
        self._keep_bounds(db, newest, newest + len(appended), largest)
        return True

    def _young(self, db: sqlite3.Cursor, keys: Sequence[str]) -> tuple[dict[str, int | None], int]:
        """Return when those of `keys` that keep their places are due, and the last rowid."""
        newest: int = db.execute(_NEWEST).fetchone()[0] or 0
        dues = {
            name.decode("utf-8", "replace"): due
            for chunk in _chunks(keys)
            for name, rowid, due in db.execute(_PLACES.format(_marks(chunk)), chunk).fetchall()
            if rowid > newest - self._recent
        }
        return dues, newest

    def _row(self, key: str, value: bytes, ttl: float | None) -> EntryRow:
        now = self._clock.time()
        expires, due = _expiry(now, ttl)
        return value, _check(key, value), expires, now, due, key

    def add(self, db: sqlite3.Cursor, key: str, value: bytes, ttl: float | None) -> bool:
        return not self.has(db, key) and self.set(db, key, value, ttl)

    def touch(self, db: sqlite3.Cursor, key: str, ttl: float | None) -> bool:
        if not self.has(db, key):
            return False
        db.execute(_TOUCH, _touched(key, self._clock.time(), ttl))
        return True

    def delete(self, db: sqlite3.Cursor, key: str) -> bool:
        """Remove an expired row too: with the clock set back, it could live again."""
        there = self.has(db, key)
        db.execute(_DELETE, (key,))
        return there

    def delete_many(self, db: sqlite3.Cursor, keys: Sequence[str]) -> int:
        there = 0
        for chunk in _chunks(keys):
            lives = db.execute(_LIVES.format(_marks(chunk)), chunk).fetchall()
            there += sum(not self._is_over("", *life) for life in lives)
            db.execute(_DELETE_MANY.format(_marks(chunk)), chunk)
        return there

    def incr(self, db: sqlite3.Cursor, key: str, delta: int) -> int:
        total = counter.total(key, self.get(db, key), delta)
        value = counter.write(total)
        db.execute(_REPLACE, (value, _check(key, value), key))
        return total

    def compare_and_set(
        self, db: sqlite3.Cursor, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        return self.get(db, key) == expected and self.set(db, key, value, ttl)

    def replace(self, db: sqlite3.Cursor, key: str, expected: bytes, value: bytes) -> bool:
        if self.get(db, key) != expected:
            return False
        db.execute(_REPLACE, (value, _check(key, value), key))
        return True

    def compare_and_delete(self, db: sqlite3.Cursor, key: str, expected: bytes) -> bool:
        return self.get(db, key) == expected and self.delete(db, key)

    def begin_again(self, db: sqlite3.Cursor) -> None:
        """Have the `early` begin their lives again, unless that was done meanwhile.

        Any number of readers may have noted them; see `is_from_later`.
        """
        now = self._clock.time()
        while self.early:
            with suppress(IndexError):
                key = self.early.popleft()
                life = db.execute(_LIFE, (key,)).fetchone()
                if life is not None and life[0] is not None and is_from_later(now, life[1]):
                    db.execute(_TOUCH, _touched(key, now, life[0] - life[1]))

    def clear(self, db: sqlite3.Cursor, prefix: str) -> None:
        if prefix:
            db.execute(_CLEAR_RANGE, (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)))
        else:
            db.execute(_CLEAR)

    @staticmethod
    def checkpoint(db: sqlite3.Cursor) -> None:
        """Copy the log into the file, so that its room can be used again."""
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def evict_for(self, db: sqlite3.Cursor, keys: Iterable[str]) -> None:
        """Remove `keys` and some entries that matter least, for pages to be reused."""
        self.delete_many(db, list(keys))
        self._evict(db, _SWEEP_ROWS - self._sweep(db, _SWEEP_ROWS))

    def _value(self, key: str, row: Sequence[Any]) -> bytes | None:
        """Return the value in `row`, None if it is expired; raise if it is not `key`'s."""
        value, crc, expires, written = row
        try:  # the usual case first, without a call
            living = expires is None or written <= self._clock.time() < expires
        except TypeError as exc:
            raise CorruptDatabase(_NO_TIMES) from exc
        if not living and self._is_over(key, expires, written):
            return None
        if type(value) is not bytes or crc32(value, crc32(key.encode())) != crc:
            # no key in the message: it may be a session's, which no log has
            raise CorruptDatabase("a row fails its check")
        return value

    def _is_over(self, key: str, expires: Any, written: Any) -> bool:
        """Tell whether an entry's time is over; note `key` if it is from later."""
        if expires is None:
            return False
        now = self._clock.time()
        try:
            if expires <= now:
                return True
            if is_from_later(now, written):
                self.early.append(key)
        except TypeError as exc:
            raise CorruptDatabase(_NO_TIMES) from exc
        return False

    def _keep_bounds(self, db: sqlite3.Cursor, before: int, after: int, size: int) -> None:
        """Remove what is too much or too old, every few rows and after a large value.

        All processes draw rowids from one sequence: this write has drawn those above `before`,
        up to `after`. The one that draws a multiple of the interval does the work for all, so
        none needs to count its own writes.
        """
        if after // _SWEEP_EVERY != before // _SWEEP_EVERY:
            self._sweep(db, max(_SWEEP_ROWS, after - before))
        counted = after // self._interval != before // self._interval
        if counted:
            self._bound_entries(db, after)
        if counted or size >= self._large:
            self._bound_bytes(db, after)

    def _bound_entries(self, db: sqlite3.Cursor, newest: int) -> None:
        if self._max_entries is None:
            return
        (count,) = db.execute(_COUNT).fetchone()
        if count > self._max_entries:
            excess = self._excess(count, self._max_entries)
            self._evict(db, excess - self._sweep(db, excess), newest)

    def _excess(self, count: int, most: int) -> int:
        """Return how many of `count` rows go, which are more than `most`."""
        if self._kept is None:
            return min(count - most, _STEP_ROWS)
        return min(count - self._kept, _CULLED_ROWS)

    def _bound_bytes(self, db: sqlite3.Cursor, newest: int) -> None:
        excess = self._used_bytes(db) - self._max_bytes
        if excess > 0 and self._sweep(db, _STEP_ROWS):
            excess = self._used_bytes(db) - self._max_bytes
        if excess <= 0:
            return
        last = 0
        for rowid, size in db.execute(_OLDEST, (newest, _STEP_ROWS)).fetchall():
            last = rowid
            excess -= size
            if excess <= 0:
                break
        db.execute(_EVICT, (last,))

    def _used_bytes(self, db: sqlite3.Cursor) -> int:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        used: int = (pages - free - _EMPTY_PAGES) * size
        return used

    def _sweep(self, db: sqlite3.Cursor, rows: int) -> int:
        """Remove up to `rows` expired entries, and return how many."""
        return db.execute(_SWEEP, (math.floor(self._clock.time()), rows)).rowcount

    def _evict(self, db: sqlite3.Cursor, rows: int, newest: int = 2**63 - 1) -> None:
        """Remove `rows` entries stored longest ago; locks stay until they end, `newest` stays."""
        if rows > 0:
            oldest = db.execute(_OLDEST, (newest, rows)).fetchall()
            if oldest:
                db.execute(_EVICT, (oldest[-1][0],))


def _check(key: str, value: bytes) -> int:
    """Return the CRC-32 of key and value together."""
    return crc32(value, crc32(key.encode()))


def _rewrite(db: sqlite3.Cursor, rows: Sequence[EntryRow], due: int | None) -> None:
    """Put `rows` in the place of old ones that are `due`, sparing the index if it stays so."""
    same = [(*row[:4], row[5]) for row in rows if row[4] == due]
    others = [row for row in rows if row[4] != due]
    if same:
        db.executemany(_REWRITE, same)
    if others:
        db.executemany(_REWRITE_DUE, others)


def _expiry(now: float, ttl: float | None) -> tuple[float | None, int | None]:
    """Return when it expires, and when it is due: up to a second or a 32nd of `ttl` later.

    Rounded, so that an entry that is rewritten soon stays where it is in the index.
    """
    if ttl is None:
        return None, None
    step = int(ttl) // 32 or 1
    return now + ttl, math.ceil((now + ttl) / step) * step


def _touched(key: str, now: float, ttl: float | None) -> tuple[Any, ...]:
    expires, due = _expiry(now, ttl)
    return expires, now, due, key


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _marks(chunk: Sequence[str]) -> str:
    return ",".join("?" * len(chunk))
