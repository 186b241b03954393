"""The bounds: what goes when there is too much, and what is swept along the way.

Stubs count for nothing and are never evicted: each stands for a value that may come, and
ends with its own life.
"""

import math
import sqlite3
from typing import Final

from twofold.clock import Clock
from twofold.keys.kinds import MARKS

VISIBLE: Final = "ifnull(due, 0) >= 0"
"""Of a row that is no stub; written so that no index is used for it."""

SWEEP_EVERY: Final = 16  # new rows

_COUNT = "SELECT count(*) - (SELECT count(*) FROM twofold WHERE due < 0) FROM twofold"
_SWEEP = (  # a stub that has expired is due between -now and 0, one that stands before
    "DELETE FROM twofold WHERE rowid IN"
    " (SELECT rowid FROM twofold WHERE due BETWEEN ? AND ? ORDER BY due LIMIT ?)"
)
_VALUES = (  # those for which `keys.kinds.is_lock` is false
    "(instr(key, '!') = 0 OR instr(key, ':') < instr(key, '!') OR {})"
).format(" AND ".join(f"substr(key, instr(key, '!'), {len(mark)}) != '{mark}'" for mark in MARKS))
_MAY_GO = f"rowid != ? AND {VISIBLE} AND {_VALUES}"
_OLDEST = " ".join(
    (
        "SELECT rowid, length(value) + 2 * length(key) + 48 FROM twofold WHERE",
        _MAY_GO,
        "ORDER BY rowid LIMIT ?",
    )
)
_EVICT = " ".join(("DELETE FROM twofold WHERE rowid <= ? AND", _MAY_GO))

_SWEEP_ROWS = 64
_LONGEST_INTERVAL = 4096  # new rows from one count to the next
_STEP_ROWS = 8192  # removed at a time, about 30 ms
_CULLED_ROWS = 65_536  # likewise, where room is made for many writes at once
_EMPTY_PAGES = 4  # of a file without entries


class Bounds:
    """Keeps the rows within bounds, in the transactions of those who write.

    Args:
        clock: its wall clock tells what has expired.
        max_entries: rows to keep; None for any number.
        max_bytes: bytes of pages in use to keep.
        kept: rows that a culling leaves; None for `max_entries`, without culling.
    """

    def __init__(
        self, clock: Clock, max_entries: int | None, max_bytes: int, kept: int | None
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept = kept
        rows = max_entries or 100_000
        self.interval: int = max(1, min(_LONGEST_INTERVAL, rows // 32))
        """New rows from one count to the next."""
        self.recent: int = rows // 4
        """How many of the youngest rows keep their places when they are rewritten."""
        self.large: int = max_bytes // (10 * self.interval)
        """Bytes of a value after which is counted at once."""

    def keep(self, db: sqlite3.Cursor, before: int, after: int, size: int) -> None:
        """Remove what is too much or too old, every few rows and after a large value.

        All processes draw rowids from one sequence: this write has drawn those above `before`,
        up to `after`. The one that draws a multiple of the interval does the work for all, so
        none needs to count its own writes. The row `after` is not evicted.
        """
        if after // SWEEP_EVERY != before // SWEEP_EVERY:
            self._sweep(db, max(_SWEEP_ROWS, after - before))
        counted = after // self.interval != before // self.interval
        if counted:
            self._bound_entries(db, after)
        if counted or size >= self.large:
            self._bound_bytes(db, after)

    def evict_some(self, db: sqlite3.Cursor) -> None:
        """Remove some entries that matter least."""
        self._evict(db, _SWEEP_ROWS - self._sweep(db, _SWEEP_ROWS), 0)

    def _bound_entries(self, db: sqlite3.Cursor, newcomer: int) -> None:
        if self._max_entries is None:
            return
        (count,) = db.execute(_COUNT).fetchone()
        if count > self._max_entries:
            excess = self._excess(count, self._max_entries)
            self._evict(db, excess - self._sweep(db, excess), newcomer)

    def _excess(self, count: int, most: int) -> int:
        """Return how many of `count` rows go, which are more than `most`."""
        if self._kept is None:
            return min(count - most, _STEP_ROWS)
        return min(count - self._kept, _CULLED_ROWS)

    def _bound_bytes(self, db: sqlite3.Cursor, newcomer: int) -> None:
        excess = self._used_bytes(db) - self._max_bytes
        if excess > 0 and self._sweep(db, _STEP_ROWS):
            excess = self._used_bytes(db) - self._max_bytes
        if excess <= 0:
            return
        last = 0
        for rowid, size in db.execute(_OLDEST, (newcomer, _STEP_ROWS)).fetchall():
            last = rowid
            excess -= size
            if excess <= 0:
                break
        db.execute(_EVICT, (last, newcomer))

    def _used_bytes(self, db: sqlite3.Cursor) -> int:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        used: int = (pages - free - _EMPTY_PAGES) * size
        return used

    def _sweep(self, db: sqlite3.Cursor, rows: int) -> int:
        """Remove up to `rows` expired entries, and return how many."""
        now = math.floor(self._clock.time())
        return db.execute(_SWEEP, (-now, now, rows)).rowcount

    def _evict(self, db: sqlite3.Cursor, rows: int, newcomer: int) -> None:
        """Remove `rows` entries stored longest ago; locks stay until they end, `newcomer` stays."""
        if rows > 0:
            oldest = db.execute(_OLDEST, (newcomer, rows)).fetchall()
            if oldest:
                db.execute(_EVICT, (oldest[-1][0], newcomer))
