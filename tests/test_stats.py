"""What a cache counts: `stats()` and its agreement with `cache_info()`."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twofold import BackendUnavailable, Cache, Stats, cached, close_all
from twofold.effects import BLOCKING, background, run_sync
from twofold.freshness.policy import Policy
from twofold.testing import FACES, ChaosBackend, Face, case


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A cache that nobody else uses, on each kind of store that needs no server."""
    url = f"/{tmp_path}/c.db" if request.param == "sqlite" else str(tmp_path)
    yield Cache(f"{request.param}://{url}", options={"deadline": 30.0})
    close_all()


def counted(cache: Cache) -> dict[str, int]:
    """Return the numbers of `cache` that are not 0."""
    names = ("hits", "misses", "stores", "deletes", "computations", "joined", "failures")
    return {name: getattr(cache.stats(), name) for name in names if getattr(cache.stats(), name)}


async def called(function: Any) -> Any:
    """Return what a function returns, async or not."""
    result = function()
    return await result if inspect.isawaitable(result) else result


@pytest.mark.parametrize("face", FACES, ids=repr)
class TestNumbers:
    """What each operation adds to the numbers, in both faces."""

    @case
    async def test_reads_count_as_hits_and_misses(self, cache: Cache, face: Face) -> None:
        """Each key that is asked for is a hit or a miss, a stored None a hit."""
        view = face.view(cache)
        await view.set("none", None)
        await view.set("list", [1])
        await view.get("none")
        await view.get("list")
        await view.get("missing")
        await view.get("list", version=2)
        assert counted(cache) == {"hits": 2, "misses": 2, "stores": 2}
        await view.get_many(["none", "list", "missing"])
        assert counted(cache) == {"hits": 4, "misses": 3, "stores": 2}
        assert cache.stats().hit_ratio == 4 / 7
        assert await view.has_key("list")
        assert counted(cache)["hits"] == 4

    @case
    async def test_writes_count_where_they_are_done(self, cache: Cache, face: Face) -> None:
        """What was stored and removed is counted, and not what was refused or not there."""
        view = face.view(cache)
        assert await view.set_many({"a": 1, "b": 2, "c": 3, "d": 4}) == []
        assert await view.add("e", 5)
        assert not await view.add("e", 6)
        assert counted(cache) == {"stores": 5}
        assert await view.delete("a")
        assert not await view.delete("a")
        assert await view.delete_many(["b", "c", "missing"]) == 2
        assert counted(cache) == {"stores": 5, "deletes": 3}
        await view.set("d", 0, timeout=0)
        await view.touch("e", timeout=0)
        assert counted(cache) == {"stores": 5, "deletes": 5}
        await view.set("v", 1)
        await view.incr_version("v")
        assert {**counted(cache), "hits": 0} == {"stores": 7, "deletes": 6, "hits": 0}

    @case
    async def test_a_stale_value_that_is_not_served_is_a_miss(
        self, cache: Cache, face: Face
    ) -> None:
        """Whoever asks is counted once: also who found an old value, and waited for a new one."""
        view = face.view(cache)
        options: Any = {"stale": 60, "wait": None}
        for timeout in (60, 0):
            await view.set_many({"a": 1.0, "b": 1.0, "c": 1.0}, 60, stale=60)
            for key in ("a", "b", "c"):
                await view.mark_stale(key)
            before = cache.stats()
            await view.get_or_set("a", lambda: 2.0, timeout, **options)
            await view.get_or_set_many(["b", "c"], lambda keys: {}, timeout, **options)
            after = cache.stats()
            assert (after.hits - before.hits, after.misses - before.misses) == (0, 3), timeout

    @case
    async def test_a_kept_error_is_a_hit(self, cache: Cache, face: Face) -> None:
        """It was found, as a value is; so it is to the function that is decorated."""

        async def missing() -> None:
            raise LookupError

        def missing_too() -> None:
            raise LookupError

        body: Any = missing if face.is_async else missing_too
        function: Any = cached(cache=cache, errors={LookupError: 60})(body)
        for _ in range(3):
            with pytest.raises(LookupError):
                await called(function)
        numbers = {"hits": 2, "misses": 1, "stores": 1, "computations": 1, "failures": 1}
        assert counted(cache) == numbers
        assert function.cache_info() == (2, 1, 1)

    @case
    async def test_a_stale_value_that_is_served_is_a_hit(
        self, cache: Cache, face: Face, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To the function too, unless its caller waited for the new one."""
        monkeypatch.setattr(background, "inline", True)

        async def one() -> int:
            return 1

        for wait, numbers in ((0, (1, 1, 2)), ("1h", (0, 2, 2))):
            key, before = f"wait {wait}", cache.stats()
            function: Any = cached(cache=cache, key=key, stale="1h", wait=wait)(
                one if face.is_async else lambda: 1
            )
            assert await called(function) == 1
            assert await face.view(cache).mark_stale(key)
            assert await called(function) == 1
            after = cache.stats()
            assert function.cache_info() == numbers
            assert (after.hits - before.hits, after.misses - before.misses) == numbers[:2]

    @case
    async def test_computations_count_with_what_comes_of_them(
        self, cache: Cache, face: Face
    ) -> None:
        """A miss is a computation, and a store if a value came, or a failure if none did."""
        view = face.view(cache)
        assert [await view.get_or_set("k", lambda: "v") for _ in range(3)] == ["v"] * 3
        assert counted(cache) == {"hits": 2, "misses": 1, "stores": 1, "computations": 1}

        def fail() -> None:
            raise OSError("mine")

        with pytest.raises(OSError, match="mine"):
            await view.get_or_set("f", fail)
        assert counted(cache) == {
            "hits": 2,
            "misses": 2,
            "stores": 1,
            "computations": 2,
            "failures": 1,
        }

    @case
    async def test_a_damaged_entry_counts_once_each_time_it_is_read(
        self, tmp_path: Path, face: Face
    ) -> None:
        """Also by who would take a stale one, and by who keeps errors."""
        cache = Cache(f"sqlite:///{tmp_path}/c.db", options={"deadline": 30.0})
        view, damaged = face.view(cache), 0
        for stale in (None, 600):
            await view.set("k", [1], stale=stale)
            key = cache._key("k")
            stored = cache.backend.get(key)
            assert cache.backend.set(key, stored[:-1] + b"?", None)
            for allow_stale in (False, True):
                assert await view.get("k", allow_stale=allow_stale) is None
                assert await view.get_many(["k"], allow_stale=allow_stale) == {}
            damaged += 4
            assert cache.stats().damaged == damaged
        policy = Policy(60, errors={ValueError: 60})
        run_sync(cache._maker.read(BLOCKING, key, stored[:-1] + b"?", policy))
        assert cache.stats().damaged == damaged + 1
        await view.close()


@pytest.mark.parametrize("outage", [False, True])
async def test_functions_and_their_cache_agree(outage: bool) -> None:
    """`cache_info()` of a cache's only function adds up to its `stats()`, also in an outage."""
    cache = Cache(ChaosBackend(failure_rate=1.0 if outage else 0.0))

    @cached(cache=cache)
    async def adouble(x: int) -> int:
        return 2 * x

    assert [await adouble(x) for x in (1, 2, 1)] == [2, 4, 2]
    cache_info, stats = adouble.cache_info(), cache.stats()
    assert (stats.hits, stats.misses, stats.computations) == cache_info
    if outage:
        with pytest.raises(BackendUnavailable):
            await cache.aget("k")
        assert cache.stats().misses == cache_info.misses  # it is an error to that caller
    assert stats.misses == (3 if outage else 2)


def test_memory_tells_what_it_evicted(tmp_path: Path) -> None:
    """The number is the store's; other stores cannot tell."""
    cache = Cache(f"memory://{tmp_path}", options={"max_entries": 2})
    assert cache.stats().evicted == 0
    for number in range(5):
        cache.set(str(number), number)
    cache.delete("4")
    assert cache.stats().evicted == 3
    assert Cache(f"sqlite:///{tmp_path}/c.db").stats().evicted is None
    close_all()


def test_a_ratio_of_nothing_is_0(cache: Cache) -> None:
    """Before anything is asked for there is a number all the same, for dashboards."""
    assert cache.stats().hit_ratio == 0.0
    assert isinstance(cache.stats(), Stats)
