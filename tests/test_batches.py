"""Many keys at once: one read, one call, one write, and each key computed by one caller."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.chaos import MemcachedServer, eventually
from tests.test_claims import together
from twofold import (
    AwaitableResult,
    Cache,
    ComputationTimeout,
    NotAMapping,
    ReentrantCall,
    SettingsError,
    bypass,
    events,
    refreshing,
)
from twofold.backends.memory import MemoryBackend
from twofold.effects import background
from twofold.testing import FACES, ChaosBackend, Face, FakeClock

STORES = ("memory", "sqlite", "files", "redis", "memcached")
SHARED = STORES[1:]


@pytest.fixture
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    if request.param == "memory":
        return f"memory://{tmp_path}"
    if request.param in ("sqlite", "files"):
        return f"{request.param}:///{tmp_path}/store"
    server = request.getfixturevalue(f"{request.param}_server")
    return f"{request.param}://{server.address}"


@pytest.fixture
def another(location: str) -> Iterator[Callable[[], Cache]]:
    """Makes caches over the store that know of each other by the store alone, as processes do."""
    made: list[Cache] = []

    def make() -> Cache:
        options: Any = {"blocking_calls": "allow", "deadline": 20.0}
        made.append(Cache(location, options=options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


class Source:
    """Brings values, and counts how often each was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.counts: Counter[str] = Counter()
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def __call__(self, keys: list[str]) -> dict[str, list[Any]]:
        with self._lock:
            self.calls.append(keys)
            self.counts.update(keys)
        if self.error is not None:
            raise self.error
        return {key: [key, self.counts[key]] for key in keys if key != "none"}


@pytest.fixture
def source() -> Source:
    """A new one."""
    return Source()


def flights(cache: Cache) -> dict[str, Any]:
    """Return what is being computed, by the caller's keys."""
    return {key.rpartition(":")[2]: each for key, (each, *_) in cache._claims.table.items()}


every_store = pytest.mark.parametrize("location", STORES, indirect=True)
shared_store = pytest.mark.parametrize("location", SHARED, indirect=True)
every_face = pytest.mark.parametrize("face", FACES, ids=repr)


@every_store
def test_each_key_is_computed_once(another: Callable[[], Cache], source: Source) -> None:
    """By whichever of threads, tasks, loops, callers of one key and another process's."""
    caches, random = [another(), another()], Random(7)
    if caches[0].backend.private:
        caches.pop()
    names = [f"k{number}" for number in range(12)]
    go = threading.Event()

    def slow(keys: list[str]) -> dict[str, list[Any]]:
        go.wait(10)
        return source(keys)

    async def aslow(keys: list[str]) -> dict[str, list[Any]]:
        while not go.is_set():
            await asyncio.sleep(0.001)
        return source(keys)

    def one(cache: Cache, key: str) -> dict[str, Any]:
        return {key: cache.get_or_set(key, lambda: slow([key])[key])}

    async def loop(cache: Cache, wanted: list[list[str]]) -> list[dict[str, Any]]:
        return await asyncio.gather(*[cache.aget_or_set_many(keys, aslow) for keys in wanted])

    with ThreadPoolExecutor(24) as threads:
        calls, loops = [], []
        for cache in caches:
            wanted = [random.sample(names, 5) for _ in range(12)]
            calls += [threads.submit(cache.get_or_set_many, keys, slow) for keys in wanted[:4]]
            calls += [threads.submit(one, cache, keys[0]) for keys in wanted[:4]]
            loops += [threads.submit(asyncio.run, loop(cache, wanted[4:8]))]
            loops += [threads.submit(asyncio.run, loop(cache, wanted[8:]))]
        eventually(lambda: len(flights(caches[0])) > 8, "they have begun")
        go.set()
        got = [call.result(60) for call in calls]
        got += [each for call in loops for each in call.result(60)]
    assert set(source.counts.values()) == {1}
    assert all(found == {key: [key, 1] for key in found} for found in got)
    assert not caches[0]._claims.table


@shared_store
@every_face
def test_processes_do_not_wait_in_a_circle(
    face: Face, another: Callable[[], Cache], source: Source
) -> None:
    """Two that ask for each other's keys, in opposite orders, compute each key once."""
    ours, theirs = another(), another()
    for number in range(8):
        keys = [f"{number}{letter}" for letter in "abcd"]
        calls = [
            lambda ours=ours, keys=keys: face.view(ours).get_or_set_many(keys, source),
            lambda theirs=theirs, keys=keys: face.view(theirs).get_or_set_many(keys[::-1], source),
        ]

        async def both(calls: Any = calls) -> Any:
            return await face.together(calls)

        got: Any = face.run(both())
        assert got[0] == got[1] == {key: [key, 1] for key in keys}
    assert set(source.counts.values()) == {1}


