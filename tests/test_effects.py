"""The room that knows threads and event loops: bodies, hops, loops, forks."""

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.chaos import Stalls
from tests.chaos.signals import Signal
from twofold.effects import (
    Blocking,
    Call,
    Ending,
    Native,
    PerLoop,
    WorkerPool,
    in_event_loop,
    run_sync,
    serves_event_loop,
    worker_pool,
)
from twofold.errors import AwaitableResult, BackendUnavailable, DeadlineExceeded


def pool_of(
    workers: int = 4, batch: int = 1, deadline: float = 5.0
) -> tuple[WorkerPool, list[int]]:
    """Return a pool, and the sizes of the batches that it ran."""
    sizes: list[int] = []

    def run(calls: Sequence[Call]) -> None:
        sizes.append(len(calls))
        for call in calls:
            call.run()

    return WorkerPool(run, workers=workers, batch=batch, deadline=deadline, name="test-pool"), sizes


def test_run_sync_returns_what_the_body_returns() -> None:
    """A body that never suspends runs to its end without a loop."""

    async def body(io: Blocking) -> int:
        await io.sleep(0)
        return await io.op(lambda x: x + 1, Native().sleep, 1)  # type: ignore[arg-type]

    assert run_sync(body(Blocking())) == 2


def test_run_sync_closes_a_body_that_suspends() -> None:
    """A body that awaits what it may not is closed, and that is an error."""
    closed = []

    async def body() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="suspended outside an event loop"):
        run_sync(body())
    assert closed == [True]


def test_run_sync_raises_what_the_body_raises() -> None:
    """An exception of the body is the caller's."""

    async def body() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        run_sync(body())


async def test_blocking_never_suspends_even_inside_a_loop() -> None:
    """The face is the argument: the blocking one blocks, whether or not a loop runs."""
    ending = Ending()
    started = time.monotonic()
    assert run_sync(Blocking().wait(ending, 0.02)) is False
    assert time.monotonic() - started >= 0.02
    ending.end()
    assert run_sync(Blocking().wait(ending, 0.02)) is True


def test_blocking_refuses_an_awaitable_result() -> None:
    """The sync face closes a coroutine that a function returned and says what to do."""

    async def work() -> int:
        return 1

    for function in (work, lambda: work()):
        with pytest.raises(AwaitableResult, match="twin"):
            run_sync(Blocking().call(function))


async def test_native_wait_tells_done_from_late() -> None:
    """Waiting for what another thread ends returns then, or after the given time."""
    ending = Ending()
    assert await Native().wait(ending, 0.01) is False
    threading.Timer(0.01, ending.end).start()
    assert await Native().wait(ending, 10) is True


