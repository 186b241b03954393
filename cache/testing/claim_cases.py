# ruff: noqa: S101
"""The cases for claims: what a stub is to each operation, and what ends a claim."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from twofold.backend import Backend, Fill
from twofold.claims.filter import hiding_stubs
from twofold.errors import MissingKey
from twofold.stub import Stub, new_stub
from twofold.testing.faces import Face, case
from twofold.testing.suite import Suite, lasts

LONG = 1000.0


class ClaimCases(Suite):
    """`get_or_claim`, `fill`, `renew` and `release`, and stubs amid the other operations."""

    @pytest.fixture
    def claims(self, face: Face, backend: Backend) -> Any:
        """Return the store, as caches use it, in the face."""
        return face.view(hiding_stubs(backend))

    @pytest.fixture
    def stub(self) -> Stub:
        """Return a stub of a claim."""
        return new_stub()

    @case
    async def test_a_claimed_key_is_missing(self, claims: Any, stub: Stub) -> None:
        """A stub is no value to whatever tells of a key, and those leave the claim as it is."""
        assert await claims.get_or_claim("k", stub, LONG) is None
        assert await claims.has("k") is False
        assert await claims.ttl("k") == 0.0
        assert await claims.touch("k", 5 * LONG) is False
        assert await claims.touch("k", None) is False
        with pytest.raises(MissingKey):
            await claims.incr("k", 1)
        assert await claims.fill("k", stub, b"v", LONG) is True
        assert await claims.get("k") == b"v"
        assert lasts(await claims.ttl("k"), LONG)

    @case
    async def test_a_claim_meets_what_is_there(self, claims: Any, stub: Stub) -> None:
        """A value, a counter and another's stub are returned, and stay."""
        await claims.set("k", b"v", None)
        assert await claims.get_or_claim("k", stub, LONG) == b"v"
        assert await claims.fill("k", stub, b"w", LONG) is False
        assert await claims.get("k") == b"v"
        assert await claims.ttl("k") is None
        other = new_stub()
        assert await claims.get_or_claim("l", other, LONG) is None
        assert await claims.get_or_claim("l", stub, LONG) == other
        assert await claims.fill("l", stub, b"w", LONG) is False
        assert await claims.fill("l", other, b"v", None) is True
        assert await claims.get("l") == b"v"
        assert await claims.ttl("l") is None

    @case
    async def test_a_claim_is_filled_once(self, claims: Any, stub: Stub) -> None:
        """A second fill finds no claim, and changes nothing."""
        assert await claims.fill("k", stub, b"v", LONG) is False
        assert await claims.has("k") is False
        await claims.get_or_claim("k", stub, LONG)
        assert await claims.fill("k", stub, b"v", LONG) is True
        assert await claims.fill("k", stub, b"w", LONG) is False
        assert await claims.get("k") == b"v"

    @case
    async def test_a_delete_ends_a_claim(self, claims: Any, stub: Stub) -> None:
        """It says that nothing was there, and what is computed from before is refused."""
        for number, delete in enumerate(
            [
                partial(claims.delete, "k"),
                partial(claims.delete_many, ["k", "l"]),
            ]
        ):
            await claims.get_or_claim("k", stub, LONG)
            assert not await delete(), number
            assert await claims.fill("k", stub, b"v", LONG) is False
            assert await claims.has("k") is False

    @case
    async def test_deleted_stubs_do_not_count(self, claims: Any, stub: Stub) -> None:
        """`delete_many` counts values alone."""
        await claims.get_or_claim("k", stub, LONG)
        await claims.set("l", b"v", LONG)
        assert await claims.delete_many(["k", "l", "m"]) == 1
        assert await claims.get_or_claim("k", new_stub(), LONG) is None

    @case
    async def test_a_clear_ends_claims(self, claims: Any, stub: Stub) -> None:
        """Those whose keys begin with the prefix, and no others."""
        await claims.get_or_claim("a:k", stub, LONG)
        await claims.get_or_claim("b:k", stub, LONG)
        await claims.clear("a:")
        assert await claims.fill("a:k", stub, b"v", LONG) is False
        assert await claims.fill("b:k", stub, b"v", LONG) is True

    @case
    async def test_a_write_ends_a_claim(self, claims: Any, stub: Stub) -> None:
        """`set`, `set_many` and `add` store over a stub, which is not filled then."""
        writes = {
            "set": partial(claims.set, "set", b"new", None),
            "set_many": partial(claims.set_many, {"set_many": b"new"}, None),
            "add": partial(claims.add, "add", b"new", None),
        }
        for key, write in writes.items():
            await claims.get_or_claim(key, stub, LONG)
            assert await write() in (True, [])
            assert await claims.fill(key, stub, b"old", LONG) is False
            assert await claims.get(key) == b"new"
            assert await claims.ttl(key) is None

    @case
    async def test_a_released_claim_leaves_nothing(self, claims: Any, stub: Stub) -> None:
        """Whoever holds the claim removes it; nobody else does, and no value goes with it."""
        await claims.get_or_claim("k", stub, LONG)
        assert await claims.release("k", new_stub()) is False
        assert await claims.release("k", stub) is True
        assert await claims.release("k", stub) is False
        assert await claims.get("k") is None
        await claims.set("k", b"v", None)
        assert await claims.release("k", stub) is False
        assert await claims.get("k") == b"v"

    @case
    async def test_a_claim_has_a_life(
        self, claims: Any, stub: Stub, short: float, outlive: Callable[[], None]
    ) -> None:
        """When that is over another may claim the key, and the first is refused."""
        await claims.get_or_claim("k", stub, short)
        outlive()
        assert await claims.fill("k", stub, b"v", LONG) is False
        other = new_stub()
        assert await claims.get_or_claim("k", other, LONG) is None
        assert await claims.fill("k", stub, b"v", LONG) is False
        assert await claims.renew("k", stub, LONG) is False
        assert await claims.fill("k", other, b"w", LONG) is True

    @case
    async def test_a_claim_is_renewed(
        self, claims: Any, stub: Stub, short: float, outlive: Callable[[], None]
    ) -> None:
        """Its holder gives it a new life, however often; nobody renews what is over."""
        await claims.get_or_claim("k", stub, short)
        assert await claims.renew("k", stub, LONG) is True
        outlive()
        assert await claims.renew("k", new_stub(), LONG) is False
        assert await claims.has("k") is False
        assert await claims.fill("k", stub, b"v", None) is True
        assert await claims.renew("k", stub, LONG) is False
        assert await claims.ttl("k") is None

    @case
    async def test_a_counter_fills_a_claim(
        self, claims: Any, stub: Stub, number: Callable[[int], Any]
    ) -> None:
        """A number that was computed is counted on."""
        await claims.get_or_claim("k", stub, LONG)
        assert await claims.fill("k", stub, number(41), None) is True
        assert await claims.incr("k", 1) == 42

    @case
    async def test_one_of_many_claims_a_key(self, face: Face, claims: Any) -> None:
        """The others are given the stub of the one that did."""
        stubs = [new_stub() for _ in range(8)]
        found = await face.together(
            [partial(claims.get_or_claim, "k", stub, LONG) for stub in stubs]
        )
        winner = stubs[found.index(None)]
        assert [other for other in found if other is not None] == [winner] * 7

    @case
    async def test_one_of_many_adds_over_a_stub(self, face: Face, claims: Any, stub: Stub) -> None:
        """`add` is as exclusive as at a key that nobody has claimed."""
        await claims.get_or_claim("k", stub, LONG)
        values = [b"%d" % number for number in range(8)]
        added = await face.together([partial(claims.add, "k", value, LONG) for value in values])
        assert added.count(True) == 1
        assert await claims.get("k") == values[added.index(True)]

    @case
    async def test_claims_to_many_are_taken_at_once(self, claims: Any, stub: Stub) -> None:
        """Each by itself: what is there, a value or another's stub, is returned."""
        other = new_stub()
        await claims.set("k", b"v", None)
        await claims.get_or_claim("l", other, LONG)
        assert await claims.get_or_claim_many([], stub, LONG) == {}
        found = await claims.get_or_claim_many(["k", "l", "m", "n"], stub, LONG)
        assert found == {"k": b"v", "l": other, "m": None, "n": None}
        assert await claims.get_or_claim_many(["m"], other, LONG) == {"m": stub}
        assert await claims.has("m") is False

    @case
    async def test_many_claims_are_filled_at_once(self, claims: Any, stub: Stub) -> None:
        """Where the stub stands, or the entry that is expected; each value has its life."""
        await claims.set("old", b"old", None)
        await claims.set("newer", b"newer", None)
        await claims.get_or_claim_many(["k", "l", "m"], stub, LONG)
        await claims.delete("m")
        assert await claims.fill_many({}) == {}
        filled = await claims.fill_many(
            {
                "k": Fill(stub, b"k", LONG),
                "l": Fill(stub, b"l", None),
                "m": Fill(stub, b"m", LONG),
                "old": Fill(b"old", b"new", LONG),
                "newer": Fill(b"old", b"new", LONG),
            }
        )
        assert filled == {"k": True, "l": True, "m": False, "old": True, "newer": False}
        there = await claims.get_many([*filled])
        assert there == {"k": b"k", "l": b"l", "old": b"new", "newer": b"newer"}
        assert lasts(await claims.ttl("k"), LONG)
        assert await claims.ttl("l") is None
        assert lasts(await claims.ttl("old"), LONG)

    @case
    async def test_many_claims_are_released_at_once(self, claims: Any, stub: Stub) -> None:
        """Where they stand; an entry that is expected goes, too, and nothing else does."""
        await claims.get_or_claim_many(["k", "l"], stub, LONG)
        await claims.set("l", b"v", None)
        await claims.set("m", b"v", None)
        assert await claims.release_many({}) == {}
        held = {"k": stub, "l": stub, "m": b"v", "n": stub}
        assert await claims.release_many(held) == {"k": True, "l": False, "m": True, "n": False}
        assert await claims.get_many([*held]) == {"l": b"v"}
