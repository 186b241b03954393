"""Redis: the connection that all tasks of an event loop share."""

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from tests.chaos import Proxy, RedisServer, Stalls, healthy
from tests.network_kinds import REDIS
from tests.network_loops import Run
from tests.network_loops import run as run  # a fixture
from tests.network_raw import BIG, PATIENCE, Raw, Spied, Spoken, started, turns, until, value_of
from tests.network_raw import run_raw as run_raw  # a fixture
from tests.network_raw import writes as writes  # a fixture
from twofold.backends.network import async_connection
from twofold.backends.redis import RedisBackend, replies
from twofold.backends.redis.connector import DirectConnector
from twofold.errors import BackendUnavailable, DeadlineExceeded

MOST_SENT = 1024  # requests that may be on their way
MOST_BYTES = 262_144  # bytes to hand over at a time, and to be buffered
ERROR = b"-ERR no such command\r\n"


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def answer(command: list[bytes]) -> bytes:
    """Return the reply to a command, whose keys all exist."""
    name, *rest = command
    if name == b"GET":
        return bulk(value_of(rest[0]))
    if name == b"MGET":
        return b"*%d\r\n%b" % (len(rest), b"".join(bulk(value_of(key)) for key in rest))
    if name in (b"UNLINK", b"EVALSHA"):
        return b":1\r\n"
    return b"+OK\r\n"


@pytest.fixture
def spoken() -> Spoken:
    """Return how Redis talks."""
    return Spoken(REDIS, DirectConnector, replies.PythonReader, answer)


# Writes


def test_a_lone_call_leaves_at_once(run_raw: Any, writes: list[bytes]) -> None:
    """Where no reply is awaited, a command does not wait for the end of its tick."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        writes.clear()
        task = asyncio.ensure_future(backend.aget("k"))
        await asyncio.sleep(0)
        assert len(writes) == 1
        assert await task == value_of("k")

    run_raw(body)


def test_calls_of_one_tick_leave_as_one_write(run_raw: Any, writes: list[bytes]) -> None:
    """Commands that are asked while replies are awaited join in one write."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        first = asyncio.ensure_future(backend.aget("first"))
        await until(lambda: raw.peer.owed)
        writes.clear()
        tasks = started(backend.aget(f"k{n}") for n in range(100))
        await until(lambda: writes)
        await turns(3)
        assert [write.count(b"GET") for write in writes] == [100]
        raw.release()
        assert await first == value_of("first")
        assert await asyncio.gather(*tasks) == [value_of(f"k{n}") for n in range(100)]

    run_raw(body)


def test_those_answered_together_ask_together(run_raw: Any, writes: list[bytes]) -> None:
    """Fifty tasks that each ask twenty times make some twenty writes, not a thousand."""

    async def ask(backend: RedisBackend, name: str) -> None:
        for n in range(20):
            assert await backend.aget(f"{name}:{n}") == value_of(f"{name}:{n}")

    async def body(raw: Raw, backend: RedisBackend) -> None:
        writes.clear()
        await asyncio.gather(*[ask(backend, f"k{n}") for n in range(50)])
        assert sum(write.count(b"GET") for write in writes) == 1000
        assert len(writes) <= 25
        assert len(raw.peers) == 1

    run_raw(body)


def test_no_call_is_held_up_by_its_tick(run_raw: Any, writes: list[bytes]) -> None:
    """Calls made one after the other leave one by one, each in the tick that it is made."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        writes.clear()
        for n in range(20):
            assert await backend.aget(f"k{n}") == value_of(f"k{n}")
        assert len(writes) == 20

    run_raw(body)


# Bounds


def test_so_many_requests_are_on_their_way(run_raw: Any) -> None:
    """Of 3,000 concurrent calls 1,024 are sent, and the next ones as replies come; all succeed."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        tasks = started(backend.aget(f"k{n}") for n in range(3000))
        await until(lambda: len(raw.peer.owed) == MOST_SENT)
        while not all(task.done() for task in tasks):
            raw.pay()
            await asyncio.sleep(0)
        assert [task.result() for task in tasks] == [value_of(f"k{n}") for n in range(3000)]
        assert raw.most_owed == MOST_SENT
        assert len(raw.peers) == 1

    run_raw(body)


