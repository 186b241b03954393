"""One of three memcached servers in an outage: its keys are not to be had, the others' are."""

import asyncio
import socketserver
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from typing import Any, NamedTuple, TypeAlias

import pytest

from tests.chaos import MemcachedServer, Proxy, Server, Stalls, healthy
from tests.network_load import Load
from twofold import caches, configure
from twofold.backends.memcached import MemcachedBackend
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.testing import FACES, Face

DEADLINE = 0.3
GRACE = 0.1  # seconds after the deadline in which a call must have ended
BACK_WITHIN = 1.0  # seconds from a server's return to the first success
PROMPT = 0.005  # seconds in which a healthy server replies
PATIENT = 1.0  # a deadline that a healthy server keeps, on a busy machine
CALM = 10.0  # one that nothing is to wait for

VALUES = {f"k:{n}": f"value of {n}".encode() for n in range(60)}

Harm: TypeAlias = Callable[["Three"], None]


class Three(NamedTuple):
    """Three servers: one to be harmed, one behind a proxy, one that is always well."""

    own: MemcachedServer
    proxy: Proxy
    well: MemcachedServer
    backend: MemcachedBackend

    @property
    def location(self) -> list[str]:
        """Where they are."""
        return [each.address for each in (self.own, self.proxy, self.well)]

    def freeze(self) -> None:
        """Suspend the first."""
        self.own.freeze()

    def kill(self) -> None:
        """Kill the first."""
        self.own.kill()

    def freeze_and_cut_off(self) -> None:
        """Suspend the first, and let nothing pass to the second."""
        self.own.freeze()
        self.proxy.black_hole()

    def heal(self) -> None:
        """Bring them back."""
        self.proxy.heal()
        if self.own.alive:
            self.own.thaw()
        else:
            self.own.start()

    def are_on(self, server: MemcachedServer) -> list[str]:
        """Return which keys are on a server, as it says itself."""
        told = server.command(f"get {' '.join(VALUES)}\r\n".encode())
        return [key for key in VALUES if f"VALUE {key} ".encode() in told]


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def three(
    own_memcached: MemcachedServer,
    memcached_servers: list[MemcachedServer],
    proxied: Callable[[Server], Proxy],
) -> Iterator[Three]:
    """Return three servers that have the values, and a backend without connections."""
    proxy, well = proxied(memcached_servers[0]), memcached_servers[1]
    location = [each.address for each in (own_memcached, proxy, well)]
    with closing(MemcachedBackend(location)) as unhurried:
        assert unhurried.set_many(VALUES, 60) == []
    backend = MemcachedBackend(location, deadline=DEADLINE)
    yield Three(own_memcached, proxy, well, backend)
    backend.close()


