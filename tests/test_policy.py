"""What a timeout means, and what becomes of a computed value: tables, no store."""

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from twofold import DEFAULT_TIMEOUT, InvalidTimeout
from twofold.freshness.policy import Policy
from twofold.timeouts import CLOCK_SLACK, Condition, is_from_later, seconds

CENTURY = 100 * 365 * 24 * 60 * 60

UNITS = [
    ("1ms", 0.001),
    ("1s", 1),
    ("1m", 60),
    ("1h", 60 * 60),
    ("1d", 24 * 60 * 60),
    ("1w", 7 * 24 * 60 * 60),
]
MIXTURES = [
    ("1h30m", 5400),
    ("1w2d3h4m5s6ms", 604800 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5.006),
    ("30m1h", 5400),
    ("1m1m", 120),
    ("1m1ms", 60.001),
    ("1.5h", 5400),
    ("0.5d", 43200),
    ("2.25m30s", 165),
    ("0s", 0),
    ("0h1s", 1),
]
SPELLINGS = [
    (" 10m ", 600),
    ("10 m", 600),
    ("1h 30m", 5400),
    ("1 h  30 m", 5400),
    ("\t1h\n", 3600),
    ("10M", 600),
    ("250MS", 0.25),
    ("90", 90),
    (" 90 ", 90),
    ("1.5", 1.5),
    ("1e2", 100),
    ("-5", 0),
    ("0", 0),
]
NUMBERS = [
    (1, 1),
    (1.5, 1.5),
    (0.001, 0.001),
    (0, 0),
    (-1, 0),
    (-0.5, 0),
    (10**400, CENTURY),
    (-(10**400), 0),
    (1e300, CENTURY),
    (CENTURY, CENTURY),
    (CENTURY + 1, CENTURY),
    ("200000d", CENTURY),
    ("99999999999999999999w", CENTURY),
    (timedelta(minutes=1), 60),
    (timedelta(days=1, hours=1, milliseconds=500), 90000.5),
    (timedelta(microseconds=1), 0.000001),
    (timedelta(0), 0),
    (timedelta(seconds=-1), 0),
    (timedelta.max, CENTURY),
]
NO_DURATIONS = [
    "",
    " ",
    "m",
    "10x",
    "10m!",
    "10m 5",
    "5 10m",
    "1h-5m",
    "-1h",
    "1.h",
    ".5h",
    "1,5h",
    "10 minutes",
    "10µs",
    "none",
    "١m",
]
NOT_FINITE = [math.inf, -math.inf, math.nan, "inf", "-infinity", "nan", "1e999"]
OTHER_TYPES = [True, False, b"10m", Decimal(10), Fraction(1, 2), 1j, [10], {}, object(), seconds]


@pytest.mark.parametrize(("timeout", "length"), UNITS + MIXTURES + SPELLINGS + NUMBERS, ids=repr)
def test_what_a_timeout_is_in_seconds(timeout: Any, length: float) -> None:
    """Each unit, mixture, spelling, number and timedelta is so many seconds, as a float."""
    found = seconds(timeout, 7.0)
    assert found == pytest.approx(length, rel=1e-12, abs=0)
    assert type(found) is float


@pytest.mark.parametrize("unit", ["ms", "s", "m", "h", "d", "w"])
def test_units_are_those_of_timedelta(unit: str) -> None:
    """A unit in text is as long as the keyword of `timedelta` that begins with it."""
    keyword = {
        "ms": "milliseconds",
        "s": "seconds",
        "m": "minutes",
        "h": "hours",
        "d": "days",
        "w": "weeks",
    }[unit]
    assert seconds(f"3{unit}") == seconds(timedelta(**{keyword: 3}))


@pytest.mark.parametrize("default", [None, 0.0, 300.0])
def test_none_is_for_ever_and_default_is_the_alias_s(default: float | None) -> None:
    """None stays None, whatever the default; `DEFAULT_TIMEOUT` is the default, as it is."""
    assert seconds(None, default) is None
    assert seconds(DEFAULT_TIMEOUT, default) == default
    assert repr(DEFAULT_TIMEOUT) == "DEFAULT_TIMEOUT"


@pytest.mark.parametrize("text", NO_DURATIONS, ids=repr)
def test_text_that_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """The message has the text and what to write instead, with all units."""
    with pytest.raises(InvalidTimeout) as refused:
        seconds(text)
    assert repr(text) in str(refused.value) or text in str(refused.value)
    assert "'1h30m' (units: ms, s, m, h, d, w)" in str(refused.value)


@pytest.mark.parametrize("timeout", NOT_FINITE, ids=repr)
def test_what_is_not_finite_is_refused(timeout: Any) -> None:
    """Infinity and NaN are refused in every spelling: None is the only for ever."""
    with pytest.raises(InvalidTimeout, match="None means for ever"):
        seconds(timeout)


@pytest.mark.parametrize("timeout", OTHER_TYPES, ids=lambda value: type(value).__name__)
def test_other_types_are_refused(timeout: Any) -> None:
    """A bool is no number of seconds, and neither is what only resembles one."""
    with pytest.raises(InvalidTimeout, match="a number of seconds, a timedelta, text like '10m'"):
        seconds(timeout)


@pytest.mark.parametrize("text", ["9" * 5000 + "x", "1h" * 5000 + "x", "1." * 5000])
def test_long_text_is_read_in_one_pass(text: str) -> None:
    """Nothing is tried again in another way: no text takes long to be refused, or to be read."""
    with pytest.raises(InvalidTimeout, match="is no duration") as refused:
        seconds(text)
    assert len(str(refused.value)) < 400


def truthy(value: object) -> bool:
    """Tell whether a value counts as something."""
    return bool(value)


@pytest.mark.parametrize(
    ("ttl", "condition", "value", "stores", "kept"),
    [
        (None, None, 0, True, True),
        (60.0, None, None, True, True),
        (0.001, None, "", True, True),
        (0.0, None, 1, False, False),
        (-1.0, None, 1, False, False),
        (60.0, truthy, 1, True, True),
        (60.0, truthy, 0, True, False),
        (None, truthy, [], True, False),
        (0.0, truthy, 1, False, False),
    ],
)
def test_what_a_policy_stores(
    ttl: float | None, condition: Condition | None, value: object, stores: bool, kept: bool
) -> None:
    """A value is stored if it is to live at all and the condition, if any, agrees."""
    policy = Policy(ttl, condition)
    assert policy.stores is stores
    assert policy.keeps(value) is kept


def test_a_condition_is_not_asked_for_nothing() -> None:
    """Where nothing is stored the condition is not called: it may be expensive."""
    assert not Policy(0.0, lambda _: pytest.fail("was asked")).keeps(1)


@pytest.mark.parametrize(
    ("written", "later"),
    [
        (1000.0 - 10**9, False),
        (999.0, False),
        (1000.0, False),
        (1000.0 + CLOCK_SLACK, False),
        (1000.1 + CLOCK_SLACK, True),
        (2000.0, True),
    ],
)
def test_an_entry_from_later_shows_a_clock_set_back(written: float, later: bool) -> None:
    """More than a second ahead of now is no disagreement of two readings, but another clock."""
    assert is_from_later(1000.0, written) is later


def test_the_slack_is_a_second() -> None:
    """Two readings of one wall clock may disagree by a second."""
    assert CLOCK_SLACK == 1.0
