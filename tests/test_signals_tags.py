"""A signal handler's exception amid tags and copies near leaves nothing held, and no wrong value.

As in `test_signals_claims`. What was not finished may have been done, or not; what is done next,
by this thread or another one, is done as ever.
"""

import gc
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chaos import eventually
from tests.memory_books import check
from tests.test_signals import KINDS, LONGEST, STORES, descriptors, elsewhere, length, store
from tests.test_signals_claims import (
    Asked,
    Operation,
    _nobody_looks_at_the_time,
    _nothing_of_other_tests,
    at_each,
)
from tests.test_signals_freshness import in_a_loop
from twofold import Cache
from twofold.backend import Backend
from twofold.backends.memory import MemoryBackend
from twofold.claims import renewal, table
from twofold.near.tier import Tier

__all__ = ["_nobody_looks_at_the_time", "_nothing_of_other_tests", "store"]

EVERY = {"memory": 293, "sqlite": 1193, "files": 3793, "redis": 1193, "memcached": 2493}
FAR = [each for each in STORES if each != "memory"]
_SHORTEST = 100  # bytecodes that each operation has
TAGS = ["t", "u"]
BY_RESULT: Any = lambda _: TAGS  # noqa: E731

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*<coroutine object:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings(
        "ignore:.*<function StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"
    ),
]


class Tagged(Asked):
    """A key with tags, which is there unless the name says that it is missed."""

    def __init__(self, store: Backend, name: str, operation: Operation, *, near: bool) -> None:
        super().__init__(store, name, operation)
        if near:
            self.cache = Cache(store, timeout=60, near={"timeout": 60})

    @property
    def tier(self) -> Tier | None:
        """What is near."""
        return None if self.cache._near is None else self.cache._near.tier

    def begin(self) -> None:
        self.cache.clear()
        if "miss" not in self.name:
            assert self.cache.set("k", "old", stale=60, tags=TAGS)
            assert self.cache.get("k") == "old"
        if "far" in self.name and self.tier is not None:
            self.tier.flushed()

    def compute(self) -> Any:
        """Return the value of the key."""
        return "new"

    async def acompute(self) -> Any:
        return "new"

    def compute_many(self, keys: list[str]) -> dict[str, Any]:
        return dict.fromkeys(keys, "new")

    def is_free(self) -> None:
        """Assert that nothing is held, and that all who ask are given what is right."""
        cache, kept = self.cache, "get" in self.name.split() or "get_many" in self.name
        assert not cache._claims.table
        assert not table.held()
        assert not renewal.live._claims
        found = elsewhere(lambda: cache.get("k"))
        assert found == "old" if kept else found in ("old", "new", None)
        computed = elsewhere(lambda: cache.get_or_set("k", lambda: "newer", tags=TAGS))
        # What was near may have stood in for what is done by now, until that was told.
        assert computed in ((found,) if kept else (found or "new", "new", "newer"))
        elsewhere(lambda: cache.invalidate_tags("t"))
        assert cache.get_many(["k"]) == {}
        assert cache.get("k", allow_stale=True) is None
        assert cache.set("k", "set", tags=TAGS)
        assert [cache.get("k"), elsewhere(lambda: cache.get("k"))] == ["set", "set"]
        cache.invalidate_tags("u", keep_stale=True)
        assert cache.get_or_set("k", lambda: "last", tags=TAGS) == cache.get("k") == "last"
        if self.tier is not None:
            assert cache.get_many(["l"]).keys() <= {"l"}  # this read was perhaps not begun before
            assert self.tier.reads == {}
        if isinstance(self.store, MemoryBackend):
            check(self.store)


SYNC: dict[str, Operation] = {
    "get": lambda it: it.cache.get("k"),
    "get far": lambda it: it.cache.get("k"),
    "get_many far": lambda it: it.cache.get_many(["k", "l"]),
    "set": lambda it: it.cache.set("k", "new", tags=TAGS),
    "set_many": lambda it: it.cache.set_many({"k": "new", "l": "new"}, tags=TAGS),
    "add, miss": lambda it: it.cache.add("k", "new", tags=TAGS),
    "invalidate": lambda it: it.cache.invalidate_tags("t", "u"),
    "invalidate softly": lambda it: it.cache.invalidate_tags("t", "u", keep_stale=True),
    "clear": lambda it: it.cache.clear(),
    "get_or_set": lambda it: it.cache.get_or_set("k", it.compute, tags=TAGS),
    "get_or_set, miss": lambda it: it.cache.get_or_set("k", it.compute, tags=TAGS),
    "get_or_set, miss, by result": lambda it: it.cache.get_or_set("k", it.compute, tags=BY_RESULT),
    "get_or_set_many, miss": lambda it: it.cache.get_or_set_many(
        ["k", "l"], it.compute_many, tags=TAGS
    ),
}
ASYNC: dict[str, Operation] = {
    "get far": lambda it: it.cache.aget("k"),
    "set": lambda it: it.cache.aset("k", "new", tags=TAGS),
    "invalidate softly": lambda it: it.cache.ainvalidate_tags("t", "u", keep_stale=True),
    "get_or_set, miss": lambda it: it.cache.aget_or_set("k", it.acompute, tags=TAGS),
}


def interrupt(tagged: Tagged, step: int, kinds: Sequence[type[BaseException]] = KINDS) -> None:
    """Interrupt an operation at every `step`-th bytecode; nothing is open afterwards."""
    tagged.begin()
    tagged.cache.close()
    gc.collect()
    before = descriptors()
    first = 1 if step == 1 else 1 + 41 * len(tagged.name) % _SHORTEST
    assert at_each(tagged, first, step, kinds) > first
    eventually(lambda: descriptors() <= before, "all is closed")


def step_of(request: pytest.FixtureRequest) -> int:
    return EVERY[request.node.callspec.params["store"]]


@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_amid_tags(
    request: pytest.FixtureRequest, store: Backend, name: str
) -> None:
    """No lock is left, no descriptor, and nothing that was invalidated."""
    interrupt(Tagged(store, name, SYNC[name], near=False), step_of(request))


@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("store", ["sqlite", "redis"], indirect=True)
def test_an_exception_of_a_handler_amid_copies_near(
    request: pytest.FixtureRequest, store: Backend, name: str
) -> None:
    """Nor is a read registered that is over."""
    interrupt(Tagged(store, name, SYNC[name], near=True), step_of(request))


@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("store", ["memory", "redis"], indirect=True)
def test_an_exception_of_a_handler_that_ends_a_loop(
    request: pytest.FixtureRequest, store: Backend, name: str
) -> None:
    """In the other face likewise."""
    tagged = Tagged(store, name, in_a_loop(ASYNC[name]), near=True)
    interrupt(tagged, 3 * step_of(request), [KeyboardInterrupt])


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("name", SYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode(store: Backend, name: str, near: bool) -> None:
    """Wherever it comes."""
    interrupt(Tagged(store, name, SYNC[name], near=near), length(store, name))


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode_that_ends_a_loop(
    store: Backend, name: str
) -> None:
    """Wherever it comes."""
    interrupt(Tagged(store, name, in_a_loop(ASYNC[name]), near=True), 1, [KeyboardInterrupt])
