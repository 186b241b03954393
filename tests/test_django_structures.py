"""Sets, hashes and sorted sets, `set(xx=True)`, big counters and raw clients, as django-redis's."""

import datetime
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests import django_project
from tests.chaos import Proxy, RedisCluster, RedisServer

django_project.configure()

from django.core.cache import caches
from django.test import override_settings
from django_redis import get_redis_connection
from django_redis.cache import RedisCache as Theirs

from twofold.backends.redis.structures import NotUnderstood, OfAnotherType
from twofold.contrib.django import RedisCache, close_all
from twofold.contrib.django.structures import packed, unpacked
from twofold.errors import (
    BackendUnavailable,
    BlockingCallWarning,
    CannotSerialize,
    MissingKey,
    NotACounter,
    SettingsError,
)
from twofold.testing import FACES, Face

THREE = {"a": 1.5, "b": 2, "c": -3}


@pytest.fixture(autouse=True)
def _closed(no_leaks: None) -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def ours(redis_server: RedisServer) -> RedisCache:
    return RedisCache(redis_server.url, {"KEY_PREFIX": "shop"})


@pytest.fixture
def theirs(redis_server: RedisServer) -> Iterator[Any]:
    cache = Theirs(redis_server.url, {"KEY_PREFIX": "theirs"})
    yield cache
    cache.client.get_client().connection_pool.disconnect()


