"""What happens to a computed value between fresh and gone, as pure functions.

A value is *fresh* for its timeout, then *stale* for as long as `stale` allows, then gone. Only
who asks for it has it computed anew: there are no timers. `decide` says what such a caller does.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from twofold.freshness.options import XFETCH, Early
from twofold.metadata import Meta, Pins
from twofold.timeouts import Condition, Timeout, seconds

RETRY_AFTER: Final = 30.0
"""Seconds for which a stale value is served after a failed refresh, before the next one."""

_NO_ERRORS: Final[Mapping[type[Exception], float | None]] = MappingProxyType({})


class Policy(NamedTuple):
    """What becomes of a value that is computed; all times are in seconds."""

    ttl: float | Callable[[Any], Timeout] | None
    """How long it is fresh; None for ever; 0 or less stores nothing, and shares nothing. Or a
    function of the value that returns it."""

    condition: Condition | None = None
    """Tells whether to store it; None stores all."""

    stale: float = 0.0
    wait: float | None = 0.0
    max_wait: float | None = None
    early: Early = None
    retry_after: float = RETRY_AFTER
    jitter: float = 0.0
    errors: Mapping[type[Exception], float | None] = _NO_ERRORS
    default: float | None = None
    """What `DEFAULT_TIMEOUT` stands for where a function returns it."""
    tags: tuple[str, ...] | Callable[[Any], Iterable[str]] = ()
    """What it can be invalidated by; or a function of the value that returns it. The last field,
    see `tagged`."""

    @property
    def stores(self) -> bool:
        """Whether anybody is to find what is computed."""
        ttl = self.ttl
        return ttl is None or callable(ttl) or ttl > 0

    @property
    def ages(self) -> bool:
        """Whether it is to be stored how old a value is."""
        return bool(self.stale or self.early is not None)

    def tagged(self, tags: tuple[str, ...] | Callable[[Any], Iterable[str]]) -> "Policy":
        """Return the policy with these tags; `_replace` would cost each hit ten times as much."""
        return tuple.__new__(Policy, (*self[:-1], tags))

    def without_errors(self) -> "Policy":
        """Return the policy by which no error is kept."""
        return self._replace(errors=_NO_ERRORS) if self.errors else self

    def keeps(self, value: Any) -> bool:
        """Tell whether to store a computed value."""
        return self.stores and (self.condition is None or self.condition(value))

    def life(self, value: Any, draw: float) -> float | None:
        """Return how long a computed value is fresh; `draw` is at random from 0 to 1."""
        ttl = seconds(self.ttl(value), self.default) if callable(self.ttl) else self.ttl
        return ttl if ttl is None else ttl * (1 - self.jitter * draw)

    def patience(self, has_value: bool) -> float | None:
        """Return how long to wait for a computation; None to its end."""
        bounds = [self.max_wait, self.wait if has_value else None]
        return min((each for each in bounds if each is not None), default=None)

    def described(
        self, ttl: float | None, began: float, now: float, pins: Pins = ()
    ) -> Meta | None:
        """Return what is to be stored about a value that is fresh for `ttl` from now on."""
        if ttl is None or not self.ages:
            return Meta(0.0, tags=pins) if pins else None  # the store knows how long it is good
        took = max(0.0, now - began)
        return Meta(began, now + ttl, now + ttl + self.stale, took, tags=pins)


plain: Final = lru_cache(Policy)
"""Returns the policy that says how long a value is fresh, and nothing else."""


class Age(Enum):
    """How old a value is that was found."""

    FRESH = "fresh"
    EARLY = "early"
    """Fresh, but to be refreshed ahead of its end."""
    STALE = "stale"
    GONE = "gone"
    """Nothing was found, or nothing that may be served."""


def age(meta: Meta | None, now: float, policy: Policy, draw: float) -> Age:
    """Return how old a value is by the wall clock; `draw` is at random, above 0 and up to 1.

    A clock that was set back leaves nobody to tell: then it is stale, and computed anew.
    """
    if meta is None:
        return Age.FRESH
    if meta.tags:  # that nobody has looked at
        return Age.GONE
    if meta.soft == -math.inf:  # its tags were invalidated, and nobody knows when
        return Age.STALE if policy.stale and now < meta.hard else Age.GONE
    if meta.holds(now):
        return Age.EARLY if now >= _early(meta, policy, draw) else Age.FRESH
    return Age.STALE if now < min(meta.hard, meta.soft + policy.stale) else Age.GONE


def _early(meta: Meta, policy: Policy, draw: float) -> float:
    """Return from when on to refresh ahead.

    "xfetch" is A. Vattani, F. Chierichetti, K. Lowenstein: "Optimal Probabilistic Cache Stampede
    Prevention", PVLDB 8(8), 2015, with beta = 1.
    """
    if policy.early is None or meta.soft == math.inf:
        return math.inf
    if policy.early == XFETCH:
        return meta.soft + meta.took * math.log(draw) if meta.took else math.inf
    return meta.soft - (1 - policy.early) * (meta.soft - meta.created - meta.took)


class Outcome(Enum):
    """What came of a computation, to a caller that may have a value already."""

    COMPUTED = "computed"
    FAILED = "failed"
    LATE = "late"
    """It goes on, but the caller's patience is over."""
    BUSY = "busy"
    """Nothing in the background was free to run it."""


class Step(Enum):
    """What a caller does next."""

    SERVE = "serve what was found"
    REFRESH = "start a computation in the background"
    WAIT = "compute, and wait for it as long as patience lasts"
    COMPUTE = "compute, in the foreground"
    RETURN = "return what was computed"
    RAISE = "raise the function's error"
    TIME_OUT = "raise ComputationTimeout"


def decide(age: Age, policy: Policy, resting: bool = False, outcome: Outcome | None = None) -> Step:
    """Return what a caller does that found a value of some age.

    Args:
        age: of what was found.
        policy: the caller's.
        resting: whether a refresh is not to be tried now: one has failed just before, or another
            process is at it.
        outcome: what came of the step before; None at first.
    """
    if outcome is None:
        if age is Age.GONE:
            return Step.COMPUTE if policy.patience(has_value=False) is None else Step.WAIT
        if age is Age.FRESH or resting:
            return Step.SERVE
        if age is Age.EARLY or policy.patience(has_value=True) == 0:
            return Step.REFRESH
        return Step.COMPUTE if policy.patience(has_value=True) is None else Step.WAIT
    if outcome is Outcome.COMPUTED:
        return Step.RETURN
    if age is not Age.GONE:
        return Step.SERVE
    return _WITHOUT_VALUE[outcome]


_WITHOUT_VALUE = {
    Outcome.FAILED: Step.RAISE,
    Outcome.LATE: Step.TIME_OUT,
    Outcome.BUSY: Step.COMPUTE,
}
