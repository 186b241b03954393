"""Stores behind a network: who is cancelled, or interrupted, at any moment harms nobody."""

import asyncio
import gc
import itertools
import random
import signal
import socket
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from tests.chaos import Proxy, Server, Stalls
from tests.chaos.fixtures import MakeProxy
from tests.network_kinds import Kind
from tests.network_kinds import kind as kind  # a fixture
from tests.network_kinds import own_server as own_server  # a fixture
from tests.network_kinds import server as server  # a fixture
from tests.network_loops import Run, cache_on
from tests.network_loops import run as run  # a fixture
from twofold import backends
from twofold.backend import Backend
from twofold.backends.network import pool
from twofold.core import Cache
from twofold.effects import run_sync
from twofold.errors import BackendUnavailable
from twofold.stub import new_stub

Call = Callable[[Cache], Awaitable[Any]]

STEPS = 60
MOST_STEPS = 20_000  # by then every operation has ended
BYSTANDERS = {f"bystander:{n}": f"value of {n}" for n in range(8)}
MANY = [f"m{n}" for n in range(5)]
DOOMED = {f"doomed:{n}": n for n in range(100)}
ABSENT = "never stored"
BIG = "big" * 40_000
BACKENDS = str(Path(backends.__file__).parent)
MOMENTS = 20  # that every call has at least
ENDS = 5  # cancelled so often after its end, a call has been cancelled at all its steps
EVERY = pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.heavy)])
SOON = 2.0  # seconds: less than a deadline
PATIENT = 10.0  # a deadline that nothing passes which goes well, on a busy machine
RAW = "raw"  # a key of the backend's own


class Operation(NamedTuple):
    """A call, and what is right after it, whether it was cancelled or not."""

    call: Call
    holds: Call


async def use_lock(cache: Cache) -> None:
    async with cache.lock("l", wait=0):
        pass


async def lock_is_free(cache: Cache) -> bool:
    await use_lock(cache)
    return True


async def compute() -> str:
    return "new"


def one_of(key: str, *values: Any) -> Call:
    async def holds(cache: Cache) -> bool:
        return await cache.aget(key) in values

    return holds


async def all_or_none(cache: Cache) -> bool:
    found = await cache.aget_many(MANY)
    return found in (dict.fromkeys(MANY, "old"), dict.fromkeys(MANY, "new"))


async def swapped_or_not(cache: Cache) -> bool:
    return await cache.backend.aget(RAW) in (b"old", b"new")


async def computed_or_not(cache: Cache) -> bool:
    found = await cache.aget("absent")
    return found in (None, "new") and await cache.aget_or_set("absent", compute) == "new"


OPERATIONS = {
    "get": Operation(lambda cache: cache.aget("k"), one_of("k", "old")),
    "set": Operation(lambda cache: cache.aset("k", "new"), one_of("k", "old", "new")),
    "add": Operation(lambda cache: cache.aadd("absent", "new"), one_of("absent", None, "new")),
    "touch": Operation(lambda cache: cache.atouch("k", 60), one_of("k", "old")),
    "delete": Operation(lambda cache: cache.adelete("k"), one_of("k", "old", None)),
    "incr": Operation(lambda cache: cache.aincr("n"), one_of("n", 10, 11)),
    "get_many": Operation(lambda cache: cache.aget_many(MANY), all_or_none),
    "set_many": Operation(
        lambda cache: cache.aset_many(dict.fromkeys(MANY, "new")), all_or_none
    ),
    "compare_and_set": Operation(
        lambda cache: cache.backend.acompare_and_set(RAW, b"old", b"new", 60), swapped_or_not
    ),
    "lock": Operation(use_lock, lock_is_free),
    "get_or_set": Operation(
        lambda cache: cache.aget_or_set("absent", compute), computed_or_not
    ),
}  # fmt: skip


async def begin(cache: Cache) -> None:
    """Store what the operations find."""
    stored = {**BYSTANDERS, **dict.fromkeys(["k", *MANY], "old"), "n": 10, "counted": 0}
    assert await cache.aset_many(stored, 60) == []
    assert await cache.aincr("n", 0) == 10  # from now on the server knows the script
    assert await cache.backend.aset(RAW, b"old", 60)
    await cache.adelete("absent")


