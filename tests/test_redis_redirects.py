"""Redis whose servers have changed places: who is asked next, and what is done only once."""

import asyncio
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import pytest

from tests.chaos import (
    ClusterNode,
    RedisCluster,
    RedisServer,
    Sentinel,
    SlotMove,
    Stalls,
    eventually,
)
from tests.chaos.fixtures import MakeProxy
from tests.chaos.processes import HOST, free_port
from tests.chaos.sentinel import SERVICE
from twofold.backends.redis import RedisBackend, replies
from twofold.errors import BackendUnavailable, MissingKey
from twofold.testing import FACES

DEADLINE = 2.0
GRACE = 0.1  # seconds after the deadline in which a call must have ended
PATIENCE = 10.0  # seconds
WRITERS = 200
FEW = 20  # connections at most that all writers together may need
KEYS = [f"p:{n}" for n in range(30)]


@asynccontextmanager
async def stores(location: str | list[str], **options: Any) -> AsyncIterator[list[Any]]:
    """Make a backend for each face, and return their views."""
    backends = [RedisBackend(location, deadline=DEADLINE, **options) for _ in FACES]
    try:
        yield [face.view(backend) for face, backend in zip(FACES, backends, strict=True)]
    finally:
        for backend in backends:
            await backend.aclose()


async def repeat(call: Callable[[], Awaitable[Any]], until: Callable[[], object]) -> None:
    """Call again and again until something is true."""
    ends = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < ends
        await call()


def demote(server: RedisServer) -> None:
    """Make a server a replica, which keeps its data and its clients, and gets nothing new."""
    server.command("REPLICAOF", HOST, free_port())


def connections(server: RedisServer) -> int:
    """Return how many connections to a server this process has open."""
    mine = psutil.Process().net_connections("tcp")
    return sum(1 for each in mine if each.raddr and each.raddr.port == server.port)


def received(server: RedisServer) -> int:
    """Return how many connections a server has accepted, whoever made them."""
    return int(server.info("stats")["total_connections_received"])


# A primary that became a replica


class Service(NamedTuple):
    """A service whose sentinel names the first server, and after `switch()` the second."""

    sentinel: Sentinel
    first: RedisServer
    second: RedisServer

    @property
    def location(self) -> str:
        return f"redis://{self.sentinel.address}"

    def switch(self) -> None:
        """Have the second server be the primary; what is connected to the first one stays so."""
        demote(self.first)
        self.sentinel.command("SENTINEL", "REMOVE", SERVICE)
        self.sentinel.command("SENTINEL", "MONITOR", SERVICE, HOST, self.second.port, 2)


@pytest.fixture
def service(_guard: None, tmp_path: Path) -> Iterator[Service]:
    """Return a sentinel and two servers."""
    with (
        RedisServer(tmp_path / "first") as first,
        RedisServer(tmp_path / "second") as second,
        Sentinel(tmp_path / "sentinel", first) as sentinel,
    ):
        yield Service(sentinel, first, second)


async def test_many_writers_at_a_read_only_server(
    own_redis: RedisServer, proxied: MakeProxy, stalls: Stalls
) -> None:
    """All tasks that a demoted primary refuses share a few new connections, and end in time."""
    proxy = proxied(own_redis)
    async with stores(proxy.url) as [_, store]:
        await store.get("warm")
        demote(own_redis)
        before, started = proxy.accepted, time.monotonic()
        sets = [store.set(f"k{n}", b"v", 60) for n in range(WRITERS)]
        outcomes = await asyncio.gather(*sets, return_exceptions=True)
        assert time.monotonic() - started < DEADLINE + GRACE + stalls.longest
        assert all(isinstance(each, BackendUnavailable) for each in outcomes)
        assert all("READONLY" in str(each) for each in outcomes)
        assert proxy.accepted - before <= FEW


async def test_many_writers_find_the_new_primary(service: Service) -> None:
    """All tasks whose primary was demoted write to the new one, over a few connections."""
    async with stores(service.location, sentinel=SERVICE) as views:
        for store in views:
            await store.get("warm")
        service.switch()
        before = received(service.first), received(service.second)
        blocking, store = views
        assert await blocking.set("k", b"v", 60)
        keys = [f"k{n}" for n in range(WRITERS)]
        assert all(await asyncio.gather(*[store.set(key, b"v", 60) for key in keys]))
        assert service.second.command("DBSIZE") == 1 + WRITERS
        assert received(service.first) - before[0] <= FEW
        assert received(service.second) - before[1] <= FEW


