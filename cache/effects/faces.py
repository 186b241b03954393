"""The two faces of one body.

Whatever has control flow is written once, as an `async def` that awaits nothing but the
methods of an `io: Effects` argument and other such bodies. `Native` runs it in the
caller's event loop. The methods of `Blocking` never suspend, so `run_sync` drives the
very same body to its end with one `send(None)`.
"""

import contextvars
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar

from twofold.codecs.immutables import ATOMS
from twofold.effects.background import background
from twofold.effects.endings import Ending
from twofold.effects.loops import current_loop, in_event_loop, running_loop, serves_event_loop
from twofold.errors import AwaitableResult, NoEventLoop

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
T = TypeVar("T")


def run_sync(body: Coroutine[Any, Any, T]) -> T:
    """Run `body` to its end without an event loop; it must never suspend."""
    try:
        body.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    body.close()
    raise RuntimeError(
        f"{body!r} suspended outside an event loop: it may await only methods of its `io`"
    )


class Spawned(Protocol):
    """A body that was started."""

    def cancel(self) -> None:
        """Ask the body to stop, from any thread; nothing happens once it has ended."""

    def alive(self) -> bool:
        """Tell whether the body can still come to its end."""


class Joinable(Spawned, Protocol):
    """A body that was started for its caller to wait for."""

    @property
    def ended(self) -> Awaitable[None]:
        """What `Effects.join` waits for."""


