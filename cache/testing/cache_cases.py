# ruff: noqa: S101
"""The cases for `Cache` over a backend: Django's operations by Django's rules."""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest

from twofold.backend import Backend
from twofold.errors import (
    CannotSerialize,
    CounterOverflow,
    InvalidKey,
    InvalidTimeout,
    MissingKey,
    NotACounter,
)
from twofold.testing.faces import Face, case
from twofold.testing.samples import EXACT, ODD_KEYS, assert_same
from twofold.testing.suite import Suite, lasts
from twofold.timeouts import DEFAULT_TIMEOUT

_SECRET = "a secret for the suite"  # noqa: S105


class CacheCases(Suite):
    """What `Cache` does over every backend."""

    values: ClassVar[tuple[Any, ...]] = EXACT
    """Values that come back equal and of the same types, with the suite's settings."""

    @case
    async def test_get_gives_the_default_for_a_miss(self, cache: Any) -> None:
        """A miss is None, or what was given for it."""
        assert await cache.get("k") is None
        assert await cache.get("k", "default") == "default"
        assert await cache.has_key("k") is False

    @case
    async def test_a_stored_none_is_a_hit(self, cache: Any) -> None:
        """None is a value like any other."""
        assert await cache.set("k", None) is True
        assert await cache.get("k", "default") is None
        assert await cache.has_key("k") is True
        assert await cache.get_many(["k", "l"]) == {"k": None}
        assert await cache.add("k", 1) is False
        assert await cache.get_or_set("k", 1) is None
        assert await cache.delete("k") is True

    @case
    async def test_every_value_comes_back_as_it_was(self, cache: Any) -> None:
        """Values come back equal and of the same types, one by one and many at a time."""
        for value in self.values:
            await cache.set("k", value)
            assert_same(await cache.get("k", "miss"), value)
        named = {f"k{n}": value for n, value in enumerate(self.values)}
        assert await cache.set_many(named) == []
        found = await cache.get_many(named)
        for name, value in named.items():
            assert_same(found[name], value)

    @case
    async def test_what_is_read_is_a_private_copy(self, cache: Any) -> None:
        """No caller can change what another one reads."""
        given = {"list": [1]}
        await cache.set("k", given)
        given["list"].append(2)
        for read in (await cache.get("k"), (await cache.get_many(["k"]))["k"]):
            read["list"].append(3)
        (await cache.get_or_set("k", None))["list"].append(4)
        assert await cache.get("k") == {"list": [1]}

    @case
    async def test_what_was_computed_is_a_private_copy(self, cache: Any) -> None:
        """What `get_or_set` returned may be changed without changing what it stored."""
        (await cache.get_or_set("k", lambda: [1])).append(2)
        assert await cache.get("k") == [1]

    @case
    async def test_what_cannot_be_stored_is_refused(self, cache: Any) -> None:
        """A value that would not come back is refused, and nothing is changed."""
        await cache.set("k", 1)
        with pytest.raises(CannotSerialize):
            await cache.set("k", lambda: None)
        with pytest.raises(CannotSerialize):
            await cache.set_many({"l": 1, "k": lambda: None})
        assert await cache.get_many(["k", "l"]) == {"k": 1}

    @case
    async def test_a_coroutine_is_never_stored(self, cache: Any) -> None:
        """What has to be awaited is no value."""

        async def function() -> int:
            return 1

        coroutine = function()
        for store in (cache.set, cache.add):
            with pytest.raises(CannotSerialize, match="awaited only once"):
                await store("k", coroutine)
        with pytest.raises(CannotSerialize, match="awaited only once"):
            await cache.set_many({"k": coroutine})
        coroutine.close()
        assert await cache.has_key("k") is False

    @case
    async def test_timeouts(self, cache: Any) -> None:
        """Absent is the alias's, None for ever; numbers, `timedelta` and text are durations."""
        for timeout, most in [
            (DEFAULT_TIMEOUT, 300),
            (None, None),
            (1000, 1000),
            (1000.5, 1000.5),
            (timedelta(hours=1), 3600),
            ("10m", 600),
            ("90", 90),
            (2**80, math.inf),
        ]:
            await cache.set("k", 1, timeout)
            await cache.add("l", 1, timeout=timeout)
            await cache.set_many({"m": 1}, timeout)
            await cache.set("n", 1, 50)
            await cache.touch("n", timeout)
            for name in "klmn":
                assert lasts(await cache.ttl(name), most)
                await cache.delete(name)

    @case
    async def test_the_default_timeout(self, cache: Any) -> None:
        """Without a timeout it is the alias's own, and `touch` goes back to that."""
        await cache.set("k", 1)
        await cache.add("l", 1)
        await cache.set_many({"m": 1})
        await cache.get_or_set("n", 1)
        await cache.set("o", 1, None)
        await cache.touch("o")
        for name in "klmno":
            assert lasts(await cache.ttl(name), 300)

    @case
    async def test_a_timeout_of_zero_or_less(self, cache: Any) -> None:
        """What is over at once is not stored, and takes the place of what was there."""
        for timeout in (0, -1, -0.5, timedelta(seconds=-1), "0"):
            await cache.set_many(dict.fromkeys("klm", "old"))
            assert await cache.set("k", 1, timeout) is True
            assert await cache.set_many({"l": 1}, timeout) == []
            assert await cache.touch("m", timeout) is True
            assert await cache.touch("missing", timeout) is False
            assert await cache.add("n", 1, timeout) is False
            assert await cache.get_or_set("o", 1, timeout) == 1
            assert await cache.get_many([*"klmno"]) == {}

    @case
    async def test_what_is_no_timeout(self, cache: Any) -> None:
        """A bool, NaN, infinity and other text are refused, and nothing is changed."""
        await cache.set("k", "old")
        for timeout in (True, False, math.nan, math.inf, "soon", "", b"1", [1]):
            for change in (cache.set, cache.add, cache.get_or_set):
                with pytest.raises(InvalidTimeout):
                    await change("k", "new", timeout)
            with pytest.raises(InvalidTimeout):
                await cache.touch("k", timeout)
            with pytest.raises(InvalidTimeout):
                await cache.set_many({"k": "new"}, timeout)
        assert await cache.get("k") == "old"

    @case
    async def test_an_entry_ends(
        self, cache: Any, short: float, outlive: Callable[[], None]
    ) -> None:
        """When its life is over an entry is a miss, and is computed again."""
        await cache.set_many(dict.fromkeys("klm", "old"), short)
        await cache.set("long", "old", 1000)
        outlive()
        assert await cache.get("k", "miss") == "miss"
        assert await cache.get_many(["k", "l", "long"]) == {"long": "old"}
        assert await cache.has_key("k") is False
        assert await cache.ttl("k") == 0.0
        assert await cache.touch("k") is False
        assert await cache.delete("k") is False
        assert await cache.get_or_set("k", "new") == "new"
        assert await cache.add("l", "new") is True
        with pytest.raises(MissingKey):
            await cache.incr_version("m")

    @case
    async def test_add_and_delete_tell_what_they_did(self, cache: Any) -> None:
        """`add` is true if it stored, `delete` if the key was there."""
        assert await cache.add("k", 1) is True
        assert await cache.add("k", 2) is False
        assert await cache.get("k") == 1
        assert await cache.delete("k") is True
        assert await cache.delete("k") is False
        assert await cache.add("k", 3) is True

    @case
    async def test_many_keys_at_a_time(self, cache: Any) -> None:
        """`get_many` returns what was found, `delete_many` how many."""
        data = {f"k{n}": n for n in range(100)}
        assert await cache.set_many(data) == []
        assert await cache.get_many([*data, "missing"]) == data
        assert await cache.get_many(name for name in ("k1", "k2")) == {"k1": 1, "k2": 2}
        assert await cache.delete_many(["k1", "missing", "k2"]) == 2
        assert await cache.get_many(["k1", "k2", "k3"]) == {"k3": 3}
        assert await cache.set_many({}) == []
        assert await cache.get_many([]) == {}
        assert await cache.delete_many([]) == 0

    @case
    async def test_one_text_in_the_place_of_keys(self, cache: Any) -> None:
        """A text in place of keys is refused, and says what to write."""
        for text in ("user", b"user", ""):
            for method in (cache.get_many, cache.delete_many):
                with pytest.raises(InvalidKey, match=re.escape(f"write [{text!r}]")):
                    await method(text)
            with pytest.raises(InvalidKey, match="a dict of keys to values, not "):
                await cache.set_many(text)

    @case
    async def test_a_hundred_get_many_at_once(self, face: Face, cache: Any) -> None:
        """Many concurrent `get_many` each find their own."""
        await cache.set_many({f"k{n}": n for n in range(200)})
        found = await face.together(
            [partial(cache.get_many, [f"k{n}", f"k{n + 1}"]) for n in range(100)]
        )
        assert found == [{f"k{n}": n, f"k{n + 1}": n + 1} for n in range(100)]

    @case
    async def test_counters(self, cache: Any) -> None:
        """`incr` and `decr` add to an integer, return the sum, and keep the expiry."""
        await cache.set("n", 5, 1000)
        assert await cache.incr("n") == 6
        assert await cache.incr("n", 10) == 16
        assert await cache.decr("n") == 15
        assert await cache.decr("n", 20) == -5
        assert await cache.incr("n", delta=-1) == -6
        assert_same(await cache.get("n"), -6)
        assert lasts(await cache.ttl("n"), 1000)

    @case
    async def test_a_missing_counter_is_a_value_error(self, cache: Any) -> None:
        """As in Django, and `MissingKey` by its own name."""
        for change in (cache.incr, cache.decr):
            with pytest.raises(MissingKey) as raised:
                await change("n")
            assert isinstance(raised.value, ValueError)

    @case
    async def test_only_integers_are_counted(self, cache: Any) -> None:
        """Nothing but an integer of 64 bits is added to, and nothing else is added."""
        for value in ("5", 5.0, True, None, [5], 2**63):
            await cache.set("n", value)
            with pytest.raises(NotACounter):
                await cache.incr("n")
            assert_same(await cache.get("n"), value)
        await cache.set("n", 5)
        for delta in ("1", 1.5, True, 2**63):
            with pytest.raises(NotACounter):
                await cache.incr("n", delta)
        assert await cache.get("n") == 5

    @case
    async def test_no_addition_is_lost(self, face: Face, cache: Any) -> None:
        """100 concurrent additions count to 100."""
        await cache.set("n", 0, 1000)
        await face.together([partial(cache.incr, "n")] * 100)
        assert await cache.get("n") == 100
        assert lasts(await cache.ttl("n"), 1000)

    @case
    async def test_signed_counters_count(
        self, face: Face, backend: Backend, short: float, outlive: Callable[[], None]
    ) -> None:
        """With a SECRET, counters count as they do without: exactly, and with their lives."""
        cache = face.view(self.make_cache(backend, SECRET=_SECRET))
        await cache.set("n", 0, 1000)
        sums = await face.together([partial(cache.incr, "n")] * 50)
        assert sorted(sums) == list(range(1, 51))
        assert await cache.decr("n", 100) == -50
        assert lasts(await cache.ttl("n"), 1000)
        await cache.set("n", 2**63 - 2)
        assert await cache.incr("n") == 2**63 - 1
        with pytest.raises(CounterOverflow):
            await cache.incr("n")
        assert_same(await cache.get("n"), 2**63 - 1)
        await cache.set("n", 1, short)
        assert await cache.incr("n") == 2
        outlive()
        with pytest.raises(MissingKey):
            await cache.incr("n")

    @case
    async def test_an_unsigned_number_is_no_signed_counter(
        self, face: Face, store: Any, backend: Backend
    ) -> None:
        """What somebody without the SECRET wrote is a miss, for `incr` too."""
        cache = face.view(self.make_cache(backend, SECRET=_SECRET))
        if backend.holds_objects:  # which nobody else can write to
            return
        await store.set(":1:n", b"7", None)
        assert await cache.get("n") is None
        with pytest.raises(MissingKey):
            await cache.incr("n")
        assert await store.get(":1:n") == b"7"

    @case
    async def test_versions_do_not_meet(self, cache: Any) -> None:
        """Every operation works on its own version, 1 unless told otherwise."""
        await cache.set("k", "one")
        assert await cache.set("k", "two", version=2) is True
        assert await cache.get("k") == await cache.get("k", version=1) == "one"
        assert await cache.get("k", version=2) == "two"
        assert await cache.get("k", "miss", version=3) == "miss"
        assert await cache.add("k", "three", version=3) is True
        assert await cache.has_key("k", version=4) is False
        assert await cache.set_many({"k": 4}, version=4) == []
        assert await cache.get_many(["k"], version=4) == {"k": 4}
        assert await cache.incr("k", version=4) == 5
        assert await cache.decr("k", version=4) == 4
        assert await cache.touch("k", 50, version=4) is True
        assert lasts(await cache.ttl("k", version=4), 50)
        assert await cache.delete("k", version=2) is True
        assert await cache.delete_many(["k"], version=4) == 1
        assert await cache.get_or_set("k", "five", version=5) == "five"
        assert [await cache.get("k", version=n) for n in range(1, 6)] == [
            "one", None, "three", None, "five",
        ]  # fmt: skip

    @case
    async def test_a_value_moves_between_versions(self, cache: Any) -> None:
        """`incr_version` and `decr_version` move a value with the life it has left."""
        for value, timeout, most in (([1], 1000, 1000), (7, None, None), (None, 50, 50)):
            await cache.set("k", value, timeout)
            assert await cache.incr_version("k") == 2
            assert await cache.has_key("k") is False
            assert_same(await cache.get("k", "miss", version=2), value)
            assert lasts(await cache.ttl("k", version=2), most)
            assert await cache.incr_version("k", delta=3, version=2) == 5
            assert await cache.decr_version("k", delta=4, version=5) == 1
            assert_same(await cache.get("k", "miss"), value)

    @case
    async def test_a_missing_value_does_not_move(self, cache: Any) -> None:
        """Moving what is not there is a `ValueError`, as in Django."""
        for move in (cache.incr_version, cache.decr_version):
            with pytest.raises(MissingKey) as raised:
                await move("k")
            assert isinstance(raised.value, ValueError)

    @case
    async def test_odd_keys(self, cache: Any) -> None:
        """Any text that is not empty is a key, and no two are one."""
        data = {name: n for n, name in enumerate(ODD_KEYS)}
        assert await cache.set_many(data) == []
        assert await cache.get_many(data) == data
        for name, value in data.items():
            assert await cache.get(name) == value
        assert await cache.delete_many(data) == len(data)

    @case
    async def test_what_is_no_key(self, cache: Any) -> None:
        """An empty key, and one that is no text, is refused everywhere."""
        for name in ("", None, 1, b"k", ("k",), True):
            for use in (
                cache.get, cache.delete, cache.touch, cache.has_key, cache.ttl, cache.incr,
                cache.decr, cache.incr_version,
            ):  # fmt: skip
                with pytest.raises(InvalidKey):
                    await use(name)
            for store in (cache.set, cache.add, cache.get_or_set):
                with pytest.raises(InvalidKey):
                    await store(name, 1)
            for many in (cache.get_many, cache.delete_many):
                with pytest.raises(InvalidKey):
                    await many(["k", name])
            with pytest.raises(InvalidKey):
                await cache.set_many({"k": 1, name: 1})
        assert await cache.has_key("k") is False

    @case
    async def test_clear_is_of_the_own_prefix(self, face: Face, backend: Backend) -> None:
        """`clear` removes all versions of the alias's keys, and no other alias's."""
        prefixes = ("", "shop", "shop2", "sho_", "SHOP", "sh%")
        caches = [face.view(self.make_cache(backend, key_prefix=each)) for each in prefixes]
        for n, each in enumerate(caches):
            await each.set("k", n)
            await each.set("k", n, version=2)
        await caches[1].clear()
        assert await caches[1].get("k") is None
        assert await caches[1].get("k", version=2) is None
        for n, each in enumerate(caches):
            if n != 1:
                assert await each.get("k") == await each.get("k", version=2) == n
        await caches[0].clear()
        assert [await each.get("k") for each in caches] == [None, None, 2, 3, 4, 5]

    @case
    async def test_clear_prefix(self, cache: Any) -> None:
        """`clear_prefix` removes the keys that begin so, in one version."""
        data = dict.fromkeys(["user:1", "user:10", "user:", "user", "users", "USER:1"], 1)
        await cache.set_many(data)
        await cache.set("user:1", 2, version=2)
        await cache.clear_prefix("user:")
        assert set(await cache.get_many(data)) == {"user", "users", "USER:1"}
        assert await cache.get("user:1", version=2) == 2

    @case
    async def test_it_goes_on_after_close(self, cache: Any) -> None:
        """`close` forgets nothing, and the next operation works."""
        await cache.set("k", [1])
        await cache.close()
        assert await cache.get("k") == [1]
        assert await cache.set("k", [2]) is True

    @case
    async def test_an_unreadable_entry_is_a_miss(
        self, face: Face, backend: Backend, cache: Any
    ) -> None:
        """Whatever stands in the store of bytes, it is a miss, and is replaced."""
        if backend.holds_objects:
            return
        store = face.view(backend)
        await cache.set("other", "another key's value")
        alien = await store.get(":1:other")
        for stored in (b"", b"\0", b"\xf2", b"garbage", alien, alien[:-1], b"\x80\x05N."):
            await store.set(":1:k", stored, None)
            assert await cache.get("k", "miss") == "miss"
            assert await cache.get_many(["k"]) == {}
            assert await cache.get_or_set("k", lambda: "computed") == "computed"
            assert await cache.get("k") == "computed"

    def test_in(self, backend: Backend) -> None:
        """`in` is `has_key`, in sync code."""
        cache = self.make_cache(backend)
        cache.set("k", None)
        assert "k" in cache
        assert "l" not in cache
