"""A dict that knows the rules runs beside each store; whatever is done, they agree."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dict_backend import DictBackend
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.chaos import MemcachedServer, RedisCluster, RedisSentinels, RedisServer
from twofold.backend import Backend
from twofold.backends.files import FilesBackend
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.memory import MemoryBackend
from twofold.backends.redis import RedisBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.core import Cache
from twofold.errors import CounterOverflow, MissingKey, NotACounter
from twofold.testing import FakeClock

FACES = st.sampled_from(["", "a"])
NAMES = ["k", "key with blanks"]
KEYS = st.sampled_from(NAMES)
MANY = st.lists(KEYS, max_size=3)
VERSIONS = st.sampled_from([1, 2])
VALUES = (
    st.integers(0, 9)
    | st.sampled_from([None, True, "text", (1,), 2**63 - 1, -(2**63), 2**63, 1.0])
    | st.lists(st.integers(0, 9), max_size=3)
)
TIMES = st.sampled_from([0.25, 1, 10])  # few, for ends to be met to the point
TIMEOUTS = TIMES | st.sampled_from([None, 0, -1, 1_000_000])

Named = tuple[str, int]
PATIENCE = 20.0  # seconds: what operations mean is no matter of how fast a machine is
MISS = object()


AGE = """
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left <= tonumber(ARGV[1]) then redis.call('DEL', key)
    elseif left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
end
"""


class ServersClock(FakeClock):
    """A clock that takes the time it lets pass from the lives of all keys of some servers."""

    def __init__(self, age: Callable[[float], None]) -> None:
        super().__init__()
        self._age = age

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._age(seconds)


class Store(NamedTuple):
    """How to make an empty store, and what its time is."""

    make: Callable[[FakeClock], Backend]
    clock: Callable[[], FakeClock] = FakeClock
    unit: int = 1
    """Factor of all times; great where real time passes too, so that this does not matter."""
    slack: float = 0.01
    """Seconds by which lives may differ."""
    examples: int = 20


class Model:
    """The values and ends of a cache's entries, by key and version."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.entries: dict[Named, tuple[Any, float | None]] = {}

    def get(self, name: Named) -> Any:
        value, ends = self.entries.get(name, (MISS, None))
        return MISS if ends is not None and ends <= self.clock.monotonic() else value

    def get_many(self, keys: list[str], version: int) -> dict[str, Any]:
        values = {key: self.get((key, version)) for key in keys}
        return {key: value for key, value in values.items() if value is not MISS}

    def set(self, name: Named, value: Any, timeout: float | None) -> None:
        ends = None if timeout is None else self.clock.monotonic() + timeout
        self.entries[name] = value, ends

    def delete(self, name: Named) -> bool:
        there = self.get(name) is not MISS
        self.entries.pop(name, None)
        return there

    def ttl(self, name: Named) -> float | None:
        if self.get(name) is MISS:
            return 0.0
        ends = self.entries[name][1]
        return None if ends is None else ends - self.clock.monotonic()


