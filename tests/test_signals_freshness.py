"""An exception of a signal's handler leaves nothing of a refresh held, in either face.

As in `test_signals_claims`. What is computed behind its caller goes on, or was not begun. In
an event loop the exception ends the loop, and with it whatever is on its way there.
"""

import asyncio
from typing import Any

import pytest

from tests.test_signals import LONGEST, PATIENCE, STORES, SoftTimeLimit, elsewhere, store
from tests.test_signals_claims import (
    Asked,
    Operation,
    _nobody_looks_at_the_time,
    _nothing_of_other_tests,
    at_each,
)
from twofold import Cache
from twofold.backend import Backend
from twofold.claims import renewal, table
from twofold.effects import background
from twofold.stub import is_stub

__all__ = ["_nobody_looks_at_the_time", "_nothing_of_other_tests", "store"]

STALE: dict[str, Any] = {"timeout": 60, "stale": 60}
EVERY = {"memory": 1193, "sqlite": 2393, "files": 2993, "redis": 2393, "memcached": 2993}
KINDS = (SoftTimeLimit, KeyboardInterrupt)

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings(  # the same, where the collector comes in a frame without imports
        "ignore:.*<coroutine object:pytest.PytestUnraisableExceptionWarning"
    ),
    # asyncio's own, where a loop has ended while a connection was made
    pytest.mark.filterwarnings(
        "ignore:.*<function StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"
    ),
]


class Old(Asked):
    """A key whose value is old, or not there."""

    def begin(self) -> None:
        background.drain(self.cache._claims, PATIENCE)
        super().begin()
        if "miss" not in self.name:
            self.cache.set("k", "old", **STALE)
        if "old" in self.name:
            assert self.cache.mark_stale("k")

    async def acompute(self) -> int:
        """Do what `compute` does."""
        return self.compute()

    async def alock(self) -> None:
        """Hold a lock for a moment."""
        lock = self.cache.lock("l", wait=0)
        try:
            async with lock:
                pass
        finally:
            if lock._token is not None:  # leaving it was interrupted before it began
                await lock.arelease()

    def is_free(self) -> None:
        """Assert that nothing is held, and that everybody who asks is served."""
        self.await_follower()
        background.drain(self.cache._claims, PATIENCE)
        assert not [work for work in background._of(self.cache._claims) if work.alive()]
        assert not self.cache._claims.table
        assert not table.held()
        assert not renewal.live._claims
        renewal.rest()
        assert repr(renewal._renewals).endswith(" 0 ticks>")
        assert elsewhere(self._locks_are_free)
        full = self.cache._key("k", None)
        for key in (full, self.cache._keys.claim(full)):
            assert not is_stub(self.store.get(key), self.store.holds_objects), "a stub is left"
        assert elsewhere(self._is_served)
        with Cache(self.store).lock("l", wait=0):
            pass

    def _is_served(self) -> bool:
        """Tell whether a caller that takes no old value gets a fresh one."""
        value = self.cache.get_or_set("k", lambda: 2, **STALE, wait=None)
        return value != "old" or "old" not in self.name

    def _locks_are_free(self) -> bool:
        for lock in (background._threads._lock, background._tasks._lock):
            with lock:
                pass
        return super()._locks_are_free()


SYNC: dict[str, Operation] = {
    "old, waits": lambda old: old.cache.get_or_set("k", old.compute, **STALE, wait=None),
    "old, behind": lambda old: old.cache.get_or_set("k", old.compute, **STALE),
    "old, patient": lambda old: old.cache.get_or_set("k", old.compute, **STALE, wait=PATIENCE),
    "miss, patient": lambda old: old.cache.get_or_set("k", old.compute, max_wait=PATIENCE),
    "mark_stale": lambda old: old.cache.mark_stale("k"),
}
ASYNC: dict[str, Operation] = {
    "miss": lambda old: old.cache.aget_or_set("k", old.acompute),
    "miss of a def": lambda old: old.cache.aget_or_set("k", old.compute),
    "miss, patient": lambda old: old.cache.aget_or_set("k", old.acompute, max_wait=PATIENCE),
    "old, waits": lambda old: old.cache.aget_or_set("k", old.acompute, **STALE, wait=None),
    "old, behind": lambda old: old.cache.aget_or_set("k", old.acompute, **STALE),
    "amark_stale": lambda old: old.cache.amark_stale("k"),
    "lock": lambda old: old.alock(),
}


def in_a_loop(operation: Operation) -> Operation:
    """Return what runs an operation in an event loop of its own."""

    async def run(old: Old) -> None:
        await operation(old)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        works = tasks & {work.task for work in background._tasks._works}  # of this loop alone
        while not all(task.done() for task in works):  # not `adrain`, whose bytecodes would count
            await asyncio.sleep(0.0005)

    def run_all(old: Old) -> None:
        try:
            asyncio.run(run(old))
        except RuntimeError as error:  # asyncio's: the loop was about to stop by itself
            raise error.__context__ or error from None

    return run_all


@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_leaves_no_refresh(
    request: pytest.FixtureRequest, store: Backend, name: str
) -> None:
    """The next caller gets a fresh value at once, and nothing counts as on its way."""
    step = EVERY[request.node.callspec.params["store"]]
    first = 127 * (1 + list(SYNC).index(name))
    assert at_each(Old(store, name, SYNC[name]), first, step, KINDS) > first


@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_that_ends_a_loop_leaves_nothing(
    request: pytest.FixtureRequest, store: Backend, name: str
) -> None:
    """The next caller gets a fresh value at once, and nothing counts as on its way."""
    step = EVERY[request.node.callspec.params["store"]]
    first = 127 * (1 + list(ASYNC).index(name))
    old = Old(store, name, in_a_loop(ASYNC[name]))
    assert at_each(old, first, step, [KeyboardInterrupt]) > first


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode_leaves_no_refresh(
    store: Backend, name: str
) -> None:
    """The next caller gets a fresh value at once, and nothing counts as on its way."""
    assert at_each(Old(store, name, SYNC[name]), 1, 1, KINDS) > 1


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode_that_ends_a_loop_leaves_nothing(
    store: Backend, name: str
) -> None:
    """The next caller gets a fresh value at once, and nothing counts as on its way."""
    old = Old(store, name, in_a_loop(ASYNC[name]))
    assert at_each(old, 1, 1, [KeyboardInterrupt]) > 1
