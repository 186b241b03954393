"""Nobody waits for a lock, or while holding one, for whoever waits for them.

Tasks and threads, locks and computations mixed: what would wait until a lock's life is over
raises, or computes for itself. What only looks like a circle does not.
"""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest

from tests.chaos import eventually
from twofold import Cache, ReentrantCall
from twofold.backends.memory import MemoryBackend
from twofold.claims.flights import Flight
from twofold.claims.table import Joined, hold
from twofold.effects import BLOCKING
from twofold.testing import FACES, Face, FakeClock

PATIENCE = 20.0  # seconds: a circle that nobody sees takes longer
LIFE = 1000  # seconds, that a lock is held at most

both_faces = pytest.mark.parametrize("face", FACES, ids=repr)
mixed_faces = pytest.mark.parametrize("second", FACES, ids=repr)
Start = Callable[[Face, Callable[[], Coroutine[Any, Any, Any]]], "Future[Any]"]


@pytest.fixture
def clock() -> FakeClock:
    """The time of locks' lives."""
    return FakeClock()


@pytest.fixture
def cache(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Cache]:
    """A cache of the test's own, in which nothing is left claimed."""
    store = MemoryBackend(request.node.name, clock=clock)
    made = Cache(store)
    yield made
    assert not made._claims.table
    store.clear("")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a body in a thread of its own, in the async face as a task of a loop there."""
    with ThreadPoolExecutor(4) as pool:
        yield lambda face, body: pool.submit(lambda: face.run(body()))


def in_face(face: Face, body: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], Any]:
    """Return the function that a cache in that face calls."""
    return body if face.is_async else lambda: face.run(body())


def wants_something(cache: Cache, key: str) -> bool:
    """Tell whether the holder of `key` waits for somebody."""
    return any(each.key.endswith(key) and each.wants for each in cache._claims)


@both_faces
@mixed_faces
def test_a_computation_that_waits_for_a_lock_is_not_waited_for_by_its_holder(
    face: Face, second: Face, cache: Cache, start: Start
) -> None:
    """The holder computes for itself, and the computation has the lock after it."""
    held, holder, other = threading.Event(), face.view(cache), second.view(cache)

    async def hold() -> Any:
        async with holder.lock("l", timeout=LIFE):
            held.set()
            eventually(lambda: wants_something(cache, "k"), "the function waits for the lock")
            return await holder.get_or_set("k", lambda: "mine")

    async def compute() -> Any:
        async with other.lock("l", timeout=LIFE):
            return "theirs"

    async def ask() -> Any:
        assert held.wait(PATIENCE)
        return await other.get_or_set("k", in_face(second, compute))

    mine, theirs = start(face, hold), start(second, ask)
    assert (mine.result(PATIENCE), theirs.result(PATIENCE)) == ("mine", "theirs")
    assert cache.get("k") == "theirs"


@both_faces
@mixed_faces
def test_a_lock_is_not_waited_for_whose_holder_waits_for_the_computation(
    face: Face, second: Face, cache: Cache, start: Start
) -> None:
    """The function that asks for the lock is told, and so are all who wait for the function."""
    held, begun = threading.Event(), threading.Event()
    holder, other = face.view(cache), second.view(cache)

    async def hold() -> Any:
        async with holder.lock("l", timeout=LIFE):
            held.set()
            assert begun.wait(PATIENCE)
            return await holder.get_or_set("k", lambda: "mine")

    async def compute() -> Any:
        begun.set()
        eventually(lambda: wants_something(cache, "l"), "the holder waits for the function")
        async with other.lock("l", timeout=LIFE):
            raise AssertionError("two hold it")

    async def ask() -> Any:
        assert held.wait(PATIENCE)
        return await other.get_or_set("k", in_face(second, compute))

    for asked in start(face, hold), start(second, ask):
        with pytest.raises(ReentrantCall, match="would never end"):
            asked.result(PATIENCE)


@both_faces
@mixed_faces
def test_two_holders_do_not_wait_for_each_others_locks(
    face: Face, second: Face, cache: Cache, start: Start
) -> None:
    """One of them is told, and lets go, and the other has both locks then."""
    both = threading.Barrier(2)

    async def work(view: Any, first: str, then: str) -> str:
        async with view.lock(first, timeout=LIFE):
            both.wait(PATIENCE)
            async with view.lock(then, timeout=LIFE):
                return "both"

    asked = [
        start(face, partial(work, face.view(cache), "l", "m")),
        start(second, partial(work, second.view(cache), "m", "l")),
    ]
    ends = [each.exception(PATIENCE) or each.result() for each in asked]
    assert "both" in ends
    ends.remove("both")
    assert isinstance(ends[0], ReentrantCall)


@both_faces
def test_a_circle_of_many(face: Face, cache: Cache, start: Start) -> None:
    """Three locks and a computation, each held by one who waits for the next."""
    view, all_hold = face.view(cache), threading.Barrier(4)

    async def hold(mine: str, then: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async with view.lock(mine, timeout=LIFE):
            all_hold.wait(PATIENCE)
            return await then()

    async def take(name: str) -> str:
        async with view.lock(name, timeout=LIFE):
            return name

    async def compute() -> str:
        all_hold.wait(PATIENCE)
        return await take("l")

    asked = [
        start(face, lambda: view.get_or_set("k", in_face(face, compute))),
        start(face, lambda: hold("l", partial(take, "m"))),
        start(face, lambda: hold("m", partial(take, "n"))),
        start(face, lambda: hold("n", lambda: view.get_or_set("k", lambda: "alone"))),
    ]
    errors = [each.exception(PATIENCE) for each in asked]
    assert all(error is None or isinstance(error, ReentrantCall) for error in errors)
    assert None in errors


@both_faces
def test_a_lock_is_not_reentrant(face: Face, cache: Cache) -> None:
    """Who waits for a lock that it holds itself is told; who only tries once gets none."""
    view = face.view(cache)

    async def body() -> None:
        async with view.lock("l", timeout=LIFE):
            with pytest.raises(ReentrantCall, match="not reentrant"):
                async with view.lock("l"):
                    pass
            with pytest.raises(ReentrantCall, match="not reentrant"):
                await view.lock("l").acquire(wait=60)
            assert await view.lock("l").acquire(wait=0) is False
        assert await view.lock("l").acquire(wait=0) is True

    face.run(body())


@both_faces
@pytest.mark.parametrize("of_loop", [False, True], ids=["def", "async def"])
def test_a_function_does_not_take_the_lock_that_its_caller_holds(
    face: Face, of_loop: bool, cache: Cache
) -> None:
    """Also where it runs in a task or a thread of its own."""
    view = face.view(cache)

    async def acompute() -> str:
        async with cache.lock("l", timeout=LIFE):
            return "never"

    def compute() -> str:
        with cache.lock("l", timeout=LIFE):
            return "never"

    async def body() -> None:
        async with view.lock("l", timeout=LIFE):
            with pytest.raises(ReentrantCall):
                await view.get_or_set("k", acompute if of_loop and face.is_async else compute)

    face.run(body())


async def test_a_task_that_was_begun_while_a_lock_was_held_may_wait_for_it(cache: Cache) -> None:
    """It inherits the context, but its holder does not wait for it."""

    async def later() -> str:
        async with cache.lock("l", timeout=LIFE):
            return await cache.aget_or_set("k", lambda: "later")

    async with cache.lock("l", timeout=LIFE):
        task = asyncio.create_task(later())
        thread = asyncio.create_task(asyncio.to_thread(cache.lock("l", timeout=LIFE).acquire))
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(thread, PATIENCE) is True
    cache.backend.clear("")
    assert await asyncio.wait_for(task, PATIENCE) == "later"


async def test_a_lock_may_be_handed_over(cache: Cache) -> None:
    """Who acquired a lock may wait for it again, while another task is to release it."""
    done = []

    async def work(n: int, lock: Any) -> None:
        await asyncio.sleep(0)
        done.append(await cache.aget_or_set(f"k{n}", lambda: n))
        await lock.arelease()

    tasks = []
    for n in range(4):
        lock = cache.lock("l", timeout=LIFE)
        assert await lock.aacquire() is True
        tasks.append(asyncio.create_task(work(n, lock)))
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    assert done == [0, 1, 2, 3]


@both_faces
def test_a_lock_that_is_over_closes_no_circle(face: Face, cache: Cache, clock: FakeClock) -> None:
    """Its life has ended, or its key was removed: another may hold it then, or nobody."""
    view = face.view(cache)

    async def body() -> None:
        late, gone = view.lock("l", timeout=10), view.lock("m", timeout=LIFE)
        await late.__aenter__()
        clock.advance(11)
        assert await view.lock("l", timeout=LIFE).acquire() is True
        assert await view.lock("l").acquire(wait=0.001) is False
        await gone.__aenter__()
        cache.backend.clear("!lock:m")
        assert await view.lock("m", timeout=LIFE).acquire(wait=0) is True
        assert await view.lock("m").acquire(wait=0.001) is False
        for lock in late, gone:
            await lock.__aexit__(KeyError, KeyError(), None)

    face.run(body())


def test_what_is_computed_in_the_background_may_wait_for_a_lock(cache: Cache) -> None:
    """Whoever had it begun while holding the lock does not wait for it."""
    joined: Joined = []

    def compute() -> bool:
        hold(flight, alone=True)
        return cache.lock("l").acquire(wait=0.001)

    with cache.lock("l", timeout=LIFE):
        flight: Flight[bool] = Flight(cache._claims, "k")
        cache._claims.join(BLOCKING, flight, joined, waits=False)
        assert copy_context().run(compute) is False
    cache._claims.leave(joined)


def test_a_forked_child_holds_nothing(cache: Cache) -> None:
    """The lock is its parent's, who may let go of it."""
    with cache.lock("l", timeout=LIFE):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = int(cache.lock("l").acquire(wait=0.001))
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(ReentrantCall):
            cache.lock("l").acquire(wait=0.001)


