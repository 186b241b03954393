"""Operations that two commits are timed in, each commit in a process of its own.

python -m tests.benchmarks.operations LOCATIONS

imports whichever twofold comes first on its path, writes the names of its operations as one
line of JSON, and then reads lines `[operation, times]` and answers `[CPU, wall]` in seconds.
LOCATIONS are those of the stores, by backend, as JSON. What a commit cannot import is left out.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from itertools import count
from typing import Any, TypeAlias

from tests.benchmarks.harness import CAPACITY, KEYS, TIMEOUT, VALUE, aeach, each, expect, together
from twofold import Cache, cached, caches, configure

Work: TypeAlias = Callable[[], Any]
Works: TypeAlias = Iterator[tuple[str, Work, int]]
"""The name of an operation, what repeats it, and how often that does."""

BACKENDS = {  # by dotted path: a commit may be laid out without its entry points
    "memory": "twofold.backends.memory:MemoryBackend",
    "sqlite": "twofold.backends.sqlite:SQLiteBackend",
    "files": "twofold.backends.files:FilesBackend",
    "redis": "twofold.backends.redis:RedisBackend",
    "memcached": "twofold.backends.memcached:MemcachedBackend",
}
PAGE = KEYS[:100]
MISSES = 100
TUPLES = [(number, str(number), None) for number in range(100)]
NETWORK = ("redis", "memcached")


@dataclass(frozen=True)
class Operation:
    """A piece of work, and how many calls of the operation it makes."""

    work: Work
    calls: int


def cache_on(backend: str, location: str) -> Cache:
    """Return a cache on a store, filled with what is read."""
    configure(
        {
            "default": {
                "BACKEND": BACKENDS[backend],
                "LOCATION": location,
                "TIMEOUT": TIMEOUT,
                "KEY_PREFIX": f"process{os.getpid()}",  # a miss is to be one in each process
                "OPTIONS": {} if backend in NETWORK else {"max_entries": CAPACITY},
            }
        }
    )
    cache = caches["default"]
    cache.set_many(dict.fromkeys(KEYS, VALUE))
    cache.set("tuples", TUPLES)
    expect(cache.get(KEYS[-1]))
    return cache


def sync_works(cache: Cache) -> Works:
    """Yield the operations of the sync face."""
    fresh = count()

    def miss() -> None:
        for _ in range(MISSES):
            cache.get_or_set(f"missing:{next(fresh)}", _compute, 60)

    yield "get", each(cache.get), len(KEYS)
    yield "set", each(lambda key: cache.set(key, VALUE)), len(KEYS)
    yield "get, 100 tuples", each(cache.get, ["tuples"] * 10), 10
    yield "get_many(100)", each(cache.get_many, [PAGE]), 1
    yield "set_many(100)", each(cache.set_many, [dict.fromkeys(PAGE, VALUE)]), 1
    yield "get_or_set, a miss", miss, MISSES


def async_works(cache: Cache) -> Works:
    """Yield the operations of the async face."""
    fresh = count()

    async def miss() -> None:
        for _ in range(MISSES):
            await cache.aget_or_set(f"amissing:{next(fresh)}", _compute, 60)

    yield "aget, 1 task", aeach(cache.aget), len(KEYS)
    yield "aget, 100 tasks", together(cache.aget), len(KEYS)
    yield "aset, 100 tasks", together(lambda key: cache.aset(key, VALUE)), len(KEYS)
    yield "aget_many(100)", aeach(cache.aget_many, [PAGE]), 1
    yield "aget_or_set, a miss", miss, MISSES


def decorated_works(cache: Cache) -> Works:
    """Yield hits of decorated functions."""

    @cached(cache=cache)
    def product(key: str, amount: int = 1) -> bytes:
        return VALUE

    @cached(cache=cache)
    async def aproduct(key: str, amount: int = 1) -> bytes:
        return VALUE

    yield "@cached def, a hit", each(product), len(KEYS)
    yield "@cached async def, a hit", aeach(aproduct), len(KEYS)


def page_works(cache: Cache) -> Works:
    """Yield the hit of a page of Starlette, by the middleware alone."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from twofold.contrib.starlette import CacheMiddleware

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * 1000)

    app = CacheMiddleware(Starlette(routes=[Route("/page", page)]), cache, timeout=TIMEOUT)
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/page",
        "raw_path": b"/page",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), (b"accept", b"*/*")],
        "server": ("testserver", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        expect(message.get("status", 200), 200)

    async def hit(_: int) -> None:
        await app(dict(scope), receive, send)

    yield "Starlette, a page's hit", aeach(hit, range(100)), 100


def django_works(_cache: Cache) -> Works:
    """Yield reads by Django's interface, of a memory of its own."""
    from django.conf import settings
    from django.core.cache import cache

    memory = {"BACKEND": "twofold.contrib.django.MemoryCache", "TIMEOUT": TIMEOUT}
    settings.configure(CACHES={"default": memory})
    for key in KEYS:
        cache.set(key, VALUE)
    expect(cache.get(KEYS[-1]))
    yield "Django's get", each(cache.get), len(KEYS)
    yield "Django's aget", aeach(cache.aget), len(KEYS)


ON_MEMORY = (decorated_works, page_works, django_works)


def _compute() -> bytes:
    return VALUE


def _operations(locations: Mapping[str, str]) -> dict[str, Operation]:
    found = {}
    for backend, location in locations.items():
        cache = cache_on(backend, location)
        for kind in (sync_works, async_works, *(ON_MEMORY if backend == "memory" else ())):
            try:
                works = {f"{backend}: {name}": Operation(work, n) for name, work, n in kind(cache)}
            except ImportError as error:
                print(f"left out: {backend}, {kind.__name__}: {error}", file=sys.stderr)
            else:
                found.update(works)
    return found


def _timed(runner: asyncio.Runner, operation: Operation, times: int) -> tuple[float, float]:
    """Return the CPU and the wall time of one call of an operation, in seconds."""
    work = operation.work
    gc.collect()
    if iscoroutinefunction(work):
        cpu, wall = runner.run(_awaited(work, times))
    else:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / times / operation.calls, wall / times / operation.calls


async def _awaited(work: Callable[[], Coroutine[Any, Any, Any]], times: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        await work()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Time what standard input asks for, until it ends."""
    with asyncio.Runner() as runner:
        operations = _operations(json.loads(sys.argv[1]))
        print(json.dumps({name: each.calls for name, each in operations.items()}), flush=True)
        for line in sys.stdin:
            name, times = json.loads(line)
            print(json.dumps(_timed(runner, operations[name], times)), flush=True)


if __name__ == "__main__":
    main()
