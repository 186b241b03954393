# docs/examples/compare.py
import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.metadata import version
from threading import Barrier
from typing import Any

import aiocache
import cachetools
import cashews
from dogpile.cache import make_region

import twofold

CALLERS = 20
cashews.cache.setup("mem://")
region = make_region().configure("dogpile.cache.memory")

SYNC: dict[str, Callable[[Any], Any]] = {
    "twofold": twofold.cached(timeout=60),
    "functools": lru_cache,
    "cachetools": cachetools.cached(cachetools.TTLCache(100, 60)),
    "dogpile.cache": region.cache_on_arguments(),
}
ASYNC: dict[str, Callable[[Any], Any]] = {
    "twofold": twofold.cached(timeout=60),
    "aiocache": aiocache.cached(ttl=60),
    "cashews": cashews.cache(ttl=60),
}


def in_threads(decorate: Callable[[Any], Any]) -> tuple[int, str]:
    runs: list[int] = []

    def load(number: int) -> list[int]:
        runs.append(number)
        time.sleep(0.2)
        return [number]

    cached, start = decorate(load), Barrier(CALLERS)
    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(lambda _: (start.wait(), cached(1)), range(CALLERS)))
    cached(1).append("mine")
    return len(runs), "own" if cached(1) == [1] else "shared"


async def in_tasks(decorate: Callable[[Any], Any]) -> tuple[int, str]:
    runs: list[int] = []

    async def load(number: int) -> list[int]:
        runs.append(number)
        await asyncio.sleep(0.2)
        return [number]

    cached = decorate(load)
    await asyncio.gather(*[cached(1) for _ in range(CALLERS)])
    (await cached(1)).append("mine")
    return len(runs), "own" if await cached(1) == [1] else "shared"


def main() -> None:
    if "--versions" in sys.argv:
        for name in ("twofold", "cachetools", "dogpile.cache", "aiocache", "cashews"):
            print(name, version(name))
        return
    for name, decorate in SYNC.items():
        runs, values = in_threads(decorate)
        print(f"{CALLERS} threads  {name:13}  {runs:2} runs  {values} values")
    for name, decorate in ASYNC.items():
        runs, values = asyncio.run(in_tasks(decorate))
        print(f"{CALLERS} tasks    {name:13}  {runs:2} runs  {values} values")


if __name__ == "__main__":
    main()