def test_no_circle_is_seen_where_there_is_none(cache: Cache, start: Start) -> None:
    """Ten thousand times a lock is taken, in one order, as are those that functions take."""
    names, rounds = 400, 600
    taken: list[int] = []

    async def work(face: Face, seed: int, times: int) -> None:
        chance, view, count = random.Random(seed), face.view(cache), 0
        while count < times:
            low = chance.randrange(names - 2)
            async with view.lock(f"l{low}", timeout=LIFE):
                count += 1
                if chance.random() < 0.2:
                    async with view.lock(f"l{low + 1}", timeout=LIFE):
                        count += 1
                elif chance.random() < 0.1:
                    await view.get_or_set(f"k{low // 50}", partial(compute, low // 50 * 50 + 52))
                    await view.delete(f"k{low // 50}")
        taken.append(count)

    def compute(n: int) -> None:
        with cache.lock(f"l{n}", timeout=LIFE):
            pass

    async def crowd(seed: int) -> None:
        await asyncio.gather(*(work(FACES[1], seed + n, rounds // 4) for n in range(4)))

    asked = [start(FACES[1], partial(crowd, 100 * n)) for n in range(2)]
    asked += [start(FACES[0], partial(work, FACES[0], n, 5000 - rounds)) for n in range(2)]
    for each in asked:
        each.result(PATIENCE)
    assert sum(taken) >= 10_000
