"""What is told of outages, breakers and damage: once, to each who subscribes."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twofold import BackendUnavailable, Cache, close_all, events
from twofold.backends.network.breaker import Breaker
from twofold.contrib.http.store import PageStore
from twofold.effects import BLOCKING, run_sync
from twofold.events import (
    BreakerClosed,
    BreakerOpened,
    EntriesDamaged,
    Event,
    OutageBegan,
    OutageEnded,
    emit,
)
from twofold.outage import Outage
from twofold.testing import FACES, ChaosBackend, Face, case


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """What a subscriber is told while the test runs."""
    heard: list[Event] = []
    unsubscribe = events.subscribe(heard.append)
    yield heard
    unsubscribe()
    close_all()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets what the clock of outages shows."""
    shown = [0.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return shown[0]

    monkeypatch.setattr("twofold.outage.SYSTEM_CLOCK", Clock)

    def at(seconds: float) -> None:
        shown[0] = seconds

    return at


@pytest.mark.parametrize("face", FACES, ids=repr)
class TestOutages:
    """An outage that costs misses is told of when it begins, and when it ends."""

    @case
    async def test_it_is_told_of_twice(
        self, face: Face, told: list[Event], now: Callable[[float], None]
    ) -> None:
        """Once as it begins, once as it ends: with how long it was, and what failed in it."""
        store = ChaosBackend(failure_rate=1.0)
        cache = Cache(store, options={"on_error": "miss"})
        view = face.view(cache)
        await view.get("k")
        now(2.5)
        await view.set("k", 1)
        store.failure_rate = 0.0
        await view.get("k")
        await view.get("k")
        error = "get failed, as ChaosBackend was told to let it"
        assert told == [OutageBegan("private", error), OutageEnded("private", 2.5, 2)]
        assert str(told[1]) == (
            "cache 'private' is available again after 2.5 s and 2 failed operations"
        )
        assert cache.available
        assert cache.stats().unavailable == 2
        await view.close()


def test_both_are_warnings_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever sees in the log that an outage began sees there that it ended."""
    outage = Outage("shop")
    outage.fail(BackendUnavailable("gone"))
    outage.end()
    assert [(each.name, each.levelname) for each in caplog.records] == [("twofold", "WARNING")] * 2
    assert "cache 'shop' is unavailable, going on without it: gone" in caplog.messages


def test_a_flapping_store_does_not_fill_the_log(
    told: list[Event], now: Callable[[float], None]
) -> None:
    """An outage soon after another is told of, with its end, if it lasts longer."""
    outage, error = Outage("shop"), BackendUnavailable("gone")
    for second in range(10):
        now(float(second))
        outage.fail(error)
        outage.end()
    assert told == [OutageBegan("shop", "gone"), OutageEnded("shop", 0.0, 1)]
    now(9.5)
    outage.fail(error)
    now(11.0)
    outage.fail(error)
    outage.end()
    assert told[2:] == [OutageBegan("shop", "gone"), OutageEnded("shop", 1.5, 2)]


def test_an_operation_that_fails_is_what_must_work_again(told: list[Event]) -> None:
    """What works beside it ends no outage."""
    outage = Outage("shop")
    outage.fail(ValueError("mine"), "store")
    outage.fail(ValueError("mine"), "read")
    outage.end("read")
    outage.end()
    assert told == [OutageBegan("shop", "ValueError('mine')", "store")]
    outage.end("store")
    outage.end("store")
    assert [type(each) for each in told] == [OutageBegan, OutageEnded]
    assert "succeeds to store again" in str(told[1])


def test_pages_tell_of_the_operation_that_fails(told: list[Event]) -> None:
    """What fails for pages alone is told of by its name, and ends with it."""
    store = ChaosBackend(failure_rate=1.0)
    pages = PageStore(Cache(store))
    run_sync(pages.drop(BLOCKING, ["k"]))
    store.failure_rate = 0.0
    run_sync(pages.drop(BLOCKING, ["k"]))
    assert [type(each) for each in told] == [OutageBegan, OutageEnded]
    assert pages.failures == 1
    assert all("delete_many" in str(each) for each in told)


def test_a_breaker_tells_when_it_moves(told: list[Event]) -> None:
    """Opened by a refusal and closed by a reply, each once; not while its lock is held."""
    breaker = Breaker("h:1")
    free: list[bool] = []
    unsubscribe = events.subscribe(lambda event: free.append(not breaker._lock._is_owned()))  # type: ignore[attr-defined]
    breaker.fail(OSError("refused"), refused=True)
    breaker.fail(OSError("refused"), refused=True)
    breaker.succeed()
    breaker.close()
    breaker.close()
    unsubscribe()
    assert told == [BreakerOpened("h:1", "refused"), BreakerClosed("h:1")]
    assert free == [True, True]


def test_a_changed_secret_is_told_of_once(tmp_path: Path, told: list[Event]) -> None:
    """Entries that do not verify are misses; the first tells what to do about it."""
    url = f"sqlite:///{tmp_path}/c.db"
    Cache(url, secret="a" * 32).set_many({"a": 1, "b": "text"})
    changed = Cache(url, secret="b" * 32)
    assert changed.get_many(["a", "b"]) == {}
    assert told == [EntriesDamaged("private", signed=True)]
    assert 'SECRET = ["new", "old"]' in str(told[0])
    assert changed.stats().damaged == 2
    both = Cache(url, secret=["b" * 32, "a" * 32])
    assert both.get_many(["a", "b"]) == {"a": 1, "b": "text"}


def test_a_subscriber_that_fails_harms_nobody(
    told: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged; others are told, and the caller goes on."""

    def fail(event: Event) -> None:
        raise ValueError("mine")

    unsubscribe = events.subscribe(fail)
    after: list[Any] = []
    second = events.subscribe(after.append)
    emit(OutageBegan("shop", "gone"))
    unsubscribe()
    unsubscribe()
    emit(BreakerClosed("h:1"))
    second()
    assert told == after == [OutageBegan("shop", "gone"), BreakerClosed("h:1")]
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "ValueError: mine" in caplog.text


def test_a_subscriber_may_use_the_cache_that_fails(told: list[Event]) -> None:
    """What it does there is told of no second time."""
    cache = Cache(ChaosBackend(failure_rate=1.0), options={"on_error": "miss"})
    unsubscribe = events.subscribe(lambda event: cache.get("k"))
    assert cache.get("k") is None
    unsubscribe()
    assert [type(each) for each in told] == [OutageBegan]
    assert cache.stats().unavailable == 2
