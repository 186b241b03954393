"""memcached: a value that looks like replies is a value, whoever leaves while it is read."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.chaos import MemcachedServer, Proxy
from tests.chaos.fixtures import MakeProxy
from tests.network_loops import Run, cache_on
from tests.network_loops import run as run  # a fixture
from tests.network_raw import started, turns
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.network.async_connection import AsyncConnection
from twofold.errors import BackendUnavailable
from twofold.testing import FACES, Face

Get = Callable[[str], Awaitable[Any]]

REPLIES = b"x\r\nEND\r\nVALUE other 0 5\r\nWRONG\r\nEND\r\nSTORED\r\n12\r\nNOT_FOUND\r\nEND\r\n"
RIGHT = b"the right one"


@pytest.fixture
def proxy(proxied: MakeProxy, memcached_server: MemcachedServer) -> Proxy:
    """Return a proxy to the shared server."""
    return proxied(memcached_server)


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    found: Face = request.param
    return found


class Scissors:
    """Cuts what a connection receives in two, once, and holds the second part back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place: int | None = None
        self.has_cut = asyncio.Event()
        self._held: list[tuple[AsyncConnection, bytes]] = []
        self._receive = AsyncConnection.data_received
        monkeypatch.setattr(AsyncConnection, "data_received", lambda *given: self._received(*given))

    def cut_at(self, place: int) -> None:
        """Let so many more bytes pass, and no others until `release`."""
        self.place = place
        self.has_cut = asyncio.Event()

    def release(self) -> None:
        """Let all pass."""
        held, self._held, self.place = self._held, [], None
        for connection, data in held:
            self._receive(connection, data)

    def _received(self, connection: AsyncConnection, data: bytes) -> None:
        if self.place is None:
            self._receive(connection, data)
            return
        now, later = data[: self.place], data[self.place :]
        self.place -= len(now)
        if now:
            self._receive(connection, now)
        if later:
            self._held.append((connection, later))
            self.has_cut.set()


async def raw(proxy: Proxy) -> Any:
    """Return a backend whose store has a value of replies, another one, and a counter."""
    backend = MemcachedBackend(proxy.address, deadline=10.0)
    items = {"replies": REPLIES, "other": RIGHT, "n": b"0"}
    assert await backend.aset_many(items, None) == []
    return backend


async def cached(proxy: Proxy) -> Any:
    """Return a cache with the same, whose replies hold an entry that was once the other key's."""
    cache = cache_on(f"memcached://{proxy.address}", deadline=10.0)
    await cache.aset("other", b"WRONG")
    stale = await cache.backend.aget(":1:other")
    reply = b"VALUE :1:other 0 %d\r\n%b\r\nEND\r\n" % (len(stale), stale)
    items = {"replies": REPLIES + reply * 2, "other": RIGHT, "n": 0}
    assert await cache.aset_many(items, None) == []
    return cache


async def alone(store: Any) -> "asyncio.Task[Any]":
    """Begin to read the replies, as one command."""
    [task] = started([store.aget("replies")])
    return task


async def joined(store: Any) -> "asyncio.Task[Any]":
    """Begin to read the replies, and have others read in the same command."""
    _, task, *_ = started(store.aget(key) for key in ("other", "replies", "n", "absent"))
    return task


@pytest.mark.parametrize("begin", [alone, joined])
@pytest.mark.parametrize("make", [raw, cached])
def test_a_value_of_replies_cancelled_at_every_byte(
    make: Callable[[Proxy], Awaitable[Any]],
    begin: Callable[[Any], Awaitable["asyncio.Task[Any]"]],
    run: Run,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It never becomes another key's value or a counter, for those who ask meanwhile or later."""
    proxy.chunk = 16
    scissors = Scissors(monkeypatch)
    held = {"raw": (REPLIES, RIGHT), "cached": (None, RIGHT)}[make.__name__]

    async def body() -> None:
        store = await make(proxy)
        replies = held[0] or await store.aget("replies")
        number = int(await store.aget("n"))
        before = proxy.replied
        assert await (await begin(store)) == replies
        size = proxy.replied - before
        made = proxy.accepted
        for place in range(size):
            scissors.cut_at(place)
            task = await begin(store)
            await asyncio.wait_for(scissors.has_cut.wait(), 10.0)
            task.cancel()
            number += 1
            meanwhile = started(calls_of(store))
            await turns(2)
            scissors.release()
            right = [RIGHT, number, None, {"other": RIGHT, "replies": replies}, replies]
            assert await asyncio.gather(*meanwhile) == right
            assert await store.aget("other") == RIGHT
            assert await store.aget("replies") == replies
            assert int(await store.aget("n")) == number
        assert size > len(replies)
        assert proxy.accepted == made
        await store.aclose()

    def calls_of(store: Any) -> list[Any]:
        return [
            store.aget("other"),
            store.aincr("n", 1),
            store.aget("absent"),
            store.aget_many(["other", "replies", "absent"]),
            store.aget("replies"),
        ]

    run(body())


def test_a_value_of_replies_cut_at_every_byte(face: Face, proxy: Proxy) -> None:
    """No part of it is taken for a reply: it is read again as a whole."""

    async def body() -> None:
        store = face.view(MemcachedBackend(proxy.address, deadline=10.0))
        assert await store.set_many({"replies": REPLIES, "other": RIGHT, "n": b"0"}, None) == []
        before = proxy.replied
        assert await store.get_many(["replies", "other"]) == {"replies": REPLIES, "other": RIGHT}
        for place in range(proxy.replied - before):
            proxy.cut_after(place)
            found = await store.get_many(["replies", "other"])
            assert found == {"replies": REPLIES, "other": RIGHT}
            assert await store.incr("n", 1) == place + 1
            assert await store.get("other") == RIGHT
        await store.close()

    face.run(body())


@pytest.mark.parametrize("name", ["compare_and_set", "compare_and_delete"])
def test_comparing_amid_a_writer(name: str, face: Face, memcached_server: MemcachedServer) -> None:
    """Each time it is done once, or the caller told that others write all the time."""
    backend = MemcachedBackend(memcached_server.address, deadline=10.0)
    ended = threading.Event()

    def write() -> None:
        with socket.create_connection((memcached_server.host, memcached_server.port)) as writer:
            while not ended.is_set():
                writer.sendall(b"set k 0 0 3\r\nold\r\n" * 20)
                assert writer.recv(1000)

    def counted(stat: str) -> int:
        return int(memcached_server.stats()[stat])

    async def body() -> None:
        store = face.view(backend)
        given = ("k", b"old", b"new", None)[: 4 if name == "compare_and_set" else 2]
        done = 0
        while counted("cas_badval") < refused + 10 or done < 10:
            with suppress(BackendUnavailable):
                done += await getattr(store, name)(*given)
        assert counted("cas_hits") == hits + done
        await store.close()

    refused, hits = counted("cas_badval"), counted("cas_hits")
    writing = threading.Thread(target=write)
    writing.start()
    try:
        face.run(body())
    finally:
        ended.set()
        writing.join()