ASK = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from twofold import Cache

cache = Cache(sys.argv[1], options={"deadline": 20.0})
random = Random()
names = [f"k{n}" for n in range(24)]

def work(keys):
    time.sleep(0.02)
    with open(sys.argv[2], "a") as log:
        log.write("".join(f"{key}\\n" for key in keys))
    return {key: key for key in keys}

async def loop():
    return await asyncio.gather(
        *[cache.aget_or_set_many(random.sample(names, 8), work) for _ in range(8)]
    )

print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(16) as threads:
    loops = [threads.submit(asyncio.run, loop()) for _ in range(2)]
    calls = [
        threads.submit(cache.get_or_set_many, random.sample(names, 8), work) for _ in range(8)
    ]
    got = [call.result(60) for call in calls] + [v for each in loops for v in each.result(60)]
    got.append(cache.get_or_set_many(names, work))
assert all(found == {key: key for key in found} for found in got), got
assert all(len(found) >= 8 for found in got)
cache.close()
"""


@pytest.mark.parametrize("location", ["sqlite", "redis"], indirect=True)
def test_four_processes_compute_each_key_once(location: str, tmp_path: Path) -> None:
    """Callers in threads and loops of four processes, whose sets of keys overlap."""
    log = tmp_path / "log"
    together(ASK, location, str(log))
    assert sorted(log.read_text().split()) == sorted(f"k{n}" for n in range(24))


@every_store
@every_face
def test_a_write_meanwhile_wins(face: Face, another: Callable[[], Cache], source: Source) -> None:
    """What is set or deleted while the function runs is not overwritten; the rest is stored."""
    ours = another()
    theirs = ours if ours.backend.private else another()

    def function(keys: list[str]) -> dict[str, list[Any]]:
        theirs.set("b", "newer")
        theirs.delete("c")
        return source(keys)

    found = face.run(face.view(ours).get_or_set_many(["a", "b", "c"], function))
    assert found == {key: [key, 1] for key in "abc"}
    assert theirs.get_many(["a", "b", "c"]) == {"a": ["a", 1], "b": "newer"}


@pytest.mark.parametrize("location", ["sqlite", "redis"], indirect=True)
def test_what_began_before_a_foreign_delete_is_not_taken_after_it(
    another: Callable[[], Cache], source: Source
) -> None:
    """Whoever joins a computation that another process's delete has overtaken begins again."""
    ours, theirs, go, begun = another(), another(), threading.Event(), threading.Event()

    def slow(keys: list[str]) -> dict[str, list[Any]]:
        found = source(keys)
        begun.set()
        go.wait(10)
        return found

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(ours.get_or_set_many, ["a", "b"], slow)
        assert begun.wait(10)
        theirs.delete("a")
        second = threads.submit(ours.get_or_set_many, ["b", "a"], source)
        eventually(lambda: flights(ours)["b"].waiting == 2, "it waits for the first")
        go.set()
        assert first.result(10) == {"a": ["a", 1], "b": ["b", 1]}
        assert second.result(10) == {"a": ["a", 2], "b": ["b", 1]}
    assert theirs.get("a") == ["a", 2]


def test_a_loop_that_ends_leaves_its_keys_to_others(source: Source) -> None:
    """Whoever waits for them computes them."""
    cache, begun = Cache("memory://ends"), threading.Event()

    async def never(_keys: list[str]) -> dict[str, int]:
        begun.set()
        await asyncio.sleep(60)
        raise AssertionError

    async def give_up() -> None:
        task = asyncio.create_task(cache.aget_or_set_many(["a", "b"], never))
        while not (begun.is_set() and flights(cache)["b"].waiting == 2):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])  # nobody in this loop waits any more, but a thread does

    with ThreadPoolExecutor(8) as threads:
        loop = threads.submit(asyncio.run, give_up())
        assert begun.wait(10)
        follower = threads.submit(cache.get_or_set_many, ["b", "c"], source)
        loop.result(10)
        assert follower.result(10) == {"b": ["b", 1], "c": ["c", 1]}
    assert not cache._claims.table
    cache.close()


