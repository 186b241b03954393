"""One computation per key, shared by threads and by tasks of any number of loops."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import os
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from tests.chaos import eventually, running
from twofold import (
    AwaitableResult,
    Cache,
    MissingKey,
    ReentrantCall,
    cached,
    caches,
    close_all,
    configure,
)
from twofold.claims import renewal
from twofold.registry import build
from twofold.settings import read_cache
from twofold.testing import FACES, ChaosBackend, Face

THREADS, LOOPS, TASKS = 16, 8, 20
PATIENCE = 20.0  # seconds: what is no matter of time may take it, on a slow machine


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Cache]:
    """A cache on each embedded store."""
    on_disk = f"sqlite:///{tmp_path}/cache.db?deadline={PATIENCE:g}"
    configure(on_disk if request.param == "sqlite" else f"memory://{tmp_path}")
    yield caches["default"]
    caches.close_all()


class Crowd:
    """Threads and loops that all ask at once, and what each of them got."""

    def __init__(self) -> None:
        self.gate = threading.Barrier(THREADS + LOOPS)
        self.outcomes: list[Any] = []

    def run(self, ask: Callable[[], Any], aask: Callable[[], Any]) -> list[Any]:
        """Have every thread call `ask` and every task await `aask()`; return all outcomes."""
        workers = [threading.Thread(target=self._thread, args=(ask,)) for _ in range(THREADS)]
        workers += [threading.Thread(target=self._loop, args=(aask,)) for _ in range(LOOPS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert not any(worker.is_alive() for worker in workers)
        return self.outcomes

    def _thread(self, ask: Callable[[], Any]) -> None:
        self.gate.wait()
        try:
            self.outcomes.append(ask())
        except Exception as exc:
            self.outcomes.append(exc)

    def _loop(self, aask: Callable[[], Any]) -> None:
        async def main() -> None:
            self.gate.wait()
            results = await asyncio.gather(*(aask() for _ in range(TASKS)), return_exceptions=True)
            self.outcomes.extend(results)

        asyncio.run(main())


class Work:
    """A function, in both kinds, that counts how often it ran and ends when it may."""

    def __init__(self, result: Any = "value") -> None:
        self.result = result
        self.runs = 0
        self.started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> Any:
        self.runs += 1
        self.started.set()
        assert self.may_end.wait(30)
        return self._end()

    async def awork(self) -> Any:
        self.runs += 1
        self.started.set()
        while not self.may_end.is_set():
            await asyncio.sleep(0.001)
        return self._end()

    def _end(self) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def crowd_waits(cache: Cache, everyone: int) -> bool:
    """Tell whether `everyone` has joined the flights of `cache`."""
    return sum(flight.waiting for flight in cache._claims) >= everyone


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Poll until `condition()`; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.001)


def gathered(cache: Cache, work: Work) -> list[Any]:
    """Have the crowd ask `cache` for one key, and let `work` end when all of it waits."""

    def release() -> None:
        wait_until(lambda: crowd_waits(cache, THREADS + LOOPS * TASKS))
        work.may_end.set()

    releaser = threading.Thread(target=release)
    releaser.start()
    outcomes = Crowd().run(
        lambda: cache.get_or_set("k", work), lambda: cache.aget_or_set("k", work.awork)
    )
    releaser.join()
    return outcomes


def test_a_cold_key_is_computed_once(cache: Cache) -> None:
    """Sixteen threads and 160 tasks of eight loops get one value from one run."""
    work = Work({"a": [1, 2]})
    outcomes = gathered(cache, work)
    assert outcomes == [{"a": [1, 2]}] * (THREADS + LOOPS * TASKS)
    assert work.runs == 1
    assert cache.get("k") == {"a": [1, 2]}
    assert not cache._claims.table


def test_followers_get_copies_of_their_own(cache: Cache) -> None:
    """No two callers of one flight hold the same mutable object."""
    outcomes = gathered(cache, Work({"a": []}))
    assert len({id(outcome) for outcome in outcomes}) == len(outcomes)


def test_an_error_reaches_all_who_wait_and_is_not_kept(cache: Cache) -> None:
    """Every waiter gets the function's exception; the next call computes anew."""
    work = Work(KeyError("broken"))
    outcomes = gathered(cache, work)
    assert [type(outcome) for outcome in outcomes] == [KeyError] * (THREADS + LOOPS * TASKS)
    assert work.runs == 1
    assert cache.get_or_set("k", lambda: "mended") == "mended"


