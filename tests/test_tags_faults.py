"""Tags where something fails: no entry that was invalidated is served, and none by mistake."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import MemcachedServer, RedisServer, eventually, running
from tests.test_claims import another, location
from twofold import (
    BackendUnavailable,
    Cache,
    MissingKey,
    NotACounter,
    PartlyUnavailable,
    cached,
)
from twofold.backends.memory import MemoryBackend
from twofold.testing import FACES, ChaosBackend, Face, FakeClock

__all__ = ["another", "location"]  # fixtures

LIFE = 1000
ALLOWED: Any = {"blocking_calls": "allow"}
OPTIONS: Any = {**ALLOWED, "deadline": 5.0}
_READS = {"get", "get_many", "look", "look_many", "get_or_claim_many", "set_and_delete"}
WAYS: list[Any] = [["t"], lambda _: ["t"]]


def waits(cache: Cache, callers: int) -> None:
    eventually(lambda: sum(each.waiting for each in cache._claims) == callers, "all of them wait")


class Held:
    """A function of a source, whose first call is held up once it has looked there."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.entered, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, *_: Any) -> Any:
        found = self.source
        if not self.entered.is_set():
            self.entered.set()
            assert self.goes_on.wait(20)
        return found


def two_callers(cache: Cache, other: Cache, held: Held, ask: Callable[[], Any]) -> list[Any]:
    """Return what two callers get of whom the second asks after an invalidation."""
    old = held.source
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask)
        assert held.entered.wait(20)
        held.source = {"k": "new"}
        other.invalidate_tags("t")
        second = threads.submit(ask)
        waits(cache, 2)
        held.goes_on.set()
        assert first.result(20) == old
        return [second.result(20)]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cache, Cache]]:
    """Two caches of one store; in memory they are one."""
    url = "memory://pair" if request.param == "memory" else f"sqlite:///{tmp_path}/store"
    if request.param == "redis":
        url = f"redis://{request.getfixturevalue('redis_server').address}"
    one = Cache(url, options=OPTIONS)
    other = one if request.param == "memory" else Cache(url, options=OPTIONS)
    yield one, other
    one.clear()
    one.close()
    other.close()


@pytest.mark.parametrize("tags", WAYS, ids=["names", "by_result"])
def test_nobody_joins_an_older_value_that_is_not_to_be_kept(
    pair: tuple[Cache, Cache], tags: Any
) -> None:
    """Its tags count as well where a condition refuses it."""
    cache, other = pair
    held = Held({"k": "old"})
    ask = cached(cache=cache, key="k", condition=lambda _: False, tags=tags)(lambda: held())
    assert two_callers(cache, other, held, ask) == [{"k": "new"}]


@pytest.mark.parametrize("tags", WAYS, ids=["names", "by_result"])
def test_nor_that_there_was_no_value(pair: tuple[Cache, Cache], tags: Any) -> None:
    """A function of many that left a key out is asked again after an invalidation."""
    cache, other = pair
    held = Held({})
    ask = lambda: cache.get_or_set_many(["k"], held, tags=tags)  # noqa: E731
    assert two_callers(cache, other, held, ask) == [{"k": "new"}]


def bringing(cache: Cache, held: Held, way: str, tags: Any) -> tuple[Any, Callable[[], Any]]:
    """Return a function that brings what `held` does or raises, and the call of who leads."""
    if way.startswith("many"):

        @cached.many(cache=cache, key="k{keys}", tags=tags)
        def many(keys: list[str]) -> dict[str, Any]:
            return {key: held()[key] for key in keys}

        leads = many.refresh if "refresh" in way else many
        return (lambda: many(["k"])["k"]), partial(leads, ["k"])

    @cached(cache=cache, key="k", errors={KeyError: LIFE} if "kept" in way else {}, tags=tags)
    def one() -> Any:
        return held()["k"]

    return one, one.refresh if "refresh" in way else one


