"""`@cached.many`: functions of many ids, each of whose results is cached by itself."""

import asyncio
import inspect
import pickle
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from twofold import (
    AwaitableResult,
    BlockingCallInEventLoop,
    Cache,
    InvalidKey,
    NotAMapping,
    ReentrantCall,
    SettingsError,
    UnstableArgument,
    bypass,
    cached,
    refreshing,
)
from twofold.testing import FakeClock

asked: list[Any] = []


@pytest.fixture(autouse=True)
def cache(twofold_cache: Cache) -> Cache:
    """An empty cache, and nothing asked yet."""
    asked.clear()
    return twofold_cache


@cached.many
def names(ids: list[int], suffix: str = "") -> dict[int, str]:
    """Return the names of ids."""
    asked.append(ids)
    return {each: f"n{each}{suffix}" for each in ids if each >= 0}


@cached.many(key="name:{ids}:{suffix}", missing=None, timeout=10, stale=60)
async def anames(ids: list[int], suffix: str = "") -> Mapping[int, str | None]:
    asked.append(ids)
    return {each: f"n{each}{suffix}" for each in ids if each >= 0}


class Shop:
    """Has methods of all kinds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __cache_key__(self) -> str:
        return self.name

    @cached.many
    def prices(self, ids: list[int], *, net: bool = False) -> dict[int, str]:
        asked.append(ids)
        return {each: f"{self.name}{each}{net}" for each in ids}

    @cached.many
    async def aprices(self, ids: list[int]) -> dict[int, str]:
        asked.append(ids)
        return {each: f"{self.name}{each}" for each in ids}

    @cached.many
    @classmethod
    def ranks(cls, ids: list[int]) -> dict[int, str]:
        asked.append(ids)
        return {each: f"{cls.__name__}{each}" for each in ids}

    @cached.many
    @staticmethod
    def taxes(ids: list[int]) -> dict[int, int]:
        asked.append(ids)
        return dict.fromkeys(ids, 7)


def test_each_id_is_cached_by_itself() -> None:
    """What is missing is asked for once, in their order; other arguments are in the key."""
    before = names.cache_info()
    assert names([3, 1, 3]) == {3: "n3", 1: "n1"}
    assert list(names(iter([2, 1, -1, 3]))) == [2, 1, 3]
    assert names({1: "", 2: ""}) == {1: "n1", 2: "n2"}
    assert asked == [[3, 1], [2, -1]]
    assert names(ids=[1], suffix="!") == names([1], "!") == {1: "n1!"}
    assert names(ids=(1, 2)) == {1: "n1", 2: "n2"}
    assert asked[2:] == [[1]]
    assert names([]) == {}
    counted = [now - then for now, then in zip(names.cache_info(), before, strict=True)]
    assert counted == [7, 5, 3]
    assert names.key(1) != names.key("1")
    assert names.key(1, "!") == names.key(1, suffix="!")


def test_what_stands_for_missing_ids_is_of_each_caller() -> None:
    """Whoever changes it changes it for nobody else, nor for the ids that are missing later."""

    @cached.many(cache=Cache("memory://changed"), missing=[])
    def rows(ids: list[int]) -> dict[int, list[str]]:
        return {}

    found = rows([1, 2])
    found[1].append("x")
    assert found[2] == []
    assert rows([1, 2, 3]) == {1: [], 2: [], 3: []}


def test_an_async_function() -> None:
    """It is awaited; `missing` is stored, and a template is of one id."""

    async def check() -> None:
        assert await anames([1, -1]) == {1: "n1", -1: None}
        assert await anames([-1, 1]) == {-1: None, 1: "n1"}
        assert asked == [[1, -1]]
        assert anames.key(1, "x") == "name:1:'x'"
        assert await anames.aget([1, 2]) == {1: "n1"}
        assert await anames.arefresh([1]) == {1: "n1"}
        assert await anames.aset({2: "two"}) == []
        assert await anames([2]) == {2: "two"}
        assert await anames.ainvalidate([1, 2, 3]) == 2
        assert await anames.aget([1, 2]) == {}
        await anames.acache_clear()
        with pytest.raises(AwaitableResult, match="anames"):
            anames.refresh([1])

    assert inspect.iscoroutinefunction(anames)
    asyncio.run(check())


def test_the_members() -> None:
    """`get` never runs the function; `refresh` always does, and removes what is left out."""
    assert names.get([1, 2]) == {}
    assert asked == []
    assert names.set({1: "one", -1: "minus"}) == []
    assert names.get([-1, 2, 1]) == {-1: "minus", 1: "one"}
    assert names.refresh([1, -1]) == {1: "n1"}
    assert names.get([1, -1]) == {1: "n1"}
    assert names.set({1: "one"}, "!") == []
    assert names([1], suffix="!") == {1: "one"}
    assert names.invalidate([1, 2]) == 1
    assert names.get([1]) == {}
    names.cache_clear()
    assert names.get([1], "!") == {}


def test_it_binds() -> None:
    """The object stands in the key of its methods; class and static methods are as ever."""
    one, other = Shop("a"), Shop("b")
    assert one.prices([1, 2]) == {1: "a1False", 2: "a2False"}
    assert other.prices(ids=[1], net=True) == {1: "b1True"}
    assert one.prices([2]) == {2: "a2False"}
    assert asked == [[1, 2], [1]]
    assert one.prices.get([1]) == {1: "a1False"}
    assert one.prices.set({9: "nine"}) == []
    assert one.prices([9]) == {9: "nine"}
    assert one.prices.invalidate([9]) == 1
    with asyncio.Runner() as runner:
        assert runner.run(one.aprices([1])) == {1: "a1"}
    assert Shop.ranks([1]) == one.ranks([1]) == {1: "Shop1"}
    assert Shop.taxes([1]) == one.taxes([1]) == {1: 7}  # type: ignore[call-arg]
    assert len(asked) == 5


def test_it_resembles_the_function() -> None:
    """Name, docstring and signature are the function's; it can be pickled."""
    assert names.__name__ == "names"
    assert names.__doc__ == "Return the names of ids."
    assert str(inspect.signature(names)).startswith("(ids: list[int], suffix: str = '')")
    assert str(inspect.signature(Shop("a").prices)).startswith("(ids: list[int], *, net")
    assert repr(names).startswith("<cached names CacheInfo")
    assert pickle.loads(pickle.dumps(names)) is names
    assert repr(cached.many(timeout=5)) == "cached.many(timeout=5)"
    assert cached(timeout=5).many(missing=None)._options == {"timeout": 5, "missing": None}