async def cancelled_after(steps: int, call: Awaitable[Any]) -> bool:
    """Cancel a call after so many iterations of the loop, and tell whether it had ended."""
    task = asyncio.ensure_future(call)
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() != ended
    if ended:
        task.result()
    return ended


async def assert_unharmed(cache: Cache) -> None:
    """Check that others have their values, and that what is asked next gets its own replies."""
    before = await cache.aget("counted")
    calls = [
        cache.aget(ABSENT),
        cache.aincr("counted"),
        cache.aadd("counted", 0),
        cache.aget_many(BYSTANDERS),
        cache.aset("stored", before),
        cache.adelete(ABSENT),
        cache.ahas_key("counted"),
    ]
    right = [None, before + 1, False, BYSTANDERS, True, False, True]
    assert await asyncio.gather(*calls) == right
    assert await cache.aget("stored") == before


async def assert_nothing_is_harmed(cache: Cache, operation: Operation, steps: int) -> bool:
    """Cancel an operation beside others; tell whether it had ended by itself."""
    beside = [asyncio.ensure_future(cache.aget(key)) for key in BYSTANDERS]
    ended = await cancelled_after(steps, operation.call(cache))
    assert await asyncio.gather(*beside) == list(BYSTANDERS.values())
    await assert_unharmed(cache)
    assert await operation.holds(cache)
    return ended


async def steps_of(attempt: Callable[[int], Awaitable[bool]], every: int = 1) -> None:
    """Attempt it after 0, 1, 2, … iterations, and after more until it has ended by itself."""
    ends = 0
    for steps in range(0, STEPS + 1, every):
        ended = await attempt(steps)
        ends = ends + 1 if ended else 0
        if ends == ENDS:
            break
    while not ended:
        steps += steps // 2  # a busy machine's server may take tens of thousands
        ended = await attempt(steps)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_cancelled_at_any_step(name: str, run: Run, kind: Kind, server: Server) -> None:
    """A caller who leaves a warm connection, at whatever step, leaves it whole to the others."""

    async def body() -> None:
        cache = cache_on(kind.url(server), deadline=PATIENT)

        async def attempt(steps: int) -> bool:
            await begin(cache)
            return await assert_nothing_is_harmed(cache, OPERATIONS[name], steps)

        await begin(cache)
        before = kind.accepted(server)
        await steps_of(attempt)
        assert kind.accepted(server) == before + 1  # which asks for that
        await cache.aclose()

    run(body())


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_first_call_cancelled_at_any_step(
    name: str, run: Run, kind: Kind, server: Server
) -> None:
    """A caller who leaves while the connection is made leaves it to those who wait for it too."""

    async def body() -> None:
        warm = cache_on(kind.url(server), deadline=PATIENT)

        async def attempt(steps: int) -> bool:
            await begin(warm)
            cold = cache_on(kind.url(server), deadline=PATIENT)
            ended = await assert_nothing_is_harmed(cold, OPERATIONS[name], steps)
            await cold.aclose()
            return ended

        await steps_of(attempt)
        await warm.aclose()

    run(body())


def test_a_clear_cancelled_at_any_step(run: Run, kind: Kind, server: Server) -> None:
    """Who leaves amid the walk over the keys harms no other key, and the next one clears."""

    async def attempt(steps: int) -> bool:
        await begin(cache)
        assert await cache.aset_many(DOOMED, 60) == []
        ended = await cancelled_after(steps, cache.aclear_prefix("doomed"))
        await assert_unharmed(cache)
        await cache.aclear_prefix("doomed")
        assert await cache.aget_many(DOOMED) == {}
        return ended

    async def body() -> None:
        await steps_of(attempt, every=15)  # memcached takes its time to walk
        await cache.aclose()

    cache = cache_on(kind.url(server), deadline=PATIENT)
    run(body())


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "left to its loop"])
def test_a_connect_that_nobody_waits_for(
    closes: bool, run: Run, kind: Kind, server: Server
) -> None:
    """A connection whose only caller left while it was made is closed like any other."""

    async def attempt(steps: int) -> bool:
        cache = cache_on(kind.url(server))
        ended = await cancelled_after(steps, cache.aget("k"))
        if closes:
            await cache.aclose()
        return ended

    async def attempt_in_a_loop(steps: int) -> bool:
        return bool(run(attempt(steps)))

    run_sync(steps_of(attempt_in_a_loop))


