"""Get from one Redis server: redis-py in both faces, Django, aiocache and cashews."""

import asyncio
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from aiocache import RedisCache as Aiocache
from aiocache.serializers import PickleSerializer
from cashews import Cache as Cashews
from django.conf import settings
from django.core.cache.backends.redis import RedisCache as Django

from tests.benchmarks.harness import (
    KEYS,
    TIMEOUT,
    VALUE,
    Bench,
    Client,
    Read,
    aeach,
    aprepare,
    each,
    expect,
    in_threads,
    together,
)
from tests.chaos import RedisServer
from twofold import caches, close_all, configure

AREA = "redis"

THREADS = 8
BIG = "big"
BIG_VALUE = b"b" * 100_000
SMALL_READS = 300
PAGES = [KEYS[start : start + 100] for start in range(0, len(KEYS), 100)]


def run(bench: Bench) -> None:
    """Compare both faces over one server of our own."""
    if not settings.configured:
        settings.configure()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(RedisServer(folder))
        configure({"default": {"BACKEND": "redis", "LOCATION": server.url, "TIMEOUT": TIMEOUT}})
        stack.callback(close_all)
        _race_sync(bench, server.url)
        bench.run(aprepare(caches["default"].aset, caches["default"].aget))
        theirs = Peers(server.url)
        try:
            bench.run(theirs.open())
            _race_async(bench, theirs)
        finally:
            bench.run(theirs.close())
            bench.run(caches["default"].aclose())


def _race_sync(bench: Bench, url: str) -> None:
    ours = caches["default"]
    with redis.Redis.from_url(url) as plain, ThreadPoolExecutor(THREADS) as threads:
        django = Django(url, {"KEY_PREFIX": "django"})
        for key in KEYS:
            ours.set(key, VALUE)
            plain.set(key, VALUE, ex=TIMEOUT)
            django.set(key, VALUE)
            for get in (ours.get, plain.get, django.get):
                expect(get(key))
        bench.race(
            AREA,
            "get, 1 thread",
            [
                Client("twofold", each(ours.get)),
                Client("redis-py", each(plain.get), target=1.5),
                Client("Django", each(django.get), target=3),
            ],
        )
        bench.race(
            AREA,
            f"get, {THREADS} threads",
            [
                Client("twofold", in_threads(threads, ours.get, THREADS)),
                Client("redis-py", in_threads(threads, plain.get, THREADS), target=2),
                Client("Django", in_threads(threads, django.get, THREADS)),
            ],
        )
        django.close()
    ours.close()


class Peers:
    """The clients of others, each set up as its documentation does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect, store what will be read, and see that it is read."""
        pushed = self._stack.push_async_callback
        self.plain = redis.asyncio.Redis.from_url(self._url)
        pushed(self.plain.aclose)
        self.django = Django(self._url, {"KEY_PREFIX": "django"})
        pushed(self.django.aclose)
        where = urlsplit(self._url)
        self.aiocache = Aiocache(
            endpoint=where.hostname,
            port=where.port,
            serializer=PickleSerializer(),
            namespace="aiocache:",
        )
        pushed(self.aiocache.close)
        self.cashews = Cashews()
        self.cashews.setup(self._url, client_side=False)
        pushed(self.cashews.close)
        await aprepare(self._set_plain, self.plain.get)
        await aprepare(self.django.aset, self.django.aget)
        await aprepare(self.aiocache.set, self.aiocache.get)
        await aprepare(self._set_cashews, self.get_cashews)

    async def close(self) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def _set_plain(self, key: str, value: bytes) -> None:
        await self.plain.set(key, value, ex=TIMEOUT)

    async def _set_cashews(self, key: str, value: bytes) -> None:
        await self.cashews.set(f"cashews:{key}", value, expire=TIMEOUT)

    async def get_cashews(self, key: str) -> Any:
        """Get from cashews, which has no prefix of its own, under names of its own."""
        return await self.cashews.get(f"cashews:{key}")


def _race_async(bench: Bench, theirs: Peers) -> None:
    ours = caches["default"]
    bench.race(
        AREA,
        "aget, 100 tasks",
        [
            Client("twofold", together(ours.aget)),
            Client("redis.asyncio", together(theirs.plain.get), target=8),
            Client("aiocache", together(theirs.aiocache.get), target=8),
            Client("cashews", together(theirs.get_cashews), target=8),
            Client("Django", together(theirs.django.aget), target=50),
        ],
    )
    bench.race(
        AREA,
        "aget, 1 task",
        [
            Client("twofold", aeach(ours.aget)),
            Client("redis.asyncio", aeach(theirs.plain.get), target=1),
        ],
    )
    bench.race(
        AREA,
        "aget_many of 100",
        [
            Client("twofold", aeach(ours.aget_many, PAGES), calls=len(PAGES)),
            Client("redis.asyncio", aeach(theirs.plain.mget, PAGES), calls=len(PAGES), target=2.5),
            Client("Django", aeach(theirs.django.aget_many, PAGES[:1]), calls=1, target=300),
        ],
    )
    reads: Mapping[str, Read] = {"twofold": ours.aget, "redis.asyncio": theirs.plain.get}
    bench.run(ours.aset(BIG, BIG_VALUE))
    bench.run(theirs.plain.set(BIG, BIG_VALUE, ex=TIMEOUT))
    _add(bench, "aget, 1 task", "µs CPU", reads, _cpu, 1 / 0.6)
    _add(bench, "p99 beside 100 KB values", "µs", reads, _slowest_beside_big, 1)


def _add(
    bench: Bench, what: str, unit: str, reads: Mapping[str, Read], measure: Read, target: float
) -> None:
    """Add what `measure` tells of each client, in rounds."""
    costs: dict[str, list[float]] = {name: [] for name in reads}
    for _ in range(bench.rounds):
        for name in random.sample(list(reads), len(reads)):
            costs[name].append(bench.run(measure(reads[name])))
    bench.add(AREA, what, unit, costs, dict.fromkeys(list(reads)[1:], target))


async def _cpu(read: Read) -> float:
    """Return the time of the processor that a call takes, in microseconds."""
    started = time.process_time()
    for key in KEYS:
        await read(key)
    return (time.process_time() - started) / len(KEYS) * 1e6


async def _slowest_beside_big(read: Read) -> float:
    """Return what 99 % of small reads stay under while a big value is read over and over."""
    enough = False

    async def stream() -> None:
        while not enough:  # a cancel would get lost in a peer, on Python 3.11
            await read(BIG)

    streaming = asyncio.ensure_future(stream())
    await read(BIG)
    times = []
    for key in KEYS[:SMALL_READS]:
        started = time.perf_counter()
        await read(key)
        times.append(time.perf_counter() - started)
    enough = True
    await streaming
    return sorted(times)[int(0.99 * len(times))] * 1e6