def test_so_many_bytes_are_on_their_way(run_raw: Any, writes: list[bytes]) -> None:
    """Of 12 MB of values a part is handed over, and the next ones as replies come."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        writes.clear()
        tasks = started(backend.aset(f"k{n}", BIG, None) for n in range(100))
        await until(lambda: len(raw.peers) == 2 and raw.peer.owed)
        await turns(20)
        assert sum(map(len, writes)) <= MOST_BYTES + 2 * len(BIG)
        raw.release()
        assert await asyncio.gather(*tasks) == [True] * 100
        assert max(map(len, writes)) <= MOST_BYTES + len(BIG) + 100

    run_raw(body)


def test_so_many_bytes_are_buffered(
    run_raw: Any, writes: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server is too slow to read waits where a cancelled caller can take it back."""
    sizes: list[int] = []
    write = Spied.write

    def measured(self: Spied, data: bytes) -> None:
        write(self, data)
        sizes.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(Spied, "write", measured)

    async def body(raw: Raw, backend: RedisBackend) -> None:
        assert await backend.aset("first", BIG, None)
        assert len(raw.peers) == 2
        raw.peer.transport.pause_reading()
        tasks = []
        async with asyncio.timeout(PATIENCE):
            while not sizes or sizes[-1] <= MOST_BYTES:
                tasks += started(backend.aset("k", BIG, None) for _ in range(5))
                await turns(2)
        for _ in range(5):
            tasks += started(backend.aset("k", BIG, None) for _ in range(5))
            await turns(2)
        assert max(sizes) <= 2 * MOST_BYTES + len(BIG) + 1000
        raw.peer.transport.resume_reading()
        assert await asyncio.gather(*tasks) == [True] * len(tasks)

    run_raw(body)


# Two connections


BULKY: dict[str, Callable[[RedisBackend], Coroutine[Any, Any, Any]]] = {
    "a big value": lambda backend: backend.aset("k", BIG, None),
    "a big value added": lambda backend: backend.aadd("k", BIG, None),
    "big values": lambda backend: backend.aset_many({"k": BIG[:40_000], "l": BIG[:40_000]}, None),
    "a big comparison": lambda backend: backend.acompare_and_set("k", BIG, b"v", None),
    "32 keys": lambda backend: backend.aget_many([f"k{n}" for n in range(32)]),
    "32 keys to delete": lambda backend: backend.adelete_many([f"k{n}" for n in range(32)]),
    "a value known to be big": lambda backend: backend.aget("big"),
}
SMALL: dict[str, Callable[[RedisBackend], Coroutine[Any, Any, Any]]] = {
    "a value": lambda backend: backend.aset("k", b"v" * 60_000, None),
    "31 keys": lambda backend: backend.aget_many([f"k{n}" for n in range(31)]),
    "31 keys to delete": lambda backend: backend.adelete_many([f"k{n}" for n in range(31)]),
}


@pytest.mark.parametrize("name", BULKY)
def test_what_is_big_delays_nothing_small(name: str, run_raw: Any) -> None:
    """It has a connection of its own: while that is busy, small calls come and go."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        assert await backend.aget("big") == BIG
        [small] = raw.peers
        small.commands.clear()
        raw.holds = True
        tasks = started(BULKY[name](backend) for _ in range(5))
        await until(lambda: len(raw.peers) == 2 and raw.peer.owed)
        await turns(10)
        assert small.commands == []
        for n in range(20):
            task = asyncio.ensure_future(backend.aget(f"k{n}"))
            await until(lambda: small.owed)
            small.pay()
            assert await task == value_of(f"k{n}")
        assert not any(task.done() for task in tasks)
        raw.release()
        await asyncio.gather(*tasks)
        assert len(raw.peers) == 2

    run_raw(body)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_small_needs_no_other_connection(name: str, run_raw: Any) -> None:
    """Up to the bounds one connection serves all."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        await SMALL[name](backend)
        assert len(raw.peers) == 1

    run_raw(body)