@pytest.mark.parametrize("by", ["name", "result", "key"])
@pytest.mark.parametrize(
    "way", ["call", "refresh", "kept", "kept, refresh", "many", "many, refresh"]
)
def test_nor_an_error(pair: tuple[Cache, Cache], way: str, by: str) -> None:
    """Kept or not, it is one of before for who asks after an invalidation."""
    cache, other = pair
    held = Held({})
    tags: Any = {"name": ["t"], "result": lambda _: ["t"], "key": None}[by]
    ask, leads = bringing(cache, held, way, tags)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(leads)
        assert held.entered.wait(20)
        held.source = {"k": "new"}
        other.clear() if by == "key" else other.invalidate_tags("t")
        second = threads.submit(ask)
        eventually(
            lambda: second.done() or sum(each.waiting for each in cache._claims) == 2,
            "it waits, or has computed for itself",
        )
        held.goes_on.set()
        with pytest.raises(KeyError):
            first.result(20)
        assert second.result(20) == "new"


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("by", ["tag", "key"])
def test_who_asks_after_the_last_look_is_given_nothing_older(
    another: Callable[[], Cache], by: str, many: bool
) -> None:
    """The flight is there for a moment after the store was asked whether its value holds.

    That is asked for one who has joined before.
    """
    ours, theirs = another(), another()
    source, asked, computed = ["old"], list[Future[Any]](), threading.Event()
    tags = ["t"] if by == "tag" else []

    def compute(*_: Any) -> Any:
        if not computed.is_set():
            asked.append(threads.submit(ask))
            waits(ours, 2)
            computed.set()
        return {"k": source[0]} if many else source[0]

    def ask() -> Any:
        if many:
            return ours.get_or_set_many(["k"], compute, LIFE, tags=tags)["k"]
        return ours.get_or_set("k", compute, LIFE, tags=tags)

    last = {"tag": "get", "key": "fill_many" if many else "fill"}[by]
    real = getattr(ours.backend, last)

    def operation(*args: Any) -> Any:
        found = real(*args)
        is_last = by == "key" or args[0] == ours._keys.tag("t")
        if is_last and computed.is_set() and source[0] == "old":
            source[0] = "new"
            theirs.invalidate_tags("t") if by == "tag" else theirs.delete("k")
            asked.append(threads.submit(ask))
            waits(ours, 3)
        return found

    setattr(ours.backend, last, operation)
    with ThreadPoolExecutor(2) as threads:
        assert ask() == "old"
        assert [each.result(20) for each in asked] == ["old", "new"]


@pytest.mark.parametrize("many", [False, True])
def test_a_refresh_leaves_nothing_older(pair: tuple[Cache, Cache], many: bool) -> None:
    """Where a result may not be stored, for some tag was invalidated, the old one goes as well."""
    cache, other = pair
    source, disturbs = ["old"], [False]

    def function(ids: list[int]) -> dict[int, str]:
        if disturbs[0]:
            other.invalidate_tags("another")
        return dict.fromkeys(ids, source[0])

    fetch: Any
    if many:
        fetch = cached.many(cache=cache, tags=WAYS[1])(function)
    else:
        fetch = cached(cache=cache, key="k", tags=WAYS[1])(lambda ids: function(ids))
    assert fetch([1]) == {1: "old"}
    source[0], disturbs[0] = "new", True
    assert fetch.refresh([1]) == {1: "new"}
    assert fetch.get([1]) in (None, {})
    disturbs[0] = False
    assert fetch.refresh([1]) == fetch.get([1]) == {1: "new"}


def test_tags_outlive_the_caches_of_a_store_in_memory() -> None:
    """What one cache has stored, another one invalidates after it is gone."""
    store = MemoryBackend("outlived")
    cache = Cache(store)
    cache.set("k", "old", LIFE, tags=["t"])
    del cache
    gc.collect()
    cache = Cache(store)
    assert cache.get("k") == "old"
    cache.invalidate_tags("t")
    assert cache.get("k") is None
    cache.close()


def test_a_plain_call_counts_an_entry_with_tags_as_a_hit(pair: tuple[Cache, Cache]) -> None:
    """It need not say which tags the entry has."""
    cache, other = pair
    other.set("k", "v", LIFE, tags=["t"])
    assert cache.get_or_set("k", lambda: "new") == "v"
    assert (cache.stats().hits, cache.stats().misses) == (1, 0)
    other.invalidate_tags("t")
    assert cache.get_or_set("k", lambda: "new") == "new"
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)


