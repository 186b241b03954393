"""Reads near of one Redis: beside memory, beside Redis, and how soon a foreign write is heeded."""

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.dropping import time_drops
from tests.benchmarks.harness import KEYS, TIMEOUT, Bench, Client, aeach, each, expect, together
from tests.chaos import RedisServer, eventually
from twofold import Cache

AREA = "near"
TEXT = "v" * 100
WRITES = 400


def run(bench: Bench) -> None:
    """Compare hits near, hits through the tier, and the time from a write to its effect."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(RedisServer(folder))
        made = [
            stack.enter_context(closing(Cache(url, timeout=TIMEOUT, key_prefix=prefix, near=near)))
            for url, prefix, near in (
                (server.url, "near", {"max_bytes": "64mb"}),
                (server.url, "plain", None),
                ("memory://near", "", None),
            )
        ]
        near, plain, memory = made
        for cache in made:
            for key in KEYS:
                cache.set(key, TEXT)
        _await_near(near)
        _race_hits(bench, near, plain, memory)
        _race_far(bench, near, plain)
        time_drops(bench, AREA, server, WRITES)
        for cache in (near, plain):
            bench.run(cache.aclose())


def _await_near(near: Cache) -> None:
    """Read until all that is read is near."""

    def is_near() -> bool:
        before = near.stats().near.hits
        for key in KEYS:
            expect(near.get(key), TEXT)
        return near.stats().near.hits - before == len(KEYS)

    eventually(is_near, "everything is near")


def _race_hits(bench: Bench, near: Cache, plain: Cache, memory: Cache) -> None:
    bench.race(
        AREA,
        "get",
        [
            Client("twofold near", each(near.get)),
            Client("twofold memory", each(memory.get), target=1 / 1.15),
            Client("twofold Redis", each(plain.get), target=15),
        ],
    )
    bench.race(
        AREA,
        "aget",
        [
            Client("twofold near", aeach(near.aget)),
            Client("twofold memory", aeach(memory.aget), target=1 / 1.15),
        ],
    )
    many = KEYS * 10  # for each task, enough that its own start does not count
    bench.race(
        AREA,
        "aget, 100 tasks",
        [
            Client("twofold near", together(near.aget, items=many), len(many)),
            Client("twofold memory", together(memory.aget, items=many), len(many)),
            Client("twofold Redis", together(plain.aget, items=many), len(many), target=15),
            Client("a coroutine that does nothing", together(_nothing, items=many), len(many)),
        ],
    )


async def _nothing(key: str) -> str:
    return key


def _race_far(bench: Bench, near: Cache, plain: Cache) -> None:
    """Read what is not near: all copies are dropped first."""
    tier: Any = near._near and near._near.tier
    read, aread = each(near.get), together(near.aget)

    def far() -> None:
        tier.flushed()
        read()

    async def afar() -> None:
        tier.flushed()
        await aread()

    bench.race(
        AREA,
        "get that is not near",
        [
            Client("twofold near", far),
            Client("twofold Redis", each(plain.get), target=1 / 1.15),
        ],
    )
    bench.race(
        AREA,
        "aget that is not near, 100 tasks",
        [
            Client("twofold near", afar),
            Client("twofold Redis", together(plain.aget), target=1 / 1.15),
        ],
    )
