"""memcached: claims, and stubs amid the commands of others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import MemcachedServer
from tests.chaos.fixtures import MakeProxy
from twofold import Cache
from twofold.backends.memcached import MemcachedBackend, claimed
from twofold.backends.memcached.stubs import StubHiding
from twofold.backends.network.async_connection import AsyncConnection
from twofold.backends.network.pool import ConnectionPool
from twofold.errors import BackendUnavailable, MissingKey
from twofold.stub import new_stub
from twofold.testing import FACES, Face
from twofold.testing.faces import case

LONG = 1000.0
KEY = "k"


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def opened(face: Face) -> Iterator[Callable[[str], Any]]:
    """Return a function that makes backends, in the face; all are closed in the end."""
    made: list[MemcachedBackend] = []

    def make(location: str) -> Any:
        made.append(MemcachedBackend(location, deadline=10.0))
        return face.view(made[-1])

    yield make
    for each in made:
        each.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that has one more item for each round trip, in both faces."""
    made: list[None] = []

    def counted(owner: type, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: made.append(None) or real(*given))

    counted(ConnectionPool, "execute")
    counted(ConnectionPool, "execute_batches")
    counted(AsyncConnection, "submit")
    return made


def asked(server: MemcachedServer) -> dict[str, int]:
    """Return how often a server was asked to do what."""
    names = ("cmd_get", "cmd_set", "cmd_meta", "cmd_touch", "cas_hits", "cas_badval", "delete_hits")
    return {name: int(count) for name, count in server.stats().items() if name in names}


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return what was counted meanwhile."""
    return {name: more for name, count in after.items() if (more := count - before[name])}


def test_a_miss_is_three_round_trips(
    face: Face, memcached_server: MemcachedServer, trips: list[None]
) -> None:
    """They are a read, a claim, and the value over the claim."""
    cache = Cache(f"memcached://{memcached_server.address}")

    async def body() -> None:
        view = face.view(cache)
        assert await view.get_or_set("warm", lambda: "v") == "v"
        before = asked(memcached_server)
        trips.clear()
        assert await view.get_or_set("k", lambda: "v") == "v"
        assert len(trips) == 3
        came = difference(before, asked(memcached_server))
        assert came == {"cmd_get": 3, "cmd_set": 2, "cas_hits": 1}
        trips.clear()
        assert await view.get_or_set("k", lambda: "w") == "v"
        assert len(trips) == 1
        await view.close()

    face.run(body())


class TestClaims:
    """What becomes of a claim."""

    @case
    async def test_each_step_of_a_claim_is_one_round_trip(
        self, opened: Callable[[str], Any], memcached_server: MemcachedServer, trips: list[None]
    ) -> None:
        """Whether the key is missing, claimed or there; and so is giving the claim back."""
        store, stub = opened(memcached_server.address), new_stub()
        assert await store.get("warm") is None
        for call, result in (
            (lambda: store.get_or_claim(KEY, stub, LONG), None),
            (lambda: store.get_or_claim(KEY, new_stub(), LONG), stub),
            (lambda: store.release(KEY, stub), True),
            (lambda: store.get_or_claim(KEY, stub, LONG), None),
            (lambda: store.fill(KEY, stub, b"v", LONG), True),
            (lambda: store.get_or_claim(KEY, stub, LONG), b"v"),
        ):
            trips.clear()
            assert await call() == result
            assert len(trips) == 1

    @case
    async def test_a_claim_whose_number_was_forgotten_is_filled(
        self,
        opened: Callable[[str], Any],
        memcached_server: MemcachedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Few numbers are kept; a claim without one is compared by a look before."""
        monkeypatch.setattr(claimed, "_MOST", 2)
        store = opened(memcached_server.address)
        stubs = {f"k{n}": new_stub() for n in range(4)}
        for key, stub in stubs.items():
            assert await store.get_or_claim(key, stub, LONG) is None
        assert len(store.target._cas._claimed._uniques) == 2
        for key, stub in stubs.items():
            assert await store.fill(key, new_stub(), b"w", LONG) is False
            assert await store.fill(key, stub, b"v", LONG) is True
        assert not store.target._cas._claimed._uniques

    @case
    async def test_a_claim_that_another_process_renewed_is_filled(
        self, opened: Callable[[str], Any], memcached_server: MemcachedServer
    ) -> None:
        """Its number has changed meanwhile, its stub has not."""
        store, other = opened(memcached_server.address), opened(memcached_server.address)
        stub = new_stub()
        assert await store.get_or_claim(KEY, stub, LONG) is None
        assert await other.renew(KEY, stub, LONG) is True
        assert await store.fill(KEY, stub, b"v", LONG) is True
        assert await store.get(KEY) == b"v"

    @pytest.mark.parametrize("theirs", ["stub", "value"])
    @case
    async def test_a_restarted_server_has_no_claims(
        self, opened: Callable[[str], Any], tmp_path: Path, theirs: str
    ) -> None:
        """It counts from 1 or 2 again; what has a claim's number by chance is not replaced."""
        with MemcachedServer(tmp_path / "own") as server:
            store, other = opened(server.address), opened(server.address)
            stub, value = new_stub(), b"theirs" if theirs == "value" else new_stub()
            assert await store.get_or_claim(KEY, stub, LONG) is None
            [number] = store.target._cas._claimed._uniques.values()
            server.restart()
            assert await store.get("an idle connection") is None
            while b" %d\r\n" % number not in server.command(b"gets k\r\n"):
                assert await other.set(KEY, value, LONG) is True
            assert await store.fill(KEY, stub, b"stale", LONG) is False
            assert await store.get(KEY) is None

    @case
    async def test_a_claim_whose_reply_is_lost(
        self, face: Face, memcached_server: MemcachedServer, proxied: MakeProxy
    ) -> None:
        """It is an outage to the caller; whoever comes next takes the claim over."""
        proxy = proxied(memcached_server)
        cache = Cache(f"memcached://{proxy.address}", options={"deadline": 10.0})
        view, calls = face.view(cache), []
        assert await view.get("warm") is None
        claim = cache.backend.get_or_claim if face.name == "sync" else cache.backend.aget_or_claim

        def cut(*given: Any) -> Any:
            calls.append(given)
            if len(calls) == 1:
                proxy.cut_after(0)
            return claim(*given)

        name = "get_or_claim" if face.name == "sync" else "aget_or_claim"
        setattr(cache.backend, name, cut)
        assert await view.get_or_set(KEY, lambda: "first") == "first"
        assert await view.get(KEY) is None
        assert await view.get_or_set(KEY, lambda: "second") == "second"
        assert await view.get(KEY) == "second"
        assert len(calls) == 2
        await view.close()

    @case
    async def test_a_server_without_cas_holds_nobody_up(self, face: Face, tmp_path: Path) -> None:
        """No claim can be filled there, so none is waited for."""
        with MemcachedServer(tmp_path / "own", "-C") as server:
            ours, theirs = Cache(f"memcached://{server.address}"), MemcachedBackend(server.address)
            with pytest.raises(BackendUnavailable, match=r"runs without CAS"):
                await face.view(theirs).get_or_claim(":1:k", b"\xf3of-another-host!", LONG)
            assert await face.view(ours).get_or_set("k", lambda: "v") == "v"
            await face.view(ours).close()
            await face.view(theirs).close()


