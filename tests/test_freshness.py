"""Values between fresh and gone: who is served what, and who computes."""

from collections.abc import Callable, Iterator
from contextvars import copy_context
from decimal import Decimal
from fractions import Fraction
from itertools import product
from math import exp, inf
from random import Random
from typing import Any

import pytest

from tests import opcodes
from twofold import (
    DEFAULT_TIMEOUT,
    Cache,
    ComputationTimeout,
    InvalidTimeout,
    SettingsError,
    bypass,
    cached,
    refreshing,
)
from twofold.freshness import overrides
from twofold.freshness.policy import Age, Outcome, Policy, Step, age, decide
from twofold.metadata import Meta
from twofold.testing import FakeClock

POLICIES = {
    "stale": Policy(10.0, stale=60.0),
    "wait": Policy(10.0, stale=60.0, wait=0.5),
    "wait to the end": Policy(10.0, stale=60.0, wait=None),
    "wait, max_wait": Policy(10.0, stale=60.0, wait=None, max_wait=2.0),
    "max_wait": Policy(10.0, max_wait=2.0),
    "early": Policy(10.0, early=0.8),
}

FIRST = {
    # what is found: fresh, early, stale, gone
    "stale": (Step.SERVE, Step.REFRESH, Step.REFRESH, Step.COMPUTE),
    "wait": (Step.SERVE, Step.REFRESH, Step.WAIT, Step.COMPUTE),
    "wait to the end": (Step.SERVE, Step.REFRESH, Step.COMPUTE, Step.COMPUTE),
    "wait, max_wait": (Step.SERVE, Step.REFRESH, Step.WAIT, Step.WAIT),
    "max_wait": (Step.SERVE, Step.REFRESH, Step.REFRESH, Step.WAIT),
    "early": (Step.SERVE, Step.REFRESH, Step.REFRESH, Step.COMPUTE),
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_done_first(name: str) -> None:
    """By the age of what is found; while a refresh rests, whatever may be served is."""
    policy = POLICIES[name]
    for found, step in zip(Age, FIRST[name], strict=True):
        assert decide(found, policy) is step
        resting = decide(found, policy, resting=True)
        assert resting is (step if found is Age.GONE else Step.SERVE)


@pytest.mark.parametrize(("found", "outcome"), list(product(Age, Outcome)))
def test_what_is_done_then(found: Age, outcome: Outcome) -> None:
    """What was computed is returned; else what was found, if it may be served."""
    alone = {
        Outcome.COMPUTED: Step.RETURN,
        Outcome.FAILED: Step.RAISE,
        Outcome.LATE: Step.TIME_OUT,
        Outcome.BUSY: Step.COMPUTE,
    }[outcome]
    expected = Step.SERVE if found is not Age.GONE and outcome is not Outcome.COMPUTED else alone
    for policy in POLICIES.values():
        assert decide(found, policy, outcome=outcome) is expected


META = Meta(100.0, 110.0, 170.0, 2.0)


@pytest.mark.parametrize(
    ("now", "policy", "found"),
    [
        (100.0, Policy(10.0, stale=60.0), Age.FRESH),
        (109.9, Policy(10.0, stale=60.0), Age.FRESH),
        (110.0, Policy(10.0, stale=60.0), Age.STALE),
        (169.9, Policy(10.0, stale=60.0), Age.STALE),
        (170.0, Policy(10.0, stale=60.0), Age.GONE),
        (169.9, Policy(10.0, stale=600.0), Age.STALE),
        (170.0, Policy(10.0, stale=600.0), Age.GONE),
        (115.0, Policy(10.0, stale=5.1), Age.STALE),
        (115.1, Policy(10.0, stale=5.0), Age.GONE),
        (110.0, Policy(10.0), Age.GONE),
        (50.0, Policy(10.0, stale=60.0), Age.STALE),  # the clock was set back
        (108.3, Policy(10.0, early=0.8), Age.FRESH),  # 80 % of the 8 s from 102 on
        (108.5, Policy(10.0, early=0.8), Age.EARLY),
    ],
)
def test_how_old_a_value_is(now: float, policy: Policy, found: Age) -> None:
    """Both who stored it and who asks bound for how long it is stale."""
    assert age(META, now, policy, 1.0) is found


def test_a_value_that_says_nothing_is_fresh() -> None:
    assert age(None, 1e12, Policy(10.0, stale=60.0, early=0.5), 0.5) is Age.FRESH


def test_xfetch_comes_the_earlier_the_longer_it_takes() -> None:
    """By the draw: -took * ln(draw) before the end; never before it was timed."""
    policy = Policy(10.0, early="xfetch")
    draw = 0.1  # 2 s * 2.3 before the end
    assert age(META, 105.3, policy, draw) is Age.FRESH
    assert age(META, 105.5, policy, draw) is Age.EARLY
    untimed = Meta(100.0, 110.0, 110.0, 0.0)
    assert age(untimed, 109.99, policy, 1e-9) is Age.FRESH
    for_ever = Meta(100.0, inf, inf, 5.0)
    assert age(for_ever, 1e9, policy, 1e-9) is Age.FRESH


@pytest.mark.parametrize("rate", [0.5, 5.0, 20.0])
def test_xfetch_refreshes_as_often_as_the_paper_says(rate: float) -> None:
    """By a simulated clock: as early as theorem and hits per second have it, once per window.

    A hit with `rest` seconds left refreshes with the probability exp(-rest / took), so that none
    of n hits does with the product of the others.
    """
    policy, took, fresh = Policy(60.0, early="xfetch"), 2.0, 60.0
    meta = Meta(-took, fresh, fresh, took)
    draws = Random(7)
    times = [n / rate for n in range(int(40 * rate), int(fresh * rate))]  # before, none is likely
    windows = 400

    def first() -> float | None:
        for now in times:
            if age(meta, now, policy, 1 - draws.random()) is Age.EARLY:
                return fresh - now
        return None

    ahead = [rest for rest in (first() for _ in range(windows)) if rest is not None]
    none_yet, expected, refreshed = 1.0, 0.0, 0.0
    for now in times:
        chance = none_yet * exp(-(fresh - now) / took)
        refreshed += chance
        expected += chance * (fresh - now)
        none_yet -= chance
    assert len(ahead) / windows == pytest.approx(refreshed, abs=0.05)
    assert sum(ahead) / windows == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"stal": 1}, SettingsError, "did you mean 'stale'"),
        ({"stale": True}, InvalidTimeout, "stale=True"),
        ({"wait": "soon"}, InvalidTimeout, "wait='soon'"),
        ({"early": 1.5}, SettingsError, "between 0 and 1"),
        ({"early": "xfetsch"}, SettingsError, "'xfetch'"),
        ({"jitter": -0.1}, SettingsError, "from 0 to 1"),
        ({"errors": [KeyError]}, SettingsError, "dict of exception classes"),
        ({"errors": {KeyboardInterrupt: 1}}, SettingsError, "KeyboardInterrupt"),
        ({"errors": {"KeyError": 1}}, SettingsError, "classes of Exception"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, Any], error: type[Exception], match: str
) -> None:
    """In a call, a decorator and the settings alike."""
    cache = Cache("memory://freshness")
    with pytest.raises(error, match=match):
        cache.get_or_set("k", dict, **options)
    cache.close()


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({"timeout": 1}, {"timeout": True}),
        ({"timeout": 1, "tags": ["t"]}, {"timeout": True, "tags": ["t"]}),
        ({"stale": 1}, {"stale": True}),
        ({"wait": 0}, {"wait": False}),
        ({"timeout": 1, "stale": 1}, {"timeout": Decimal(1), "stale": 1}),
        ({"timeout": 1, "tags": ["t"]}, {"timeout": Fraction(1), "tags": ["t"]}),
        ({"stale": 1}, {"stale": 1 + 0j}),
    ],
)
def test_what_equals_a_number_of_seconds_is_none(
    asked: dict[str, Any], refused: dict[str, Any]
) -> None:
    """Not even after the number that it equals was asked for."""
    cache = Cache("memory://freshness")
    assert cache.get_or_set("k", dict, **asked) == {}
    with pytest.raises(InvalidTimeout):
        cache.get_or_set("k", dict, **refused)
    cache.close()


