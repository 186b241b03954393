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
        assert store.get_many(["k", "m", "n", "new"]) == {"k": b"old", "m": b"old", "n": b"v"}

    async def test_a_hundred_concurrent_increments_count_to_a_hundred(
        self, store: Backend, clock: Hands
    ) -> None:
        """Each is counted once, answers are all different, and the expiry stays."""
        await store.aset("n", b"0", 60)
        clock.now += 10
        answers = await asyncio.gather(*(store.aincr("n", 1) for _ in range(100)))
        assert sorted(answers) == list(range(1, 101))
        assert await store.attl("n") == 50.0
