"""The fixtures of the fault harness; each starts its servers when the first test asks for it.

Shared by all tests, given out empty, and never to be stopped, frozen or configured:

    redis_server        one Redis                       tls_redis   the same with TLS
    redis_cluster       three primaries                 certificates for it
    redis_sentinels     primary, replica, 3 sentinels   (a failover is allowed)
    memcached_server    one memcached                   memcached_servers   three of them
    memcached_in_turn   one that carries out in turn what comes over several connections

The test's own, for any harm, and gone after the test:

    own_redis   own_cluster (three primaries, each with a replica)   own_sentinels   own_memcached

And:

    proxy       a `Proxy` to `redis_server`
    proxied     makes a `Proxy` to any server: `proxied(own_redis)`
    stalls      for how long the machine stood still: beside the bounds of a test of time
    no_leaks    fails the test if tasks, threads or descriptors are left; always on where
                tests/conftest.py says so: in test_network*, test_redis*, test_memcached*
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias, TypeVar

import pytest

from tests.chaos.certificates import Certificates
from tests.chaos.cluster import RedisCluster
from tests.chaos.leaks import Watch, descriptors, tasks, threads
from tests.chaos.patience import Stalls
from tests.chaos.processes import guard
from tests.chaos.proxy import Proxy
from tests.chaos.sentinel import RedisSentinels
from tests.chaos.servers import MemcachedServer, RedisServer, Server

MakeProxy: TypeAlias = Callable[[Server], Proxy]

_Shared = TypeVar("_Shared", RedisServer, MemcachedServer)


@pytest.fixture(scope="session")
def _guard() -> None:
    """Start the process that kills what we leave, so that no test seems to have left its pipe."""
    guard.start()


@pytest.fixture(scope="session")
def _shared_redis(_guard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_tls(
    _guard: None, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("tls"), tls=certificates) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_cluster(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisCluster]:
    patient = "cluster-node-timeout 15000"  # no node is to be taken for dead under load
    with RedisCluster(tmp_path_factory.mktemp("cluster"), patient) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _shared_sentinels(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisSentinels]:
    with RedisSentinels(tmp_path_factory.mktemp("sentinels")) as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def _shared_memcached(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemcachedServer]:
    with MemcachedServer(tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_memcached_in_turn(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemcachedServer]:
    with MemcachedServer(tmp_path_factory.mktemp("memcached"), "-t", "1") as server:
        yield server


@pytest.fixture(scope="session")
def _shared_memcached_servers(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[MemcachedServer]]:
    with ExitStack() as started:
        folders = [tmp_path_factory.mktemp("memcached") for _ in range(3)]
        yield [started.enter_context(MemcachedServer(folder)) for folder in folders]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return the authority, the server's and the client's certificate of `tls_redis`."""
    return Certificates.write(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> Iterator[RedisServer]:
    """Return a Redis without a key, at `redis_server.url`; leave it as it is."""
    yield from _given_out(_shared_redis)


@pytest.fixture
def tls_redis(_shared_tls: RedisServer) -> Iterator[RedisServer]:
    """Return a Redis behind TLS without a key, at `tls_redis.url`; leave it as it is."""
    yield from _given_out(_shared_tls)


@pytest.fixture
def memcached_server(_shared_memcached: MemcachedServer) -> Iterator[MemcachedServer]:
    """Return a memcached without an item, at `memcached_server.address`; leave it as it is."""
    yield from _given_out(_shared_memcached)


@pytest.fixture
def memcached_in_turn(_shared_memcached_in_turn: MemcachedServer) -> Iterator[MemcachedServer]:
    """Return a memcached of one thread, without an item; leave it as it is."""
    yield from _given_out(_shared_memcached_in_turn)


@pytest.fixture
def memcached_servers(
    _shared_memcached_servers: list[MemcachedServer],
) -> list[MemcachedServer]:
    """Return three memcached servers without an item; leave them as they are."""
    for server in _shared_memcached_servers:
        server.flush()
    return _shared_memcached_servers


@pytest.fixture
def redis_cluster(_shared_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """Return a cluster of three primaries without a key; slots may be moved, nodes not stopped."""
    _shared_cluster.flush()
    yield _shared_cluster
    _shared_cluster.await_agreement()


@pytest.fixture
def redis_sentinels(_shared_sentinels: RedisSentinels) -> RedisSentinels:
    """Return a primary, a replica and three sentinels, settled and without a key."""
    _shared_sentinels.await_settled()
    _shared_sentinels.flush()
    return _shared_sentinels


@pytest.fixture
def own_redis(_guard: None, tmp_path: Path) -> Iterator[RedisServer]:
    """Return a Redis of this test alone, to be frozen, killed and started again."""
    with RedisServer(tmp_path / "own") as server:
        yield server


@pytest.fixture
def own_memcached(_guard: None, tmp_path: Path) -> Iterator[MemcachedServer]:
    """Return a memcached of this test alone, to be frozen, killed and started again."""
    with MemcachedServer(tmp_path / "own") as server:
        yield server


@pytest.fixture
def own_cluster(_guard: None, tmp_path: Path) -> Iterator[RedisCluster]:
    """Return a cluster of this test alone, whose three primaries have a replica each."""
    with RedisCluster(tmp_path / "own", replicas=1) as cluster:
        yield cluster


@pytest.fixture
def own_sentinels(_guard: None, tmp_path: Path) -> Iterator[RedisSentinels]:
    """Return a primary, a replica and three sentinels of this test alone."""
    with RedisSentinels(tmp_path / "own") as sentinels:
        yield sentinels


@pytest.fixture
def proxied(_guard: None) -> Iterator[MakeProxy]:
    """Return a function that makes a `Proxy` to a server; they end with the test."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(Proxy(server.host, server.port))


@pytest.fixture
def proxy(proxied: MakeProxy, redis_server: RedisServer) -> Proxy:
    """Return a `Proxy` to `redis_server`, at `proxy.url`."""
    return proxied(redis_server)


@pytest.fixture
def no_leaks(_nothing_stays: None, request: pytest.FixtureRequest) -> None:
    """Fail the test if it leaves a thread, a descriptor or, in its loop, a task."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_no_task_stays")


@pytest.fixture
def _nothing_stays(_guard: None) -> Iterator[None]:
    """Look at what outlives a loop: set up before the test's loop is, and so run after its end."""
    watches = [Watch(threads), Watch(descriptors)]
    yield
    for watch in watches:
        watch.check()


@pytest.fixture
async def _no_task_stays() -> AsyncIterator[None]:
    watch = Watch(tasks)
    yield
    await watch.acheck()


def _given_out(server: _Shared) -> Iterator[_Shared]:
    """Yield a shared server, empty; one that the last test has harmed is started again."""
    if not _answers(server):
        server.restart()
    server.flush()
    yield server
    assert _answers(server), f"{server} is shared; a test that harms a server takes its own"


def _answers(server: Server) -> bool:
    try:
        return server.ping()
    except OSError:
        return False


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    """Measure, during the test, for how long the machine stands still in a second at most."""
    with Stalls() as measured:
        yield measured
