"""The operations on the table of entries.

Each method works through the cursor it is given and knows nothing of connections. Those
that write are called inside a transaction that holds the write lock, so that reading
first and writing then is atomic.
"""

import math
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final, TypeAlias
from zlib import crc32

from twofold import counter
from twofold.backend import Fill, Looked
from twofold.backends.sqlite.bounds import Bounds
from twofold.backends.sqlite.codes import CorruptDatabase
from twofold.backends.sqlite.statements import (
    APPEND,
    CLAIM,
    CLEAR,
    CLEAR_RANGE,
    DELETE,
    DELETE_MANY,
    FILL_YOUNG,
    GET,
    GET_MANY,
    LIFE,
    LIFE_OF_ANY,
    LIVES,
    NEWEST,
    PLACE,
    PLACES,
    RELEASE,
    RENEW,
    REPLACE,
    REWRITE,
    REWRITE_DUE,
    REWRITE_YOUNG,
    STUB_PLACE,
    TOUCH,
)
from twofold.clock import Clock
from twofold.metadata import HasMetadata, Removed, has_metadata, head
from twofold.stub import STUB_SIZE, is_stub
from twofold.timeouts import is_from_later

_NO_TIMES = "a row's times are no numbers"
_CHUNK = 500  # keys in one statement; SQLite before 3.32 takes 999 variables
_LARGEST_VALUE = 999_000_000  # SQLite's own limit is 1e9 bytes a row
_NEWEST_FOR = 1.0  # seconds for which a look for the last rowid serves

Found: TypeAlias = tuple[bytes | None, ...]
"""What is there, if anything; empty where that is not known yet."""

_NOTHING: Final[Found] = (None,)

EntryRow: TypeAlias = tuple[bytes, int, float | None, float, int | None, str]
"""Value, check, expires, written, due, key."""


