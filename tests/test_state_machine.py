"""A dict that knows the rules runs beside each store; whatever is done, they agree."""

import asyncio
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest
from dict_backend import DictBackend
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from twofold.backend import Backend
from twofold.backends.memory import MemoryBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.core import Cache
from twofold.entry import codec_for
from twofold.errors import CounterOverflow, MissingKey, NotACounter
from twofold.keys import KeyMaker
from twofold.settings import read_cache
from twofold.testing import FakeClock

FACES = st.sampled_from(["", "a"])
NAMES = ["k", "key with blanks"]
KEYS = st.sampled_from(NAMES)
MANY = st.lists(KEYS, max_size=3)
VERSIONS = st.sampled_from([1, 2])
VALUES = (
    st.integers(0, 9)
    | st.sampled_from([None, True, "text", (1,), 2**63 - 1, -(2**63), 2**63, 1.0])
    | st.lists(st.integers(0, 9), max_size=3)
)
TIMES = st.sampled_from([0.25, 1, 10])  # few, for ends to be met to the point
TIMEOUTS = TIMES | st.sampled_from([None, 0, -1, 1_000_000])

Named = tuple[str, int]
MISS = object()


class Model:
    """The values and ends of a cache's entries, by key and version."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.entries: dict[Named, tuple[Any, float | None]] = {}

    def get(self, name: Named) -> Any:
        value, ends = self.entries.get(name, (MISS, None))
        return MISS if ends is not None and ends <= self.clock.monotonic() else value

    def get_many(self, keys: list[str], version: int) -> dict[str, Any]:
        values = {key: self.get((key, version)) for key in keys}
        return {key: value for key, value in values.items() if value is not MISS}

    def set(self, name: Named, value: Any, timeout: float | None) -> None:
        ends = None if timeout is None else self.clock.monotonic() + timeout
        self.entries[name] = value, ends

    def delete(self, name: Named) -> bool:
        there = self.get(name) is not MISS
        self.entries.pop(name, None)
        return there

    def ttl(self, name: Named) -> float | None:
        if self.get(name) is MISS:
            return 0.0
        ends = self.entries[name][1]
        return None if ends is None else ends - self.clock.monotonic()


class Machine(RuleBasedStateMachine):
    """A cache and its model; each step is made in the face that Hypothesis chooses."""

    def __init__(self, make: Callable[[FakeClock], Backend]) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.model = Model(self.clock)
        self.backend = make(self.clock)
        config = read_cache("default", {"BACKEND": "any"})
        self.cache = Cache(
            self.backend, codec_for(config, self.backend.holds_objects), KeyMaker("shop")
        )
        self.loop = asyncio.Runner()
        self.faces = cycle(["", "a"])

    def teardown(self) -> None:
        self.loop.close()
        self.cache.close()

    def do(self, face: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the cache in one face."""
        called = getattr(self.cache, face + method)(*args, **kwargs)
        return self.loop.run(called) if face else called

    @rule(face=FACES, key=KEYS, value=VALUES, timeout=TIMEOUTS, version=VERSIONS)
    def set(self, face: str, key: str, value: Any, timeout: Any, version: int) -> None:
        assert self.do(face, "set", key, value, timeout, version) is True
        self.model.set((key, version), value, timeout)

    @rule(face=FACES, key=KEYS, value=VALUES)
    def set_for_the_default_timeout(self, face: str, key: str, value: Any) -> None:
        assert self.do(face, "set", key, value) is True
        self.model.set((key, 1), value, 300)

    @rule(face=FACES, key=KEYS, value=VALUES, timeout=TIMEOUTS, version=VERSIONS)
    def add(self, face: str, key: str, value: Any, timeout: Any, version: int) -> None:
        name = key, version
        stores = self.model.get(name) is MISS and (timeout is None or timeout > 0)
        assert self.do(face, "add", key, value, timeout, version) is stores
        if stores:
            self.model.set(name, value, timeout)

    @rule(face=FACES, key=KEYS, version=VERSIONS)
    def has_key(self, face: str, key: str, version: int) -> None:
        there = self.model.get((key, version)) is not MISS
        assert self.do(face, "has_key", key, version) is there

    @rule(face=FACES, key=KEYS, timeout=TIMEOUTS, version=VERSIONS)
    def touch(self, face: str, key: str, timeout: Any, version: int) -> None:
        name = key, version
        value = self.model.get(name)
        assert self.do(face, "touch", key, timeout, version) is (value is not MISS)
        if value is not MISS:
            self.model.set(name, value, timeout)

    @rule(face=FACES, key=KEYS, version=VERSIONS)
    def delete(self, face: str, key: str, version: int) -> None:
        assert self.do(face, "delete", key, version) is self.model.delete((key, version))

    @rule(face=FACES, key=KEYS, delta=st.sampled_from([1, -1, 0, 5, 2**63 - 1, -(2**63)]))
    def incr(self, face: str, key: str, delta: int) -> None:
        value = self.model.get((key, 1))
        error: type[Exception] | None = None
        if value is MISS:
            error = MissingKey
        elif type(value) is not int or not -(2**63) <= value < 2**63:
            error = NotACounter
        elif not -(2**63) <= value + delta < 2**63:
            error = CounterOverflow
        if error is not None:
            with pytest.raises(error):
                self.do(face, "incr", key, delta)
            return
        assert self.do(face, "incr", key, delta) == value + delta
        self.model.entries[key, 1] = value + delta, self.model.entries[key, 1][1]

    @rule(face=FACES, key=KEYS, version=st.sampled_from([1, 2]), delta=st.sampled_from([-1, 1]))
    def incr_version(self, face: str, key: str, version: int, delta: int) -> None:
        old, new = (key, version), (key, version + delta)
        value = self.model.get(old)
        if value is MISS:
            with pytest.raises(MissingKey):
                self.do(face, "incr_version", key, delta, version)
        else:
            assert self.do(face, "incr_version", key, delta, version) == version + delta
            self.model.set(new, value, self.model.ttl(old))
            self.model.delete(old)

    @rule(face=FACES, keys=MANY, version=VERSIONS)
    def get_many(self, face: str, keys: list[str], version: int) -> None:
        same(self.do(face, "get_many", keys, version), self.model.get_many(keys, version))

    @rule(face=FACES, data=st.dictionaries(KEYS, VALUES), timeout=TIMEOUTS, version=VERSIONS)
    def set_many(self, face: str, data: dict[str, Any], timeout: Any, version: int) -> None:
        assert self.do(face, "set_many", data, timeout, version) == []
        for key, value in data.items():
            self.model.set((key, version), value, timeout)

    @rule(face=FACES, keys=MANY, version=VERSIONS)
    def delete_many(self, face: str, keys: list[str], version: int) -> None:
        deleted = sum(self.model.delete((key, version)) for key in keys)
        assert self.do(face, "delete_many", keys, version) == deleted

    @rule(face=FACES, key=KEYS, value=VALUES, timeout=TIMEOUTS, call=st.booleans())
    def get_or_set(self, face: str, key: str, value: Any, timeout: Any, call: bool) -> None:
        there = self.model.get((key, 1))
        default = (lambda: value) if call else value
        same(self.do(face, "get_or_set", key, default, timeout), value if there is MISS else there)
        if there is MISS:
            self.model.set((key, 1), value, timeout)

    @rule(face=FACES)
    def clear(self, face: str) -> None:
        self.do(face, "clear")
        self.model.entries.clear()

    @rule(face=FACES)
    def close(self, face: str) -> None:
        self.do(face, "close")

    @rule(seconds=TIMES)
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def agree(self) -> None:
        """Both have the same entries with the same lives, and nothing is on its way."""
        face = next(self.faces)
        for version in range(4):
            same(self.do(face, "get_many", NAMES, version), self.model.get_many(NAMES, version))
        for name in self.model.entries:
            same(self.do(face, "get", name[0], MISS, name[1]), self.model.get(name))
            left, expected = self.do(face, "ttl", *name), self.model.ttl(name)
            assert left is None if expected is None else left == pytest.approx(expected, abs=0.01)
        assert not self.cache._flights.table


def same(found: Any, expected: Any) -> None:
    """Check that both are equal and of one type."""
    assert found == expected
    assert type(found) is type(expected)


def _store(kind: str, folder: Path) -> Callable[[FakeClock], Backend]:
    numbers = count()

    def make(clock: FakeClock) -> Backend:
        if kind == "memory":
            return MemoryBackend(f"machine-{id(clock)}", clock=clock)
        if kind == "sqlite":
            return SQLiteBackend(str(folder / f"{next(numbers)}.db"), clock=clock)
        return DictBackend(clock=clock)

    return make


def _run(kind: str, folder: Path, examples: int, steps: int) -> None:
    make = _store(kind, folder)
    run_state_machine_as_test(
        lambda: Machine(make),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite", "third party"])
def test_a_store_agrees_with_a_dict(kind: str, tmp_path: Path) -> None:
    """Random steps in random faces leave a store and the model with the same entries."""
    _run(kind, tmp_path, examples=50, steps=30)


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["memory", "sqlite", "third party"])
def test_a_store_agrees_with_a_dict_for_long(kind: str, tmp_path: Path) -> None:
    """So do many more, and longer, runs."""
    _run(kind, tmp_path, examples=400, steps=60)
