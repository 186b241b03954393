"""Reads of what has tags: in one round trip with them, as soon as a process has seen them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import MemcachedServer, RedisServer
from tests.opcodes import acount, count
from twofold import BackendUnavailable, Cache, PartlyUnavailable
from twofold.backend import Backend
from twofold.testing import FACES, Face

LIFE = 1000
OPTIONS: Any = {"blocking_calls": "allow", "deadline": 5.0}
NAMES = ["k", "l"]
READS = ("get", "get_many", "look", "look_many")

Ask = Callable[[Any], Awaitable[Any]]


def by_result(_: Any) -> list[str]:
    return ["t"]


CALLS: dict[str, Ask] = {
    "get": lambda view: view.get("k"),
    "get, stale": lambda view: view.get("k", allow_stale=True),
    "get_many": lambda view: view.get_many(NAMES),
    "get_many, stale": lambda view: view.get_many(NAMES, allow_stale=True),
    "get_or_set": lambda view: view.get_or_set("k", dict, LIFE, tags=by_result),
    "get_or_set_many": lambda view: view.get_or_set_many(NAMES, dict, LIFE, tags=by_result),
}


@pytest.fixture(params=["redis", "memcached", "sqlite", "near"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cache, Cache]]:
    """Two caches of one store."""
    kind = request.param
    url = f"sqlite:///{tmp_path}/store"
    if kind != "sqlite":
        server = request.getfixturevalue(
            "memcached_server" if kind == "memcached" else "redis_server"
        )
        url = f"{'memcached' if kind == 'memcached' else 'redis'}://{server.address}"
    near: Any = {"near": {"timeout": 60}} if kind == "near" else {}
    caches = Cache(url, options=OPTIONS, **near), Cache(url, options=OPTIONS)
    yield caches
    for cache in caches:
        cache.close()


def reads_of(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is to tell of each round trip for reading."""
    asked = list[str]()
    for name in (*READS, *(f"a{each}" for each in READS)):
        real = getattr(backend, name)

        def read(*args: Any, real: Any = real, name: str = name) -> Any:
            asked.append(name)
            return real(*args)

        monkeypatch.setattr(backend, name, read)
    return asked