async def test_a_shielded_body_ends_before_its_caller_is_cancelled() -> None:
    """A shielded body runs to its end, and only then is its caller cancelled."""
    ended = []
    begun = asyncio.Event()

    async def body() -> None:
        begun.set()
        await asyncio.sleep(0.01)
        ended.append(True)

    task = asyncio.create_task(Native().shield(body()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_calls_of_one_tick_share_one_hop() -> None:
    """A hundred calls made together reach the worker in one batch."""
    pool, sizes = pool_of(batch=128)
    threads = await asyncio.gather(*(pool(threading.get_ident) for _ in range(100)))
    assert sizes == [100]
    assert set(threads) != {threading.get_ident()}
    pool.close()


async def test_slow_calls_run_side_by_side() -> None:
    """A backlog brings further workers, up to the bound and not beyond."""
    pool, _ = pool_of(workers=8)
    lock, running, most = threading.Lock(), [0], [0]

    def slow() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1

    await asyncio.gather(*(pool(slow) for _ in range(40)))
    assert 4 <= most[0] <= 8
    pool.close()


async def test_a_slow_call_does_not_hold_up_a_later_one() -> None:
    """A call made while a worker is busy is run by another one."""
    pool, _ = pool_of()
    free = threading.Event()
    slow = pool(free.wait, 10)
    await asyncio.sleep(0.01)
    assert await asyncio.wait_for(pool(int, "5"), 2) == 5
    free.set()
    assert await slow
    pool.close()


async def test_a_call_is_answered_within_its_deadline(stalls: Stalls) -> None:
    """A call that takes too long fails at its deadline; one that waited is never run."""
    pool, _ = pool_of(workers=1, deadline=0.05)
    free, ran = threading.Event(), []
    slow, queued = pool(free.wait, 10), pool(ran.append, 1)
    started = time.monotonic()
    for call in (slow, queued):
        with pytest.raises(DeadlineExceeded, match="deadline"):
            await call
    assert time.monotonic() - started < 0.15 + stalls.longest
    free.set()
    assert await pool(int, "1") == 1
    assert ran == []
    pool.close()


async def test_a_cancelled_call_that_waits_is_never_run() -> None:
    """A caller who leaves before a worker comes leaves nothing to do."""
    pool, _ = pool_of(workers=1)
    ran: list[int] = []
    call = pool(ran.append, 1)
    call.cancel()
    assert await pool(int, "1") == 1
    assert ran == []
    pool.close()


async def test_every_kind_of_error_arrives() -> None:
    """StopIteration, exits and ordinary errors of a call all reach its caller."""
    pool, _ = pool_of()

    def fail(error: BaseException) -> None:
        raise error

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(pool(fail, StopIteration(1)), 5)
    with pytest.raises(KeyError):
        await pool(fail, KeyError("k"))
    with pytest.raises(GeneratorExit):
        await pool(fail, GeneratorExit())
    pool.close()


async def test_a_call_without_a_worker_fails() -> None:
    """If no thread can be had, the callers are told and nobody waits for ever."""
    pool, _ = pool_of()
    pool.executor().shutdown()
    with pytest.raises(BackendUnavailable, match="no worker thread"):
        await asyncio.wait_for(pool(int, "1"), 5)


FACTORIES: dict[str, Any] = {"plain": None}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = asyncio.eager_task_factory


def test_a_worker_that_an_interrupted_loop_did_not_send_is_sent_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call does not wait for its deadline where a signal's handler broke off the loop's step."""
    pool, _ = pool_of(deadline=20.0)
    send = worker_pool._Queue._send_worker

    def interrupted(queue: worker_pool._Queue) -> None:
        monkeypatch.setattr(worker_pool._Queue, "_send_worker", send)
        raise KeyboardInterrupt

    async def begin() -> None:
        await pool(int, "1")

    monkeypatch.setattr(worker_pool._Queue, "_send_worker", interrupted)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(begin())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(asyncio.wait_for(task, 10))
    pool.close()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_an_interrupted_loop_answers_calls_before_their_deadline() -> None:
    """What a signal's handler breaks off in a loop that goes on, the next look makes up for."""
    pool, _ = pool_of(workers=1, deadline=20.0)
    n, fired = 0, True
    while fired:
        n += 5
        with Signal(n, LookupError) as handler:
            calls = [asyncio.ensure_future(_called(pool, each)) for each in ("1", "2")]
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*calls, return_exceptions=True)
        fired = handler.fired
        assert all(
            answer == n or isinstance(answer, LookupError | BackendUnavailable)
            for n, answer in enumerate(answers, 1)
        )
        assert await pool(int, "3") == 3
    assert n > 100
    pool.close()


async def _called(pool: WorkerPool, text: str) -> int:
    """Begin within a task of its own, to which a handler's exception then comes."""
    answer: int = await pool(int, text)
    return answer


@pytest.mark.parametrize("factory", FACTORIES)
async def test_calls_are_run_whatever_makes_tasks(factory: str) -> None:
    """Also by workers that begin within the step that starts them, or that cannot begin."""
    asyncio.get_running_loop().set_task_factory(FACTORIES[factory])
    pool, _ = pool_of(workers=2)
    for _ in range(2):
        assert await asyncio.gather(*[pool(int, str(n)) for n in range(20)]) == [*range(20)]
    pool.executor().shutdown()
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="no worker thread"):
            await asyncio.wait_for(pool(int, "1"), 5)
    pool.close()