def test_no_tag_is_written_at_each_fill(another: Callable[[], Cache]) -> None:
    """Also where entries, and so their tags, live for ever."""
    cache, lives = another(), list[Any]()
    real = cache.backend.touch
    cache.backend.touch = lambda *args: (lives.append(args), real(*args))[1]  # type: ignore[func-returns-value,assignment]
    for number in range(5):
        cache.set(f"k{number}", "v", None, tags=["t"])
        cache.get_or_set(f"l{number}", lambda: "v", None, tags=WAYS[1])
    assert lives == []


def test_tags_near_are_bounded(redis_server: RedisServer) -> None:
    """They count, and go, as the copies of values do."""
    near: Any = {"max_entries": 50}
    cache = Cache(f"redis://{redis_server.address}", options=OPTIONS, near=near)
    for number in range(100):
        cache.set(f"k{number}", "v", LIFE, tags=[f"t{number}"])
    eventually(lambda: cache.get("k0") == "v" and cache.stats().near.watch.live, "it watches")  # type: ignore[union-attr]
    for _ in range(2):
        assert len(cache.get_many([f"k{number}" for number in range(100)])) == 100
    near = cache.stats().near
    assert near.entries <= 50
    cache.close()


def test_without_room_tags_are_invalidated_all_the_same(tmp_path: Path) -> None:
    """Softly as well: then what has them is not stale but gone."""
    with RedisServer(tmp_path) as server:
        cache = Cache(f"redis://{server.address}", options=OPTIONS)

        def full() -> str:
            cache.invalidate_tags("t")  # an epoch is there
            server.command("CONFIG", "SET", "maxmemory", "1")
            cache.invalidate_tags("another")
            server.command("CONFIG", "SET", "maxmemory", "0")
            return "old"

        assert cache.get_or_set("k", full, LIFE, tags=WAYS[1]) == "old"
        assert cache.get("k") is None
        cache.set("l", "old", LIFE, stale=LIFE, tags=["t"])
        server.command("CONFIG", "SET", "maxmemory", "1")
        cache.invalidate_tags("t", keep_stale=True)
        assert cache.get("l", allow_stale=True) is None
        cache.close()


def test_one_server_that_is_gone_does_not_save_the_tags_of_another(tmp_path: Path) -> None:
    """Where the epoch cannot be changed, the tags that can be reached go nevertheless."""
    with MemcachedServer(tmp_path / "1") as one, MemcachedServer(tmp_path / "2") as two:
        options: Any = {**OPTIONS, "on_error": "miss"}
        cache = Cache(f"memcached://{one.address},{two.address}", options=options)
        names = [f"t{number}" for number in range(40)]
        for name in names:
            cache.set(name, "old", LIFE, tags=[name])
        cache.invalidate_tags("never used")
        keep, gone = (one, two) if b"!tag:" in two.all_keys() else (two, one)
        gone.kill()
        here = [name for name in names if cache.get(name) == "old"]
        assert 0 < len(here) < len(names)
        cache.invalidate_tags(*names)
        assert keep.alive
        assert cache.get_many(here) == {}
        cache.close()


def test_of_several_servers_one_answers_for_its_tags(tmp_path: Path) -> None:
    """`get_many` brings what it can tell of, and says that this is a part; so does no `get`."""
    with MemcachedServer(tmp_path / "1") as one, MemcachedServer(tmp_path / "2") as two:
        cache = Cache(f"memcached://{one.address},{two.address}", options=OPTIONS)
        names = [f"t{number}" for number in range(40)]
        for name in names:
            cache.set(name, "v", LIFE, tags=[name])
        there = one.all_keys()
        two.kill()
        of_one = [name for name in names if cache._key(name).encode() in there]
        known = [name for name in of_one if cache._keys.tag(name).encode() in there]
        assert 0 < len(known) < len(of_one)
        with pytest.raises(PartlyUnavailable) as told:
            cache.get_many(of_one)
        assert told.value.result == dict.fromkeys(known, "v")
        with pytest.raises(BackendUnavailable) as not_told:
            cache.get(next(name for name in of_one if name not in known))
        assert not isinstance(not_told.value, PartlyUnavailable)
        cache.close()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("fails", ["look_many", "get_or_claim_many", "get_many", "set_and_delete"])
