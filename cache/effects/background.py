"""Work that goes on after its caller has been answered.

Behind sync code it runs in a thread, behind async code in a task of the caller's event loop,
in both cases in a copy of the caller's context. There are few of either, and nothing is queued:
where all are busy the caller is told so. What such a thread itself would do in the background
it does at once, so that work never waits for room that it takes up itself.

The threads are daemons, which the end of the interpreter does not wait for: what they hold in
stores ends with its life. A forked child begins without any.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from twofold.effects.forks import after_fork_in_child, leak_on_fork
from twofold.effects.locks import ThreadLocal, new_rlock
from twofold.effects.loops import current_loop, running_loop, this_caller

if TYPE_CHECKING:
    import asyncio

_THREADS = 16
_TASKS = 256
_LOOK_EVERY = 0.002  # seconds between two looks of who drains in an event loop

_log = logging.getLogger("twofold")

Scope: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes what work in the background runs within."""


class Work:
    """One body on its way in the background."""

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.over: threading.Event = threading.Event()
        self.thread: threading.Thread | None = None
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Ask a task to stop, from any thread; a thread cannot be asked."""
        if self.task is not None:
            loop = self.task.get_loop()
            try:
                loop.call_soon_threadsafe(self.task.cancel)
            except RuntimeError:
                if not loop.is_closed():
                    raise

    def alive(self) -> bool:
        """Tell whether it can still come to its end."""
        if self.over.is_set():
            return False
        if self.task is not None:
            return not self.task.done() and self.task.get_loop().is_running()
        return self.thread is None or self.thread.is_alive()

    def is_mine(self) -> bool:
        """Tell whether it is the caller's own."""
        if self.task is None:
            return self.thread is threading.current_thread()
        return this_caller() == id(self.task)


