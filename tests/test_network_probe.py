"""An open circuit breaker: no caller asks the server, which is pinged in the background."""

import asyncio
import gc
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import pytest

from tests.chaos import (
    Proxy,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    Server,
    eventually,
)
from tests.network_kinds import Kind, strict
from tests.network_kinds import kind as kind  # a fixture
from tests.network_kinds import server as server  # a fixture
from twofold.backends.redis import RedisBackend
from twofold.errors import BackendUnavailable
from twofold.testing import FACES, Face

MakeProxy: TypeAlias = Callable[[Server], Proxy]

REFUSED = r" is not asked: circuit breaker open until it answers a ping; last error: "


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


class Outage:
    """A server behind a proxy, and a backend that is cut off from it."""

    def __init__(self, kind: Kind, proxy: Proxy) -> None:
        self.proxy = proxy
        self.backend: Any = kind.backend(proxy)

    @property
    def breaker(self) -> str:
        """The state of the server's breaker."""
        [state] = self.backend.servers()
        return str(state.breaker)

    def open(self) -> None:
        """Open the breaker by one caller who is refused."""
        self.proxy.refuse()
        self.proxy.kill_all()
        with suppress(BackendUnavailable):
            self.backend.get("k")
        assert self.breaker == "open"

    def hang(self) -> None:
        """Have pings connect and hear nothing, each for a second."""
        self.proxy.black_hole()
        self.proxy.refuse(False)
        self.await_pings(1)

    def await_pings(self, count: int) -> None:
        """Wait for as many further pings."""
        since = self.proxy.accepted
        eventually(lambda: self.proxy.accepted >= since + count, "the server is pinged")

    def await_closed(self) -> None:
        """Wait until a ping was answered."""
        eventually(lambda: self.breaker == "closed", "the breaker closes")


@pytest.fixture
def outage(kind: Kind, server: Server, proxied: MakeProxy) -> Iterator[Outage]:
    made = Outage(kind, proxied(server))
    yield made
    if made.backend:
        made.backend.close()


async def pause(face: Face) -> None:
    """Let a moment pass, in a loop by suspending."""
    if face.is_async:
        await asyncio.sleep(0.001)
    else:
        time.sleep(0.001)


def pingers() -> list[str]:
    """Return the threads that ping."""
    return [each.name for each in threading.enumerate() if each.name == "twofold-pings"]


def fail(backend: Any) -> None:
    """Open the breakers of all servers of a backend."""
    for each in backend._client._topology.servers():
        each.fail(OSError("down"), refused=True)


def all_closed(backend: Any) -> bool:
    return {each.breaker for each in backend.servers()} == {"closed"}


def test_no_caller_asks(outage: Outage, face: Face) -> None:
    """Pings hang, and meanwhile nothing that a caller does is more than a refusal."""
    outage.open()
    outage.hang()
    store = face.view(outage.backend)

    async def refused() -> None:
        with pytest.raises(BackendUnavailable, match=REFUSED):
            await store.get("k")

    async def body() -> None:
        for _ in range(10):
            await face.together([refused] * 20)

    face.run(body())
    outage.await_pings(2)  # others follow, though those before them hang, and nobody calls


def test_a_server_that_is_back_is_used(outage: Outage, face: Face) -> None:
    """The breaker closes without a call, and the first caller is served."""
    outage.open()
    outage.proxy.heal()
    outage.await_closed()
    store = face.view(outage.backend)

    async def body() -> None:
        assert await store.set("k", b"v", 60)

    face.run(body())
    assert (outage.backend.servers()[0].failures, outage.backend.servers()[0].error) == (0, "")
    eventually(lambda: not pingers(), "nobody pings any more")


def test_a_caller_never_meets_a_connection_from_before(outage: Outage, face: Face) -> None:
    """What was open before an outage may be dead: each caller after it has a new connection."""
    store = face.view(outage.backend)

    async def body() -> None:
        await store.get("k")
        outage.proxy.black_hole()  # for the connection of before; the next has a way round
        fail(outage.backend)
        outage.proxy.black_hole(False)
        outage.await_closed()
        accepted = outage.proxy.accepted
        await store.get("k")
        assert outage.proxy.accepted == accepted + 1

    face.run(body())


def test_idle_connections_make_room(outage: Outage, face: Face) -> None:
    """Who is refused lets go of his connections, or a full server could answer no ping."""
    store = face.view(outage.backend)

    async def body() -> None:
        await store.get("k")
        outage.open()
        outage.proxy.heal()
        outage.await_closed()
        await store.get("k")
        outage.proxy.refuse()  # to pings; what is open stays open
        fail(outage.backend)
        assert outage.proxy.connections == 1
        with pytest.raises(BackendUnavailable, match=REFUSED):
            await store.get("k")
        while outage.proxy.connections:
            await pause(face)

    face.run(body())