async def outcome(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Return how long a call took, and what it returned or raised."""
    before = time.monotonic()
    try:
        result = await call()
    except BackendUnavailable as error:
        result = error
    return time.monotonic() - before, result


async def pause(face: Face) -> None:
    """Let a moment pass, in a loop by suspending."""
    if face.is_async:
        await asyncio.sleep(0.002)
    else:
        time.sleep(0.002)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize(
    "harm", [Three.freeze, Three.kill, Three.freeze_and_cut_off], ids=lambda harm: harm.__name__
)
def test_calls_for_many_keys_do_what_can_be_done(
    three: Three, face: Face, harm: Harm, warm: bool, stalls: Stalls
) -> None:
    """They end within one deadline, however many servers are dead, with what the others did."""
    deadline = CALM if harm is Three.kill else PATIENT  # those that are well keep it, too
    backend = MemcachedBackend(three.location, deadline=deadline)
    store, allowed = face.view(backend), deadline + GRACE
    two_are_dead = harm is Three.freeze_and_cut_off
    if two_are_dead:
        lives = three.are_on(three.well)
    else:
        lives = [key for key in VALUES if key not in three.are_on(three.own)]

    async def body() -> None:
        if warm:
            assert await healthy(lambda: store.get_many(list(VALUES))) == VALUES
        harm(three)
        for _ in range(2):
            took, error = await outcome(lambda: store.get_many(list(VALUES)))
            assert took < allowed + stalls.longest
            assert type(error) is PartlyUnavailable
            assert error.result == {key: VALUES[key] for key in lives}
        took, failed = await outcome(lambda: store.set_many(VALUES, 60))
        assert took < allowed + stalls.longest
        assert failed == [key for key in VALUES if key not in lives]
        took, error = await outcome(lambda: store.delete_many(list(VALUES)))
        assert took < allowed + stalls.longest
        assert error.result == len(lives)
        failures = [state.failures > 0 for state in backend.servers()]
        assert failures == [True, two_are_dead, False]

    face.run(body())
    three.heal()
    backend.close()


class Trickle(socketserver.BaseRequestHandler):
    """Answers byte by byte, each of them in time, and never to the end."""

    def handle(self) -> None:
        with suppress(OSError):
            self.request.recv(65536)
            while True:
                self.request.sendall(b"V")
                time.sleep(DEADLINE / 10)


@pytest.fixture
def trickling() -> Iterator[str]:
    """Return the address of a server that answers by `Trickle`."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Trickle) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def test_a_greeting_that_trickles(trickling: str, face: Face, stalls: Stalls) -> None:
    """A connection that is opened byte by byte is given up in time."""
    store = face.view(MemcachedBackend(trickling, deadline=DEADLINE))

    async def body() -> None:
        took, error = await outcome(lambda: store.get("k"))
        assert isinstance(error, BackendUnavailable)
        assert took < DEADLINE + GRACE + stalls.longest
        await store.close()

    face.run(body())


def test_a_dead_server_slows_no_other(three: Three, face: Face, stalls: Stalls) -> None:
    """While callers hang on a silent server, keys of another one are had at full speed."""
    backend = MemcachedBackend(three.location, deadline=PATIENT)
    store, well = face.view(backend), three.are_on(three.well) * 5
    sick = three.are_on(three.own)[0]
    asked, over = threading.Event(), threading.Event()

    async def hang() -> list[float]:
        while not over.is_set():
            asked.set()
            await outcome(lambda: store.get(sick))
            await pause(face)
        return []

    async def ask() -> list[float]:
        times = []
        for key in well:
            took, value = await outcome(lambda key=key: store.get(key))
            assert value == VALUES[key]
            times.append(took)
        return times

    async def ask_meanwhile() -> list[float]:
        while not asked.is_set():
            await pause(face)
        times = await ask()
        over.set()
        return times

    async def body() -> None:
        assert await healthy(lambda: store.get_many(list(VALUES))) == VALUES
        alone = statistics.median(await ask())
        three.freeze()
        *_, times = await face.together([hang, hang, hang, ask_meanwhile])
        assert statistics.median(times) < 5 * alone + PROMPT
        assert max(times) < PATIENT / 2 + stalls.longest

    face.run(body())
    three.heal()
    backend.close()


@pytest.mark.parametrize("harm", [Three.freeze, Three.kill], ids=lambda harm: harm.__name__)
def test_keys_come_back_with_their_server(
    three: Three, face: Face, harm: Harm, stalls: Stalls
) -> None:
    """A dead server's keys are nowhere else meanwhile, and there again within a second."""
    store, key = face.view(three.backend), three.are_on(three.own)[0]

    async def body() -> None:
        harm(three)
        while three.backend.servers()[0].breaker == "closed":
            await outcome(lambda: store.set(key, b"elsewhere", 60))
        three.heal()
        ends = time.monotonic() + BACK_WITHIN
        while isinstance((await outcome(lambda: store.get(key)))[1], BackendUnavailable):
            assert time.monotonic() < ends + stalls.longest
            await pause(face)
        assert await healthy(lambda: store.set(key, b"back", 60))
        assert three.own.command(f"get {key}\r\n".encode()).endswith(b"\r\nback\r\nEND\r\n")
        assert key not in three.are_on(three.well)

    face.run(body())


def test_an_outage_of_one_is_misses_of_its_own(three: Three, face: Face) -> None:
    """With `on_error="miss"` calls for many keys bring what the other servers have."""
    options = {"deadline": CALM, "on_error": "miss"}
    settings = {"BACKEND": "memcached", "LOCATION": three.location, "OPTIONS": options}
    configure({"default": settings})
    cache = caches["default"]
    view, keys = face.view(cache), list(VALUES)

    async def body() -> None:
        assert await view.set_many(VALUES) == []
        three.kill()
        found = await view.get_many(keys)
        assert 0 < len(found) < len(VALUES)
        lost = [key for key in keys if key not in found]
        assert found == {key: VALUES[key] for key in found}
        assert [await view.get(key) for key in lost] == [None] * len(lost)
        assert await view.set_many(VALUES) == lost
        assert await view.delete_many(keys) == len(found)

    face.run(body())


@pytest.mark.parametrize("cycles", [2, pytest.param(20, marks=pytest.mark.heavy)])
def test_one_of_three_is_killed_under_load(three: Three, cycles: int, stalls: Stalls) -> None:
    """However often it happens: no wrong value, each call ends in time, every worker goes on."""
    with Load(three.backend) as load:
        for _ in range(cycles):
            three.own.kill()
            load.await_failure()
            load.await_success()
            three.own.start()
            load.await_success()
    assert load.longest < DEADLINE + GRACE + stalls.longest