@pytest.mark.parametrize("leader_too", [True, False])
async def test_cancelled_callers_harm_nobody(cache: Cache, leader_too: bool) -> None:
    """With a third of the callers cancelled, the others share one computation."""
    work = Work()
    tasks = [asyncio.create_task(cache.aget_or_set("k", work.awork)) for _ in range(30)]
    while not (work.runs and crowd_waits(cache, 30)):
        await asyncio.sleep(0.001)
    victims = tasks[0 if leader_too else 1 :: 3]
    for task in victims:
        task.cancel()
    await asyncio.wait(victims)
    work.may_end.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    lost = [result for result in results if isinstance(result, asyncio.CancelledError)]
    assert len(lost) == len(victims)
    assert [result for result in results if result not in lost] == ["value"] * (30 - len(lost))
    assert work.runs == 1


async def test_nobody_left_cancels_the_computation(cache: Cache) -> None:
    """When the last caller leaves, the function is cancelled and nothing is stored."""
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def slow() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    tasks = [asyncio.create_task(cache.aget_or_set("k", slow)) for _ in range(3)]
    await begun.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.wait_for(cancelled.wait(), 5)
    assert not cache._claims.table
    assert await cache.aget("k") is None


def test_a_dead_loop_promotes_a_waiter(cache: Cache) -> None:
    """When the leader's loop ends, one of those who wait elsewhere computes."""
    runs = []

    async def lead() -> None:
        async def never() -> None:
            runs.append("leader")
            await asyncio.sleep(60)

        task = asyncio.ensure_future(cache.aget_or_set("k", never))
        while not crowd_waits(cache, 4):
            await asyncio.sleep(0.001)
        del task

    def follow() -> Any:
        wait_until(lambda: bool(runs))
        return cache.get_or_set("k", lambda: runs.append("follower") or "theirs")

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(follow) for _ in range(3)]
        asyncio.run(lead())
        assert [each.result(30) for each in waiting] == ["theirs"] * 3
    assert runs == ["leader", "follower"]


def test_a_loop_that_stops_without_cancelling_promotes_a_waiter(cache: Cache) -> None:
    """A leader whose loop merely stops running is found dead by those who wait."""
    loop = asyncio.new_event_loop()
    runs = []

    async def never() -> None:
        runs.append("leader")
        await asyncio.sleep(60)

    task = loop.create_task(cache.aget_or_set("k", never))

    async def until_begun() -> None:
        while not runs:
            await asyncio.sleep(0.001)

    loop.run_until_complete(until_begun())
    assert cache.get_or_set("k", lambda: "mine") == "mine"
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert cache.get("k") == "mine"


@pytest.mark.parametrize("write", ["delete", "set", "clear", "delete_many", "set_many", "touch"])
def test_a_write_detaches_what_is_being_computed(cache: Cache, write: str) -> None:
    """What the function returns after a delete, set or clear is given, but not stored."""
    work = Work("old")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cache.get_or_set, "k", work)
        assert work.started.wait(10)
        arguments = {
            "delete": ("k",),
            "set": ("k", "new"),
            "clear": (),
            "delete_many": (["k"],),
            "set_many": ({"k": "new"},),
            "touch": ("k", 0),
        }
        getattr(cache, write)(*arguments[write])
        work.may_end.set()
        assert asked.result(10) == "old"
    assert cache.get("k") == ("new" if "set" in write else None)


async def test_an_async_delete_detaches_too(cache: Cache) -> None:
    """`adelete` keeps a value that an async function is computing from being stored."""
    work = Work("old")
    asked = asyncio.create_task(cache.aget_or_set("k", work.awork))
    while not work.runs:
        await asyncio.sleep(0.001)
    await cache.adelete("k")
    work.may_end.set()
    assert await asked == "old"
    assert await cache.aget("k") is None