def test_a_value_that_cannot_be_stored_is_returned() -> None:
    """The others are stored; whoever else waits for it computes it alone."""
    cache, go, values = Cache("memory://unserializable"), threading.Event(), list[object]()

    def bring(keys: list[str]) -> dict[str, object]:
        go.wait(10)
        values.append(threading.Lock())
        return {key: values[-1] if key == "a" else key for key in keys}

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(cache.get_or_set_many, ["a", "b"], bring)
        eventually(lambda: "b" in flights(cache), "it has begun")
        second = threads.submit(cache.get_or_set_many, ["b", "a"], bring)
        eventually(lambda: flights(cache)["b"].waiting == 2, "it waits for the first")
        go.set()
        assert first.result(10) == {"a": values[0], "b": "b"}
        assert second.result(10) == {"a": values[1], "b": "b"}
    assert cache.get_many(["a", "b"]) == {"b": "b"}
    assert cache.stats().unserializable == 1
    cache.close()


@every_store
def test_what_is_left_out(another: Callable[[], Cache], source: Source) -> None:
    """It is absent to all who asked for many; who asked for it alone computes it."""
    cache, go = another(), threading.Event()

    def slow(keys: list[str]) -> dict[str, list[Any]]:
        go.wait(10)
        return source(keys)

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(cache.get_or_set_many, ["none", "a"], slow)
        eventually(lambda: "none" in flights(cache), "it has begun")
        second = threads.submit(cache.get_or_set_many, ["none", "b"], source)
        single = threads.submit(cache.get_or_set, "none", lambda: "alone")
        flight = flights(cache)["none"]
        eventually(lambda: flight.waiting == 3, "all wait for it")
        go.set()
        assert first.result(10) == {"a": ["a", 1]}
        assert second.result(10) == {"b": ["b", 1]}
        assert single.result(10) == "alone"
    assert source.counts["none"] == 1
    assert cache.get("none") == "alone"


def sorting(keys: list[str]) -> dict[str, str]:
    """Bring what was asked for, in an order of its own."""
    keys.sort()
    return {key: key.upper() for key in keys}


def emptying(keys: list[str]) -> dict[str, str]:
    """Bring what was asked for, one after another."""
    return {key: key.upper() for key in iter(lambda: keys.pop() if keys else None, None)}


@every_face
@pytest.mark.parametrize("bring", [sorting, emptying])
@pytest.mark.parametrize("location", ["memory", "sqlite"], indirect=True)
def test_a_function_may_change_the_list_that_it_is_given(
    face: Face, bring: Any, another: Callable[[], Cache]
) -> None:
    """It is its own: each key has its value, whatever becomes of the list."""
    cache = another()
    wanted = {"c": "C", "a": "A", "b": "B"}
    assert face.run(face.view(cache).get_or_set_many(list(wanted), bring)) == wanted
    assert cache.get_many(wanted) == wanted


@every_face
def test_a_failure_is_shared(face: Face, source: Source) -> None:
    """By all who wait for one of the keys, also alone; nothing is kept."""
    cache = Cache(f"memory://failure{face.name}")
    source.error = RuntimeError("down")

    async def check() -> None:
        view = face.view(cache)

        async def many(*keys: str) -> Any:
            with pytest.raises(RuntimeError, match="down"):
                await view.get_or_set_many(keys, source)

        await face.together([lambda: many("a", "b"), lambda: many("b", "c")])
        assert await view.get_many(["a", "b", "c"]) == {}

    face.run(check())
    assert not cache._claims.table
    assert cache.stats().failures == len(source.calls)
    cache.close()


def test_a_cancelled_caller_takes_only_itself_away(source: Source) -> None:
    """The computation goes on while anybody waits for one of its keys, and then stops."""

    async def check() -> None:
        cache, stopped = Cache("memory://cancel"), asyncio.Event()
        go = asyncio.Event()

        async def slow(keys: list[str]) -> dict[str, list[Any]]:
            try:
                await go.wait()
            except asyncio.CancelledError:
                stopped.set()
                raise
            return source(keys)

        async def begun(*keys: str) -> "asyncio.Task[Any]":
            task = asyncio.create_task(cache.aget_or_set_many(keys, slow))
            while not set(keys) <= set(flights(cache)):
                await asyncio.sleep(0)
            return task

        leader = await begun("a", "b")
        single = asyncio.create_task(cache.aget_or_set("b", lambda: "alone"))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        assert set(flights(cache)) == {"a", "b"}
        late = await begun("a")  # joins what nobody but the other one waits for
        go.set()
        assert await single == ["b", 1]
        assert await late == {"a": ["a", 1]}
        assert await cache.aget_many(["a", "b"]) == {"a": ["a", 1], "b": ["b", 1]}

        go.clear()
        leader, follower = await begun("c", "d"), await begun("d")
        leader.cancel()
        await asyncio.wait([leader])
        assert not stopped.is_set()
        follower.cancel()
        await asyncio.wait_for(stopped.wait(), 10)
        assert not cache._claims.table
        assert source.counts == {"a": 1, "b": 1}
        await cache.aclose()

    asyncio.run(check())