class TestStubs:
    """What a stub is to those who ask for the key."""

    @pytest.mark.parametrize("knows_meta", [True, False])
    @case
    async def test_a_stub_is_no_value(
        self,
        opened: Callable[[str], Any],
        memcached_server: MemcachedServer,
        knows_meta: bool,
    ) -> None:
        """Behind a proxy, which lets no `mg` through, as little as elsewhere."""
        store, stub = opened(memcached_server.address), new_stub()
        store.target._router.servers()[0].connector.is_proxied = not knows_meta
        assert await store.get_or_claim(KEY, stub, LONG) is None
        assert await store.get(KEY) == stub
        assert await store.get_many([KEY]) == {KEY: stub}
        assert await store.has(KEY) is False
        assert await store.touch(KEY, None) is False
        with pytest.raises(MissingKey):
            await store.incr(KEY, 1)
        assert await store.delete(KEY) is False
        assert await store.fill(KEY, stub, b"v", LONG) is False
        assert await store.get_or_claim(KEY, stub, LONG) is None
        assert await store.set("l", b"v", LONG) is True
        assert await store.delete_many([KEY, "l", "m"]) == 1
        assert await store.get_or_claim(KEY, stub, LONG) is None
        assert await store.add(KEY, b"v", LONG) is True
        assert await store.add(KEY, b"w", LONG) is False
        assert await store.touch(KEY, 2 * LONG) is True
        assert b"HD t2000" in memcached_server.command(b"mg k t\r\n")
        assert await store.delete(KEY) is True

    @case
    async def test_no_value_is_fetched_for_what_does_not_return_it(
        self, opened: Callable[[str], Any], memcached_server: MemcachedServer, trips: list[None]
    ) -> None:
        """Big values stay where they are while keys are looked at, and most looks cost nothing."""
        store = opened(memcached_server.address)
        assert await store.has("warm") is False
        for call, result, most in (
            (lambda: store.has(KEY), True, 1),
            (lambda: store.add(KEY, b"w", LONG), False, 1),
            (lambda: store.touch(KEY, LONG), True, 2),
            (lambda: store.ttl(KEY), LONG, 1),
            (lambda: store.delete(KEY), True, 1),
            (lambda: store.delete_many([KEY, "l"]), 1, 1),
        ):
            assert await store.set(KEY, b"v" * 100_000, LONG) is True
            sent = int(memcached_server.stats()["bytes_written"])
            trips.clear()
            assert await call() == pytest.approx(result, rel=0.05)
            assert len(trips) == most
            assert int(memcached_server.stats()["bytes_written"]) - sent < 10_000

    @case
    async def test_a_touch_prolongs_no_claim(
        self,
        opened: Callable[[str], Any],
        memcached_server: MemcachedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Where one has taken the value's place since the look, it ends."""
        store, other = opened(memcached_server.address), opened(memcached_server.address)
        stub, looks = new_stub(), StubHiding._ask

        async def claimed_behind(*given: Any) -> Any:
            outcome = await looks(*given)
            assert await other.delete(KEY) is True
            assert await other.get_or_claim(KEY, stub, LONG) is None
            return outcome

        assert await store.set(KEY, b"v", LONG) is True
        monkeypatch.setattr(StubHiding, "_ask", claimed_behind)
        assert await store.touch(KEY, None) is False
        assert await other.fill(KEY, stub, b"v", LONG) is False
        assert await other.get(KEY) is None