class Machine(RuleBasedStateMachine):
    """A cache and its model; each step is made in the face that Hypothesis chooses."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.clock = store.clock()
        self.model = Model(self.clock)
        self.backend = store.make(self.clock)
        self.cache = Cache(self.backend, key_prefix="shop")
        self.loop = asyncio.Runner()
        self.faces = cycle(["", "a"])

    def teardown(self) -> None:
        self.loop.close()
        self.cache.close()

    def do(self, face: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the cache in one face."""
        called = getattr(self.cache, face + method)(*args, **kwargs)
        return self.loop.run(called) if face else called

    def scaled(self, timeout: float | None) -> float | None:
        """Return a time in seconds."""
        return None if timeout is None else timeout * self.store.unit

    @rule(face=FACES, key=KEYS, value=VALUES, timeout=TIMEOUTS, version=VERSIONS)
    def set(self, face: str, key: str, value: Any, timeout: Any, version: int) -> None:
        timeout = self.scaled(timeout)
        assert self.do(face, "set", key, value, timeout, version) is True
        self.model.set((key, version), value, timeout)

    @rule(face=FACES, key=KEYS, value=VALUES)
    def set_for_the_default_timeout(self, face: str, key: str, value: Any) -> None:
        assert self.do(face, "set", key, value) is True
        self.model.set((key, 1), value, 300)

    @rule(face=FACES, key=KEYS, value=VALUES, timeout=TIMEOUTS, version=VERSIONS)
    def add(self, face: str, key: str, value: Any, timeout: Any, version: int) -> None:
        name, timeout = (key, version), self.scaled(timeout)
        stores = self.model.get(name) is MISS and (timeout is None or timeout > 0)
        assert self.do(face, "add", key, value, timeout, version) is stores
        if stores:
            self.model.set(name, value, timeout)

    @rule(face=FACES, key=KEYS, version=VERSIONS)
    def has_key(self, face: str, key: str, version: int) -> None:
        there = self.model.get((key, version)) is not MISS
        assert self.do(face, "has_key", key, version) is there

    @rule(face=FACES, key=KEYS, timeout=TIMEOUTS, version=VERSIONS)
    def touch(self, face: str, key: str, timeout: Any, version: int) -> None:
        name, timeout = (key, version), self.scaled(timeout)
        value = self.model.get(name)
        assert self.do(face, "touch", key, timeout, version) is (value is not MISS)
        if value is not MISS:
            self.model.set(name, value, timeout)

    @rule(face=FACES, key=KEYS, version=VERSIONS)
    def delete(self, face: str, key: str, version: int) -> None:
        assert self.do(face, "delete", key, version) is self.model.delete((key, version))

    @rule(face=FACES, key=KEYS, delta=st.sampled_from([1, -1, 0, 5, 2**63 - 1, -(2**63)]))
    def incr(self, face: str, key: str, delta: int) -> None:
        value = self.model.get((key, 1))
        error: type[Exception] | None = None
        if value is MISS:
            error = MissingKey
        elif type(value) is not int or not -(2**63) <= value < 2**63:
            error = NotACounter
        elif not -(2**63) <= value + delta < 2**63:
            error = CounterOverflow
        if error is not None:
            with pytest.raises(error):
                self.do(face, "incr", key, delta)
            return
        assert self.do(face, "incr", key, delta) == value + delta
        self.model.entries[key, 1] = value + delta, self.model.entries[key, 1][1]

    @rule(face=FACES, key=KEYS, version=st.sampled_from([1, 2]), delta=st.sampled_from([-1, 1]))
    def incr_version(self, face: str, key: str, version: int, delta: int) -> None:
        old, new = (key, version), (key, version + delta)
        value = self.model.get(old)
        if value is MISS:
            with pytest.raises(MissingKey):
                self.do(face, "incr_version", key, delta, version)
        else:
            assert self.do(face, "incr_version", key, delta, version) == version + delta
            self.model.set(new, value, self.model.ttl(old))
            self.model.delete(old)

    @rule(face=FACES, keys=MANY, version=VERSIONS)
    def get_many(self, face: str, keys: list[str], version: int) -> None:
        same(self.do(face, "get_many", keys, version), self.model.get_many(keys, version))

    @rule(face=FACES, data=st.dictionaries(KEYS, VALUES), timeout=TIMEOUTS, version=VERSIONS)
    def set_many(self, face: str, data: dict[str, Any], timeout: Any, version: int) -> None:
        timeout = self.scaled(timeout)
        assert self.do(face, "set_many", data, timeout, version) == []
        for key, value in data.items():
            self.model.set((key, version), value, timeout)

    @rule(face=FACES, keys=MANY, version=VERSIONS)
    def delete_many(self, face: str, keys: list[str], version: int) -> None:
        deleted = sum(self.model.delete((key, version)) for key in keys)
        assert self.do(face, "delete_many", keys, version) == deleted

    @rule(face=FACES, key=KEYS, value=VALUES, timeout=TIMEOUTS, call=st.booleans())
    def get_or_set(self, face: str, key: str, value: Any, timeout: Any, call: bool) -> None:
        there, timeout = self.model.get((key, 1)), self.scaled(timeout)
        default = (lambda: value) if call else value
        same(self.do(face, "get_or_set", key, default, timeout), value if there is MISS else there)
        if there is MISS:
            self.model.set((key, 1), value, timeout)

    @rule(face=FACES)
    def clear(self, face: str) -> None:
        self.do(face, "clear")
        self.model.entries.clear()

    @rule(face=FACES)
    def close(self, face: str) -> None:
        self.do(face, "close")

    @rule(seconds=TIMES)
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds * self.store.unit)

    @invariant()
    def agree(self) -> None:
        """Both have the same entries with the same lives, and nothing is on its way."""
        face = next(self.faces)
        for version in range(4):
            same(self.do(face, "get_many", NAMES, version), self.model.get_many(NAMES, version))
        for name in self.model.entries:
            same(self.do(face, "get", name[0], MISS, name[1]), self.model.get(name))
            left, expected = self.do(face, "ttl", *name), self.model.ttl(name)
            slack = self.store.slack
            assert left is None if expected is None else left == pytest.approx(expected, abs=slack)
        assert not self.cache._claims.table