def value_in(found: Any) -> Any:
    """Return the value of "k" that a call has brought."""
    return found["k"] if isinstance(found, dict) else found


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_an_entry_and_tags_that_it_had_before_are_read_at_once(
    face: Face, call: Ask, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has read it once knows which they are, though the call does not tell."""
    cache = Cache(redis_server.url, options=OPTIONS)
    cache.set_many({"k": [1], "l": [2]}, LIFE, tags=["t"])
    asked = reads_of(cache.backend, monkeypatch)

    async def body() -> None:
        view = face.view(cache)
        for times in (2, 1, 1):
            asked.clear()
            assert value_in(await call(view)) == [1]
            assert len(asked) == times

    face.run(body())
    assert cache.stats().misses == 0
    cache.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_tags_that_changed_are_no_mistake(
    face: Face, call: Ask, pair: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry is as valid as the tags that it has now, and these are known from then on."""
    ours, theirs = pair
    ours.set_many({"k": ["old"], "l": ["old"]}, LIFE, tags=["t"])

    async def body() -> None:
        view = face.view(ours)
        for _ in range(2):
            assert value_in(await call(view)) == ["old"]
        ours.set_many({"k": ["new"], "l": ["new"]}, LIFE, tags=["u", "v"])
        theirs.invalidate_tags("t")
        assert value_in(await call(view)) == ["new"]
        asked = reads_of(ours.backend, monkeypatch)
        assert value_in(await call(view)) == ["new"]
        in_store = [each for each in asked if each in READS] or asked  # a thread does it for a loop
        assert len(in_store) <= 1
        ours.invalidate_tags("v", keep_stale=True)
        stale = await view.get("k", allow_stale=True), await view.get_many(["k"], allow_stale=True)
        assert stale == (["new"], {"k": ["new"]})
        assert (await view.get("k"), await view.get_many(NAMES)) == (None, {})
        ours.invalidate_tags("u")
        assert await view.get("k", allow_stale=True) is None
        assert await view.get_many(NAMES, allow_stale=True) == {}
        ours.set_many({"k": ["bare"], "l": ["bare"]}, LIFE)
        assert value_in(await call(view)) == ["bare"]

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_what_is_read_together_may_have_tags_or_none(face: Face, pair: tuple[Cache, Cache]) -> None:
    """In any order, each its own, with times or without; numbers and damaged entries as well."""
    ours, _ = pair
    values: dict[str, Any] = {f"k{number}": [number] for number in range(12)}
    for key, value in values.items():
        number = value[0]
        tags = [f"t{tag}" for tag in range(number % 4)]
        ours.set(key, value, LIFE, stale=LIFE if number % 3 == 0 else None, tags=tags)
    ours.set("n", 7, LIFE, tags=["t2"])
    ours.set("m", 8, LIFE)
    values |= {"n": 7, "m": 8}
    ours.set("broken", "v", LIFE, tags=["t1"])
    full = ours._key("broken")
    ours.backend.set(full, ours.backend.get(full)[:-1] + b"?", LIFE)  # type: ignore[index]

    async def body() -> None:
        view = face.view(ours)
        asked = [*values, "broken", "missing"]
        for _ in range(3):
            assert await view.get_many(asked) == values
            assert await view.get_many(reversed(asked)) == values
        assert ours.stats().damaged > 0
        ours.invalidate_tags("t1")
        left = {key: each for key, each in values.items() if key in ("m", "n")}
        left |= {
            key: each for key, each in values.items() if each not in (7, 8) and each[0] % 4 < 2
        }
        for _ in range(3):
            assert await view.get_many(asked) == left

    face.run(body())


def test_a_server_that_is_gone_is_not_missed_where_only_its_tag_was_guessed(
    tmp_path: Path,
) -> None:
    """What has been seen is told as what has not: of the rest, and that this is a part."""
    with MemcachedServer(tmp_path / "1") as one, MemcachedServer(tmp_path / "2") as two:
        cache = Cache(f"memcached://{one.address},{two.address}", options=OPTIONS)
        names = [f"t{number}" for number in range(40)]
        for name in names:
            cache.set(name, "v", LIFE, tags=[name])
        assert cache.get_many(names) == {name: cache.get(name) for name in names}
        there = one.all_keys()
        two.kill()
        of_one = [name for name in names if cache._key(name).encode() in there]
        known = [name for name in of_one if cache._keys.tag(name).encode() in there]
        assert 0 < len(known) < len(of_one)
        with pytest.raises(PartlyUnavailable) as told:
            cache.get_many(of_one)
        assert told.value.result == dict.fromkeys(known, "v")
        untold = next(name for name in of_one if name not in known)
        with pytest.raises(BackendUnavailable) as not_told:
            cache.get(untold)
        assert not isinstance(not_told.value, PartlyUnavailable)
        other = Cache(f"memcached://{one.address},{two.address}", options=OPTIONS)
        other.set(untold, "bare", LIFE)
        assert [cache.get(untold), cache.get(untold)] == ["bare", "bare"]
        other.close()
        cache.close()


def test_what_was_seen_is_bounded(redis_server: RedisServer) -> None:
    """An entry with many tags is not remembered, nor are very many entries."""
    cache = Cache(redis_server.url, options=OPTIONS)
    cache.set("k", "v", LIFE, tags=[f"t{number}" for number in range(200)])
    assert [cache.get("k"), cache.get_many(["k"])] == ["v", {"k": "v"}]
    assert cache._seen == {}
    for number in range(5000):
        cache._seen.note(f"k{number}", (("t", b""),))
    assert len(cache._seen) <= 4096
    cache.close()


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_many_hits_with_tags_take_few_steps_more(
    store: str, request: pytest.FixtureRequest
) -> None:
    """Of a read of twenty, beside one without tags, in both faces."""
    where = "memory://" if store == "memory" else request.getfixturevalue("redis_server").url
    cache = Cache(where, options=OPTIONS)
    plain, tagged = ([f"{kind}{number}" for number in range(20)] for kind in ("p", "t"))
    cache.set_many({key: {"a": 1} for key in plain}, LIFE)
    cache.set_many({key: {"a": 1} for key in tagged}, LIFE, tags=["t"])
    most = 1.8 if store == "memory" else 1.5

    async def counted() -> tuple[int, int]:
        for _ in range(3):  # to warm up
            found = [
                await acount(lambda keys=each: cache.aget_many(keys)) for each in (plain, tagged)
            ]
        return found[0], found[1]

    for _ in range(3):
        pair = [count(lambda keys=each: cache.get_many(keys)) for each in (plain, tagged)]
    for bare, with_tags in (pair, asyncio.run(counted())):
        assert with_tags < most * bare
    cache.close()


def test_a_near_hit_with_tags_looks_at_what_is_near(tmp_path: Path) -> None:
    """At once, without the steps that asking a store takes; and not past an invalidation."""
    cache = Cache(f"sqlite:///{tmp_path}/store", options=OPTIONS, near={"timeout": 60})
    cache.set("k", {"a": 1}, LIFE, tags=["t", "u"])
    for _ in range(3):
        assert cache.get("k") == {"a": 1}
    assert count(lambda: cache.get("k")) < 600
    cache.invalidate_tags("u", keep_stale=True)
    assert cache.get("k") is None
    assert cache.get("k", allow_stale=True) == {"a": 1}
    cache.invalidate_tags("t")
    assert cache.get("k", allow_stale=True) is None
    cache.close()
