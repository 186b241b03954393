"""From an event loop to worker threads, many calls at a time.

A thread hop costs 40 to 60 µs, most of it waking threads. So the calls that tasks make
in one tick of a loop are put into one queue, and one `sync_to_async` call sends a worker
there, which takes calls until none is left. While a queue stays long, a further worker
joins every few milliseconds, so that slow calls run side by side.
"""

import asyncio
import contextvars
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from twofold.effects.calls import Call, stopped
from twofold.effects.forks import after_fork_in_child, leak_on_fork
from twofold.effects.locks import new_lock
from twofold.effects.loops import PerLoop, running_loop
from twofold.errors import BackendUnavailable, DeadlineExceeded

T = TypeVar("T")

_JOIN_AFTER = 0.002  # seconds a backlog may stand before one more worker joins
_TURN = 0.02  # seconds after which a worker looks whether another loop waits for it
_LOOK_AFTER = 0.05  # seconds until calls that are not answered are looked after


class WorkerPool:
    """The worker threads of one backend, bounded in number, called from any event loop.

    Args:
        run: runs a batch of calls in a worker, each by `Call.run`.
        workers: threads at most.
        batch: calls at most that a worker takes at a time.
        deadline: seconds after which a call that is not answered raises `DeadlineExceeded`.
        name: begins the names of the threads.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Call]], None],
        *,
        workers: int,
        batch: int,
        deadline: float,
        name: str,
    ) -> None:
        self.run = run
        self.workers = workers
        self.batch = batch
        self.deadline = deadline
        self.name = name
        self._queues = PerLoop(lambda: _Queue(self), _Queue.aclose, _Queue.abandon)
        self._lock = new_lock()
        self._executor: ThreadPoolExecutor | None = None
        after_fork_in_child(self)

    def __call__(self, function: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """Have a worker call `function(*args)`; await the future that this returns."""
        return self._queues.get().put(function, args)

    def executor(self) -> ThreadPoolExecutor:
        """Return this process's threads, made at the first call."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.workers, self.name)
            return self._executor

    def close(self) -> None:
        """End the threads once they are idle; the next call makes new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def _after_fork(self) -> None:
        leak_on_fork(self._executor, self._lock)
        self._executor = None
        self._lock = new_lock()


class _Queue:
    """The calls of one event loop; workers touch `_waiting`, `_done` and `_waking` alone."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Call] = deque()
        self._asked: dict[Call, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Empty, since a caller's context would outlive the call in timers and tasks.
        self._context = contextvars.Context()
        self._done: deque[Call] = deque()
        self._waking = False
        self._starting: asyncio.Handle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._worker: tuple[ThreadPoolExecutor, Callable[[], Coroutine[Any, Any, None]]] | None = (
            None
        )

    def put(self, function: Callable[..., T], args: tuple[Any, ...]) -> "asyncio.Future[T]":
        call = Call(function, args, self._loop.create_future(), self._loop.time())
        self._waiting.append(call)
        self._asked[call] = None
        if self._starting is None:
            if self._tasks:
                self._starting = self._later(_JOIN_AFTER, self._send_worker)
            else:
                self._starting = self._loop.call_soon(self._send_worker, context=self._context)
        if self._watch is None:
            self._watch = self._later(min(_LOOK_AFTER, self._pool.deadline), self._look_after)
        return call.future

    def _later(self, seconds: float, step: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, step, context=self._context)

    def _send_worker(self) -> None:
        self._starting = None
        if not self._waiting or len(self._tasks) >= self._pool.workers:
            return
        if (task := self._start_worker()) is None:
            return
        if not task.done():  # as an eager one that could not work is
            self._tasks.add(task)
        if len(self._waiting) > 1 and self._starting is None:
            self._starting = self._later(_JOIN_AFTER, self._send_worker)

    def _start_worker(self) -> "asyncio.Task[None] | None":
        """Start a worker; the loop's task factory is the application's, and may fail."""
        work = self._work()
        try:
            # In a context that nobody is in: an eager task enters it at once.
            return self._loop.create_task(work, context=contextvars.Context())
        except Exception as exc:
            work.close()
            self._lose(exc)
            return None

    async def _work(self) -> None:
        try:
            await self._enter_worker()
            self._answer_done()
        except BaseException as exc:
            self._lose(exc)
            if not isinstance(exc, Exception):
                raise
        finally:
            self._tasks.discard(asyncio.current_task())
            if self._starting is not None and not self._tasks:
                starting, self._starting = self._starting, None
                starting.cancel()
            if self._waiting and self._starting is None:
                self._send_worker()

    def _enter_worker(self) -> Coroutine[Any, Any, None]:
        executor = self._pool.executor()
        if self._worker is None or self._worker[0] is not executor:
            enter = sync_to_async(self._drain, thread_sensitive=False, executor=executor)
            self._worker = executor, enter
        return self._worker[1]()

    def _drain(self) -> None:
        """Run calls until none waits or the turn is over; the last batch wakes by returning."""
        leave = time.monotonic() + _TURN
        batch = self._take()
        while batch:
            self._pool.run(batch)
            following = self._take() if time.monotonic() < leave else []
            self._done.extend(batch)
            batch = following  # before the loop answers: nothing here is to keep what is done
            if batch:
                self._wake()

    def _take(self) -> list[Call]:
        taken: list[Call] = []
        try:
            while len(taken) < self._pool.batch:
                taken.append(self._waiting.popleft())
        except IndexError:
            pass
        return taken

    def _wake(self) -> None:
        """Have the loop answer what is done; waking it is slow, so it is done once at a time."""
        if self._waking:
            return
        self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._answer_done)
        except RuntimeError:  # the loop has closed: nobody waits for an answer
            self._waiting.clear()

    def _answer_done(self) -> None:
        self._waking = False
        asked, done = self._asked, self._done
        for _ in range(len(done)):
            call = done[0]
            call.answer()
            asked.pop(call, None)
            done.popleft()  # only now: who is broken off by a signal's handler is looked after
        if not asked and self._watch is not None:
            watch, self._watch = self._watch, None
            watch.cancel()

    def _lose(self, exc: BaseException) -> None:
        """Fail what waits for a worker that could not work."""
        lost, self._waiting = self._waiting, deque[Call]()  # at once: workers may be taking more
        try:
            for call in lost:
                error = BackendUnavailable(
                    f"{self._pool.name}: no worker thread could run the call: see the cause, and"
                    " whether the process may start more threads (ulimit -u)"
                )
                error.__cause__ = exc
                call.fail(error)
        except BaseException:  # of a signal's handler: they are looked after
            self._waiting.extendleft(reversed(lost))
            raise
        self._done.extend(lost)
        self._answer_done()

    def _look_after(self) -> None:
        """Fail the calls whose deadline has passed; send the worker that none was sent for.

        A signal's handler may have raised before the loop's next step was ours.
        """
        self._watch = None
        self._answer_done()  # the timer may be late itself, after a stall of the loop
        self._tasks = {task for task in self._tasks if not task.done()}
        if not self._tasks:
            self._send_worker()
        now = self._loop.time()
        for call in list(self._asked):
            left = call.born + self._pool.deadline - now
            if left > 0 and not call.future.done():
                self._watch = self._later(min(_LOOK_AFTER, left), self._look_after)
                return
            self._expire(call)

    def _expire(self, call: Call) -> None:
        del self._asked[call]
        call.fail(
            DeadlineExceeded(
                f"{self._pool.name}: no answer within the deadline of {self._pool.deadline:g}"
                " s; a write may still happen later. OPTIONS['deadline'] sets the limit."
            )
        )
        call.answer()

    async def aclose(self) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self.abandon()

    def abandon(self) -> None:
        self._waiting.clear()
        watch, self._watch = self._watch, None
        if watch is not None and not self._loop.is_closed():
            watch.cancel()