STEPS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("sadd", ("s", "a", "b", 1, ("x", 2)), {}),
    ("sadd", ("s", "a"), {}),
    ("sadd", ("t", "b", "c"), {}),
    ("sadd", ("t", "d"), {"version": 2}),
    ("scard", ("s",), {}),
    ("scard", ("none",), {}),
    ("smembers", ("s",), {}),
    ("smembers", ("t",), {"version": 2}),
    ("sismember", ("s", ("x", 2)), {}),
    ("sismember", ("s", "1"), {}),
    ("smismember", ("s", "a", 1, "z"), {}),
    ("sdiff", ("s", "t"), {}),
    ("sinter", ("s", "t"), {}),
    ("sunion", ("s", "t"), {}),
    ("sdiffstore", ("d", "s", "t"), {}),
    ("sdiffstore", ("d", "s", "t"), {"version_dest": 2, "version_keys": 2}),
    ("sinterstore", ("i", "s", "t"), {}),
    ("sunionstore", ("u", "s", "t"), {}),
    ("smembers", ("u",), {}),
    ("smove", ("s", "t", "a"), {}),
    ("smove", ("s", "t", "a"), {}),
    ("sscan", ("t",), {"count": 100}),
    ("srandmember", ("i",), {}),
    ("srandmember", ("i", 3), {}),
    ("srandmember", ("none",), {}),
    ("spop", ("i",), {}),
    ("spop", ("i",), {}),
    ("spop", ("t", 100), {}),
    ("srem", ("s", "b", "z"), {}),
    ("delete", ("s",), {}),
    ("smembers", ("s",), {}),
    ("expire", ("u", 60), {}),
    ("ttl", ("u",), {}),
    ("hset", ("h", "f", {"v": [1]}), {}),
    ("hset", ("h", "f", 2), {}),
    ("hset", ("h", "ü", "text"), {}),
    ("hset", ("h",), {"mapping": {"f": 3, "g": 4}, "version": None}),
    ("hset", ("h",), {"field": "i", "value": 5}),
    ("hset", ("h", 7, "seven"), {}),
    ("hexists", ("h", 7), {}),
    ("hexists", ("h", "7"), {}),
    ("hdel", ("h", 7), {}),
    ("hset", ("h",), {"mapping": {8: "eight"}}),
    ("hlen", ("h",), {}),
    ("hkeys", ("h",), {}),
    ("hexists", ("h", "f"), {}),
    ("hexists", ("h", "none"), {}),
    ("hdel", ("h", "f"), {}),
    ("hdel", ("h", "f"), {}),
    ("hkeys", ("none",), {}),
    ("zadd", ("z", THREE), {}),
    ("zadd", ("z", {"a": 9, "new": 1}), {"nx": True}),
    ("zadd", ("z", {"a": 4, "newer": 1}), {"xx": True}),
    ("zadd", ("z", {"a": 1}), {"gt": True, "ch": True}),
    ("zadd", ("z", {"a": 1}), {"lt": True, "ch": True}),
    ("zcard", ("z",), {}),
    ("zcount", ("z", 1, 2), {}),
    ("zcount", ("z", "-inf", "(2"), {}),
    ("zincrby", ("z", 2.5, "a"), {}),
    ("zscore", ("z", "a"), {}),
    ("zscore", ("z", "none"), {}),
    ("zrank", ("z", "a"), {}),
    ("zrank", ("z", "none"), {}),
    ("zrange", ("z", 0, -1), {}),
    ("zrange", ("z", 0, 1), {"desc": True, "withscores": True}),
    ("zrevrange", ("z", 0, 0), {"withscores": True}),
    ("zrangebyscore", ("z", "-inf", 3), {"start": 1, "num": 1, "withscores": True}),
    ("zrangebyscore", ("z", 1, 2), {}),
    ("zrevrangebyscore", ("z", 9, 0), {}),
    ("zremrangebyscore", ("z", "-inf", 0), {}),
    ("zpopmin", ("z",), {}),
    ("zpopmax", ("z", 9), {}),
    ("zpopmax", ("z",), {}),
    ("zpopmin", ("z", 2), {}),
    ("zrem", ("z", "a"), {}),
    ("set", ("k", 1), {"xx": True}),
    ("set", ("k", 1), {}),
    ("set", ("k", 2, 60), {"xx": True}),
    ("get", ("k",), {}),
    ("ttl", ("k",), {}),
    ("incr", ("n", 3), {"ignore_key_check": True}),
    ("incr", ("n",), {"ignore_key_check": True}),
    ("ttl", ("n",), {}),
    ("set", ("n", 2**63 - 1), {}),
    ("incr", ("n",), {}),
    ("incr", ("n", 5), {}),
    ("decr", ("n", 7), {}),
    ("get", ("n",), {}),
    ("set", ("n", 2**80, 60), {}),
    ("incr", ("n", -(2**80)), {}),
    ("incr", ("n",), {}),
]


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_each_step_has_the_answer_of_django_redis(
    face: Face, ours: RedisCache, theirs: Any
) -> None:
    """The same steps on both sides return equal values of equal types."""

    async def body() -> None:
        cache = face.view(ours)
        for name, args, kwargs in STEPS:
            there, here = getattr(theirs, name)(*args, **kwargs), None
            here = await getattr(cache, name)(*args, **kwargs)
            same = (there, type(there)) == (here, type(here))
            random = name == "srandmember" and isinstance(there, list)
            assert same or (random and set(there) == set(here)), (name, args, kwargs, there, here)

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_fields_of_hashes_have_values_as_the_cache_has(face: Face, ours: RedisCache) -> None:
    """Any value, of its type; one copied into another field, or another hash, is not there."""
    values = {"f": {"v": (1, 2)}, "g": 7, "h": None}

    async def body() -> None:
        cache = face.view(ours)
        for field, value in values.items():
            assert await cache.hset("h", field, value) == 1
        assert [await cache.hget("h", field) for field in values] == list(values.values())
        assert await cache.hget("h", "none") is None
        assert await cache.hget("h", "none", "default") == "default"
        assert await cache.hgetall("h") == values
        assert await cache.hgetall("none") == {}
        raw = ours.client.get_client()
        at = ours.client.make_key("h")
        raw.hset(at, "other", raw.hget(at, "f"))
        assert await cache.hget("h", "other") is None
        assert await cache.hgetall("h") == values
        raw.connection_pool.disconnect()

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_structures_belong_to_the_cache(face: Face, ours: RedisCache) -> None:
    """They have its prefix and versions, lives, and end with `clear` and `delete_pattern`."""
    neighbour = RedisCache(ours._location, {"KEY_PREFIX": "other"})

    async def body() -> None:
        cache = face.view(ours)
        await face.view(neighbour).sadd("s", "theirs")
        await cache.sadd("s", "a")
        await cache.hset("h", "f", 1)
        await cache.zadd("z", {"a": 1})
        assert sorted(await cache.keys("*")) == ["h", "s", "z"]
        assert await cache.expire("s", 50) is True
        assert 40 < await cache.ttl("s") <= 50
        assert await cache.delete_pattern("z*") == 1
        await cache.clear()
        assert (await cache.scard("s"), await cache.hlen("h")) == (0, 0)
        assert await face.view(neighbour).smembers("s") == {"theirs"}

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_value_is_no_set_and_no_outage(face: Face, ours: RedisCache) -> None:
    """Nor is a set a value: `get` finds none, and `sadd` says what is there."""

    async def body() -> None:
        cache = face.view(ours)
        await cache.set("k", 1)
        await cache.sadd("s", "a")
        for name, args in (("sadd", ("k", 1)), ("hset", ("s", "f", 1)), ("zadd", ("s", {"a": 1}))):
            with pytest.raises(OfAnotherType, match="delete it"):
                await getattr(cache, name)(*args)
        assert await cache.get("s") is None
        assert ours.cache.available

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_what_makes_no_sense_is_an_error_and_no_outage(
    face: Face, ours: RedisCache, redis_cluster: RedisCluster
) -> None:
    """Such as no members at all, or keys of several slots."""
    cluster = RedisCache(redis_cluster.urls[0], {"OPTIONS": {"cluster": True}})

    async def body() -> None:
        with pytest.raises(NotUnderstood, match="arguments"):
            await face.view(ours).sadd("s")
        with pytest.raises(NotUnderstood):
            await face.view(ours).zadd("z", {"a": 1}, gt=True, lt=True)
        with pytest.raises(NotUnderstood, match="arguments"):
            await face.view(ours).sunion()
        with pytest.raises(NotUnderstood, match="slot"):
            await face.view(cluster).sinter("a", "b")
        assert ours.cache.available
        assert cluster.cache.available

    face.run(body())