def test_what_cannot_be_is_refused() -> None:
    """When it is decorated, or called."""

    def nothing() -> dict[int, int]:
        return {}

    def several(*ids: int) -> dict[int, int]:
        return {}

    def generator(ids: list[int]) -> Iterator[int]:
        yield from ids

    def fine(ids: Any, other: Any = None) -> Any:
        return list(ids)

    for wrong in (nothing, several):
        with pytest.raises(SettingsError, match=f"{wrong.__name__}.* takes no ids"):
            cached.many(wrong)
    with pytest.raises(SettingsError, match="generator"):
        cached.many(generator)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="missing="):
        cached.many(errors={KeyError: 3})(fine)
    with pytest.raises(SettingsError, match="did you mean 'missing'"):
        cached.many(mising=None)  # type: ignore[call-overload]
    with pytest.raises(SettingsError, match="no option 'missing'"):
        cached(missing=None)  # type: ignore[call-overload]
    with pytest.raises(SettingsError, match="tell results apart"):
        cached.many(ignore=("ids",))(fine)([1])
    many = cached.many(fine)
    with pytest.raises(NotAMapping, match=r"fine\(\) is to return a mapping"):
        many([1])
    with pytest.raises(InvalidKey, match="many keys"):
        many("abc")
    with pytest.raises(InvalidKey, match="hashable"):
        many([[1]])
    with pytest.raises(InvalidKey, match="iterable"):
        many(1)
    with pytest.raises(UnstableArgument, match="'other'"):
        many([1], object())
    with pytest.raises(TypeError, match="give ids"):
        many()
    with pytest.raises(TypeError, match="land"):
        many([1], land=3)