async def test_a_call_of_a_loop_that_takes_no_task_fails() -> None:
    """A task factory that fails leaves no caller waiting, and no coroutine."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("unexpected keyword argument")

    loop, (pool, _) = asyncio.get_running_loop(), pool_of()
    loop.set_task_factory(refuse)
    with pytest.raises(BackendUnavailable, match="no worker thread"):
        await pool(int, "1")
    loop.set_task_factory(None)
    assert await pool(int, "1") == 1
    pool.close()


class Told(str):
    """A name that tells of it when a message is made with it."""

    __slots__ = ("tell",)

    def __format__(self, spec: str) -> str:
        self.tell()
        return str(self)


async def test_a_call_that_is_told_to_have_no_worker_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a further worker cannot begin, those who work take none of what is failed."""
    pool, _ = pool_of(deadline=20.0)
    begun, going, took, ran = threading.Event(), threading.Event(), threading.Event(), list[int]()
    take = worker_pool._Queue._take

    def taking(queue: worker_pool._Queue) -> list[Call]:
        taken = take(queue)
        if going.is_set():
            took.set()
        return taken

    def hold() -> None:
        begun.set()
        assert going.wait(10)

    def tell() -> None:
        going.set()
        assert took.wait(10)

    monkeypatch.setattr(worker_pool._Queue, "_take", taking)
    pool.name = name = Told(pool.name)
    name.tell = tell
    held = pool(hold)
    assert await sync_to_async(begun.wait, thread_sensitive=False)(10)
    lost = pool(ran.append, 1)
    pool._queues.get()._lose(RuntimeError("no thread"))
    with pytest.raises(BackendUnavailable, match="no worker thread"):
        await lost
    await held
    await sync_to_async(pool.close, thread_sensitive=False)()
    assert ran == []


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_each_call_runs_in_its_callers_context() -> None:
    """Calls that share a pool do not share context variables, and leak none back."""
    pool, _ = pool_of(batch=16)

    def read_and_set() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    async def ask(name: str) -> str:
        variable.set(name)
        seen: str = await pool(read_and_set)
        assert variable.get() == name
        return seen

    names = [str(number) for number in range(10)]
    assert await asyncio.gather(*(ask(name) for name in names)) == names
    assert variable.get() == "unset"
    pool.close()


async def test_a_call_keeps_its_callers_context_no_longer_than_itself() -> None:
    """A worker that goes on with others' calls does not hold the context of the first."""

    class Request:
        pass

    request_var: contextvars.ContextVar[Request] = contextvars.ContextVar("request_var")
    pool, _ = pool_of(workers=1)
    free = threading.Event()

    async def view() -> "weakref.ref[Request]":
        request = Request()
        request_var.set(request)
        await pool(int, "1")
        return weakref.ref(request)

    async def slow() -> None:
        await pool(free.wait, 10)

    viewing, slowing = asyncio.create_task(view()), asyncio.create_task(slow())
    reference = await viewing
    del viewing
    await asyncio.sleep(0)  # the step of the loop that woke this task holds the other one
    gc.collect()
    assert not slowing.done()
    assert reference() is None
    free.set()
    await slowing
    pool.close()


def test_a_loop_that_died_leaves_the_hop_usable() -> None:
    """After a loop closed over calls on their way, the next loop is served."""
    pool, _ = pool_of()
    free = threading.Event()

    async def leave() -> None:
        pool(free.wait, 10)
        await asyncio.sleep(0.01)

    asyncio.run(leave())
    free.set()

    async def ask() -> int:
        answer: int = await pool(int, "7")
        return answer

    assert asyncio.run(ask()) == 7
    pool.close()