def same(found: Any, expected: Any) -> None:
    """Check that both are equal and of one type."""
    assert found == expected
    assert type(found) is type(expected)


def _local(kind: str, folder: Path) -> Store:
    numbers = count()

    def make(clock: FakeClock) -> Backend:
        if kind == "memory":
            return MemoryBackend(f"machine-{id(clock)}", clock=clock)
        if kind == "sqlite":
            return SQLiteBackend(
                str(folder / f"{next(numbers)}.db"), clock=clock, deadline=PATIENCE
            )
        if kind == "files":
            return FilesBackend(str(folder / str(next(numbers))), clock=clock, deadline=PATIENCE)
        return DictBackend(clock=clock)

    return Store(make)


def _remote(servers: Sequence[RedisServer], location: str | list[str], **options: Any) -> Store:
    def make(clock: FakeClock) -> Backend:
        for server in servers:
            server.flush()
        return RedisBackend(location, deadline=PATIENCE, **options)

    def age(seconds: float) -> None:
        for server in servers:
            server.command("EVAL", AGE, 0, round(seconds * 1000))

    return Store(make, lambda: ServersClock(age), unit=1000, slack=10, examples=8)


def _memcached(servers: Sequence[MemcachedServer]) -> Store:
    def make(clock: FakeClock) -> Backend:
        for server in servers:
            server.flush()
        return MemcachedBackend([server.address for server in servers], deadline=PATIENCE)

    def age(seconds: float) -> None:
        for server in servers:
            server.age(round(seconds))

    return Store(make, lambda: ServersClock(age), unit=100, slack=10, examples=6)


STORES = (
    *("memory", "sqlite", "files", "third party", "redis", "cluster", "sentinels"),
    *("memcached", "three memcached"),
)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return each store in turn."""
    kind: str = request.param
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return _remote([server], server.url)
    if kind == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        return _remote(cluster.primaries, cluster.urls, cluster=True)
    if kind == "sentinels":
        sentinels: RedisSentinels = request.getfixturevalue("redis_sentinels")
        urls = sentinels.sentinel_urls
        return _remote([sentinels.primary], urls, sentinel=sentinels.service)
    if "memcached" in kind:
        servers: list[MemcachedServer] = request.getfixturevalue("memcached_servers")
        return _memcached(servers if kind.startswith("three") else servers[:1])
    return _local(kind, tmp_path)


def _run(store: Store, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: Machine(store),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_store_agrees_with_a_dict(store: Store) -> None:
    """Random steps in random faces leave a store and the model with the same entries."""
    _run(store, store.examples, steps=30)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_store_agrees_with_a_dict_for_long(store: Store) -> None:
    """So do many more, and longer, runs."""
    _run(store, 20 * store.examples, steps=60)
