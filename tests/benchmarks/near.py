"""Reads near of one Redis: beside memory, beside Redis, and how soon a foreign write is heeded."""

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

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
        _time_writes(bench, near, plain, server)
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
    bench.race(
        AREA,
        "aget, 100 tasks",
        [
            Client("twofold near", together(near.aget)),
            Client("twofold Redis", together(plain.aget), target=15),
        ],
    )


def _race_far(bench: Bench, near: Cache, plain: Cache) -> None:
    """Read what was just dropped, as after a foreign write."""
    tier: Any = near._near and near._near.tier

    def far(key: str) -> Any:
        tier.drop((near._key(key),))
        return near.get(key)

    async def afar(key: str) -> Any:
        tier.drop((near._key(key),))
        return await near.aget(key)

    bench.race(
        AREA,
        "get that is not near",
        [
            Client("twofold near", each(far)),
            Client("twofold Redis", each(plain.get), target=1 / 1.15),
        ],
    )
    bench.race(
        AREA,
        "aget that is not near, 100 tasks",
        [
            Client("twofold near", together(afar)),
            Client("twofold Redis", together(plain.aget), target=1 / 1.15),
        ],
    )


def _time_writes(bench: Bench, near: Cache, plain: Cache, server: RedisServer) -> None:
    """Time how soon after a write was answered its copy is gone, of writes that are paced."""
    with closing(Cache(server.url, timeout=TIMEOUT, key_prefix="near")) as writer:
        waits, round_trips = [], []
        for number in range(WRITES):
            near.get("paced")
            started = perf_counter()
            writer.set("paced", str(number))
            written = perf_counter()
            while near.get("paced") != str(number):
                pass
            waits.append((perf_counter() - written) * 1e6)
            round_trips.append((written - started) * 1e6)
            sleep(0.001)
    for share, name in ((0.5, "half of them"), (0.99, "99 of 100")):
        at = int(share * WRITES)
        costs = {"gone after": [sorted(waits)[at]], "a write": [sorted(round_trips)[at]]}
        bench.add(AREA, f"a foreign write, {name}", "µs", costs, {})
