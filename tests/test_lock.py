"""Locks beyond the conformance cases: renewal, outages, cancellation."""

import asyncio
import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import eventually
from tests.dict_backend import DictBackend
from twofold import BackendUnavailable, BlockingCallInEventLoop, Cache, LockLost
from twofold.backends.memory import MemoryBackend
from twofold.effects import renewals
from twofold.testing import FACES, ChaosBackend, Face, FakeClock

LIFE = 0.015  # seconds: renewed every 5 ms


class Renewed(DictBackend):
    """A store that tells of each renewal, whose locks end by a clock that tests move."""

    def __init__(self) -> None:
        self.hands = FakeClock()
        super().__init__(clock=self.hands)
        self.renewed = 0
        self.fails = False

    def compare_and_set(self, key: str, expected: Any, value: Any, ttl: float | None) -> bool:
        fails = self.fails
        done = not fails and super().compare_and_set(key, expected, value, ttl)
        self.renewed += 1
        if fails:
            raise BackendUnavailable("no store")
        return done

    def wait_for_renewal(self) -> None:
        """Wait for a renewal that begins from now on; one may be under way."""
        before = self.renewed
        eventually(lambda: self.renewed >= before + 2, "two renewals end")


@pytest.fixture
def store() -> Iterator[Renewed]:
    """A store, whose async half has threads."""
    made = Renewed()
    yield made
    made.close()


def ticks() -> int:
    return len(renewals._ticks)


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_renewed_lock_outlives_its_timeout(face: Face, store: Renewed) -> None:
    """Each renewal gives it a whole life, and at the end it is free at once."""
    view = face.view(Cache(store))

    async def body() -> None:
        async with view.lock("l", timeout=LIFE, renew=True):
            for _ in range(5):
                store.hands.advance(LIFE / 2)
                store.wait_for_renewal()
            assert await view.lock("l").acquire(wait=0) is False
        assert ticks() == 0
        assert await view.lock("l", timeout=1000).acquire(wait=0) is True

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_lost_lock_is_noticed(
    face: Face, store: Renewed, caplog: pytest.LogCaptureFixture
) -> None:
    """The loss is logged when a renewal finds it, and raised at the release; none follows."""
    view = face.view(Cache(store))

    async def body() -> None:
        lock = view.lock("l", timeout=LIFE, renew=True)
        await lock.acquire()
        store.clear("")
        eventually(lambda: ticks() == 0, "renewing ends")
        assert "could not be renewed" in caplog.text
        with pytest.raises(LockLost, match="could not be renewed"):
            await lock.release()
        assert await lock.acquire(wait=0) is True
        await lock.release()

    with caplog.at_level(logging.WARNING, "twofold"):
        face.run(body())


def test_an_outage_is_logged_and_renewing_goes_on(
    store: Renewed, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that is back before the life is over keeps the lock."""
    with (
        caplog.at_level(logging.WARNING, "twofold"),
        Cache(store).lock("l", timeout=LIFE, renew=True),
    ):
        store.fails = True
        store.wait_for_renewal()
        store.fails = False
        store.wait_for_renewal()
        assert ticks() == 1
    assert "renewal of <Lock '!lock:l' held ttl=0.015 renewed> failed, next try" in caplog.text


def test_nobody_renews_a_lock_that_nobody_holds_on_to(store: Renewed) -> None:
    """What was forgotten ends with its life, instead of never."""
    lock = Cache(store).lock("l", timeout=LIFE, renew=True)
    lock.acquire()
    del lock
    gc.collect()
    eventually(lambda: ticks() == 0, "renewing ends")
    store.hands.advance(LIFE)
    assert Cache(store).lock("l").acquire(wait=0)


def test_a_forked_child_renews_nothing(store: Renewed) -> None:
    """The lock is its parent's."""
    with Cache(store).lock("l", timeout=1000, renew=True):
        child = os.fork()
        if child == 0:
            os._exit(ticks())
        assert os.waitpid(child, 0)[1] == 0
        assert ticks() == 1


def test_its_repr_tells_its_state() -> None:
    """Whether it is held, how long, and whether it is renewed; no token."""
    lock = Cache(MemoryBackend("lock repr"), key_prefix="p").lock("l", timeout=5, renew=True)
    assert repr(lock) == "<Lock 'p!lock:l' not held ttl=5 renewed>"
    with lock:
        assert repr(lock) == "<Lock 'p!lock:l' held ttl=5 renewed>"


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_an_outage_at_the_release_leaves_it_to_be_released(face: Face) -> None:
    """`release` raises, and can be called again when the store is back."""
    store = ChaosBackend(inner=MemoryBackend("lock outage"))
    lock = face.view(Cache(store)).lock("l", timeout=1000, wait=0)

    async def body() -> None:
        await lock.acquire()
        store.failure_rate = 1.0
        with pytest.raises(BackendUnavailable):
            await lock.release()
        store.failure_rate = 0.0
        await lock.release()
        assert await lock.acquire() is True
        await lock.release()

    face.run(body())
    store.close()


async def test_a_cancelled_acquire_holds_nothing(store: Renewed) -> None:
    """Whether it waited for another or had just got it, afterwards the lock is free."""
    cache = Cache(store)
    lock = cache.lock("l", timeout=1000)
    waiting = asyncio.create_task(cache.lock("l", timeout=1000).aacquire())
    await waiting
    second = asyncio.create_task(lock.aacquire())
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    store.clear("")
    third = asyncio.create_task(lock.aacquire())
    await asyncio.sleep(0)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert await cache.lock("l").aacquire(wait=0) is True


async def test_the_sync_face_is_refused_in_a_loop(tmp_path: Path) -> None:
    """`acquire` and `release` name their twins, where the store blocks."""
    cache = Cache(f"sqlite:///{tmp_path}/cache.db")
    lock = cache.lock("l")
    with pytest.raises(BlockingCallInEventLoop, match=r"`await lock\.aacquire\(\.\.\.\)`"):
        lock.acquire()
    assert await lock.aacquire()
    with pytest.raises(BlockingCallInEventLoop, match=r"`await lock\.arelease\(\)`"):
        lock.release()
    await lock.arelease()
    await cache.aclose()
