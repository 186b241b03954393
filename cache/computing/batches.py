"""What happens where several keys are asked for at once: one read, one call, one write.

Each key is computed by one caller, whoever else asks for it, alone or among others. Who computes
some of the keys waits for the others' only after its own have been stored and given out: holding
a claim while waiting for another would make circles.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple

from twofold.backend import Backend
from twofold.claims.flights import LONGEST, Abandoned, Busy, Flight, Late, moment
from twofold.claims.joint import Body, JointFlight, join_all, lead, lead_behind, wait_for
from twofold.claims.stored import Resting
from twofold.claims.table import Claim, Joined
from twofold.computing.answers import Answers, Found, late
from twofold.computing.computations import Computations, Computed
from twofold.computing.function_of_many import FunctionOfMany
from twofold.computing.loads import Loads
from twofold.computing.maker import Maker
from twofold.effects import Effects
from twofold.entry import MISSING
from twofold.errors import (
    AwaitableResult,
    BackendUnavailable,
    NotAMapping,
    ReentrantCall,
)
from twofold.freshness.policy import Age, Policy, Step, decide
from twofold.freshness.rests import Rests
from twofold.stats import Counts

_ROUNDS: Final = 3  # of a refresh, before something newer is left to be found


class _Uncopied(Exception):
    """Nobody but who has computed a value gets it, since no copies can be made of it."""


class _Lost(Exception):
    """Nothing came of a flight, or not in time: it is to be asked for again."""


class _Wanted(NamedTuple):
    """A key that is to be computed."""

    found: Found
    until: float
    """The monotonic time until which to wait for it."""
    policy: Policy

    @property
    def has_value(self) -> bool:
        """Whether an old value is there to fall back on."""
        return self.found.age is not Age.GONE


class Batches:
    """The computations of several values of one cache together.

    Args:
        computations: those of single values.
        answers: tell what may be served.
        loads: compute several values.
        maker: calls functions.
        store: hides stubs.
        counts: the numbers of the cache.
        rests: what is not to be refreshed now.
    """

    def __init__(
        self,
        computations: Computations,
        answers: Answers,
        loads: Loads,
        maker: Maker,
        store: Backend,
        counts: Counts,
        rests: Rests,
    ) -> None:
        self._computations = computations
        self._answers = answers
        self._loads = loads
        self._claims = computations.claims
        self._maker = maker
        self._store = store
        self._counts = counts
        self._rests = rests

    async def bring(
        self,
        io: Effects,
        found: Iterable[Found],
        function: FunctionOfMany,
        policy: Policy,
        since: float,
        *,
        reachable: bool,
    ) -> dict[str, Any]:
        """Return the values of keys: what was found where that is served, or new ones.

        Args:
            io: the face of the caller.
            found: what stands under each key.
            function: brings new values.
            policy: what becomes of those.
            since: the monotonic time at which the store was read, if it is remote.
            reachable: whether the store is worth asking; else nothing is stored.

        Raises:
            ComputationTimeout: a key has no value yet, after `max_wait`.
        """
        brought: dict[str, Any] = {}
        behind: list[Found] = []
        wanted: dict[str, _Wanted] = {}
        now = monotonic()
        for each in found:
            if self._answers.serves(each, policy):
                brought[each.key] = each.value
                continue
            refreshes = decide(each.age, policy) is Step.REFRESH
            was_lost = refreshes and self._rests.was_lost(each.key)
            if refreshes and not was_lost:
                behind.append(each)
                continue
            patience = policy.patience(each.age is not Age.GONE and not was_lost)
            until = inf if patience is None else now + patience
            wanted[each.key] = _Wanted(each, until, policy)
        function.found = len(brought) + len(behind)
        if behind:
            await self._refresh_behind(io, [each.key for each in behind], function, policy)
            brought |= {each.key: self._served(each) for each in behind}
        if wanted and not policy.stores:
            brought |= await function.call(io, self._maker, wanted)
            for missed in wanted.values():
                self._answers.count_renewed(missed.found)
        elif wanted:
            old = {key for key, each in wanted.items() if each.has_value}
            last = max(each.until for each in wanted.values()) if io.stays() else inf
            body = partial(self._loads.compute, function, policy, since, reachable, old, last)
            computed = await self._gather(io, wanted, body, function)
            brought |= {key: value for key, value in computed.items() if value is not MISSING}
        return brought

    def _served(self, found: Found) -> Any:
        self._answers.count(found)
        return found.value

    async def _gather(
        self,
        io: Effects,
        wanted: Mapping[str, _Wanted],
        body: Body[Computed],
        function: FunctionOfMany,
    ) -> dict[str, Any]:
        """Have `wanted` computed, by this caller or others, and return the values."""
        began, values, left = monotonic(), dict[str, Any](), dict(wanted)
        uncopied: list[str] = []
        while left:
            values |= await self._round(io, left, body, began, uncopied)
            left = {key: left[key] for key in left if key not in values and key not in uncopied}
        if uncopied:
            values |= await function.call(io, self._maker, uncopied)
        return values

    async def _round(
        self,
        io: Effects,
        wanted: Mapping[str, _Wanted],
        body: Body[Computed],
        began: float,
        uncopied: list[str],
    ) -> dict[str, Any]:
        """Compute what nobody else does, then wait for the others; some may be lost.

        `uncopied` is told what others have computed, and nobody else can be given.
        """
        asked, values, lost = moment(), dict[str, Any](), list[Flight[Computed]]()
        alone, joined = monotonic() >= began + LONGEST, list[Claim]()
        try:
            led: list[JointFlight[Computed]]
            led, flights = join_all(io, self._claims, wanted, joined, alone=alone)
            own = {flight.key for flight in led}
            if led and not await self._lead(io, led, body, wanted):
                values = {key: self._served(wanted[key].found) for key in own}
            for key in sorted(wanted.keys() - values.keys(), key=lambda key: key not in own):
                flight, until = flights[key], min(wanted[key].until, began + LONGEST)
                is_over = await wait_for(io, flight, until)
                try:
                    values[key] = self._value(flight, wanted[key], is_over, key in own, asked)
                except _Uncopied:
                    uncopied.append(key)
                except (_Lost, Abandoned, Resting):
                    lost.append(flight)
        finally:
            try:
                self._claims.leave(joined)
            finally:  # a signal's handler may have broken that off
                self._claims.leave(joined)
        for flight in lost:
            if flight.ended or flight.lost():
                flight.detach()
                self._claims.remove(flight)
        return values

    async def _lead(
        self,
        io: Effects,
        led: list[JointFlight[Computed]],
        body: Body[Computed],
        wanted: Mapping[str, _Wanted],
    ) -> bool:
        """Compute; False if nothing in the background is free to, and all have an old value."""
        mine = [wanted[flight.key] for flight in led]
        if max(each.until for each in mine) < inf:
            try:
                await lead_behind(io, led, body)
            except Busy:
                if all(each.has_value for each in mine):
                    return False
            else:
                return True
        await lead(io, led, body)
        return True

    def _value(
        self,
        flight: Flight[Computed],
        wanted: _Wanted,
        is_over: bool,
        is_own: bool,
        asked: int,
    ) -> Any:
        """Return what a flight has brought; what was found if it failed, or takes too long."""
        if not is_over:
            if monotonic() < wanted.until:
                raise _Lost
            flight.goes_on = True
            return self._late(wanted)
        if not is_own and (flight.lost() or not flight.serves(asked)):
            raise _Lost
        try:
            computed = flight.outcome()
        except (ReentrantCall, AwaitableResult, NotAMapping):  # a stale value would hide it
            raise
        except Late:
            return self._late(wanted)
        except Exception:
            if not wanted.has_value:
                raise
            return self._served(wanted.found)
        self._answers.count_renewed(wanted.found)
        if is_own:
            return computed.value
        if computed.alone:
            raise _Uncopied
        self._counts.joined += 1
        if computed.value is MISSING:
            return MISSING
        return self._maker.copy(flight.key, computed.value, computed.stored)

    def _late(self, wanted: _Wanted) -> Any:
        if wanted.has_value:
            return self._served(wanted.found)
        raise late(wanted.found.key, wanted.policy)

    async def _refresh_behind(
        self, io: Effects, keys: list[str], function: FunctionOfMany, policy: Policy
    ) -> None:
        """Have values that are old replaced in the background, if anything is free for that."""

        async def body(io: Effects, flights: list[JointFlight[Computed]]) -> None:
            try:
                await self._loads.renew(io, flights, function, policy)
            except Exception:
                raise
            except BaseException:  # its event loop ends
                for flight in flights:
                    self._rests.lose(flight.key)
                raise

        joined: Joined = []
        try:
            led: list[JointFlight[Computed]]
            led, _ = join_all(io, self._claims, keys, joined, waits=False)
            mine = [flight for flight in led if not flight.detached()]
            if mine:
                with suppress(Busy):
                    await lead_behind(io, mine, body, alone=True)
        finally:
            try:
                self._claims.leave(joined)
            finally:
                self._claims.leave(joined)

    async def refresh(
        self, io: Effects, keys: Collection[str], function: FunctionOfMany, policy: Policy
    ) -> dict[str, Any]:
        """Compute and store anew, whatever is there or on its way; return the values.

        What is changed meanwhile, again and again, is left missing; and at once to whoever has
        begun since, for theirs is newer.
        """
        values, left = dict[str, Any](), list(keys)
        for _ in range(_ROUNDS):
            refused: set[str] = set()
            for key in left:
                self._claims.detach(key)
            body = partial(self._loads.anew, function, policy, refused)
            wanted = {key: _Wanted(Found(key, MISSING, Age.GONE), inf, policy) for key in left}
            values |= await self._gather(io, wanted, body, function)
            computations = self._computations
            left = [key for key in refused if not await computations.is_claimed(io, key)]
            if not left:
                break
        else:
            await self._delete(io, left)
        return {key: value for key, value in values.items() if value is not MISSING}

    async def _delete(self, io: Effects, keys: list[str]) -> None:
        store = self._store
        try:
            await io.op(store.delete_many, store.adelete_many, keys)
        except BackendUnavailable as exc:
            self._computations.note(exc)
