"""Redis amid faults that rarely meet: each was found once, and is shut out by its own test."""

import asyncio
import gc
import itertools
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest
import uvloop

from tests.chaos import (
    Certificates,
    Proxy,
    RedisCluster,
    RedisServer,
    Server,
    Stalls,
    eventually,
    healthy,
)
from tests.network_loops import Run
from tests.network_loops import run as run  # a fixture
from tests.network_raw import turns, until
from twofold.backends.redis import RedisBackend, replies
from twofold.backends.redis.topology import ClusterTopology
from twofold.errors import BackendUnavailable, DeadlineExceeded
from twofold.testing import FACES, Face

DEADLINE = 0.4
PATIENT = 1.0  # one that a healthy server keeps, on a busy machine
GRACE = 0.1  # seconds after the deadline in which a call must have ended
PATIENCE = 10.0  # seconds
KEYS = [f"k{n}" for n in range(60)]

Talk: TypeAlias = Callable[[socket.socket, threading.Event], None]
Serving: TypeAlias = Callable[[Talk], str]


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Return what starts a server that talks as a function does, and returns its URL."""
    with ExitStack() as stack:
        yield lambda talk: stack.enter_context(listening(talk))


@contextmanager
def listening(talk: Talk) -> Iterator[str]:
    """Serve each connection by `talk`, in a thread of its own, until the event is set."""
    ending, clients, threads = threading.Event(), list[socket.socket](), list[threading.Thread]()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk(client, ending)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threads.append(threading.Thread(target=serve, args=(client,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ending.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for client in clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def commands(client: socket.socket) -> Iterator[list[bytes]]:
    """Return what a client asks, command by command, until it hangs up."""
    reader = replies.PythonReader()
    while data := client.recv(65536):
        reader.feed(data)
        while (command := reader.gets()) is not replies.INCOMPLETE:
            yield command


async def outcome(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Return how long a call took, and what it returned or raised."""
    before = time.monotonic()
    try:
        result = await call()
    except BaseException as error:
        result = error
    return time.monotonic() - before, result


def connections(server: Server) -> int:
    """Return how many connections to a server this process has open."""
    inet = psutil.Process().net_connections("tcp")
    return sum(1 for each in inet if each.raddr and each.raddr.port == server.port)