def test_a_key_is_small_again_when_its_value_is(run_raw: Any) -> None:
    """Where a value was big and is not, its key goes back to the others."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        [small] = raw.peers
        await backend.aset("k", BIG, None)
        await backend.aget("k")  # the server says that it is small
        assert [command[1] for command in raw.peer.commands] == [b"k", b"k"]
        await backend.aget("k")
        assert small.keys == [b"k"]

    run_raw(body)


# Cancelled


def test_cancelled_in_its_tick(run_raw: Any) -> None:
    """A call that is cancelled before it has left is never sent."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        first = asyncio.ensure_future(backend.aget("first"))
        await until(lambda: raw.peer.owed)
        doomed, after = started([backend.aset("doomed", b"v", None), backend.aget("after")])
        await asyncio.sleep(0)
        doomed.cancel()
        raw.release()
        assert await asyncio.gather(first, after) == [value_of("first"), value_of("after")]
        assert doomed.cancelled()
        assert raw.peer.keys == [b"first", b"after"]

    run_raw(body)


def test_cancelled_while_it_waits_for_room(run_raw: Any) -> None:
    """A call that is cancelled while too many are on their way is never sent."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        tasks = started(backend.aget(f"k{n}") for n in range(MOST_SENT))
        doomed = asyncio.ensure_future(backend.aset("doomed", b"v", None))
        last = asyncio.ensure_future(backend.aget("last"))
        await until(lambda: len(raw.peer.owed) == MOST_SENT)
        doomed.cancel()
        raw.release()
        assert await asyncio.gather(*tasks) == [value_of(f"k{n}") for n in range(MOST_SENT)]
        assert await last == value_of("last")
        assert b"doomed" not in raw.peer.keys

    run_raw(body)


def test_cancelled_while_the_connection_is_made(run_raw: Any) -> None:
    """A call that is cancelled before there is a connection is never sent over it."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        doomed, after = started([backend.aset("doomed", b"v", None), backend.aget("after")])
        await asyncio.sleep(0)
        doomed.cancel()
        assert await after == value_of("after")
        assert raw.peer.keys == [b"after"]

    run_raw(body, warm=False)


def test_cancelled_on_its_way(run_raw: Any) -> None:
    """The reply of a call that was cancelled after it left is read and dropped."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        tasks = started(backend.aget(f"k{n}") for n in range(20))
        await until(lambda: len(raw.peer.owed) == 20)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks[::2])
        tasks += started(backend.aget(f"k{n}") for n in range(20, 40))
        raw.release()
        for n, task in enumerate(tasks):
            if n in range(0, 20, 2):
                assert task.cancelled()
            else:
                assert await task == value_of(f"k{n}")
        assert len(raw.peers) == 1

    run_raw(body)


# What is no reply


EXTRA = [
    b"+OK\r\n",
    b"$7\r\nunasked\r\n",
    b"*1\r\n:1\r\n",
    b"no protocol\r\n",
    b"\0\0\r\n",
    b">2\r\n+invalidate\r\n+k\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"%1\r\n+a\r\n+b\r\n",
]


@pytest.fixture(params=["hiredis", "pure Python"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read replies as where hiredis is installed, and as where it is not."""
    assert replies.hiredis is not None
    if request.param != "hiredis":
        monkeypatch.setattr(replies, "hiredis", None)


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("data", EXTRA)
def test_what_nobody_asked_for_ends_the_connection(data: bytes, run_raw: Any) -> None:
    """A server that speaks unasked is not listened to any longer; the next call connects anew."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        first = raw.peer
        first.transport.write(data)
        await until(lambda: first.lost)
        assert await backend.aget("k") == value_of("k")
        assert len(raw.peers) == 2

    run_raw(body)


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("data", EXTRA[3:])
def test_what_is_no_reply_fails_those_who_wait(data: bytes, run_raw: Any) -> None:
    """None of them takes it for an answer: writers are told, readers ask again."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        writers = started(backend.aset(f"k{n}", b"v", None) for n in range(5))
        readers = started(backend.aget(f"k{n}") for n in range(5))
        first = raw.peer
        await until(lambda: len(first.owed) == 10)
        raw.holds = False
        first.transport.write(data + b"$5\r\nwrong\r\n" * 10)
        failed = await asyncio.gather(*writers, return_exceptions=True)
        assert {type(error).__base__ for error in failed} == {BackendUnavailable}
        assert await asyncio.gather(*readers) == [value_of(f"k{n}") for n in range(5)]
        assert first.lost
        assert await backend.aset("k", b"v", None)

    run_raw(body)


