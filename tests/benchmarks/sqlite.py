"""Get and set in one SQLite file: diskcache, and a plain table by aiosqlite."""

import os
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from tempfile import TemporaryDirectory
from typing import Any

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
        table = Table()
        bench.run(table.open(os.path.join(folder, "aiosqlite.db")))
        try:
            _race_async(bench, table)
        finally:
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
    """A cache as one writes it with aiosqlite: one table, one connection, each call a hop."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, path: str) -> None:
        connect = aiosqlite.connect(path, isolation_level=None)
        self._connection = await self._stack.enter_async_context(connect)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB, expires REAL) WITHOUT ROWID",
        ):
            await self._connection.execute_fetchall(statement)

    async def close(self) -> None:
        await self._stack.aclose()

    async def get(self, key: str) -> bytes | None:
        statement = "SELECT value FROM entries WHERE key = ? AND expires > ?"
        rows = list(await self._connection.execute_fetchall(statement, (key, time.time())))
        return rows[0][0] if rows else None

    async def set(self, key: str) -> None:
        statement = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)"
        await self._connection.execute_fetchall(statement, (key, VALUE, time.time() + TIMEOUT))


def _race_async(bench: Bench, table: Table) -> None:
    ours = caches["default"]

    async def set_ours(key: str) -> None:
        await ours.aset(key, VALUE)

    bench.run(_check(set_ours, ours.aget))
    bench.run(_check(table.set, table.get))
    bench.race(
        AREA,
        "aget, 100 tasks",
        [
            Client("twofold", together(ours.aget)),
            Client("aiosqlite", together(table.get), target=6),
        ],
    )
    bench.race(
        AREA,
        "aset, 100 tasks",
        [
            Client("twofold", together(set_ours)),
            Client("aiosqlite", together(table.set), target=4),
        ],
    )


async def _check(
    write: Callable[[str], Coroutine[Any, Any, Any]],
    read: Callable[[str], Coroutine[Any, Any, Any]],
) -> None:
    for key in KEYS:
        await write(key)
        expect(await read(key))
