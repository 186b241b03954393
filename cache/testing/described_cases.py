# ruff: noqa: S101
"""The cases for values that have metadata: what a store leaves to the cache, and what that does."""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import pytest

from twofold.backend import Backend
from twofold.claims.filter import hiding_stubs
from twofold.codecs import resolve_serializer
from twofold.entry import Codec, Envelope, Objects
from twofold.metadata import HasMetadata, Meta, Removed
from twofold.stub import new_stub
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
