# ruff: noqa: S101
"""The cases for a backend itself: its operations on keys and values, in both faces."""

from collections.abc import Callable
from typing import Any

import pytest

from twofold.backend import Backend
from twofold.errors import CounterOverflow, MissingKey, NotACounter
from twofold.stub import new_stub
from twofold.testing.clock import FakeClock
from twofold.testing.faces import case
from twofold.testing.suite import Suite, lasts

CENTURY = 100 * 365 * 86400.0
SPECIAL = "%_*?[]^\\'\"{}$.-!~"  # what has a meaning to LIKE, GLOB, SQL, or a pattern

NO_COUNTERS = (
    *(
        b"",
        b"x",
        b"1.5",
        b" 1",
        b"1 ",
        b"1\n",
        b"01",
        b"+1",
        b"-0",
        b"1e3",
        b"0x1",
        b"1\0",
        b"\xb2",
    ),
    *(b"9223372036854775808", b"-9223372036854775809", b"1" * 100),
)


class StoreCases(Suite):
    """What every backend does, whatever the rules of caching make of it."""

    @case
    async def test_a_missing_key_is_a_miss(self, store: Any) -> None:
        """Nothing is there at first."""
        assert await store.get("k") is None
        assert await store.get_many(["k", "l"]) == {}
        assert await store.has("k") is False
        assert await store.ttl("k") == 0.0
        assert await store.touch("k", 100.0) is False
        assert await store.delete("k") is False
        assert await store.delete_many(["k", "l"]) == 0

    @case
    async def test_what_is_set_is_there(self, store: Any) -> None:
        """A value that is set is found by every way to look."""
        assert await store.set("k", b"v", None) is True
        assert await store.get("k") == b"v"
        assert await store.has("k") is True
        assert await store.get_many(["k"]) == {"k": b"v"}

    @case
    async def test_set_replaces_value_and_life(self, store: Any) -> None:
        """A second `set` leaves nothing of the first."""
        await store.set("k", b"old and longer", 100.0)
        await store.set("k", b"new", None)
        assert await store.get("k") == b"new"
        assert await store.ttl("k") is None

    @case
    async def test_many_keys_at_a_time(self, store: Any) -> None:
        """The operations on many keys do as many single ones would."""
        items = {f"k{n}": b"v%d" % n for n in range(100)}
        assert await store.set_many(items, 100.0) == []
        assert await store.get_many([*items, "missing"]) == items
        assert lasts(await store.ttl("k7"), 100)
        assert await store.delete_many(["k1", "missing", "k2"]) == 2
        assert set(await store.get_many(list(items))) == set(items) - {"k1", "k2"}

    @case
    async def test_a_look_tells_what_is_left_too(self, store: Any) -> None:
        """`look` is a value with the life it has left, None for ever."""
        await store.set("k", b"v", 100.0)
        await store.set("ever", b"w", None)
        found, left = await store.look("k")
        assert found == b"v"
        assert lasts(left, 100)
        assert await store.look("ever") == (b"w", None)
        assert await store.look("missing") is None
        many = await store.look_many(["k", "missing", "ever"])
        assert {key: value for key, (value, _) in many.items()} == {"k": b"v", "ever": b"w"}
        assert lasts(many["k"][1], 100)
        assert many["ever"][1] is None

    @case
    async def test_a_look_finds_stubs(self, store: Any) -> None:
        """A stub is found by `look` as by `get`, with its life."""
        stub = new_stub()
        assert await store.get_or_claim("k", stub, 100.0) is None
        for found, left in (await store.look("k"), (await store.look_many(["k"]))["k"]):
            assert found == stub
            assert lasts(left, 100)

    @case
    async def test_a_look_at_what_is_over(
        self, store: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """What has expired is missing to `look` too, and one at no keys finds nothing."""
        await store.set("k", b"v", short)
        outlive()
        assert await store.look("k") is None
        assert await store.look_many(["k"]) == {}
        assert await store.look_many([]) == {}

    @case
    async def test_no_keys_at_a_time(self, store: Any) -> None:
        """The operations on many keys take none as well."""
        assert await store.set_many({}, None) == []
        assert await store.get_many([]) == {}
        assert await store.delete_many([]) == 0

    @case
    async def test_many_more_keys_than_a_statement_holds(self, store: Any) -> None:
        """Thousands of keys at a time are no trouble."""
        items = {f"k{n}": b"v%d" % n for n in range(3000)}
        assert await store.set_many(items, None) == []
        assert await store.get_many(list(items)) == items
        assert await store.delete_many(list(items)) == 3000

    @case
    async def test_add_stores_only_what_is_missing(self, store: Any) -> None:
        """`add` is true only if it stored."""
        assert await store.add("k", b"first", 100.0) is True
        assert await store.add("k", b"second", None) is False
        assert await store.get("k") == b"first"
        assert lasts(await store.ttl("k"), 100)

    @case
    async def test_touch_changes_the_life_alone(self, store: Any) -> None:
        """`touch` gives a new life and keeps the value."""
        await store.set("k", b"v", 100.0)
        assert await store.touch("k", None) is True
        assert await store.ttl("k") is None
        assert await store.touch("k", 50.0) is True
        assert lasts(await store.ttl("k"), 50)
        assert await store.get("k") == b"v"

    @case
    async def test_delete_tells_whether_it_was_there(self, store: Any) -> None:
        """`delete` is true once."""
        await store.set("k", b"v", None)
        assert await store.delete("k") is True
        assert await store.delete("k") is False
        assert await store.get("k") is None

    @case
    async def test_set_and_delete(self, store: Any) -> None:
        """One value is stored for ever, and of the other keys, stubs too, nothing is left."""
        await store.set_many(dict.fromkeys(["k", "a", "b", "other"], b"old"), 100.0)
        await store.get_or_claim("stub", new_stub(), 100.0)
        await store.set_and_delete("k", b"new", ["a", "missing", "stub", "b"])
        left = await store.get_many(["k", "a", "missing", "stub", "b", "other"])
        assert left == {"k": b"new", "other": b"old"}
        assert await store.ttl("k") is None
        await store.set_and_delete("l", b"alone", [])
        assert await store.get("l") == b"alone"

    @case
    async def test_ttl_is_what_is_left(self, store: Any) -> None:
        """`ttl` is in seconds, None for ever, 0.0 for a missing key."""
        await store.set("k", b"v", 1000.0)
        await store.set("for-ever", b"v", None)
        assert lasts(await store.ttl("k"), 1000)
        assert await store.ttl("for-ever") is None
        assert await store.ttl("missing") == 0.0

    @case
    async def test_a_life_may_be_very_long(self, store: Any) -> None:
        """A hundred years overflow no clock."""
        await store.set("k", b"v", CENTURY)
        assert await store.get("k") == b"v"
        left = await store.ttl("k")
        assert left is None or left > CENTURY - 10  # for ever is as well

    @case
    async def test_an_expired_key_is_missing(
        self, store: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """Once its life is over, nothing finds a key; others live on."""
        await store.set_many({"k": b"v", "l": b"v"}, short)
        await store.set("long", b"v", 1000.0)
        outlive()
        assert await store.get("k") is None
        assert await store.get_many(["k", "l", "long"]) == {"long": b"v"}
        assert await store.has("k") is False
        assert await store.ttl("k") == 0.0
        assert await store.touch("k", 100.0) is False
        assert await store.compare_and_set("k", b"v", b"w", None) is False
        assert await store.compare_and_delete("k", b"v") is False
        assert await store.delete("k") is False
        assert await store.delete_many(["k", "l"]) == 0
        assert await store.get("k") is None

    @case
    async def test_add_stores_over_an_expired_key(
        self, store: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """An expired key is missing to `add` too."""
        await store.set("k", b"old", short)
        outlive()
        assert await store.add("k", b"new", None) is True
        assert await store.get("k") == b"new"
        assert await store.ttl("k") is None

    @case
    async def test_touch_prolongs(
        self, store: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """A key that was touched outlives its first life."""
        await store.set("k", b"v", 1000.0)
        await store.touch("k", short)
        await store.set("l", b"v", 500.0)
        await store.touch("l", 1000.0)
        outlive()
        assert await store.get("k") is None
        assert await store.get("l") == b"v"

    def test_a_life_ends_to_the_point(self, backend: Backend, clock: FakeClock) -> None:
        """With a clock of ours, a life of 2.5 s is no shorter and no longer."""
        if "clock" not in self._factory_parameters():
            return
        backend.set("k", b"v", 2.5)
        clock.advance(2.25)
        assert backend.get("k") == b"v"
        assert backend.ttl("k") == pytest.approx(0.25, abs=0.01)
        clock.advance(0.25)
        assert backend.get("k") is None

    @case
    async def test_compare_and_set(self, store: Any) -> None:
        """It stores only over the expected value, with a new life: also the same value again."""
        assert await store.compare_and_set("k", b"a", b"b", None) is False
        assert await store.get("k") is None
        await store.set("k", b"a", 1000.0)
        assert await store.compare_and_set("k", b"x", b"b", None) is False
        assert await store.compare_and_set("k", b"a\0", b"b", None) is False
        assert await store.get("k") == b"a"
        assert await store.compare_and_set("k", b"a", b"b", 100.0) is True
        assert await store.get("k") == b"b"
        assert lasts(await store.ttl("k"), 100)
        assert await store.compare_and_set("k", b"b", b"b", 500.0) is True
        assert lasts(await store.ttl("k"), 500)

    @case
    async def test_replace(self, store: Any, short: float, outlive: Callable[[], None]) -> None:
        """It stores only over the expected value, which keeps its life."""
        assert await store.replace("k", b"a", b"b") is False
        assert await store.get("k") is None
        for life in (1000.0, None):
            await store.set("k", b"a", life)
            assert await store.replace("k", b"x", b"b") is False
            assert await store.get("k") == b"a"
            assert await store.replace("k", b"a", b"b") is True
            assert await store.get("k") == b"b"
            assert lasts(await store.ttl("k"), life)
        await store.set("k", b"a", short)
        assert await store.replace("k", b"a", b"b") is True
        outlive()
        assert await store.get("k") is None
        assert await store.replace("k", b"b", b"c") is False

    @case
    async def test_compare_and_delete(self, store: Any) -> None:
        """It removes only the expected value."""
        assert await store.compare_and_delete("k", b"a") is False
        await store.set("k", b"a", None)
        assert await store.compare_and_delete("k", b"A") is False
        assert await store.get("k") == b"a"
        assert await store.compare_and_delete("k", b"a") is True
        assert await store.get("k") is None

    @case
    async def test_clear_takes_what_begins_with_the_prefix(self, store: Any) -> None:
        """Only the keys of the prefix go, and the prefix is no pattern."""
        for mark in SPECIAL:
            inside = [f"p{mark}x:1", f"p{mark}x:", f"p{mark}x:{mark}"]
            outside = [f"P{mark}X:1", f"p{mark}y:1", f"p{mark}x", "pQx:1", "pQQx:1", "p:1", "x"]
            await store.set_many(dict.fromkeys([*inside, *outside], b"v"), None)
            await store.clear(f"p{mark}x:")
            assert set(await store.get_many([*inside, *outside])) == set(outside), mark

    @case
    async def test_clear_of_the_last_character(self, store: Any) -> None:
        """A prefix may end with the last printable character, which has no successor."""
        await store.set_many(dict.fromkeys(["a~", "a~~", "a~!", "a}", "b", "a"], b"v"), None)
        await store.clear("a~")
        assert set(await store.get_many(["a~", "a~~", "a~!", "a}", "b", "a"])) == {"a}", "b", "a"}

    @case
    async def test_clear_of_everything(self, store: Any) -> None:
        """An empty prefix takes every key, and the store goes on."""
        await store.set_many({"a": b"v", "~": b"v", "!": b"v"}, None)
        await store.clear("")
        assert await store.get_many(["a", "~", "!"]) == {}
        assert await store.set("a", b"w", None) is True
        assert await store.get("a") == b"w"

    @case
    async def test_every_printable_key(self, store: Any) -> None:
        """All printable ASCII stands in keys, in both letter cases, up to 250 bytes."""
        printable = "".join(map(chr, range(0x21, 0x7F)))
        names = [*printable, printable, "k" * 249, "k" * 250, "K" * 250, "K" * 249 + "k"]
        items = {name: name.encode() for name in names}
        assert await store.set_many(items, None) == []
        assert await store.get_many(names) == items
        for name in names:
            assert await store.get(name) == name.encode()
        assert await store.delete_many(names) == len(names)

    @case
    async def test_every_byte_in_values(self, store: Any) -> None:
        """A value is any bytes, from none to a megabyte, and comes back as it was."""
        every = bytes(range(256))
        large = (every * (self.largest // 256 + 1))[: self.largest]
        for value in (b"", b"\0", b"\r\n", b"a\0b", every, large):
            assert await store.set("k", value, None) is True
            found = await store.get("k")
            assert type(found) is bytes
            assert found == value
            assert await store.has("k") is True

    @case
    async def test_a_missing_counter(self, store: Any) -> None:
        """What is not there cannot be added to, and is not made by trying."""
        with pytest.raises(MissingKey):
            await store.incr("n", 1)
        assert await store.get("n") is None

    @case
    async def test_an_expired_counter(
        self,
        store: Any,
        number: Callable[[int], Any],
        short: float,
        outlive: Callable[[], None],
    ) -> None:
        """An expired counter is a missing one."""
        await store.set("n", number(5), short)
        outlive()
        with pytest.raises(MissingKey):
            await store.incr("n", 1)

    @case
    async def test_incr_adds(self, store: Any, number: Callable[[int], Any]) -> None:
        """The sum is returned and stored, and may be negative."""
        await store.set("n", number(5), None)
        assert await store.incr("n", 7) == 12
        assert await store.incr("n", 0) == 12
        assert await store.incr("n", -20) == -8
        assert await store.get("n") == number(-8)
        assert await store.compare_and_delete("n", number(-8)) is True

    @case
    async def test_incr_keeps_the_life(self, store: Any, number: Callable[[int], Any]) -> None:
        """Adding neither prolongs nor shortens."""
        await store.set("n", number(1), 100.0)
        await store.set("m", number(1), None)
        await store.incr("n", 1)
        await store.incr("m", 1)
        assert lasts(await store.ttl("n"), 100)
        assert await store.ttl("m") is None

    @case
    async def test_counters_are_exact(self, store: Any, number: Callable[[int], Any]) -> None:
        """Every sum within signed 64 bits is exact."""
        for start, delta in [
            (2**53, 1),
            (2**63 - 2, 1),
            (-(2**63) + 1, -1),
            (-(2**63), 2**63 - 1),
            (2**63 - 1, -(2**63)),
            (-1, 1),
        ]:
            await store.set("n", number(start), None)
            assert await store.incr("n", delta) == start + delta
            assert await store.get("n") == number(start + delta)

    @case
    async def test_an_overflow_changes_nothing(
        self, store: Any, number: Callable[[int], Any]
    ) -> None:
        """A sum outside signed 64 bits raises, and the counter stays."""
        for start, delta in [
            (2**63 - 1, 1),
            (-(2**63), -1),
            (1, 2**63 - 1),
            (2**63 - 1, 2**63 - 1),
            (-(2**63), -(2**63)),
        ]:
            await store.set("n", number(start), None)
            with pytest.raises(CounterOverflow):
                await store.incr("n", delta)
            assert await store.get("n") == number(start)

    @case
    async def test_what_is_no_counter(self, store: Any) -> None:
        """A value of any other form cannot be added to, and stays."""
        for value in NO_COUNTERS:
            await store.set("n", value, 100.0)
            with pytest.raises(NotACounter):
                await store.incr("n", 1)
            assert await store.get("n") == value

    def test_its_repr_tells_what_it_is(self, backend: Backend) -> None:
        """The name of the class is in the repr."""
        assert type(backend).__name__ in repr(backend)
