"""Every backend does the same: the conformance suite over all stores, settings and wrappers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dict_backend import DictBackend

from tests.chaos import MemcachedServer, RedisCluster, RedisSentinels, RedisServer
from tests.redis_lives import RedisLives
from twofold.backend import Backend
from twofold.backends.dummy import DummyBackend
from twofold.backends.files import FilesBackend
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.memory import MemoryBackend
from twofold.backends.redis import RedisBackend, replies
from twofold.backends.sqlite import SQLiteBackend
from twofold.clock import Clock
from twofold.core import Cache
from twofold.errors import MissingKey
from twofold.outage import FailOpen
from twofold.testing import FACES, BackendConformance, ChaosBackend, Face, FakeClock
from twofold.testing.cache_cases import CacheCases
from twofold.testing.life_cases import _forked
from twofold.testing.samples import PLAIN

PATIENCE = 10.0  # seconds: what operations mean is no matter of how fast a machine is


class TestMemory(BackendConformance):
    """The memory store."""

    def make_backend(self, clock: FakeClock) -> Backend:
        return memory(clock)


class TestSQLite(BackendConformance):
    """The SQLite store."""

    def make_backend(self, tmp_path: Path, clock: FakeClock) -> Backend:
        return SQLiteBackend(str(tmp_path / "cache.db"), deadline=PATIENCE, clock=clock)


class TestFiles(BackendConformance):
    """The store of files."""

    def make_backend(self, tmp_path: Path, clock: FakeClock) -> Backend:
        return FilesBackend(str(tmp_path / "cache"), deadline=PATIENCE, clock=clock)


class RedisTime(RedisLives, BackendConformance):
    """A store whose servers' clocks are their own; nothing waits for that."""


class TestRedis(RedisTime):
    """One Redis."""

    def make_backend(self, redis_server: RedisServer) -> Backend:
        return RedisBackend(redis_server.url, deadline=PATIENCE)