# Silence


def test_a_server_that_falls_silent_is_given_up(run_raw: Any, stalls: Stalls) -> None:
    """After the deadline the connection goes too, and the next call makes another."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        silent, started_at = raw.peer, time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await backend.aget("k")
        assert 0.2 <= time.monotonic() - started_at <= 0.4 + stalls.longest
        await until(lambda: silent.lost)
        raw.holds = False
        assert await backend.aget("k") == value_of("k")
        assert len(raw.peers) == 2

    run_raw(body, deadline=0.2)


def test_a_server_that_is_slow_is_not_given_up(
    run_raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While bytes trickle in, the connection stays, though a caller's time is over."""
    ahead = 0.0
    monkeypatch.setattr(async_connection, "monotonic", lambda: time.monotonic() + ahead)

    async def body(raw: Raw, backend: RedisBackend) -> None:
        nonlocal ahead
        raw.holds = True
        late = asyncio.ensure_future(backend.aget("k"))
        await until(lambda: raw.peer.owed)
        reply = answer(raw.peer.owed.pop())
        for byte in reply[:-1]:
            raw.peer.transport.write(bytes([byte]))
            await asyncio.sleep(0.045)
            ahead += PATIENCE / 10
        with pytest.raises(DeadlineExceeded):
            await late
        ahead = 0.0
        after = asyncio.ensure_future(backend.aget("after"))
        raw.peer.transport.write(reply[-1:])
        await until(lambda: raw.peer.owed)
        raw.release()
        assert await after == value_of("after")
        assert len(raw.peers) == 1

    run_raw(body)


def test_a_loop_that_stood_still_fails_no_call(run_raw: Any) -> None:
    """Replies that came while the loop did other things are taken, however late that is."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        tasks = started(backend.aget(f"k{n}") for n in range(50))
        await until(lambda: len(raw.peer.owed) == 50)
        raw.release()
        await turns(1)  # for the server to write; nothing has been read
        time.sleep(0.5)
        assert await asyncio.gather(*tasks) == [value_of(f"k{n}") for n in range(50)]
        assert len(raw.peers) == 1

    run_raw(body, deadline=0.2)


def test_a_loop_that_stood_still_over_much(
    run: Run, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds of more than can be read at a time."""
    monkeypatch.setattr(async_connection, "_PATIENCE", 10.0)  # a busy machine reads slowly

    async def body() -> None:
        backend = RedisBackend(redis_server.url, deadline=0.3)
        keys = [f"k{n}" for n in range(1000)]
        for start in range(0, 1000, 10):
            part = keys[start : start + 10]
            values = {key: key.encode() * 500 for key in part}
            assert await healthy(lambda values=values: backend.aset_many(values, None)) == []
        tasks = started(backend.aget(key) for key in keys)
        await turns(2)
        time.sleep(0.6)
        assert await asyncio.gather(*tasks) == [key.encode() * 500 for key in keys]
        await backend.aclose()

    run(body())