def test_one_thread_pings_all(kind: Kind, server: Server, proxied: MakeProxy) -> None:
    """However many are down, there is one thread; a server that hangs holds up no other's ping."""
    outages = [Outage(kind, proxied(server)) for _ in range(6)]
    assert pingers() == []
    for each in outages:
        each.open()
    assert len(pingers()) == 1
    for each in outages[1:]:
        each.hang()
    outages[0].proxy.heal()
    outages[0].await_closed()
    assert {each.breaker for each in outages[1:]} == {"open"}
    assert len(pingers()) == 1
    for each in outages:
        each.backend.close()
    eventually(lambda: not pingers(), "the thread ends")


def test_no_thread_outlives_its_backend(outage: Outage) -> None:
    """Neither one that was closed, which pings again when it is used, nor one that was dropped."""
    outage.open()
    outage.hang()
    outage.backend.close()
    eventually(lambda: not pingers(), "the thread ends")
    assert outage.breaker == "open"
    with pytest.raises(BackendUnavailable, match=REFUSED):
        outage.backend.get("k")
    outage.await_pings(1)
    outage.backend = None
    gc.collect()
    eventually(lambda: not pingers(), "the thread ends")


def test_a_forked_child_pings_by_itself(outage: Outage) -> None:
    """It has no thread, refuses its first caller, and pings until the server is back."""
    outage.open()
    healed, heal = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            assert pingers() == []
            with pytest.raises(BackendUnavailable, match=REFUSED):
                outage.backend.get("k")
            assert len(pingers()) == 1
            os.read(healed, 1)
            eventually(lambda: outage.breaker == "closed", "the breaker closes in the child")
            outage.backend.get("k")
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert len(pingers()) == 1
    outage.proxy.heal()
    outage.await_closed()
    os.write(heal, b"1")
    assert os.waitpid(child, 0)[1] == 0
    os.close(healed)
    os.close(heal)


ENDING = """
import sys, time
from contextlib import suppress
from twofold.backends.{name} import {backend} as Backend
from twofold.errors import BackendUnavailable

store = Backend(sys.argv[1], deadline=5.0)
[server] = store._client._topology.servers()
server.fail(OSError("down"), refused=True)
with suppress(BackendUnavailable):
    store.get("k")
sys.stdin.readline()
"""


def test_a_program_ends_amid_a_ping(outage: Outage, kind: Kind) -> None:
    """It does not wait for the answer, and leaves nothing open that Python would tell of."""
    outage.proxy.black_hole()
    code = ENDING.format(name=kind.name, backend=kind.make.__name__)
    command = strict(code, kind.url(outage.proxy))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        outage.await_pings(1)
        _, errors = program.communicate(b"\n", timeout=30)
    assert (program.returncode, errors) == (0, b"")


# What a server answers


def test_nodes_of_a_cluster_are_well(redis_cluster: RedisCluster) -> None:
    """Each is pinged itself; that another node has the key is an answer as good as any."""
    backend = RedisBackend(redis_cluster.urls, cluster=True)
    backend.get("k")
    assert len(backend.servers()) == 3
    fail(backend)
    eventually(lambda: all_closed(backend), "all breakers close")
    backend.close()


def test_a_primary_behind_sentinels_is_well(redis_sentinels: RedisSentinels) -> None:
    """Pings go where the sentinels say that it is."""
    backend = RedisBackend(redis_sentinels.sentinel_urls, sentinel=redis_sentinels.service)
    fail(backend)
    eventually(lambda: all_closed(backend), "the breaker closes")
    backend.close()


def test_a_user_with_few_rights(own_redis: RedisServer) -> None:
    """A refusal of the ping shows a server that answers."""
    own_redis.command("ACL", "SETUSER", "app", "on", ">secret", "~app:*", "+set")
    backend = RedisBackend(f"redis://app:secret@{own_redis.address}")
    fail(backend)
    eventually(lambda: all_closed(backend), "the breaker closes")
    assert backend.set("app:k", b"v", None)
    backend.close()


def test_a_server_that_is_busy(own_redis: RedisServer, face: Face) -> None:
    """While a script holds it up it is not asked; then it is, without an error."""
    own_redis.command("CONFIG", "SET", "lua-time-limit", "1")
    backend = RedisBackend(own_redis.url)
    store = face.view(backend)
    with socket.create_connection((own_redis.host, own_redis.port)) as script:
        script.sendall(b"EVAL 'while true do end' 0\r\n")

        async def body() -> None:
            with suppress(BackendUnavailable):
                while True:
                    await store.get("k")
            with pytest.raises(BackendUnavailable, match=REFUSED + "BUSY"):
                await store.get("k")
            since = backend.servers()[0].failures
            eventually(lambda: backend.servers()[0].failures > since + 1, "pings are refused")
            own_redis.command("SCRIPT", "KILL")
            eventually(lambda: all_closed(backend), "the breaker closes")
            assert await store.get("k") is None

        face.run(body())
    backend.close()