@contextmanager
def no_collection() -> Iterator[None]:
    """Have no garbage collected meanwhile, but what was there before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# One deadline for all of a call


def test_many_replies_share_one_deadline(serving: Serving, face: Face, stalls: Stalls) -> None:
    """Replies that come one after the other, each in time, end the call at its own deadline."""

    def trickle(client: socket.socket, ending: threading.Event) -> None:
        for _ in commands(client):
            if ending.wait(0.75 * DEADLINE):
                return
            client.sendall(b"+OK\r\n")

    backend = RedisBackend(serving(trickle), deadline=DEADLINE)
    store = face.view(backend)

    async def body() -> None:
        took, error = await outcome(lambda: store.set_many(dict.fromkeys(KEYS[:6], b"v"), 60))
        assert type(error) is DeadlineExceeded
        assert DEADLINE * 0.9 < took < DEADLINE + GRACE + stalls.longest
        await store.close()

    face.run(body())


@pytest.fixture(scope="module")
def _cluster(_guard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    lines = ("cluster-node-timeout 15000", "cluster-require-full-coverage no")
    with RedisCluster(tmp_path_factory.mktemp("faults"), *lines) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """Return a cluster whose nodes may be frozen, and serve what they can without the others."""
    _cluster.flush()
    yield _cluster
    for node in _cluster.nodes:
        node.thaw()
    _cluster.await_agreement()


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_frozen_cluster_costs_one_deadline(
    cluster: RedisCluster, face: Face, warm: bool, stalls: Stalls
) -> None:
    """A call for keys of several servers, all of them silent, takes no longer than one for one."""
    backend = RedisBackend(cluster.urls, cluster=True, deadline=DEADLINE)
    store = face.view(backend)

    async def body() -> None:
        if warm:
            assert await healthy(lambda: store.set_many(dict.fromkeys(KEYS, b"v"), 60)) == []
        for node in cluster.nodes:
            node.freeze()
        for call in (
            lambda: store.get_many(KEYS),
            lambda: store.set_many(dict.fromkeys(KEYS, b"w"), 60),
            lambda: store.delete_many(KEYS),
        ):
            took, error = await outcome(call)
            assert isinstance(error, BackendUnavailable)
            assert took < DEADLINE + GRACE + stalls.longest
        await store.close()

    face.run(body())


def keys_on(cluster: RedisCluster, node: Server) -> list[str]:
    """Return the keys that a node has."""
    return [key for key in KEYS if cluster.node_of(cluster.slot_of(key)) is node]


def blamed(backend: RedisBackend, healthy: Sequence[Server]) -> list[str]:
    """Return which healthy servers the backend holds failures against."""
    ours = {node.port for node in healthy}
    states = backend.servers()
    return [each.name for each in states if each.failures and int(each.name[-5:]) in ours]


def test_a_frozen_node_does_not_hide_the_slots(
    cluster: RedisCluster, face: Face, monkeypatch: pytest.MonkeyPatch, stalls: Stalls
) -> None:
    """A fresh backend finds a key on a healthy node, though it asks the frozen one first."""
    frozen, *others = cluster.nodes
    key = keys_on(cluster, others[0])[0]
    candidates = ClusterTopology.candidates

    def frozen_first(topology: ClusterTopology) -> Sequence[Any]:
        return sorted(candidates(topology), key=lambda each: each.name != frozen.address)

    monkeypatch.setattr(ClusterTopology, "candidates", frozen_first)
    frozen.freeze()

    async def body() -> None:
        backend = RedisBackend(cluster.urls, cluster=True, deadline=3 * PATIENT)
        store = face.view(backend)
        took, result = await outcome(lambda: store.get(key))
        assert result is None
        assert took < 2.5 * PATIENT + stalls.longest
        assert blamed(backend, others) == []
        await store.close()

    face.run(body())


def test_a_frozen_node_harms_no_other(cluster: RedisCluster, face: Face, stalls: Stalls) -> None:
    """While calls for keys of one node fail, those for others succeed, on whatever connection."""
    frozen, *others = cluster.nodes
    sick, well = keys_on(cluster, frozen), keys_on(cluster, others[0])
    backend = RedisBackend(cluster.urls, cluster=True, deadline=PATIENT)
    store = face.view(backend)

    async def body() -> None:
        assert await healthy(lambda: store.set_many(dict.fromkeys(KEYS, b"v"), 60)) == []
        frozen.freeze()
        for _ in range(2):
            _, error = await outcome(lambda: store.get_many([*sick, *well]))
            assert isinstance(error, BackendUnavailable)
            took, value = await outcome(lambda: store.get(well[0]))
            assert value == b"v"
            assert took < PATIENT + stalls.longest
            assert blamed(backend, others) == []
        await store.close()

    face.run(body())


def test_silent_addresses_share_one_deadline(
    face: Face, monkeypatch: pytest.MonkeyPatch, stalls: Stalls
) -> None:
    """A host with several addresses, none of which answers, is given up in time."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *more: Any, **options: Any) -> Any:
        if host != "many.example":
            return resolve(host, *more, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

    async def body() -> None:
        backend = RedisBackend("redis://many.example:1", deadline=DEADLINE)
        store = face.view(backend)
        took, error = await outcome(lambda: store.get("k"))
        assert isinstance(error, BackendUnavailable)
        assert took < DEADLINE + GRACE + stalls.longest
        await store.close()

    with ExitStack() as stack:
        addresses = [silent(stack, f"127.0.0.{n}") for n in range(2, 7)]
        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        face.run(body())


def silent(stack: ExitStack, host: str) -> tuple[str, int]:
    """Return an address where attempts to connect are neither accepted nor refused."""
    full = stack.enter_context(socket.create_server((host, 0), backlog=0))
    address: tuple[str, int] = full.getsockname()
    for _ in range(3):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(address)
    return address


def test_a_short_standstill_defers_no_deadline(serving: Serving, run: Run, stalls: Stalls) -> None:
    """Where the loop stood still for a moment, a reply that trickles in is given up in time."""

    def trickle(client: socket.socket, ending: threading.Event) -> None:
        for _ in commands(client):
            client.sendall(b"$100000\r\n")
            while not ending.wait(0.0005):
                client.sendall(b"x")

    async def body() -> None:
        backend = RedisBackend(serving(trickle), deadline=DEADLINE)
        stall = partial(time.sleep, 0.12)
        asyncio.get_running_loop().call_later(DEADLINE - 0.15, stall)
        took, error = await outcome(lambda: backend.aget("k"))
        assert type(error) is DeadlineExceeded
        assert took < DEADLINE + GRACE + stalls.longest
        await backend.aclose()

    run(body())


# Connections that come about, or do not


@pytest.mark.parametrize("all_of_them", [True, False], ids=["all tasks", "the connect"])
def test_a_connect_that_is_cancelled(proxy: Proxy, run: Run, all_of_them: bool) -> None:
    """Where somebody cancels whatever tasks there are, who waits is told, and the next call works.

    A program that ends, and a test that cleans up, do so.
    """

    async def body() -> None:
        backend = RedisBackend(f"redis://{proxy.address}/1", deadline=PATIENCE)
        proxy.black_hole()
        call = asyncio.ensure_future(backend.aget("k"))
        await until(lambda: proxy.connections == 1)
        await turns(3)
        spared = {asyncio.current_task()} | (set() if all_of_them else {call})
        for task in asyncio.all_tasks() - spared:
            task.cancel()
        proxy.heal()
        before = time.monotonic()
        with suppress(BackendUnavailable, asyncio.CancelledError):
            assert await call is None
        assert await backend.aget("k") is None
        assert await backend.aset("k", b"v", 60)
        assert time.monotonic() - before < PATIENCE / 2
        await backend.aclose()

    run(body())


def test_what_cleans_up_amid_a_cancel(proxy: Proxy, run: Run) -> None:
    """A call of a cancelled task on its way out works though its connect was cancelled too."""
    deleted: list[bool] = []

    async def job(backend: RedisBackend) -> None:
        try:
            await backend.aget("k")
        finally:
            deleted.append(await backend.adelete("k"))

    async def body() -> None:
        backend = RedisBackend(f"redis://{proxy.address}/1", deadline=PATIENCE / 2)
        proxy.black_hole()
        task = asyncio.ensure_future(job(backend))
        await until(lambda: proxy.connections == 1)
        await turns(3)
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        proxy.heal()
        await asyncio.wait({task})
        assert task.cancelled()
        assert deleted == [False]
        await backend.aclose()

    run(body())


async def test_impatient_callers_find_the_way_back(
    tmp_path: Path, proxied: Callable[[Server], Proxy]
) -> None:
    """A server that is back is used again though nobody has the patience to wait for the login."""
    with RedisServer(tmp_path / "locked", password="pw") as server:
        proxy = proxied(server)
        backend = RedisBackend(f"redis://:pw@{proxy.address}/1", deadline=1.0)

        async def call() -> bool:
            with suppress(TimeoutError, BackendUnavailable):
                async with asyncio.timeout(0.1):  # the login takes two times 60 ms
                    return await backend.aget("k") is None
            return False

        assert await backend.aget("k") is None
        proxy.refuse()
        proxy.kill_all()
        while backend.servers()[0].breaker == "closed":
            assert not await call()
        proxy.delay = 0.03
        proxy.refuse(False)
        succeeded, ends = 0, time.monotonic() + 5
        while succeeded < 10 and time.monotonic() < ends:
            succeeded += await call()
            await asyncio.sleep(0.01)
        assert succeeded == 10
        assert backend.servers()[0].breaker == "closed"
        await backend.aclose()


FACTORIES: dict[str, Any] = {"plain": None}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = asyncio.eager_task_factory


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_missing_socket_is_refused_at_once(
    tmp_path: Path, run: Run, factory: str, stalls: Stalls
) -> None:
    """A connect that fails before its first wait, as in an eager task, fails its callers."""

    async def body() -> None:
        asyncio.get_running_loop().set_task_factory(FACTORIES[factory])
        backend = RedisBackend(f"unix://{tmp_path}/none.sock", deadline=1.0)
        for _ in range(5):
            took, error = await outcome(lambda: backend.aget("k"))
            assert isinstance(error, BackendUnavailable)
            assert not isinstance(error, DeadlineExceeded)
            assert took < 0.3 + stalls.longest
        assert backend.servers()[0].breaker != "closed"
        await backend.aclose()
        asyncio.get_running_loop().set_task_factory(None)  # before 3.13.3 uvloop 0.23 ends by none

    run(body())


def test_a_loop_that_takes_no_task_is_an_outage(own_redis: RedisServer, run: Run) -> None:
    """A task factory that fails fails calls as a server does that is down, and leaves nothing."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("unexpected keyword argument")

    async def body() -> None:
        backend = RedisBackend(own_redis.url)
        asyncio.get_running_loop().set_task_factory(refuse)
        with pytest.raises(BackendUnavailable, match="cannot be reached: TypeError"):
            await backend.aget("k")
        asyncio.get_running_loop().set_task_factory(None)
        await backend.aclose()

    run(body())


# Connections that end


def test_killed_connections_fail_no_read(own_redis: RedisServer, face: Face) -> None:
    """Where a server ends all connections at once, reads go on over others; nobody is blamed."""
    backend = RedisBackend(own_redis.url, deadline=PATIENCE)
    store, ending = face.view(backend), threading.Event()
    own_redis.command("SET", "k", "v")
    read, states, seen = itertools.count(), set[str](), [0]

    async def reading() -> None:
        try:
            while not ending.is_set():
                assert await store.get("k") == b"v"
                seen[0] = next(read)
        finally:
            ending.set()

    def is_read_since(number: int) -> bool:
        states.add(backend.servers()[0].breaker)
        return ending.is_set() or seen[0] > number + 300

    def kill() -> None:
        for _ in range(10):
            now = seen[0]
            eventually(lambda: is_read_since(now), "reads go on")  # noqa: B023 - called at once
            own_redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        ending.set()

    async def body() -> None:
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            await face.together([reading] * 16)
        finally:
            ending.set()
            killer.join()
        await store.close()

    face.run(body())
    assert states == {"closed"}


def at_step(number: int, act: Callable[[], None], call: Callable[[], object]) -> bool:
    """Do `call`, and `act` amid it, at one of its steps; tell whether it has that many."""
    steps = 0

    def step(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            act()

    sys.setprofile(step)
    try:
        call()
    finally:
        sys.setprofile(None)
    return steps >= number


@pytest.mark.parametrize("name", ["servers", "__repr__", "close"])
def test_threads_that_come_while_one_looks(redis_server: RedisServer, name: str) -> None:
    """At whatever step of a look at the connections another thread makes one, none is harmed."""
    backend = RedisBackend(redis_server.url, deadline=PATIENCE)
    held, threads, failed = threading.Event(), list[threading.Thread](), list[BaseException]()

    def use() -> None:
        try:
            backend.get("k")
        except BaseException as error:
            failed.append(error)

    def use_and_stay() -> None:
        use()
        held.wait(PATIENCE)

    def start(target: Callable[[], None]) -> threading.Thread:
        threads.append(threading.Thread(target=target))
        threads[-1].start()
        return threads[-1]

    def come_and_go() -> None:
        start(use).join(0.1)  # no longer, if what it waits for is ours

    for _ in range(3):
        start(use_and_stay)
    eventually(lambda: backend.servers()[0].connections == 3, "three threads have connections")
    look = getattr(backend, name)
    try:
        for number in itertools.count(1):
            if not at_step(number, come_and_go, look):
                break
    finally:
        held.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert number > 5
    backend.close()


@pytest.mark.parametrize("state", ["idle", "waiting", "connecting"])
def test_closing_that_is_cancelled(proxy: Proxy, run: Run, state: str) -> None:
    """At whatever step `aclose()` is cancelled, it or the next one ends all connections."""

    async def body() -> None:
        for number in itertools.count():
            backend = RedisBackend(f"redis://{proxy.address}/1", deadline=PATIENCE)
            calls = await in_state(backend)
            task = asyncio.ensure_future(backend.aclose())
            await turns(number)
            is_done = not task.cancel()
            await asyncio.wait({task})
            await backend.aclose()
            for call in calls:
                assert isinstance((await outcome(lambda: call))[1], BackendUnavailable)  # noqa: B023
            proxy.heal()
            await until(lambda: proxy.connections == 0)
            if is_done:
                break
        assert number > 1

    async def in_state(backend: RedisBackend) -> "list[asyncio.Task[Any]]":
        if state != "connecting":
            await backend.aget("k")
        if state == "idle":
            return []
        proxy.black_hole()
        call = asyncio.ensure_future(backend.aset("k", b"v", 60))
        await until(lambda: proxy.connections == 1)
        await turns(3)
        if state == "waiting":
            return [call]
        call.cancel()  # it would ask again
        await asyncio.wait({call})
        return []

    with no_collection():
        run(body())


@pytest.mark.parametrize(
    "new_loop",
    [
        asyncio.new_event_loop,
        # uvloop itself complains of what is open when it closes
        pytest.param(
            uvloop.new_event_loop, marks=pytest.mark.filterwarnings("ignore::ResourceWarning")
        ),
    ],
    ids=["asyncio", "uvloop"],
)
def test_encrypted_connections_of_loops_that_are_just_closed(
    tls_redis: RedisServer,
    certificates: Certificates,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """What belonged to loops that were closed without a farewell is let go, TLS or not."""
    backend = RedisBackend(tls_redis.url, deadline=PATIENCE, ssl_ca_certs=str(certificates.ca))
    with no_collection():
        for _ in range(10):
            loop = new_loop()
            assert loop.run_until_complete(backend.aget("k")) is None
            loop.close()
            assert connections(tls_redis) <= 1
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert runner.run(backend.aget("k")) is None
            runner.run(backend.aclose())
        assert connections(tls_redis) == 0
    backend.close()


# Errors


def test_an_error_is_one_callers_own(redis_server: RedisServer, face: Face) -> None:
    """No two calls raise the same object, whose traceback would grow without end."""
    hurried = RedisBackend(redis_server.url, deadline=1e-7)
    refused = RedisBackend("redis://127.0.0.1:1", deadline=PATIENCE)

    async def body() -> None:
        errors = []
        for store in (face.view(hurried), face.view(refused)):
            calls = [lambda: store.set_many({"k": b"v", "l": b"w"}, 60)] * 20  # noqa: B023
            calls += [lambda: store.get("k")] * 20  # noqa: B023 - called at once
            errors += [(await outcome(call))[1] for call in calls]
            errors += [error for _, error in await face.together(map(attempt, calls))]
            await store.close()
        assert {isinstance(error, BackendUnavailable) for error in errors} == {True}
        assert len({id(error) for error in errors}) == len(errors)

    def attempt(call: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
        return lambda: outcome(call)

    face.run(body())


def test_a_refused_call_is_no_garbage(face: Face) -> None:
    """What fails while a server is down is freed at once: the collector finds nothing of it."""
    store = face.view(RedisBackend("redis://127.0.0.1:1", deadline=PATIENCE))

    async def body() -> None:
        await outcome(lambda: store.get("k"))
        with no_collection():
            for _ in range(200):
                with suppress(BackendUnavailable):
                    await store.get("k")
                with suppress(BackendUnavailable):
                    await store.set("k", b"v", 60)
            assert gc.collect() < 200
        await store.close()

    face.run(body())


class JobTookTooLong(TimeoutError):
    """What a program's own signal handler raises."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Return what has the handler of a signal raise in the main thread."""

    def handle(*_: object) -> None:
        raise JobTookTooLong("enough")

    before = signal.signal(signal.SIGUSR1, handle)
    yield partial(signal.pthread_kill, threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("word", [b"GET", b"SET", b"EVALSHA"])
def test_a_signal_handlers_own_timeout(
    serving: Serving, interrupt: Callable[[], None], word: bytes
) -> None:
    """A `TimeoutError` that a signal's handler raises amid a call is that call's, as it is."""
    interrupted = False

    def talk(client: socket.socket, _: threading.Event) -> None:
        nonlocal interrupted
        for command in commands(client):
            if command[0] == word and not interrupted:
                interrupted = True
                interrupt()
            else:
                client.sendall(b"$1\r\n1\r\n" if command[0] == b"EVALSHA" else b"+OK\r\n")

    backend = RedisBackend(f"{serving(talk)}/1", deadline=PATIENCE)
    calls: dict[bytes, Callable[[], object]] = {
        b"GET": lambda: backend.get("k"),
        b"SET": lambda: backend.set_many({"k": b"v", "l": b"w"}, 60),
        b"EVALSHA": lambda: backend.incr("k", 1),
    }
    with closing(backend):
        with pytest.raises(JobTookTooLong, match="enough"):
            calls[word]()
        assert interrupted
        assert backend.servers()[0].failures == 0
        assert calls[word]() in (b"OK", [], 1)