class Entries:
    """The operations on the table of entries.

    Args:
        clock: its wall clock stamps the entries.
        bounds: is asked to keep them after each row that is written.
        max_bytes: bytes of the largest value, if SQLite has no lower limit.
    """

    def __init__(self, clock: Clock, bounds: Bounds, max_bytes: int) -> None:
        self._clock = clock
        self._bounds = bounds
        self._recent = bounds.recent
        self._large = bounds.large
        self._newest = 0
        self._newest_at = 0.0
        self._rewriting = False
        self.early: deque[str] = deque(maxlen=_CHUNK)
        """Keys that were found to be from before the clock was set back, see `begin_again`."""
        self.largest: int = min(max_bytes, _LARGEST_VALUE)

    def get(self, db: sqlite3.Cursor, key: str) -> bytes | None:
        row = db.execute(GET, (key,)).fetchone()
        return None if row is None else self._value(key, row)

    def get_many(self, db: sqlite3.Cursor, keys: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name, *row in _rows(db, keys):
            key = name.decode("utf-8", "replace")
            value = self._value(key, row)
            if value is not None:
                found[key] = value
        return found

    def look(self, db: sqlite3.Cursor, key: str) -> Looked | None:
        row = db.execute(GET, (key,)).fetchone()
        return None if row is None else self._looked(key, row)

    def look_many(self, db: sqlite3.Cursor, keys: Sequence[str]) -> dict[str, Looked]:
        found: dict[str, Looked] = {}
        for name, *row in _rows(db, keys):
            key = name.decode("utf-8", "replace")
            looked = self._looked(key, row)
            if looked is not None:
                found[key] = looked
        return found

    def _looked(self, key: str, row: Sequence[Any]) -> Looked | None:
        value = self._value(key, row)
        return None if value is None else (value, self._left(*row[2:]))

    def ttl(self, db: sqlite3.Cursor, key: str) -> float | None:
        life = self._life(db, key)
        return 0.0 if life is None else self._left(*life)

    def _left(self, expires: float | None, written: float) -> float | None:
        if expires is None:
            return None
        return max(0.0, min(expires - self._clock.time(), expires - written))

    def has(self, db: sqlite3.Cursor, key: str) -> bool:
        return self._life(db, key) is not None

    def _life(self, db: sqlite3.Cursor, key: str) -> tuple[float | None, float] | None:
        """Return when a value that is there expires, and was written; raise `HasMetadata`."""
        row = db.execute(LIFE, (key,)).fetchone()
        if row is None or self._is_over(key, *row[1:]):
            return None
        value, expires, written = row
        if has_metadata(value):
            raise HasMetadata(key)
        return expires, written

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
        expires, due = _expiry(now, ttl, value)
        check = crc32(value, crc32(key.encode()))  # `_check`, without a call
        row = (value, check, expires, now, key, due, self._newest - self._recent)
        self._rewriting = db.execute(REWRITE_YOUNG, row).rowcount == 1
        return self._rewriting

    def set(self, db: sqlite3.Cursor, key: str, value: bytes, ttl: float | None) -> bool:
        """Store `value`; one that is rewritten while it is young keeps its place.

        That leaves two indexes and a page of the table alone. Young are the last quarter of
        `max_entries` rows. One stored over a stub is a new one, and counted as such.
        """
        row = self._row(key, value, ttl)
        place = db.execute(PLACE, (key,)).fetchone()
        if place is None or place[0] <= place[2] - self._recent:
            self._rewriting = False
            db.execute(APPEND, row)
            rowid = db.lastrowid or 0
            self._bounds.keep(db, rowid - 1, rowid, len(value))
            return True
        _, due, newest = place
        self._newest, self._newest_at, self._rewriting = newest, row[3], due == row[4]
        _rewrite(db, [row], due)
        self._bounds.keep(db, newest, newest, len(value))
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
        db.executemany(APPEND, appended)
        largest = max((len(value) for value, _ in items.values()), default=0)
        self._bounds.keep(db, newest, newest + len(appended), largest)
        return True

    def _young(self, db: sqlite3.Cursor, keys: Sequence[str]) -> tuple[dict[str, int | None], int]:
        """Return when those of `keys` that keep their places are due, and the last rowid."""
        newest: int = db.execute(NEWEST).fetchone()[0] or 0
        dues = {
            name.decode("utf-8", "replace"): due
            for chunk in _chunks(keys)
            for name, rowid, due in db.execute(PLACES.format(_marks(chunk)), chunk).fetchall()
            if rowid > newest - self._recent
        }
        return dues, newest

    def _row(self, key: str, value: bytes, ttl: float | None) -> EntryRow:
        now = self._clock.time()
        expires, due = _expiry(now, ttl, value)
        return value, _check(key, value), expires, now, due, key

    def add(self, db: sqlite3.Cursor, key: str, value: bytes, ttl: float | None) -> bool:
        return not self.has(db, key) and self.set(db, key, value, ttl)

    def touch(self, db: sqlite3.Cursor, key: str, ttl: float | None) -> bool:
        if not self.has(db, key):
            return False
        now = self._clock.time()
        expires, due = _expiry(now, ttl)
        db.execute(TOUCH, (expires, now, due, key))
        return True

    def delete(self, db: sqlite3.Cursor, key: str) -> bool:
        """Remove an expired row too: with the clock set back, it could live again."""
        row = db.execute(LIFE, (key,)).fetchone()
        there = row is not None and not self._is_over(key, *row[1:])
        db.execute(DELETE, (key,))
        return there

    def delete_many(self, db: sqlite3.Cursor, keys: Sequence[str]) -> int:
        there: list[Any] = []
        for chunk in _chunks(keys):
            rows = db.execute(LIVES.format(_marks(chunk)), chunk).fetchall()
            there += [value for value, *life in rows if not self._is_over("", *life)]
            db.execute(DELETE_MANY.format(_marks(chunk)), chunk)
        described = [value for value in there if has_metadata(value)]
        return Removed.of(len(there) - len(described), map(head, described))

    def set_and_delete(
        self, db: sqlite3.Cursor, key: str, value: bytes, keys: Sequence[str]
    ) -> bool:
        stored = self.set(db, key, value, None)
        self.delete_many(db, keys if stored else [key, *keys])
        return stored

    def incr(self, db: sqlite3.Cursor, key: str, delta: int) -> int:
        found = self.get(db, key)
        if has_metadata(found):
            raise HasMetadata(key)
        total = counter.total(key, None if is_stub(found) else found, delta)
        value = counter.write(total)
        db.execute(REPLACE, (value, _check(key, value), key))
        return total

    def compare_and_set(
        self, db: sqlite3.Cursor, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        return self.get(db, key) == expected and self.set(db, key, value, ttl)

    def replace(self, db: sqlite3.Cursor, key: str, expected: bytes, value: bytes) -> bool:
        if is_stub(expected) or self.get(db, key) != expected:
            return False
        db.execute(REPLACE, (value, _check(key, value), key))
        return True

    def compare_and_delete(self, db: sqlite3.Cursor, key: str, expected: bytes) -> bool:
        if self.get(db, key) != expected:
            return False
        db.execute(DELETE, (key,))
        return True

    def claim(self, db: sqlite3.Cursor, key: str, stub: bytes, life: float) -> Found:
        """Store `stub` by one statement if there is no row; `get_or_claim` does the rest."""
        row = self._row(key, stub, life)
        if db.execute(CLAIM, row).rowcount == 1:
            self._newest, self._newest_at = db.lastrowid or 0, row[3]
            return _NOTHING
        found = self.get(db, key)
        return () if found is None else (found,)

    def get_or_claim(self, db: sqlite3.Cursor, key: str, stub: bytes, life: float) -> Found:
        """Return what is there, or store `stub`: as a new row, which nothing has to go for."""
        found = self.get(db, key)
        if found is None:
            db.execute(APPEND, self._row(key, stub, life))
        return (found,)

    def get_or_claim_many(
        self, db: sqlite3.Cursor, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        """Return what is there, and store `stub` where nothing is."""
        found = self.get_many(db, keys)
        db.executemany(APPEND, [self._row(key, stub, life) for key in keys if key not in found])
        return {key: found.get(key) for key in keys}

    def fill_many(self, db: sqlite3.Cursor, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return {
            key: self.fill(db, key, *each)
            if is_stub(each.expected)
            else self.compare_and_set(db, key, *each)
            for key, each in fills.items()
        }

    def release_many(self, db: sqlite3.Cursor, held: Mapping[str, bytes]) -> dict[str, bool]:
        return {key: self.compare_and_delete(db, key, each) for key, each in held.items()}

    def fill_young(
        self, db: sqlite3.Cursor, key: str, stub: bytes, value: bytes, ttl: float | None
    ) -> bool:
        """Store `value` over `stub` by one statement, or return False: then `fill` is to do it.

        It can if the row is young, and is not the one at which the bounds are looked at.
        """
        now = self._clock.time()
        if not 0 <= now - self._newest_at < _NEWEST_FOR or len(value) >= self._large:
            return False
        row = self._row(key, value, ttl)
        young = self._newest - self._recent
        stands = (key, stub, now, young, self._bounds.interval)
        return db.execute(FILL_YOUNG, (*row[:5], *stands)).rowcount == 1

    def fill(
        self, db: sqlite3.Cursor, key: str, stub: bytes, value: bytes, ttl: float | None
    ) -> bool:
        """Store `value` over `stub`, in its row if that is young; now it counts."""
        row = self._row(key, value, ttl)
        place = db.execute(STUB_PLACE, (key, stub, row[3])).fetchone()
        if place is None:
            return False
        rowid, newest = place
        if rowid > newest - self._recent:
            db.execute(REWRITE_DUE, row)
        else:
            db.execute(APPEND, row)
            rowid = db.lastrowid or 0
        self._bounds.keep(db, rowid - 1, rowid, len(value))
        return True

    def renew(self, db: sqlite3.Cursor, key: str, stub: bytes, life: float) -> bool:
        now = self._clock.time()
        expires, due = _expiry(now, life, stub)
        return db.execute(RENEW, (expires, now, due, key, stub, now)).rowcount == 1

    def release(self, db: sqlite3.Cursor, key: str, stub: bytes) -> bool:
        return db.execute(RELEASE, (key, stub, self._clock.time())).rowcount == 1

    def begin_again(self, db: sqlite3.Cursor) -> None:
        """Have the `early` begin their lives again, unless that was done meanwhile.

        Any number of readers may have noted them; see `is_from_later`.
        """
        now = self._clock.time()
        while self.early:
            with suppress(IndexError):
                key = self.early.popleft()
                life = db.execute(LIFE_OF_ANY, (key,)).fetchone()
                if life is None or life[0] is None or not is_from_later(now, life[1]):
                    continue
                expires, due = _expiry(now, life[0] - life[1], life[2])
                db.execute(TOUCH, (expires, now, due, key))

    def clear(self, db: sqlite3.Cursor, prefix: str) -> None:
        if prefix:
            db.execute(CLEAR_RANGE, (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)))
        else:
            db.execute(CLEAR)

    @staticmethod
    def checkpoint(db: sqlite3.Cursor) -> None:
        """Copy the log into the file, so that its room can be used again."""
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def evict_for(self, db: sqlite3.Cursor, keys: Iterable[str]) -> None:
        """Remove `keys` and some entries that matter least, for pages to be reused."""
        self.delete_many(db, list(keys))
        self._bounds.evict_some(db)

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


def _check(key: str, value: bytes) -> int:
    """Return the CRC-32 of key and value together."""
    return crc32(value, crc32(key.encode()))


def _rewrite(db: sqlite3.Cursor, rows: Sequence[EntryRow], due: int | None) -> None:
    """Put `rows` in place of old ones that are `due`, sparing the index if it stays so."""
    same = [(*row[:4], row[5]) for row in rows if row[4] == due]
    others = [row for row in rows if row[4] != due]
    if same:
        db.executemany(REWRITE, same)
    if others:
        db.executemany(REWRITE_DUE, others)


def _expiry(now: float, ttl: float | None, value: bytes = b"") -> tuple[float | None, int | None]:
    """Return when `value` expires, and when it is due: up to a second or a 32nd of `ttl` later.

    Rounded, so that an entry that is rewritten soon stays where it is in the index. Negative for
    a stub.
    """
    if ttl is None:
        return None, None
    step = int(ttl) // 32 or 1
    due = math.ceil((now + ttl) / step) * step
    return now + ttl, -due if len(value) == STUB_SIZE and is_stub(value) else due


def _rows(db: sqlite3.Cursor, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return chain.from_iterable(
        db.execute(GET_MANY.format(_marks(chunk)), chunk).fetchall() for chunk in _chunks(keys)
    )


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _marks(chunk: Sequence[str]) -> str:
    return ",".join("?" * len(chunk))
