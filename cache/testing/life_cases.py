# ruff: noqa: S101
"""The cases for a backend under many threads, tasks, event loops, and over its life."""

import asyncio
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from twofold.backend import Backend
from twofold.testing.faces import Face, case
from twofold.testing.suite import Suite, lasts

_PATIENCE = 30.0  # seconds for a forked child


class LifeCases(Suite):
    """What holds however many use a backend at once, one after another, or after a close."""

    @case
    async def test_a_hundred_concurrent_incr(
        self, face: Face, store: Any, number: Callable[[int], Any]
    ) -> None:
        """No addition is lost, each sum is seen once, and the life is kept."""
        await store.set("n", number(0), 1000.0)
        sums = await face.together([partial(store.incr, "n", 1)] * 100)
        assert sorted(sums) == list(range(1, 101))
        assert await store.get("n") == number(100)
        assert lasts(await store.ttl("n"), 1000)

    @case
    async def test_one_of_many_adds(self, face: Face, store: Any) -> None:
        """Of many concurrent `add` one stores."""
        stored = await face.together(
            [partial(store.add, "k", b"%d" % n, 1000.0) for n in range(50)]
        )
        assert stored.count(True) == 1
        assert await store.get("k") == b"%d" % stored.index(True)

    @case
    async def test_one_of_many_compares_and_sets(self, face: Face, store: Any) -> None:
        """Of many concurrent `compare_and_set` from one value one stores."""
        await store.set("k", b"start", None)
        stored = await face.together(
            [partial(store.compare_and_set, "k", b"start", b"%d" % n, None) for n in range(50)]
        )
        assert stored.count(True) == 1
        assert await store.get("k") == b"%d" % stored.index(True)

    @case
    async def test_one_of_many_replaces(self, face: Face, store: Any) -> None:
        """Of many concurrent `replace` of one value one stores, and the life is kept."""
        await store.set("k", b"start", 1000.0)
        stored = await face.together(
            [partial(store.replace, "k", b"start", b"%d" % n) for n in range(50)]
        )
        assert stored.count(True) == 1
        assert await store.get("k") == b"%d" % stored.index(True)
        assert lasts(await store.ttl("k"), 1000)

    @case
    async def test_one_of_many_deletes(self, face: Face, store: Any) -> None:
        """Of many concurrent removals one finds the key."""
        await store.set_many({"k": b"v", "l": b"v"}, None)
        deleted = await face.together([partial(store.delete, "k")] * 50)
        compared = await face.together([partial(store.compare_and_delete, "l", b"v")] * 50)
        assert deleted.count(True) == 1
        assert compared.count(True) == 1

    @case
    async def test_never_the_value_of_another_key(self, face: Face, store: Any) -> None:
        """Each key has its own value, whatever goes on beside it."""

        async def use(name: str) -> None:
            for turn in range(10):
                value = f"{name}:{turn}".encode()
                await store.set(name, value, 1000.0)
                assert await store.get(name) == value
                assert await store.get_many([name]) == {name: value}
            assert await store.delete(name) is True

        await face.together([partial(use, f"key-{n}") for n in range(20)])

    @case
    async def test_both_faces_see_one_store(self, backend: Backend, face: Face) -> None:
        """What one face writes the other one reads."""
        await face.view(backend).set("k", b"v", None)
        if not face.is_async:
            assert asyncio.run(backend.aget("k")) == b"v"
        else:
            with ThreadPoolExecutor(1) as thread:
                future = thread.submit(backend.get, "k")
                assert await asyncio.wrap_future(future) == b"v"

    @case
    async def test_it_goes_on_after_close(self, store: Any) -> None:
        """`close` lets go of resources alone, and may be called twice."""
        await store.set("k", b"v", None)
        await store.close()
        await store.close()
        assert await store.get("k") == b"v"
        assert await store.set("k", b"w", None) is True
        assert await store.get("k") == b"w"

    def test_one_event_loop_after_another(self, backend: Backend) -> None:
        """200 event loops in a row use it, and leave no file open."""

        async def use(n: int) -> None:
            assert await backend.aset("k", b"%d" % n, None) is True
            assert await backend.aget("k") == b"%d" % n

        asyncio.run(use(0))
        before = _descriptors()
        for n in range(200):
            asyncio.run(use(n))
        # A worker thread may come late, with a connection of its own; a loop leaves nothing.
        assert _descriptors() <= before + 4 + 2 * backend.workers

    def test_several_event_loops_at_once(self, backend: Backend) -> None:
        """Eight threads, each with an event loop and many tasks, get what is theirs."""

        async def use(name: str) -> None:
            await backend.aset(name, name.encode(), None)
            assert await backend.aget(name) == name.encode()

        async def many(thread: int) -> None:
            await asyncio.gather(*[use(f"{thread}-{task}") for task in range(20)])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: asyncio.run(many(n)), range(8)))

    def test_a_cancelled_call_harms_no_other(self, backend: Backend) -> None:
        """Half of the calls are cancelled; the others get their own values."""

        async def use() -> None:
            items = {f"k{n}": b"v%d" % n for n in range(40)}
            await backend.aset_many(items, None)
            tasks = {name: asyncio.ensure_future(backend.aget(name)) for name in items}
            await asyncio.sleep(0)
            for name in list(items)[::2]:
                tasks[name].cancel()
            await asyncio.wait(tasks.values())
            for name in list(items)[1::2]:
                assert tasks[name].result() == items[name]
            assert await backend.aget_many(list(items)) == items

        asyncio.run(use())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_forked_children(self, backend: Backend) -> None:
        """Children forked after use can use it in both faces, and so can the parent."""

        async def use(name: str) -> None:
            await backend.aset(name, name.encode(), None)
            assert await backend.aget(name) == name.encode()

        def child() -> None:
            assert backend.get("parent") == b"parent"
            backend.set("sync", b"v", None)
            assert backend.get("sync") == b"v"
            asyncio.run(use("child"))

        asyncio.run(use("parent"))
        assert [_forked(child) for _ in range(3)] == [0, 0, 0]
        assert backend.get("parent") == b"parent"
        asyncio.run(use("parent"))


def _descriptors() -> int:
    """Return how many files this process has open, where the system tells."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def _forked(work: Callable[[], None]) -> int:
    """Run `work` in a child, and return its exit status; one that hangs is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()  # nothing else would tell what went wrong there
            sys.stderr.flush()
        finally:
            os._exit(status)
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends:
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