def test_a_delete_between_the_look_and_the_write_wins(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delete that comes while the result is being stored leaves no stale value."""
    name = "add" if cache.backend.private else "fill"
    real = getattr(cache.backend, name)

    def store_late(key: str, *args: Any) -> bool:
        cache.delete("k")
        return bool(real(key, *args))

    monkeypatch.setattr(cache.backend, name, store_late)
    assert cache.get_or_set("k", lambda: "old") == "old"
    assert cache.get("k") is None


def test_the_leader_reads_again_after_winning(cache: Cache) -> None:
    """A value that came between the miss and the lead is used, not computed again."""
    real, reads = cache._tolerant.get, []

    def get_late(key: str) -> Any:
        reads.append(key)
        if len(reads) == 1:
            cache.set("k", "theirs")
            return None
        return real(key)

    cache._tolerant.get = get_late  # type: ignore[method-assign]
    try:
        assert cache.get_or_set("k", lambda: "mine") == "theirs"
    finally:
        cache._tolerant.get = real  # type: ignore[method-assign]


def test_a_function_that_needs_its_own_key_is_told(cache: Cache) -> None:
    """Re-entry for the same key raises instead of waiting for itself."""
    with pytest.raises(ReentrantCall, match="own result"):
        cache.get_or_set("k", lambda: cache.get_or_set("k", lambda: 1))
    assert cache.get_or_set("k", lambda: cache.get_or_set("other", lambda: 1)) == 1


async def test_async_reentry_is_told_too(cache: Cache) -> None:
    """An async function that awaits its own key raises as well."""

    async def again() -> Any:
        return await cache.aget_or_set("k", again)

    with pytest.raises(ReentrantCall):
        await asyncio.wait_for(cache.aget_or_set("k", again), 10)


async def test_two_flights_never_wait_for_each_other(cache: Cache) -> None:
    """Two functions that need each other's key end instead of waiting for ever."""
    both = asyncio.Barrier(2)

    async def a() -> str:
        await both.wait()
        return "a" + await cache.aget_or_set("b", lambda: "plain b")

    async def b() -> str:
        await both.wait()
        return "b" + await cache.aget_or_set("a", lambda: "plain a")

    results = await asyncio.wait_for(
        asyncio.gather(cache.aget_or_set("a", a), cache.aget_or_set("b", b)), 10
    )
    assert sorted(results) in (["abplain a", "bplain a"], ["aplain b", "baplain b"])


def test_two_threads_never_wait_for_each_other(cache: Cache) -> None:
    """The same holds for sync functions in two threads."""
    both = threading.Barrier(2)

    def a() -> str:
        both.wait(10)
        return "a" + cache.get_or_set("b", lambda: "plain b")

    def b() -> str:
        both.wait(10)
        return "b" + cache.get_or_set("a", lambda: "plain a")

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(cache.get_or_set, "a", a), pool.submit(cache.get_or_set, "b", b)]
        results = [each.result(10) for each in asked]
    assert sorted(results) in (["abplain a", "bplain a"], ["aplain b", "baplain b"])


async def test_sync_code_in_the_leaders_loop_computes_for_itself() -> None:
    """A sync call in the loop that computes the key does not wait for that loop."""
    configure("memory://")
    cache = caches["default"]
    work = Work("theirs")
    asked = asyncio.create_task(cache.aget_or_set("k", work.awork))
    while not work.runs:
        await asyncio.sleep(0)
    assert cache.get_or_set("k", lambda: "mine") == "mine"
    work.may_end.set()
    assert await asked == "theirs"
    assert cache.get("k") == "mine"