@pytest.mark.parametrize("prefix", ["p:", ""], ids=["prefix", "everything"])
async def test_clearing_a_read_only_server(service: Service, prefix: str) -> None:
    """Where a demoted primary refuses to be cleared, the next attempt clears the new one."""
    async with stores(service.location, sentinel=SERVICE) as views:
        for store in views:
            assert await store.set("p:old", b"v", 60)
            await store.clear("nothing:")  # over the connection that will be refused
        service.switch()
        for store in views:
            service.second.command("SET", "p:new", "v")
            with pytest.raises(BackendUnavailable, match="READONLY"):
                await store.clear(prefix)
            await store.clear(prefix)
            assert service.second.command("DBSIZE") == 0
        assert service.first.command("GET", "p:old") == b"v"


# Sentinels that know no better


@pytest.fixture(params=["dead", "replica"])
def deposed(
    _guard: None, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Sentinel, RedisServer]]:
    """Return a sentinel, and the server that it wrongly calls the primary."""
    with RedisServer(tmp_path / "old") as old, Sentinel(tmp_path / "misled", old) as misled:
        old.command("SET", "k", "old")
        if request.param == "dead":
            old.kill()
        else:
            demote(old)
        yield misled, old


async def test_a_sentinel_that_names_the_wrong_server(
    deposed: tuple[Sentinel, RedisServer], own_redis: RedisServer, tmp_path: Path
) -> None:
    """Where the first sentinel names a server that is dead or a replica, the next one is asked."""
    misled, _ = deposed
    own_redis.command("SET", "k", "new")
    with Sentinel(tmp_path / "informed", own_redis) as informed:
        urls = [f"redis://{each.address}" for each in (misled, informed)]
        async with stores(urls, sentinel=SERVICE) as views:
            for store in views:
                assert await store.get("k") == b"new"
                assert await store.set("l", b"v", 60)
                assert await store.delete("l")


async def test_only_sentinels_that_name_the_wrong_server(
    deposed: tuple[Sentinel, RedisServer], stalls: Stalls
) -> None:
    """A server that the sentinels wrongly call the primary is not read from; callers are told."""
    misled, old = deposed
    async with stores(f"redis://{misled.address}", sentinel=SERVICE) as views:
        for store in views:
            started = time.monotonic()
            with pytest.raises(BackendUnavailable, match="sentinels"):
                await store.get("k")
            assert time.monotonic() - started < DEADLINE + GRACE + stalls.longest
    assert connections(old) == 0


# Replicas that are not ready


class Unwell(socketserver.ThreadingTCPServer):
    """A server that has the same answer to every command."""

    daemon_threads = True  # they end as their clients hang up

    def __init__(self, answer: bytes) -> None:
        super().__init__((HOST, 0), _Talk)
        self.answer = answer
        self.asked = 0
        self.url = f"redis://{HOST}:{self.server_address[1]}"
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._accepting.join()
        self.server_close()


class _Talk(socketserver.BaseRequestHandler):
    server: Unwell

    def handle(self) -> None:
        reader = replies.PythonReader()
        with suppress(OSError):
            while data := self.request.recv(65536):
                reader.feed(data)
                while reader.gets() is not replies.INCOMPLETE:
                    self.server.asked += 1
                    self.request.sendall(self.server.answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ],
    ids=["loading", "masterdown"],
)
async def test_readers_beside_a_replica_that_is_not_ready(
    redis_server: RedisServer, answer: bytes
) -> None:
    """Whatever is read while a replica calls itself not ready comes from the healthy primary."""
    with Unwell(answer) as replica:
        async with stores([redis_server.url, replica.url]) as views:
            assert await views[0].set("k", b"v", 60)
            for store in views:
                probed = replica.asked + 4

                async def read(store: Any = store) -> None:
                    assert await store.get("k") == b"v"
                    assert await store.get_many(["k", "miss"]) == {"k": b"v"}
                    assert await store.has("k")
                    assert await store.ttl("k") > 0

                await repeat(read, lambda: replica.asked >= probed)  # noqa: B023
                primary, sick = store.target.servers()
                assert (primary.breaker, primary.failures) == ("closed", 0)
                assert sick.breaker != "closed"