class Effects(Protocol):
    """All that a body may await."""

    by_loop: bool
    """Whether bodies run in an event loop."""

    async def op(
        self,
        blocking: Callable[P, T],
        native: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do one operation that has two faces, by the face that this is."""

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call a user's function without freezing a loop, and return its result."""

    async def wait(self, ending: Ending, seconds: float) -> bool:
        """Wait until something ends, `seconds` at most, and tell whether it has."""

    async def sleep(self, seconds: float) -> None:
        """Do nothing for `seconds`."""

    async def shield(self, body: Coroutine[Any, Any, T]) -> T:
        """Run `body` to its end even if the caller is cancelled meanwhile."""

    def spawn(self, body: Coroutine[Any, Any, None], over: Callable[[], object]) -> Joinable | None:
        """Start `body` in a copy of the caller's context; None if it ran to its end.

        `over` is called at the end of one that goes on, also if its loop ends before it began.
        """

    async def behind(
        self, body: Coroutine[Any, Any, None], owner: object, over: Callable[[], object]
    ) -> Spawned | None:
        """Start `body` where nobody has to wait for it; None if there is no room for it.

        It is the work of `owner`, which drains it as it closes. `over` is as in `spawn`.
        """

    def stays(self) -> bool:
        """Tell whether what is to run behind would run in the caller's own time, and thread."""

    def join(self, spawned: Joinable) -> Awaitable[None]:
        """Wait until what the caller has started ends; it goes on if the caller is cancelled."""

    def may_wait(self, for_loop: bool) -> bool:
        """Tell whether waiting for another's work is safe; `for_loop`: a loop does it."""


class Blocking:
    """The effects of sync code: each blocks its thread, and none suspends."""

    by_loop = False

    async def op(
        self,
        blocking: Callable[P, T],
        native: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return blocking(*args, **kwargs)

    async def call(self, function: Callable[[], Any]) -> Any:
        result = function()
        if type(result) not in ATOMS and inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise AwaitableResult(_AWAITABLE.format(function=function))
        return result

    async def wait(self, ending: Ending, seconds: float) -> bool:
        woken: SimpleQueue[None] = SimpleQueue()  # unlike an Event, signals' handlers may put
        wake = partial(woken.put, None)
        try:
            ending.notify(wake)
            with suppress(Empty):
                woken.get(timeout=max(0.0, seconds))
        finally:
            ending.forget(wake)
        return ending.ended

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this face blocks, by its nature

    async def shield(self, body: Coroutine[Any, Any, T]) -> T:
        return await body

    def spawn(self, body: Coroutine[Any, Any, None], over: Callable[[], object]) -> Joinable | None:
        contextvars.copy_context().run(run_sync, body)
        return None

    async def behind(
        self, body: Coroutine[Any, Any, None], owner: object, over: Callable[[], object]
    ) -> Spawned | None:
        if self.stays():
            self.spawn(body, over)
            return _OVER
        work = background.start_thread(run_sync, body, owner, over)
        if work is None:
            body.close()
        return work

    def stays(self) -> bool:
        return background.inline or background.is_here

    async def join(self, spawned: Joinable) -> None:
        pass

    def may_wait(self, for_loop: bool) -> bool:
        return not in_event_loop() and not (for_loop and serves_event_loop())


_AWAITABLE = (
    "{function!r} is async, and this is the sync face: a coroutine cannot be stored. "
    "Call the twin with the `a` prefix from async code, or pass a sync function."
)


class Foreground(Blocking):
    """The effects of sync code whose functions must stay in their caller's thread."""

    def stays(self) -> bool:
        return True


class Native:
    """The effects of async code, in the caller's own event loop."""

    by_loop = True

    async def op(
        self,
        blocking: Callable[P, T],
        native: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await native(*args, **kwargs)

    async def call(self, function: Callable[[], Any]) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function()
        from twofold.effects.worker_pool import call_in_thread

        result = await call_in_thread(function)
        return await result if inspect.isawaitable(result) else result

    async def wait(self, ending: Ending, seconds: float) -> bool:
        loop = running_loop()
        waiter = loop.create_future()
        wake = partial(_schedule, loop, _release, waiter)
        timer = loop.call_later(seconds, _release, waiter)
        try:
            ending.notify(wake)
            await waiter
        finally:
            timer.cancel()
            ending.forget(wake)
        return ending.ended

    async def sleep(self, seconds: float) -> None:
        running_loop()
        import asyncio

        await asyncio.sleep(seconds)

    async def shield(self, body: Coroutine[Any, Any, T]) -> T:
        import asyncio

        task = _start(body)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
            raise

    def spawn(self, body: Coroutine[Any, Any, None], over: Callable[[], object]) -> Joinable | None:
        return _Task(body, over)

    async def behind(
        self, body: Coroutine[Any, Any, None], owner: object, over: Callable[[], object]
    ) -> Spawned | None:
        work = background.start_task(body, owner, over)
        if work is None:
            body.close()
        elif background.inline and work.task is not None:
            import asyncio

            await asyncio.wait({work.task})
        return work

    def stays(self) -> bool:
        return False

    def join(self, spawned: Joinable) -> Awaitable[None]:
        return spawned.ended

    def may_wait(self, for_loop: bool) -> bool:
        return True


class _Over:
    """A body that ran to its end."""

    def cancel(self) -> None:
        pass

    def alive(self) -> bool:
        return False


_OVER = _Over()


class _Task:
    """A task that is kept alive until it ends, and can be cancelled from any thread."""

    __slots__ = ("_over", "_task", "ended")

    _running: ClassVar["set[_Task]"] = set()

    def __init__(self, body: Coroutine[Any, Any, None], over: Callable[[], object]) -> None:
        self._over: Callable[[], object] | None = over
        self._task = _start(body)
        self.ended: asyncio.Future[None] = self._task.get_loop().create_future()
        self._running.add(self)
        for _ in range(2):  # a signal's handler may break one off, in a loop that goes on
            self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        _schedule(self._task.get_loop(), self._task.cancel)

    def alive(self) -> bool:
        return not self._task.done() and self._task.get_loop().is_running()

    def _end(self, task: "asyncio.Task[None]") -> None:
        _release(self.ended)
        self._running.discard(self)
        if not task.cancelled():
            task.exception()
        if self._over is not None:
            self._over()
        self._over = None  # what it belongs to may hold this task


def _start(body: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Run `body` in a task of the running loop; without one, close it and raise."""
    try:
        loop = running_loop()
    except NoEventLoop:
        body.close()
        raise
    return loop.create_task(body)


def _schedule(loop: "asyncio.AbstractEventLoop", step: Callable[..., Any], *args: Any) -> None:
    """Have `loop` take a step, from any thread; a loop that has closed takes none."""
    if current_loop() is loop:
        step(*args)
        return
    try:
        loop.call_soon_threadsafe(step, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


BLOCKING: Effects = Blocking()
"""The effects of sync code, which have no state."""

FOREGROUND: Effects = Foreground()
"""The effects of sync code that runs nothing in the background."""

NATIVE: Effects = Native()
"""The effects of async code, which have none either."""
