"""Redis: replies that are cut, lost, or no replies at all are errors or misses, never values."""

import socket
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest

from tests.chaos import Proxy, RedisServer
from tests.redis_loops import cache_on
from twofold.backends.redis import RedisBackend, replies
from twofold.errors import BackendUnavailable, LockLost
from twofold.testing import FACES, Face

Call = Callable[[Any], Awaitable[Any]]

VALUE, BIG = b"value of k", b"big" * 40_000
VALUES = {"k": VALUE, "l": b"value of l", "m": b""}
KEYS = ["k", "absent", "l", "m"]


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    found: Face = request.param
    return found


@pytest.fixture(params=["hiredis", "pure Python"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read replies as where hiredis is installed, and as where it is not."""
    assert replies.hiredis is not None
    if request.param != "hiredis":
        monkeypatch.setattr(replies, "hiredis", None)


@pytest.fixture
def backend(proxy: Proxy) -> Iterator[RedisBackend]:
    """A backend behind the proxy, over a store that holds a few things."""
    made = RedisBackend(proxy.url, deadline=5.0)
    assert made.set_many({**VALUES, "big": BIG, "n": b"10", "cas": b"old"}, None) == []
    assert made.incr("n", 0) == 10  # from now on the server knows the scripts
    assert made.compare_and_set("cas", b"old", b"old", None)
    assert made.compare_and_delete("cas", b"other") is False
    yield made
    made.close()


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


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("name", READS)
def test_a_read_is_repeated_wherever_its_reply_is_cut(
    name: str, face: Face, backend: RedisBackend, proxy: Proxy
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


@pytest.mark.usefixtures("_reader")
def test_a_counter_wherever_its_reply_is_cut(
    face: Face, backend: RedisBackend, proxy: Proxy
) -> None:
    """Each addition is made once, and the caller told that its outcome is not known."""

    async def body() -> None:
        store = face.view(backend)
        size = await size_of_reply(proxy, lambda: store.incr("n", 0))
        assert size > 5
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
    """A server that sends the same bytes to whatever is asked, and closes the connection."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.reply = b""
        self.asked = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}"


class Answer(socketserver.BaseRequestHandler):
    server: Cutter

    def handle(self) -> None:
        connection: socket.socket = self.request
        with suppress(OSError):
            if connection.recv(65536):
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


WHOLE: dict[str, tuple[Call, bytes]] = {
    "get": (lambda store: store.get("k"), b"$10\r\nvalue of k\r\n"),
    "get_many": (lambda store: store.get_many(["k", "l"]), b"*2\r\n$1\r\nk\r\n$-1\r\n"),
    "incr": (lambda store: store.incr("n", 1), b"$2\r\n11\r\n"),
    "has": (lambda store: store.has("k"), b":1\r\n"),
    "set": (lambda store: store.set("k", b"v", None), b"+OK\r\n"),
}


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("name", WHOLE)
def test_replies_that_are_always_cut_are_an_error(name: str, face: Face) -> None:
    """Where every reply ends early, wherever that is, a call ends as an outage does."""
    call, whole = WHOLE[name]

    async def body() -> None:
        for place in range(len(whole)):
            server.reply, server.asked = whole[:place], 0
            store = face.view(RedisBackend(server.url, deadline=5.0))
            with pytest.raises(BackendUnavailable):
                await call(store)
            assert server.asked == 1 or name not in ("incr", "set")
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


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("garbage", NO_REPLIES)
def test_what_is_no_reply_is_an_error(garbage: bytes, face: Face) -> None:
    """A server that speaks another protocol is an outage."""

    async def body() -> None:
        store = face.view(RedisBackend(server.url, deadline=5.0))
        for call, _ in WHOLE.values():
            with pytest.raises(BackendUnavailable):
                await call(store)
        await store.close()

    with cutter() as server:
        server.reply = garbage
        face.run(body())


def test_a_cut_while_logging_in(face: Face, redis_server: RedisServer, proxy: Proxy) -> None:
    """A connection that is lost before it is ready is never used; then all is well again."""
    url = proxy.url[:-1] + "1"  # to choose a database takes a command

    async def body() -> None:
        for place in range(len(b"+OK\r\n")):
            store = face.view(RedisBackend(url, deadline=5.0))
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
    assert redis_server.command("DBSIZE") == 0


# Lost


class Write(NamedTuple):
    """A call that changes something, the command it is, and what the server holds after it."""

    call: Call
    command: str
    key: str
    after: bytes | None


WRITES = {
    "incr": Write(lambda store: store.incr("n", 1), "evalsha", "n", b"11"),
    "add": Write(lambda store: store.add("absent", b"new", 60), "set", "absent", b"new"),
    "set": Write(lambda store: store.set("k", b"new", None), "set", "k", b"new"),
    "set_many": Write(lambda store: store.set_many({"k": b"new"}, 60), "set", "k", b"new"),
    "touch": Write(lambda store: store.touch("k", 60), "pexpire", "k", VALUE),
    "delete": Write(lambda store: store.delete("k"), "unlink", "k", None),
    "delete_many": Write(lambda store: store.delete_many(["k", "l"]), "unlink", "k", None),
    "compare_and_set": Write(
        lambda store: store.compare_and_set("cas", b"old", b"new", None), "evalsha", "cas", b"new"
    ),
    "compare_and_delete": Write(
        lambda store: store.compare_and_delete("cas", b"old"), "evalsha", "cas", None
    ),
}


def calls_of(server: RedisServer, command: str) -> int:
    """Return how often a server has carried out a command."""
    counted = server.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(counted.partition(",")[0].removeprefix("calls="))


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_reply_is_lost_is_done_once(
    name: str, face: Face, backend: RedisBackend, proxy: Proxy, redis_server: RedisServer
) -> None:
    """What may have been carried out is not sent again, and the caller is told."""
    write = WRITES[name]

    async def body() -> None:
        store = face.view(backend)
        assert await store.get("l") == VALUES["l"]  # warm
        before = calls_of(redis_server, write.command)
        proxy.lose_reply()
        with pytest.raises(BackendUnavailable):
            await write.call(store)
        assert calls_of(redis_server, write.command) == before + 1
        assert redis_server.command("GET", write.key) == write.after
        assert await store.get(write.key) == write.after
        await store.close()

    face.run(body())


@pytest.mark.parametrize("name", READS)
def test_a_read_whose_reply_is_lost_is_repeated(
    name: str, face: Face, backend: RedisBackend, proxy: Proxy
) -> None:
    """What changes nothing is sent again, over a new connection."""
    call, right = READS[name]

    async def body() -> None:
        store = face.view(backend)
        assert await call(store) == right
        before = proxy.accepted
        proxy.lose_reply()
        assert await call(store) == right
        assert proxy.accepted > before
        await store.close()

    face.run(body())


def test_a_script_that_must_be_sent_whole_runs_once(
    face: Face, backend: RedisBackend, proxy: Proxy, redis_server: RedisServer
) -> None:
    """A script that the server does not know is refused by digest, sent, and not sent twice."""

    async def body() -> None:
        store = face.view(backend)
        assert await store.get("k") == VALUE
        redis_server.command("SCRIPT", "FLUSH")
        assert await store.incr("n", 1) == 11
        redis_server.command("SCRIPT", "FLUSH")
        proxy.cut_after(len("-NOSCRIPT No matching script. Please use EVAL.\r\n") + 1)
        with pytest.raises(BackendUnavailable):
            await store.incr("n", 1)
        assert redis_server.command("GET", "n") == b"12"
        assert await store.incr("n", 1) == 13
        await store.close()

    face.run(body())


def test_a_lock_whose_reply_is_lost(face: Face, backend: RedisBackend, proxy: Proxy) -> None:
    """Who was told that the lock failed does not hold it: the next one has it at once."""
    cache = cache_on(proxy.url)

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


def test_a_release_whose_reply_is_lost(face: Face, proxy: Proxy) -> None:
    """Who was told that letting go failed has let go once, and of no one else's lock."""
    cache = cache_on(proxy.url)

    async def body() -> None:
        view = face.view(cache)
        async with view.lock("l"):
            pass  # so that the server knows the script, and its reply is the one that is lost
        with pytest.raises(BackendUnavailable):
            async with view.lock("l"):
                proxy.lose_reply()
        async with view.lock("l", wait=0):
            pass
        with pytest.raises(LockLost):
            async with view.lock("l"):
                cache.backend.clear("") if not face.is_async else await cache.backend.aclear("")
        await view.close()

    face.run(body())