NOTHING: dict[str, tuple[tuple[Any, ...], Any]] = {
    "sadd": (("s", "a"), 0),
    "smembers": (("s",), set()),
    "smismember": (("s", "a"), [False]),
    "spop": (("s",), None),
    "sscan": (("s",), set()),
    "hget": (("h", "f"), None),
    "hgetall": (("h",), {}),
    "zadd": (("z", THREE), 0),
    "zrange": (("z", 0, -1), []),
    "zscore": (("z", "a"), None),
    "zpopmin": (("z",), None),
    "set": (("k", 1), False),
}


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_in_an_outage_nothing_is_there(face: Face, proxy: Proxy) -> None:
    """As with values; where outages are errors, they are raised."""
    raising = RedisCache(proxy.url, {"OPTIONS": {"on_error": "raise", "deadline": 0.2}})
    tolerant = RedisCache(proxy.url, {"OPTIONS": {"deadline": 0.2}})
    proxy.refuse()

    async def body() -> None:
        for name, (args, nothing) in NOTHING.items():
            xx = {"xx": True} if name == "set" else {}
            assert await getattr(face.view(tolerant), name)(*args, **xx) == nothing
            with pytest.raises(BackendUnavailable):
                await getattr(face.view(raising), name)(*args, **xx)
        assert tolerant.cache.available is False
        proxy.heal()
        while not await face.view(tolerant).sadd("s", "a"):
            pass
        assert tolerant.cache.available is True

    face.run(body())


def test_sets_are_read_page_by_page(ours: RedisCache) -> None:
    """`sscan_iter` finds every member, or those that a pattern matches."""
    members = {f"m{number}" for number in range(600)} | {7, ("m", 1)}
    ours.sadd("s", *members)
    assert set(ours.sscan_iter("s", count=50)) == members
    assert set(ours.sscan_iter("s", match="m59?")) == {f"m59{digit}" for digit in range(10)}
    assert ours.sscan("s", match="m599", count=1000) == {"m599"}


