"""The table of entries, and the statements on it.

A row has its key, value and a CRC-32 of both, since SQLite itself does not notice flipped
bits; `expires` and `written` by the wall clock; and `due`, the expiry rounded up, whose
index finds expired rows and is left alone when a row is rewritten soon. New rows are
appended, so the order of rowids is the order of storing.

A stub, see `twofold.stub`, has the negative of that in `due`. So SQL tells it from a value,
and the bounds count the stubs in the index, without a look at any row.
"""

from typing import Final

from twofold.backends.sqlite.bounds import SWEEP_EVERY, VISIBLE
from twofold.metadata import HEAD_SIZE

SCHEMA: Final = (
    "CREATE TABLE twofold (key TEXT PRIMARY KEY, value BLOB, crc INTEGER,"
    " expires REAL, written REAL, due INTEGER)",
    "CREATE INDEX twofold_due ON twofold (due) WHERE due IS NOT NULL",
)
TABLE: Final = b"twofold"

GET = "SELECT value, crc, expires, written FROM twofold WHERE key = ?"
GET_MANY = "SELECT key, value, crc, expires, written FROM twofold WHERE key IN ({})"
_LIVES = " ".join(
    ("SELECT substr(value, 1,", str(HEAD_SIZE), "), expires, written FROM twofold WHERE")
)
LIFE = " ".join((_LIVES, "key = ? AND", VISIBLE))
LIVES = " ".join((_LIVES, "key IN ({}) AND", VISIBLE))
LIFE_OF_ANY = "SELECT expires, written, value FROM twofold WHERE key = ?"
PLACE = " ".join(
    (
        "SELECT rowid, due, (SELECT max(rowid) FROM twofold) FROM twofold WHERE key = ? AND",
        VISIBLE,
    )
)
PLACES = " ".join(("SELECT key, rowid, due FROM twofold WHERE key IN ({}) AND", VISIBLE))
NEWEST = "SELECT max(rowid) FROM twofold"
APPEND = (
    "INSERT OR REPLACE INTO twofold (value, crc, expires, written, due, key)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
REWRITE = "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ? WHERE key = ?"
REWRITE_DUE = (
    "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ?, due = ? WHERE key = ?"
)
REWRITE_YOUNG = (
    "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ?"
    " WHERE key = ? AND due IS ? AND rowid > ?"
)
REPLACE = "UPDATE twofold SET value = ?, crc = ? WHERE key = ?"
TOUCH = "UPDATE twofold SET expires = ?, written = ?, due = ? WHERE key = ?"
DELETE = "DELETE FROM twofold WHERE key = ?"
DELETE_MANY = "DELETE FROM twofold WHERE key IN ({})"
CLAIM = APPEND.replace("REPLACE", "IGNORE")
STANDS = "key = ? AND due < 0 AND value = ? AND expires > ?"
STUB_PLACE = " ".join(("SELECT rowid, (SELECT max(rowid) FROM twofold) FROM twofold WHERE", STANDS))
FILL_YOUNG = " ".join(
    (
        "UPDATE twofold SET value = ?, crc = ?, expires = ?, written = ?, due = ? WHERE",
        STANDS,
        f"AND rowid > ? AND rowid % ? > 0 AND rowid % {SWEEP_EVERY} > 0",
    )
)
RENEW = " ".join(("UPDATE twofold SET expires = ?, written = ?, due = ? WHERE", STANDS))
RELEASE = " ".join(("DELETE FROM twofold WHERE", STANDS))
CLEAR = "DELETE FROM twofold"
CLEAR_RANGE = "DELETE FROM twofold WHERE key >= ? AND key < ?"