def test_a_busy_loop_keeps_the_deadline(run_raw: Any) -> None:
    """A server that is silent is given up though the loop is late again and again."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        task = asyncio.ensure_future(backend.aget("k"))
        ends = time.monotonic() + 20.0
        while not task.done() and time.monotonic() < ends:
            time.sleep(0.15)
            await turns(2)
        with pytest.raises(DeadlineExceeded):
            await task
        assert time.monotonic() < ends

    run_raw(body, deadline=0.2)


# Contexts, closing


class Request:
    """What a web framework keeps in a context variable."""


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_no_request_is_kept_alive(warm: bool, run_raw: Any) -> None:
    """What a caller had in its context goes with it, whatever the connection still has to do."""
    current: contextvars.ContextVar[Request] = contextvars.ContextVar("current")
    there: list[weakref.ref[Request]] = []

    async def serve(backend: RedisBackend) -> None:
        request = Request()
        there.append(weakref.ref(request))
        current.set(request)
        await asyncio.gather(*[backend.aget(f"k{n}") for n in range(3)])

    async def body(raw: Raw, backend: RedisBackend) -> None:
        await asyncio.ensure_future(serve(backend))
        raw.holds = True
        task = asyncio.ensure_future(backend.aget("k"))
        await until(lambda: raw.peer.owed)
        gc.collect()
        assert there[0]() is None
        raw.release()
        assert await task == value_of("k")

    run_raw(body, warm=warm)


def in_thread(call: Callable[[], object]) -> None:
    """Do something in another thread, while the loop stands still."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


@pytest.mark.parametrize("keys", [["a"], ["a", "b"]], ids=["one", "two"])
def test_closing_lets_those_on_their_way_arrive(keys: list[str], run_raw: Any) -> None:
    """`close` in another thread ends a connection when its last reply has come."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        raw.holds = True
        tasks = started(backend.aget(key) for key in keys)
        await until(lambda: len(raw.peer.owed) == len(keys))
        in_thread(backend.close)
        await turns(10)
        old = raw.peer
        after = asyncio.ensure_future(backend.aget("after"))
        await until(lambda: len(raw.peers) == 2)
        assert not old.lost
        raw.release()
        assert await asyncio.gather(*tasks) == [value_of(key) for key in keys]
        await until(lambda: old.lost)
        assert await after == value_of("after")

    run_raw(body)


def test_closing_while_nobody_is_left(run_raw: Any) -> None:
    """A connection that was closed before it was made, and whose callers have left, ends too."""

    async def body(raw: Raw, backend: RedisBackend) -> None:
        task = asyncio.ensure_future(backend.aget("k"))
        await turns(2)
        in_thread(backend.close)
        await turns(2)
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: all(peer.lost for peer in raw.peers))
        await asyncio.sleep(0.05)
        assert all(peer.lost for peer in raw.peers)
        assert raw.commands == []

    run_raw(body, warm=False)


def test_closing_before_the_loop_ends(run: Run, proxy: Proxy) -> None:
    """A connection that was to be closed after its replies ends with its loop at the latest."""

    async def body() -> None:
        backend = RedisBackend(proxy.url, deadline=PATIENCE)
        assert await backend.aget("k") is None
        proxy.black_hole()
        task = asyncio.ensure_future(backend.aget("k"))
        await turns(3)
        in_thread(backend.close)
        await turns(3)
        task.cancel()
        await asyncio.wait({task})

    run(body())


def test_closing_again_and_again_while_many_ask(run: Run, redis_server: RedisServer) -> None:
    """A hundred tasks have right values or typed errors while another thread closes the store."""
    backend = RedisBackend(redis_server.url)
    ended = threading.Event()
    right = 0

    def close() -> None:
        while not ended.wait(0.002):
            backend.close()

    async def ask(n: int) -> None:
        nonlocal right
        for turn in range(30):
            key, value = f"k{n}", b"%d of %d" % (turn, n)
            with suppress(BackendUnavailable):
                assert await backend.aset(key, value, 60)
                assert await backend.aget(key) == value
                right += 1

    async def body() -> None:
        await asyncio.gather(*[ask(n) for n in range(100)])
        ended.set()
        await backend.aclose()

    thread = threading.Thread(target=close)
    thread.start()
    try:
        run(body())
    finally:
        ended.set()
        thread.join()
    assert right > 1000