class _Threads:
    """The threads for users' sync functions that async code asked for, one pool a process.

    A call on its way through asgiref is a hundred objects. Those that no thread can take yet
    wait before that, in their loop, and are one each.
    """

    def __init__(self) -> None:
        self._workers = min(32, (os.cpu_count() or 1) + 4)
        self._places = PerLoop(self._new_places, _leave, _abandon)
        self._lock = new_lock()
        self._enter: Callable[..., Coroutine[Any, Any, Any]] | None = None
        after_fork_in_child(self)

    async def call(self, function: Callable[[], T]) -> T:
        async with self._places.get():
            result: T = await self._entrance()(function)
            return result

    def _new_places(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(2 * self._workers)  # so that no thread waits for the loop

    def _entrance(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        with self._lock:
            if self._enter is None:
                executor = ThreadPoolExecutor(self._workers, "twofold-call")
                self._enter = _entrance(executor)
            return self._enter

    def _after_fork(self) -> None:
        leak_on_fork(self._enter, self._lock)
        self._enter, self._lock = None, new_lock()


async def _leave(_places: asyncio.Semaphore) -> None:
    """Leave the places of a loop that ends to those who are in them."""


def _abandon(_places: asyncio.Semaphore) -> None:
    """Do the same for one that has closed."""


def _entrance(executor: ThreadPoolExecutor) -> Callable[..., Coroutine[Any, Any, Any]]:
    return sync_to_async(_call, thread_sensitive=False, executor=executor)


def _call(function: Callable[[], T]) -> T:
    outside = _in_thread.set(True)
    try:
        return function()
    except StopIteration as exc:
        raise stopped(function, exc) from exc
    finally:
        _in_thread.reset(outside)


_threads = _Threads()
_in_thread: contextvars.ContextVar[bool] = contextvars.ContextVar("twofold_call", default=False)


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a user's `function` in a worker thread, in the caller's context.

    A function that such a call waits for, over bridges of asgiref's, gets a thread of its
    own: in the pool, whose threads may all be waiting like that, it might never run.

    Raises:
        NoEventLoop: no loop of asyncio is running in this thread.
    """
    running_loop()
    if not _in_thread.get():
        return await _threads.call(function)
    executor = ThreadPoolExecutor(1, "twofold-call")
    try:
        result: T = await _entrance(executor)(function)
        return result
    finally:
        executor.shutdown(wait=False)
