"""Get and set in one SQLite file: diskcache, and a plain table by aiosqlite."""

import os
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from tempfile import TemporaryDirectory
from typing import Any, Literal

import aiosqlite
import diskcache

from tests.benchmarks.harness import (
    CAPACITY,
    KEYS,
    TIMEOUT,
    VALUE,
    Bench,
    Client,
    each,
    expect,
    together,
)
from twofold import caches, close_all, configure

AREA = "sqlite"


def run(bench: Bench) -> None:
    """Compare both faces; the files are in a temporary folder."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        path = os.path.join(folder, "twofold.db")
        config = {"BACKEND": "sqlite", "LOCATION": path, "TIMEOUT": TIMEOUT}
        configure({"default": {**config, "OPTIONS": {"max_entries": CAPACITY}}})
        stack.callback(close_all)
        theirs = stack.enter_context(diskcache.Cache(os.path.join(folder, "diskcache")))
        _race_sync(bench, theirs)
        tables = Table(), OneHopTable()
        for number, table in enumerate(tables):
            stack.callback(_close, bench, table)
            bench.run(table.open(os.path.join(folder, f"aiosqlite{number}.db")))
        _race_async(bench, *tables)


def _close(bench: Bench, table: "Table") -> None:
    bench.run(table.close())


def _race_sync(bench: Bench, theirs: diskcache.Cache) -> None:
    ours = caches["default"]

    def set_ours(key: str) -> None:
        ours.set(key, VALUE)

    def set_theirs(key: str) -> None:
        theirs.set(key, VALUE, expire=TIMEOUT)

    for key in KEYS:
        set_ours(key)
        set_theirs(key)
        expect(ours.get(key))
        expect(theirs.get(key))
    bench.race(
        AREA,
        "get",
        [Client("twofold", each(ours.get)), Client("diskcache", each(theirs.get), target=1.1)],
    )
    bench.race(
        AREA,
        "set",
        [Client("twofold", each(set_ours)), Client("diskcache", each(set_theirs), target=2.5)],
    )


class Table:
    """A cache as the documentation of aiosqlite leads one to write it: one table."""

    isolation_level: Literal["DEFERRED"] | None = "DEFERRED"

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, path: str) -> None:
        """Connect, and make the table."""
        connect = aiosqlite.connect(path, isolation_level=self.isolation_level)
        self.connection = await self._stack.enter_async_context(connect)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB, expires REAL)",
        ):
            await self.connection.execute(statement)

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()

    async def get(self, key: str) -> bytes | None:
        """Return what is there and has not expired."""
        async with self.connection.execute(_SELECT, (key, time.time())) as cursor:
            row = await cursor.fetchone()
        return None if row is None else row[0]

    async def set(self, key: str) -> None:
        """Store the value."""
        await self.connection.execute(_REPLACE, (key, VALUE, time.time() + TIMEOUT))
        await self.connection.commit()


class OneHopTable(Table):
    """The same by somebody who counts: each call is one hop, and commits by itself."""

    isolation_level = None

    async def get(self, key: str) -> bytes | None:
        rows = await self.connection.execute_fetchall(_SELECT, (key, time.time()))
        return next(iter(rows), (None,))[0]

    async def set(self, key: str) -> None:
        entry = (key, VALUE, time.time() + TIMEOUT)
        await self.connection.execute_fetchall(_REPLACE, entry)


_SELECT = "SELECT value FROM entries WHERE key = ? AND expires > ?"
_REPLACE = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)"


def _race_async(bench: Bench, usual: Table, one_hop: Table) -> None:
    ours = caches["default"]

    async def set_ours(key: str) -> None:
        await ours.aset(key, VALUE)

    bench.run(_check(set_ours, ours.aget))
    for table in (usual, one_hop):
        bench.run(_check(table.set, table.get))
    bench.race(
        AREA,
        "aget, 100 tasks",
        [
            Client("twofold", together(ours.aget)),
            Client("aiosqlite", together(usual.get), target=6),
            Client("aiosqlite, one hop a call", together(one_hop.get)),
        ],
    )
    bench.race(
        AREA,
        "aset, 100 tasks",
        [
            Client("twofold", together(set_ours)),
            Client("aiosqlite", together(usual.set), target=4),
            Client("aiosqlite, one hop a call", together(one_hop.set)),
        ],
    )


async def _check(
    write: Callable[[str], Coroutine[Any, Any, Any]],
    read: Callable[[str], Coroutine[Any, Any, Any]],
) -> None:
    for key in KEYS:
        await write(key)
        expect(await read(key))
