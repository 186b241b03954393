"""Tags through a near tier: what was invalidated elsewhere is served for the bound at most.

Numbers go up. Whoever changes one invalidates its tag, from a cache that has nothing near; a read
that begins a bound after that has returned may bring no lower one, whatever befalls the watch.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.chaos import MemcachedServer, Proxy, RedisServer, Server, eventually
from twofold import BackendUnavailable, Cache

KEYS = ["a", "b", "c"]
BOUND = 0.25
LIFE = 600
OPTIONS: Any = {"on_error": "raise", "blocking_calls": "allow", "deadline": BOUND}

Opened: TypeAlias = Callable[..., Cache]
Fault: TypeAlias = Callable[[RedisServer, Proxy], None]


class History:
    """What each key stands for, and since when everybody must know."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.now = dict.fromkeys(KEYS, 0)
        self.known: dict[str, list[tuple[float, int]]] = {key: [] for key in KEYS}
        self.wrong: list[str] = []
        self.reads = 0
        self.invalidations = 0
        self._lock = threading.Lock()

    def change(self, keys: list[str], invalidate: Callable[[], object], bound: float) -> None:
        """Change what `keys` stand for; nobody else does meanwhile."""
        with self._lock:
            for key in keys:
                self.now[key] += 1
            with suppress(BackendUnavailable):
                invalidate()
                known = time.monotonic() + bound
                for key in keys:
                    self.known[key].append((known, self.now[key]))
                self.invalidations += 1

    def known_until(self, key: str) -> float:
        """Return when the last change of a key was that everybody must know of."""
        now = time.monotonic()
        return max((known for known, _ in self.known[key] if known <= now), default=0.0)

    def check(self, key: str, began: float, found: Any, how: str) -> None:
        """Note a read that began at a time and brought too low a number."""
        if found is None:
            return
        self.reads += 1
        floor = max((number for known, number in self.known[key] if known <= began), default=0)
        if found[0] < floor:
            self.wrong.append(f"{how} of {key}: {found[0]} after {floor}")