class Interrupted(BaseException):
    """What a handler raises."""


class Client:
    """What belongs to one loop, and how it ended."""

    def __init__(self) -> None:
        self.closed = ""

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed = "in its loop"

    def abandon(self) -> None:
        self.closed = "abandoned"


def clients() -> PerLoop[Client]:
    """Return a registry of clients by loop."""
    return PerLoop(Client, Client.aclose, Client.abandon)


def test_a_client_is_closed_inside_its_own_loop() -> None:
    """`asyncio.run` closes what its loop held, before the loop is gone."""
    registry = clients()

    async def use() -> Client:
        assert registry.get() is registry.get()
        return registry.get()

    used = [asyncio.run(use()) for _ in range(3)]
    assert len(set(map(id, used))) == 3
    assert [client.closed for client in used] == ["in its loop"] * 3
    assert len(registry) == 0


def test_a_client_of_a_loop_that_closed_without_a_word_is_swept() -> None:
    """A loop closed without shutting its generators down is swept at the next access."""
    registry = clients()
    loop = asyncio.new_event_loop()

    async def use() -> Client:
        return registry.get()

    forgotten = loop.run_until_complete(use())
    loop.close()
    assert len(registry) == 1
    asyncio.run(use())
    assert forgotten.closed == "abandoned"
    assert len(registry) == 0


async def test_aclose_closes_the_running_loops_client() -> None:
    """A client closed by hand is made anew by the next use."""
    registry = clients()
    first = registry.get()
    await registry.aclose()
    assert first.closed == "in its loop"
    assert registry.get() is not first
    await registry.aclose()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_client_is_closed_in_its_loop_whatever_broke_off_its_beginning() -> None:
    """An exception of a signal's handler leaves none that the loop does not know of."""
    registry, n = clients(), 0

    async def use() -> tuple[Client, bool]:
        with Signal(n, Interrupted) as handler, suppress(Interrupted):
            registry.get()
        return registry.get(), handler.fired

    fired = True
    while fired:
        n += 1
        used, fired = asyncio.run(use())
        assert used.closed == "in its loop"
        assert len(registry) == 0
    assert n > 50
    gc.collect()  # what never began, while warnings of that are ignored


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*<coroutine object:pytest.PytestUnraisableExceptionWarning")
async def test_a_client_whose_closing_was_broken_off_can_be_closed() -> None:
    """In a loop that goes on, nobody else would close what a signal's handler left open."""
    registry, n, fired = clients(), 0, True
    while fired:
        n += 1
        used = registry.get()
        with Signal(n, Interrupted) as handler, suppress(Interrupted):
            await registry.aclose()
        fired = handler.fired
        await registry.aclose()
        assert used.closed == "in its loop"
        assert len(registry) == 0
    assert n > 50
    gc.collect()  # what never began, while warnings of that are ignored


def test_threads_with_loops_have_clients_of_their_own() -> None:
    """Loops that run at once in several threads never share a client."""
    registry = clients()
    gate, seen = threading.Barrier(8), []

    async def use() -> None:
        gate.wait(10)
        for _ in range(50):
            seen.append((threading.get_ident(), id(registry.get())))
            await asyncio.sleep(0)

    threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 8
    assert len(registry) == 0


async def test_in_event_loop_is_true_only_in_the_loops_thread() -> None:
    """A thread beside the loop is not in it."""
    assert in_event_loop()
    assert await asyncio.to_thread(in_event_loop) is False


async def test_serves_event_loop_knows_asgirefs_threads() -> None:
    """A thread in which `sync_to_async` runs code serves the loop that waits for it."""
    assert await sync_to_async(serves_event_loop)() is True
    assert await asyncio.to_thread(serves_event_loop) is False


