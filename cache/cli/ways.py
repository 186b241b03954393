"""The four ways in which the demo reaches a cache, as an application would.

A request asks for several modules, one after the other; requests overlap. Each way
serves its requests with and without a cache, by the same code.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import ClassVar, NamedTuple, TypeAlias

from twofold.cli.corpus import Module
from twofold.cli.counting import Counts, count
from twofold.core import Cache
from twofold.decorators import cached
from twofold.functions import AsyncCached, Cached, CacheInfo

Request: TypeAlias = Sequence[Module]
Function: TypeAlias = Callable[[str, int, int], Counts]
AsyncFunction: TypeAlias = Callable[[str, int, int], Awaitable[Counts]]
Tick: TypeAlias = Callable[[int], None]
"""Called with the number of calls that a request made, once it is answered."""

THREADS = 8

_WATCH_EVERY = 0.002  # seconds between two looks at whether the loop is late


class Tally(NamedTuple):
    """What calls came to: found, given by another caller's computation, or computed."""

    hits: int
    shared: int
    computed: int


class Pass(NamedTuple):
    """How long serving requests took, and how long the event loop paused at most."""

    seconds: float
    longest_pause: float | None


def key(path: str, mtime_ns: int, size: int) -> str:
    """Return the key of a module's counts, the same in every way; a changed file has another."""
    return f"counts:{mtime_ns}:{size}:{path}"


async def acount(path: str, mtime_ns: int, size: int) -> Counts:
    """Do what `count` does in a thread, for parsing would freeze the event loop."""
    return await asyncio.to_thread(count, path, mtime_ns, size)


class Way(ABC):
    """One way to the counts of modules, through `store`."""

    name: ClassVar[str]
    face: ClassVar[str]

    def __init__(self, store: Cache) -> None:
        self.store = store

    def __repr__(self) -> str:
        return f"<{self.face} {self.name} of {self.store.alias!r}>"

    @abstractmethod
    def serve(self, requests: Sequence[Request], tick: Tick) -> Pass:
        """Answer `requests` through the cache."""

    @abstractmethod
    def serve_uncached(self, requests: Sequence[Request], tick: Tick) -> Pass:
        """Answer `requests` in the same manner, each call computing."""

    @abstractmethod
    def tally(self) -> Tally:
        """Return what the calls through the cache came to so far."""


class SyncView(Way):
    """A sync view, run by several threads, that calls a decorated function."""

    name = "view"
    face = "sync"

    def __init__(self, store: Cache) -> None:
        super().__init__(store)
        self.function: Cached[[str, int, int], Counts] = cached(cache=store, key=key)(count)

    def serve(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return _in_threads(self.function, requests, tick)

    def serve_uncached(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return _in_threads(count, requests, tick)

    def tally(self) -> Tally:
        return _tally(self.function.cache_info())


class AsyncView(Way):
    """An async view, all its requests at once, that awaits a decorated async function."""

    name = "view"
    face = "async"

    def __init__(self, store: Cache) -> None:
        super().__init__(store)
        self.function: AsyncCached[[str, int, int], Counts] = cached(cache=store, key=key)(acount)

    def serve(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return asyncio.run(_at_once(self.function, requests, tick))

    def serve_uncached(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return asyncio.run(_at_once(acount, requests, tick))

    def tally(self) -> Tally:
        return _tally(self.function.cache_info())


class GetSet(Way):
    """Plain `get` and `set`, one request after the other."""

    name = "get/set"
    face = "sync"

    def __init__(self, store: Cache) -> None:
        super().__init__(store)
        self.hits: int = 0
        self.computed: int = 0

    def read(self, path: str, mtime_ns: int, size: int) -> Counts:
        """Return the stored counts, or compute and store them."""
        name = key(path, mtime_ns, size)
        counts: Counts | None = self.store.get(name)
        if counts is not None:
            self.hits += 1
            return counts
        self.computed += 1
        counts = count(path, mtime_ns, size)
        self.store.set(name, counts)
        return counts

    def serve(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return _in_turn(self.read, requests, tick)

    def serve_uncached(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return _in_turn(count, requests, tick)

    def tally(self) -> Tally:
        return Tally(self.hits, 0, self.computed)


class AgetAset(Way):
    """Plain `aget` and `aset`, one request after the other."""

    name = "aget/aset"
    face = "async"

    def __init__(self, store: Cache) -> None:
        super().__init__(store)
        self.hits: int = 0
        self.computed: int = 0

    async def read(self, path: str, mtime_ns: int, size: int) -> Counts:
        """Return the stored counts, or compute and store them."""
        name = key(path, mtime_ns, size)
        counts: Counts | None = await self.store.aget(name)
        if counts is not None:
            self.hits += 1
            return counts
        self.computed += 1
        counts = await acount(path, mtime_ns, size)
        await self.store.aset(name, counts)
        return counts

    def serve(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return asyncio.run(_in_turn_async(self.read, requests, tick))

    def serve_uncached(self, requests: Sequence[Request], tick: Tick) -> Pass:
        return asyncio.run(_in_turn_async(acount, requests, tick))

    def tally(self) -> Tally:
        return Tally(self.hits, 0, self.computed)


WAYS: tuple[type[Way], ...] = (SyncView, AsyncView, GetSet, AgetAset)


def _tally(info: CacheInfo) -> Tally:
    return Tally(info.hits, info.misses - info.computed, info.computed)


def _in_turn(function: Function, requests: Sequence[Request], tick: Tick) -> Pass:
    started = perf_counter()
    for request in requests:
        _answer(function, request, tick)
    return Pass(perf_counter() - started, None)


def _in_threads(function: Function, requests: Sequence[Request], tick: Tick) -> Pass:
    started = perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        answers = [threads.submit(_answer, function, each, tick) for each in requests]
        try:
            for answered in answers:
                answered.result()
        finally:
            threads.shutdown(cancel_futures=True)  # at an interrupt
    return Pass(perf_counter() - started, None)


def _answer(function: Function, request: Request, tick: Tick) -> None:
    for module in request:
        function(module.path, module.mtime_ns, module.size)
    tick(len(request))


async def _in_turn_async(function: AsyncFunction, requests: Sequence[Request], tick: Tick) -> Pass:
    async with _Watch() as watch:
        for request in requests:
            await _answer_async(function, request, tick)
    return Pass(watch.seconds, watch.longest_pause)


async def _at_once(function: AsyncFunction, requests: Sequence[Request], tick: Tick) -> Pass:
    async with _Watch() as watch, asyncio.TaskGroup() as tasks:
        for request in requests:
            tasks.create_task(_answer_async(function, request, tick))
    return Pass(watch.seconds, watch.longest_pause)


async def _answer_async(function: AsyncFunction, request: Request, tick: Tick) -> None:
    for module in request:
        await function(module.path, module.mtime_ns, module.size)
    tick(len(request))


class _Watch:
    """Measures its `async with` block, and how late the event loop comes back meanwhile."""

    def __init__(self) -> None:
        self.seconds = self.longest_pause = 0.0

    async def __aenter__(self) -> "_Watch":
        self._task = asyncio.create_task(self._look())
        self._started = perf_counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._started
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            asked = perf_counter()
            await asyncio.sleep(_WATCH_EVERY)
            late = perf_counter() - asked - _WATCH_EVERY
            self.longest_pause = max(self.longest_pause, late)