class World:
    """Readers through a near tier, and a writer elsewhere, while it is entered."""

    def __init__(self, near: Cache, far: Cache, bound: float) -> None:
        self.near, self.history = near, History(bound)
        self._far = far
        self._ends = threading.Event()
        steps = [self._read, self._read, self._write]
        self._threads = [
            threading.Thread(target=self._run, args=(step, number), daemon=True)
            for number, step in enumerate(steps)
        ]
        self._threads.append(threading.Thread(target=self._in_a_loop, daemon=True))

    def __enter__(self) -> "World":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for each in self._threads:
            each.join(30)
        assert not any(each.is_alive() for each in self._threads)

    def await_near(self) -> None:
        """Wait until values are served from near, after everybody must know of a later change."""
        since, history = time.monotonic() + self.history.bound, self.history
        eventually(lambda: min(map(history.known_until, KEYS)) > since, "all have changed", 20)
        hits, reads = self.hits, history.reads
        eventually(lambda: self.hits > hits + 9 and history.reads > reads + 9, "it is near", 20)

    @property
    def hits(self) -> int:
        return self.near.stats().near.hits  # type: ignore[union-attr]

    def _run(self, step: Callable[[random.Random], None], seed: int) -> None:
        dice = random.Random(seed)
        while not self._ends.wait(0.001 if step == self._read else 0.02):
            step(dice)

    def _write(self, dice: random.Random) -> None:
        """Change something, and invalidate it by its own tag or that of all.

        One key in most cases here, where that counts at once, the others elsewhere.
        """
        key, keep_stale = dice.choice(KEYS), dice.random() < 0.5
        own = dice.random() < (0.7 if key == KEYS[0] else 0.02)
        keys, tag = (KEYS, "all") if dice.random() < 0.1 else ([key], f"tag:{key}")
        cache, bound = (self.near, 0.0) if own else (self._far, self.history.bound)
        invalidate = lambda: cache.invalidate_tags(tag, keep_stale=keep_stale)  # noqa: E731
        self.history.change(keys, invalidate, bound)

    def _tags(self, dice: random.Random, key: str) -> Any:
        tags = [f"tag:{key}", "all"]
        return tags if dice.random() < 0.7 else lambda _: tags

    def _read(self, dice: random.Random) -> None:
        key, history, cache = dice.choice(KEYS), self.history, self.near
        how = dice.choice(["get", "get_many", "get_or_set", "get_or_set_many"])
        began = time.monotonic()
        now = lambda: [history.now[key]]  # noqa: E731
        with suppress(BackendUnavailable):
            if how == "get":
                found = cache.get(key)
            elif how == "get_many":
                found = cache.get_many(KEYS).get(key)
            elif how == "get_or_set":
                found = cache.get_or_set(key, now, LIFE, tags=self._tags(dice, key))
            else:
                bring = lambda keys: {key: now() for key in keys}  # noqa: E731
                found = cache.get_or_set_many([key], bring, LIFE, tags=self._tags(dice, key))[key]
            history.check(key, began, found, how)

    def _in_a_loop(self) -> None:
        asyncio.run(self._aread(random.Random(77)))

    async def _aread(self, dice: random.Random) -> None:
        cache, history = self.near, self.history
        while not self._ends.is_set():
            await asyncio.sleep(0.001)
            key, began, how = dice.choice(KEYS), time.monotonic(), dice.choice(["aget", "aset"])

            async def now(key: str = key) -> list[int]:
                return [history.now[key]]

            with suppress(BackendUnavailable):
                if how == "aget":
                    found = await cache.aget(key)
                else:
                    tags = self._tags(dice, key)
                    found = await cache.aget_or_set(key, now, LIFE, tags=tags)
                history.check(key, began, found, how)


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Makes caches of one prefix, which are closed in the end."""
    with ExitStack() as made:
        yield lambda url, **settings: made.enter_context(
            closing(Cache(url, key_prefix="near-tags", options=OPTIONS, **settings))
        )


def cut(_: RedisServer, proxy: Proxy) -> None:
    proxy.kill_all()


def black_hole(_: RedisServer, proxy: Proxy) -> None:
    proxy.black_hole()
    time.sleep(2 * BOUND)  # the time in which the fault is to be noticed
    proxy.heal()


def freeze(server: RedisServer, _: Proxy) -> None:
    server.freeze()
    time.sleep(2 * BOUND)
    server.thaw()


def restart(server: RedisServer, _: Proxy) -> None:
    server.restart()


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("fault", [cut, black_hole, freeze, restart])
def test_what_befalls_the_watch_hides_no_invalidation(
    own_redis: RedisServer,
    proxied: Callable[[Server], Proxy],
    opened: Opened,
    fault: Fault,
    times: int,
) -> None:
    """Values and tags are near, and go both."""
    proxy = proxied(own_redis)
    near, far = opened(proxy.url, near={"staleness": BOUND}), opened(own_redis.url)
    with World(near, far, BOUND) as world:
        world.await_near()
        for _ in range(times):
            fault(own_redis, proxy)
            world.await_near()
    assert world.history.wrong == []
    assert near.stats().near.watch.losses >= 1  # type: ignore[union-attr]


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("store", ["memcached", "sqlite", "files"])
def test_where_nobody_tells_the_bound_is_the_copies_life(
    store: str, opened: Opened, tmp_path: Path, memcached_server: MemcachedServer, rounds: int
) -> None:
    """Of values as of tags."""
    url = f"{store}:///{tmp_path}/store"
    if store == "memcached":
        url = f"memcached://{memcached_server.address}"
    near, far = opened(url, near={"timeout": BOUND}), opened(url)
    with World(near, far, BOUND) as world:
        for _ in range(rounds):
            world.await_near()
    assert world.history.wrong == []
    assert near.stats().near.staleness == BOUND  # type: ignore[union-attr]
