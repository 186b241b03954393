"""Stores behind a network: replies that are cut, lost, or none at all are never values."""

import socket
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest

from tests.chaos import MemcachedServer, Proxy, Server
from tests.chaos.fixtures import MakeProxy
from tests.memcached_text import VERSION
from tests.network_kinds import MEMCACHED, REDIS, Kind
from tests.network_kinds import server as server  # a fixture
from tests.network_loops import cache_on
from twofold.backend import Backend
from twofold.backends.redis import replies
from twofold.claims import table
from twofold.errors import BackendUnavailable, LockLost
from twofold.testing import FACES, Face

Call = Callable[[Any], Awaitable[Any]]

VALUE, BIG = b"value of k", b"big" * 40_000
VALUES = {"k": VALUE, "l": b"value of l", "m": b""}
KEYS = ["k", "absent", "l", "m"]
MOST = 5  # times that a call is sent


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    found: Face = request.param
    return found


@pytest.fixture(params=["redis", "redis without hiredis", "memcached"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Return the store that the test is to run on."""
    if request.param == "redis without hiredis":
        monkeypatch.setattr(replies, "hiredis", None)
    return MEMCACHED if request.param == "memcached" else REDIS


@pytest.fixture
def proxy(proxied: MakeProxy, server: Server) -> Proxy:
    """Return a proxy to the shared server."""
    return proxied(server)


@pytest.fixture
def backend(kind: Kind, proxy: Proxy) -> Iterator[Backend]:
    """A backend behind the proxy, over a store that holds a few things."""
    made = kind.backend(proxy, deadline=5.0)
    begin(made)
    assert made.compare_and_set("cas", b"old", b"old", None)
    assert made.compare_and_delete("cas", b"other") is False
    yield made
    made.close()


def begin(backend: Backend) -> None:
    """Have the store hold a few things."""
    held = {**VALUES, "big": BIG, "n": b"10", "cas": b"old"}
    assert backend.set_many(held, None) == []
    assert backend.incr("n", 0) == 10  # from now on the server knows the scripts
    backend.delete("absent")


# Cut


async def size_of_reply(proxy: Proxy, call: Callable[[], Awaitable[Any]]) -> int:
    """Make a call over a warm connection, and return how many bytes its reply has."""
    before = proxy.replied
    await call()
    return proxy.replied - before


def cuts(size: int) -> list[int]:
    """Return the places to cut a reply at: all, or some of a big one."""
    if size < 1000:
        return list(range(size))
    return [*range(12), 4096, 65535, 65536, 65537, *range(size - 4, size)]


READS: dict[str, tuple[Call, Any]] = {
    "get": (lambda store: store.get("k"), VALUE),
    "get of an empty value": (lambda store: store.get("m"), b""),
    "get of a missing key": (lambda store: store.get("absent"), None),
    "get of a big value": (lambda store: store.get("big"), BIG),
    "get_many": (lambda store: store.get_many(KEYS), VALUES),
    "has": (lambda store: store.has("k"), True),
    "ttl": (lambda store: store.ttl("k"), None),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_is_repeated_wherever_its_reply_is_cut(
    name: str, face: Face, backend: Backend, proxy: Proxy
) -> None:
    """A part of a reply is never taken for one: the connection goes, and a new one is asked."""
    call, right = READS[name]

    async def body() -> None:
        store = face.view(backend)
        assert await call(store) == right
        assert await call(store) == right  # a big value has another connection by now
        for place in cuts(await size_of_reply(proxy, lambda: call(store))):
            before = proxy.accepted
            proxy.cut_after(place)
            assert await call(store) == right
            assert await call(store) == right
            assert proxy.accepted == before + 1
            assert await store.get_many(KEYS) == VALUES
        await store.close()

    face.run(body())


def test_a_counter_wherever_its_reply_is_cut(face: Face, backend: Backend, proxy: Proxy) -> None:
    """Each addition is made once, and the caller told that its outcome is not known."""

    async def body() -> None:
        store = face.view(backend)
        assert await store.incr("n", 0) == 10  # warm
        size = await size_of_reply(proxy, lambda: store.incr("n", 0))
        assert size >= len(b"10\r\n")
        for place in range(size):
            before = proxy.accepted
            proxy.cut_after(place)
            with pytest.raises(BackendUnavailable):
                await store.incr("n", 1)
            assert await store.incr("n", 0) == 11 + place
            assert proxy.accepted == before + 1
        await store.close()

    face.run(body())


class Cutter(socketserver.ThreadingTCPServer):
    """A server that sends the same bytes to whatever is asked, and closes the connection.

    A memcached's client is welcomed first.
    """

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.reply = b""
        self.asked = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Answer(socketserver.BaseRequestHandler):
    server: Cutter

    def handle(self) -> None:
        connection: socket.socket = self.request
        with suppress(OSError):
            asked = connection.recv(65536)
            if asked == b"version\r\n":
                connection.sendall(VERSION)
                asked = connection.recv(65536)
            if asked:
                self.server.asked += 1
                connection.sendall(self.server.reply)


@contextmanager
def cutter() -> Iterator[Cutter]:
    with Cutter() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


WHOLE: dict[str, Call] = {
    "get": lambda store: store.get("k"),
    "get_many": lambda store: store.get_many(["k", "l"]),
    "incr": lambda store: store.incr("n", 1),
    "has": lambda store: store.has("k"),
    "set": lambda store: store.set("k", b"v", None),
}
REPLIES = {
    "redis": {
        "get": b"$10\r\nvalue of k\r\n",
        "get_many": b"*2\r\n$1\r\nk\r\n$-1\r\n",
        "incr": b"$2\r\n11\r\n",
        "has": b":1\r\n",
        "set": b"+OK\r\n",
    },
    "memcached": {
        "get": b"VALUE k 0 10\r\nvalue of k\r\nEND\r\n",
        "get_many": b"VALUE k 0 1\r\nk\r\nVALUE l 0 1\r\nl\r\nEND\r\n",
        "incr": b"11\r\n",
        "has": b"HD\r\n",
        "set": b"STORED\r\n",
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_replies_that_are_always_cut_are_an_error(name: str, face: Face, kind: Kind) -> None:
    """Where every reply ends early, wherever that is, a call ends as an outage does."""
    whole = REPLIES[kind.name][name]

    async def body() -> None:
        for place in range(len(whole)):
            server.reply, server.asked = whole[:place], 0
            store = face.view(kind.make(f"{kind.name}://{server.address}", deadline=5.0))
            with pytest.raises(BackendUnavailable):
                await WHOLE[name](store)
            assert server.asked == 1 if name in ("incr", "set") else 1 < server.asked <= MOST
            await store.close()

    with cutter() as server:
        face.run(body())


NO_REPLIES = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\0" * 100,
    b"$5\r\nvalue",
    b"\r\n",
    b"$x\r\n",
    b">1\r\n+k\r\n",
]


@pytest.mark.parametrize("garbage", NO_REPLIES)
def test_what_is_no_reply_is_an_error(garbage: bytes, face: Face, kind: Kind) -> None:
    """A server that speaks another protocol is an outage."""

    async def body() -> None:
        store = face.view(kind.make(f"{kind.name}://{server.address}", deadline=5.0))
        for call in WHOLE.values():
            with pytest.raises(BackendUnavailable):
                await call(store)
        await store.close()

    with cutter() as server:
        server.reply = garbage
        face.run(body())


# What a new connection begins with, which takes a database other than 0 in a Redis
GREETED = {"redis": ("/1", b"+OK\r\n"), "memcached": ("", VERSION)}


def test_a_cut_while_connecting(face: Face, kind: Kind, proxy: Proxy, server: Server) -> None:
    """A connection that is lost before it is ready is never used; then all is well again."""
    path, greeting = GREETED[kind.name]

    async def body() -> None:
        for place in range(len(greeting)):
            store = face.view(kind.make(kind.url(proxy) + path, deadline=5.0))
            proxy.cut_after(place)
            with suppress(BackendUnavailable):
                assert await store.get("k") is None
            while True:  # the breaker closes in a moment
                with suppress(BackendUnavailable):
                    assert await store.set("k", VALUE, 60)
                    break
            assert await store.get("k") == VALUE
            await store.delete("k")
            await store.close()

    face.run(body())
    if kind is REDIS:
        assert server.command("DBSIZE") == 0  # of the other database


# Lost


class Write(NamedTuple):
    """A call that changes something, and what the server holds after it."""

    call: Call
    key: str
    after: bytes | None


WRITES = {
    "incr": Write(lambda store: store.incr("n", 1), "n", b"11"),
    "add": Write(lambda store: store.add("absent", b"new", 60), "absent", b"new"),
    "set": Write(lambda store: store.set("k", b"new", None), "k", b"new"),
    "set_many": Write(lambda store: store.set_many({"k": b"new"}, 60), "k", b"new"),
    "touch": Write(lambda store: store.touch("k", 60), "k", VALUE),
    "delete": Write(lambda store: store.delete("k"), "k", None),
    "delete_many": Write(lambda store: store.delete_many(["k", "l"]), "k", None),
    "compare_and_set": Write(
        lambda store: store.compare_and_set("cas", b"old", b"new", None), "cas", b"new"
    ),
    "compare_and_delete": Write(lambda store: store.compare_and_delete("cas", b"old"), "cas", None),
}
AFTER_A_READ = ("compare_and_set", "compare_and_delete", "memcached touch")
SHORTEST = len(b"+OK\r\n") - 1  # bytes of a reply, of which some are lost

SCRIPTS = ("incr", "touch", "delete", "delete_many", "compare_and_set", "compare_and_delete")
COMMANDS = dict.fromkeys(SCRIPTS, "evalsha") | {
    "add": "set",
    "set": "set",
    "set_many": "set",
}
COUNTED = {
    "incr": ["incr_hits"],
    "add": ["cmd_set"],
    "set": ["cmd_set"],
    "set_many": ["cmd_set"],
    "touch": ["cmd_touch"],
    "delete": ["delete_hits", "delete_misses"],
    "delete_many": ["delete_hits", "delete_misses"],
    "compare_and_set": ["cas_hits", "cas_misses", "cas_badval"],
    "compare_and_delete": ["cas_hits", "cas_misses", "cas_badval"],
}


def times_done(server: Any, name: str) -> float:
    """Return how often a server has carried out what a call of `WRITES` sends."""
    if isinstance(server, MemcachedServer):
        stats = server.stats()
        each = 2 if name == "delete_many" else 1  # its keys have a command each
        return sum(int(stats[counter]) for counter in COUNTED[name]) / each
    counted = server.info("commandstats").get(f"cmdstat_{COMMANDS[name]}", "calls=0,")
    return int(counted.partition(",")[0].removeprefix("calls="))


def held(server: Any, key: str) -> bytes | None:
    """Return the bytes that a server has under a key."""
    if isinstance(server, MemcachedServer):
        reply = server.command(f"get {key}\r\n".encode())
        return reply.split(b"\r\n")[1] if reply.startswith(b"VALUE") else None
    found: bytes | None = server.command("GET", key)
    return found


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_done_once_wherever_its_reply_is_cut(
    name: str, face: Face, kind: Kind, backend: Backend, proxy: Proxy, server: Server
) -> None:
    """What may have been carried out is not sent again, and the caller is told."""
    write = WRITES[name]
    reads_first = name in AFTER_A_READ or f"{kind.name} {name}" in AFTER_A_READ
    fresh = kind.backend(server)

    async def attempt(store: Any) -> bool:
        """Make the call, and tell whether the caller was told that all is well."""
        try:
            assert await write.call(store)
        except BackendUnavailable:
            return False
        return True

    async def body() -> None:
        store = face.view(backend)
        await write.call(store)  # warm, and the server knows the script
        begin(fresh)
        size, untold = await size_of_reply(proxy, lambda: write.call(store)), 0
        for place in range(size):
            begin(fresh)
            before, old = times_done(server, name), held(server, write.key)
            proxy.cut_after(place)
            told = await attempt(store)
            untold += not told
            done = times_done(server, name) - before
            assert done == 1 or (done == 0 and not told and reads_first)
            assert held(server, write.key) == (write.after if done else old)
            assert await store.get(write.key) == held(server, write.key)
        assert untold == size or (reads_first and untold >= SHORTEST)
        await store.close()

    face.run(body())
    fresh.close()


@pytest.mark.parametrize("name", READS)
def test_a_read_whose_reply_is_lost_is_repeated(
    name: str, face: Face, backend: Backend, proxy: Proxy
) -> None:
    """What changes nothing is sent again, over a new connection."""
    call, right = READS[name]

    async def body() -> None:
        store = face.view(backend)
        assert await call(store) == right
        assert await call(store) == right  # a big value has another connection by now
        before = proxy.accepted
        proxy.lose_reply()
        assert await call(store) == right
        assert proxy.accepted > before
        await store.close()

    face.run(body())


def test_a_lock_whose_reply_is_lost(face: Face, kind: Kind, proxy: Proxy) -> None:
    """Who was told that the lock failed does not hold it: the next one has it at once."""
    cache = cache_on(kind.url(proxy))

    async def body() -> None:
        view = face.view(cache)
        assert await view.get("k", "missing") == "missing"
        proxy.lose_reply()
        with pytest.raises(BackendUnavailable):
            async with view.lock("l"):
                raise AssertionError("it was not known to be held")
        async with view.lock("l", wait=0):
            assert await view.add("held", 1)
        await view.close()

    face.run(body())


RELEASED = {"redis": b":1\r\n", "memcached": b"STORED\r\n"}


def test_a_release_whose_reply_is_lost(face: Face, kind: Kind, proxy: Proxy) -> None:
    """Who was told that letting go failed has let go once, and of no one else's lock."""
    cache = cache_on(kind.url(proxy))

    async def body() -> None:
        view = face.view(cache)
        async with view.lock("l"):
            before = proxy.replied  # and now the server knows the script
        size = proxy.replied - before
        with pytest.raises(BackendUnavailable):
            async with view.lock("l"):
                proxy.cut_after(size - len(RELEASED[kind.name]) + 1)
        assert not table.held()
        async with view.lock("l", wait=0):
            pass
        with pytest.raises(LockLost):
            async with view.lock("l"):
                cache.backend.clear("") if not face.is_async else await cache.backend.aclear("")
        await view.close()

    face.run(body())