# The sync face: a signal's handler


class Interruption(BaseException):
    """What a signal's handler raises."""


def store_values(url: str) -> None:
    cache = cache_on(url, deadline=PATIENT)
    assert cache.set_many({"a": "value of a", "b": "value of b", "big": BIG, "n": 0}, 600) == []
    cache.close()


@contextmanager
def at_moment(number: int, act: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Have `act` called within the backend, at the n-th moment that a signal may choose.

    Such moments are the beginnings and ends of calls. Yields whether there were so many.
    """
    left = number

    def watch(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        # CPython 3.13 loses what is raised where a coroutine is suspended; no handler runs there
        suspends = event == "return" and asyncio.isfuture(argument)
        if frame.f_code.co_filename.startswith(BACKENDS) and not suspends:
            left -= 1
            if left < 0:
                sys.setprofile(None)
                act()

    before = sys.getprofile()
    gc.disable()  # the end of another cache is no moment of this one's
    sys.setprofile(watch)
    try:
        yield lambda: left < 0
    finally:
        sys.setprofile(before)
        gc.enable()


def moments(every: int) -> range:
    """Return every moment, or one of some, of which another run chooses others."""
    return range(random.randrange(every), MOST_STEPS, every)


def every_moment(
    url: str, warm: bool, call: Callable[[Cache], Any], act: Callable[[Cache], None], every: int
) -> int:
    """Have `act` called at moments of a call, and return how many there were: see `moments`."""
    for number in moments(every):
        cache = cache_on(url, deadline=PATIENT)
        if warm:
            assert cache.get("b") == "value of b"
        with at_moment(number, lambda cache=cache: act(cache)) as acted, suppress(Interruption):
            call(cache)
        assert cache.get("b") == "value of b"
        assert cache.get_many(["a", "absent", "b"]) == {"a": "value of a", "b": "value of b"}
        cache.close()
        if not acted():
            gc.collect()  # an exception's traceback, which holds a socket, may be part of a cycle
            return number
    raise AssertionError("it does not end")


def get(cache: Cache) -> None:
    assert cache.get("a") == "value of a"


def get_big(cache: Cache) -> None:
    assert cache.get("big") == BIG


def get_many(cache: Cache) -> None:
    assert cache.get_many(["b", "a"]) == {"b": "value of b", "a": "value of a"}


def incr(cache: Cache) -> None:
    assert cache.incr("n") == cache.get("n")


CALLS = [get, get_big, get_many, incr]


@EVERY
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("call", CALLS)
def test_an_interruption_at_any_moment(
    call: Callable[[Cache], None], warm: bool, kind: Kind, server: Server, every: int
) -> None:
    """An exception out of a signal's handler, whenever it comes, spoils no later reply."""

    def interrupt(cache: Cache) -> None:
        raise Interruption

    store_values(kind.url(server))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a socket just opened has no owner yet
        assert every_moment(kind.url(server), warm, call, interrupt, every) > MOMENTS


@EVERY
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("inner", [get, get_many])
def test_a_call_within_a_call_at_any_moment(
    inner: Callable[[Cache], None],
    call: Callable[[Cache], None],
    warm: bool,
    kind: Kind,
    server: Server,
    every: int,
) -> None:
    """A signal's handler may use the cache, whenever it comes: both have what they asked for."""
    store_values(kind.url(server))
    assert every_moment(kind.url(server), warm, call, inner, every) > MOMENTS


def test_a_call_within_a_call_that_fails(kind: Kind, own_server: Server) -> None:
    """While the server is down, too, a signal's handler may use the cache."""
    own_server.kill()

    def fail(cache: Cache) -> None:
        with pytest.raises(BackendUnavailable):
            cache.get("a")

    for number in range(MOST_STEPS):
        cache = cache_on(kind.url(own_server))
        with at_moment(number, lambda cache=cache: fail(cache)) as acted:
            fail(cache)
        if not acted():
            break
    assert number > MOMENTS


def test_an_interrupted_claim_can_be_released(
    kind: Kind, server: Server, proxied: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a signal's handler broke off is carried out before what the caller does about it."""
    monkeypatch.setattr(pool, "_LAST_WORD", 10.0)
    proxy, stub = proxied(server), new_stub()
    backend = kind.backend(proxy, deadline=10.0)
    assert backend.get_or_claim("other", stub, 60) is None  # by the means that the server has
    proxy.delay = 0.1

    def interrupt(number: int, frame: FrameType | None) -> None:
        proxy.delay = 0.0  # what is sent from now on is faster
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(Interruption):
            backend.get_or_claim("k", stub, 60)
        assert backend.release("k", stub)
    finally:
        signal.signal(signal.SIGALRM, before)
        backend.close()


async def aget(cache: Cache) -> None:
    assert await cache.aget("a") == "value of a"


async def aget_many(cache: Cache) -> None:
    assert await cache.aget_many(["b", "a"]) == {"b": "value of b", "a": "value of a"}


async def gets_at_once(cache: Cache) -> None:
    got = await asyncio.gather(*map(cache.aget, "bab"), return_exceptions=True)
    assert all(
        isinstance(value, BackendUnavailable | Interruption) or value == f"value of {key}"
        for key, value in zip("bab", got, strict=True)
    )


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@EVERY
@pytest.mark.parametrize(("call", "warm"), [(aget, False), (aget_many, True), (gets_at_once, True)])
def test_an_interruption_of_a_loop_at_any_moment(
    call: Callable[[Cache], Awaitable[None]], warm: bool, kind: Kind, server: Server, every: int
) -> None:
    """Where the loop goes on, no later call gets another's reply, or waits in vain."""
    store_values(kind.url(server))

    def interrupt() -> None:
        raise Interruption

    async def body(number: int) -> bool:
        cache = cache_on(kind.url(server))
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        if warm:
            assert await cache.aget("b") == "value of b"
        with at_moment(number, interrupt) as acted, suppress(Interruption, BackendUnavailable):
            async with asyncio.timeout(SOON):
                await call(cache)
        for keys in ("a", "ba", "aba"):
            async with asyncio.timeout(SOON):
                got = await asyncio.gather(*map(cache.aget, keys))
            assert got == [f"value of {key}" for key in keys]
        await cache.aclose()
        return not acted()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what was broken off before anybody owned it
        for number in moments(every):
            if asyncio.run(body(number)):
                break
        gc.collect()
    assert number > MOMENTS


def framed_by_redis(key: bytes, value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def framed_by_memcached(key: bytes, value: bytes) -> bytes:
    return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)


FRAMED = {"redis": framed_by_redis, "memcached": framed_by_memcached}


def request_to(listener: socket.socket) -> tuple[socket.socket, bytes]:
    """Accept a client, welcome it, and return what it asks."""
    client, _ = listener.accept()
    asked = client.recv(1000)
    if asked == b"version\r\n":
        client.sendall(b"VERSION 1.6.18\r\n")
        asked = client.recv(1000)
    return client, asked


def test_a_signal_amid_a_reply(kind: Kind) -> None:
    """A call that a signal ends takes its connection with it, and the rest of its reply."""
    framed = FRAMED[kind.name]
    first, second = framed(b"second", b"wrong") * 1000, b"second" * 1000
    main = threading.get_ident()
    seen = []

    def serve(listener: socket.socket) -> None:
        client, asked = request_to(listener)
        other: socket.socket | None = None
        with client:
            seen.append(asked)
            reply = framed(b"first", first)
            client.sendall(reply[:2000])
            signal.pthread_kill(main, signal.SIGUSR1)
            other, asked = request_to(listener)
            with suppress(OSError):
                client.sendall(reply[2000:])
        with other:
            seen.append(asked)
            other.sendall(framed(b"second", second))

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interruption

    before = signal.signal(signal.SIGUSR1, interrupt)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"{kind.name}://127.0.0.1:{listener.getsockname()[1]}"
        backend = kind.make(url, deadline=5.0)
        try:
            with pytest.raises(Interruption):
                backend.get("first")
            assert backend.get("second") == second
        finally:
            signal.signal(signal.SIGUSR1, before)
            backend.close()
            thread.join()
    assert [b"first" in seen[0], b"second" in seen[1]] == [True, True]


# All at once


DEADLINE = 3.0  # seconds: a machine that stands still for one harms no storm
MOST_CALLS = {"redis": 25_000, "memcached": 5_000}  # in each kind of loop
KILL_EVERY = 200  # calls: by the clock, a slow machine would get none through in between


class Storm:
    """Many calls on one backend, of which two in five are cancelled or given 0 to 20 ms."""

    workers = 100
    hurry = 0.02  # seconds
    kept = tuple(f"kept:{n}" for n in range(30))
    changed = tuple(f"changed:{n}" for n in range(30))
    big = tuple(f"big:{n}" for n in range(3))

    def __init__(self, backend: Backend, calls: int) -> None:
        self.left = calls
        self.wrong: list[str] = []
        self.fates: Counter[str] = Counter()
        self.longest = 0.0
        self.frozen = 0.0
        """Seconds that the loop took to come round at most, beyond what it was to sleep."""
        self.counted = self.asked = 0
        self._backend = backend
        self._dice = random.Random(calls)
        self._added = itertools.count()

    async def run(self, harm: AbstractContextManager[None]) -> None:
        """Do all the calls in `harm`; what is wrong with their replies is then in `wrong`."""
        assert await self._backend.aset_many({key: value_of(key) for key in self.kept}, None) == []
        assert await self._backend.aset_many({key: big_of(key) for key in self.big}, None) == []
        assert await self._backend.aset("count", b"0", None)
        with harm:
            beating = asyncio.create_task(self._beat())
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work())
            beating.cancel()
            await asyncio.wait({beating})
        await self._settled()
        total = int(await self._backend.aget("count"))
        assert self.counted <= total <= self.asked
        found = await self._backend.aget_many(self.kept)
        assert found == {key: value_of(key) for key in self.kept}

    async def _settled(self) -> None:
        """Wait until the last harm is forgotten."""
        async with asyncio.timeout(10.0):
            while True:
                with suppress(BackendUnavailable):
                    return await self._backend.aget("count")
                await asyncio.sleep(0.01)

    async def _beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.frozen = max(self.frozen, time.monotonic() - before - 0.005)

    async def _work(self) -> None:
        while self.left > 0:
            self.left -= 1
            fate = self._dice.choices(["left alone", "hurried", "cancelled"], [60, 20, 20])[0]
            seconds = self._dice.uniform(0.0, self.hurry)
            started = time.monotonic()
            try:
                await getattr(self, f"_{fate.replace(' ', '_')}")(seconds)
            except (TimeoutError, BackendUnavailable) as error:
                fate += f": {type(error).__name__}"
                await asyncio.sleep(self.hurry / 2)  # or the breaker's refusals were nearly all
            self.fates[fate] += 1
            self.longest = max(self.longest, time.monotonic() - started)

    async def _left_alone(self, seconds: float) -> None:
        await self._call()

    async def _hurried(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await self._call()

    async def _cancelled(self, seconds: float) -> None:
        task = asyncio.ensure_future(self._call())
        timer = asyncio.get_running_loop().call_later(seconds, task.cancel)
        await asyncio.wait({task})
        timer.cancel()
        if task.cancelled():
            self.fates["cancelled in time"] += 1
        else:
            task.result()

    async def _call(self) -> None:
        calls = [self._get, self._get_many, self._set, self._touch, self._delete, self._add]
        rare = [self._incr, self._get_big]
        await self._dice.choices([*calls, *rare], [40, 10, 15, 5, 10, 10, 10, 0.2])[0]()

    async def _get(self) -> None:
        key = self._dice.choice([*self.kept, *self.changed])
        self._check(key, await self._backend.aget(key))

    async def _get_big(self) -> None:
        key = self._dice.choice(self.big)
        if await self._backend.aget(key) != big_of(key):
            self.wrong.append(key)

    async def _get_many(self) -> None:
        keys = self._dice.sample([*self.kept, *self.changed], self._dice.choice([3, 40]))
        found = await self._backend.aget_many(keys)
        for key in keys:
            self._check(key, found.get(key))

    async def _set(self) -> None:
        key = self._dice.choice([*self.kept, *self.changed])
        if await self._backend.aset(key, value_of(key), 600) is not True:
            self.wrong.append(f"{key} is not stored")

    async def _touch(self) -> None:
        key = self._dice.choice(self.kept)
        if await self._backend.atouch(key, None) is not True:
            self.wrong.append(f"{key} is not touched")

    async def _delete(self) -> None:
        key = self._dice.choice(self.changed)
        if type(await self._backend.adelete(key)) is not bool:
            self.wrong.append(f"{key} is not deleted")

    async def _add(self) -> None:
        key = f"added:{next(self._added)}"
        if not await self._backend.aadd(key, value_of(key), 600):
            self.wrong.append(f"{key} is not added")
        if await self._backend.aadd(key, b"other", 600):
            self.wrong.append(f"{key} is added twice")

    async def _incr(self) -> None:
        before, self.asked = self.counted, self.asked + 1
        total = await self._backend.aincr("count", 1)
        self.counted += 1
        if not before < total <= self.asked:
            self.wrong.append(f"the count is {total}, after {before} and {self.asked}")

    def _check(self, key: str, value: bytes | None) -> None:
        """Check a value; only keys that are deleted now and then may be missing."""
        if value != value_of(key) and not (value is None and key in self.changed):
            self.wrong.append(f"{key}: {value!r}")


def value_of(key: str) -> bytes:
    return f"value of {key}".encode()


def big_of(key: str) -> bytes:
    return key.encode() * 12_000


@contextmanager
def killing(proxy: Proxy, storm: Storm) -> Iterator[None]:
    """Close all connections, again and again, as a storm's calls go on."""
    ended = threading.Event()

    def kill() -> None:
        left = storm.left
        while not ended.wait(0.005):
            if storm.left <= left - KILL_EVERY:
                left = storm.left
                proxy.kill_all()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def storm(run: Run, kind: Kind, proxy: Proxy, calls: int, kills: bool) -> Storm:
    """Do so many calls through a slow proxy, which may kill their connections."""
    proxy.delay, proxy.chunk = (0.0, 0.005), 1_000

    async def body() -> Storm:
        backend = kind.backend(proxy, deadline=DEADLINE)
        made = Storm(backend, calls)
        await made.run(killing(proxy, made) if kills else nullcontext())
        await backend.aclose()
        return made

    made: Storm = run(body())
    return made


@pytest.mark.parametrize("most", [3_000, pytest.param(25_000, marks=pytest.mark.heavy)])
def test_a_storm_of_cancelled_and_hurried_calls(
    most: int, run: Run, kind: Kind, server: Server, proxied: MakeProxy, stalls: Stalls
) -> None:
    """No value is wrong, no key that was never deleted is missing, and no call is overdue."""
    proxy, calls = proxied(server), min(most, MOST_CALLS[kind.name])
    done = storm(run, kind, proxy, calls, kills=False)
    assert done.wrong == []
    assert done.longest <= 2 * DEADLINE + stalls.longest
    assert done.fates["left alone"] > 0
    assert done.fates["cancelled in time"] + done.fates["hurried: TimeoutError"] >= 0.1 * calls
    assert proxy.accepted == 2  # nobody took a connection along


@pytest.mark.parametrize("calls", [3_000, pytest.param(50_000, marks=pytest.mark.heavy)])
def test_a_storm_whose_connections_are_killed(
    calls: int, run: Run, kind: Kind, server: Server, proxied: MakeProxy, stalls: Stalls
) -> None:
    """The same holds while they die, no call is done twice, and the loop never stands still."""
    proxy = proxied(server)
    done = storm(run, kind, proxy, calls, kills=True)
    assert done.wrong == []
    assert done.longest <= 2 * DEADLINE + stalls.longest
    assert done.frozen <= 0.2 + stalls.longest
    assert done.fates["left alone"] > 0
    assert proxy.accepted >= 3
