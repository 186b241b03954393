"""Values that have metadata, beyond the conformance suite: odd stores, races, faults."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest

from tests.chaos import MemcachedServer
from tests.dict_backend import DictBackend
from twofold import Cache
from twofold.backend import Backend
from twofold.backends.memcached import MemcachedBackend, proxies
from twofold.backends.memory import MemoryBackend
from twofold.claims.filter import hiding_stubs
from twofold.entry import Meta
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.metadata import Removed, head
from twofold.stub import STUB_MAGIC, STUB_SIZE
from twofold.testing import FACES, ChaosBackend, Face, FakeClock
from twofold.testing.described_cases import DescribedCases, DescribedStoreCases
from twofold.testing.faces import case

LONG = 1000.0


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


class TestSharedObjects(DescribedCases):
    """Objects that are kept as they are, under keys of a function."""

    settings: ClassVar = {
        "SERIALIZER": None,
        "KEY_FUNCTION": lambda key, prefix, version: f"{version}/{prefix}/{key}",
    }

    def make_backend(self, clock: FakeClock, tmp_path: Any) -> Backend:
        return MemoryBackend(str(tmp_path), clock=clock)


class TestSignedAndCompressed(DescribedCases):
    """Entries that are signed and compressed, counters among them."""

    settings: ClassVar = {"SECRET": "a secret of its own", "COMPRESSOR": "zlib", "COMPRESS_MIN": 0}

    def make_backend(self, clock: FakeClock) -> Backend:
        return DictBackend(clock=clock)


class TestPrivateThirdParty(DescribedStoreCases):
    """A third party's store in the process, which is read and written in one thread at a time."""

    def make_backend(self, clock: FakeClock) -> Backend:
        backend = DictBackend(clock=clock)
        backend.private = True
        return backend


class TestServerWithoutMetaCommands(DescribedStoreCases):
    """A memcached that does not know `mg` is asked for the value."""

    def make_backend(
        self, memcached_servers: list[MemcachedServer], monkeypatch: pytest.MonkeyPatch
    ) -> Backend:
        monkeypatch.setattr(proxies, "_knows_meta", lambda _node: False)
        return MemcachedBackend(memcached_servers[0].address, deadline=10.0)

    @case
    async def test_a_look_tells_its_life(self, told: Any, described: Callable[[Meta], Any]) -> None:
        """Not here: no command tells it, and 0.0 says so."""
        stored = described(Meta(5.0))
        await told.set("k", stored, 1000)
        assert await told.look("k") == (stored, 0.0)
        assert await told.look_many(["k"]) == {"k": (stored, 0.0)}


_made: list[Cache] = []


