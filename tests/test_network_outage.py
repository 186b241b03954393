"""Stores in an outage: every call ends in time, by an error of ours, and costs next to nothing."""

import asyncio
import logging
import re
import socket
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeAlias

import pytest

from tests.chaos import Proxy, Server, Stalls, eventually, healthy
from tests.network_kinds import Kind
from tests.network_kinds import kind as kind  # a fixture
from tests.network_kinds import own_server as own_server  # a fixture
from tests.network_load import Load
from twofold import Cache, cached, caches, configure
from twofold.backend import ServerState
from twofold.errors import BackendUnavailable, DeadlineExceeded, MissingKey
from twofold.testing import FACES, Face

DEADLINE = 0.25
UNHURRIED = 2.0  # a deadline for tests in which none passes
AT_ONCE = UNHURRIED / 2
GRACE = 0.1  # seconds after the deadline in which a call must have ended
STANDSTILL = 0.1  # seconds that a loop may at most be blocked
BACK_WITHIN = 1.0  # seconds from a server's return to the first success
CYCLES = [3, pytest.param(20, marks=pytest.mark.heavy)]

WRITES = ("set", "incr", "delete", "touch")

Harm: TypeAlias = Callable[["Patient"], None]
Call: TypeAlias = Callable[[Any], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "get": lambda store: store.get("k"),
    "get_many": lambda store: store.get_many(["k", "l"]),
    "set": lambda store: store.set("k", b"v", 60),
    "set_many": lambda store: store.set_many({"k": b"v", "l": b"w"}, 60),
    "add": lambda store: store.add("k", b"v", 60),
    "touch": lambda store: store.touch("k", 60),
    "ttl": lambda store: store.ttl("k"),
    "delete": lambda store: store.delete("k"),
    "delete_many": lambda store: store.delete_many(["k", "l"]),
    "has": lambda store: store.has("k"),
    "incr": lambda store: store.incr("n", 1),
    "compare_and_set": lambda store: store.compare_and_set("k", b"v", b"w", 60),
    "replace": lambda store: store.replace("k", b"v", b"w"),
    "compare_and_delete": lambda store: store.compare_and_delete("k", b"v"),
    "clear": lambda store: store.clear("k"),
}


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def patient(
    kind: Kind, own_server: Server, proxied: Callable[[Server], Proxy]
) -> Iterator["Patient"]:
    """Return a server behind a proxy, and a backend that knows the proxy's address."""
    one = Patient(kind, own_server, proxied)
    yield one
    one.close()


@pytest.fixture
def unhurried(
    kind: Kind, own_server: Server, proxied: Callable[[Server], Proxy]
) -> Iterator["Patient"]:
    """Return one whose backend has time: where a server ends connections, no deadline passes."""
    one = Patient(kind, own_server, proxied, deadline=UNHURRIED)
    yield one
    one.close()


class Patient:
    """A server, the proxy before it, a backend: what a test harms, and heals."""

    def __init__(
        self,
        kind: Kind,
        server: Server,
        proxied: Callable[[Server], Proxy],
        deadline: float = DEADLINE,
    ) -> None:
        self.kind = kind
        self.server = server
        self.proxy = proxied(server)
        self.backend = kind.backend(self.proxy, deadline=deadline)
        self._proxied = proxied
        self._full = ExitStack()

    def configure(self, on_error: str) -> None:
        """Have the settings name this server, and `backend` be that of the default cache."""
        settings = self.kind.settings(self.proxy, deadline=DEADLINE, on_error=on_error)
        configure({"default": settings})
        self.backend = caches["default"].backend

    @property
    def state(self) -> ServerState:
        """What the backend knows of the server."""
        [state] = self.backend.servers()
        return state

    def close(self) -> None:
        """Close what it opened itself."""
        self.backend.close()
        self._full.close()

    def heal(self) -> None:
        """Bring the server back, whatever was done to it."""
        self._full.close()
        self.proxy.heal()
        if self.server.alive:
            self.server.thaw()
        else:
            self.server.start()

    def black_hole(self) -> None:
        """Let nothing pass any more, on old and new connections."""
        self.proxy.black_hole()

    def refuse(self) -> None:
        """End what is open, and let nobody connect."""
        self.proxy.refuse()
        self.proxy.kill_all()

    def freeze(self) -> None:
        """Suspend the server."""
        self.server.freeze()

    def kill(self) -> None:
        """Kill the server; the proxy accepts connections, and closes them at once."""
        self.server.kill()

    def unreachable(self) -> None:
        """Have attempts to connect neither accepted nor refused, as if packets were lost."""
        self.refuse()
        full = socket.create_server((self.proxy.host, self.proxy.port), backlog=0)
        self._full.enter_context(full)
        for _ in range(3):
            filler = self._full.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())

    def half_open(self) -> None:
        """Leave open connections open but dead, and put a healthy server in the same place.

        So it is when a machine is replaced, or a firewall forgets its connections.
        """
        self.proxy.black_hole()
        self.proxy.refuse()
        successor = self._proxied(self.server)
        successor.refuse()
        successor.port = self.proxy.port
        successor.refuse(False)


