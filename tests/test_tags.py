"""Tags: an invalidation is never lost, whoever computes meanwhile."""

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from itertools import count as count_from
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.chaos import RedisServer, eventually
from tests.opcodes import count, follow, trace
from tests.test_claims import Steps, another, location
from twofold import BackendUnavailable, Cache, InvalidKey, cached
from twofold.backends.sqlite import SQLiteBackend
from twofold.effects import ends_by
from twofold.tags import local
from twofold.testing import FACES, Face, FakeClock

__all__ = ["another", "location"]  # fixtures

LIFE = 1000
STEPS = ("get", "get_many", "get_or_claim", "get_or_claim_many", "look_many", "fill", "release")

NAMES = ["t"]


def by_result(_value: Any) -> list[str]:
    return ["t"]


@pytest.fixture
def memory() -> Iterator[Cache]:
    cache = Cache("memory://tags")
    yield cache
    cache.clear()
    cache.close()


class Source:
    """What is cached: a number that grows, and a function that can be held up."""

    def __init__(self) -> None:
        self.version = 1
        self.calls = 0
        self.entered = threading.Event()
        self.may_return = threading.Event()

    def slow(self) -> list[int]:
        found = [self.version]
        self.entered.set()
        assert self.may_return.wait(20)
        return found

    def quick(self) -> list[int]:
        self.calls += 1
        return [self.version]


@pytest.mark.parametrize("tags", [NAMES, by_result], ids=["names", "by_result"])
@pytest.mark.parametrize("keep_stale", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_who_asks_after_an_invalidation_is_not_given_what_began_before(
    memory: Cache, many: bool, keep_stale: bool, tags: Any
) -> None:
    """Who comes while the older computation runs joins it, and computes again when it ends."""
    after_an_invalidation(memory, memory, many, keep_stale, tags)


@pytest.mark.parametrize("tags", [NAMES, by_result], ids=["names", "by_result"])
@pytest.mark.parametrize("many", [False, True])
def test_neither_where_another_process_invalidates(
    another: Callable[[], Cache], many: bool, tags: Any
) -> None:
    """The store tells of it, after what was computed is stored."""
    after_an_invalidation(another(), another(), many, False, tags)


def after_an_invalidation(
    cache: Cache, other: Cache, many: bool, keep_stale: bool, tags: Any
) -> None:
    source = Source()

    def fetch(function: Callable[[], Any]) -> Any:
        if not many:
            return cache.get_or_set("k", function, LIFE, stale=LIFE, wait=None, tags=tags)
        return cache.get_or_set_many(
            ["k"], lambda _: {"k": function()}, LIFE, stale=LIFE, wait=None, tags=tags
        )["k"]

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fetch, source.slow)
        assert source.entered.wait(20)
        source.version = 2
        other.invalidate_tags("t", keep_stale=keep_stale)
        second = threads.submit(fetch, source.quick)
        eventually(lambda: sum(each.waiting for each in cache._claims) == 2, "2 callers wait")
        source.may_return.set()
        assert first.result(20) == [1]
        assert second.result(20) == [2]
    assert cache.get("k") == other.get("k") == [2]
    assert source.calls == 1


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("way", ["get_or_set", "many", "refresh", "set", "behind"])
@pytest.mark.parametrize("keep_stale", [False, True])
def test_an_older_value_is_never_readable(
    face: Face, way: str, keep_stale: bool, another: Callable[[], Cache]
) -> None:
    """Whatever step of a computation an invalidation comes before, the old value is gone."""
    for step in range(24):
        ours, theirs = another(), another()  # the fixture closes them
        theirs.clear()
        if way == "set":
            theirs.set("another", 1, LIFE, tags=NAMES)  # so that one step pins the tag
        source = ["old"]
        fetch = cached(cache=ours, key="k", timeout=LIFE, tags=NAMES)(lambda s=source: s[0])
        if way == "behind":
            theirs.set("k", "older", 0.001, stale=LIFE, tags=NAMES)
            eventually(lambda cache=theirs: cache.get("k") is None, "it is stale")

        def act(theirs: Cache = theirs, source: list[str] = source) -> None:
            source[0] = "new"
            theirs.invalidate_tags("t", keep_stale=keep_stale)

        def look(theirs: Cache = theirs) -> None:
            assert theirs.get("k") in (None, "new")

        steps = Steps(ours.backend, step, act, look, STEPS)
        view = face.view(ours)
        if way == "get_or_set":
            face.run(view.get_or_set("k", lambda s=source: s[0], LIFE, tags=NAMES))
        elif way == "many":
            function = lambda keys, s=source: dict.fromkeys(keys, s[0])  # noqa: E731
            face.run(view.get_or_set_many(["k"], function, LIFE, tags=NAMES))
        elif way == "refresh":
            face.run(face.view(fetch).refresh())
        elif way == "behind":
            options: Any = {"stale": LIFE, "wait": None, "tags": NAMES}
            face.run(view.get_or_set("k", lambda s=source: s[0], LIFE, **options))
        else:  # before its first step, the pin, it may as well be said to begin later
            hops = face.is_async and ours.backend.kind == "threaded"  # each of which is two
            if step <= hops:
                continue
            face.run(view.set("k", source[0], LIFE, tags=NAMES))
        if not steps.acted:
            return
        look()
        ours.close()
        theirs.close()
    raise AssertionError("it takes more steps than were tried")