@every_face
def test_wrong_functions_are_refused(face: Face) -> None:
    """One that returns no mapping, asks for its own keys, or is of the other face."""
    cache = Cache(f"memory://wrong{face.name}")
    view = face.view(cache)

    async def check() -> None:
        with pytest.raises(NotAMapping, match="is to return a mapping"):
            await view.get_or_set_many(["a"], sorted)

        def own(_keys: list[str]) -> Any:
            return cache.get_or_set_many(["c", "b"], dict.fromkeys)

        with pytest.raises(ReentrantCall):
            await view.get_or_set_many(["a", "b"], own)
        with pytest.raises(ReentrantCall):
            await view.get_or_set_many(
                ["a", "b"], lambda _: {"a": cache.get_or_set("b", lambda: 1)}
            )
        with pytest.raises(SettingsError, match="leave such keys out"):
            await view.get_or_set_many(["a"], dict.fromkeys, errors={KeyError: 3})
        assert await view.get_or_set_many([], sorted) == {}

    async def asynchronous(keys: list[str]) -> dict[str, int]:
        return dict.fromkeys(keys, 1)

    face.run(check())
    call = view.get_or_set_many(["a"], asynchronous)
    if face.is_async:
        assert face.run(call) == {"a": 1}
    else:
        with pytest.raises(AwaitableResult, match="asynchronous"):
            face.run(call)
    cache.close()


Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, twofold_cache: Cache) -> Iterator[Ask]:
    """Calls `get_or_set_many`, in the face."""
    if request.param == "sync":
        yield twofold_cache.get_or_set_many
        return
    with asyncio.Runner() as runner:

        async def many(*args: Any, **kwargs: Any) -> Any:
            return await twofold_cache.aget_or_set_many(*args, **kwargs)

        yield lambda *args, **kwargs: runner.run(many(*args, **kwargs), context=copy_context())