async def test_a_replica_that_is_ready_again(own_redis: RedisServer, tmp_path: Path) -> None:
    """A real replica without its primary fails no reader, and takes reads again once in sync."""
    own_redis.command("SET", "k", "v")
    with RedisServer(tmp_path / "replica", "replica-serve-stale-data no") as replica:
        demote(replica)
        async with stores([own_redis.url, replica.url]) as views:
            for store in views:

                async def read(store: Any = store) -> None:
                    assert await store.get("k") == b"v"

                def breaker(store: Any = store) -> str:
                    return str(store.target.servers()[1].breaker)

                await repeat(read, lambda: breaker() != "closed")
                replica.command("REPLICAOF", own_redis.host, own_redis.port)
                await repeat(read, lambda: breaker() == "closed")
                demote(replica)


# Clusters whose slots have moved


def settled(cluster: RedisCluster) -> bool:
    """Whether all nodes know all others by their names."""
    return all(b"handshake" not in node.command("CLUSTER", "NODES") for node in cluster.nodes)


@pytest.fixture
def joined(_guard: None, tmp_path: Path) -> Iterator[tuple[RedisCluster, ClusterNode]]:
    """Return a cluster of two, and a third node of it that has no slot yet."""
    line = "cluster-allow-replica-migration no"  # which makes a node without slots a replica
    with (
        ClusterNode(tmp_path / "new", line) as new,
        RedisCluster(tmp_path, line, primaries=2) as cluster,
    ):
        cluster.nodes[0].command("CLUSTER", "MEET", new.host, new.port)
        cluster.nodes.append(new)
        eventually(lambda: settled(cluster), f"{new} has joined {cluster}")
        cluster.await_agreement()
        yield cluster, new