async def test_sync_code_that_a_loop_waits_for_does_not_wait_for_a_loop(cache: Cache) -> None:
    """A sync view does not wait for an async function that needs the view's own thread."""
    loop, begun, thread_taken = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    async def needs_the_thread() -> str:
        begun.set()
        await thread_taken.wait()
        return await sync_to_async(lambda: "from the thread")()

    def view() -> Any:
        loop.call_soon_threadsafe(thread_taken.set)
        return cache.get_or_set("k", lambda: "from the view")

    leader = asyncio.create_task(cache.aget_or_set("k", needs_the_thread))
    await begun.wait()
    assert await asyncio.wait_for(sync_to_async(view)(), 20) == "from the view"
    assert await asyncio.wait_for(leader, 10) == "from the thread"


def test_a_coroutine_is_never_stored(cache: Cache) -> None:
    """The sync face refuses an async function and names the twin; so it does a coroutine."""

    async def fetch() -> int:
        return 1

    for given in (fetch, lambda: fetch()):
        with pytest.raises(AwaitableResult, match="`a` prefix"):
            cache.get_or_set("k", given)
    with pytest.raises(AwaitableResult, match="function itself"):
        cache.get_or_set("k", fetch())
    assert cache.get("k") is None


async def test_the_async_face_takes_a_value_a_function_and_an_async_function(
    cache: Cache,
) -> None:
    """`aget_or_set` runs a function in a thread and an async function in the loop."""

    async def fetch() -> tuple[str, str]:
        return "async", threading.current_thread().name

    assert await cache.aget_or_set("value", 5) == 5
    assert (await cache.aget_or_set("async", fetch))[1] == threading.current_thread().name
    thread = await cache.aget_or_set("sync", lambda: threading.current_thread().name)
    assert thread != threading.current_thread().name
    assert (await cache.aget_or_set("lambda", lambda: fetch()))[0] == "async"
    with pytest.raises(AwaitableResult, match="function itself"):
        await cache.aget_or_set("coroutine", fetch())


async def test_stop_iteration_arrives_as_an_error(cache: Cache) -> None:
    """A StopIteration in a function is an error in either face, never a wait for ever."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(cache.aget_or_set("k", lambda: next(iter(()))), 5)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_a_sync_function_sees_the_callers_context_and_leaks_nothing(cache: Cache) -> None:
    """The function reads the caller's context variables; what it sets stays inside."""
    variable.set("caller")
    assert cache.get_or_set("k", lambda: (variable.get(), variable.set("inside"))[0]) == "caller"
    assert variable.get() == "caller"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_async_face_carries_context_too(cache: Cache, kind: str) -> None:
    """The same holds for both kinds of functions in the async face."""

    def work() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    async def awork() -> str:
        return work()

    variable.set("caller")
    assert await cache.aget_or_set("k", work if kind == "sync" else awork) == "caller"
    assert variable.get() == "caller"


async def test_a_request_is_freed_after_its_request(cache: Cache) -> None:
    """Nothing of ours keeps a caller's context alive once its call is over."""

    class Request:
        pass

    request_var: contextvars.ContextVar[Request] = contextvars.ContextVar("request_var")

    async def view() -> "weakref.ref[Request]":
        request = Request()
        request_var.set(request)
        await cache.aget_or_set("k", lambda: id(request))
        await cache.aset("j", 1)
        await cache.aget("j")
        return weakref.ref(request)

    gc.disable()
    try:
        reference = await asyncio.create_task(view(), context=contextvars.copy_context())
        for _ in range(100):
            if reference() is None:
                break
            await asyncio.sleep(0.01)
        assert reference() is None
    finally:
        gc.enable()


def test_asgiref_bridges_around_our_calls_end(cache: Cache) -> None:
    """`async_to_sync` and `sync_to_async` around and inside our calls neither hang nor fail."""

    async def outer(number: int) -> int:
        return await sync_to_async(inner)(number) + await cache.aget_or_set("two", lambda: 2)

    def inner(number: int) -> int:
        return int(cache.get_or_set(f"n{number}", lambda: async_to_sync(leaf)(number)))

    async def leaf(number: int) -> int:
        return int(await cache.aget_or_set(f"leaf{number}", lambda: number))

    async def crowd() -> list[int]:
        return await asyncio.gather(*(outer(number % 5) for number in range(30)))

    assert async_to_sync(outer)(1) == 3
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(asyncio.run, crowd()) for _ in range(4)]
        for run in runs:
            assert run.result(60) == [number % 5 + 2 for number in range(30)]


