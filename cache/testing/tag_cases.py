# ruff: noqa: S101
"""The cases for tags, over every backend."""

from collections.abc import Callable
from typing import Any

from twofold.backend import Backend
from twofold.testing.faces import case
from twofold.testing.suite import Suite, lasts


class Numbers:
    """A function that returns a new number at each call."""

    def __init__(self) -> None:
        self.calls: int = 0

    def __call__(self) -> list[int]:
        """Return it in a list, which each caller gets a copy of."""
        self.calls += 1
        return [self.calls]


class TagCases(Suite):
    """`invalidate_tags`, and what may be given tags."""

    @case
    async def test_what_has_a_tag_is_read_as_ever(self, cache: Any) -> None:
        """Reads find it, and it has the life that it was given."""
        assert await cache.set("k", {"a": [1]}, 1000, tags=["one", "two"]) is True
        assert await cache.get("k") == {"a": [1]}
        assert await cache.get_many(["k", "l"]) == {"k": {"a": [1]}}
        assert await cache.has_key("k") is True
        assert lasts(await cache.ttl("k"), 1000)
        assert await cache.add("k", 2) is False
        assert await cache.set("f", 1.5, None, tags=["one"]) is True
        assert await cache.ttl("f") is None

    @case
    async def test_invalidating_one_tag_makes_it_missing(self, cache: Any) -> None:
        """To each operation, and what has other tags stays."""
        await cache.set("k", "v", 1000, tags=["one", "two"])
        await cache.set("l", "w", 1000, tags=["one"])
        await cache.set("m", "x", 1000)
        await cache.invalidate_tags("two")
        assert await cache.get("k") is None
        assert await cache.get_many(["k", "l", "m"]) == {"l": "w", "m": "x"}
        assert await cache.has_key("k") is False
        assert await cache.ttl("k") == 0
        assert await cache.touch("k", 1000) is False
        assert await cache.add("k", "new", 1000) is True
        assert await cache.get("k") == "new"

    @case
    async def test_many_are_stored_with_tags(self, cache: Any) -> None:
        """`set_many` and `add` take tags as `set` does."""
        assert await cache.set_many({"k": [1], "l": 1.5}, 1000, tags=["t"]) == []
        assert await cache.add("m", "v", 1000, tags=["t"]) is True
        assert await cache.get_many(["k", "l", "m"]) == {"k": [1], "l": 1.5, "m": "v"}
        await cache.invalidate_tags("t")
        assert await cache.get_many(["k", "l", "m"]) == {}

    @case
    async def test_a_number_with_tags_is_no_counter(self, cache: Any) -> None:
        """It is a value that can be invalidated."""
        await cache.set("n", 5, 1000, tags=["t"])
        assert await cache.get("n") == 5
        await cache.invalidate_tags("t")
        assert await cache.get("n") is None

    @case
    async def test_a_tag_holds_again_after_it_was_invalidated(self, cache: Any) -> None:
        """What is stored afterwards is valid until the next time."""
        for value in range(3):
            await cache.set("k", [value], 1000, tags=["t"])
            assert await cache.get("k") == [value]
            await cache.invalidate_tags("t", "never used")
            assert await cache.get("k") is None

    @case
    async def test_a_new_life_keeps_the_tags(self, cache: Any) -> None:
        """`touch`, another version and `mark_stale` leave them on."""
        await cache.set("k", "v", 1000, tags=["t"])
        assert await cache.touch("k", 5000) is True
        assert lasts(await cache.ttl("k"), 5000)
        assert await cache.incr_version("k") == 2
        assert await cache.get("k", version=2) == "v"
        assert lasts(await cache.ttl("k", 2), 5000)
        await cache.set("s", "v", 1000, stale=1000, tags=["t"])
        assert await cache.mark_stale("s") is True
        assert await cache.get("s", allow_stale=True) == "v"
        await cache.invalidate_tags("t")
        assert await cache.get("k", version=2) is None
        assert await cache.get("s", allow_stale=True) is None

    @case
    async def test_what_is_kept_stale_is_for_those_who_ask(self, cache: Any) -> None:
        """A softly invalidated value is stale; the next invalidation ends that."""
        function = Numbers()

        async def fetch() -> Any:
            return await cache.get_or_set("k", function, 1000, stale=1000, wait=None, tags=["t"])

        assert await fetch() == [1]
        await cache.invalidate_tags("t", keep_stale=True)
        assert await cache.get("k") is None
        assert await cache.get("k", allow_stale=True) == [1]
        assert await fetch() == [2]
        assert await cache.get("k") == [2]
        await cache.invalidate_tags("t", keep_stale=True)
        await cache.invalidate_tags("t")
        assert await cache.get("k", allow_stale=True) is None

    @case
    async def test_what_a_tag_made_stale_can_be_marked_so(self, cache: Any) -> None:
        """`mark_stale` finds nothing fresh, and what is being computed is not kept."""
        sync = cache.target

        def marked() -> list[int]:
            assert sync.mark_stale("k") is False
            return [2]

        for life in (1000, None):
            await cache.set("k", [1], life, stale=1000, tags=["t"])
            await cache.invalidate_tags("t", keep_stale=True)
            assert await cache.mark_stale("k") is False
            assert await cache.get("k", allow_stale=True) == [1]
            options: dict[str, Any] = {"stale": 1000, "wait": None, "tags": ["t"]}
            assert await cache.get_or_set("k", marked, life, **options) == [2]
            assert await cache.get("k") is None
            assert await cache.get("k", allow_stale=True) == [1]
            await cache.invalidate_tags("t")
            assert await cache.get("k", allow_stale=True) is None

    @case
    async def test_a_computed_value_has_tags(self, cache: Any) -> None:
        """It is computed once until one of its tags is invalidated."""
        function = Numbers()
        for expected in (1, 2):
            for _ in range(2):
                value = await cache.get_or_set("k", function, 1000, tags=["one", "two"])
                assert value == [expected]
            await cache.invalidate_tags("two")

    @case
    async def test_the_result_may_tell_its_tags(self, cache: Any) -> None:
        """A function of the result returns them."""
        function = Numbers()

        def tags(value: list[int]) -> list[str]:
            return [f"number:{value[0]}"]

        for expected in (1, 2):
            for _ in range(2):
                assert await cache.get_or_set("k", function, 1000, tags=tags) == [expected]
            await cache.invalidate_tags("number:9")
            assert await cache.get("k") == [expected]
            await cache.invalidate_tags(f"number:{expected}")

    @case
    async def test_invalidating_meanwhile_is_not_lost(self, cache: Any) -> None:
        """What was computed before is returned to its caller, and not found by anybody else."""
        sync = cache.target

        def invalidated() -> str:
            sync.invalidate_tags("t")
            return "old"

        by_result: Callable[[Any], list[str]] = lambda _: ["t"]  # noqa: E731
        for key, tags in (("k", ["t"]), ("l", by_result)):
            assert await cache.get_or_set(key, invalidated, 1000, tags=tags) == "old"
            assert await cache.get(key) is None
            assert await cache.get_or_set(key, lambda: "new", 1000, tags=tags) == "new"
            assert await cache.get(key) == "new"

    @case
    async def test_many_computed_values_have_tags(self, cache: Any) -> None:
        """Those of all keys, or each its own by the result."""
        runs: list[list[str]] = []

        def function(keys: list[str]) -> dict[str, list[str]]:
            runs.append(keys)
            return {key: [key] for key in keys}

        async def fetch(tags: Any) -> Any:
            return await cache.get_or_set_many(["k", "l"], function, 1000, tags=tags)

        for tags, tag, again in ((["t"], "t", ["k", "l"]), (lambda value: value, "l", ["l"])):
            runs.clear()
            await cache.clear()
            for _ in range(2):
                assert await fetch(tags) == {"k": ["k"], "l": ["l"]}
            await cache.invalidate_tags(tag)
            assert await fetch(tags) == {"k": ["k"], "l": ["l"]}
            assert runs == [["k", "l"], again]

    @case
    async def test_a_tag_whose_generation_is_gone_invalidates(
        self, backend: Backend, cache: Any
    ) -> None:
        """Evicted or expired, it makes its entries missing for good."""
        await cache.set("k", "v", 1000, tags=["t"])
        if backend.private and backend.holds_objects:
            return  # entries refer to the generations themselves
        key = cache.target._keys.tag("t")
        assert backend.delete(key) is True
        assert await cache.get("k") is None
        await cache.set("l", "w", 1000, tags=["t"])
        assert await cache.get_many(["k", "l"]) == {"l": "w"}

    @case
    async def test_a_tag_lives_as_long_as_its_entries(self, backend: Backend, cache: Any) -> None:
        """The longest life counts, in whichever order they come."""
        if backend.private and backend.holds_objects:
            return
        key = cache.target._keys.tag("t")
        for life in (1000, 50_000, 10):
            await cache.set("k", "v", life, tags=["t"])
        _, left = backend.look_many([key])[key]
        assert left is None or left >= 50_000
        await cache.touch("k", 500_000)
        _, left = backend.look_many([key])[key]
        assert left is None or left >= 500_000