async def test_an_empty_map_is_not_believed(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    """Whichever server is asked first, one that knows of no slots is no guide to a cluster."""
    with ClusterNode(tmp_path) as alone:
        for _ in range(10):
            async with stores([alone.url, redis_cluster.urls[0]], cluster=True) as views:
                for store in views:
                    assert await store.set("k", b"v", 60)
                    assert await store.get("k") == b"v"
        async with stores(alone.url, cluster=True) as views:
            for store in views:
                with pytest.raises(BackendUnavailable, match="tells the slots"):
                    await store.get("k")


async def test_a_node_that_left(joined: tuple[RedisCluster, ClusterNode]) -> None:
    """A node that has left is asked no more, its connections are closed, and nothing fails."""
    cluster, left = joined
    key = KEYS[0]
    slot = cluster.slot_of(key)
    home = cluster.node_of(slot)
    urls = [node.url for node in cluster.nodes if node is not left]
    cluster.move_slot(slot, left)
    async with stores(urls, cluster=True) as views:
        for store in views:
            assert await store.set(key, b"v", 60)
        assert connections(left) == len(views)
        cluster.move_slot(slot, home)
        for store in views:
            assert await store.get(key) == b"v"
        _leave(cluster, left)
        for store in views:
            for _ in range(20):
                assert await store.get(key) == b"v"
                await store.clear("nothing:")
        await repeat(lambda: views[1].get(key), lambda: not connections(left))
        asked = _looks(left)
        for store in views:
            assert {each.name for each in store.target.servers()} == _names(cluster)
            await store.clear("nothing:")
        assert _looks(left) == asked
        left.kill()
        for store in views:
            assert {each.name for each in await store.examine()} == _names(cluster)


def _leave(cluster: RedisCluster, node: ClusterNode) -> None:
    """Take a node without slots out of its cluster: it is alone then, and knows of no slots."""
    cluster.nodes.remove(node)
    for other in cluster.nodes:
        other.command("CLUSTER", "FORGET", node.id)
    node.command("CLUSTER", "RESET")
    cluster.await_agreement()
    assert node.command("CLUSTER", "SLOTS") == []


def _names(cluster: RedisCluster) -> set[str]:
    return {node.address for node in cluster.nodes}


def _looks(node: ClusterNode) -> str | None:
    """Return how often a node was asked for the slots, and more that changes with it."""
    return node.info("commandstats").get("cmdstat_cluster|slots")


async def test_scripts_amid_a_move(redis_cluster: RedisCluster) -> None:
    """On keys that a slot's move has carried off, what is a script works, and once only."""
    keys = [f"{{moving}}:{face.name}" for face in FACES]
    slot = redis_cluster.slot_of(keys[0])
    source = redis_cluster.node_of(slot)
    target = next(node for node in redis_cluster.nodes if node is not source)
    move = SlotMove(redis_cluster, slot, target)
    async with stores(redis_cluster.urls, cluster=True) as views:
        for store, key in zip(views, keys, strict=True):
            assert await store.set(key, b"1", 60)
        move.begin()
        move.carry()
        try:
            for store, key in zip(views, keys, strict=True):
                await _check_scripts(store, key, target)
        finally:
            move.end()
        for store, key in zip(views, keys, strict=True):
            assert await store.set(key, b"1", 60)
            await _check_scripts(store, key, target)


async def _check_scripts(store: Any, key: str, node: ClusterNode) -> None:
    """Add and compare, each script first unknown to the server and then known; begin with b"1"."""
    node.command("SCRIPT", "FLUSH")
    assert await store.incr(key, 1) == 2
    assert await store.incr(key, 1) == 3
    assert await store.compare_and_set(key, b"3", b"4", 60)
    assert not await store.compare_and_set(key, b"3", b"5", 60)
    assert await store.get(key) == b"4"
    assert not await store.compare_and_delete(key, b"3")
    assert await store.compare_and_delete(key, b"4")
    assert not await store.compare_and_delete(key, b"4")
    node.command("SCRIPT", "FLUSH")
    with pytest.raises(MissingKey):
        await store.incr(key, 1)


async def _check_clear(cluster: RedisCluster, store: Any, prefix: str, key: str) -> None:
    """Fill a cluster, and have a backend that has seen it otherwise clear it."""
    async with stores(_up(cluster), cluster=True) as [_, filler]:
        assert await filler.set_many(dict.fromkeys([key, *KEYS], b"v"), 60) == []
    await store.clear(prefix)
    assert [node.command("DBSIZE") for node in cluster.primaries] == [0] * len(cluster.primaries)


def _up(cluster: RedisCluster) -> list[str]:
    return [node.url for node in cluster.nodes if node.alive]


async def test_clear_after_a_slot_moved(joined: tuple[RedisCluster, ClusterNode]) -> None:
    """What lies on a server that got its first slot a moment ago is cleared as all else is."""
    cluster, new = joined
    key = KEYS[0]
    async with (
        stores(cluster.urls, cluster=True) as by_prefix,
        stores(cluster.urls, cluster=True) as whole,
    ):
        for store in (*by_prefix, *whole):
            assert await store.set(key, b"v", 60)
        cluster.move_slot(cluster.slot_of(key), new)
        for store in by_prefix:
            await _check_clear(cluster, store, "p:", key)
        for store in whole:
            await _check_clear(cluster, store, "", key)


@pytest.mark.usefixtures("_guard")
async def test_clear_after_a_failover(tmp_path: Path) -> None:
    """Where one primary is dead and another one a replica by now, their successors are cleared."""
    with RedisCluster(tmp_path, primaries=2, replicas=1) as cluster:
        async with (
            stores(cluster.urls, cluster=True) as by_prefix,
            stores(cluster.urls, cluster=True) as whole,
        ):
            for store in (*by_prefix, *whole):
                assert await store.set_many(dict.fromkeys(KEYS, b"v"), 60) == []
            _, dead, *heirs = cluster.nodes
            for heir in heirs:
                heir.command("CLUSTER", "FAILOVER", "TAKEOVER")
            eventually(lambda: cluster.primaries == heirs, "the replicas have taken over")
            cluster.await_agreement()
            dead.kill()
            for store in by_prefix:
                await _check_clear(cluster, store, "p:", KEYS[0])
            for store in whole:
                await _check_clear(cluster, store, "", KEYS[0])