HARMS: list[Harm] = [
    Patient.black_hole,
    Patient.refuse,
    Patient.unreachable,
    Patient.freeze,
    Patient.kill,
]


async def outcome(call: Call, store: Any) -> tuple[float, Any]:
    """Return how long a call took, and what it returned or raised."""
    before = time.monotonic()
    try:
        result = await call(store)
    except BaseException as error:
        result = error
    return time.monotonic() - before, result


async def first_success(face: Face, store: Any) -> float:
    """Return after how many seconds a call succeeds, if one is made all the time."""
    before = time.monotonic()
    while time.monotonic() < before + 10:
        _, result = await outcome(CALLS["has"], store)
        if not isinstance(result, BaseException):
            return time.monotonic() - before
        assert_typed(result)
        await pause(face)
    raise AssertionError("no success within 10 s")


async def broken(face: Face, store: Any, harm: Harm, patient: "Patient") -> None:
    """Harm the server, and call until calls fail at once."""
    await healthy(lambda: store.get("k"))
    harm(patient)
    before = time.monotonic()
    while patient.state.breaker == "closed":
        assert time.monotonic() - before < 4 * patient.backend.deadline + 1, patient.state
        await face.together([lambda: outcome(CALLS["get"], store)] * 3)


async def pause(face: Face) -> None:
    """Let a moment pass, in a loop by suspending."""
    if face.is_async:
        await asyncio.sleep(0.002)
    else:
        time.sleep(0.002)


def assert_typed(error: BaseException) -> None:
    """Check that an error is one of ours for an outage."""
    assert isinstance(error, BackendUnavailable), repr(error)
    assert type(error).__module__.startswith("twofold."), type(error)


def origins(error: BaseException) -> list[BaseException]:
    """Return an error, what it came from, what that came from, ..."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


class Heartbeat:
    """Measures for how long the running loop stands still, by the beats of a thread.

    While the whole machine stands still the thread does too, and nothing is counted.
    """

    every = 0.005  # seconds

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds that it stood still at most."""
        self._beats = 0
        self._ending = threading.Event()

    async def __aenter__(self) -> "Heartbeat":
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()
        self._task = asyncio.create_task(self._look())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        await self._task
        self._thread.join()

    def _beat(self) -> None:
        while not self._ending.wait(self.every):
            self._beats += 1

    async def _look(self) -> None:
        while not self._ending.is_set():
            before = self._beats
            await asyncio.sleep(self.every)
            self.longest = max(self.longest, (self._beats - before) * self.every)


# Time


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_every_call_ends_in_time(
    patient: Patient, face: Face, harm: Harm, warm: bool, stalls: Stalls
) -> None:
    """Each operation ends within its deadline and 0.1 s, and by an error of ours."""
    store = face.view(patient.backend)

    async def body() -> None:
        if warm:
            assert await healthy(lambda: store.get("k")) is None
        harm(patient)
        ended = [await outcome(CALLS["get"], store)]
        for call in CALLS.values():
            ended += await face.together([lambda call=call: outcome(call, store)] * 2)
        ended += await face.together(
            [lambda call=call: outcome(call, store) for call in CALLS.values()]
        )
        assert max(took for took, _ in ended) < DEADLINE + GRACE + stalls.longest
        for _, error in ended:
            assert_typed(error)

    face.run(body())


def test_a_half_open_connection_is_left(patient: Patient, face: Face, stalls: Stalls) -> None:
    """What asks over a connection that has died silently ends in time; then there is another."""
    store = face.view(patient.backend)

    async def body() -> None:
        await healthy(lambda: store.get("k"))
        patient.half_open()
        took, error = await outcome(CALLS["get"], store)
        assert DEADLINE * 0.9 < took < DEADLINE + GRACE + stalls.longest
        assert type(error) is DeadlineExceeded
        assert await first_success(face, store) < BACK_WITHIN + stalls.longest

    face.run(body())


