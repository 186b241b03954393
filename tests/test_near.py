"""The near tier: what is kept, until when it is served, and what ends it."""

import asyncio
import inspect
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.near_world import BOUND, FarStore, world
from twofold import Cache
from twofold.backend import Backend
from twofold.errors import BackendUnavailable, PartlyUnavailable, SettingsError
from twofold.forwarding import Forwarding
from twofold.near.options import NearOptions
from twofold.near.writes import OwnWrites
from twofold.settings import read_caches
from twofold.testing import FACES, FakeClock

KEYS = ["a", "b"]
_MISSING = -1


class Process:
    """One process of the world: its cache, and which of its own writes have returned."""

    def __init__(self, far: FarStore, clock: FakeClock) -> None:
        self.far, self.clock = far, clock
        self.cache = Cache(far, near={"staleness": BOUND}, key_prefix="p", timeout=None)
        self.floor: dict[str, int] = dict.fromkeys(KEYS, 0)

    @property
    def watch(self) -> Any:
        return self.far.watches[-1] if self.far.watches else None


class Model:
    """The order of all writes at the server, by which each read is judged."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock, self.server, fars = world(seed)
        self.processes = [Process(far, self.clock) for far in fars]
        self.numbers = 0

    def seen(self, key: str) -> list[tuple[int, float]]:
        """Return what stood under a key, one after another, with the times since when."""
        codec = self.processes[0].cache._codec
        full = f"p:1:{key}"
        found = [(_MISSING, 0.0)]
        for each in self.server.writes.get(full, []):
            value = _MISSING if each.value is None else codec.load(full, each.value)["n"]
            found.append((value, each.time))
        return found

    def at(self, key: str) -> int:
        """Return how many writes of a key there were."""
        return len(self.server.writes.get(f"p:1:{key}", []))

    def check(self, process: Process, key: str, value: int, floor: int, since: float) -> None:
        """Assert that a read which began at `since` may have returned `value`."""
        history = self.seen(key)
        ends = [time for _, time in history[1:]] + [float("inf")]
        allowed = [
            number
            for at, (number, _) in enumerate(history)
            if at >= floor and ends[at] >= since - BOUND
        ]
        assert value in allowed, (key, value, floor, since, history)

    async def read(self, process: Process, key: str) -> None:
        floor, since = process.floor[key], self.clock.monotonic()
        found = await process.cache.aget(key)
        self.check(process, key, _MISSING if found is None else found["n"], floor, since)
        if found is not None:
            found["n"] = "changed by its reader"

    async def read_many(self, process: Process) -> None:
        floors, since = dict(process.floor), self.clock.monotonic()
        found = await process.cache.aget_many(KEYS)
        for key in KEYS:
            value = found[key]["n"] if key in found else _MISSING
            self.check(process, key, value, floors[key], since)

    async def write(self, process: Process, key: str) -> None:
        self.numbers += 1
        mine = self.numbers
        await process.cache.aset(key, {"n": mine})
        written = [number for number, _ in self.seen(key)].index(mine)
        process.floor[key] = max(process.floor[key], written)

    async def fill(self, process: Process, key: str) -> None:
        self.numbers += 1
        number = self.numbers
        floor, since = process.floor[key], self.clock.monotonic()
        found = await process.cache.aget_or_set(key, lambda: {"n": number})
        if any(found["n"] == stored for stored, _ in self.seen(key)):  # else it was computed now
            self.check(process, key, found["n"], floor, since)

    async def delete(self, process: Process, key: str) -> None:
        before = self.at(key)
        await process.cache.adelete(key)
        process.floor[key] = max(process.floor[key], before)

    async def tell(self) -> None:
        """Let the watches tell, be cut and come back, while the clock goes on."""
        for _ in range(self.random.randrange(30)):
            watch = self.random.choice(self.processes).watch
            if watch is not None:
                steps = [watch.deliver, watch.ping, partial(self.fail, watch)]
                self.random.choices(steps, [6, 3, 1])[0]()
            self.clock.advance(self.random.choice([0.0, 0.01, 0.2]))
            await asyncio.sleep(0)

    def fail(self, watch: Any) -> None:
        if watch.connected:
            watch.cut()
        elif watch.live:
            watch.notice()
        else:
            watch.connect()

    async def act(self) -> None:
        """Do a few operations in one process."""
        process = self.random.choice(self.processes)
        for _ in range(self.random.randrange(1, 4)):
            for _ in range(self.random.randrange(10)):
                await asyncio.sleep(0)
            key, many = self.random.choice(KEYS), self.random.random() < 0.1
            kinds = [self.read, self.write, self.fill, self.delete]
            step = self.random.choices(kinds, [10, 4, 1, 1])[0]
            await (self.read_many(process) if many else step(process, key))

    def settle(self) -> None:
        """Tell all, and compare what is near with the server."""
        for process in self.processes:
            watch = process.watch
            if watch is None:
                continue
            if not watch.connected:
                watch.notice()
                watch.connect()
            while watch.deliver():
                pass
            near = process.cache._near.tier._store.entries
            for full, entry in near.items():
                stored = self.server.get(full)
                far = None if stored is None else process.cache._codec.load(full, stored)
                assert process.cache._codec.load(full, entry.value) == far, full
        self.forget()

    def forget(self) -> None:
        """Begin a new history: what stands there now was written last."""
        self.server.writes = {key: writes[-1:] for key, writes in self.server.writes.items()}
        for process in self.processes:
            process.floor = {key: self.at(key) for key in KEYS}


async def rounds(number: int, seed: int) -> Model:
    """Have processes read, write, fill and delete together, `number` times."""
    model = Model(seed)
    random = model.random
    for at in range(number):
        steps = [model.tell(), *(model.act() for _ in range(random.randrange(2, 5)))]
        random.shuffle(steps)
        await asyncio.gather(*steps)
        if at % 2:
            model.settle()
    return model


@pytest.mark.parametrize("seed", range(4))
def test_no_interleaving_leaves_a_stale_copy(seed: int) -> None:
    """Of 10,000 rounds of reads, fills, pushes, writes and lost watches none leaves what is old."""
    model = asyncio.run(rounds(2500, seed))
    hits = [process.cache.stats().near.hits for process in model.processes]
    assert min(hits) > 500, hits


class Clerk:
    """One process and what is needed to try it: a far store, a watch, a clock."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.server, (self.far,) = world(processes=1)
        settings = {"near": "1mb", "key_prefix": "p", "options": {"on_error": "miss"}, **settings}
        self.cache = Cache(self.far, **settings)
        self.other = Cache(FarStore(self.server), key_prefix="p")

    @property
    def watch(self) -> Any:
        return self.far.watches[-1]

    @property
    def near(self) -> Any:
        return self.cache.stats().near

    def tell(self) -> None:
        while self.watch.deliver():
            pass