def cache_over(store: Backend, **options: Any) -> Cache:
    """Return a cache that is closed after the test."""
    _made.append(Cache(store, options=options))
    return _made[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


class Restless(DictBackend):
    """A store in which somebody else writes a described value before each write."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.writes = 0
        self.theirs: Callable[[int], bytes] | None = None

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        self.writes += 1
        if self.theirs is not None:
            self.set(key, self.theirs(self.writes), None)
        return super().compare_and_set(key, expected, value, ttl)


def described(cache: Cache, soft: float, n: int = 0) -> bytes:
    """Return a described value, of a cache of bytes, that is fresh for `soft` seconds more."""
    now = cache.backend.clock.time()
    stored: bytes = cache._codec.dump(":1:k", [n], Meta(now - 5, now + soft, now + LONG))
    return stored


def test_others_may_write_a_bounded_number_of_times(face: Face) -> None:
    """Who is forestalled again and again says so."""
    clock = FakeClock()
    store = Restless(clock)
    cache = cache_over(store)
    view = face.view(cache)

    async def body() -> None:
        for soft, use in (
            (60.0, lambda: view.touch("k", 60)),
            (60.0, lambda: view.mark_stale("k")),
            (-1.0, lambda: view.add("k", "v")),
        ):
            store.theirs = None
            store.set(":1:k", described(cache, soft), None)
            store.theirs = lambda n, soft=soft: described(cache, soft, n)
            before = store.writes
            with pytest.raises(BackendUnavailable, match="written 16 times"):
                await use()
            assert store.writes == before + 16

    face.run(body())


def test_another_value_meanwhile_is_decided_on(face: Face) -> None:
    """A stale value that becomes a fresh one, a plain one, or none, is what is asked about then."""
    store = Restless(FakeClock())
    cache = cache_over(store)
    view = face.view(cache)

    async def body() -> None:
        for theirs in (described(cache, 60.0), b"7"):
            store.theirs = None
            store.set(":1:k", described(cache, -1.0), None)
            store.theirs = lambda _n, theirs=theirs: theirs
            assert await view.add("k", "v") is False
            assert store.get(":1:k") == theirs

    face.run(body())


def test_damaged_metadata_are_missing(face: Face) -> None:
    """A value that cannot be verified is missing, and is replaced."""
    store = DictBackend()
    view = face.view(cache_over(store))

    async def body() -> None:
        for damaged in (b"\xf2\x01\x02\x10", b"\xf2\x01\x02\x10" + b"\xff" * 60):
            store.set(":1:k", damaged, None)
            assert await view.has_key("k") is False
            assert await view.ttl("k") == 0.0
            assert await view.touch("k", 60) is False
            assert await view.mark_stale("k") is False
            assert await view.get("k", allow_stale=True) is None
            assert await view.add("k", "v") is True
            assert await view.get("k") == "v"
            store.set(":1:k", damaged, None)
            assert await view.delete("k") is False
            assert store.get(":1:k") is None

    face.run(body())


@pytest.mark.parametrize("soft", [-1.0, None])
def test_a_refresh_that_began_before_a_mark_is_refused(face: Face, soft: float | None) -> None:
    """What another process computes meanwhile, of a stale key or a missing one, is not kept."""
    store = DictBackend()
    cache, other = cache_over(store), cache_over(store)
    view = face.view(cache)

    def older() -> str:
        assert other.mark_stale("k") is False
        return "older"

    async def body() -> None:
        if soft is not None:
            store.set(":1:k", described(cache, soft), None)
        assert await view.get_or_set("k", older, 60, stale=60, wait=None) == "older"
        assert await view.get("k") is None
        assert await view.get("k", allow_stale=True) == (None if soft is None else [0])

    face.run(body())


class Failing(DictBackend):
    """A store that fails, if told to, when it is read."""

    failing = False

    def get(self, key: str) -> bytes | None:
        if self.failing:
            raise BackendUnavailable("told to fail")
        return super().get(key)


def test_an_outage_is_a_miss(face: Face) -> None:
    """Where the settings say so, also amid the steps at a value that has metadata."""
    store = Failing()
    cache = cache_over(store, on_error="miss")
    view = face.view(cache)

    async def body() -> None:
        store.set(":1:k", described(cache, 60.0), None)
        store.failing = True
        assert await view.has_key("k") is False
        assert await view.touch("k", 60) is False
        assert await view.ttl("k") == 0.0
        assert await view.add("k", "v") is False
        assert await view.mark_stale("k") is False
        store.failing = False
        assert await view.has_key("k") is True

    face.run(body())


class Partial(DictBackend):
    """A store some of whose servers do not answer."""

    tells_metadata = True
    hides_stubs = True

    def delete_many(self, keys: Sequence[str]) -> int:
        metas = [head(self._entries[key][0]) for key in keys]
        raise PartlyUnavailable("not all servers answered", Removed.of(1, metas))


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_a_part_counts_what_was_fresh(face: Face, on_error: str) -> None:
    """What the servers that answered removed is counted as otherwise."""
    store = Partial()
    cache = cache_over(store, on_error=on_error)
    view = face.view(cache)

    async def body() -> None:
        store.set(":1:k", described(cache, 60.0), None)
        store.set(":1:l", described(cache, -1.0), None)
        if on_error == "miss":
            assert await view.delete_many(["k", "l"]) == 2
            return
        with pytest.raises(PartlyUnavailable) as raised:
            await view.delete_many(["k", "l"])
        assert raised.value.result == 2
        assert type(raised.value.result) is int

    face.run(body())


@pytest.mark.parametrize("on_error", ["raise", "miss"])
@pytest.mark.parametrize("value", [STUB_MAGIC.ljust(STUB_SIZE), b"\xf2\x01\x02".ljust(99)])
def test_bytes_among_objects_are_only_bytes(face: Face, value: bytes, on_error: str) -> None:
    """Also where an outage is a miss: they are no stub, and have no metadata."""
    cache = Cache(ChaosBackend(inner=f"memory://{on_error}"), options={"on_error": on_error})
    view = face.view(cache)

    async def body() -> None:
        await view.set("k", value)
        assert await view.has_key("k")
        assert not await view.add("k", 1)
        assert await view.touch("k", 100)
        assert await view.ttl("k") > 0
        assert await view.mark_stale("k")
        assert await view.get("k", allow_stale=True) == value
        assert await view.get("k") is None
        await view.close()

    face.run(body())


def test_only_what_cannot_tell_is_wrapped() -> None:
    """A store that does both itself is used as it is."""
    store = Partial()
    assert hiding_stubs(store) is store
    assert hiding_stubs(DictBackend()).tells_metadata
