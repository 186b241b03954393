"""memcached: what the tasks of an event loop read in one tick is one `get`."""

import asyncio
import time
from typing import Any

import pytest

from tests.chaos import MemcachedServer
from tests.chaos.leaks import Watch, descriptors
from tests.memcached_text import GREETING, CommandReader, answer
from tests.network_kinds import MEMCACHED
from tests.network_loops import Run
from tests.network_loops import run as run  # a fixture
from tests.network_raw import BIG, PATIENCE, Raw, Spoken, started, turns, until, value_of
from tests.network_raw import run_raw as run_raw  # a fixture
from tests.network_raw import writes as writes  # a fixture
from twofold.backends.memcached import MemcachedBackend, commands, connector
from twofold.backends.memcached.connector import DirectConnector
from twofold.backends.network import ConnectionLost
from twofold.backends.network.sockets import seconds_left
from twofold.errors import BackendUnavailable, DeadlineExceeded


@pytest.fixture
def spoken() -> Spoken:
    """Return how memcached talks."""
    return Spoken(MEMCACHED, DirectConnector, CommandReader, answer, GREETING)


async def busy(raw: Raw, backend: MemcachedBackend) -> "asyncio.Task[Any]":
    """Have a reply awaited, so that what is asked next leaves at the end of its tick."""
    raw.holds = True
    [first] = started([backend.aget("first")])
    await until(lambda: raw.peer.owed)
    raw.peer.commands.clear()
    return first


def test_what_is_read_in_one_tick_is_one_get(run_raw: Any, writes: list[bytes]) -> None:
    """It has each key once and stands where the first read stood; all have their own replies."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        backend._router.servers()[0].connector.is_proxied = False
        first = await busy(raw, backend)
        writes.clear()
        tasks = started(
            [
                backend.aset("a", b"v", None),
                backend.aget("k0"),
                backend.aadd("b", b"v", None),
                backend.aget("absent"),
                backend.aget_many(["k2", "absent", "k0", "k3"]),
                backend.adelete("absent"),
                backend.aget("k1"),
                backend.aincr("n", 1),
                backend.aget("k0"),
            ]
        )
        await until(lambda: writes)
        await turns(3)
        assert len(writes) == 1
        await until(lambda: len(raw.peer.owed) == 8)
        raw.release()
        assert await first == value_of("first")
        assert await asyncio.gather(*tasks) == [
            True,
            value_of("k0"),
            False,
            None,
            {"k2": value_of("k2"), "k0": value_of("k0"), "k3": value_of("k3")},
            False,
            value_of("k1"),
            11,
            value_of("k0"),
        ]
        assert raw.peer.commands == [
            [b"set", b"a", b"0", b"0", b"1", b"v"],
            [b"get", b"k0", b"absent", b"k2", b"k3", b"k1"],
            [b"add", b"b", b"0", b"0", b"1", b"v"],
            [b"mg", b"b", b"f", b"c", b"t"],
            [b"mg", b"absent", b"f", b"c", b"t"],
            [b"delete", b"absent"],
            [b"incr", b"n", b"1"],
        ]
        assert len(raw.peers) == 1

    run_raw(body)


def test_who_left_before_its_tick_ended_is_not_asked_for(run_raw: Any) -> None:
    """The one `get` has the keys of those who still wait; if nobody does, there is none."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        first = await busy(raw, backend)
        tasks = started(backend.aget(f"k{n}") for n in range(6))
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await until(lambda: len(raw.peer.owed) == 2)
        nobody = started(backend.aget(f"k{n}") for n in range(6, 9))
        await asyncio.sleep(0)
        for task in nobody:
            task.cancel()
        await asyncio.wait(nobody)
        raw.release()
        assert await first == value_of("first")
        assert await asyncio.gather(*tasks[1::2]) == [value_of(f"k{n}") for n in (1, 3, 5)]
        assert raw.peer.commands == [[b"get", b"k1", b"k3", b"k5"]]
        assert len(raw.peers) == 1

    run_raw(body)