def test_a_trickle_ends_in_time(patient: Patient, face: Face, stalls: Stalls) -> None:
    """A reply that comes byte by byte ends in time, and nobody waits behind it for ever."""
    store = face.view(patient.backend)

    async def get_large() -> tuple[float, Any]:
        return await outcome(lambda store: store.get("large"), store)

    async def body() -> None:
        assert await healthy(lambda: store.set("large", bytes(500_000), None))
        patient.proxy.chunk = 1
        first = await get_large()
        assert type(first[1]) is DeadlineExceeded
        for took, error in [first, *await face.together([get_large] * 3)]:
            assert took < DEADLINE + GRACE + stalls.longest
            assert_typed(error)
        assert await first_success(face, store) < BACK_WITHIN + stalls.longest

    face.run(body())


def test_steps_share_one_deadline(patient: Patient, face: Face, stalls: Stalls) -> None:
    """A call ends in time too where it takes several round trips, each of which is in time."""
    store, proxy = face.view(patient.backend), patient.proxy
    calls: list[Call] = [
        lambda store: store.set("k", bytes(1000), 60),
        lambda store: store.compare_and_set("l", b"v", b"w", 60),
        lambda store: store.incr("n", 1),
    ]

    async def body() -> None:
        for call in calls:
            stored = {"l": b"v", "n": b"-05"}
            assert await healthy(lambda stored=stored: store.set_many(stored, 60)) == []
            many = [f"k{n}" for n in range(100)]  # over the other connection
            await healthy(lambda many=many: store.get_many(many))
            proxy.delay = 0.45 * DEADLINE  # each way
            took, _ = await outcome(call, store)
            assert took < DEADLINE + GRACE + stalls.longest
            proxy.delay = 0.0

    face.run(body())


@pytest.mark.parametrize("harm", [*HARMS, Patient.half_open], ids=lambda harm: harm.__name__)
async def test_a_loop_is_never_blocked(patient: Patient, harm: Harm, stalls: Stalls) -> None:
    """While calls fail, the loop goes on with everything else."""
    store = patient.backend
    await healthy(lambda: store.aget("k"))
    harm(patient)  # which may take the loop's time itself
    async with Heartbeat() as heart:
        ends = time.monotonic() + 3 * DEADLINE
        while time.monotonic() < ends:
            calls = [lambda: outcome(CALLS["get"], FACES[1].view(store))] * 50
            await asyncio.gather(*[call() for call in calls])
            await asyncio.sleep(0.001)
    await store.aclose()
    assert heart.longest < STANDSTILL + stalls.longest


@contextmanager
def lost(proxy: Proxy) -> Iterator[None]:
    """End the connection instead of the reply."""
    proxy.lose_reply()
    yield


@contextmanager
def cut(proxy: Proxy) -> Iterator[None]:
    """End the connection amid the reply."""
    proxy.cut_after(2)
    yield


@contextmanager
def broken_off(proxy: Proxy) -> Iterator[None]:
    """Break the connection when the request has passed, and the reply has not."""

    def break_off() -> None:
        eventually(lambda: proxy.requested > passed, "the request has passed")
        proxy.reset()

    proxy.delay, passed = 0.05, proxy.requested
    with ThreadPoolExecutor(1) as thread:
        breaking = thread.submit(break_off)
        yield
        breaking.result()
    proxy.delay = 0.0


@pytest.mark.parametrize("ending", [lost, cut, broken_off], ids=lambda ending: ending.__name__)
def test_a_connection_that_ends_amid_a_write(
    unhurried: Patient,
    face: Face,
    ending: Callable[[Proxy], AbstractContextManager[None]],
    stalls: Stalls,
) -> None:
    """The caller is told at once, nothing is done twice, no loop freezes, and the next call works.

    (aiomcache's own client would read the end of the stream for ever, and let nobody else run.)
    """
    store = face.view(unhurried.backend)

    async def body() -> None:
        for name in WRITES:
            assert await store.set_many({"k": b"v", "n": b"1"}, 60) == []
            await CALLS[name](store)
            with ending(unhurried.proxy):
                took, error = await outcome(CALLS[name], store)
            assert_typed(error)
            assert took < AT_ONCE + stalls.longest
            n = await store.get("n")
            assert n == b"3" or name != "incr" or (n == b"2" and ending is broken_off)

    async def watched() -> None:
        async with Heartbeat() as heart:
            await body()
        assert heart.longest < STANDSTILL + stalls.longest

    face.run(watched() if face.is_async else body())


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_success_comes_back_within_a_second(
    patient: Patient, face: Face, harm: Harm, stalls: Stalls
) -> None:
    """However long an outage was, a call succeeds within a second of its end."""
    store = face.view(patient.backend)

    async def body() -> None:
        await broken(face, store, harm, patient)
        patient.heal()
        assert await first_success(face, store) < BACK_WITHIN + stalls.longest
        assert await healthy(lambda: store.set("k", b"v", 60))
        assert await healthy(lambda: store.get("k")) == b"v"

    face.run(body())


