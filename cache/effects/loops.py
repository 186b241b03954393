"""What belongs to one event loop, and what is known of the running one.

A program that has not imported asyncio runs none of its loops, and need not import it for us.
"""

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twofold.effects.forks import after_fork_in_child, leak_on_fork
from twofold.effects.locks import new_lock
from twofold.errors import NoEventLoop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")


def current_loop() -> "AbstractEventLoop | None":
    """Return the event loop that is running in this thread, or None."""
    return running()


def in_event_loop() -> bool:
    """Tell whether an event loop is running in this thread."""
    return running() is not None


def this_caller() -> int:
    """Return what tells the running task from all others, or outside of one the thread."""
    loop = running()
    task = None if loop is None else _asyncio.current_task(loop)
    return get_ident() if task is None else id(task)


def running_loop() -> "AbstractEventLoop":
    """Return the event loop that is running in this thread.

    Raises:
        NoEventLoop: none of asyncio's is.
    """
    loop = running()
    if loop is None:
        raise NoEventLoop(
            "the async calls of twofold need an event loop of asyncio, and none is running in"
            " this thread. Under trio or curio use the sync calls, in a worker thread where the"
            " store blocks: `await trio.to_thread.run_sync(cache.get, key)`"
        )
    return loop


def _before_asyncio() -> "AbstractEventLoop | None":
    """Return the running loop, from the first call with asyncio on by asyncio's own function."""
    global _asyncio, running  # so that no later call need ask whether it is there
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    _asyncio, running = asyncio, asyncio._get_running_loop
    return running()


_asyncio: Any = None
running: "Callable[[], AbstractEventLoop | None]" = _before_asyncio
"""Returns the event loop that is running in this thread, or None.

Who asks at each hit calls it as `loops.running()`, which is half of what `in_event_loop()` takes.
It is another function once asyncio is there.
"""


def serves_event_loop() -> bool:
    """Tell whether this thread runs sync code for an event loop that waits for it.

    asgiref notes the loop in each thread that its `sync_to_async` uses. Such a thread
    may be the very one that the loop's next `sync_to_async` needs.
    """
    # What another thread is importing is there before its names are.
    bridge = getattr(sys.modules.get("asgiref.sync"), "SyncToAsync", None)
    noted = bridge and bridge.threadlocal
    loop = getattr(noted, "main_event_loop", None)
    pid = getattr(noted, "main_event_loop_pid", None)
    return loop is not None and pid == os.getpid() and loop.is_running()


class PerLoop(Generic[T]):
    """One `T` for each running event loop, closed with its loop.

    A thing is closed by `aclose(thing)` inside its own loop when that loop shuts its
    async generators down (as `asyncio.run` does), and by `abandon(thing)` from any
    thread when its loop was closed without. A forked child starts empty.
    """

    def __init__(
        self,
        make: Callable[[], T],
        aclose: Callable[[T], Awaitable[None]],
        abandon: Callable[[T], None],
    ) -> None:
        self._make = make
        self._aclose = aclose
        self._abandon = abandon
        self._held: dict[AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}
        self._lock = new_lock()
        after_fork_in_child(self)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        return iter([thing for thing, _ in list(self._held.values())])

    def get(self) -> T:
        """Return the running loop's `T`, made at the first call."""
        loop = running() or running_loop()
        held = self._held.get(loop)
        if held is None or len(self._held) > 1:
            self.sweep()
            held = held or self._begin(loop)
        return held[0]

    def _begin(self, loop: "AbstractEventLoop") -> tuple[T, AsyncGenerator[None, None]]:
        thing = self._make()
        guard = self._guard(loop, thing)
        _start(guard)  # first: what a signal's handler breaks off here is not held
        held = self._held[loop] = (thing, guard)
        return held

    def sweep(self) -> None:
        """Abandon what belongs to loops that have closed."""
        for loop in [loop for loop in list(self._held) if loop.is_closed()]:
            with self._lock:
                held = self._held.pop(loop, None)
            if held is not None:
                self._abandon(held[0])

    async def aclose(self) -> None:
        """Close the running loop's `T`; abandon those of loops that have closed."""
        self.sweep()
        loop = running_loop()
        held = self._held.get(loop)
        if held is not None:
            await self._close(loop, held[0])
            await held[1].aclose()

    async def _guard(self, loop: "AbstractEventLoop", thing: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._close(loop, thing)

    async def _close(self, loop: "AbstractEventLoop", thing: T) -> None:
        """Close the `T` of a loop, which goes on to be held where that is broken off."""
        held = self._held.get(loop)
        if held is None or held[0] is not thing:
            return
        try:
            with self._lock:
                self._held.pop(loop, None)
            await self._aclose(thing)
        except BaseException:
            self._held.setdefault(loop, held)
            raise

    def _after_fork(self) -> None:
        leak_on_fork(self._held, self._lock)
        self._held = {}
        self._lock = new_lock()


def _start(guard: AsyncGenerator[None, None]) -> None:
    """Run `guard` to its `yield`, which makes the running loop know it."""
    with suppress(StopIteration):
        next(guard.__anext__().__await__())