def test_a_child_forked_amid_a_step_has_tags(memory: Cache) -> None:
    """What another thread was in the midst of is not waited for."""
    amid, forked, table = (
        threading.Event(),
        threading.Event(),
        local.table_of(memory._store.identity),
    )

    def hold() -> None:
        with local._shared.lock, table._lock:
            amid.set()
            forked.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert amid.wait(20)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        memory.set("k", "v", LIFE, tags=NAMES)
        fine = memory.get("k") == "v"
        memory.invalidate_tags("t")
        os._exit(0 if fine and memory.get("k") is None and Cache("memory://new") else 1)
    forked.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Amid:
    """Does something before one of the steps that tags in memory take."""

    def __init__(self, step: int, act: Callable[[], Any]) -> None:
        self._left, self._act = step, act

    @property
    def acted(self) -> bool:
        return self._left <= 0

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if Path(frame.f_code.co_filename).name not in ("local.py", "weakref.py"):
            return None if event != "call" else self.trace
        if event == "opcode":
            self._left -= 1
            if self._left == 0:
                self._act()
        return follow(frame, self.trace) if event == "call" else self.trace


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("outer", ["set", "invalidate"])
def test_what_comes_in_amid_a_step_has_a_tag_that_can_be_invalidated(
    memory: Cache, outer: str, was_there: bool
) -> None:
    """A finaliser, or a signal's handler, that stores in the midst of it under the same tag."""

    def store() -> None:
        memory.set("within", "v", LIFE, tags=NAMES)

    for step in count_from(1):
        memory.clear()
        if was_there:
            memory.set("before", "v", LIFE, tags=NAMES)
        amid = Amid(step, store)
        trace(amid.trace)
        try:
            if outer == "set":
                memory.set("k", "v", LIFE, tags=NAMES)
            else:
                memory.invalidate_tags("t")
        finally:
            sys.settrace(None)
        if not amid.acted:
            break
        memory.invalidate_tags("t")
        assert memory.get_many(["within", "before", "k"]) == {}
    assert step > 20


class Truth:
    """What several keys stand for, and which of their changes everybody must know of."""

    def __init__(self, keys: list[str]) -> None:
        self.now = dict.fromkeys(keys, 0)
        self.settled = dict.fromkeys(keys, 0)
        self.locks = {key: threading.Lock() for key in keys}

    def read(self, key: str) -> list[int]:
        return [self.now[key]]

    def change(self, key: str, invalidate: Callable[[], Any]) -> None:
        with self.locks[key]:
            self.now[key] += 1
            invalidate()
            self.settled[key] = self.now[key]