def test_success_comes_back_though_a_ping_hangs(
    kind: Kind, own_server: Server, proxied: Callable[[Server], Proxy], face: Face, stalls: Stalls
) -> None:
    """With a deadline of a second too, for which a ping waits on a connection that is dead."""
    patient = Patient(kind, own_server, proxied, deadline=1.0)
    store = face.view(patient.backend)

    async def body() -> None:
        await healthy(lambda: store.get("k"))
        patient.refuse()
        await outcome(CALLS["get"], store)
        patient.black_hole()
        patient.proxy.refuse(False)
        accepted = patient.proxy.accepted
        eventually(lambda: patient.proxy.accepted > accepted, "a ping hangs")
        patient.half_open()
        assert await first_success(face, store) < BACK_WITHIN + stalls.longest

    face.run(body())
    patient.close()


# Cost


@pytest.mark.parametrize(
    "harm",
    [Patient.black_hole, Patient.refuse, Patient.unreachable],
    ids=lambda harm: harm.__name__,
)
def test_a_call_in_an_outage_costs_microseconds(patient: Patient, face: Face, harm: Harm) -> None:
    """While the breaker is open a call costs next to nothing, and no attempt to connect."""
    store = face.view(patient.backend)

    async def body() -> None:
        await broken(face, store, harm, patient)
        accepted, before = patient.proxy.accepted, time.monotonic()
        took = [(await outcome(CALLS["get"], store))[0] for _ in range(2000)]
        passed = time.monotonic() - before
        assert statistics.median(took) < 200e-6
        assert patient.proxy.accepted - accepted <= 1 + passed / 0.025  # the shortest pause

    face.run(body())


# What a caller sees


@pytest.mark.parametrize("name", CALLS)
def test_errors_tell_what_they_came_from(unhurried: Patient, face: Face, name: str) -> None:
    """Each operation raises an error of ours, and has that of the driver as its cause."""
    store = face.view(unhurried.backend)

    async def body() -> None:
        unhurried.refuse()
        _, error = await outcome(CALLS[name], store)
        assert_typed(error)
        assert any(isinstance(origin, unhurried.kind.origin) for origin in origins(error))

    face.run(body())


def test_the_state_is_visible(unhurried: Patient, face: Face) -> None:
    """`repr` and `servers` tell that the breaker is open, and why; then that all is well."""
    store, backend = face.view(unhurried.backend), unhurried.backend

    async def body() -> None:
        await store.get("k")
        assert f"{unhurried.proxy.address} breaker closed" in repr(backend)
        state = unhurried.state
        assert (state.name, state.breaker) == (unhurried.proxy.address, "closed")
        assert (state.failures, state.error, state.connections) == (0, "", 1)
        await broken(face, store, Patient.refuse, unhurried)
        await outcome(CALLS["get"], store)
        state = unhurried.state
        assert state.breaker == "open"
        assert state.failures > 0
        assert "cannot be reached" in state.error
        assert re.search(rf"{unhurried.proxy.address} breaker open>", repr(backend))
        unhurried.heal()
        await first_success(face, store)
        state = unhurried.state
        assert (state.breaker, state.failures, state.error) == ("closed", 0, "")
        assert "breaker closed" in repr(backend)

    face.run(body())


@pytest.fixture
def lenient(patient: Patient) -> Cache:
    """Return a cache on the server that takes an outage for misses."""
    patient.configure("miss")
    return caches["default"]


@pytest.mark.parametrize(
    "harm", [Patient.refuse, Patient.black_hole], ids=lambda harm: harm.__name__
)
def test_an_outage_is_misses(
    patient: Patient,
    lenient: Cache,
    face: Face,
    harm: Harm,
    caplog: pytest.LogCaptureFixture,
    stalls: Stalls,
) -> None:
    """With `on_error="miss"` nothing is read or stored; its beginning and end are logged."""
    cache = face.view(lenient)

    async def body() -> None:
        while not await cache.set("k", 1):  # the machine is too busy for the deadline
            await pause(face)
        caplog.clear()
        harm(patient)
        assert await cache.get("k") is None
        assert await cache.get("k", "default") == "default"
        assert await cache.get_many(["k", "l"]) == {}
        assert await cache.set("k", 2) is False
        assert await cache.set_many({"k": 2, "l": 2}) == ["k", "l"]
        assert await cache.add("l", 1) is False
        assert await cache.touch("k") is False
        assert await cache.ttl("k") == 0.0
        assert await cache.has_key("k") is False
        assert await cache.delete("k") is False
        assert await cache.delete_many(["k", "l"]) == 0
        with pytest.raises(MissingKey):
            await cache.incr("n")
        await cache.clear_prefix("x")
        stats = lenient.stats()
        assert stats.unavailable >= 13
        assert stats.servers[0].breaker == "open"
        patient.heal()
        eventual = await back(face, cache, stalls)
        assert eventual in (None, 1, 2)  # a write that was given up may have happened

    with caplog.at_level(logging.WARNING, "twofold"):
        face.run(body())
    began, ended = [each.getMessage() for each in caplog.records if each.name == "twofold"]
    assert "is unavailable" in began
    assert "is available again" in ended


