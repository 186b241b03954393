"""An exception of a signal's handler in an event loop that goes on, such as Celery's soft limit.

As in `test_signals`, while a call waits for a connection. Which task or callback it comes to,
the call's or another one, is chance: the call ends by it, by the loss of the connection, or as
ever. The next one is served.
"""

import asyncio
import gc
from contextlib import suppress

import pytest

from tests.chaos.signals import Signal
from tests.test_signals import EVERY, KINDS, LONGEST, PATIENCE, descriptors, store
from twofold import BackendUnavailable
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.redis import RedisBackend

__all__ = ["store"]

OF_NETWORKS = pytest.mark.parametrize("store", ["redis", "memcached"], indirect=True)
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
