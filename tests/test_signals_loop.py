"""An exception of a signal's handler in an event loop that goes on, such as Celery's soft limit.

As in `test_signals`, while a call waits for a connection, or for a computation. Which task or
callback it comes to, the call's or another one, is chance: the call ends by it, by the loss of
the connection, or as ever. The next one is served.
"""

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from tests.chaos.signals import Signal
from tests.test_signals import EVERY, KINDS, LONGEST, PATIENCE, descriptors, store
from tests.test_signals_freshness import STALE
from twofold import BackendUnavailable, Cache
from twofold.backend import Backend
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.redis import RedisBackend
from twofold.claims import renewal, table

__all__ = ["store"]

OF_NETWORKS = pytest.mark.parametrize("store", ["redis", "memcached"], indirect=True)
OF_ALL = pytest.mark.parametrize("store", ["memory", "sqlite", "redis"], indirect=True)
RAISED = [kind for kind in KINDS if issubclass(kind, Exception)]  # others end the loop

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


async def connect_at_each(store: RedisBackend | MemcachedBackend, first: int, step: int) -> int:
    """Interrupt a call that connects at every `step`-th bytecode; return how many there are."""
    await store.aset("k", b"1", None)
    await store.aclose()
    before, n = descriptors(), first
    while True:
        kind = RAISED[n % len(RAISED)]
        with Signal(n, kind) as signal, suppress(kind, BackendUnavailable):
            await store.aget("k")
        async with asyncio.timeout(PATIENCE):
            assert await store.aget("k") == b"1"
        assert all(server.breaker == "closed" for server in store.servers())
        await store.aclose()
        gc.collect()
        assert descriptors() == before
        if not signal.fired:
            return n
        n += step


@OF_NETWORKS
async def test_an_exception_of_a_handler_while_a_loop_connects(
    request: pytest.FixtureRequest,
    store: RedisBackend | MemcachedBackend,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No descriptor is left, or closed under who uses it, and the server is not blamed."""
    assert await connect_at_each(store, 40, EVERY[request.node.callspec.params["store"]]) > 40
    assert "never retrieved" not in caplog.text


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@OF_NETWORKS
async def test_an_exception_of_a_handler_at_any_bytecode_while_a_loop_connects(
    store: RedisBackend | MemcachedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptor is left, or closed under who uses it, and the server is not blamed."""
    assert await connect_at_each(store, 1, 1) > 1
    assert "never retrieved" not in caplog.text


COMPUTING: dict[str, dict[str, Any]] = {
    "miss": {},
    "miss, patient": {"max_wait": PATIENCE},
    "old, waits": {**STALE, "wait": None},
}


async def compute() -> str:
    return "new"


async def compute_at_each(store: Backend, name: str, first: int, step: int) -> int:
    """Interrupt a computation at every `step`-th bytecode; return how many there are."""
    cache, n, fired = Cache(store, timeout=60), first - step, True
    await cache.aget_or_set("k", compute)  # whatever is done once only
    while fired:
        n += step
        await cache.adelete("k")
        if "old" in name:
            await cache.aset("k", "old", **STALE)
            await cache.amark_stale("k")
        kind = RAISED[n % len(RAISED)]
        with Signal(n, kind) as signal:
            async with asyncio.timeout(PATIENCE):
                with suppress(kind, BackendUnavailable):
                    assert await cache.aget_or_set("k", compute, **COMPUTING[name]) in (
                        "new",
                        "old",
                    )
        fired = signal.fired
        async with asyncio.timeout(PATIENCE):
            assert await cache.aget_or_set("k", compute, **STALE, wait=None) == "new"
            while cache._claims.table or table.held() or renewal.live._claims:
                await asyncio.sleep(0)
    await cache.aclose()
    return n


@pytest.mark.parametrize("name", COMPUTING)
@OF_ALL
async def test_an_exception_of_a_handler_while_a_loop_computes(
    request: pytest.FixtureRequest, store: Backend, name: str
) -> None:
    """Nobody waits for a task that it came to, and no error of our own inside comes out."""
    step = 5 * EVERY[request.node.callspec.params["store"]]
    first = 41 * (1 + list(COMPUTING).index(name))
    assert await compute_at_each(store, name, first, step) > first


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("name", COMPUTING)
@OF_ALL
async def test_an_exception_of_a_handler_at_any_bytecode_while_a_loop_computes(
    store: Backend, name: str
) -> None:
    """Nobody waits for a task that it came to, and no error of our own inside comes out."""
    assert await compute_at_each(store, name, 1, 1) > 1