@pytest.mark.parametrize("on_error", ["miss", "raise"])
def test_an_outage_serves_nothing_that_was_invalidated(
    on_error: Any, fails: str, many: bool, tmp_path: Path
) -> None:
    """While tags are pinned, while it is looked whether they hold, or while they are invalidated.

    An invalidation that the store did not take may be none, and says so if it is asked to.
    """
    store = ChaosBackend(inner=f"sqlite:///{tmp_path}/store", operations=[fails])
    ours = Cache(store, options={**ALLOWED, "on_error": on_error})
    theirs = Cache(f"sqlite:///{tmp_path}/store", options=OPTIONS)
    held = Held({"k": "old"})

    def ask() -> Any:
        if many:
            return ours.get_or_set_many(["k"], held, LIFE, tags=["t"])
        return ours.get_or_set("k", held, LIFE, tags=["t"])

    if fails in ("look_many", "get_or_claim_many"):
        store.failure_rate = 1.0
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask)
        assert held.entered.wait(20)
        store.failure_rate = 1.0
        held.source = {"k": "new"}
        if fails == "set_and_delete" and on_error == "raise":
            with pytest.raises(BackendUnavailable):
                ours.invalidate_tags("t")
        theirs.invalidate_tags("t")
        held.goes_on.set()
        assert first.result(20) == {"k": "old"}
    assert theirs.get("k") is None
    store.failure_rate = 0.0
    assert ask() == {"k": "new"}
    ours.close()
    theirs.close()


@pytest.mark.parametrize("tags", WAYS, ids=["names", "by_result"])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("when", ["begin", "end", "look"])
@pytest.mark.parametrize("fails", [None, _READS], ids=["all", "reads"])
def test_nobody_joins_what_the_store_could_not_confirm(
    fails: Any, when: str, many: bool, tags: Any, tmp_path: Path
) -> None:
    """Where it fails from any step on, who asked after an invalidation computes anew.

    So it is though the end of the outage comes in time for the last step.
    """
    store = ChaosBackend(inner=f"sqlite:///{tmp_path}/store", operations=["get"])
    ours = Cache(store, options={**ALLOWED, "on_error": "miss"})
    theirs = Cache(f"sqlite:///{tmp_path}/store", options=OPTIONS)
    held = Held({"k": "old"})

    def fails_from(name: str, *, after: bool) -> None:
        real = getattr(store, name)

        def failing(*args: Any) -> Any:
            done = real(*args) if after else None
            store.operations, store.failure_rate = fails, 1.0
            return done if after else real(*args)

        setattr(store, name, failing)

    if when == "begin":
        fails_from("get_or_claim_many" if many else "get_or_claim", after=True)
    elif when == "look":
        fails_from("fill_many" if many else "fill", after=False)

    def compute(*_: Any) -> Any:
        found = held()
        if when == "end":
            store.operations, store.failure_rate = fails, 1.0
        return found

    def ask() -> Any:
        if many:
            return ours.get_or_set_many(["k"], compute, LIFE, tags=tags)
        return ours.get_or_set("k", compute, LIFE, tags=tags)

    assert two_callers(ours, theirs, held, ask) == [{"k": "new"}]
    ours.close()
    theirs.close()


@pytest.mark.parametrize("keep_stale", [False, True])
def test_clocks_that_differ_by_an_hour(keep_stale: bool, redis_server: RedisServer) -> None:
    """No tag asks one, whoever of two is ahead."""
    url, clocks = f"redis://{redis_server.address}", [FakeClock(), FakeClock(1_000_003_600.0)]
    caches = []
    for clock in clocks:
        cache = Cache(url, options=OPTIONS)
        cache.backend.clock = cache._clock = clock
        caches.append(cache)
    for one, other in (caches, caches[::-1]):
        one.set("k", "old", LIFE, tags=["t"])
        one.get_or_set("l", lambda: "old", LIFE, tags=WAYS[1])
        assert other.get_many(["k", "l"]) == {"k": "old", "l": "old"}
        other.invalidate_tags("t", keep_stale=keep_stale)
        for cache in caches:
            assert cache.get_many(["k", "l"]) == {}
            assert not cache.has_key("k")
            assert cache.ttl("l") == 0
    for cache in caches:
        cache.close()