def in_child(check: Any) -> int:
    """Fork, run `check` in the child, and return its exit status: 0 if it was true."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(20)
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_starts_with_nothing_inherited() -> None:
    """Three children forked after a warm-up use the pool with threads of their own."""
    pool, _ = pool_of()

    async def ask() -> int:
        answer: int = await pool(os.getpid)
        return answer

    assert asyncio.run(ask()) == os.getpid()
    for _ in range(3):
        assert in_child(lambda: asyncio.run(ask()) == os.getpid()) == 0
    assert asyncio.run(ask()) == os.getpid()
    pool.close()


def test_a_busy_loop_does_not_starve_another() -> None:
    """With one worker, a loop that always has calls leaves the other its turn."""
    pool, _ = pool_of(workers=1, deadline=2.0)
    stop = threading.Event()

    async def busy() -> None:
        async def ask() -> None:
            while not stop.is_set():
                await pool(time.sleep, 0.002)

        await asyncio.gather(*(ask() for _ in range(3)))

    async def now_and_then() -> None:
        for _ in range(5):
            await pool(int, "1")

    thread = threading.Thread(target=asyncio.run, args=(busy(),))
    thread.start()
    try:
        asyncio.run(now_and_then())
    finally:
        stop.set()
        thread.join(10)
    pool.close()


async def test_a_stalled_loop_does_not_make_done_calls_late() -> None:
    """A call that the worker has finished is answered, however late the loop looks."""
    pool, _ = pool_of(deadline=10)
    done, loop = threading.Event(), asyncio.get_running_loop()
    now, call = loop.time, pool(done.set)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done.wait(5)
    loop.time = lambda: now() + 20  # type: ignore[method-assign]
    assert await call is None
    pool.close()


async def test_a_waiter_that_leaves_is_forgotten() -> None:
    """What many gave up waiting for keeps none of their waiters alive."""
    ending = Ending()
    before = len([each for each in gc.get_objects() if issubclass(type(each), asyncio.Future)])
    for _ in range(100):
        await Native().wait(ending, 0)
    gc.collect()
    after = len([each for each in gc.get_objects() if issubclass(type(each), asyncio.Future)])
    assert after <= before + 5


TRIO = """
import sys, trio, twofold
from twofold import NoEventLoop, cache, cached, caches

twofold.configure({
    "default": "memory://",
    "disk": "sqlite:///cache.db",
    "files": "files:///" + sys.argv[1],
    "redis": "redis://127.0.0.1:1/0",
    "memcached": "memcached://127.0.0.1:1",
})

@cached
async def one(number):
    return number

@cached(cache="disk")
async def two(number):
    return number

async def value():
    return 1

async def main():
    await cache.aset("k", 1)
    assert await cache.aget("k") == 1
    assert await trio.to_thread.run_sync(caches["disk"].get, "k") is None
    calls = [one(1), two(1), one.arefresh(1), cache.aget_or_set("x", lambda: 1)]
    calls += [cache.aget_or_set("x", value), cache.aget_or_set("x", lambda: 1, timeout=0)]
    for alias in ("disk", "files", "redis", "memcached"):
        store = caches[alias]
        calls += [store.aget("k"), store.aset("k", 1), store.aget_many(["k"]), store.aclear()]
        calls += [store.aget_or_set("k", value), store.lock("l").__aenter__(), store.aclose()]
    calls.append(twofold.aclose_all())
    with cache.lock("held"):
        calls.append(cache.lock("held").__aenter__())
        for number, call in enumerate(calls):
            try:
                await call
            except NoEventLoop as error:
                assert "asyncio" in str(error) and "trio.to_thread" in str(error)
            else:
                raise AssertionError(f"call {number} brought no error")
    one.set(5, 1)
    assert await one(1) == 5

trio.run(main)
"""


def test_under_trio_async_calls_say_that_asyncio_is_needed(tmp_path: Path) -> None:
    """What needs a loop of asyncio says so and leaves nothing behind; a hit in memory works."""
    command = [sys.executable, "-W", "error", "-c", TRIO, str(tmp_path / "files")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