@pytest.mark.parametrize("leaving", [slice(0, 5), slice(1, 4), slice(0, 4), slice(4, 5)])
def test_who_leaves_on_the_way_harms_nobody(leaving: slice, run_raw: Any) -> None:
    """The values of those who left are dropped, and what is asked next has its own reply."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        await busy(raw, backend)
        tasks = started(backend.aget(f"k{n}") for n in range(5))
        await until(lambda: len(raw.peer.owed) == 2)
        gone, stay = tasks[leaving], [each for each in tasks if each not in tasks[leaving]]
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        after = started([backend.aget("after"), backend.aincr("n", 1), backend.aget("absent")])
        await until(lambda: len(raw.peer.owed) == 4)
        raw.release()
        assert await asyncio.gather(*after) == [value_of("after"), 11, None]
        right = [value_of(f"k{tasks.index(each)}") for each in stay]
        assert await asyncio.gather(*stay) == right
        assert len(raw.peers) == 1

    run_raw(body)


def test_each_has_its_own_deadline(run_raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who share a `get` and asked at different times give up at different times."""
    connected, ahead, half = asyncio.Event(), [0.0], PATIENCE / 2
    aconnect = DirectConnector.aconnect

    async def aconnect_late(self: DirectConnector, seconds: float) -> Any:
        await connected.wait()
        return await aconnect(self, seconds)

    async def refused(backend: MemcachedBackend, key: str) -> None:
        with pytest.raises(DeadlineExceeded):
            await backend.aget(key)

    monkeypatch.setattr(DirectConnector, "aconnect", aconnect_late)
    for room in ("client", "async_connection"):
        clock = f"twofold.backends.network.{room}.monotonic"
        monkeypatch.setattr(clock, lambda: time.monotonic() + ahead[0])

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        raw.holds = True
        [first] = started([refused(backend, "k0")])
        await turns(3)
        ahead[0] += half
        [second] = started([refused(backend, "k1")])
        await turns(3)
        connected.set()
        await until(lambda: raw.peers and raw.peer.owed)
        assert raw.peer.commands == [[b"get", b"k0", b"k1"]]
        ahead[0] += half
        await until(first.done)
        assert not second.done()
        raw.peer.transport.write(answer(raw.peer.owed[0])[:1])  # it is slow, and not silent
        ahead[0] += half
        await until(second.done)
        await asyncio.gather(first, second)

    run_raw(body, warm=False)


def test_each_has_its_own_error(run_raw: Any) -> None:
    """Of those who share a lost `get` none is given an exception that another one has."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        await backend.aset("k", b"v", None)

        async def lose() -> None:
            while True:
                await until(lambda: any(peer.owed for peer in raw.peers if not peer.lost))
                raw.peer.transport.abort()
                raw.peer.owed.clear()

        raw.holds = True
        losing = asyncio.ensure_future(lose())
        calls = [backend.aget(f"k{n}") for n in range(20)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        losing.cancel()
        assert {type(error) for error in errors} == {ConnectionLost}
        assert len({id(error) for error in errors}) == 20
        assert max(len(command) - 1 for command in raw.commands) == 20  # when they ask again

    run_raw(body)


def test_each_is_told_of_a_refusal(run_raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses a shared `get` refuses it to each, by an exception of its own."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        await busy(raw, backend)
        tasks = started(backend.aget(f"k{n}") for n in range(5))
        await until(lambda: len(raw.peer.owed) == 2)
        raw.peer.owed.clear()
        refusal = b"SERVER_ERROR out of memory writing get response\r\n"
        raw.peer.transport.write(answer([b"get", b"first"]) + answer([b"get", b"k0"])[:-5])
        raw.peer.transport.write(refusal)
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert all("out of memory" in str(error) for error in errors)
        assert {isinstance(error, BackendUnavailable) for error in errors} == {True}
        assert len({id(error) for error in errors}) == 5
        raw.release()
        assert await backend.aget("k") == value_of("k")
        assert len(raw.peers) == 1

    run_raw(body)


def test_fifteen_hundred_at_once(run: Run, memcached_server: MemcachedServer) -> None:
    """So many reads of long keys and short ones are a few commands, and all are right."""
    keys = [f"k{n}" for n in range(1400)] + [f"{n}".ljust(250, "x") for n in range(1400, 1500)]

    async def body() -> None:
        backend = MemcachedBackend(memcached_server.address, deadline=10.0)
        assert await backend.aset_many({key: key.encode() for key in keys}, None) == []
        before = memcached_server.stats()
        tasks = started(backend.aget(key) for key in [*keys, "absent"])
        found = await asyncio.gather(*tasks)
        assert found == [*(key.encode() for key in keys), None]
        after = memcached_server.stats()
        assert int(after["get_hits"]) - int(before["get_hits"]) == 1500
        made = int(after["total_connections"]) - int(before["total_connections"])
        assert made <= 2  # the one for what is small, and the one that asks for this
        await backend.aclose()

    run(body())


def test_of_fifteen_hundred_so_many_are_one(run_raw: Any) -> None:
    """A `get` has at most 1,024 keys, and the others follow in one more."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        first = await busy(raw, backend)
        tasks = started(backend.aget(f"k{n}") for n in range(1500))
        await until(lambda: sum(map(len, raw.peer.commands)) >= 1024)
        raw.release()
        assert await asyncio.gather(*tasks) == [value_of(f"k{n}") for n in range(1500)]
        assert await first == value_of("first")
        assert [len(command) - 1 for command in raw.peer.commands] == [1023, 477]

    run_raw(body)