async def test_sets_are_read_page_by_page_in_a_loop(ours: RedisCache) -> None:
    """The twin is an async iterator; the sync one warns."""
    members = {f"m{number}" for number in range(600)}
    await ours.asadd("s", *members)
    assert {each async for each in ours.asscan_iter("s", count=50)} == members
    with pytest.warns(BlockingCallWarning, match="scard"):
        ours.scard("s")


MEMBERS: list[Any] = [
    "text",
    "",
    "ünïcode",
    "\ud800",
    "\xc1",
    b"\xc1bytes",
    0,
    2**70,
    1.5,
    True,
    None,
    (1, ("a", b"b")),
    Decimal("1.50"),
    UUID(int=5),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
]


def test_members_come_back_as_what_they_were() -> None:
    """No two of different types meet, and text is itself."""
    assert [unpacked(packed(each)) for each in MEMBERS] == MEMBERS
    assert [type(unpacked(packed(each))) for each in MEMBERS] == [*map(type, MEMBERS)]
    alike: list[Any] = ["1", 1, 1.0, b"1"]
    assert len({packed(each) for each in [*MEMBERS, *alike]}) == len(MEMBERS) + len(alike)
    assert packed("text") == b"text"


@pytest.mark.parametrize(
    "member", [frozenset("ab"), (1, frozenset()), {"a": 1}, [1], (1, [2]), object()]
)
def test_members_without_one_form_are_refused(member: Any) -> None:
    """Equal ones could be different members, or cannot be stored at all."""
    with pytest.raises(CannotSerialize):
        packed(member)