def test_a_server_that_comes_back_empty(tmp_path: Path) -> None:
    """Nothing is there, and what began before is not kept either."""
    with RedisServer(tmp_path) as server:
        cache = Cache(f"redis://{server.address}", options=OPTIONS)

        def restarted() -> str:
            server.restart()
            return "old"

        for tags in WAYS:
            cache.set("k", "old", LIFE, tags=["t"])
            assert cache.get_or_set("l", restarted, LIFE, tags=tags) == "old"
            eventually(lambda: cache.set("m", "new", LIFE, tags=["t"]), "it is back")
            assert cache.get_many(["k", "l", "m"]) == {"m": "new"}
        cache.close()


@pytest.mark.parametrize("how", ["redis", "memcached", "expired"])
def test_what_has_an_evicted_tag_never_comes_back(how: str, tmp_path: Path) -> None:
    """The server needs the room, or the tag's time is over: its entries are misses for good."""
    server: RedisServer | MemcachedServer
    if how == "memcached":
        server = MemcachedServer(tmp_path, "-m", "2")
    else:
        server = RedisServer(tmp_path, "maxmemory 3mb", "maxmemory-policy allkeys-lru")
    with server:
        scheme = "memcached" if how == "memcached" else "redis"
        cache = Cache(f"{scheme}://{server.address}", options=OPTIONS)
        tag = "t" * 200  # memcached evicts among items of one size
        key = cache._keys.tag(tag)
        cache.set("k", "old", LIFE, tags=[tag])
        if isinstance(server, RedisServer) and how == "expired":
            server.command("PEXPIRE", key, "1")
        names = count()

        def is_gone() -> bool:
            if how != "expired":
                cache.set_many({f"other:{next(names)}": bytes(200) for _ in range(2000)}, LIFE)
            if isinstance(server, MemcachedServer):  # which spares what is read
                return key.encode() not in server.all_keys()
            return cache.backend.get(key) is None

        entry = cache.backend.get(cache._key("k"))
        eventually(is_gone, "the tag is gone", 30)
        assert entry is not None
        cache.backend.set(cache._key("k"), entry, LIFE)
        assert cache.get("k", allow_stale=True) is None
        cache.set("l", "new", LIFE, tags=[tag])
        assert cache.get_many(["k", "l"], allow_stale=True) == {"l": "new"}
        cache.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_signed_number_with_tags_is_no_counter(face: Face, redis_server: RedisServer) -> None:
    """It is told of as what it is, until one of its tags is invalidated."""
    cache = Cache(redis_server.url, options=OPTIONS, secret="of thirty-two letters, or some more")
    view = face.view(cache)

    async def body() -> None:
        await view.set("n", 5, LIFE, tags=["t"])
        with pytest.raises(NotACounter):
            await view.incr("n")
        assert await view.get("n") == 5
        await view.invalidate_tags("t")
        with pytest.raises(MissingKey):
            await view.incr("n")

    face.run(body())
    cache.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_what_asks_the_store_asks_it_of_tags_too(face: Face, tmp_path: Path) -> None:
    """Copies near, of values and tags, are for reads: all else knows of an invalidation at once."""
    url = f"sqlite:///{tmp_path}/store"
    ours, theirs = Cache(url, options=OPTIONS, near={"timeout": 60}), Cache(url, options=OPTIONS)
    view = face.view(ours)

    async def body() -> None:
        for _ in range(3):
            await view.set("k", "v", LIFE, tags=["t"])
            assert [await view.get("k") for _ in range(3)] == ["v"] * 3
            theirs.invalidate_tags("t")
            assert await view.get("k") == "v"  # for as long as a copy lives
            assert not await view.has_key("k")
            assert await view.ttl("k") == 0
            assert not await view.touch("k", LIFE)
            assert not await view.mark_stale("k")
            with pytest.raises(MissingKey):
                await view.incr_version("k")
            assert await view.add("k", "new", LIFE)
            assert await view.get("k") == "new"

    face.run(body())
    ours.close()
    theirs.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_what_one_server_can_tell_is_not_computed_again(face: Face, tmp_path: Path) -> None:
    """Of many keys those are whose tags are on another one, which is gone."""
    with MemcachedServer(tmp_path / "1") as one, MemcachedServer(tmp_path / "2") as two:
        cache = Cache(f"memcached://{one.address},{two.address}", options=OPTIONS)
        names = [f"t{number}" for number in range(40)]
        for name in names:
            cache.set(name, "v", LIFE, tags=[name])
        there = one.all_keys()
        two.kill()
        of_one = [name for name in names if cache._key(name).encode() in there]
        known = [name for name in of_one if cache._keys.tag(name).encode() in there]
        computed = list[str]()

        def function(keys: list[str]) -> dict[str, str]:
            computed.extend(keys)
            return dict.fromkeys(keys, "new")

        view = face.view(cache)
        found = face.run(view.get_or_set_many(of_one, function, LIFE, tags=lambda _: ["t0"]))
        assert sorted(computed) == sorted({*of_one} - {*known})
        assert found == {name: "v" if name in known else "new" for name in of_one}
        cache.close()


