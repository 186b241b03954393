"""What callers get who ask how old a value is that they find: the value, or a newer one."""

from collections.abc import Callable, Iterable, Mapping
from random import random
from typing import Any, NamedTuple

from twofold.backend import Stored
from twofold.claims.flights import Busy, Late, forget_lost
from twofold.clock import Clock
from twofold.computing.computations import Computations
from twofold.computing.maker import Maker
from twofold.effects import Effects
from twofold.entry import MISSING, Entry, Missing
from twofold.errors import (
    AwaitableResult,
    BackendUnavailable,
    ComputationTimeout,
    PartlyUnavailable,
    ReentrantCall,
)
from twofold.freshness.policy import Age, Outcome, Policy, Step, age, decide
from twofold.freshness.rests import Rests
from twofold.interrupts import is_interrupt
from twofold.stats import Counts
from twofold.tags.reader import Reader


class Found(NamedTuple):
    """What stands under a key, as one caller sees it."""

    key: str
    value: Any
    age: Age


def late(key: str, policy: Policy) -> ComputationTimeout:
    """Return the error of a caller whose patience is over."""
    return ComputationTimeout(
        f"{key!r} takes longer to compute than max_wait={policy.max_wait:g} s. It goes on, and"
        " will be found later: give a longer max_wait, or keep a stale value"
    )


class Answers:
    """The answers of one cache.

    Args:
        computations: bring what is missing or old.
        maker: raises errors that are kept.
        reader: reads what is stored.
        clock: that of the store.
        rests: what is not to be refreshed now.
        counts: the numbers of the cache.
    """

    def __init__(
        self,
        computations: Computations,
        maker: Maker,
        reader: Reader,
        clock: Clock,
        rests: Rests,
        counts: Counts,
    ) -> None:
        self._computations = computations
        self._maker = maker
        self._table = computations.claims
        self._clock = clock
        self._reader = reader
        self._rests = rests
        self._counts = counts

    async def find(
        self,
        io: Effects,
        key: str,
        read: Entry | Missing,
        policy: Policy,
        known: Mapping[str, Any],
    ) -> Found:
        """Do what `found` does, where the store is to be asked about an entry's tags.

        `known` is what was read along with it, see `Tags.standing`. Where the store cannot tell
        what has become of the tags, nothing was found.
        """
        try:
            opened = await self._reader.judge(io, key, read, known)
        except BackendUnavailable as exc:
            self._maker.note(exc)
            opened = MISSING
        return self.found(key, opened, policy)

    async def find_many(
        self,
        io: Effects,
        keys: Iterable[str],
        stored: Mapping[str, Stored],
        policy: Policy,
        known: Mapping[str, Any],
        tags: Iterable[Iterable[str]],
    ) -> list[Found]:
        """Return what `found` does for each of `keys`; `tags` are those of theirs that are known.

        `known` is what was read along with them, see `find`.
        """
        opened: Mapping[str, Entry | Missing] = {}
        try:
            opened = await self._reader.open_many(io, stored, known, tags)
        except BackendUnavailable as exc:
            self._maker.note(exc)
            opened = exc.result if isinstance(exc, PartlyUnavailable) else opened
        return [self.found(key, opened.get(key, MISSING), policy) for key in keys]

    def found(self, key: str, entry: Entry | Missing, policy: Policy) -> Found:
        """Return what was read, and how old it is; raise the error that is kept in its place."""
        if entry is MISSING:
            return Found(key, MISSING, Age.GONE)
        value, meta, _ = entry
        if meta is None:
            return Found(key, value, Age.FRESH)
        if meta.error:
            error = self._maker.kept_error(entry, policy)
            if error is not None:
                self._counts.hits += 1
                raise error
            return Found(key, MISSING, Age.GONE)
        draw = 1 - random() if policy.early is not None else 1.0  # noqa: S311 - it spreads load
        return Found(key, value, age(meta, self._clock.time(), policy, draw))

    def serves(self, found: Found, policy: Policy) -> bool:
        """Tell whether to return at once what was found; count that, or the miss."""
        key, there = found.key, found.age
        if there is Age.FRESH:  # as `decide` says, without asking
            self._counts.hits += 1
            return True
        if there is Age.GONE:
            self._counts.misses += 1
            return False
        if key in self._rests or (self._is_computed(key) and policy.wait == 0):  # likewise
            self._counts.hits += 1
            self._counts.stale_hits += there is Age.STALE
            return True
        return False

    def _is_computed(self, key: str) -> bool:
        """Tell whether this process computes `key`; what an event loop left undone is noted."""
        if key not in self._table.table:
            return False
        if forget_lost(self._table, key):
            self._rests.lose(key)
        return key in self._table.table

    def count(self, found: Found) -> None:
        """Count a value that was served."""
        self._counts.hits += 1
        if found.age is Age.STALE:
            self._counts.stale_hits += 1

    def count_renewed(self, found: Found) -> None:
        """Count a value that was found, and not served: a newer one was, as at a miss."""
        if found.age is not Age.GONE:
            self._counts.misses += 1

    async def bring(
        self,
        io: Effects,
        found: Found,
        function: Callable[[], Any],
        policy: Policy,
        since: float = 0.0,
        *,
        reachable: bool = True,
        tell_served: Callable[[], None] | None = None,
    ) -> Any:
        """Return a value where `serves` has said no: a new one, or what was found after all.

        The latter is told by `tell_served`.

        Raises:
            ComputationTimeout: there is none yet, after `max_wait`.
        """
        key, step, error = found.key, decide(found.age, policy), None
        has_value = waits_briefly = found.age is not Age.GONE
        if step is Step.REFRESH and self._rests.was_lost(key):
            step, waits_briefly = decide(Age.GONE, policy), False
        while step is not Step.SERVE:
            if step is Step.RAISE and error is not None:
                raise error
            if step is Step.TIME_OUT:
                raise late(key, policy)
            if step is Step.REFRESH:
                done = await self._computations.refresh_behind(io, key, function, policy)
                step = Step.SERVE if done else decide(found.age, policy, outcome=Outcome.BUSY)
                continue
            patience = policy.patience(waits_briefly) if step is Step.WAIT else None
            try:
                value = await self._computations.compute(
                    io,
                    key,
                    function,
                    policy,
                    since,
                    reachable=reachable,
                    patience=patience,
                    has_value=has_value,
                )
            except Late:
                outcome = Outcome.LATE
            except Busy:
                outcome = Outcome.BUSY
            except (ReentrantCall, AwaitableResult):  # the program is wrong: a stale value hides it
                raise
            except Exception as exc:
                # The latter is a result, which replaces the stale value.
                if is_interrupt(exc) or type(exc) in policy.errors:
                    raise
                outcome, error = Outcome.FAILED, exc
            else:
                self.count_renewed(found)
                return value
            step, since = decide(found.age, policy, outcome=outcome), 0.0
        self.count(found)
        if tell_served is not None:
            tell_served()
        return found.value
