"""What django-redis adds to Django's cache, in the drop-ins: the same answers, in both faces."""

import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import CacheKeyWarning

from tests import django_project
from tests.chaos import Proxy, RedisCluster, RedisServer

django_project.configure()

from django_redis.cache import RedisCache as Theirs

from twofold.contrib.django import (
    FileCache,
    MemcachedCache,
    MemoryCache,
    RedisCache,
    SQLiteCache,
    close_all,
)
from twofold.errors import BackendUnavailable, BlockingCallWarning
from twofold.testing import FACES, Face

HOUR = 3600


@pytest.fixture(autouse=True)
def _closed(no_leaks: None) -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def ours(redis_server: RedisServer) -> RedisCache:
    return RedisCache(redis_server.url, {"KEY_PREFIX": "shop"})


@pytest.fixture(params=["memory", "sqlite", "files", "memcached", "redis"])
def living(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """A drop-in over each store."""
    name = request.param
    if name == "redis":
        return RedisCache(request.getfixturevalue("redis_server").url, {})
    if name == "memcached":
        return MemcachedCache(request.getfixturevalue("memcached_server").address, {})
    if name == "memory":
        return MemoryCache(f"{tmp_path}", {})
    return {"sqlite": SQLiteCache, "files": FileCache}[name](f"{tmp_path / 'c'}", {})


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_lives_are_told_and_changed(face: Face, living: Any) -> None:
    """On every store `ttl` and the rest say how long a value lives; 0 is missing, None for ever."""
    now = datetime.now(UTC)
    lives = [
        ("expire", 50, 50),
        ("pexpire", 70_000, 70),
        ("expire_at", now + timedelta(seconds=HOUR), HOUR),
        ("expire_at", now.timestamp() + HOUR, HOUR),
        ("pexpire_at", (now.timestamp() + HOUR) * 1000, HOUR),
    ]

    async def body() -> None:
        cache = face.view(living)
        assert [await cache.ttl("k"), await cache.pttl("k")] == [0, 0]
        assert not any([await getattr(cache, name)("k", to) for name, to, _ in lives])
        assert await cache.persist("k") is False
        await cache.set("k", "v", 100)
        assert 70 <= await cache.ttl("k") <= 100
        assert 70_000 <= await cache.pttl("k") <= 100_000
        assert await cache.persist("k") is True
        assert [await cache.ttl("k"), await cache.pttl("k")] == [None, None]
        for name, to, left in lives:
            assert await getattr(cache, name)("k", to) is True
            assert left - 10 <= await cache.ttl("k") <= left + 1
        await cache.set("k", "w", 10, version=2)
        assert await cache.persist("k", version=2) is True
        assert await cache.ttl("k", version=2) is None
        assert await cache.expire_at("k", now - timedelta(seconds=1)) is True
        assert await cache.get("k") is None

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_lock_takes_what_those_of_redis_py_do(face: Face, living: Any) -> None:
    """`blocking` and `blocking_timeout` say whether it is waited for, and none is reentrant."""

    async def body() -> None:
        first, second = (face.view(living.lock("job", timeout=30)) for _ in range(2))
        assert await first.acquire(blocking=True) is True
        assert await second.acquire(blocking=False) is False
        await first.release()
        assert await second.acquire() is True
        await second.release()
        async with face.view(living).lock("job", blocking_timeout=1):
            assert await face.view(living.lock("job", blocking=False)).acquire() is False
        assert await first.acquire(blocking_timeout=1) is True
        await first.release()

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_set_stores_with_nx_only_where_nothing_is(face: Face, ours: RedisCache) -> None:
    """`set(nx=True)` is `add`; each tells whether it stored."""

    async def body() -> None:
        cache = face.view(ours)
        assert await cache.set("k", 1, nx=True) is True
        assert await cache.set("k", 2, nx=True) is False
        assert await cache.get("k") == 1
        assert await cache.set("k", 3) is True
        assert await cache.delete_many(["k", "none"]) == 1

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_keys_are_those_that_match(face: Face, ours: RedisCache) -> None:
    """Only the pattern is one: what else there is in a prefix or a key means itself."""

    async def body() -> None:
        cache = face.view(ours)
        await cache.set_many({"a:1": 1, "a:2": 2, "b[1]": 3})
        await cache.set("a:3", 4, version=2)
        await face.view(RedisCache(ours._location, {"KEY_PREFIX": "s*"})).set("a:4", 5)
        assert sorted(await cache.keys("a:*")) == ["a:1", "a:2"]
        assert await cache.keys("a:?", version=2) == ["a:3"]
        assert await cache.keys("b\\[1]") == ["b[1]"]
        assert await face.view(RedisCache(ours._location, {"KEY_PREFIX": "s*"})).keys("*") == [
            "a:4"
        ]
        assert await cache.delete_pattern("a:*", itersize=2) == 2
        assert await cache.delete_pattern("a:*") == 0
        assert await cache.delete_pattern("*", prefix="s*") == 1
        assert sorted(await cache.keys("*")) == ["b[1]"]

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_pattern_removes_keys_that_are_stored_by_a_digest(face: Face, ours: RedisCache) -> None:
    """Such as those with blanks, and long ones; never a lock, whatever keys look like."""
    bare = RedisCache(ours._location, {"KEY_FUNCTION": lambda key, *_: key})
    names = ["a b", "ünï", "x" * 300, "a:#" + "0" * 40]

    async def body() -> None:
        cache = face.view(ours)
        with warnings.catch_warnings(action="ignore", category=CacheKeyWarning):
            await cache.set_many(dict.fromkeys(names, 1))
            await cache.sadd("of a b", 1)
            assert await cache.delete_pattern("*") == len(names) + 1
            assert await cache.get_many(names) == {}
        raw = ours.client.get_client()
        raw.set("shop!lock:job", "held")
        assert await face.view(bare).delete_pattern("shop*") == 0
        assert raw.get("shop!lock:job") == b"held"
        raw.connection_pool.disconnect()

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_keys_of_a_cluster_are_those_of_all_its_servers(
    face: Face, redis_cluster: RedisCluster
) -> None:
    """Each primary is asked, a page at a time."""
    cluster = RedisCache(redis_cluster.urls[0], {"OPTIONS": {"cluster": True}})
    names = {f"k{number}" for number in range(50)}

    async def body() -> None:
        cache = face.view(cluster)
        await cache.set_many(dict.fromkeys(names, 1))
        assert set(await cache.keys("k*")) == names
        assert await cache.delete_pattern("k*", itersize=5) == len(names)

    face.run(body())


async def test_keys_come_as_they_are_found(ours: RedisCache) -> None:
    """`iter_keys` and its twin are iterators, and name no key twice."""
    names = {f"k{number}" for number in range(300)}
    await ours.aset_many(dict.fromkeys(names, 1))
    found = ours.aiter_keys("k*", itersize=10)
    assert isinstance(found, AsyncIterator)
    listed = [key async for key in found]
    assert len(listed) == len(names)
    assert set(listed) == names
    with pytest.warns(BlockingCallWarning):
        next(ours.iter_keys("k*"))


def test_both_libraries_name_the_same_keys(redis_server: RedisServer) -> None:
    """A `REVERSE_KEY_FUNCTION` is asked for the names, beside `OPTIONS`, as there."""
    reverse = {"REVERSE_KEY_FUNCTION": "tests.test_django_redis.shouted"}
    both = [kind(redis_server.url, reverse) for kind in (RedisCache, Theirs)]
    for cache in both:
        cache.set("k1", "v")
        assert [cache.keys("k*"), list(cache.iter_keys("k?"))] == [[":1:K1"]] * 2
        assert cache.delete_pattern("k*") == 1
    both[1].client.get_client().connection_pool.disconnect()


def shouted(key: str) -> str:
    return key.upper()


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_in_an_outage_no_keys_are_found(face: Face, proxy: Proxy) -> None:
    """As with all reads; where outages are errors, they are raised."""
    raising = RedisCache(proxy.url, {"OPTIONS": {"on_error": "raise", "deadline": 0.2}})
    tolerant = RedisCache(proxy.url, {"OPTIONS": {"deadline": 0.2}})
    proxy.refuse()

    async def body() -> None:
        assert await face.view(tolerant).keys("*") == []
        assert await face.view(tolerant).delete_pattern("*") == 0
        with pytest.raises(BackendUnavailable):
            await face.view(raising).keys("*")

    face.run(body())
    proxy.heal()
