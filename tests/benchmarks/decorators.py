"""Hits of decorated functions, beside the decorators of cachetools, async-lru and others."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import RLock
from typing import Any

import aiocache
import cachetools
import cashews
from async_lru import alru_cache

from tests.benchmarks.harness import CAPACITY, KEYS, TIMEOUT, VALUE, Bench, Client, expect
from twofold import cached, configure

AREA = "decorators"


def run(bench: Bench) -> None:
    """Compare hits."""
    options = {"max_entries": CAPACITY}
    configure({"default": {"BACKEND": "memory", "TIMEOUT": TIMEOUT, "OPTIONS": options}})
    _race_sync(bench)
    _race_async(bench)


def _race_sync(bench: Bench) -> None:
    decorators: dict[str, Callable[..., Any]] = {
        "twofold": cached,
        "cachetools TTLCache + lock": _cachetools,
        "functools.lru_cache": lru_cache(CAPACITY),
    }
    targets = {"cachetools TTLCache + lock": 1.0}
    for what, decorate in _SHAPES.items():
        works = {name: decorate(decorator) for name, decorator in decorators.items()}
        bench.race(AREA, what, _clients(works, targets))


def _race_async(bench: Bench) -> None:
    cache = cashews.Cache()
    cache.setup("mem://", size=CAPACITY)
    works = {
        "twofold": _awaited(cached),
        "async-lru": _awaited(alru_cache(CAPACITY, ttl=TIMEOUT)),
        "aiocache": _awaited(aiocache.cached(ttl=TIMEOUT)),
        "cashews": _awaited(cache(ttl=TIMEOUT)),
    }
    targets = {"async-lru": 1 / 1.2, "aiocache": 15.0, "cashews": 15.0}
    for work in works.values():
        bench.run(work())
    bench.race(AREA, "async, one argument", _clients(works, targets))


def _clients(works: dict[str, Callable[[], Any]], targets: dict[str, float]) -> Sequence[Client]:
    return [Client(name, work, target=targets.get(name)) for name, work in works.items()]


def _cachetools(function: Callable[..., Any]) -> Callable[..., Any]:
    store: cachetools.TTLCache[Any, Any] = cachetools.TTLCache(CAPACITY, TIMEOUT)
    decorate: Callable[..., Any] = cachetools.cached(store, lock=RLock())
    decorated: Callable[..., Any] = decorate(function)
    return decorated


def _one_argument(decorator: Callable[..., Any]) -> Callable[[], None]:
    runs = []

    def product(key: str) -> bytes:
        runs.append(key)
        return VALUE

    decorated = decorator(product)

    def work() -> None:
        for key in KEYS:
            decorated(key)

    _expect_hits(work, runs)
    return work


def _two_arguments(decorator: Callable[..., Any]) -> Callable[[], None]:
    runs = []

    def product(key: str, amount: int = 1, *, net: bool = False) -> bytes:
        runs.append(key)
        return VALUE

    decorated = decorator(product)

    def work() -> None:
        for key in KEYS:
            decorated(key, 2, net=True)

    _expect_hits(work, runs)
    return work


_SHAPES = {"one argument": _one_argument, "two arguments and a keyword": _two_arguments}


def _expect_hits(work: Callable[[], None], runs: list[str]) -> None:
    """Raise unless the function runs once for each key however often it is called."""
    work()
    work()
    expect(runs, KEYS)


def _awaited(decorator: Callable[..., Any]) -> Callable[[], Any]:
    runs = []

    async def product(key: str) -> bytes:
        runs.append(key)
        return VALUE

    decorated = decorator(product)

    async def work() -> None:
        for key in KEYS:
            await decorated(key)
        if len(runs) != len(KEYS):
            raise AssertionError(f"{decorator!r} ran the function {len(runs)} times")

    return work
