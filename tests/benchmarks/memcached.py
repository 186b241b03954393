"""Get from one memcached: aiomcache, pymemcache, Django and aiocache."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiocache import MemcachedCache as Aiocache
from aiocache.serializers import PickleSerializer
from aiomcache import Client as Aiomcache
from django.conf import settings
from django.core.cache.backends.memcached import PyMemcacheCache as Django
from pymemcache.client.base import Client as Pymemcache

from tests.benchmarks.harness import (
    KEYS,
    TIMEOUT,
    VALUE,
    Bench,
    Client,
    aeach,
    aprepare,
    each,
    expect,
    in_threads,
    together,
)
from tests.chaos import MemcachedServer
from twofold import caches, close_all, configure

AREA = "memcached"

THREADS = 8
PAGES = [KEYS[start : start + 100] for start in range(0, len(KEYS), 100)]


def run(bench: Bench) -> None:
    """Compare both faces over one server of our own."""
    if not settings.configured:
        settings.configure()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(MemcachedServer(folder))
        where = {"BACKEND": "memcached", "LOCATION": server.address, "TIMEOUT": TIMEOUT}
        configure({"default": where})
        stack.callback(close_all)
        _race_sync(bench, server)
        bench.run(aprepare(caches["default"].aset, caches["default"].aget))
        theirs = bench.run(Peers.opened(server))
        try:
            _race_async(bench, theirs)
        finally:
            bench.run(theirs.close())
            bench.run(caches["default"].aclose())


def _race_sync(bench: Bench, server: MemcachedServer) -> None:
    ours = caches["default"]
    django = Django(server.address, {"KEY_PREFIX": "django"})
    plain = Pymemcache((server.host, server.port), no_delay=True)
    for key in KEYS:
        ours.set(key, VALUE)
        django.set(key, VALUE)
        plain.set(key, VALUE, TIMEOUT)
        for get in (ours.get, django.get, plain.get):
            expect(get(key))
    bench.race(
        AREA,
        "get, 1 thread",
        [
            Client("twofold", each(ours.get)),
            Client("Django", each(django.get), target=1.3),
            Client("pymemcache", each(plain.get)),
        ],
    )
    djangos = OfThread(server)
    with ThreadPoolExecutor(THREADS) as threads:
        ask_django = in_threads(threads, lambda key: djangos.get(key), THREADS)
        bench.race(
            AREA,
            f"get, {THREADS} threads",
            [
                Client("twofold", in_threads(threads, ours.get, THREADS)),
                Client("Django", ask_django, target=1.3),
            ],
        )
    plain.close()
    django.close()
    ours.close()


class OfThread(threading.local):
    """Django's cache as its settings give it out: to each thread its own, for it is not safe."""

    def __init__(self, server: MemcachedServer) -> None:
        self.get = Django(server.address, {"KEY_PREFIX": "django"}).get


class Peers:
    """The clients of others, each set up as its documentation does."""

    def __init__(self, server: MemcachedServer) -> None:
        self.plain = Aiomcache(server.host, server.port)
        self.django = Django(server.address, {"KEY_PREFIX": "django"})
        self.aiocache = Aiocache(
            endpoint=server.host,
            port=server.port,
            serializer=PickleSerializer(),
            namespace="aiocache:",
        )

    @classmethod
    async def opened(cls, server: MemcachedServer) -> "Peers":
        """Connect, store what will be read, and see that it is read."""
        theirs = cls(server)
        await aprepare(theirs._set_plain, theirs.get_plain)
        await aprepare(theirs.django.aset, theirs.django.aget)
        await aprepare(theirs.aiocache.set, theirs.aiocache.get)
        return theirs

    async def close(self) -> None:
        """Disconnect."""
        await self.plain.close()
        await self.aiocache.close()
        await asyncio.to_thread(self.django.close)

    async def _set_plain(self, key: str, value: bytes) -> None:
        await self.plain.set(key.encode(), value, exptime=TIMEOUT)

    async def get_plain(self, key: str) -> bytes | None:
        """Get from aiomcache, which takes keys as bytes."""
        found: bytes | None = await self.plain.get(key.encode())
        return found

    async def get_page(self, keys: list[str]) -> Any:
        """Get many from aiomcache."""
        return await self.plain.multi_get(*[key.encode() for key in keys])


def _race_async(bench: Bench, theirs: Peers) -> None:
    ours = caches["default"]
    bench.race(
        AREA,
        "aget, 100 tasks",
        [
            Client("twofold", together(ours.aget)),
            Client("aiomcache", together(theirs.get_plain), target=6),
            Client("aiocache", together(theirs.aiocache.get)),
            Client("Django", together(theirs.django.aget), target=10),
        ],
    )
    bench.race(
        AREA,
        "aget, 1 task",
        [
            Client("twofold", aeach(ours.aget)),
            Client("aiomcache", aeach(theirs.get_plain)),
            Client("aiocache", aeach(theirs.aiocache.get), target=1),
        ],
    )
    bench.race(
        AREA,
        "aget_many of 100",
        [
            Client("twofold", aeach(ours.aget_many, PAGES), calls=len(PAGES)),
            Client("aiomcache", aeach(theirs.get_page, PAGES), calls=len(PAGES), target=1),
            Client("Django", aeach(theirs.django.aget_many, PAGES), calls=len(PAGES), target=30),
        ],
    )