def test_members_are_the_same_in_every_process() -> None:
    """Whatever the seed of hashes is."""
    program = (
        "from tests import django_project; django_project.configure()\n"
        "from twofold.contrib.django.structures import packed\n"
        "print(packed(('a', 1, ('b', None, 2.5))).hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


OF_OTHERS = [
    b"\xff\xfe",
    b"\xc1",
    b"\xc1\xc1",
    b"\xc1\xdf\xff\xff\xff\xff",
    b"\xc1\x91\x01",  # a list
    b"\xc1\x80",  # a dict
]


@pytest.mark.parametrize("data", OF_OTHERS)
def test_what_other_programs_write_is_bytes(data: bytes) -> None:
    """It is neither an error nor an attack."""
    assert unpacked(data) == data


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_no_member_makes_a_set_unreadable(face: Face, ours: RedisCache) -> None:
    """Neither a list of ours, which is refused, nor what another program has written."""

    async def body() -> None:
        cache = face.view(ours)
        with pytest.raises(CannotSerialize, match="tuple"):
            await cache.sadd("s", [1, 2])
        raw = ours.client.get_client()
        raw.sadd(ours.client.make_key("s"), *OF_OTHERS)
        assert await cache.smembers("s") == set(OF_OTHERS)
        raw.connection_pool.disconnect()

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_xx_stores_over_what_is_there_alone(face: Face, ours: RedisCache) -> None:
    """Not where a value is stale, or is being computed; tags and lives are those of a `set`."""

    async def body() -> None:
        cache = face.view(ours)
        assert await cache.set("k", 1, xx=True, tags=["t"]) is False
        await cache.set("k", 1, stale=60)
        assert await cache.set("k", 2, None, xx=True, tags=["t"]) is True
        assert (await cache.get("k"), await cache.ttl("k")) == (2, None)
        await cache.invalidate_tags("t")
        assert await cache.set("k", 3, xx=True) is False
        await cache.set("k", 4, stale=60)
        await cache.mark_stale("k")
        assert await cache.set("k", 5, xx=True) is False
        await cache.set("k", 6)
        assert await cache.set("k", 7, 0, xx=True) is True
        assert await cache.get("k") is None

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_counters_of_any_size_keep_their_life(face: Face, ours: RedisCache) -> None:
    """What is no int is refused as ever, and so is what is not there."""

    async def body() -> None:
        cache = face.view(ours)
        await cache.set("n", 2**64, 50)
        assert await cache.incr("n") == 2**64 + 1
        assert 40 < await cache.ttl("n") <= 50
        await cache.set("text", "x")
        with pytest.raises(NotACounter):
            await cache.incr("text")
        with pytest.raises(MissingKey):
            await cache.incr("none")

    face.run(body())


def test_xx_stores_nothing_where_a_delete_came_between(
    ours: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes a key after it was seen has the last word."""
    backend = ours.cache.backend
    swap = backend.compare_and_set

    def late(key: str, *args: Any) -> bool:
        backend.delete(key)
        return swap(key, *args)

    ours.set("k", 1)
    monkeypatch.setattr(backend, "compare_and_set", late)
    assert ours.set("k", 2, xx=True) is False
    assert ours.get("k") is None


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_no_addition_to_a_big_counter_is_lost(face: Face, ours: RedisCache) -> None:
    """Whoever adds to it at the same time is counted too."""

    async def body() -> None:
        cache = face.view(ours)
        await cache.set("n", 2**70)
        await face.together([partial(cache.incr, "n", 3) for _ in range(40)])
        assert await cache.get("n") == 2**70 + 120

    face.run(body())


@pytest.mark.parametrize("number", [5, 2**70], ids=["small", "big"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_counter_keeps_its_tags(face: Face, ours: RedisCache, number: int) -> None:
    """Whoever invalidates one of them after an addition removes it."""

    async def body() -> None:
        cache = face.view(ours)
        await cache.set("n", number, tags=["t"])
        assert await cache.incr("n") == number + 1
        await cache.invalidate_tags("t")
        assert await cache.get("n") is None

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_held_lock_is_seen_as_a_key(face: Face, ours: RedisCache) -> None:
    """As with django-redis, `has_key` tells whether a job is running."""

    async def body() -> None:
        cache = face.view(ours)
        lock = face.view(ours.lock("job", timeout=30))
        assert await lock.acquire()
        assert await cache.has_key("job") is True
        await lock.release()
        assert await cache.has_key("job") is False

    face.run(body())


def test_a_client_of_redis_py_is_found(redis_server: RedisServer) -> None:
    """`get_redis_connection` returns one, each time the same; so does `client` of the cache."""
    entry = {
        "BACKEND": "twofold.contrib.django.RedisCache",
        "LOCATION": f"valkey://{redis_server.address}",
        "OPTIONS": {"db": 3},
    }
    with override_settings(CACHES={"default": entry}):
        cache: Any = caches["default"]
        client = get_redis_connection("default")
        assert client is cache.client.get_client() is cache.client.get_client(write=False)
        assert client.get_connection_kwargs()["db"] == 3
        cache.sadd("s", "a", 1)
        members = client.smembers(cache.client.make_key("s"))
        assert {cache.client.decode(each) for each in members} == {"a", 1}
        client.sadd(cache.client.make_key("s"), cache.client.encode(("b",)))
        assert cache.sismember("s", ("b",))


def test_a_replica_has_its_client(redis_server: RedisServer) -> None:
    """Of several servers the first takes the writes."""
    cache = RedisCache([redis_server.url, f"{redis_server.url}/1"], {})
    client = cache.client
    assert client.get_client() is not client.get_client(write=False)
    assert "RedisCache" in repr(client)


def test_a_cluster_has_no_such_client(redis_cluster: RedisCluster) -> None:
    """The error says what to make instead; sets are in the cluster all the same."""
    cache = RedisCache(redis_cluster.urls[0], {"OPTIONS": {"cluster": True}})
    with pytest.raises(SettingsError, match=r"redis\.RedisCluster"):
        cache.client.get_client()
    assert cache.sadd("s", "a") == 1
    assert cache.smembers("s") == {"a"}