def test_two_hundred_loops_leave_nothing_behind(cache: Cache) -> None:
    """200 × `asyncio.run` leak neither descriptors nor threads, and none fails."""

    async def once(number: int) -> int:
        await cache.aset("k", number)
        return int(await cache.aget_or_set("k", lambda: -1))

    asyncio.run(once(0))
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(200):
        assert asyncio.run(once(number)) == number
    each = 3 * cache.backend.workers  # a file, its log and its shared memory for each worker
    assert len(os.listdir("/proc/self/fd")) <= before + each
    assert threading.active_count() <= threads + cache.backend.workers
    assert len(cache.backend._worker_pool._queues) == 0


def test_a_missing_counter_is_an_error_in_a_function_too(cache: Cache) -> None:
    """An error of the cache inside a function reaches the caller as it is."""
    with pytest.raises(MissingKey):
        cache.get_or_set("k", lambda: cache.incr("absent"))


async def test_sync_code_in_a_loop_does_not_wait_for_a_thread_either() -> None:
    """A sync call in a running loop computes for itself while a thread computes the key."""
    configure("memory://thread leads")
    cache = caches["default"]
    work = Work("theirs")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cache.get_or_set, "k", work)
        while not work.runs:
            await asyncio.sleep(0.001)
        assert cache.get_or_set("k", lambda: "mine") == "mine"
        work.may_end.set()
        assert asked.result(10) == "theirs"
    assert cache.get("k") == "theirs"


@pytest.mark.parametrize("write", ["delete", "set", "clear", "touch"])
def test_a_result_older_than_a_write_is_not_even_written(cache: Cache, write: str) -> None:
    """After a write meanwhile, nobody sees the old value for a moment either."""
    store = cache.backend
    written: list[Any] = []
    arguments: dict[str, tuple[Any, ...]] = {
        "delete": ("k",),
        "set": ("k", "newer"),
        "clear": (),
        "touch": ("k", 0),
    }

    def spy(name: str) -> None:
        real = getattr(store, name)

        def operation(key: str, *args: Any) -> Any:
            done = real(key, *args)
            if done:
                written.extend(args)
            return done

        setattr(store, name, operation)

    old = cache._codec.dump(cache._key("k", None), "old")
    for name in ("add", "set", "compare_and_set", "fill"):
        spy(name)

    def function() -> str:
        getattr(cache, write)(*arguments[write])
        return "old"

    assert cache.get_or_set("k", function) == "old"
    assert old not in written
    assert cache.get("k") == ("newer" if write == "set" else None)


ASK = """
import sys, time
import twofold
twofold.configure("sqlite:///" + sys.argv[1] + "?deadline=20")
def work():
    print("computing", flush=True)
    sys.stdin.readline()
    return sys.argv[2]
print(twofold.cache.get_or_set("k", work), flush=True)
"""


class Process:
    """Another process that asks for the key, and computes until it is told to end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    @classmethod
    @contextlib.contextmanager
    def asking(cls, path: str, value: str) -> Iterator["Process"]:
        with running("-c", ASK, path, value) as process:
            yield cls(process)

    def line(self) -> str:
        """Return the next thing it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """Let its function return."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """Wait for its end."""
        self.process.communicate(timeout=30)


def test_processes_compute_a_key_once(tmp_path: Path) -> None:
    """While another process computes a key, this one waits for its value."""
    configure(f"sqlite:////{tmp_path}/c.db?deadline={PATIENCE:g}")
    cache = caches["default"]
    with Process.asking(f"/{tmp_path}/c.db", "theirs") as other, ThreadPoolExecutor(1) as pool:
        assert other.line() == "computing"
        asked = pool.submit(cache.get_or_set, "k", lambda: "mine")
        wait_until(lambda: bool(cache._claims.table))
        other.end()
        assert asked.result(20) == "theirs"
        assert other.line() == "theirs"
        other.close()
    close_all()


@pytest.mark.parametrize("write", ["delete", "clear", "touch", "set"])
def test_a_write_in_another_process_detaches_too(tmp_path: Path, write: str) -> None:
    """What a process computes from before another one's delete, clear or set is not kept."""
    configure(f"sqlite:////{tmp_path}/c.db?deadline={PATIENCE:g}")
    cache = caches["default"]
    arguments = {"delete": ("k",), "clear": (), "touch": ("k", 0), "set": ("k", "new")}
    with Process.asking(f"/{tmp_path}/c.db", "stale") as other:
        assert other.line() == "computing"
        getattr(cache, write)(*arguments[write])
        other.end()
        assert other.line() == "stale"
        other.close()
    assert cache.get("k") == ("new" if write == "set" else None)
    close_all()