def ways_to_invalidate(cache: Cache, key: str) -> list[Callable[[], Any]]:
    return [
        lambda: cache.invalidate_tags(f"tag:{key}"),
        lambda: cache.invalidate_tags("of all", keep_stale=True),
        lambda: cache.delete(key),
        lambda: cache.clear_prefix(key),
        cache.clear,
    ]


def read_much(cache: Cache, truth: Truth, seed: int, errors: list[str]) -> None:
    dice, keys = random.Random(seed), list(truth.now)
    for _ in range(150):
        key, floor = dice.choice(keys), dict(truth.settled)
        tags: Any = [f"tag:{key}", "of all"]
        if dice.random() < 0.3:
            tags = lambda _, tags=tags: tags  # noqa: E731
        try:
            found = cache.get_or_set(key, lambda key=key: truth.read(key), LIFE, tags=tags)
        except BackendUnavailable:
            continue
        if found[0] < floor[key]:
            errors.append(f"{key}: {found[0]} after {floor[key]}")


async def aread_much(cache: Cache, truth: Truth, seed: int, errors: list[str]) -> None:
    dice, keys = random.Random(seed), list(truth.now)

    async def aread(key: str) -> list[int]:
        found = truth.read(key)
        await asyncio.sleep(dice.random() / 1000)
        return found

    async def read() -> None:
        key = dice.choice(keys)
        floor = truth.settled[key]
        tags = [f"tag:{key}", "of all"]
        found = await cache.aget_or_set(key, lambda: aread(key), LIFE, tags=tags)
        if found[0] < floor:
            errors.append(f"{key}: {found[0]} after {floor}")

    for _ in range(20):
        await asyncio.gather(*(read() for _ in range(10)))


def write_much(cache: Cache, truth: Truth, seed: int) -> None:
    dice, keys = random.Random(seed), list(truth.now)
    for _ in range(60):
        key = dice.choice(keys)
        truth.change(key, dice.choice(ways_to_invalidate(cache, key)))


def check_model(caches: list[Cache], seed: int) -> None:
    """Read and invalidate in threads and loops; no read may be older than what was settled."""
    truth, errors = Truth(["a", "b", "c"]), list[str]()
    caches[0].clear()
    with ThreadPoolExecutor(12) as threads:
        running = []
        for number, cache in enumerate(caches):
            seeds = range(seed + 10 * number, seed + 10 * number + 3)
            running += [threads.submit(read_much, cache, truth, each, errors) for each in seeds]
            work = aread_much(cache, truth, seed + 10 * number + 5, errors)
            running.append(threads.submit(asyncio.run, work))
            running.append(threads.submit(write_much, cache, truth, seed + 10 * number + 7))
        for each in running:
            each.result(100)
    assert errors == []


@pytest.mark.parametrize("seed", range(3))
def test_no_read_in_one_process_is_older_than_an_invalidation_that_returned(
    memory: Cache, seed: int
) -> None:
    """A history of threads and tasks: each read brings what was settled when it began, or newer."""
    check_model([memory, memory], seed)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.heavy) for n in range(9))])
def test_no_read_of_two_is_older_than_an_invalidation_that_returned(
    another: Callable[[], Cache], seed: int
) -> None:
    """The same where caches know of each other by the store alone."""
    check_model([another(), another()], seed)


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_an_outage_stores_and_invalidates_nothing(face: Face, own_redis: RedisServer) -> None:
    """As a miss it is counted as one; as an error it is raised. What is back is used at once."""
    cache = Cache(own_redis.url, options={"deadline": 0.3, "on_error": "miss"})
    raising = Cache(own_redis.url, options={"deadline": 0.3})

    async def body() -> None:
        view, other = face.view(cache), face.view(raising)
        assert await view.set("k", 1, tags=NAMES)
        own_redis.stop()
        assert not await view.set("k", 2, tags=NAMES)
        assert not await view.add("k", 2, tags=NAMES)
        assert await view.set_many({"k": 2}, tags=NAMES) == ["k"]
        await view.invalidate_tags("t")
        assert await view.get_or_set("k", lambda: 3, tags=NAMES) == 3
        assert (cache.available, cache.stats().invalidations) == (False, 0)
        for operation in (other.set("k", 2, tags=NAMES), other.invalidate_tags("t")):
            with pytest.raises(BackendUnavailable):
                await operation

    face.run(body())
    own_redis.start()
    eventually(lambda: (cache.invalidate_tags("t"), cache.available)[1], "it is there again")
    assert cache.stats().invalidations == 1
    cache.close()
    raising.close()