def test_what_is_known_to_be_big_is_not_joined(run_raw: Any) -> None:
    """It has a connection of its own, and what is small does not wait for it."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        assert await backend.aget("big") == BIG
        [small] = raw.peers
        small.commands.clear()
        raw.holds = True
        tasks = started(backend.aget(key) for key in ("k0", "big", "k1", "big", "k2"))
        await until(lambda: len(raw.peers) == 2 and raw.peer.owed and len(small.owed) == 2)
        small.pay()
        small_ones = [tasks[0], tasks[2], tasks[4]]
        assert await asyncio.gather(*small_ones) == [value_of(f"k{n}") for n in range(3)]
        assert not tasks[1].done()
        raw.release()
        assert await tasks[1] == await tasks[3] == BIG
        assert small.commands == [[b"get", b"k0"], [b"get", b"k1", b"k2"]]
        assert raw.peer.commands == [[b"get", b"big"]]

    run_raw(body)


def test_what_has_several_replies_is_not_joined(run_raw: Any) -> None:
    """Commands that are one request keep their own replies, in their order, beside the reads."""

    async def body(raw: Raw, backend: MemcachedBackend) -> None:
        await busy(raw, backend)
        several = [commands.get("k0"), commands.get("absent"), commands.get("k1")]
        with_unique = [commands.gets("k2"), commands.look("k2")]
        tasks = started(
            [
                backend.aget("k3"),
                backend._client.aexecute_many(several),
                backend._client.aexecute_many(with_unique),
                backend.aget("k4"),
            ]
        )
        await until(lambda: len(raw.peer.owed) == 7)
        raw.release()
        assert await asyncio.gather(*tasks) == [
            value_of("k3"),
            [{"k0": value_of("k0")}, {}, {"k1": value_of("k1")}],
            [{"k2": (value_of("k2"), 7)}, b"HD f0 c7 t-1"],
            value_of("k4"),
        ]
        assert raw.peer.commands == [
            [b"get", b"k3", b"k4"],
            [b"get", b"k0"],
            [b"get", b"absent"],
            [b"get", b"k1"],
            [b"gets", b"k2"],
            [b"mg", b"k2", b"f", b"c", b"t"],
        ]

    run_raw(body)


def test_servers_are_asked_side_by_side_without_tasks(
    memcached_servers: list[MemcachedServer], run: Run
) -> None:
    """A task factory that fails harms no call on connections that there are, and leaves nothing."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("unexpected keyword argument")

    async def body() -> None:
        backend = MemcachedBackend([each.address for each in memcached_servers])
        items = {f"k{n}": b"value" for n in range(30)}
        assert await backend.aset_many(items, None) == []
        asyncio.get_running_loop().set_task_factory(refuse)
        assert await backend.aget_many(list(items)) == items
        assert await backend.adelete_many(list(items)) == len(items)
        asyncio.get_running_loop().set_task_factory(None)
        await backend.aclose()

    run(body())


def test_time_that_ends_between_two_steps_of_a_connect(
    memcached_server: MemcachedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was made a moment too late is closed."""

    def late(ends: float) -> float:
        asked.append(ends)
        if len(asked) == 2:
            raise TimeoutError
        return seconds_left(ends)

    async def body() -> None:
        backend = MemcachedBackend(memcached_server.address, deadline=5.0)
        assert await backend.aget("k") is None  # what a process opens once is open
        await backend.aclose()
        watch = Watch(descriptors)
        asked.clear()
        assert await backend.aget("k") is None  # over another one
        await backend.aclose()
        await watch.acheck()

    asked: list[float] = []
    monkeypatch.setattr(connector, "seconds_left", late)
    run(body())
    assert len(asked) >= 2
