"""The two faces behind one set of names, so that a test body is written once.

    async def body(face, cache):
        view = face.view(cache)
        await view.set("k", 1)              # cache.set, or await cache.aset
        assert await view.get("k") == 1

    for face in FACES:
        face.run(body(face, cache))

In the sync face nothing ever suspends, and no event loop runs.
"""

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar

from twofold.effects import run_sync

T = TypeVar("T")

_THREADS = 16


class SyncView:
    """The sync methods of a `Cache` or `Backend`, to be awaited like the async ones."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __repr__(self) -> str:
        return f"<SyncView of {self.target!r}>"

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.target, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call

    def lock(self, *args: Any, **kwargs: Any) -> "_SyncLock":
        """Return the target's lock, for `async with`."""
        return _SyncLock(self.target.lock(*args, **kwargs))


class AsyncView:
    """The async methods of a `Cache` or `Backend`, under the names of the sync ones."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __repr__(self) -> str:
        return f"<AsyncView of {self.target!r}>"

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        twin: Callable[..., Awaitable[Any]] = getattr(self.target, f"a{name}")
        return twin

    def lock(self, *args: Any, **kwargs: Any) -> "_AsyncLock":
        """Return the target's lock, for `async with`."""
        return _AsyncLock(self.target.lock(*args, **kwargs))


class _SyncLock(SyncView):
    """A lock whose sync context manager is entered and left by `async with`."""

    async def __aenter__(self) -> Any:
        return self.target.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.target.__exit__(kind, error, traceback)


class _AsyncLock(AsyncView):
    """A lock whose async methods go by the names of the sync ones."""

    async def __aenter__(self) -> Any:
        return await self.target.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.target.__aexit__(kind, error, traceback)


class Face(ABC):
    """One of the two ways to call."""

    name: str
    is_async: bool

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @abstractmethod
    def view(self, target: Any) -> Any:
        """Return the methods of a `Cache` or `Backend` in this face."""

    @abstractmethod
    def run(self, body: Coroutine[Any, Any, T]) -> T:
        """Run a test body."""

    @abstractmethod
    async def together(self, calls: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """Run `calls` at the same time, and return what they returned, in their order."""


class SyncFace(Face):
    """`get`, `set`, …: without an event loop, and together in threads."""

    name = "sync"
    is_async = False

    def view(self, target: Any) -> SyncView:
        return SyncView(target)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        return run_sync(body)

    async def together(self, calls: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(threads.map(lambda call: run_sync(call()), calls))


class AsyncFace(Face):
    """`aget`, `aset`, …: in an event loop of its own, and together in its tasks."""

    name = "async"
    is_async = True

    def view(self, target: Any) -> AsyncView:
        return AsyncView(target)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(body)

    async def together(self, calls: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        return await asyncio.gather(*[call() for call in calls])


FACES: tuple[Face, ...] = (SyncFace(), AsyncFace())
"""Both faces, sync first."""


def case(body: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an async test method a plain one, which its `face` fixture runs."""

    @wraps(body)
    def run(self: Any, face: Face, **fixtures: Any) -> None:
        if "face" in wanted:
            fixtures["face"] = face
        face.run(body(self, **fixtures))

    wanted = inspect.signature(body).parameters
    given = [each for name, each in wanted.items() if name != "face"]
    face = inspect.Parameter("face", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([given[0], face, *given[1:]])  # type: ignore[attr-defined]
    return run
