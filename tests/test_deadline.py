"""One deadline for all that is one to the caller, however many operations of the store it takes."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, TypeAlias

import pytest

from tests.chaos import Server, Stalls, healthy
from tests.chaos.signals import Signal
from tests.network_kinds import Kind
from tests.network_kinds import kind as kind  # a fixture
from tests.network_kinds import own_server as own_server  # a fixture
from twofold import Cache, cached
from twofold.contrib.http.headers import Headers
from twofold.contrib.http.messages import Request, Response
from twofold.contrib.http.pages import Pages
from twofold.effects import BLOCKING, NATIVE, Effects, ends_by, within
from twofold.errors import CacheError
from twofold.testing import FACES, Face

DEADLINE = 0.2
GRACE = 0.15  # seconds after the deadline in which all must have ended

Freeze: TypeAlias = Callable[[], None]
Compound: TypeAlias = Callable[[Cache, Any, Effects, Freeze], Awaitable[None]]


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


# What freezes the server, and then takes several operations


async def move(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    freeze()
    await view.incr_version("there")


async def count(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    freeze()
    await view.incr("number")


async def hold(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    lock = view.lock("l")
    freeze()
    await lock.acquire()


async def let_go(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    lock = view.lock("l")
    await lock.acquire()
    freeze()
    await lock.release()


async def miss(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    freeze()
    assert await view.get_or_set("k", lambda: 1) == 1


async def fill(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    assert await view.get_or_set("k", lambda: freeze() or 1) == 1


async def fill_by_result(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    """With tags that are known, and pinned, only then."""
    tags = {"tags": lambda value: ["t"]}
    assert await view.get_or_set("k", lambda: freeze() or 1.5, **tags) == 1.5


async def fill_many(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    def bring(keys: list[str]) -> dict[str, float]:
        freeze()
        return dict.fromkeys(keys, 1.5)

    await view.get_or_set_many(["k", "l"], bring, tags=lambda value: ["t"])


async def fail(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    def function() -> None:
        freeze()
        raise OSError

    await view.set("k", 1.5, stale=600)
    await view.mark_stale("k")
    assert await view.get_or_set("k", function, stale=600, wait=None) == 1.5


async def fail_many(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    def function(keys: list[str]) -> None:
        freeze()
        raise OSError

    await view.set("k", 1.5, stale=600)
    await view.mark_stale("k")
    found = await view.get_or_set_many(["k"], function, stale=600, wait=None)
    assert found == {"k": 1.5}


async def miss_near(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    """Of the read the tag alone is there, for it is near."""
    for _ in range(3):
        await view.get_or_set_many(["k"], lambda keys: {"k": 1.5}, tags=["t"])
    freeze()
    assert await view.get_or_set_many(["l"], lambda keys: {"l": 1.5}, tags=["t"]) == {"l": 1.5}


async def call(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    @cached(cache=cache)
    def function() -> int:
        return 1

    @cached(cache=cache)
    async def afunction() -> int:
        return 1

    freeze()
    assert (await afunction() if io.by_loop else function()) == 1


async def refresh(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    @cached(cache=cache)
    def function() -> int:
        freeze()
        return 1

    @cached(cache=cache)
    async def afunction() -> int:
        freeze()
        return 1

    assert (await afunction.arefresh() if io.by_loop else function.refresh()) == 1


async def find_page(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    pages = Pages(cache)
    freeze()
    exchange = await pages.open(io, REQUEST)
    exchange.release()
    exchange.abandon()


async def keep_page(cache: Cache, view: Any, io: Effects, freeze: Freeze) -> None:
    exchange = await Pages(cache).open(io, REQUEST)
    freeze()
    await exchange.respond(io, Response(200, Headers([(b"vary", b"accept")]), b"page"))


REQUEST = Request("GET", "http", b"host", b"/", b"", Headers([(b"accept", b"text/html")]))
COMPOUNDS = [move, count, hold, let_go, miss, fill, call, refresh, find_page, keep_page]
COMPOUNDS += [fill_by_result, fill_many, fail, fail_many, miss_near]


def test_a_frozen_server_costs_one_deadline(
    kind: Kind, own_server: Server, face: Face, stalls: Stalls
) -> None:
    """Whatever takes several operations of a store ends within one deadline of its."""
    took = {each.__name__: face.run(frozen(kind, own_server, face, each)) for each in COMPOUNDS}
    allowed = DEADLINE + GRACE + stalls.longest
    assert {name: seconds for name, seconds in took.items() if seconds > allowed} == {}


async def frozen(kind: Kind, server: Server, face: Face, compound: Compound) -> float:
    """Return how long something took from the moment at which the server was frozen."""
    secret = "s" * 32 if compound is count else None
    given: Any = {"near": "1mb"} if compound is miss_near else {}
    cache = Cache(
        kind.url(server),
        options={"deadline": DEADLINE},
        key_prefix=compound.__name__,
        secret=secret,
        **given,
    )
    view, since = face.view(cache), 0.0

    def freeze() -> None:
        nonlocal since
        server.freeze()
        since = time.monotonic()

    assert await healthy(lambda: view.set_many({"there": 1, "number": 2})) == []
    while not since:  # a busy machine may take longer for what comes before
        with suppress(CacheError):
            await compound(cache, view, NATIVE if face.is_async else BLOCKING, freeze)
    took = time.monotonic() - since
    server.thaw()
    await view.close()
    return took


# The bound itself


BOTH = pytest.mark.parametrize(
    ("face", "io"), [(FACES[0], BLOCKING), (FACES[1], NATIVE)], ids=["sync", "async"]
)


def told() -> float | None:
    return ends_by()


async def atold() -> float | None:
    return ends_by()


@BOTH
def test_a_bound_is_for_operations_alone(face: Face, io: Effects) -> None:
    """Each operation knows when to end; a user's function, and what comes after, do not."""

    async def body() -> None:
        before = time.monotonic()
        bounded = within(io, 5.0)
        ends = await bounded.op(told, atold)
        assert ends is not None
        assert before + 5.0 <= ends <= time.monotonic() + 5.0
        assert await bounded.call(ends_by) is None
        assert ends_by() is None

    face.run(body())