def test_stale_values_are_refreshed_together(
    ask: Ask, source: Source, twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    """They are served at once, and one call in the background brings the new ones."""
    ask(["a", "b"], source, 10, stale=60)
    twofold_clock.advance(11)
    found = ask(["a", "new", "b"], source, 10, stale=60)
    assert found == {"a": ["a", 1], "new": ["new", 1], "b": ["b", 1]}
    assert source.calls == [["a", "b"], ["a", "b"], ["new"]]
    found = ask(["a", "new", "b"], source, 10, stale=60)
    assert found == {"a": ["a", 2], "new": ["new", 1], "b": ["b", 2]}
    stats = twofold_cache.stats()
    assert (stats.refreshes, stats.stale_hits, stats.computations) == (1, 2, 3)
    assert (stats.hits, stats.misses) == (5, 3)


def test_values_are_refreshed_early(ask: Ask, source: Source, twofold_clock: FakeClock) -> None:
    """Those that are near their end."""
    ask(["a"], source, 100, early=0.8)
    twofold_clock.advance(50)
    ask(["b"], source, 100, early=0.8)
    twofold_clock.advance(31)
    assert ask(["a", "b"], source, 100, early=0.8) == {"a": ["a", 1], "b": ["b", 1]}
    assert source.calls == [["a"], ["b"], ["a"]]
    assert ask(["a"], source, 100, early=0.8) == {"a": ["a", 2]}


def test_a_failed_refresh_rests_and_is_told_once(
    ask: Ask, source: Source, twofold_clock: FakeClock
) -> None:
    """Each key's stale value is served until `retry_after` is over."""
    told: list[events.RefreshFailed] = []
    unsubscribe = events.subscribe(
        lambda event: told.append(event) if isinstance(event, events.RefreshFailed) else None
    )
    options: dict[str, Any] = {"stale": 600, "retry_after": 30}
    stale = ask(["a", "b"], source, 10, **options)
    twofold_clock.advance(11)
    source.error = RuntimeError("down")
    try:
        assert [ask(["b", "a"], source, 10, **options) for _ in range(3)] == [stale] * 3
        assert ask(["a"], source, 10, **options, wait=None) == {"a": ["a", 1]}
    finally:
        unsubscribe()
    assert [len(keys) for keys in source.calls] == [2, 2]
    assert len(told) == 1
    with pytest.raises(RuntimeError, match="down"):
        ask(["a", "c"], source, 10, **options)  # of one there is no stale value
    twofold_clock.advance(31)
    source.error = None
    ask(["a", "b"], source, 10, **options)
    assert ask(["a", "b"], source, 10, **options) == {"a": ["a", 3], "b": ["b", 3]}


def test_stale_values_are_waited_for(ask: Ask, source: Source, twofold_clock: FakeClock) -> None:
    """With `wait`; if the function fails or leaves one out, they are what is left."""
    ask(["a", "b", "c"], source, 10, stale=600)
    twofold_clock.advance(11)
    found = ask(["a", "d"], source, 10, stale=600, wait=None)
    assert found == {"a": ["a", 2], "d": ["d", 1]}
    assert source.calls[1:] == [["a", "d"]]
    source.error = RuntimeError("down")
    assert ask(["b"], source, 10, stale=600, wait=None) == {"b": ["b", 1]}
    assert ask(["c"], lambda _: {}, 10, stale=600, wait=None) == {}
    assert ask(["c"], lambda _: {}, 10, stale=600) == {}  # it is gone


def test_a_timeout_of_the_result(
    ask: Ask, source: Source, twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    """Each value has its own; one of 0 is not stored."""
    lives = {"a": 10, "b": 20, "c": 0}
    assert ask([*lives], source, lambda value: lives[value[0]]) == {key: [key, 1] for key in lives}
    assert twofold_cache.get_many(lives) == {"a": ["a", 1], "b": ["b", 1]}
    twofold_clock.advance(11)
    assert [*twofold_cache.get_many(lives)] == ["b"]


def test_one_request_does_without_the_cache(ask: Ask, source: Source, twofold_cache: Cache) -> None:
    """`bypass` neither reads nor stores; `refreshing` stores, and drops what is left out."""
    ask(["a", "b"], source)
    with bypass():
        assert ask(["a", "b", "none"], source) == {"a": ["a", 2], "b": ["b", 2]}
    assert ask(["a", "b"], source) == {"a": ["a", 1], "b": ["b", 1]}
    twofold_cache.set("none", "old")
    with refreshing():
        assert ask(["a", "none"], source) == {"a": ["a", 3]}
    assert ask(["a", "b"], source) == {"a": ["a", 3], "b": ["b", 1]}
    assert twofold_cache.get("none") is None


@every_store
@every_face
def test_refreshing_replaces_whatever_is_there(
    face: Face, another: Callable[[], Cache], source: Source
) -> None:
    """A value, nothing, and another process's claim; a write meanwhile wins over it."""
    ours = another()
    theirs = ours if ours.backend.private else another()
    ours.set_many({"a": "old", "c": "old", "none": "old"})

    def function(keys: list[str]) -> dict[str, list[Any]]:
        if len(source.calls) == 1:
            theirs.set("c", "newer")
        return source(keys)

    async def check() -> None:
        view = face.view(ours)
        with refreshing():
            found = await view.get_or_set_many(["a", "b", "none"], function)
            assert found == {"a": ["a", 1], "b": ["b", 1]}
            assert await view.get_or_set_many(["a", "c"], function) == {
                "a": ["a", 2],
                "c": ["c", 2],
            }

    face.run(check())
    assert theirs.get_many(["a", "b", "c", "none"]) == {"a": ["a", 2], "b": ["b", 1], "c": ["c", 2]}
    assert source.calls == [["a", "b", "none"], ["a", "c"], ["c"]]


@shared_store
def test_stale_values_are_refreshed_by_one_process(
    another: Callable[[], Cache], source: Source
) -> None:
    """The others serve what is stale, and ask no more for a moment."""
    ours, theirs = another(), another()
    go, begun = threading.Event(), threading.Event()

    def slow(keys: list[str]) -> dict[str, list[Any]]:
        begun.set()
        go.wait(10)
        return source(keys)

    options: dict[str, Any] = {"timeout": 0.01, "stale": 600}
    first = ours.get_or_set_many(["a", "b"], source, **options)
    eventually(lambda: ours.get("a") is None and ours.get("b") is None, "they are stale")
    assert ours.get_or_set_many(["a", "b"], slow, **options) == first
    assert begun.wait(10)
    assert theirs.get_or_set_many(["a", "b"], source, **options) == first
    assert theirs.get_or_set_many(["b", "a"], source, **options) == first
    background.drain(theirs._claims, 10)  # it has seen that another is at it
    go.set()
    background.drain(ours._claims, 10)
    assert source.calls == [["a", "b"], ["a", "b"]]
    assert theirs.get("a", allow_stale=True) == ["a", 2]


def test_who_waits_leaves_in_time(source: Source) -> None:
    """What is there is served, or `ComputationTimeout` raised; the computation goes on."""
    clock, go = FakeClock(), threading.Event()
    cache = Cache(MemoryBackend("late", clock=clock))

    def slow(keys: list[str]) -> dict[str, list[Any]]:
        go.wait(10)
        return source(keys)

    options: dict[str, Any] = {"timeout": 10, "stale": 600, "wait": 0.01, "max_wait": 0.02}
    cache.get_or_set_many(["a"], source, **options)
    clock.advance(11)
    assert cache.get_or_set_many(["a"], slow, **options) == {"a": ["a", 1]}
    with pytest.raises(ComputationTimeout, match="max_wait"):
        cache.get_or_set_many(["a", "b"], slow, **options)
    go.set()
    assert cache.get_or_set_many(["b", "a"], slow, timeout=10, max_wait=10) == {
        "b": ["b", 1],
        "a": ["a", 2],
    }
    assert source.counts == {"a": 2, "b": 1}
    cache.close()


@every_face
def test_an_outage_costs_the_store_alone(face: Face, source: Source) -> None:
    """Whichever operation fails, the values are computed; and stored once it is over."""
    for operation in ("get_many", "get_or_claim_many", "fill_many"):
        chaos = ChaosBackend(
            inner=f"memory://{operation}{face.name}", failure_rate=1.0, operations=[operation]
        )
        cache, source = Cache(chaos), Source()
        view = face.view(cache)
        call = view.get_or_set_many(["a", "b"], source)
        assert face.run(call) == {"a": ["a", 1], "b": ["b", 1]}, operation
        chaos.failure_rate = 0.0
        again = {key: [key, source.counts[key] + 1] for key in "ab"}
        assert face.run(view.get_or_set_many(["a", "b"], source)) == again
        assert face.run(view.get_or_set_many(["a", "b"], source)) == again
        cache.close()


@every_face
def test_what_is_left_of_a_store_is_used(
    face: Face, memcached_servers: list[MemcachedServer], source: Source
) -> None:
    """Of several servers, those that are up serve and store their keys; the rest is computed."""
    names = [f"k{number}" for number in range(30)]
    dead = "127.0.0.1:1"
    alive = ",".join(server.address for server in memcached_servers[:2])
    cache = Cache(f"memcached://{alive},{dead}", options={"blocking_calls": "allow"})
    view = face.view(cache)

    async def check() -> None:
        assert len(await view.get_or_set_many(names, source)) == 30
        assert len(await view.get_or_set_many(names, source)) == 30

    face.run(check())
    asked = [len(keys) for keys in source.calls]
    assert asked[0] == 30
    assert 0 < asked[1] < 25
    cache.close()


@pytest.mark.parametrize("store", ["redis", "memcached"])
@every_face
def test_a_cold_call_is_three_round_trips(
    face: Face, store: str, proxied: Any, source: Source, request: pytest.FixtureRequest
) -> None:
    """Read, claim, fill: for a hundred keys as for one; a warm call is one."""
    proxy = proxied(request.getfixturevalue(f"{store}_server"))
    cache = Cache(f"{store}://{proxy.address}", options={"deadline": 20.0})
    view = face.view(cache)
    turns = [0]

    async def ask(*keys: str) -> None:
        found = await view.get_or_set_many(keys, source)
        assert found == {key: [key, 1] for key in keys}
        turns.append(proxy.turns)

    async def check() -> None:
        await ask(*map(str, range(100)))  # connections are opened, and the server told scripts
        names = [f"k{number}" for number in range(100)]
        await ask(*names)
        await ask(*names)
        await ask(*names, "more")
        assert [later - turns[1] for later in turns[2:]] == [3, 4, 7]

    face.run(check())
    cache.close()
