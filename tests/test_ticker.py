"""Calls that are made again and again: `twofold.effects.Ticker`."""

import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.chaos import eventually
from twofold.effects import Ticker

EVERY = 0.005  # seconds: no test counts on more than that it passes


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    """A ticker whose thread ends with the test."""
    made = Ticker("test-ticker")
    yield made
    for tick in list(made._ticks):
        tick.cancel()
    eventually(lambda: not threads(), "its thread ends, which the next test counts")


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "test-ticker"]


def counting(until: int) -> tuple[Callable[[], bool], threading.Event]:
    """Return a function that sets an event at its call number `until`."""
    calls, reached = [0], threading.Event()

    def count() -> bool:
        calls[0] += 1
        if calls[0] >= until:
            reached.set()
        return True

    return count, reached


def test_it_calls_again_and_again_until_cancelled(ticker: Ticker) -> None:
    """One thread makes all calls, and ends when nothing is left to call."""
    several = [counting(3) for _ in range(3)]
    ticks = [ticker.add(count, EVERY) for count, _ in several]
    assert all(reached.wait(10) for _, reached in several)
    assert len(threads()) == 1
    assert threads()[0].daemon
    for tick in ticks:
        tick.cancel()
    eventually(lambda: not threads(), "the thread ends")
    count, reached = counting(1)
    ticker.add(count, EVERY)
    assert reached.wait(10), "it begins anew"


def test_false_ends_it(ticker: Ticker) -> None:
    """A function that returns False is not called again."""
    calls: list[int] = []
    ticker.add(lambda: bool(calls.append(1)), EVERY)
    eventually(lambda: not threads(), "the thread ends")
    assert calls == [1]


def test_an_early_one_does_not_wait_for_a_late_one(ticker: Ticker) -> None:
    """A thread that sleeps for long is woken by what is due before, and by the end of all."""
    late = ticker.add(lambda: True, 3600)
    count, reached = counting(2)
    early = ticker.add(count, EVERY)
    assert reached.wait(10)
    early.cancel()
    eventually(lambda: ticker._wakes > early.due + 60, "it sleeps for long again")
    late.cancel()
    eventually(lambda: not threads(), "the thread ends")


def test_an_error_is_logged_and_stops_nothing(
    ticker: Ticker, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the function that raised nor another one is called less often."""
    count, reached = counting(3)

    def fail() -> bool:
        count()
        raise ValueError("no store")

    other, others = counting(3)
    with caplog.at_level(logging.WARNING, "twofold"):
        ticker.add(fail, EVERY)
        ticker.add(other, EVERY)
        assert reached.wait(10)
        assert others.wait(10)
    assert "next try in 0.005 s: no store" in caplog.text


def test_no_lock_is_held_over_a_call(ticker: Ticker) -> None:
    """While one call takes long, others come and go."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> bool:
        begun.set()
        return go_on.wait(10)

    tick = ticker.add(slow, EVERY)
    assert begun.wait(10)
    ticker.add(lambda: True, EVERY).cancel()
    tick.cancel()
    go_on.set()
    eventually(lambda: not threads(), "the thread ends")


def test_a_tick_is_cancelled_in_its_own_call(ticker: Ticker) -> None:
    """It is not called again, though it said to go on."""
    calls: list[int] = []

    def once() -> bool:
        calls.append(1)
        tick.cancel()
        return True

    tick = ticker.tick(once, EVERY)
    tick.start()
    eventually(lambda: not threads(), "the thread ends")
    assert calls == [1]


def test_a_forked_child_begins_without(ticker: Ticker) -> None:
    """It makes none of the parent's calls, can cancel them, and has a thread of its own."""
    inherited = ticker.add(lambda: True, 3600)
    child = os.fork()
    if child == 0:
        count, reached = counting(1)
        ticks = len(ticker._ticks)
        inherited.cancel()
        ticker.add(count, EVERY)
        os._exit(0 if ticks == 0 and reached.wait(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(ticker._ticks) == 1


def test_its_repr_tells_what_it_does(ticker: Ticker) -> None:
    """Both the ticker and a tick show their state."""
    tick = ticker.add(print, 60)  # type: ignore[arg-type]
    assert repr(ticker) == "<Ticker 'test-ticker' 1 ticks>"
    assert repr(tick) == f"<Tick {print!r} every 60 s>"