def test_another_alias_of_the_store_detaches_too() -> None:
    """Two aliases of one store keep each other's stale values out."""
    configure({"a": "memory://two aliases", "b": "memory://two aliases"})
    a, b = caches["a"], caches["b"]
    assert a.get_or_set("k", lambda: (b.delete("k"), "stale")[1]) == "stale"
    assert a.get("k") is None


def test_a_process_that_dies_over_a_key_blocks_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the claim of a dead process has ended, another computes and stores."""
    monkeypatch.setattr(renewal, "LIFE", 5.0)
    configure(f"sqlite:////{tmp_path}/c.db?deadline={PATIENCE:g}")
    cache = caches["default"]
    left = b"\xf3another-process!"
    assert cache.backend.get_or_claim(cache._key("k", None), left, 0.2) is None
    assert cache.get_or_set("k", lambda: "mine") == "mine"
    assert cache.get("k") == "mine"
    close_all()


def test_claims_leave_nothing_behind(cache: Cache) -> None:
    """After a failure or a refresh that was refused nothing is in the store."""
    full = cache._key("k", None)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("k", lambda: 1 / 0)
    assert cache.backend.get(full) is None
    assert cache.delete("k") is False


async def test_refresh_keeps_no_stale_value_either(cache: Cache) -> None:
    """A delete during a refresh leaves the key gone."""

    @cached(cache=cache)
    async def slow() -> str:
        await cache.adelete(slow.key())
        return "stale"

    assert await slow.arefresh() == "stale"
    assert await slow.aget() is None


async def test_a_request_is_freed_after_an_error_too() -> None:
    """An error that a function raised holds nothing of ours that leads back to itself."""
    configure("memory://errors")

    class Request:
        pass

    async def view() -> "weakref.ref[Request]":
        request = Request()

        async def fails() -> None:
            raise KeyError(id(request))

        with contextlib.suppress(KeyError):
            await caches["default"].aget_or_set("k", fails)
        return weakref.ref(request)

    gc.collect()
    gc.disable()
    try:
        reference = await asyncio.create_task(view())
        await asyncio.sleep(0.01)
        assert reference() is None
    finally:
        gc.enable()


async def test_who_computes_alone_leaks_no_context(cache: Cache) -> None:
    """What a function sets stays inside, also when its caller could not wait."""
    configure("memory://alone")
    store = caches["default"]
    work = Work("theirs")
    variable.set("caller")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(store.get_or_set, "k", work)
        while not work.runs:
            await asyncio.sleep(0.001)
        assert store.get_or_set("k", lambda: variable.set("inside") and 1) == 1
        assert variable.get() == "caller"
        with pytest.raises(ReentrantCall):
            store.get_or_set("k", lambda: store.get_or_set("k", lambda: 1))
        work.may_end.set()
        asked.result(10)


async def test_what_is_not_stored_is_not_shared_either(cache: Cache) -> None:
    """Callers who shared a result that `condition` refused have copies of their own."""

    @cached(cache=cache, condition=bool)
    async def empty() -> list[int]:
        await asyncio.sleep(0.01)
        return []

    one, two = await asyncio.gather(empty(), empty())
    assert one == two == []
    assert one is not two


class Unreadable:
    """Can be pickled, and not read back."""

    def __setstate__(self, state: object) -> None:
        raise ValueError("no")

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}


async def test_nobody_is_given_a_sentinel() -> None:
    """A value that cannot be read back is shared as it is, rather than as nothing."""
    configure({"default": {"LOCATION": "memory://unreadable", "SERIALIZER": "pickle"}})

    async def make() -> Unreadable:
        await asyncio.sleep(0.01)
        return Unreadable()

    both = [caches["default"].aget_or_set("k", make) for _ in range(2)]
    assert [type(value) for value in await asyncio.gather(*both)] == [Unreadable] * 2


async def test_bridges_inside_functions_never_starve() -> None:
    """More functions that bridge back into the loop than there are threads all end."""
    configure("memory://bridges")
    cache = caches["default"]

    def outer(number: int) -> int:
        inner = async_to_sync(cache.aget_or_set)(f"inner{number}", lambda: number)
        return int(inner)

    asked = [cache.aget_or_set(f"outer{n}", functools.partial(outer, n)) for n in range(40)]
    assert await asyncio.wait_for(asyncio.gather(*asked), 30) == list(range(40))


async def test_a_cancelled_computation_leaves_no_claim(cache: Cache) -> None:
    """When the last caller leaves, other processes need not wait for what nobody computes."""
    begun = asyncio.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(60)

    asked = asyncio.create_task(cache.aget_or_set("k", slow))
    await begun.wait()
    full = cache._key("k", None)
    assert cache.backend.private or await cache.backend.aget(full) is not None
    asked.cancel()
    await asyncio.wait([asked])
    for _ in range(500):
        if await cache.backend.aget(full) is None:
            break
        await asyncio.sleep(0.01)
    assert await cache.backend.aget(full) is None


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A circle over a lock that flights do not see ends: who waits computes for itself."""
    monkeypatch.setattr("twofold.claims.flights._LOOK_EVERY", 0.02)
    monkeypatch.setattr("twofold.claims.flights.LONGEST", 0.1)
    row, asked = threading.Lock(), threading.Event()
    shared = build(read_cache("default", "memory://circle"))

    def needs_the_row() -> str:
        asked.set()
        with row:
            return "leader"

    with ThreadPoolExecutor(1) as threads:
        with row:
            leading = threads.submit(shared.get_or_set, "key", needs_the_row)
            assert asked.wait(10)
            assert shared.get_or_set("key", lambda: "follower") == "follower"
        assert leading.result(10) == "leader"
    assert shared.get("key") == "leader"


