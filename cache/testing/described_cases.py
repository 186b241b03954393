# ruff: noqa: S101
"""The cases for values that have metadata: what a store leaves to the cache, and what that does."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from math import inf
from typing import Any

import pytest

from twofold.backend import Backend
from twofold.claims.filter import hiding_stubs
from twofold.codecs import resolve_serializer
from twofold.entry import Codec, Envelope, Objects
from twofold.errors import InvalidTimeout, MissingKey, NotACounter
from twofold.metadata import HasMetadata, Meta, Removed
from twofold.stub import new_stub
from twofold.testing.clock import FakeClock
from twofold.testing.faces import Face, case
from twofold.testing.suite import Suite, lasts

LONG = 1000.0
META = Meta(1_000_000_000.5, 2_000_000_000.5, 2_100_000_000.5, 0.25, (("tag", b"8 bytes!"),))


class DescribedStoreCases(Suite):
    """A store, as caches use it, which has no rule of freshness."""

    @pytest.fixture
    def told(self, face: Face, backend: Backend) -> Any:
        """Return the store, as caches use it, in the face."""
        return face.view(hiding_stubs(backend))

    @pytest.fixture
    def described(self, backend: Backend) -> Callable[[Meta], Any]:
        """Return what makes a value that has metadata."""
        serializer = resolve_serializer("msgpack")
        codec: Codec = Objects(serializer) if backend.holds_objects else Envelope(serializer)
        return partial(codec.dump, "k", [1, 2])

    @case
    async def test_what_has_metadata_is_left_to_the_cache(
        self, told: Any, described: Callable[[Meta], Any]
    ) -> None:
        """What tells whether a key is there does nothing and says so; it is read as it was."""
        stored = described(META)
        assert await told.set("k", stored, LONG) is True
        uses = {
            "has": partial(told.has, "k"),
            "add": partial(told.add, "k", b"v", None),
            "touch": partial(told.touch, "k", 5 * LONG),
            "persist": partial(told.touch, "k", None),
            "ttl": partial(told.ttl, "k"),
            "incr": partial(told.incr, "k", 1),
        }
        for name, use in uses.items():
            with pytest.raises(HasMetadata):
                await use()
            assert await told.get("k") == stored, name
        assert await told.get_many(["k", "l"]) == {"k": stored}
        assert await told.get_or_claim("k", new_stub(), LONG) == stored
        assert await told.compare_and_set("k", stored, b"v", None) is True
        assert await told.get("k") == b"v"
        assert await told.ttl("k") is None

    @case
    async def test_a_look_tells_its_life(self, told: Any, described: Callable[[Meta], Any]) -> None:
        """`look` tells what the store has of its life, whatever its metadata say."""
        stored = described(META)
        for life in (LONG, None):
            await told.set("k", stored, life)
            for found, left in (await told.look("k"), (await told.look_many(["k"]))["k"]):
                assert found == stored
                assert lasts(left, life)

    @case
    async def test_what_is_removed_is_told_with_its_metadata(
        self, told: Any, described: Callable[[Meta], Any]
    ) -> None:
        """`delete_many` counts plain values, and brings the times of the others."""
        await told.set_many({"k": described(META), "l": described(Meta(5.0))}, LONG)
        await told.set_many({"m": b"v", "n": b"v"}, LONG)
        await told.get_or_claim("o", new_stub(), LONG)
        removed = await told.delete_many(["k", "l", "m", "n", "o", "missing"])
        assert removed == 2
        assert type(removed) is Removed
        assert sorted(int(min(meta.soft, 1e12)) for meta in removed.described) == [
            2_000_000_000, 10**12,
        ]  # fmt: skip
        assert await told.get_many(["k", "l", "m", "n", "o"]) == {}
        await told.set("k", b"v", LONG)
        assert type(await told.delete_many(["k"])) is int

    @case
    async def test_one_that_has_metadata_is_deleted(
        self, told: Any, described: Callable[[Meta], Any]
    ) -> None:
        """`delete` tells whether a value was there, however old."""
        await told.set("k", described(Meta(5.0, 6.0, inf)), LONG)
        assert await told.delete("k") is True
        assert await told.delete("k") is False

    @case
    async def test_its_life_is_kept_by_a_replace(
        self, told: Any, described: Callable[[Meta], Any]
    ) -> None:
        """`replace` writes one over another, and leaves the life."""
        stored, later = described(META), described(Meta(META.created, 2e9 + 60))
        await told.set("k", stored, LONG)
        assert await told.replace("k", described(Meta(5.0)), b"v") is False
        assert await told.replace("k", stored, later) is True
        assert await told.get("k") == later
        assert await told.replace("k", later, b"v") is True
        assert lasts(await told.ttl("k"), LONG)


def _let_pass(seconds: float) -> None:
    time.sleep(seconds)


class DescribedCases(Suite):
    """What `Cache` makes of values that have metadata."""

    @pytest.fixture
    def write(self, face: Face, backend: Backend, cache: Any) -> Callable[..., Any]:
        """Return what stores a value with times that are told in seconds from now."""
        codec, store = cache.target._codec, face.view(backend)

        async def write(
            key: str, value: Any, soft: float = 60.0, hard: float = LONG, created: float = -10.0
        ) -> Meta:
            now = backend.clock.time()
            meta = Meta(now + created, now + soft, now + hard, 0.25)
            full = cache.target._key(key, None)
            assert await store.set(full, codec.dump(full, value, meta), LONG) is True
            return meta

        return write

    @pytest.fixture
    def read(self, face: Face, backend: Backend, cache: Any) -> Callable[..., Any]:
        """Return what tells all that is stored."""

        async def read(key: str, version: int | None = None) -> Any:
            full = cache.target._key(key, version)
            stored = await face.view(backend).get(full)
            return None if stored is None else cache.target._codec.open(full, stored)

        return read

    @case
    async def test_a_stale_value_is_missing(self, cache: Any, write: Callable[..., Any]) -> None:
        """To all that ask for it, but for who says that a stale one will do."""
        await write("k", [1], soft=-1.0)
        assert await cache.get("k", "default") == "default"
        assert await cache.get_many(["k"]) == {}
        assert await cache.has_key("k") is False
        assert await cache.ttl("k") == 0.0
        assert await cache.touch("k", LONG) is False
        assert await cache.touch("k", None) is False
        for move in (cache.incr, cache.decr, cache.incr_version):
            with pytest.raises(MissingKey):
                await move("k")
        assert await cache.get("k", allow_stale=True) == [1]
        assert await cache.get_many(["k", "l"], allow_stale=True) == {"k": [1]}
        assert await cache.get("l", "default", allow_stale=True) == "default"
        counts = cache.target.stats()
        assert (counts.hits, counts.misses, counts.damaged) == (2, 4, 0)

    @case
    async def test_what_is_past_its_time_is_missing(
        self, cache: Any, write: Callable[..., Any]
    ) -> None:
        """To everybody, though it may still be in the store."""
        await write("k", [1], soft=-2.0, hard=-1.0)
        assert await cache.get("k", "default", allow_stale=True) == "default"
        assert await cache.get_many(["k"], allow_stale=True) == {}
        assert await cache.mark_stale("k") is False
        assert await cache.add("k", "new") is True
        assert await cache.get("k") == "new"

    @case
    async def test_a_fresh_value_is_there(self, cache: Any, write: Callable[..., Any]) -> None:
        """A value that has metadata is one like any other, until it is stale."""
        await write("k", [1])
        assert await cache.get("k") == [1]
        assert await cache.get_many(["k"]) == {"k": [1]}
        assert await cache.has_key("k") is True
        assert lasts(await cache.ttl("k"), 60)
        assert await cache.add("k", "new") is False
        assert await cache.get("k", allow_stale=True) == [1]
        await write("k", [1], soft=inf, hard=inf)
        assert lasts(await cache.ttl("k"), LONG)  # as the store says, for the value does not

    @case
    async def test_deletes_count_what_was_fresh(
        self, cache: Any, write: Callable[..., Any]
    ) -> None:
        """They remove stale values too."""
        await write("fresh", 1)
        await write("stale", 2, soft=-1.5)
        assert await cache.delete("fresh") is True
        assert await cache.delete("stale") is False
        await write("fresh", 1)
        await write("stale", 2, soft=-1.5)
        await cache.set("plain", 3)
        names = ["fresh", "stale", "plain", "missing"]
        assert await cache.delete_many(names) == 2
        assert await cache.get_many(names, allow_stale=True) == {}
        await write("stale", 2, soft=-1.5)
        assert await cache.touch("stale", 0) is False
        assert await cache.get("stale", allow_stale=True) is None

    @case
    async def test_add_replaces_what_is_stale(
        self, face: Face, cache: Any, write: Callable[..., Any]
    ) -> None:
        """Of many that do so together one does."""
        await write("k", "old", soft=-1.0)
        added = await face.together([partial(cache.add, "k", n, LONG) for n in range(8)])
        assert added.count(True) == 1
        assert await cache.get("k") == added.index(True)
        assert lasts(await cache.ttl("k"), LONG)

    @case
    async def test_touch_keeps_what_is_known_of_a_value(
        self, cache: Any, write: Callable[..., Any], read: Callable[..., Any]
    ) -> None:
        """A new life begins, and what is stale afterwards is as long."""
        meta = await write("k", [1])
        assert await cache.touch("k", 500) is True
        entry = await read("k")
        assert entry.value == [1]
        assert (entry.meta.created, entry.meta.took) == (meta.created, meta.took)
        assert 440 - 1 < entry.meta.soft - meta.soft < 440 + 20
        assert abs(entry.meta.hard - entry.meta.soft - (meta.hard - meta.soft)) < 0.01
        assert lasts(await cache.ttl("k"), 500)
        assert await cache.touch("k", None) is True
        assert await cache.ttl("k") is None
        assert (await read("k")).meta.hard == inf
        await write("l", [1], soft=inf, hard=inf)
        assert await cache.touch("l", 500) is True
        assert (await read("l")).meta.hard == (await read("l")).meta.soft

    @case
    async def test_what_has_metadata_is_no_counter(
        self, cache: Any, write: Callable[..., Any]
    ) -> None:
        """An int that was computed is not added to."""
        await write("n", 7)
        for add in (cache.incr, cache.decr):
            with pytest.raises(NotACounter):
                await add("n")
        assert await cache.get("n") == 7

    @case
    async def test_metadata_move_between_versions(
        self, cache: Any, write: Callable[..., Any], read: Callable[..., Any]
    ) -> None:
        """`incr_version` moves a fresh value with what is known of it."""
        meta = await write("k", [1])
        assert await cache.incr_version("k") == 2
        entry = await read("k", 2)
        assert (entry.value, entry.meta) == ([1], meta)
        assert await cache.get("k", allow_stale=True) is None
        assert lasts(await cache.ttl("k", version=2), 60)

    @case
    async def test_mark_stale(
        self, face: Face, backend: Backend, cache: Any, write: Callable[..., Any]
    ) -> None:
        """A fresh value is stale at once, for every cache over the store."""
        other = face.view(self.make_cache(backend))
        for value, life in (([1], LONG), ("text", None), (7, LONG)):
            await cache.set("k", value, life)
            assert await other.mark_stale("k") is True
            assert await cache.get("k") is None
            assert await cache.get("k", allow_stale=True) == value
            assert await cache.mark_stale("k") is False
        await write("k", [2])
        assert await cache.mark_stale("k") is True
        assert await other.get("k") is None
        assert await other.get("k", allow_stale=True) == [2]
        assert await cache.set("k", "new") is True
        assert await cache.get("k") == "new"
        assert await cache.mark_stale("missing") is False

    @case
    async def test_what_is_marked_keeps_its_end(
        self, cache: Any, read: Callable[..., Any], write: Callable[..., Any]
    ) -> None:
        """The life that was left is how long it can be had; stale ones are written anew."""
        await cache.set("k", [1], 500)
        await cache.mark_stale("k")
        marked = (await read("k")).meta
        assert marked.created <= marked.soft
        assert lasts(marked.hard - marked.soft, 500)
        meta = await write("k", [1], soft=-1.0)
        assert await cache.mark_stale("k") is False
        again = (await read("k")).meta
        assert again.soft < meta.soft
        assert abs(again.soft - meta.soft) < 0.001
        assert again.hard == meta.hard

    @case
    async def test_what_is_computed_while_it_is_marked_is_not_kept(
        self, face: Face, backend: Backend, cache: Any
    ) -> None:
        """It may be older than the mark; so in this cache, and for the claim of another."""
        sync = cache.target

        def mark() -> str:
            assert sync.mark_stale("k") is False
            return "older"

        assert await cache.get_or_set("k", mark) == "older"
        assert await cache.get("k", allow_stale=True) is None
        store, stub = face.view(hiding_stubs(backend)), new_stub()
        full = sync._key("l", None)
        if not backend.private:
            await store.get_or_claim(full, stub, LONG)
            assert await cache.mark_stale("l") is False
            assert await store.fill(full, stub, b"older", LONG) is False

    @case
    async def test_values_are_set_with_a_stale_part(
        self, cache: Any, read: Callable[..., Any], backend: Backend
    ) -> None:
        """`set`, `set_many` and `add` give a value its fresh and its stale time."""
        now = backend.clock.time()
        assert await cache.set("set", [1], 60, stale="1h") is True
        assert await cache.set_many({"many": [1], "n": 1}, 60, stale=timedelta(hours=1)) == []
        assert await cache.add("add", [1], 60, stale=3600) is True
        assert await cache.add("add", [2], 60, stale=3600) is False
        for key in ("set", "many", "add"):
            meta = (await read(key)).meta
            assert now <= meta.created < now + 20
            assert abs(meta.soft - meta.created - 60) < 0.001
            assert abs(meta.hard - meta.soft - 3600) < 0.001
            assert await cache.get(key) == [1]
            assert lasts(await cache.ttl(key), 60)
        assert await cache.incr("n") == 2
        assert lasts(await cache.ttl("n"), 60)

    @case
    async def test_without_a_stale_part_there_are_no_metadata(
        self, cache: Any, read: Callable[..., Any]
    ) -> None:
        """None, 0, what lasts for ever and counters are stored plainly."""
        for timeout, stale in ((60, None), (60, 0), (None, 60)):
            await cache.set("k", [1], timeout, stale=stale)
            assert (await read("k")).meta is None
        await cache.set("k", 7, 60, stale=60)
        assert (await read("k")).meta is None
        assert await cache.incr("k") == 8
        for wrong in ("soon", math.nan, True):
            for store in (cache.set, cache.add):
                with pytest.raises(InvalidTimeout):
                    await store("l", [1], 60, stale=wrong)
            with pytest.raises(InvalidTimeout):
                await cache.set_many({"l": [1]}, 60, stale=wrong)

    @case
    async def test_it_becomes_stale_and_ends(self, cache: Any, clock: FakeClock) -> None:
        """As the time passes a value is fresh, then stale, then gone."""
        if "clock" not in self._factory_parameters():
            await cache.set("k", [1], 0.02, stale=LONG)
            _let_pass(0.03)
            assert await cache.get("k") is None
            assert await cache.get("k", allow_stale=True) == [1]
            return
        await cache.set("k", [1], 60, stale=60)
        clock.advance(59)
        assert await cache.get("k") == [1]
        clock.advance(1.5)
        assert await cache.get("k") is None
        clock.advance(59)
        assert await cache.get("k", allow_stale=True) == [1]
        clock.advance(1)
        assert await cache.get("k", allow_stale=True) is None

    @case
    async def test_a_clock_that_is_wrong(self, cache: Any, write: Callable[..., Any]) -> None:
        """Set back, it makes values stale, and none immortal; set forward, it ends them early."""
        await write("k", [1], created=3600.0, soft=3660.0)
        assert await cache.get("k") is None
        assert await cache.has_key("k") is False
        assert await cache.get("k", allow_stale=True) == [1]
        assert await cache.add("k", "new") is True
        await write("l", [1], created=-3600.0, soft=-3540.0)
        assert await cache.get("l") is None
        assert await cache.get("l", allow_stale=True) == [1]