class TestRedisWithoutHiredis(RedisTime):
    """One Redis, whose replies our own reader reads."""

    def make_backend(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setattr(replies, "hiredis", None)
        return RedisBackend(redis_server.url, deadline=PATIENCE)


class TestRedisCluster(RedisTime):
    """Three primaries, found by way of one of them."""

    @pytest.fixture
    def urls(self, redis_cluster: RedisCluster) -> list[str]:
        return redis_cluster.urls

    def make_backend(self, redis_cluster: RedisCluster) -> Backend:
        return RedisBackend(redis_cluster.urls[0], cluster=True, deadline=PATIENCE)


class TestRedisBehindSentinels(RedisTime):
    """The primary that sentinels name."""

    @pytest.fixture
    def urls(self, redis_sentinels: RedisSentinels) -> list[str]:
        return [server.url for server in redis_sentinels.servers]

    def make_backend(self, redis_sentinels: RedisSentinels) -> Backend:
        return RedisBackend(
            redis_sentinels.sentinel_urls, sentinel=redis_sentinels.service, deadline=PATIENCE
        )


class MemcachedTime(BackendConformance):
    """A store whose servers' clocks tick once a second; nothing waits for that."""

    life = 30.0  # one of a second could end before the next call

    @pytest.fixture
    def outlive(self, memcached_servers: list[MemcachedServer]) -> Callable[[], None]:
        """Return a function that ends what the servers would end within a short life."""

        def end() -> None:
            for each in memcached_servers:
                each.end_lives(self.life + 2)  # a lock's is a second longer

        return end


class TestMemcached(MemcachedTime):
    """One memcached."""

    def make_backend(self, memcached_servers: list[MemcachedServer]) -> Backend:
        return MemcachedBackend(memcached_servers[0].address, deadline=PATIENCE)


class TestMemcachedServers(MemcachedTime):
    """Three memcached servers."""

    def make_backend(self, memcached_servers: list[MemcachedServer]) -> Backend:
        return MemcachedBackend([each.address for each in memcached_servers], deadline=PATIENCE)


class TestThirdParty(BackendConformance):
    """A store with the sync half alone, in real time."""

    def make_backend(self) -> Backend:
        return DictBackend()


class TestChaosBackendWithoutChaos(BackendConformance):
    """The wrapper for tests, as long as it is told to do nothing."""

    def make_backend(self, clock: FakeClock) -> Backend:
        return ChaosBackend(inner=memory(clock))


class TestFailOpen(BackendConformance):
    """The wrapper for outages, while there is none."""

    def make_backend(self, clock: FakeClock, request: pytest.FixtureRequest) -> Backend:
        inner = DictBackend(clock=clock)
        request.addfinalizer(inner.close)
        return FailOpen(inner, "default")

    def test_in_an_outage_nothing_is_set_or_deleted(self, face: Face) -> None:
        """The failure is counted, and not raised."""
        broken = ChaosBackend(inner=DictBackend(), operations=["set_and_delete"])
        store = FailOpen(broken, "default")
        broken.set("a", b"v", None)
        broken.failure_rate = 1.0
        face.run(face.view(store).set_and_delete("k", b"v", ["a"]))
        assert store.outage.failures == 1
        assert broken.get_many(["k", "a"]) == {"a": b"v"}
        broken.close()


class TestMemoryAndPickle(CacheCases):
    """The memory store, with copies made by pickle."""

    settings: ClassVar = {"SERIALIZER": "pickle"}

    def make_backend(self, clock: FakeClock) -> Backend:
        return memory(clock)


class TestSignedAndCompressed(CacheCases):
    """Entries that are signed and compressed."""

    settings: ClassVar = {"SECRET": "a secret of its own", "COMPRESSOR": "zstd", "COMPRESS_MIN": 0}

    def make_backend(self, clock: FakeClock) -> Backend:
        return DictBackend(clock=clock)


class TestSignedPickles(CacheCases):
    """Signed and compressed pickles."""

    settings: ClassVar = {
        "SERIALIZER": "pickle",
        "SECRET": b"a secret of its own",
        "COMPRESSOR": "lz4",
    }

    def make_backend(self, clock: FakeClock) -> Backend:
        return DictBackend(clock=clock)


class TestSQLiteAndJson(CacheCases):
    """The SQLite store with compressed JSON."""

    settings: ClassVar = {"SERIALIZER": "json", "COMPRESSOR": "zlib", "COMPRESS_MIN": 10}
    values = PLAIN

    def make_backend(self, tmp_path: Path, clock: FakeClock) -> Backend:
        return SQLiteBackend(str(tmp_path / "cache.db"), deadline=PATIENCE, clock=clock)


def memory(clock: Clock) -> MemoryBackend:
    """Return a memory backend with a store of its own."""
    return MemoryBackend(f"test-{id(clock)}", clock=clock)


@pytest.mark.parametrize("face", FACES)
def test_the_dummy_store_keeps_nothing(face: Face) -> None:
    """Every write is accepted and every read a miss, in both faces."""

    async def use(store: Any) -> None:
        assert await store.set("k", 1) is True
        assert await store.set_many({"k": 1}) == []
        assert await store.add("k", 1) is True
        assert await store.get("k", "miss") == "miss"
        assert await store.get_many(["k"]) == {}
        assert await store.get_or_set("k", lambda: 7) == 7
        assert await store.has_key("k") is False
        assert await store.touch("k") is False
        assert await store.ttl("k") == 0.0
        assert await store.delete("k") is False
        assert await store.delete_many(["k"]) == 0
        with pytest.raises(MissingKey):
            await store.incr("k")
        await store.clear()
        await store.close()

    face.run(use(face.view(Cache(DummyBackend()))))


def test_a_suite_without_a_factory_says_what_is_missing() -> None:
    """Who forgets to name a factory is told so."""
    with pytest.raises(NotImplementedError, match="define make_backend"):
        BackendConformance().make_backend()


def test_what_went_wrong_in_a_forked_child_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """Its exit status alone would leave who writes a backend without a clue."""

    def work() -> None:
        raise ValueError("in the child")

    assert _forked(work) == 1
    assert "ValueError: in the child" in capfd.readouterr().err