async def test_tags_need_no_thread_where_the_store_needs_none(redis_server: RedisServer) -> None:
    """All that is done with them is native there, an outage being a miss or not."""
    cache = Cache(redis_server.url, options={"on_error": "miss"})
    before = threading.enumerate()
    await cache.aset("k", 1, tags=["a tag that is new"])
    await cache.aadd("k", 1, tags=NAMES)
    await cache.aset_many({"k": 1}, tags=NAMES)
    assert await cache.aget_or_set("k", lambda: 2, tags=NAMES) == 1
    await cache.ainvalidate_tags("t", keep_stale=True)
    await cache.ainvalidate_tags("t")
    assert set(threading.enumerate()) <= set(before)
    await cache.aclose()


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("life", [1000, None])
@pytest.mark.parametrize("stale", [None, 5])
def test_what_is_touched_lives_as_long_with_its_tags(
    face: Face, life: float | None, stale: float | None, tmp_path: Path
) -> None:
    """A tag lives as long as the longest-lived entry that has it."""
    clock = FakeClock()
    cache = Cache(
        SQLiteBackend(f"{tmp_path}/c.db", clock=clock), options={"blocking_calls": "allow"}
    )
    view = face.view(cache)

    async def body() -> None:
        assert await view.set("k", "v", 10, stale=stale, tags=NAMES)
        assert await view.touch("k", life)
        clock.advance(900)
        assert await view.get("k") == "v"
        await view.invalidate_tags("t")
        assert not await view.touch("k", life)
        assert await view.get("k") is None
        await view.close()

    face.run(body())
    cache.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_who_names_no_tags_finds_what_has_some(face: Face, memory: Cache) -> None:
    """As a hit, and is not given what was invalidated."""
    view = face.view(memory)

    async def body() -> None:
        await view.set("k", "v", tags=NAMES)
        assert await view.get_or_set("k", lambda: "new") == "v"
        assert (memory.stats().hits, memory.stats().misses) == (1, 0)
        await view.invalidate_tags("t")
        assert await view.get_or_set("k", lambda: "new") == "new"
        assert (memory.stats().hits, memory.stats().misses) == (1, 1)

    face.run(body())


@pytest.mark.parametrize("how", ["set", "get_or_set"])
def test_a_text_subclass_is_the_tag_that_it_holds(
    another: Callable[[], Cache], memory: Cache, how: str
) -> None:
    """A member of a str enumeration is the same tag as its value, wherever that is given."""
    kind = Enum("Kind", {"USER": "user"}, type=str)
    for one, other in ((memory, memory), (another(), another())):
        for given, told in ((kind.USER, "user"), ("user", kind.USER)):
            source = Source()
            ask = partial(one.get_or_set, "k", source.quick, LIFE, tags=[given])
            if how == "set":
                assert one.set("k", [1], LIFE, tags=[given])
            assert [ask(), ask()] == [[1], [1]]
            assert other.get("k") == [1]
            other.invalidate_tags(told)
            assert one.get("k") is None