class Source:
    """A function with a number, which can fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> list[int]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return [self.calls]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def ask(twofold_cache: Cache, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Ask in one of the two faces."""
    import asyncio

    if request.param == "sync":
        yield twofold_cache.get_or_set
    else:
        with asyncio.Runner() as runner:

            async def one(*args: Any, **kwargs: Any) -> Any:
                return await twofold_cache.aget_or_set(*args, **kwargs)

            yield lambda *args, **kwargs: runner.run(one(*args, **kwargs), context=copy_context())


both = pytest.mark.parametrize("ask", ["sync", "async"], indirect=True)


@both
def test_a_stale_value_is_served_and_refreshed(
    ask: Any, source: Source, twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    """The one who finds it stale is served at once, the next one has the new one."""
    assert ask("k", source, 10, stale=60) == [1]
    twofold_clock.advance(11)
    assert twofold_cache.get("k") is None
    assert ask("k", source, 10, stale=60) == [1]
    assert ask("k", source, 10, stale=60) == [2]
    assert source.calls == 2
    twofold_clock.advance(71)
    assert ask("k", source, 10, stale=60) == [3]
    stats = twofold_cache.stats()
    assert (stats.refreshes, stats.stale_hits) == (1, 1)


@both
def test_a_failed_refresh_rests(ask: Any, source: Source, twofold_clock: FakeClock) -> None:
    """The stale value is served, and the next try comes after `retry_after`."""
    options: dict[str, Any] = {"stale": 600, "retry_after": 30}
    assert ask("k", source, 10, **options) == [1]
    twofold_clock.advance(11)
    source.error = RuntimeError("down")
    assert [ask("k", source, 10, **options) for _ in range(3)] == [[1]] * 3
    assert source.calls == 2
    twofold_clock.advance(31)
    source.error = None
    assert ask("k", source, 10, **options) == [1]
    assert ask("k", source, 10, **options) == [3]


@both
def test_marking_a_value_stale_ends_its_rest(
    ask: Any, source: Source, twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    """Who marks it knows that there is something new to compute."""
    options: dict[str, Any] = {"stale": 600, "retry_after": 300}
    assert ask("k", source, 10, **options) == [1]
    twofold_clock.advance(11)
    source.error = RuntimeError("down")
    assert [ask("k", source, 10, **options) for _ in range(3)] == [[1]] * 3
    source.error = None
    assert twofold_cache.mark_stale("k") is False
    assert [ask("k", source, 10, **options) for _ in range(2)] == [[1], [3]]


@both
def test_a_failed_computation_that_is_waited_for_serves_the_stale_value(
    ask: Any, source: Source, twofold_clock: FakeClock
) -> None:
    assert ask("k", source, 10, stale=600) == [1]
    twofold_clock.advance(11)
    source.error = RuntimeError("down")
    assert ask("k", source, 10, stale=600, wait=None) == [1]
    assert ask("k", source, 10, stale=600, wait=None) == [1]
    assert source.calls == 2
    with pytest.raises(RuntimeError, match="down"):
        ask("k", source, 10)  # who takes no stale value has the error


@both
def test_a_kept_error_is_raised_again(
    ask: Any, source: Source, twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    """Only for those who name its class, each time as a new instance."""
    source.error = LookupError("nobody", 7)
    raised = []
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            ask("k", source, 10, errors={LookupError: 30})
        raised.append(caught.value)
    assert source.calls == 1
    assert [error.args for error in raised] == [("nobody", 7)] * 3
    assert raised[1] is not raised[2]
    assert twofold_cache.get("k") is None
    source.error = KeyError("a subclass")
    twofold_clock.advance(31)
    for _ in range(2):
        with pytest.raises(KeyError):
            ask("k", source, 10, errors={LookupError: 30})
    assert source.calls == 3
    source.error = None
    assert ask("k", source, 10) == [4]


class ByName(Exception):
    """Gives its base a text in place of what it was given."""

    def __init__(self, name: str, *, code: int = 0) -> None:
        super().__init__(f"no {name}")
        self.name, self.code = name, code


class FromObject(Exception):
    """Has an attribute that no store can hold."""

    def __init__(self, *args: Any, source: Any = None) -> None:
        super().__init__(*args)
        self.source = source


class Itself(Exception):
    """Makes its attribute, which no store can hold, of nothing."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.errors = [self]


def texts_and_ints(error: Exception) -> dict[str, Any]:
    return {name: each for name, each in vars(error).items() if type(each) in (str, int)}


class Untold(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@both
@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ByName("Ann", code=7), 1),
        (OSError(2, "no such file"), 1),
        (KeyError("k"), 1),
        (LookupError(), 1),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), 1),
        (Itself("many"), 1),
        (FromObject("by", source="text"), 1),
        (FromObject("by", source=object()), 1),
        (Untold("x"), 3),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_kept_error_is_as_it_was(ask: Any, source: Source, error: Exception, calls: int) -> None:
    """Its text, its arguments and its attributes, or else it is not kept."""
    source.error = error
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            ask("k", source, 10, errors={type(error): 30})
        assert caught.value.args == error.args
        if calls == 1:
            assert str(caught.value) == str(error)
            assert vars(caught.value).keys() == vars(error).keys()
            assert texts_and_ints(caught.value) == texts_and_ints(error)
    assert source.calls == calls


@both
@pytest.mark.parametrize("wait", [0, None, 5])
def test_a_kept_error_replaces_the_stale_value(
    ask: Any, source: Source, twofold_clock: FakeClock, wait: float | None
) -> None:
    """For who waits for it as for the next one, also if its arguments cannot be stored."""
    options: dict[str, Any] = {"stale": 600, "wait": wait, "errors": {LookupError: 30}}
    assert ask("k", source, 10, **options) == [1]
    twofold_clock.advance(11)
    source.error = LookupError("nobody", object())
    if wait == 0:
        assert ask("k", source, 10, **options) == [1]
    for _ in range(2):
        with pytest.raises(LookupError, match="nobody"):
            ask("k", source, 10, **options)
    assert source.calls == 2


@both
def test_a_timeout_of_the_result(ask: Any, source: Source, twofold_clock: FakeClock) -> None:
    """It is asked of the value; 0 stores nothing, and removes what is stale."""
    assert ask("k", source, lambda value: 10 * value[0], stale=600) == [1]
    twofold_clock.advance(11)
    assert ask("k", source, lambda value: 10 * value[0], stale=600) == [1]
    twofold_clock.advance(15)
    assert ask("k", source, lambda value: 10 * value[0], stale=600) == [2]
    twofold_clock.advance(11)
    assert ask("k", source, lambda _: 0, stale=600) == [2]
    assert ask("k", source, lambda _: 0, stale=600) == [4]


@both
@pytest.mark.parametrize("timeout", [0, lambda _: 0])
def test_a_timeout_of_nothing_removes_the_stale_value(
    ask: Any, source: Source, twofold_cache: Cache, twofold_clock: FakeClock, timeout: Any
) -> None:
    assert ask("k", source, 10, stale=600) == [1]
    twofold_clock.advance(11)
    assert ask("k", source, timeout, stale=600) == [1]
    assert twofold_cache.get("k", allow_stale=True) is None
    assert twofold_cache.get_or_set("k", source) == [3]
    with refreshing():
        assert ask("k", source, timeout) == [4]
    assert twofold_cache.get("k", allow_stale=True) is None
    assert twofold_cache.stats().stores == 2


@both
def test_what_is_added_meanwhile_stays(ask: Any, twofold_cache: Cache) -> None:
    """It may be stale some day, and is no reason for an error."""

    def function() -> list[int]:
        assert twofold_cache.add("k", [7], stale=60)
        return [1]

    assert ask("k", function) == [1]
    assert twofold_cache.get("k") == [7]


@both
def test_a_function_of_the_result_may_leave_it_to_the_alias(
    ask: Any, source: Source, twofold_cache: Cache
) -> None:
    assert ask("k", source, lambda _: DEFAULT_TIMEOUT) == [1]
    assert twofold_cache.ttl("k") == 300
    assert ask("n", 5, lambda _: DEFAULT_TIMEOUT) == 5
    assert twofold_cache.ttl("n") == 300


def test_what_a_decorated_function_is_given_is_stale_as_its_own(
    source: Source, twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    import asyncio

    @cached(timeout=10, stale=600)
    def load(number: int) -> list[int]:
        return source()

    assert load.set([7], 1)
    assert asyncio.run(load.aset([7], 2))
    twofold_clock.advance(11)
    assert [load(1), load(2)] == [[7], [7]]


def test_an_override_may_end_in_another_context() -> None:
    """As in a generator that a framework closes elsewhere."""

    def request() -> Iterator[None]:
        with bypass():
            yield

    requested = request()
    copy_context().run(next, requested)
    copy_context().run(requested.close)
    assert not overrides.requests


@both
def test_one_request_does_without_the_cache(ask: Any, source: Source) -> None:
    """`bypass` neither reads nor stores; `refreshing` stores."""
    assert ask("k", source) == [1]
    with bypass():
        assert ask("k", source) == [2]
    assert ask("k", source) == [1]
    with refreshing():
        assert ask("k", source) == [3]
    assert ask("k", source) == [3]


def test_who_waits_leaves_in_time(source: Source) -> None:
    """The computation goes on, and is found later."""
    import threading

    go = threading.Event()

    def slow() -> list[int]:
        go.wait(10)
        return source()

    cache = Cache("memory://freshness")
    cache.clear()
    with pytest.raises(ComputationTimeout, match="max_wait"):
        cache.get_or_set("k", slow, max_wait=0.01)
    with pytest.raises(ComputationTimeout):
        cache.get_or_set("k", slow, max_wait=0.01)
    go.set()
    assert cache.get_or_set("k", slow, max_wait=10) == [1]
    assert source.calls == 1
    cache.close()


def test_an_int_that_is_given_stays_a_counter(twofold_cache: Cache) -> None:
    assert twofold_cache.get_or_set("n", 5, stale=60) == 5
    assert twofold_cache.incr("n") == 6
    assert twofold_cache.get_or_set("m", lambda: 5, stale=60) == 5


def test_the_settings_say_it_for_all(twofold_clock: FakeClock, source: Source) -> None:
    """`FRESHNESS` holds unless a call says otherwise."""
    cache = Cache("memory://freshness", freshness={"stale": "1h", "retry_after": "10s"})
    assert cache._freshness.stale == 3600.0
    assert cache._policy(5, {"stale": None}).stale == 0.0
    cache.close()
    with pytest.raises(SettingsError, match="TIMEOUT"):
        Cache("memory://freshness", freshness={"timeout": 5})  # type: ignore[typeddict-unknown-key]


@both
def test_a_stale_hit_that_starts_nothing_costs_hardly_more_than_a_fresh_one(
    ask: Any, source: Source, twofold_clock: FakeClock
) -> None:
    """While the refresh rests; 1.3 times as much is bearable, and here it is less."""
    options: dict[str, Any] = {"stale": 600, "retry_after": 600}
    ask("stale", source, 10, **options)
    twofold_clock.advance(11)
    ask("fresh", source, 10, **options)
    source.error = RuntimeError("down")
    for key in ("stale", "fresh", "stale"):
        ask(key, source, 10, **options)
    fresh, stale = (
        opcodes.count(lambda key=key: ask(key, source, 10, **options)) for key in ("fresh", "stale")
    )
    assert stale < 1.2 * fresh
    assert source.calls == 3


@pytest.mark.parametrize("errors", [{}, None])
def test_no_errors_are_kept_where_a_call_says_so(errors: Any) -> None:
    """Also where the alias keeps some."""
    cache = Cache("memory://", freshness={"errors": {LookupError: 30}})
    runs: list[int] = []

    def function() -> str:
        runs.append(1)
        raise LookupError("none")

    for _ in range(2):
        with pytest.raises(LookupError):
            cache.get_or_set("k", function, 60, errors=errors)
    assert len(runs) == 2