@pytest.fixture(params=FACES, ids=str)
def face(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_second_read_asks_nobody(face: Any) -> None:
    """What was read once is near, to `get`, `get_many`, `get_or_set` and functions alike."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("k", "v")
        assert await view.get("k") == "v"
        asked = clerk.far.requests
        assert await view.get("k") == "v"
        assert await view.get_many(["k"]) == {"k": "v"}
        assert await view.get_or_set("k", "other") == "v"
        assert await view.get_or_set("k", "other", stale=5) == "v"
        assert await view.get_or_set_many(["k"], lambda keys: {}) == {"k": "v"}
        assert clerk.far.requests == asked
        assert (clerk.near.hits, clerk.near.entries) == (5, 1)

    face.run(body(Clerk()))


def test_a_hit_near_is_one_of_the_caches_hits(face: Any) -> None:
    """Whoever reads it, with tags or without, it counts once in each; what is a miss does not."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("k", "v")
        await view.set("t", "v", tags=["tag"])
        await view.set("old", "v", 1, stale=60)
        for key in ("k", "t", "old"):  # from far
            assert await view.get(key) == "v"
        far, near = clerk.cache.stats().hits, clerk.near.hits
        assert (far, near) == (3, 0)
        for _ in range(2):
            assert await view.get("k") == await view.get_or_set("k", "other") == "v"
            assert await view.get_many(["k"]) == {"k": "v"}
        stats = clerk.cache.stats()
        assert (stats.hits, stats.near.hits, stats.misses) == (far + 6, near + 6, 0)
        await view.get("t")  # its generations are near since it was read
        tagged = clerk.cache.stats()
        assert tagged.hits == stats.hits + 1
        assert tagged.near.hits > stats.near.hits
        clerk.clock.advance(1)
        assert await view.get("old") is None
        assert clerk.cache.stats().near.hits == tagged.near.hits
        assert clerk.cache.stats().misses == 1

    face.run(body(Clerk(near={"staleness": 60})))


@pytest.mark.parametrize("value", [b"bytes", b"", None], ids=repr)
@pytest.mark.parametrize("kept", [{}, {"stale": 60}, {"tags": ["t"]}], ids=str)
def test_bytes_and_none_are_near_as_they_are(face: Any, value: Any, kept: Any) -> None:
    """They stand for encoded and for missing values in stores, and are mistaken for neither."""

    async def body(clerk: Clerk) -> None:
        view, typed = face.view(clerk.cache), face.view(clerk.cache.typed(bytes | None))
        await view.set("k", value, **kept)
        await typed.set("typed", value, **kept)
        for _ in range(3):
            assert await view.get("k", "missing") == value
            assert await typed.get("typed", "missing") == value
            assert await view.get_or_set("k", "other") == value
            assert await view.get_many(["k"]) == {"k": value}
        assert clerk.near.hits >= 6

    face.run(body(Clerk()))


@pytest.mark.parametrize(
    "write",
    [
        lambda view: view.set("k", "new"),
        lambda view: view.set_many({"k": "new"}),
        lambda view: view.delete("k"),
        lambda view: view.delete_many(["k"]),
        lambda view: view.touch("k", 5),
        lambda view: view.mark_stale("k"),
        lambda view: view.clear(),
        lambda view: view.clear_prefix("k"),
        lambda view: view.incr_version("k"),
        lambda view: view.set("k", "new", 0),
    ],
)
def test_own_writes_end_a_copy_before_they_return(face: Any, write: Any) -> None:
    """Whoever reads after a write of this process does not get the copy of before, untold."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await view.set("k", "old")
        await view.get("k")
        assert clerk.near.entries == 1
        await write(view)
        assert await view.get("k") == await other.get("k")
        assert await view.ttl("k") == await other.ttl("k")

    face.run(body(Clerk()))


def test_a_write_that_fails_ends_a_copy_too(face: Any) -> None:
    """Nobody knows whether it was done."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("k", "old")
        await view.get("k")
        clerk.server.down = True
        await view.set("k", "new")
        assert clerk.near.entries == 0

    face.run(body(Clerk()))


def test_a_foreign_write_ends_a_copy_when_it_is_told(face: Any) -> None:
    """Until then, and for the bound at most, the copy is served."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set("k", "old")
        assert await view.get("k") == "old"
        await other.set("k", "new")
        assert await view.get("k") == "old"
        clerk.tell()
        assert await view.get("k") == "new"
        clerk.server.flush()
        clerk.tell()
        assert await view.get("k") is None

    face.run(body(Clerk()))


def test_who_was_not_told_for_the_bound_asks_the_store(face: Any) -> None:
    """The reader itself looks at the time: a cut that nobody has noticed costs no staleness."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set("k", "old", None)
        assert await view.get("k") == "old"
        clerk.watch.cut()
        await other.set("k", "new", None)
        clerk.clock.advance(BOUND)
        assert await view.get("k") == "new"
        assert clerk.near.entries == 0, "what was read since is kept nowhere"

    face.run(body(Clerk()))


def test_nothing_is_near_while_the_watch_is_lost(face: Any) -> None:
    """Copies from before are not served, and none are added, until it is live again."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set_many({"k": "old", "l": "old"})
        assert await view.get_many(["k"]) == {"k": "old"}
        clerk.watch.cut()
        clerk.watch.notice()
        hits = clerk.near.hits
        await other.set_many({"k": "new", "l": "new"})
        assert await view.get("k") == await view.get("l") == "new"
        assert await view.get_many(["k", "l"]) == {"k": "new", "l": "new"}
        assert (clerk.near.hits, clerk.near.watch.live) == (hits, False)
        clerk.watch.connect()
        assert await view.get("k") == "new"
        assert (clerk.near.entries, clerk.near.watch.live) == (1, True)

    face.run(body(Clerk()))


def test_a_copy_is_each_readers_own(face: Any) -> None:
    """Changing a value read from the store or from near does not change what the next one gets."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        value = {"list": [1], "none": None}
        await view.set_many({"k": value, "n": None, "t": (1, [2])})
        for _ in range(3):
            found = await view.get("k")
            assert found == value
            found["list"].append(2)
            many = await view.get_many(["k", "n", "t"])
            assert many == {"k": value, "n": None, "t": (1, [2])}
            many["k"].clear()
            many["t"][1].clear()
        assert clerk.near.hits > 5

    face.run(body(Clerk()))


def test_a_copy_never_outlives_its_entry(face: Any) -> None:
    """It lives for what was left in the store, counted from before it was asked."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set("k", "v", 100)
        clerk.clock.advance(60)
        assert await view.get("k") == "v"
        clerk.clock.advance(39)
        clerk.watch.ping()
        clerk.tell()
        hits = clerk.near.hits
        assert await view.get("k") == "v"
        assert (clerk.near.hits, await view.ttl("k")) == (hits + 1, 1)
        clerk.clock.advance(1)
        assert await view.get("k") is None
        assert await view.ttl("k") == 0

    face.run(body(Clerk()))


@pytest.mark.parametrize(("near", "life"), [("1mb", 1.0), ({"timeout": 30}, 30.0)])
def test_a_store_that_cannot_tell_has_short_copies(face: Any, near: Any, life: float) -> None:
    """They live 1 s, or what `timeout` says, and that is the staleness that is declared."""

    async def body(clerk: Clerk) -> None:
        clerk.far.tells = False
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set("k", "old")
        assert await view.get("k") == "old"
        await other.set("k", "new")
        clerk.clock.advance(life - 0.01)
        assert await view.get("k") == "old"
        clerk.clock.advance(0.01)
        assert await view.get("k") == "new"
        assert (clerk.near.staleness, clerk.near.watch) == (life, None)

    face.run(body(Clerk(near=near)))


def test_counters_and_kept_errors_are_not_near(face: Any) -> None:
    """The store adds to a counter; an exception is raised by whoever keeps such."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("n", 1)
        assert [await view.get("n"), await view.incr("n"), await view.get("n")] == [1, 2, 2]

        def fail() -> None:
            raise LookupError("none")

        for _ in range(2):
            with pytest.raises(LookupError):
                await view.get_or_set("e", fail, errors={LookupError: 60})
        assert clerk.cache.stats().computations == 1
        assert (await view.get("n"), clerk.near.entries) == (2, 0)

    face.run(body(Clerk()))


@pytest.mark.parametrize("tells", [True, False])
def test_near_serves_stale_in_an_outage(face: Any, tells: bool) -> None:
    """A copy that nobody confirms is a stale value, to who takes such, while the store is down."""

    async def body(clerk: Clerk) -> None:
        clerk.far.tells = tells
        view = face.view(clerk.cache)
        await view.set_many({"k": "v", "l": "v"}, 60, stale=600)
        await view.set("plain", "v", None)
        assert await view.get_many(["k", "l", "plain"]) == {"k": "v", "l": "v", "plain": "v"}
        if tells:
            clerk.watch.cut()
            clerk.watch.notice()
        clerk.clock.advance(2)
        clerk.server.down = True
        assert await view.get("k") is None
        assert await view.get("plain", allow_stale=True) is None
        assert await view.get("k", allow_stale=True) == "v"
        assert await view.get_many(["k", "plain"], allow_stale=True) == {"k": "v"}

        def fail() -> str:
            raise OSError

        assert await view.get_or_set("k", fail, stale=600) == "v"
        assert await view.get_or_set_many(["k", "l"], lambda keys: {}, stale=600) == {
            "k": "v",
            "l": "v",
        }
        clerk.server.down = False
        assert await view.get("k") == "v"

    face.run(body(Clerk()))


def test_a_copy_of_before_an_outage_ends_with_what_this_process_does(face: Any) -> None:
    """What was written or read anew meanwhile is not there to be served any more."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set_many({"k": "v", "l": "v"}, 60, stale=600)
        await view.get_many(["k", "l"])
        clerk.watch.cut()
        clerk.watch.notice()
        await other.delete("k")
        assert await view.get("k") is None
        await view.set("l", "new", 60)
        clerk.server.down = True
        assert await view.get_many(["k", "l"], allow_stale=True) == {}

    face.run(body(Clerk()))


def test_where_outages_raise_they_do(face: Any) -> None:
    """A copy that is not confirmed is no answer to `get` there."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("k", "v", 60, stale=600)
        await view.get("k")
        clerk.watch.notice()
        clerk.server.down = True
        with pytest.raises(BackendUnavailable):
            await view.get("k")
        with pytest.raises(BackendUnavailable):
            await view.get_many(["missing"])

    face.run(body(Clerk(options={"on_error": "raise"})))


def test_who_takes_a_stale_value_is_given_it_where_outages_raise(face: Any) -> None:
    """What is near stands in for the store; where nothing does, the outage is told."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("k", "v", 60, stale=600)
        await view.set("tagged", "v", 60, stale=600, tags=["t"])
        await view.set("far", "v", 60, stale=600, tags=["unread"])
        await view.set("plain", "v", None)
        for key in ("k", "tagged", "plain"):
            assert await view.get(key) == "v"
        clerk.watch.notice()
        clerk.server.down = True
        both = {"k": "v", "tagged": "v"}
        assert [await view.get(key, allow_stale=True) for key in both] == ["v", "v"]
        assert await view.get_many(both, allow_stale=True) == both
        assert not clerk.cache.available
        for key in ("plain", "far", "missing"):
            with pytest.raises(BackendUnavailable):
                await view.get(key, allow_stale=True)
        with pytest.raises(PartlyUnavailable) as told:
            await view.get_many([*both, "plain", "missing"], allow_stale=True)
        assert told.value.result == both
        with pytest.raises(BackendUnavailable):
            await view.get("k")
        clerk.server.down = False
        assert await view.get("k", allow_stale=True) == "v"
        assert clerk.cache.available

    face.run(body(Clerk(options={"on_error": "raise"})))


@pytest.mark.parametrize("options", [{"stale": 60}, {"tags": ["t"]}], ids=str)
def test_what_is_gone_stands_in_for_nothing(face: Any, options: dict[str, Any]) -> None:
    """Its copy may still be there, as long as nothing else is written; the outage is told."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        await view.set("k", "v", 60, **options)
        assert await view.get("k") == "v"
        clerk.watch.notice()
        clerk.server.down = True
        clerk.clock.advance(59)
        assert await view.get("k", allow_stale=True) == "v"
        clerk.clock.advance(62)
        with pytest.raises(BackendUnavailable):
            await view.get("k", allow_stale=True)
        with pytest.raises(BackendUnavailable):
            await view.get_many(["k"], allow_stale=True)

    face.run(body(Clerk(options={"on_error": "raise"})))


def test_what_is_near_is_bounded(face: Any) -> None:
    """`max_entries` and `max_bytes` are of the copies alone."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        names = [str(each) for each in range(20)]
        await view.set_many(dict.fromkeys(names, "v"))
        assert len(await view.get_many(names)) == 20
        assert (clerk.near.entries, clerk.near.evicted) == (5, 15)

    face.run(body(Clerk(near={"max_entries": 5})))


def test_closing_ends_the_watch_and_a_read_begins_another(face: Any) -> None:
    """A closed cache has nothing near and is told nothing; used again, it is as new."""

    async def body(clerk: Clerk) -> None:
        view = face.view(clerk.cache)
        assert clerk.far.watches == []
        await view.set("k", "v")
        await view.get("k")
        first = clerk.watch
        await view.close()
        assert (first.closed, clerk.near.entries) == (True, 0)
        assert await view.get("k") == "v"
        assert (len(clerk.far.watches), clerk.near.entries) == (2, 1)

    face.run(body(Clerk()))


def test_every_write_of_a_store_is_one_of_its_own() -> None:
    """No operation of a backend that may change a key passes by what drops copies."""
    reads = {"get", "get_many", "has", "ttl", "look", "look_many"}
    rest = {"servers", "examine", "close", "retire", "exclusive", "run_batch", "watch"}
    public = {
        name
        for name, _ in inspect.getmembers(Backend, inspect.isfunction)
        if not name.startswith("_") and name not in rest and name[1:] not in rest
    }
    assert public <= vars(Forwarding).keys()
    writes = {name for name in public if name not in reads and name[1:] not in reads}
    assert writes <= vars(OwnWrites).keys()
    for name in writes:
        assert "_tier" in inspect.getsource(getattr(OwnWrites, name)) or "do(" in inspect.getsource(
            getattr(OwnWrites, name)
        )


def test_a_store_in_the_process_needs_no_copies() -> None:
    """There NEAR does nothing, so that settings may name such a store for tests."""
    cache = Cache("memory://", near="1mb")
    cache.set("k", "v")
    assert (cache.get("k"), cache.stats().near) == ("v", None)


@pytest.mark.parametrize(
    ("near", "text"),
    [
        ({"max_byte": 5}, "did you mean 'max_bytes'"),
        ("much", "a number of bytes"),
        (True, "a number of bytes"),
        ({"max_entries": 0}, "1 or more"),
        ({"timeout": 0}, "leave NEAR out"),
        ({"timeout": "soon"}, "no duration"),
        ({"staleness": None}, "finite"),
    ],
)
def test_what_near_cannot_be_is_told(near: Any, text: str) -> None:
    """The message names the setting, and what it takes."""
    with pytest.raises(SettingsError, match=text) as raised:
        read_caches({"shop": {"LOCATION": "redis://127.0.0.1", "NEAR": near}})
    assert "CACHES['shop']['NEAR']" in str(raised.value)


def test_near_may_stand_in_a_url() -> None:
    """There it is the size."""
    config = read_caches({"shop": "redis://127.0.0.1/?near=64mb"})["shop"]
    assert config.near == NearOptions(max_bytes=64 * 2**20)
    assert read_caches({"shop": "redis://127.0.0.1/?near=none"})["shop"].near is None


def test_a_watch_that_is_refused_is_none(face: Any) -> None:
    """Copies live 1 s while the store does not tell; none of before is served, nor one of then."""

    async def body(clerk: Clerk) -> None:
        view, other = face.view(clerk.cache), face.view(clerk.other)
        await other.set("k", "old", None)
        assert await view.get("k") == "old"
        clerk.watch.cut()
        clerk.watch.notice()
        clerk.watch.refused = True
        await other.set("k", "new", None)
        assert await view.get("k") == "new"
        asked = clerk.far.requests
        assert await view.get("k") == "new"
        assert (clerk.far.requests, clerk.near.staleness) == (asked, 1.0)
        await other.set("k", "newer", None)
        clerk.clock.advance(1)
        assert await view.get("k") == "newer"
        clerk.watch.refused = False
        clerk.watch.connect()
        assert await view.get("k") == "newer"
        clerk.clock.advance(1)
        assert await view.get("k") == "newer"
        assert clerk.near.staleness == BOUND

    face.run(body(Clerk()))
