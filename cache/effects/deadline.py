"""One deadline for several operations that are one to their caller.

A body bounds its effects once, and each operation that it does by them ends in time. Stores on
a network ask for the bound as they begin an operation; others need not know of it.

What is bounded is the operations alone: a user's function, called by the same effects, and all
that it asks of caches, is not, and what comes after it has the whole time again. Nor does a bound
outlast an operation that an exception of a signal's handler ends, since sync ones run in a context
of their own.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, ParamSpec, TypeVar

from twofold.effects.endings import Ending
from twofold.effects.faces import Effects, Joinable, Spawned

P = ParamSpec("P")
T = TypeVar("T")

_LITTLE: Final = 0.01

_bound: ContextVar[float | None] = ContextVar("twofold_bound", default=None)


ends_by: Callable[[], float | None] = _bound.get
"""Returns the monotonic time by which what begins now is to end; None if nothing bounds it."""


def within(io: Effects, seconds: float, since: float = 0.0) -> Effects:
    """Return the effects of `io`, whose operations all end `seconds` from now at the latest.

    `since` is the monotonic time at which they began, if the first of them is over already.
    """
    return _Bounded(io, seconds, since or monotonic())


def remaining(io: Effects, seconds: float, since: float) -> Effects:
    """Do what `within` does, unless so little time has passed that it is as good as none.

    `since` is 0 where nothing takes long.
    """
    return within(io, seconds, since) if since and monotonic() - since > seconds * _LITTLE else io


class _Bounded:
    """The effects of `io`, with operations that end `seconds` after a monotonic time."""

    def __init__(self, io: Effects, seconds: float, since: float) -> None:
        self.by_loop: bool = io.by_loop
        self._io = io
        self._seconds = seconds
        self._ends = since + seconds

    async def op(
        self,
        blocking: Callable[P, T],
        native: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        ends = self._ends

        def bounded(*args: P.args, **kwargs: P.kwargs) -> T:
            return copy_context().run(_run, ends, partial(blocking, *args, **kwargs))

        def abounded(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            return _Begun(native(*args, **kwargs), ends)

        return await self._io.op(bounded, abounded, *args, **kwargs)

    async def call(self, function: Callable[[], Any]) -> Any:
        try:
            return await self._io.call(function)
        finally:
            self._ends = monotonic() + self._seconds

    async def wait(self, ending: Ending, seconds: float) -> bool:
        return await self._io.wait(ending, seconds)

    async def sleep(self, seconds: float) -> None:
        await self._io.sleep(seconds)

    async def shield(self, body: Coroutine[Any, Any, T]) -> T:
        return await self._io.shield(body)

    def spawn(self, body: Coroutine[Any, Any, None], over: Callable[[], object]) -> Joinable | None:
        return self._io.spawn(body, over)

    async def behind(
        self, body: Coroutine[Any, Any, None], owner: object, over: Callable[[], object]
    ) -> Spawned | None:
        return await self._io.behind(body, owner, over)

    def stays(self) -> bool:
        return self._io.stays()

    def join(self, spawned: Joinable) -> Awaitable[None]:
        return self._io.join(spawned)

    def may_wait(self, for_loop: bool) -> bool:
        return self._io.may_wait(for_loop)


class _Begun(Generic[T]):
    """What is awaited with the bound set during its first step, in which operations ask for it.

    Later steps take turns with other tasks, which may share the context. What a signal's
    handler raises here ends the steps as well, which would else end when they are collected.
    """

    def __init__(self, awaitable: Awaitable[T], ends: float) -> None:
        self._awaitable = awaitable
        self._ends = ends

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._awaitable.__await__()
        try:
            step = _first(steps, self._ends)
            while True:
                try:
                    yield step
                    break
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = steps.throw(error)
            return (yield from steps)
        except StopIteration as done:
            result: T = done.value
            return result
        except BaseException:
            steps.close()
            raise


def _first(steps: Generator[Any, Any, Any], ends: float) -> Any:
    outside = _bound.get()
    try:
        _bound.set(_earlier(outside, ends))
        return next(steps)
    finally:
        _bound.set(outside)


def _run(ends: float, operation: Callable[[], T]) -> T:
    _bound.set(_earlier(_bound.get(), ends))
    return operation()


def _earlier(outside: float | None, ends: float) -> float:
    return ends if outside is None else min(outside, ends)
