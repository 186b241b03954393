"""Hits of stale values beside those of fresh ones, and how long callers wait for what hangs.

The stale values are not refreshed when they are timed: that has failed, or another process is at
it. Each may cost 1.3 times as much as a fresh one, so that the fresh one's target is below 1.
"""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.harness import Bench, Client, aeach, each, expect
from tests.chaos import RedisServer, eventually
from twofold import Cache

AREA = "freshness"

FRESH = [f"fresh:{number:03d}" for number in range(100)]
STALE = [f"stale:{number:03d}" for number in range(100)]
LOST = [f"lost:{number}" for number in range(10)]  # each is tried to be refreshed once a second
VALUE = {"name": "tea", "price": 1.5}
TARGET = 1 / 1.3

STARTS = 20  # in a round

CALLERS = 100
HANGS = 2.0  # seconds
WAIT = 0.05
LATE = 0.02


def value() -> Any:
    """Stand for a query."""
    return VALUE


def failing() -> Any:
    """Stand for one that fails."""
    raise ConnectionError


class Asking:
    """Asks one cache in both faces, as its users do."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def ask(self, key: str, function: Callable[[], Any] = failing, wait: float = 0) -> Any:
        """Ask for a value that may be stale."""
        return self.cache.get_or_set(
            key, function, "1d", stale="1d", retry_after="1d", wait=wait, max_wait=10
        )

    async def aask(self, key: str, function: Callable[[], Any] = failing, wait: float = 0) -> Any:
        """Do what `ask` does."""
        return await self.cache.aget_or_set(
            key, function, "1d", stale="1d", retry_after="1d", wait=wait, max_wait=10
        )

    def prepare(self) -> None:
        """Store fresh values, and stale ones whose refresh has failed."""
        for key in (*FRESH, *STALE):
            self.ask(key, value)
        for key in STALE:
            self.cache.mark_stale(key)
            expect(self.ask(key, wait=10), VALUE)

    def race(self, bench: Bench, what: str, stale: list[str]) -> None:
        """Compare hits of stale values and of fresh ones."""
        for key in (*FRESH, *stale):
            expect(self.ask(key), VALUE)
        faces: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = [
            ("get_or_set", each, self.ask),
            ("aget_or_set", aeach, self.aask),
        ]
        for name, work, ask in faces:
            bench.race(
                AREA,
                f"{what}, {name}",
                [
                    Client("twofold, stale", work(ask, stale), len(stale)),
                    Client("twofold, fresh", work(ask, FRESH), len(FRESH), TARGET),
                ],
            )

    def race_starts(self, bench: Bench, store: str) -> None:
        """Compare the hit that starts a refresh, and one of a fresh value."""
        starts, astarts, hits, ahits = [], [], [], []
        for _ in range(bench.rounds):
            starts.append(median(self._start() for _ in range(STARTS)))
            hits.append(median(_timed(lambda: self.ask(FRESH[0])) for _ in range(STARTS)))
            astarts.append(median(bench.run(self._astarts())))
            ahits.append(median(bench.run(self._ahits())))
        for name, ours, theirs in (("get_or_set", starts, hits), ("aget_or_set", astarts, ahits)):
            costs = {"twofold, starts a refresh": ours, "twofold, fresh": theirs}
            bench.add(AREA, f"{store}, {name}", "µs", costs, {})

    def _start(self) -> float:
        self.cache.mark_stale(STALE[0])
        took = _timed(lambda: self.ask(STALE[0], value))
        eventually(lambda: self.cache.has_key(STALE[0]) or not self.ask(STALE[0], value), "it is")
        return took

    async def _astarts(self) -> list[float]:
        times = []
        for _ in range(STARTS):
            await self.cache.amark_stale(STALE[0])
            times.append(await _atimed(self.aask(STALE[0], value)))
            while not await self.cache.ahas_key(STALE[0]):
                await asyncio.sleep(0.001)
        return times

    async def _ahits(self) -> list[float]:
        return [await _atimed(self.aask(FRESH[0])) for _ in range(STARTS)]

    def race_hanging(self, bench: Bench, store: str) -> None:
        """Compare the time after which 99 of 100 callers have an answer, and the one promised."""
        rounds = range(min(bench.rounds, 5))
        promised = [(WAIT + LATE) * 1e3 for _ in rounds]
        faces = {
            f"{CALLERS} threads": [_late(self._hang()) for _ in rounds],
            f"{CALLERS} tasks": [_late(bench.run(self._ahang())) for _ in rounds],
        }
        for name, times in faces.items():
            costs = {"twofold, p99": times, f"wait + {LATE * 1e3:.0f} ms": promised}
            what = f"{store}, the function hangs, {name}"
            bench.add(AREA, what, "ms", costs, dict.fromkeys(costs, 1.0))

    def _hang(self) -> list[float]:
        self.cache.mark_stale(STALE[1])
        together, times = threading.Barrier(CALLERS), []

        def caller() -> None:
            together.wait()
            times.append(_timed(lambda: self.ask(STALE[1], lambda: time.sleep(HANGS), wait=WAIT)))

        threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(HANGS)
        return times

    async def _ahang(self) -> list[float]:
        await self.cache.amark_stale(STALE[2])

        async def hang() -> None:
            await asyncio.sleep(HANGS)

        asks = (_atimed(self.aask(STALE[2], hang, wait=WAIT)) for _ in range(CALLERS))
        times = await asyncio.gather(*asks)
        await asyncio.sleep(HANGS)
        return times


def run(bench: Bench) -> None:
    """Compare in memory and in a Redis of our own, in both faces."""
    logging.getLogger("twofold").setLevel(logging.ERROR)  # there are refreshes that are to fail
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = stack.enter_context(RedisServer(folder)).url
        for store, where in (("memory", "memory://"), ("redis", url)):
            asking = Asking(Cache(where))
            asking.prepare()
            asking.race(bench, store, STALE)
            asking.race_starts(bench, store)
            asking.race_hanging(bench, store)
            if store == "redis":
                with _refreshing_elsewhere(url):
                    asking.race(bench, "redis, another process refreshes", LOST)
            bench.run(asking.cache.aclose())
            asking.cache.close()


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e6


async def _atimed(call: Coroutine[Any, Any, Any]) -> float:
    start = time.perf_counter()
    await call
    return (time.perf_counter() - start) * 1e6


def _late(times: list[float]) -> float:
    """Return the 99th percentile, in milliseconds."""
    return sorted(times)[len(times) * 99 // 100 - 1] / 1e3


@contextmanager
def _refreshing_elsewhere(url: str) -> Iterator[None]:
    """Have another process refresh all of `LOST`, without an end."""
    command = [sys.executable, "-m", "tests.benchmarks.freshness", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


async def _refresh(url: str) -> None:
    async def hang() -> None:
        await asyncio.sleep(3600)

    asking = Asking(Cache(url))
    for key in LOST:
        await asking.aask(key, value)
        await asking.cache.amark_stale(key)
        await asking.aask(key, hang)
    await asyncio.sleep(1)
    print("ready", flush=True)
    await hang()


if __name__ == "__main__":
    asyncio.run(_refresh(sys.argv[1]))
