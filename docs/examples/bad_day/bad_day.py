"""One bad day of a database, and what its users see of it, as freshness is added option by option.

    python bad_day.py [URL] [--scale 30] [--products 1000] [--users 100] [--only NAME]
        [--picture FILE]

Three processes share the store at URL, `sqlite:///bad_day.db` unless given, and ask for 1,000
products, 100 requests at a time. For a minute the database is well, then for two minutes it is
slow, then for three it is down, then well again. The day passes `scale` times as fast, and is
told in its own seconds: a round trip to the store that takes 1 ms counts as 30.
The columns p50 and p99 are how long users wait, in seconds.
"""

import argparse
import asyncio
import logging
import multiprocessing
import random
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import picture

from twofold import Cache

PROCESSES = 3
THINKS = 4.0  # seconds between two requests of one user, on average
NEW = 0.1  # the share of the products that nobody has asked for in the first minute
TIMEOUT = 60.0


class Phase(NamedTuple):
    """How the database does until some second of the day."""

    name: str
    until: float
    takes: float
    """Seconds until a query has its answer, or fails."""
    works: bool = True


DAY = (
    Phase("well", 60, 0.1),
    Phase("slow", 180, 5.0),
    Phase("down", 360, 1.0, works=False),
    Phase("well", 450, 0.1),
)
END = DAY[-1].until

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "stale": {"stale": 3600.0, "retry_after": 0.0},
    "retry_after": {"stale": 3600.0, "retry_after": 30.0},
    "wait, max_wait": {"stale": 3600.0, "retry_after": 30.0, "wait": 1.0, "max_wait": 3.0},
    "early": {"stale": 3600.0, "retry_after": 30.0, "wait": 1.0, "max_wait": 3.0, "early": 0.8},
}
DURATIONS = {"stale", "retry_after", "wait", "max_wait"}


class DatabaseDown(Exception):
    pass


class Shop(NamedTuple):
    """What the processes have in common."""

    url: str
    prefix: str
    products: int
    users: int
    """Each has one request at a time."""
    scale: float


class Request(NamedTuple):
    at: float
    product: int
    took: float
    answer: str
    """"fresh", "stale" or "error"."""


class Log(NamedTuple):
    """What happened in one process."""

    queries: list[float]
    requests: list[Request]


def phase_at(second: float) -> Phase:
    return next((phase for phase in DAY if second < phase.until), DAY[-1])


class Worker:
    """One process of the shop."""

    def __init__(self, shop: Shop, name: str, process: int) -> None:
        freshness = {
            option: value / shop.scale if option in DURATIONS else value
            for option, value in OPTIONS[name].items()
        }
        timeout = TIMEOUT / shop.scale
        self.cache = Cache(shop.url, key_prefix=shop.prefix, timeout=timeout, freshness=freshness)
        self.shop = shop
        self.begins = time.monotonic()
        self.log = Log([], [])
        self.random = random.Random(process)  # noqa: S311
        # Zipf's law: the second is asked for half as often as the first.
        self.popular = list(accumulate(1 / rank for rank in range(1, shop.products + 1)))

    def now(self) -> float:
        return (time.monotonic() - self.begins) * self.shop.scale

    async def pass_by(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.shop.scale)

    async def query(self) -> dict[str, float]:
        """Stand for what asks the database."""
        phase = phase_at(self.now())
        self.log.queries.append(self.now())
        await self.pass_by(phase.takes)
        if not phase.works:
            raise DatabaseDown
        return {"read": self.now()}

    async def user(self, number: int) -> None:
        """Look at some products, of which all users together see nearly all; then at any."""
        await self.pass_by(self.random.uniform(0, THINKS) - self.now())
        first = list(range(self.shop.products))[number :: self.shop.users]
        chosen = iter(first[: round(len(first) * (1 - NEW))])
        while (at := self.now()) < END:
            product = next(chosen, None)
            if product is None:
                [product] = self.random.choices(range(self.shop.products), cum_weights=self.popular)
            answer = await self._ask(product)
            self.log.requests.append(Request(at, product, self.now() - at, answer))
            await self.pass_by(self.random.uniform(0, 2 * THINKS))

    async def _ask(self, product: int) -> str:
        try:
            value = await self.cache.aget_or_set(f"product:{product}", self.query)
        except (DatabaseDown, TimeoutError):
            return "error"
        return "fresh" if self.now() - value["read"] < TIMEOUT else "stale"