async def back(face: Face, cache: Any, stalls: Stalls) -> Any:
    """Return what `k` is once a write succeeds again."""
    before = time.monotonic()
    while not await cache.set("probe", 1):
        assert time.monotonic() - before < BACK_WITHIN + stalls.longest
        await pause(face)
    return await cache.get("k")


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_functions_go_on_without_the_store(
    patient: Patient, face: Face, on_error: str, stalls: Stalls
) -> None:
    """In an outage `get_or_set` and decorated functions compute, each time, and bring values."""
    patient.configure(on_error)
    cache, ran = face.view(caches["default"]), list[int]()

    @cached
    def square(n: int) -> int:
        ran.append(n)
        return n * n

    @cached
    async def asquare(n: int) -> int:
        ran.append(n)
        return n * n

    async def call(n: int) -> int:
        return await asquare(n) if face.is_async else square(n)

    async def body() -> None:
        assert await cache.get_or_set("k", lambda: 1) == 1
        assert await call(2) == 4
        assert ran == [2]
        await broken(face, cache, Patient.refuse, patient)
        before = time.monotonic()
        for n in (2, 3, 3):
            assert await call(n) == n * n
            assert await cache.get_or_set("k", lambda n=n: n) == n
        assert time.monotonic() - before < 1.0 + stalls.longest
        assert ran == [2, 2, 3, 3]

    face.run(body())


# Under load


@pytest.fixture
def loaded(kind: Kind, own_server: Server, stalls: Stalls) -> Iterator[Load]:
    """Return sixteen workers at work on a server."""
    backend = kind.backend(own_server, deadline=DEADLINE)
    with Load(backend) as load:
        yield load
    backend.close()
    assert load.longest < DEADLINE + 2 * GRACE + stalls.longest  # they wait for each other, too


@pytest.mark.parametrize("cycles", CYCLES)
def test_a_server_is_killed_under_load(own_server: Server, loaded: Load, cycles: int) -> None:
    """However often it is killed and started again: no wrong value, and every worker goes on."""
    for _ in range(cycles):
        own_server.kill()
        loaded.await_failure()
        own_server.start()
        loaded.await_success()


@pytest.mark.parametrize("cycles", CYCLES)
def test_a_server_is_frozen_under_load(own_server: Server, loaded: Load, cycles: int) -> None:
    """However often it is suspended and thawed: no wrong value, and every worker goes on."""
    for _ in range(cycles):
        own_server.freeze()
        loaded.await_failure()
        own_server.thaw()
        loaded.await_success()


@pytest.mark.parametrize("cycles", CYCLES)
def test_a_server_is_restarted_under_load(own_server: Server, loaded: Load, cycles: int) -> None:
    """However often it is restarted at once: no wrong value, and every worker goes on."""
    for _ in range(cycles):
        own_server.restart()
        loaded.await_success()


# Look-ups


class Hanging:
    """A name server that does not answer for one host until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.released = threading.Event()
        looked_up = socket.getaddrinfo

        def look_up(host: Any, *given: Any, **more: Any) -> Any:
            if host != "cache.example":
                return looked_up(host, *given, **more)
            self.asked += 1
            self.released.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")

        monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging(monkeypatch)
    yield made
    made.released.set()


def test_a_look_up_without_an_answer(
    face: Face, kind: Kind, hanging: Hanging, stalls: Stalls
) -> None:
    """It costs a call its deadline, and goes on once for all, in no thread of the loop's."""
    backend = kind.make(f"{kind.name}://cache.example:1", deadline=0.2)

    async def body() -> None:
        store = face.view(backend)
        for _ in range(4):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await store.get("k")
            assert time.monotonic() - began < 1.0 + stalls.longest
        assert hanging.asked == 1
        if face.is_async:
            loop: Any = asyncio.get_running_loop()
            assert loop._default_executor is None
        await store.close()

    face.run(body())
