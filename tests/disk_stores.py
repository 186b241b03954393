"""What the tests of stores on a disk share: a clock, cases that all must pass, processes."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from twofold.backend import Backend
from twofold.errors import BackendUnavailable, SettingsError
from twofold.stub import new_stub

START = 1_700_000_000.0
PATIENCE = 20.0  # seconds: what is no matter of time may take it, on a slow machine
Open = Callable[..., Backend]
B = TypeVar("B", bound=Backend)


class Hands:
    """A clock whose hands are set by the test."""

    def __init__(self) -> None:
        self.now = START

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@contextmanager
def closed_in_the_end(kind: type[B], path: Path, **defaults: Any) -> Iterator[Callable[..., B]]:
    """Give a function that makes backends at one path, and close all of them."""
    made: list[B] = []

    def make(location: object = path, **options: Any) -> B:
        made.append(kind(str(location), **{"deadline": PATIENCE, **defaults, **options}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def assert_in_use(backend: Backend) -> None:
    """Assert that a store works, whatever happened to it before."""
    assert backend.set("after", b"v", 60)
    assert backend.get("after") == b"v"
    assert backend.set("n", b"1", None)
    assert backend.incr("n", 1) == 2


def start(code: str, *args: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


class DiskStoreCases:
    """Cases for the fixtures `opened`, `store` and `clock` of a test module."""

    @pytest.mark.parametrize("name", ["max_entries", "max_bytes"])
    @pytest.mark.parametrize("value", [0, -1, True, 1.5, "9"])
    def test_a_bound_that_is_no_positive_number_is_refused(
        self, opened: Open, name: str, value: object
    ) -> None:
        """The error names the key in OPTIONS and shows the value."""
        with pytest.raises(SettingsError, match=rf"OPTIONS\['{name}'\].*{value!r}"):
            opened(**{name: value})

    @pytest.mark.parametrize("value", [-1, True, 1.5, "3"])
    def test_a_frequency_that_is_no_number_is_refused(self, opened: Open, value: object) -> None:
        """The error names the key in OPTIONS and shows the value."""
        with pytest.raises(SettingsError, match=rf"OPTIONS\['cull_frequency'\].*{value!r}"):
            opened(cull_frequency=value)

    def test_a_path_through_a_file_is_unavailable(self, opened: Open, tmp_path: Path) -> None:
        """What the system says becomes an error of ours."""
        (tmp_path / "file").touch()
        with pytest.raises(BackendUnavailable, match="file/cache"):
            opened(tmp_path / "file" / "cache").set("k", b"v", None)

    def test_every_operation_does_what_the_contract_says(self, store: Backend) -> None:
        """One walk over all of them, on living entries."""
        assert store.get("k") is None
        assert store.set("k", b"v", None)
        assert (store.get("k"), store.has("k"), store.ttl("k")) == (b"v", True, None)
        assert not store.add("k", b"w", None)
        assert store.add("new", b"", 10)
        assert store.get("new") == b""
        assert store.touch("k", 20)
        assert store.ttl("k") == 20.0
        assert not store.compare_and_set("k", b"x", b"w", None)
        assert store.compare_and_set("k", b"v", b"w", None)
        assert not store.compare_and_delete("k", b"v")
        assert store.compare_and_delete("k", b"w")
        assert store.delete("new")
        assert not store.delete("new")
        assert (store.has("k"), store.ttl("k"), store.touch("k", 1)) == (False, 0.0, False)
        assert not store.compare_and_set("k", b"w", b"x", None)

    @pytest.mark.parametrize("ask", ["get", "has", "ttl", "add", "get_many"])
    def test_what_the_clock_was_set_back_behind_begins_its_life_again(
        self, store: Backend, clock: Hands, ask: str
    ) -> None:
        """It ends neither before its time nor later than its life after it was first asked for."""
        store.set("k", b"1", 7200)
        store.set("for ever", b"1", None)
        clock.now -= 86_400
        arguments = {"add": ("k", b"2", 60), "get_many": (["k"],)}.get(ask, ("k",))
        answers = {"get": b"1", "has": True, "ttl": 7200.0, "add": False, "get_many": {"k": b"1"}}
        assert getattr(store, ask)(*arguments) == answers[ask]
        clock.now += 7199
        assert (store.get("k"), store.ttl("k")) == (b"1", 1.0)
        clock.now += 1
        assert (store.get("k"), store.get("for ever")) == (None, b"1")
        assert store.add("k", b"2", 60)

    def test_who_counts_or_compares_begins_a_life_again_too(
        self, store: Backend, clock: Hands
    ) -> None:
        """With the clock set back, an operation that keeps the expiry keeps the life."""
        store.set_many({"n": b"1", "k": b"v"}, 60)
        clock.now -= 3600
        assert (store.incr("n", 1), store.compare_and_delete("k", b"other")) == (2, False)
        clock.now += 59
        assert (store.get("n"), store.get("k")) == (b"2", b"v")
        clock.now += 1
        assert store.get_many(["n", "k"]) == {}

    def test_a_step_of_the_clock_by_less_than_a_second_changes_nothing(
        self, store: Backend, clock: Hands
    ) -> None:
        """Two readings of one wall clock may disagree by so much."""
        store.set("k", b"v", 60)
        clock.now -= 0.5
        assert store.get("k") == b"v"
        clock.now += 60.5
        assert store.get("k") is None

    def test_a_value_beyond_the_bound_is_not_stored(self, opened: Open) -> None:
        """What can never fit is refused, and the older value stays."""
        store = opened(max_bytes=100_000)
        huge = b"x" * 100_001
        store.set_many({"k": b"old", "m": b"old"}, None)
        assert not store.set("k", huge, None)
        assert store.set_many({"m": huge, "n": b"v"}, None) == ["m"]
        assert not store.add("new", huge, None)
        assert not store.compare_and_set("n", b"v", huge, None)
        stub = new_stub()
        store.get_or_claim("claimed", stub, 30)
        assert not store.fill("claimed", stub, huge, None)
        assert store.release("claimed", stub)
        assert store.get_many(["k", "m", "n", "new"]) == {"k": b"old", "m": b"old", "n": b"v"}

    @pytest.mark.parametrize("cull_frequency", [None, 0])
    def test_claims_take_no_room(self, opened: Open, cull_frequency: int | None) -> None:
        """However many there are, no value goes for them; one that is filled counts once."""
        store = opened(max_entries=2, cull_frequency=cull_frequency)
        store.set_many({"a": b"v", "b": b"v"}, None)
        stubs = {f"k{n}": new_stub() for n in range(40)}
        for key, stub in stubs.items():
            assert store.get_or_claim(key, stub, 30) is None
        assert sorted(store.get_many("ab")) == ["a", "b"]  # type: ignore[arg-type]
        assert store.delete("a")
        assert store.fill("k7", stubs["k7"], b"v", None)
        assert store.has("b")
        assert store.fill("k8", stubs["k8"], b"v", None)
        assert [store.has(key) for key in ("b", "k7", "k8")].count(True) <= 2
        assert store.has("k8")

    @pytest.mark.parametrize("bound", [{"max_entries": 8}, {"max_bytes": 100_000}])
    def test_a_claim_is_not_evicted(
        self, opened: Open, clock: Hands, bound: dict[str, int]
    ) -> None:
        """What is computed while a full store is written to is stored, as its youngest entry."""
        store = opened(**bound)
        stub = new_stub()
        store.get_or_claim("k", stub, 30)
        for number in range(60):
            clock.now += 0.1
            store.set(f"n:{number}", b"x" * 1000, None)
        assert store.get("k") == stub
        assert store.fill("k", stub, b"v" * 1000, None)
        clock.now += 0.1
        store.set_many({f"next:{number}": b"v" for number in range(4)}, None)
        assert store.has("k")

    @pytest.mark.parametrize("at_once", [1, 7, 100])
    def test_what_fills_claims_is_bounded(self, opened: Open, at_once: int) -> None:
        """Values that fill claims make room as others do, however many are computed at a time."""
        store = opened(max_entries=64)
        keys = [f"k:{number}" for number in range(400)]
        for first in range(0, len(keys), at_once):
            stubs = {key: new_stub() for key in keys[first : first + at_once]}
            for key, stub in stubs.items():
                assert store.get_or_claim(key, stub, 30) is None
            for key, stub in stubs.items():
                assert store.fill(key, stub, b"v", 60)
            assert len(store.get_many(keys)) <= 66
        assert len(store.get_many(keys)) >= 60

    def test_a_claim_from_before_the_clock_was_set_back_begins_its_life_again(
        self, store: Backend, clock: Hands
    ) -> None:
        """It stays hidden, can be filled, and ends a life after it was first asked for."""
        filled, left = new_stub(), new_stub()
        store.get_or_claim("filled", filled, 30)
        store.get_or_claim("left", left, 30)
        clock.now -= 3600
        assert store.get("left") == left
        assert store.get_or_claim("left", new_stub(), 30) == left
        assert (store.has("left"), store.ttl("left")) == (False, 0.0)
        assert store.fill("filled", filled, b"v", 60)
        clock.now += 29
        assert store.get_or_claim("left", new_stub(), 30) == left
        clock.now += 1
        assert store.get_or_claim("left", new_stub(), 30) is None
        assert store.ttl("filled") == 30.0

    async def test_claims_of_many_tasks_are_filled_together(self, store: Backend) -> None:
        """A batch claims each key once, and refuses whoever did not."""
        stubs = [new_stub() for _ in range(90)]
        keys = [f"k:{number % 30}" for number in range(90)]
        found = await asyncio.gather(*map(store.aget_or_claim, keys, stubs, [30.0] * 90))
        won = [answer is None for answer in found]
        assert sum(won) == 30
        values = [str(number).encode() * 9 for number in range(90)]
        filled = await asyncio.gather(*map(store.afill, keys, stubs, values, [60.0] * 90))
        assert filled == won
        released = await asyncio.gather(*map(store.arelease, keys, stubs))
        assert not any(released)
        kept = {key: value for key, value, mine in zip(keys, values, won, strict=True) if mine}
        assert await store.aget_many(list(kept)) == kept

    async def test_a_hundred_concurrent_increments_count_to_a_hundred(
        self, store: Backend, clock: Hands
    ) -> None:
        """Each is counted once, answers are all different, and the expiry stays."""
        await store.aset("n", b"0", 60)
        clock.now += 10
        answers = await asyncio.gather(*(store.aincr("n", 1) for _ in range(100)))
        assert sorted(answers) == list(range(1, 101))
        assert await store.attl("n") == 50.0