@BOTH
def test_of_two_bounds_the_earlier_holds(face: Face, io: Effects) -> None:
    """What is one operation of a compound one ends with that, whatever it allows itself."""

    async def body() -> None:
        short, long = within(io, 5.0), within(io, 50.0)
        ends = await short.op(told, atold)
        assert await within(short, 50.0).op(told, atold) == ends
        assert await within(within(io, 50.0, time.monotonic()), 5.0).op(told, atold) != ends
        assert await within(long, 5.0, 1.0).op(told, atold) == 6.0

    face.run(body())


def test_tasks_that_share_a_context_share_no_bound() -> None:
    """While one task waits for its operation, another one in the same context has no bound."""

    async def bounded(waiting: asyncio.Event, on: asyncio.Event) -> float | None:
        async def operation() -> float | None:
            ends = ends_by()
            waiting.set()
            await on.wait()
            return ends

        return await within(NATIVE, 5.0).op(told, operation)

    async def body() -> None:
        context: Context = copy_context()
        waiting, on = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(bounded(waiting, on), context=context)
        await waiting.wait()
        assert await asyncio.create_task(atold(), context=context) is None
        on.set()
        assert await first is not None
        assert context.run(ends_by) is None

    asyncio.run(body())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*<coroutine object:pytest.PytestUnraisableExceptionWarning")
def test_what_a_signals_handler_breaks_off_ends_at_once() -> None:
    """An operation that waits ends with its caller, and not when its frames are collected."""
    going: list[int] = []

    async def native() -> None:
        going.append(1)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            going.clear()

    async def run() -> None:
        await within(NATIVE, 10).op(int, native)

    last: BaseException | None
    n = 1
    while True:
        with Signal(n, KeyboardInterrupt) as handler:
            try:
                asyncio.run(run())
            except KeyboardInterrupt as error:
                last = error  # whose traceback has all frames
        assert not going
        if not handler.fired:
            break
        n += 1
    assert n > 50
    del last
    gc.collect()  # what never began, while warnings of that are ignored
