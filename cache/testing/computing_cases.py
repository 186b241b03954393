# ruff: noqa: S101
"""The cases for what `Cache` computes once, and for its locks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from twofold.backend import Backend
from twofold.errors import AwaitableResult, LockLost, LockNotAcquired, ReentrantCall
from twofold.testing.faces import Face, case
from twofold.testing.suite import Suite, lasts


class Trouble(Exception):
    """What a function raises here."""


async def _later(value: int) -> int:
    return value


class ComputingCases(Suite):
    """`get_or_set` and `lock`, over every backend."""

    @case
    async def test_get_or_set_takes_a_value(self, cache: Any) -> None:
        """A value is stored and returned, unless one is there."""
        assert await cache.get_or_set("k", [1]) == [1]
        assert await cache.get_or_set("k", [2]) == [1]
        assert await cache.get("k") == [1]

    @case
    async def test_get_or_set_calls_a_function_at_a_miss(self, cache: Any) -> None:
        """A function is called at a miss alone, and what it returns is kept."""
        calls: list[int] = []

        def function() -> int:
            calls.append(1)
            return 7

        assert [await cache.get_or_set("k", function, 1000) for _ in range(3)] == [7, 7, 7]
        assert len(calls) == 1
        assert lasts(await cache.ttl("k"), 1000)

    @case
    async def test_get_or_set_keeps_none(self, cache: Any) -> None:
        """A function that returns None is not called again."""
        calls: list[int] = []
        assert [await cache.get_or_set("k", lambda: calls.append(1)) for _ in range(2)] == [
            None
        ] * 2
        assert len(calls) == 1

    @case
    async def test_an_exception_is_raised_and_not_kept(self, cache: Any) -> None:
        """What the function raises is raised, and the next call computes again."""

        def function() -> int:
            raise Trouble

        with pytest.raises(Trouble):
            await cache.get_or_set("k", function)
        assert await cache.has_key("k") is False
        assert await cache.get_or_set("k", lambda: 1) == 1

    @case
    async def test_an_async_function_is_for_the_async_face(self, face: Face, cache: Any) -> None:
        """It is awaited there, refused in the sync face, and never stored itself."""

        async def function() -> int:
            return 7

        async def get() -> Any:
            return await cache.get_or_set("k", function)

        if face.is_async:
            assert await get() == 7
            assert await cache.get_or_set("l", lambda: _later(7)) == 7
            assert await cache.get_many(["k", "l"]) == {"k": 7, "l": 7}
        else:
            with pytest.raises(AwaitableResult, match="`a` prefix"):
                await get()
            with pytest.raises(AwaitableResult):
                await cache.get_or_set("l", lambda: _later(7))
            assert await cache.get_many(["k", "l"]) == {}

    @case
    async def test_a_coroutine_is_no_default(self, cache: Any) -> None:
        """What can be awaited once only is refused in both faces."""

        async def function() -> int:
            return 7

        with pytest.raises(AwaitableResult):
            await cache.get_or_set("k", function())
        assert await cache.has_key("k") is False

    @case
    async def test_one_computation_for_all_who_miss(self, face: Face, cache: Any) -> None:
        """However many miss a key together, its function runs once, each gets a copy."""
        calls: list[int] = []

        def function() -> list[int]:
            calls.append(1)
            return [7]

        results = await face.together([partial(cache.get_or_set, "k", function)] * 30)
        assert results == [[7]] * 30
        assert len({id(result) for result in results}) == 30
        assert len(calls) == 1

    @case
    async def test_what_was_deleted_meanwhile_is_not_stored(
        self, cache: Any, backend: Backend, face: Face
    ) -> None:
        """A value computed from before a `delete` or `set` is returned, and not kept."""
        sync = cache.target

        def delete() -> str:
            sync.delete("k")
            return "stale"

        def replace() -> str:
            sync.set("l", "fresh")
            return "stale"

        assert await cache.get_or_set("k", delete) == "stale"
        assert await cache.has_key("k") is False
        assert await cache.get_or_set("l", replace) == "stale"
        assert await cache.get("l") == "fresh"

    @case
    async def test_a_lock_excludes(self, face: Face, cache: Any) -> None:
        """While it is held no other holds it, and afterwards it is free."""

        async def enter(wait: float) -> None:
            async with cache.lock("l", wait=wait):
                pass

        async def refused(wait: float) -> None:
            with pytest.raises(LockNotAcquired):
                await enter(wait)

        async with cache.lock("l", timeout=1000):
            await face.together([partial(refused, 0), partial(refused, 0.01)])
            with pytest.raises(ReentrantCall):
                await enter(0.01)
            async with cache.lock("another", wait=0):
                pass
        async with cache.lock("l", wait=0):
            pass

    @case
    async def test_a_lock_is_acquired_and_released(self, cache: Any) -> None:
        """Acquiring tells whether it is held; only its holder releases it, and only once."""
        mine, other = cache.lock("l", timeout=1000), cache.lock("l", timeout=1000)
        assert await mine.acquire() is True
        assert await other.acquire(wait=0) is False
        with pytest.raises(RuntimeError, match="held already"):
            await mine.acquire(wait=0)
        with pytest.raises(RuntimeError, match="acquire it first"):
            await other.release()
        await mine.release()
        assert await other.acquire(wait=0) is True
        await other.release()
        assert await mine.acquire() is True
        await mine.release()

    @case
    async def test_a_renewed_lock_excludes(self, cache: Any) -> None:
        """A lock that is renewed while it is held is as good as another."""
        async with cache.lock("l", timeout=1000, renew=True):
            assert await cache.lock("l").acquire(wait=0) is False
        async with cache.lock("l", wait=0):
            pass

    @case
    async def test_a_lock_is_let_go_after_an_exception(self, cache: Any) -> None:
        """The exception comes through, and the lock is free."""
        with pytest.raises(Trouble):
            async with cache.lock("l", timeout=1000):
                raise Trouble
        async with cache.lock("l", wait=0):
            pass

    @case
    async def test_locks_and_values_do_not_meet(self, cache: Any) -> None:
        """A lock has no value, hides none, and is not cleared with them."""
        await cache.set("l", "value")
        async with cache.lock("l", timeout=1000, wait=0):
            assert await cache.get("l") == "value"
            await cache.clear()
            with pytest.raises(LockNotAcquired):
                async with cache.lock("l", wait=0):
                    pass
        assert await cache.has_key("l") is False

    @case
    async def test_a_lock_that_ended_is_lost(
        self, cache: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """Its holder is told, and takes nothing from the next one."""
        with pytest.raises(LockLost):
            async with cache.lock("l", timeout=short):
                outlive()
        async with cache.lock("l", timeout=1000, wait=0):
            pass

    @case
    async def test_a_late_holder_does_not_free_the_next_one(
        self, cache: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """Only who holds the token lets go."""
        late, following = cache.lock("l", timeout=short), cache.lock("l", timeout=1000, wait=0)
        await late.__aenter__()
        outlive()
        async with following:
            with pytest.raises(LockLost):
                await late.__aexit__(None, None, None)
            with pytest.raises(LockNotAcquired):
                async with cache.lock("l", wait=0):
                    pass

    @case
    async def test_one_at_a_time_behind_a_lock(self, face: Face, cache: Any) -> None:
        """Of many who wait for a lock one is inside at a time."""
        inside: list[int] = []

        async def work(n: int) -> None:
            async with cache.lock("l", timeout=1000):
                inside.append(n)
                value = await cache.get("n", 0)
                await cache.set("n", value + 1)
                assert inside.pop() == n

        await face.together([partial(work, n) for n in range(8)])
        assert await cache.get("n") == 8

    @case
    async def test_many_values_are_computed_in_one_call(self, cache: Any) -> None:
        """Those that are missing; what the function leaves out is missing, and not stored."""
        asked: list[list[str]] = []

        def function(keys: list[str]) -> dict[str, Any]:
            asked.append(keys)
            return {"more": 0, **{key: [key] for key in keys if key != "none"}}

        await cache.set("b", "there")
        found = await cache.get_or_set_many(["a", "b", "none", "c", "a"], function, 1000)
        assert found == {"a": ["a"], "b": "there", "c": ["c"]}
        assert list(found) == ["a", "b", "c"]
        assert asked == [["a", "none", "c"]]
        assert lasts(await cache.ttl("c"), 1000)
        found = await cache.get_or_set_many(iter(["none", "c"]), function, missing=None)
        assert found == {"none": None, "c": ["c"]}
        assert await cache.get_or_set_many(["none", "c"], function) == found
        assert asked[1:] == [["none"]]
        assert await cache.get_many(["none", "more"]) == {"none": None}

    @case
    async def test_a_failure_of_many_stores_nothing(self, cache: Any) -> None:
        """The exception is raised, and the next call computes again."""

        def function(keys: list[str]) -> dict[str, Any]:
            raise Trouble(keys)

        with pytest.raises(Trouble):
            await cache.get_or_set_many(["a", "b"], function)
        assert await cache.get_many(["a", "b"]) == {}
        assert await cache.get_or_set_many(["a", "b"], dict.fromkeys) == {"a": None, "b": None}