@pytest.mark.parametrize("face", FACES, ids=repr)
async def test_what_cannot_be_copied_is_for_one_caller_each(face: Face) -> None:
    """Those who joined compute for themselves, and soon nobody joins any more."""
    cache = Cache("memory://uncopied")

    def ask() -> Any:
        return face.view(cache).get_or_set("k", threading.Lock)

    made = [*await face.together([ask] * 5), *await face.together([ask] * 5)]
    assert len({id(each) for each in made}) == 10
    assert cache.stats().computations == 10
    assert cache.stats().joined == 0
    cache.close()


@pytest.mark.parametrize("operation", ["get", "get_or_claim", "get_or_claim_many"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_followers_get_copies_in_an_outage_too(face: Face, operation: str) -> None:
    """What nobody stores is computed once, and is of each caller alone all the same."""
    chaos = ChaosBackend(inner=f"memory://{operation}", failure_rate=1.0, operations=[operation])
    chaos.private = False
    cache = Cache(chaos)
    view = face.view(cache)

    def work(keys: Any = ()) -> Any:
        eventually(lambda: any(each.waiting == 3 for each in cache._claims), "all have joined")
        return {key: [1] for key in keys} if keys else {"k": [1]}

    def ask() -> Any:
        many = operation.endswith("many")
        return view.get_or_set_many(["k"], work) if many else view.get_or_set("k", work)

    made = face.run(face.together([ask] * 3))
    assert made == [{"k": [1]}] * 3
    assert len({id(each["k"]) for each in made}) == 3
    assert cache.stats().joined
    cache.close()