def test_a_sync_call_does_not_block_a_loop(tmp_path: Any) -> None:
    """Of a store that may wait."""
    store = Cache(f"sqlite:///{tmp_path}/c")

    @cached.many(cache=store)
    def lengths(ids: list[str]) -> dict[str, int]:
        return {each: len(each) for each in ids}

    async def check() -> None:
        for call in (lengths, lengths.get, lengths.refresh, lengths.invalidate, lengths.set):
            with pytest.raises(BlockingCallInEventLoop, match="lengths"):
                call({"a": 1})  # type: ignore[operator]
        assert await lengths.arefresh(["ab"]) == {"ab": 2}
        assert await lengths.aget(["ab"]) == {"ab": 2}

    asyncio.run(check())
    assert lengths(["ab", "c"]) == {"ab": 2, "c": 1}
    store.close()


def test_ids_that_share_a_key() -> None:
    """Are asked for once."""

    @cached.many(key=lambda ids: f"lower:{ids.lower()}")
    def upper(ids: list[str]) -> dict[str, str]:
        asked.append(ids)
        return {each: each.upper() for each in ids}

    assert upper(["a", "A", "b"]) == {"a": "A", "A": "A", "b": "B"}
    assert asked == [["a", "b"]]


def test_options_are_of_each_result(cache: Cache, twofold_clock: FakeClock) -> None:
    """`condition`, `timeout` of the result, `stale`."""

    @cached.many(condition=bool, timeout=lambda value: value, stale=60)
    def values(ids: list[int]) -> dict[int, int]:
        asked.append(ids)
        return {each: each for each in ids}

    assert values([0, 5, 10]) == {0: 0, 5: 5, 10: 10}
    assert values.get([0, 5, 10]) == {5: 5, 10: 10}
    twofold_clock.advance(6)
    assert values.get([0, 5, 10]) == {10: 10}
    assert values([5, 10]) == {5: 5, 10: 10}
    assert asked == [[0, 5, 10], [5]]
    assert cache.stats().stale_hits == 1
    assert values.set({5: 3, 7: 7}) == []
    twofold_clock.advance(4)
    assert values.get([5, 7]) == {7: 7}


def test_one_request_does_without_the_cache() -> None:
    """As for every function."""
    assert names([1]) == {1: "n1"}
    with bypass():
        assert names([1, 2]) == {1: "n1", 2: "n2"}
    assert names.get([2]) == {}
    with refreshing():
        assert names([1]) == {1: "n1"}
    assert asked == [[1], [1, 2], [1]]


def test_a_function_that_asks_for_its_own_ids_is_told() -> None:
    """It would wait for itself."""

    @cached.many
    def own(ids: list[int]) -> dict[int, int]:
        return own([*ids, 7])

    with pytest.raises(ReentrantCall):
        own([1])


def test_calls_share_what_is_computed() -> None:
    """One of two with overlapping ids computes each."""
    go = threading.Event()

    @cached.many
    def slow(ids: list[int]) -> dict[int, int]:
        asked.append(ids)
        go.wait(10)
        return {each: each for each in ids}

    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(slow, [start, start + 1, start + 2]) for start in range(8)]
        go.set()
        for start, call in enumerate(calls):
            assert call.result(10) == {start + n: start + n for n in range(3)}
    assert sorted(each for ids in asked for each in ids) == list(range(10))


def test_errors_of_the_settings_are_not_kept() -> None:
    """An alias whose `FRESHNESS` has some is used without them."""

    @cached.many(cache=Cache("memory://errors", freshness={"errors": {KeyError: 30}}))
    def failing(ids: list[int]) -> dict[int, int]:
        asked.append(ids)
        raise KeyError(1)

    for _ in range(2):
        with pytest.raises(KeyError):
            failing([1])
    assert len(asked) == 2