CALLS: dict[str, Callable[[Any], Any]] = {
    "get": lambda view: view.get("k"),
    "get_many": lambda view: view.get_many(["k"]),
    "get_or_set": lambda view: view.get_or_set("k", dict, stale=LIFE),
    "get_or_set_many": lambda view: view.get_or_set_many(["k"], dict),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_tags_are_looked_at_in_the_time_that_the_entry_has_left(
    face: Face, call: Callable[[Any], Any], redis_server: RedisServer
) -> None:
    """A call that reads an entry and then its tags has one deadline for both."""
    cache = Cache(redis_server.url, options={"deadline": 5.0, "blocking_calls": "allow"})
    cache.set("k", "v", LIFE, tags=NAMES)
    ends, asked_at = list[float | None](), list[float]()
    for name in ("get", "get_many"):
        real, areal = getattr(cache.backend, name), getattr(cache.backend, f"a{name}")

        def read(asked: Any, real: Any = real) -> Any:
            asked_at.append(time.monotonic())
            ends.append(ends_by())
            time.sleep(0.1 if len(ends) == 1 else 0.0)
            return real(asked)

        async def aread(asked: Any, areal: Any = areal) -> Any:
            asked_at.append(time.monotonic())
            ends.append(ends_by())
            await asyncio.sleep(0.1 if len(ends) == 1 else 0.0)
            return await areal(asked)

        setattr(cache.backend, name, read)
        setattr(cache.backend, f"a{name}", aread)

    async def body() -> None:
        assert await call(face.view(cache)) in ("v", {"k": "v"})
        entry, tags = ends
        assert entry is None
        assert tags is not None
        assert tags <= asked_at[0] + 5.0

    face.run(body())
    cache.close()


@pytest.mark.parametrize("by", ["names", "result", "softening"])
def test_what_is_no_generation_is_replaced(another: Callable[[], Cache], by: str) -> None:
    """Whoever stored something else under a tag's key has not made its entries misses for ever."""
    cache, source = another(), Source()
    store, tag = cache.backend, cache._keys.tag("" if by == "result" else "t")
    for garbage in (b"garbage", b"17 bytes of other", b"\xf3 the stub of ...", b"7"):
        assert store.set(tag, garbage, None)
        if by == "softening":
            cache.invalidate_tags("t", keep_stale=True)
            assert store.get(tag) is None
        tags = by_result if by == "result" else NAMES
        ask = partial(cache.get_or_set, "k", source.quick, LIFE, tags=tags)
        cache.delete("k")
        assert [ask(), ask(), ask()] == [[1]] * 3
        assert source.calls == 1
        source.calls = 0


@pytest.mark.parametrize("many", [False, True])
def test_tags_are_not_looked_at_again_for_nobody(another: Callable[[], Cache], many: bool) -> None:
    """Once a value is stored, only who joined its computation is served by its tags holding."""
    cache = another()
    read = list[str]()
    for name in ("get", "get_many"):
        real = getattr(cache.backend, name)

        def operation(asked: Any, real: Any = real) -> Any:
            read.extend([asked] if isinstance(asked, str) else asked)
            return real(asked)

        setattr(cache.backend, name, operation)

    def function(*_: Any) -> Any:
        read.clear()
        return {"k": 1} if many else 1

    if many:
        cache.get_or_set_many(["k"], function, LIFE, tags=NAMES)
    else:
        cache.get_or_set("k", function, LIFE, tags=NAMES)
    assert not any(key.endswith("!tag:t") for key in read)


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_hit_with_tags_takes_few_steps_more(
    store: str, memory: Cache, request: pytest.FixtureRequest
) -> None:
    """Of `get_or_set` with tags that are known before, beside one without."""
    cache = memory
    if store == "redis":
        cache = Cache(request.getfixturevalue("redis_server").url)
    for _ in range(3):  # to warm up
        tagged = count(lambda: cache.get_or_set("tagged", dict, LIFE, tags=NAMES))
        plain = count(lambda: cache.get_or_set("plain", dict, LIFE))
    assert tagged < plain + (250 if store == "memory" else 520)
    cache.close()


def test_tags_that_cannot_be_are_told(memory: Cache) -> None:
    with pytest.raises(InvalidKey, match=r"at least one character.*not a list, .*\*tags$"):
        memory.invalidate_tags(["t"])  # type: ignore[arg-type]
    with pytest.raises(InvalidKey, match=r"write \['user:7'\]"):
        memory.set("k", 1, tags="user:7")
    fetch = cached(cache=memory, key="one", tags=None)(lambda: 1)  # type: ignore[call-overload]
    assert fetch() == 1
