"""What twofold promises of the whole: loops, threads, forks, clocks, outages, any key."""

import asyncio
import contextvars
import gc
import itertools
import logging
import os
import random
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from asgiref.sync import async_to_sync, sync_to_async

from tests.chaos import eventually
from twofold import (
    BackendUnavailable,
    BlockingCallInEventLoop,
    BlockingCallWarning,
    Cache,
    DeadlineExceeded,
    MissingKey,
    SettingsError,
    aclose_all,
    cached,
    caches,
    close_all,
    configure,
)
from twofold.testing import ChaosBackend, FakeClock

PATIENCE = 30.0  # seconds: what operations mean is no matter of how fast a machine is


@pytest.fixture(params=["memory", "sqlite", "third party"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A cache on each kind of store that needs no server."""
    kinds = {"memory": "memory", "sqlite": "sqlite", "third party": "twofold.testing.ChaosBackend"}
    settings = {"BACKEND": kinds[request.param], "LOCATION": str(tmp_path / "c.db")}
    options = {} if request.param == "memory" else {"deadline": PATIENCE}
    configure({"default": {**settings, "OPTIONS": options}})
    yield caches["default"]
    close_all()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Cache]:
    """A cache on SQLite."""
    configure(f"sqlite:///{tmp_path}/cache.db?deadline={PATIENCE:g}")
    yield caches["default"]
    close_all()


_numbers = itertools.count()


def chaotic(**options: Any) -> tuple[Cache, ChaosBackend]:
    """Return a cache on a store that can be made to fail, and that store."""
    inner = f"memory://{next(_numbers)}"
    options = {"inner": inner, **options}
    configure({"default": {"BACKEND": "twofold.testing.ChaosBackend", "OPTIONS": options}})
    cache = caches["default"]
    assert isinstance(cache.backend, ChaosBackend)
    return cache, cache.backend


async def traffic(cache: Cache, number: int) -> None:
    """Use every kind of operation on keys of one's own, and check each answer."""
    mine = f"{number}:{threading.get_ident()}:{os.getpid()}"
    assert await cache.aset(mine, [mine])
    assert await cache.aget(mine) == [mine]
    assert await cache.aget_or_set(f"{mine}:computed", lambda: mine) == mine
    await cache.aset_many({f"{mine}:{n}": n for n in range(5)})
    found = await cache.aget_many([f"{mine}:{n}" for n in range(6)])
    assert found == {f"{mine}:{n}": n for n in range(5)}
    assert await cache.aincr(f"{mine}:1", 10) == 11
    assert await cache.adelete(mine)


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_loops_come_and_go(cache: Cache, run: Callable[[Any], Any]) -> None:
    """200 × `run` on one cache: no error, and no descriptor or thread is left."""
    run(traffic(cache, -1))
    before, threads = descriptors(), threading.active_count()
    for number in range(200):
        run(traffic(cache, number))
    assert descriptors() <= before + 2 * 16  # each worker of SQLite has a file and its log
    assert threading.active_count() <= threads + 16
    cache.close()
    assert descriptors() <= before

    def left() -> list[str]:
        names = [t.name for t in threading.enumerate() if t.name.startswith("twofold-")]
        return [name for name in names if not name.startswith("twofold-call")]

    eventually(lambda: not left(), "no thread is left")


def test_threads_with_loops_share_a_cache(cache: Cache) -> None:
    """Eight threads, each with a loop and twenty tasks, never see another's value."""
    failures: list[BaseException] = []

    async def crowd() -> None:
        await asyncio.gather(*(traffic(cache, number) for number in range(20)))

    def thread() -> None:
        try:
            asyncio.run(crowd())
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=thread) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failures
    assert not any(each.is_alive() for each in threads)


def test_asgiref_around_every_call(cache: Cache) -> None:
    """`async_to_sync` over the async face and `sync_to_async` over the sync one both work."""
    assert async_to_sync(cache.aset)("k", 1)
    assert async_to_sync(cache.aget)("k") == 1

    async def main() -> Any:
        await sync_to_async(cache.set)("k", 2)
        return await sync_to_async(cache.get)("k")

    assert asyncio.run(main()) == 2


def test_forks_after_warm_up(cache: Cache) -> None:
    """Three children forked from a warm process use the cache in both faces, and so does it."""
    asyncio.run(traffic(cache, 0))
    cache.set("shared", "parent")

    def child() -> bool:
        cache.set(f"child:{os.getpid()}", os.getpid())
        for number in range(50):
            asyncio.run(traffic(cache, number))
        return bool(cache.get(f"child:{os.getpid()}") == os.getpid())

    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.alarm(60)
                status = 0 if child() else 2
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(pid)
    for number in range(50):
        asyncio.run(traffic(cache, number))
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert statuses == [0, 0, 0]
    assert cache.get("shared") == "parent"


BLOCKING_CALLS: dict[str, tuple[Any, ...]] = {
    "get": ("k",),
    "get_many": (["k"],),
    "set": ("k", 1),
    "set_many": ({"k": 1},),
    "add": ("k", 1),
    "touch": ("k",),
    "mark_stale": ("k",),
    "ttl": ("k",),
    "delete": ("k",),
    "delete_many": (["k"],),
    "has_key": ("k",),
    "incr": ("k",),
    "decr": ("k",),
    "incr_version": ("k",),
    "decr_version": ("k",),
    "get_or_set": ("k", 1),
    "get_or_set_many": (["k"], dict),
    "clear": (),
    "clear_prefix": ("k",),
    "invalidate_tags": ("t",),
}


@pytest.mark.parametrize("name", BLOCKING_CALLS)
async def test_no_sync_call_blocks_a_loop_unseen(disk: Cache, name: str) -> None:
    """On SQLite every sync operation in a running loop raises, and names its twin."""
    with pytest.raises(BlockingCallInEventLoop, match=rf"await cache\.a{name}\("):
        getattr(disk, name)(*BLOCKING_CALLS[name])


async def test_in_and_locks_do_not_block_unseen_either(disk: Cache) -> None:
    """`in` and `with cache.lock()` are refused in a loop too."""
    with pytest.raises(BlockingCallInEventLoop, match="ahas_key"):
        assert "k" in disk
    with pytest.raises(BlockingCallInEventLoop, match="async with"), disk.lock("k"):
        pass


def test_the_guard_knows_every_sync_operation() -> None:
    """No public sync operation of `Cache` is missing from the test above."""
    sync = {name for name in dir(Cache) if not name.startswith("_") and hasattr(Cache, f"a{name}")}
    assert sync == {*BLOCKING_CALLS, "close"}


async def test_memory_just_works_in_a_loop() -> None:
    """The same calls on memory never block, and are never refused."""
    configure("memory://guard")
    cache = caches["default"]
    assert cache.set("k", 1)
    assert cache.get("k") == 1
    assert cache.get_or_set("j", lambda: 2) == 2
    with cache.lock("k"):
        pass


async def test_blocking_calls_can_be_a_warning_or_allowed(tmp_path: Path) -> None:
    """`OPTIONS["blocking_calls"]` turns the refusal into a warning, or off."""
    raw = {"BACKEND": "sqlite", "LOCATION": str(tmp_path / "cache.db")}
    configure({"default": {**raw, "OPTIONS": {"blocking_calls": "warn"}}})
    with pytest.warns(BlockingCallWarning, match="aget") as caught:
        caches["default"].get("k")
    assert caught[0].filename == __file__
    configure({"default": {**raw, "OPTIONS": {"blocking_calls": "allow"}}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        caches["default"].get("k")
    await aclose_all()


async def test_a_hundred_increments_count_to_a_hundred(cache: Cache) -> None:
    """Concurrent `aincr` loses none, repeats none, and keeps the expiry."""
    await cache.aset("n", 0, timeout=1000)
    totals = await asyncio.gather(*(cache.aincr("n") for _ in range(100)))
    assert sorted(totals) == list(range(1, 101))
    assert await cache.aget("n") == 100
    left = await cache.attl("n")
    assert left is not None
    assert 900 < left <= 1000


async def test_many_keys_are_one_hop_or_none(cache: Cache) -> None:
    """`aget_many` of a hundred keys makes one call to a worker, or calls none at all."""
    await cache.aset_many({f"k{number}": number for number in range(100)})
    batches = []
    real = cache.backend._worker_pool.run
    cache.backend._worker_pool.run = lambda calls: (batches.append(len(calls)), real(calls))[1]
    found = await cache.aget_many([f"k{number}" for number in range(100)])
    assert len(found) == 100
    assert batches == ([] if cache.backend.kind == "inline" else [1])


def test_twenty_thousand_keys_round_trip(cache: Cache) -> None:
    """Keys of any text, short and long, each give back the value stored under them."""
    chance = random.Random(20_000)
    alphabets = [
        "abc:",
        "aB1 _-%*?[]",
        "äöü€",
        "日本語",
        "\x00\n\r\t ",
        "🙂👍",
        "#0123456789abcdef",
    ]
    keys = set()
    while len(keys) < 20_000:
        alphabet = chance.choice(alphabets)
        keys.add("".join(chance.choices(alphabet, k=chance.choice([1, 3, 9, 60, 249, 300]))))
    items = {key: key for key in keys}
    assert cache.set_many(items) == []
    assert cache.get_many(keys) == items
    for key in chance.sample(sorted(keys), 200):
        assert cache.get(key) == key


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_a_fallback_store_sees_the_callers_context() -> None:
    """A sync-only store runs in its caller's context, and leaks nothing into it."""
    cache, store = chaotic()
    seen = []
    inner_get = store.inner.get

    def get(key: str) -> Any:
        seen.append(variable.get())
        variable.set("inside")
        return inner_get(key)

    store.inner.get = get  # type: ignore[method-assign]
    variable.set("caller")
    await cache.aget("k")
    assert seen == ["caller"]
    assert variable.get() == "caller"


@pytest.mark.parametrize("shift", [3600, -3600])
def test_in_process_the_wall_clock_does_not_matter(shift: float) -> None:
    """Memory keeps exact time while the machine's clock is set an hour off."""
    clock = FakeClock()
    configure("memory://clock", clock=clock)
    cache = caches["default"]
    cache.set("k", 1, timeout=100)
    clock.shift(shift)
    clock.advance(99)
    assert cache.get("k") == 1
    assert cache.ttl("k") == pytest.approx(1)
    clock.advance(1)
    assert cache.get("k") is None


@pytest.mark.parametrize("shift", [3600, -3600])
def test_on_disk_nothing_is_immortal(tmp_path: Path, shift: float) -> None:
    """Whatever the clock does, an entry is gone once its life is over since it was asked for."""
    clock = FakeClock()
    configure(f"sqlite:///{tmp_path}/cache.db", clock=clock)
    cache = caches["default"]
    cache.set("k", 1, timeout=100)
    clock.shift(shift)
    assert cache.get("k") == (None if shift > 0 else 1)
    clock.advance(101)
    assert cache.get("k") is None
    cache.set("k", 2, timeout=100)
    assert cache.get("k") == 2
    close_all()


def test_an_outage_raises_by_default() -> None:
    """Every operation of a store that cannot be used raises a typed error."""
    cache, store = chaotic()
    store.failure_rate = 1.0
    for name, arguments in BLOCKING_CALLS.items():
        if not name.startswith("get_or_set"):
            with pytest.raises(BackendUnavailable):
                getattr(cache, name)(*arguments)
    assert cache.get_or_set("k", lambda: "computed") == "computed"


def test_an_outage_can_be_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    """With `on_error: "miss"` reads miss, writes do nothing, and one line is logged."""
    cache, store = chaotic(on_error="miss")
    cache.set("k", 1)
    store.failure_rate = 1.0
    with caplog.at_level(logging.WARNING, "twofold"):
        assert cache.get("k", "missing") == "missing"
        assert cache.get_many(["k"]) == {}
        assert cache.set("k", 2) is False
        assert cache.set_many({"k": 2}) == ["k"]
        assert cache.add("j", 2) is False
        assert cache.touch("k") is False
        assert cache.delete("k") is False
        assert cache.delete_many(["k"]) == 0
        assert cache.has_key("k") is False
        assert cache.ttl("k") == 0.0
        cache.clear()
        with pytest.raises(MissingKey):
            cache.incr("k")
    assert len(caplog.records) == 1
    assert cache.stats().unavailable == 12
    store.failure_rate = 0.0
    assert cache.get("k") == 1


async def test_an_outage_can_be_a_miss_in_the_async_face() -> None:
    """The twins do the same."""
    cache, store = chaotic(on_error="miss")
    await cache.aset("k", 1)
    store.failure_rate = 1.0
    assert await cache.aget("k", "missing") == "missing"
    assert await cache.aget_many(["k"]) == {}
    assert await cache.aset("k", 2) is False
    assert await cache.aset_many({"k": 2}) == ["k"]
    assert await cache.aadd("j", 2) is False
    assert await cache.atouch("k") is False
    assert await cache.adelete("k") is False
    assert await cache.adelete_many(["k"]) == 0
    assert await cache.ahas_key("k") is False
    assert await cache.attl("k") == 0.0
    await cache.aclear()
    with pytest.raises(MissingKey):
        await cache.aincr("k")
    store.failure_rate = 0.0
    assert await cache.aget("k") == 1
    await cache.aclose()


async def test_functions_outlive_an_outage() -> None:
    """Decorated functions and `aget_or_set` fall through to the function, and count it."""
    cache, store = chaotic()
    store.failure_rate = 1.0

    @cached
    async def answer() -> int:
        return 42

    assert [await answer(), await answer()] == [42, 42]
    assert await cache.aget_or_set("k", lambda: 1) == 1
    assert cache.stats().unavailable > 0
    await cache.aclose()


async def test_a_hung_store_is_asked_twice_and_left_alone() -> None:
    """A function on a store that hangs costs two deadlines at most, not one an operation."""
    cache, store = chaotic(deadline=0.1)
    store.delay = 1.0
    assert await cache.aget_or_set("k", lambda: 1) == 1
    assert store.calls.total() <= 2
    store.delay = 0
    await cache.aclose()


async def test_a_lock_is_never_won_by_an_outage() -> None:
    """A lock on a store that is unavailable raises, whatever `on_error` says."""
    cache, store = chaotic(on_error="miss")
    store.failure_rate = 1.0
    with pytest.raises(BackendUnavailable):
        async with cache.lock("k"):
            pass
    await cache.aclose()


async def test_a_slow_store_costs_its_deadline_and_no_more() -> None:
    """Async calls on a store that hangs end at the deadline, and the loop goes on."""
    cache, store = chaotic(deadline=0.1)
    store.delay = 1.0
    loop = asyncio.get_running_loop()
    started, stalls = loop.time(), []

    async def watch() -> None:
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            stalls.append(loop.time() - before)

    watcher = asyncio.create_task(watch())
    results = await asyncio.gather(*(cache.aget("k") for _ in range(200)), return_exceptions=True)
    assert all(isinstance(result, DeadlineExceeded) for result in results)
    assert loop.time() - started < 10  # one after the other would take 20 s, or stop the loop
    assert max(stalls) < 10
    watcher.cancel()
    store.delay = 0
    await cache.aclose()


async def test_waiting_for_a_lock_does_not_block_a_loop_unseen() -> None:
    """A free lock may be taken in a loop on memory; one that is held is not waited for."""
    configure("memory://locks")
    cache = caches["default"]
    async with cache.lock("k"):
        with pytest.raises(BlockingCallInEventLoop, match="async with"), cache.lock("k"):
            pass
    with cache.lock("k"):
        pass


def test_locks_on_a_dummy_are_free() -> None:
    """Switching an alias off by its settings leaves code with locks running."""
    configure("dummy://")
    with caches["default"].lock("k"):
        pass


def test_configure_checks_names_at_once() -> None:
    """An unknown backend or option is an error when it is given, and changes nothing."""
    configure("memory://kept")
    caches["default"].set("k", 1)
    for wrong in ("memroy://", "memory://?max_entires=3"):
        with pytest.raises(SettingsError, match="did you mean"):
            configure(wrong)
    assert caches["default"].get("k") == 1


def test_new_settings_begin_with_new_memory() -> None:
    """After `configure` a memory store of the same name is empty, with its new bounds.

    So it is though functions and variables hold what was in use before.
    """
    numbers = itertools.count()

    @cached
    def number() -> int:
        return next(numbers)

    configure("memory://again")
    before = caches["default"]
    before.set("k", 1)
    assert number() == number() == 0
    configure("memory://again?max_bytes=2000")
    assert caches["default"].get("k") is None
    assert number() == number() == 1
    assert before.get("k") == 1
    with caches.override("memory://for a while"):
        assert number() == number() == 2
    with caches.override("memory://for a while?max_bytes=3000"):
        assert number() == number() == 3
    assert number() == 1
    for value in (4, 5):
        configure({"default": {"BACKEND": "twofold.testing.ChaosBackend", "LOCATION": "again"}})
        assert number() == number() == value


def test_memory_stays_while_another_cache_uses_it() -> None:
    """A cache of the program's own is in no settings, and shares its store with those that are."""
    configure("memory://shared")
    own = Cache("memory://shared")
    own.set("k", 1)
    configure("memory://shared")
    assert caches["default"].get("k") == 1
    assert own.get("k") == 1


def test_caches_by_alias() -> None:
    """`caches` tells which aliases there are; one that is not is named with the nearest."""
    configure({"default": "memory://one", "sessions": "memory://two"})
    assert list(caches) == ["default", "sessions"]
    assert len(caches) == 2
    assert "sessions" in caches
    assert "session" not in caches
    with pytest.raises(SettingsError, match="did you mean 'sessions'"):
        caches["session"]
    assert "sessions" in repr(caches)


def test_damage_is_counted_wherever_it_is_met(tmp_path: Path) -> None:
    """A damaged entry is a miss and one more in `stats()`, for `get` and `get_or_set` alike."""
    configure(f"sqlite:///{tmp_path}/cache.db")
    cache = caches["default"]
    full = cache._key("k", None)
    cache.backend.set(full, b"\xb2garbage", None)
    assert cache.get("k") is None
    assert cache.stats().damaged == 1
    assert cache.get_or_set("k", lambda: "mended") == "mended"
    assert cache.stats().damaged > 1
    assert cache.get("k") == "mended"
    close_all()


def test_moving_a_version_never_loses_the_value() -> None:
    """If the new version cannot be stored, the old one stays, and that is said."""
    cache, store = chaotic(on_error="miss")
    cache.set("k", 1)
    store.failure_rate, store.operations = 1.0, {"set"}
    with pytest.raises(BackendUnavailable, match="keeps the old one"):
        cache.incr_version("k")
    store.failure_rate = 0.0
    assert cache.get("k") == 1


def test_settings_for_a_while(tmp_path: Path) -> None:
    """`caches.override` brings back the settings and the very caches from before."""
    configure("memory://before")
    before = caches["default"]
    before.set("k", 1)
    with caches.override("memory://meanwhile"):
        assert caches["default"].get("k") is None
    assert caches["default"] is before
    assert before.get("k") == 1


@pytest.mark.parametrize("calls_async", [True, False])
async def test_a_miss_that_waits_is_few_objects(calls_async: bool) -> None:
    """Half of what a burst of misses costs is the garbage collector's, by what is there."""
    burst = 1000  # many more than there are threads, whose number is the machine's
    cache = Cache(f"memory://burst-{calls_async}")
    done = asyncio.Event() if calls_async else threading.Event()
    function: Any = done.wait
    done.set()
    await cache.aget_or_set("first", function)
    done.clear()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        # Not in this context: asgiref would copy each `Local` of all tests before, for each call.
        tasks = [
            asyncio.create_task(cache.aget_or_set(str(n), function), context=contextvars.Context())
            for n in range(burst)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        each = (len(gc.get_objects()) - before) / burst
    finally:
        gc.enable()
        done.set()
    assert await asyncio.gather(*tasks) == [True] * burst
    assert each < 60