def work(shop: Shop, name: str, process: int) -> Log:
    """Be one of the processes."""
    logging.getLogger("twofold").setLevel(logging.ERROR)  # a failed refresh is told of by the table
    worker = Worker(shop, name, process)

    async def main() -> None:
        await asyncio.gather(*map(worker.user, range(process, shop.users, PROCESSES)))
        await worker.cache.aclose()

    asyncio.run(main())
    return worker.log


def least(requests: list[Request], options: dict[str, Any]) -> int:
    """Return how many queries these requests need at least, whoever makes them.

    A query serves all who ask from when it begins until its value is due; one that fails serves
    those who ask until it has failed, and where there is an old value for `retry_after` more. A
    request that none serves needs one, and none is begun before somebody needs it.
    """
    asked: dict[int, list[float]] = defaultdict(list)
    for request in requests:
        asked[request.product].append(request.at)
    return sum(_least(sorted(times), options) for times in asked.values())


def _least(times: list[float], options: dict[str, Any]) -> int:
    life, rest = TIMEOUT * options.get("early", 1.0), options.get("retry_after", 0.0)
    queries, served, has_value = 0, 0.0, False
    for at in times:
        if at < served:
            continue
        phase = phase_at(at)
        queries += 1
        has_value = "stale" in options and (has_value or phase.works)
        served = at + phase.takes + (life if phase.works else rest if has_value else 0.0)
    return queries


COLUMNS = "{:<15}{:>8}{:>9}{:>7}{:>8}{:>7}{:>7}{:>7}"
HEAD = COLUMNS.format("options", "queries", "minimum", "ratio", "errors", "stale", "p50", "p99")


class Result(NamedTuple):
    """How the day went with some options."""

    name: str
    queries: list[float]
    least: int
    errors: list[float]
    requests: int
    stale: int
    p50: float
    p99: float

    def __str__(self) -> str:
        count = len(self.queries)
        return COLUMNS.format(
            self.name,
            f"{count:,}",
            f"{self.least:,}",
            f"{count / self.least:.2f}",
            f"{len(self.errors):,}",
            f"{self.stale / self.requests:.0%}",
            f"{self.p50:.2f}",
            f"{self.p99:.2f}",
        )


def spend(shop: Shop, name: str) -> Result:
    """Let the day pass with some options."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(PROCESSES).wait
    with ProcessPoolExecutor(PROCESSES, context, initializer=together) as pool:
        running = [pool.submit(work, shop, name, process) for process in range(PROCESSES)]
        logs = [each.result() for each in running]
    requests = [request for log in logs for request in log.requests]
    took = sorted(request.took for request in requests)
    return Result(
        name,
        sorted(second for log in logs for second in log.queries),
        least(requests, OPTIONS[name]),
        sorted(each.at for each in requests if each.answer == "error"),
        len(requests),
        sum(each.answer == "stale" for each in requests),
        took[len(took) // 2],
        took[len(took) * 99 // 100],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", default="sqlite:///bad_day.db")
    parser.add_argument("--scale", type=float, default=30.0)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--only", choices=OPTIONS)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    print(HEAD, flush=True)
    results = []
    for name in [asked.only] if asked.only else OPTIONS:
        shop = Shop(asked.url, token_hex(4), asked.products, asked.users, asked.scale)
        results.append(spend(shop, name))
        print(results[-1], flush=True)
    if asked.picture is not None:
        begins = [0.0, *(phase.until for phase in DAY)]
        phases = [(each.name, begin, each.until) for begin, each in zip(begins, DAY, strict=False)]
        asked.picture.write_text(picture.svg(results, phases), encoding="utf-8")


if __name__ == "__main__":
    main()