@pytest.mark.parametrize("gone", ["that of the epoch", "the other"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_nor_does_it_save_them_from_becoming_stale(face: Face, gone: str, tmp_path: Path) -> None:
    """The tags of servers that answer are invalidated softly, whichever others are gone."""
    with MemcachedServer(tmp_path / "1") as one, MemcachedServer(tmp_path / "2") as two:
        cache = Cache(f"memcached://{one.address},{two.address}", options=OPTIONS)
        names = [f"t{number}" for number in range(40)]
        for name in names:
            cache.set(name, "old", LIFE, stale=LIFE, tags=[name])
        cache.invalidate_tags("never used")
        epoch = cache._keys.tag("").encode()
        keep, dead = (
            (one, two) if (epoch in two.all_keys()) is (gone == "that of the epoch") else (two, one)
        )
        there = keep.all_keys()
        dead.kill()
        keys = {name: (cache._key(name), cache._keys.tag(name)) for name in names}
        here = [name for name, both in keys.items() if all(key.encode() in there for key in both)]
        assert 0 < len(here) < len(names)
        with pytest.raises(BackendUnavailable):
            face.run(face.view(cache).invalidate_tags(*names, keep_stale=True))
        assert cache.get_many(here) == {}
        assert len(cache.get_many(here, allow_stale=True)) == len(here)
        cache.close()


@pytest.mark.parametrize("tags", WAYS, ids=["names", "by_result"])
def test_an_error_that_began_before_an_invalidation_is_not_kept(
    pair: tuple[Cache, Cache], tags: Any
) -> None:
    """Nobody can tell what tags it would have, so that any invalidation meanwhile counts."""
    cache, other = pair
    runs = list[int]()

    def function() -> str:
        runs.append(1)
        if len(runs) == 1:
            other.invalidate_tags("t")
            raise KeyError("not there yet")
        return "there"

    ask = partial(cache.get_or_set, "k", function, LIFE, errors={KeyError: LIFE}, tags=tags)
    with pytest.raises(KeyError):
        ask()
    assert [ask(), ask()] == ["there"] * 2


@pytest.mark.parametrize("tag", ["file:\udcff", " ", "a\r\nb\0", "тег 😀", "x" * 60_000])
def test_a_tag_is_whatever_text_a_key_may_be(pair: tuple[Cache, Cache], tag: str) -> None:
    """In every store: names of files that are no UTF-8, blanks, what a protocol would stop at."""
    cache, other = pair
    for _ in range(2):
        assert cache.set("k", "v", LIFE, tags=["another", tag])
        assert cache.get_or_set("l", lambda: "v", LIFE, tags=[tag]) == "v"
        assert [cache.get("k"), other.get("l")] == ["v", "v"]
        assert cache.get_many(["k", "l"]) == {"k": "v", "l": "v"}
        other.invalidate_tags(tag)
        assert [cache.get("k"), other.get("l")] == [None, None]


@pytest.mark.parametrize("rounds", [100, pytest.param(3000, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_no_process_reads_what_was_invalidated_before(
    store: str, rounds: int, request: pytest.FixtureRequest
) -> None:
    """A history of two processes with several threads each, against one truth in the store."""
    url = f"{store}://{request.getfixturevalue(f'{store}_server').address}"
    with ExitStack() as started:
        command = "-m", "tests.tag_world", url
        both = [started.enter_context(running(*command, seed, rounds)) for seed in range(2)]
        told = [each.communicate(timeout=40 + rounds / 10)[0] for each in both]
    assert told == ["done\n"] * 2