class Room:
    """The works of one kind that are on their way, up to a number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._works: set[Work] = set()
        self._lock = new_rlock()  # a handler may come in amid a step
        after_fork_in_child(self)

    def __len__(self) -> int:
        return len(self._works)

    def enter(self, work: Work) -> bool:
        """Take `work` in unless it is full; tell whether it did."""
        with self._lock:
            if len(self._works) >= self._most:
                self._works = {each for each in self._works if each.alive()}
            if len(self._works) >= self._most:
                return False
            self._works.add(work)
            return True

    def leave(self, work: Work) -> None:
        """Note that `work` has ended."""
        with self._lock:
            self._works.discard(work)
        work.over.set()

    def of(self, owner: object) -> list[Work]:
        """Return the works of `owner`, but not the one that asks."""
        works = tuple(self._works)
        return [each for each in works if each.owner is owner and not each.is_mine()]

    def _after_fork(self) -> None:
        leak_on_fork(self._works, self._lock)
        self._works, self._lock = set(), new_rlock()


class Background:
    """All work of this process that nobody waits for.

    Args:
        threads: how many at most run behind sync code.
        tasks: how many at most run behind async code, in all event loops.
    """

    def __init__(self, threads: int = _THREADS, tasks: int = _TASKS) -> None:
        self.inline: bool = False
        """Whether work is done before its caller goes on, as tests want it."""
        self._threads = Room(threads)
        self._tasks = Room(tasks)
        self._around_threads: list[Scope] = []
        self._around_tasks: list[Scope] = []
        self._hidden: set[contextvars.ContextVar[Any]] = set()
        self._here = ThreadLocal()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._threads)} threads {len(self._tasks)} tasks>"

    def around(self, make: Scope, *, tasks: bool = False) -> None:
        """Have each thread, or task, enter what `make()` returns to who starts the work."""
        scopes = self._around_tasks if tasks else self._around_threads
        if make not in scopes:
            scopes.append(make)

    def hide(self, *variables: contextvars.ContextVar[Any]) -> None:
        """Have threads see nothing of what their callers have in some context variables."""
        self._hidden.update(variables)

    @property
    def is_here(self) -> bool:
        """Whether this thread is one of those that work in the background."""
        return getattr(self._here, "works", False)

    def start_thread(
        self,
        run: Callable[[Coroutine[Any, Any, None]], None],
        body: Coroutine[Any, Any, None],
        owner: object,
        over: Callable[[], object],
    ) -> Work | None:
        """Have a thread `run` a body; None if all are busy, or none can start.

        When the thread ends, it calls `over`.
        """
        scopes = [make() for make in self._around_threads]
        context = _copied(self._hidden)
        work = Work(owner)

        def main() -> None:
            self._here.works = True
            try:
                with _all(scopes):
                    run(body)
            except BaseException as error:
                body.close()
                if not is_ending():
                    _log.warning("work in the background ended: %r", error)
            finally:
                try:
                    over()
                finally:
                    self._threads.leave(work)

        try:
            if not self._threads.enter(work):
                return None
            work.thread = threading.Thread(
                target=context.run, args=(main,), name="twofold-background", daemon=True
            )
            work.thread.start()
        except RuntimeError:  # the system has no more of them, or the interpreter ends
            self._threads.leave(work)
            return None
        except BaseException:  # of a signal's handler: without a thread, nobody else would
            if work.thread is None or not work.thread.is_alive():
                self._threads.leave(work)
            raise
        return work

    def start_task(
        self, body: Coroutine[Any, Any, None], owner: object, over: Callable[[], object]
    ) -> Work | None:
        """Have a task of the running event loop run a body; None if there are enough.

        When the task ends, it calls `over`; also where the loop ends before it began.
        """
        work = Work(owner)
        scopes = [make() for make in self._around_tasks]

        async def within() -> None:
            with _all(scopes):
                await body

        def end(task: "asyncio.Task[None]") -> None:
            try:
                body.close()  # it may have been cancelled before it began
                over()
            finally:
                self._tasks.leave(work)
            if not task.cancelled():
                task.exception()

        try:
            if not self._tasks.enter(work):
                return None
            work.task = running_loop().create_task(within() if scopes else body)
            work.task.add_done_callback(end)
        except BaseException:  # of a signal's handler: without the callback, nobody else would
            self._tasks.leave(work)
            if work.task is not None:
                work.task.cancel()
            raise
        return work

    def drain(self, owner: object, seconds: float) -> None:
        """Wait until the threads of `owner` have ended, `seconds` at most; never as all ends."""
        if is_ending():
            return
        until = time.monotonic() + seconds
        for work in self._threads.of(owner):
            work.over.wait(max(0.0, until - time.monotonic()))

    async def adrain(self, owner: object, seconds: float) -> None:
        """Wait until all work of `owner` has ended, `seconds` at most; then cancel its tasks."""
        import asyncio

        until = time.monotonic() + seconds
        while self._of(owner) and time.monotonic() < until:  # noqa: ASYNC110 - threads, too
            await asyncio.sleep(_LOOK_EVERY)
        late = self._of(owner)
        for work in late:
            work.cancel()
        loop = current_loop()  # there may be none, of trio
        mine = {
            work.task for work in late if work.task is not None and work.task.get_loop() is loop
        }
        if mine:  # so that they release what they hold
            await asyncio.wait(mine, timeout=seconds)

    def _of(self, owner: object) -> list[Work]:
        return [work for work in self._tasks.of(owner) + self._threads.of(owner) if work.alive()]


@contextmanager
def _all(scopes: Iterable[AbstractContextManager[object]]) -> Iterator[None]:
    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        yield


def _copied(hidden: Set[contextvars.ContextVar[Any]]) -> contextvars.Context:
    """Return a copy of the caller's context, without some variables."""
    here = contextvars.copy_context()
    if not any(variable in here for variable in hidden):
        return here
    copied = contextvars.Context()
    for variable, value in here.items():
        if variable not in hidden:
            copied.run(variable.set, value)
    return copied


def is_ending() -> bool:
    """Tell whether the interpreter ends, so that failures of daemon threads mean nothing."""
    return not threading.main_thread().is_alive()


background: Final = Background()
