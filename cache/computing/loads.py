"""What the leader of several flights does: one claim, one call, one write for all of them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any

from twofold.backend import Backend, Stored
from twofold.claims.flights import Abandoned, Late, moment
from twofold.claims.joint import JointFlight
from twofold.claims.stored import Resting, released
from twofold.claims.stored_many import StoredClaims, Taken
from twofold.claims.waiting import Wait, pauses, remember_hung
from twofold.computing.call_tags import CallTags
from twofold.computing.computations import Computations, Computed
from twofold.computing.function_of_many import FunctionOfMany
from twofold.computing.maker import LEFT_OUT, Made, Maker
from twofold.effects import Effects, within
from twofold.entry import MISSING
from twofold.errors import BackendUnavailable
from twofold.freshness.policy import Policy
from twofold.freshness.rests import ELSEWHERE, Rests
from twofold.stats import Counts


class Loads:
    """The computations of several values of one cache, each for flights of its caller's.

    Args:
        computations: those of single values.
        maker: calls functions, and makes of their values what is stored.
        store: hides stubs.
        beside: makes the key of a claim beside an entry that is to be replaced.
        counts: the numbers of the cache.
        rests: what is not to be refreshed now.
    """

    def __init__(
        self,
        computations: Computations,
        maker: Maker,
        store: Backend,
        beside: Callable[[str], str],
        counts: Counts,
        rests: Rests,
    ) -> None:
        self._computations = computations
        self._private = computations.private
        self._maker = maker
        self._store = store
        self._beside = beside
        self._counts = counts
        self._rests = rests

    async def compute(
        self,
        function: FunctionOfMany,
        policy: Policy,
        since: float,
        reachable: bool,
        old: Collection[str],
        until: float,
        io: Effects,
        flights: list[JointFlight[Computed]],
    ) -> None:
        """Compute what is not there, for the flights of this caller."""
        if not reachable:
            await self._for_callers(io, flights, function, accepted=True)
        elif self._store.private:
            await self._here(io, flights, function, policy)
        else:
            claims = self._claims_of(flights)
            compute = partial(
                self._among_processes, flights, claims, function, policy, since, old, until
            )
            await released(io, claims, compute)

    def _claims_of(self, flights: list[JointFlight[Computed]]) -> StoredClaims:
        def is_lost() -> bool:
            return all(flight.lost() for flight in flights)

        note = self._computations.note
        return StoredClaims(self._store, self._beside, note, is_lost, flights)

    async def _for_callers(
        self,
        io: Effects,
        flights: Collection[JointFlight[Computed]],
        function: FunctionOfMany,
        *,
        accepted: bool = False,
    ) -> None:
        """Compute what is not stored."""
        for flight in flights:
            flight.begin()
        values = await function.call(io, self._maker, [flight.key for flight in flights])
        for flight in flights:
            if accepted:
                flight.accept()  # for all that can be known
            value = values.get(flight.key, MISSING)
            stored = None if value is MISSING else self._maker.copied(flight.key, value)
            flight.finish(Computed(value, stored, accepted))

    async def _here(
        self,
        io: Effects,
        flights: list[JointFlight[Computed]],
        function: FunctionOfMany,
        policy: Policy,
    ) -> None:
        """Compute values of a store that is this process's own, where no stub is needed."""
        todo: dict[str, tuple[JointFlight[Computed], Stored | None]] = {}
        for flight in flights:
            flight.begin()
            present = self._store.get(flight.key)
            value = await self._maker.read(io, flight.key, present, policy)
            if value is MISSING:
                todo[flight.key] = flight, present
            else:
                flight.finish(Computed(value, present, accepted=False))
        if todo:
            await self._swap(io, todo, function, policy)

    async def _swap(
        self,
        io: Effects,
        todo: Mapping[str, tuple[JointFlight[Computed], Stored | None]],
        function: FunctionOfMany,
        policy: Policy,
    ) -> None:
        """Compute what stands in the place of what is in a store of this process's own."""
        tags = await self._tags(io, todo, function, policy)
        try:
            made = await self._make(io, todo, function, policy, tags)
        except Exception as exc:
            for key, (_, present) in todo.items():
                replaces = present is not None
                self._maker.failed(key, function.function, policy, replaces, exc)
            await self._limit(io, [flight for flight, _ in todo.values()], tags, moment(), todo)
            raise
        for key, (flight, present) in todo.items():
            each = made[key]
            accepted = await self._private.swap(
                io, flight, function.function, policy, present, each
            )
            flight.finish(Computed(each.value, each.stored, accepted))

    async def _tags(
        self, io: Effects, keys: Collection[str], function: FunctionOfMany, policy: Policy
    ) -> CallTags | None:
        """Return the tags of what is to be computed, pinned; None if it has none."""
        names = {key: function.tags.get(key, policy.tags) for key in keys}
        return await self._maker.begin_tags(io, policy, names)

    async def _limit(
        self,
        io: Effects,
        flights: Iterable[JointFlight[Computed]],
        tags: CallTags | None,
        checked: int,
        stood: Collection[str],
    ) -> None:
        """Do what `Computations` does where one fails; `stood`: the keys that nobody changed."""
        there = {flight.key: flight for flight in flights}
        held = await self._maker.held(io, tags, [key for key in there if there[key].followed])
        for key, flight in there.items():
            flight.limit(checked if key in stood and held.get(key, True) else 0)

    async def _make(
        self,
        io: Effects,
        keys: Collection[str],
        function: FunctionOfMany,
        policy: Policy,
        tags: CallTags | None,
    ) -> dict[str, Made]:
        """Compute, and make of each value what is to be stored."""
        began = self._store.clock.time() if policy.ages or policy.errors else 0.0
        maker = self._maker
        values = await function.call(io, maker, keys)
        made = await maker.made(io, values, function.function, policy, began, tags)
        return {key: made.get(key, LEFT_OUT) for key in keys}

    async def _among_processes(
        self,
        flights: list[JointFlight[Computed]],
        claims: StoredClaims,
        function: FunctionOfMany,
        policy: Policy,
        since: float,
        old: Collection[str],
        until: float,
        io: Effects,
    ) -> None:
        """Compute under claims that other processes see, and wait for theirs afterwards."""
        wait = Wait(self._maker.owner)
        try:
            await self._wait_too(flights, claims, function, policy, since, old, until, io, wait)
        finally:
            try:
                wait.leave()
            finally:  # a signal's handler may have broken that off
                wait.leave()

    async def _wait_too(
        self,
        flights: list[JointFlight[Computed]],
        claims: StoredClaims,
        function: FunctionOfMany,
        policy: Policy,
        since: float,
        old: Collection[str],
        until: float,
        io: Effects,
        wait: Wait,
    ) -> None:
        waiting = {flight.key: flight for flight in flights}
        alone = [flight.key for flight in flights if flight.detached()]
        for pause in chain(pauses(), [0.0]):
            asked = [key for key in waiting if key not in alone]
            taken = await self._take(io, waiting, asked, claims, policy, since, old)
            since = 0.0
            wait.leave()
            alone += _hopeless(io, wait, taken.others, is_last=not pause)
            todo = {*taken.mine, *taken.unknown, *alone}
            if todo:
                wait.leave()  # until its own are brought, it waits for nobody
                mine = {key: waiting.pop(key) for key in list(waiting) if key in todo}
                try:
                    await self._fill(io, mine, claims, function, policy, taken.unknown)
                except Exception:
                    for flight in waiting.values():
                        flight.give_up(Abandoned())
                    raise
            if not waiting:
                if not alone:
                    wait.end("claimed" if taken.mine else "value")
                return
            alone = []
            left = until - monotonic()
            if left <= 0:
                for flight in waiting.values():
                    flight.give_up(Late())
                return
            wait.begin(next(iter(waiting)))
            await io.sleep(min(pause, left))

    async def _take(
        self,
        io: Effects,
        waiting: dict[str, JointFlight[Computed]],
        asked: list[str],
        claims: StoredClaims,
        policy: Policy,
        since: float,
        old: Collection[str],
    ) -> Taken:
        """Claim what is missing, and end the flights for which that is all."""
        values: dict[str, Any] = {}

        async def read(io: Effects, stored: Mapping[str, Stored]) -> list[str]:
            found = await self._maker.read_many(io, stored)
            values.update(found)
            return list(found)

        for flight in waiting.values():
            flight.begin()
        taken = await claims.take(io, asked, read, since, old)
        for key, stored in taken.found.items():
            waiting.pop(key).finish(Computed(values[key], stored, accepted=False))
        for key in taken.resting:
            self._rests.begin(key, ELSEWHERE)
            waiting.pop(key).give_up(Resting())
        return taken

    async def _fill(
        self,
        io: Effects,
        flights: Mapping[str, JointFlight[Computed]],
        claims: StoredClaims,
        function: FunctionOfMany,
        policy: Policy,
        unknown: Collection[str] = (),
        refused: set[str] | None = None,
    ) -> None:
        """Compute, and store what is to be kept where a claim stands.

        `refused` is told what is not stored. What that was to replace goes where it is there
        still, for there is no room for the new value.
        """
        user, replaced = function.function, {key for key in flights if claims.replaced(key)}
        io = within(io, self._store.deadline, claims.asked)
        for flight in flights.values():
            flight.begin()
        tags = await self._tags(io, flights, function, policy)
        try:
            made = await self._make(io, flights, function, policy, tags)
        except Exception as exc:
            failed, checked = self._maker.failed, moment()
            rest = [
                key
                for key in flights
                if failed(key, user, policy, key in replaced, exc) or key in claims.ended_rests
            ]
            await claims.rest(io, rest, policy.retry_after)
            stood = {*replaced, *unknown} | await claims.end(io)
            await self._limit(io, flights.values(), tags, checked, stood)
            raise
        checked = moment()
        keep = {key: (each.stored, each.life) for key, each in made.items() if each.keep}
        filled = await claims.fill(io, keep)
        self._counts.stores += sum(done is True for done in filled.values())
        drop = [key for key, each in made.items() if each.drop]
        drop += [key for key, done in filled.items() if done is False]
        dropped = await claims.drop(io, drop)
        returned = self._maker.returned
        rest = [
            key for key, each in made.items() if returned(key, user, policy, key in replaced, each)
        ]
        await claims.rest(io, rest, policy.retry_after)
        stood = await claims.release(io)
        stood |= dropped | {key for key, done in filled.items() if done}
        untold = [key for key, done in filled.items() if done is None and key not in stood]
        pins = {key: each.pins for key, each in made.items() if key in stood or key in unknown}
        if refused is None:  # who has joined nothing is served by no tags that hold
            pins = {key: each for key, each in pins.items() if not each or flights[key].followed}
        holding = dict.fromkeys(untold) | await self._maker.holding(io, pins)
        for key, flight in flights.items():
            each, holds = made[key], holding.get(key, False)
            if holds:
                flight.accept(checked)
            if refused is not None and not each.is_final(holds):
                refused.add(key)
            flight.finish(Computed(each.value, each.stored, each.is_final(holds)))

    async def renew(
        self,
        io: Effects,
        flights: list[JointFlight[Computed]],
        function: FunctionOfMany,
        policy: Policy,
    ) -> None:
        """Compute values to replace old ones, those apart that somebody else is at."""
        self._counts.refreshes += 1
        for flight in flights:
            flight.begin()
        if self._store.private:
            there = {flight.key: self._store.get(flight.key) for flight in flights}
            todo = {
                flight.key: (flight, there[flight.key])
                for flight in flights
                if await self._is_old(io, flight, there[flight.key], policy)
            }
            if todo:
                await self._swap(io, todo, function, policy)
            return
        claims = self._claims_of(flights)

        async def compute(io: Effects) -> None:
            taken = await claims.take_beside(io, [flight.key for flight in flights])
            for key in taken.unknown:
                self._rests.begin(key, ELSEWHERE)
            mine = {
                flight.key: flight
                for flight in flights
                if await self._is_old(io, flight, claims.replaced(flight.key), policy)
            }
            if mine:
                await self._fill(io, mine, claims, function, policy)

        await released(io, claims, compute)

    async def _is_old(
        self, io: Effects, flight: JointFlight[Computed], present: Stored | None, policy: Policy
    ) -> bool:
        """Tell whether what is there is old, and this caller's to replace; else end the flight."""
        try:
            await self._computations.check_old(io, flight, present, policy)
        except Resting as exc:
            flight.give_up(exc)
            return False
        except BackendUnavailable as exc:
            self._computations.note(exc)
            self._rests.begin(flight.key, ELSEWHERE)
            flight.give_up(Resting())
            return False
        return True

    async def anew(
        self,
        function: FunctionOfMany,
        policy: Policy,
        refused: set[str],
        io: Effects,
        flights: list[JointFlight[Computed]],
    ) -> None:
        """Compute values to stand in the place of whatever is there; note what is refused."""
        if self._store.private:
            for flight in flights:
                flight.begin()
            keys = [flight.key for flight in flights]
            tags = await self._tags(io, keys, function, policy)
            try:
                made = await self._make(io, keys, function, policy, tags)
            except Exception:
                await self._limit(io, flights, tags, moment(), keys)
                raise
            for flight in flights:
                each = made[flight.key]
                accepted = await self._private.put(io, flight, function.function, policy, each)
                if not accepted:
                    refused.add(flight.key)
                flight.finish(Computed(each.value, each.stored, accepted))
            return
        claims = self._claims_of(flights)

        async def compute(io: Effects) -> None:
            taken = await claims.take_again(
                io, [flight.key for flight in flights if not flight.detached()]
            )
            await self._fill(
                io,
                {flight.key: flight for flight in flights},
                claims,
                function,
                policy,
                taken.unknown,
                refused,
            )

        await released(io, claims, compute)


def _hopeless(io: Effects, wait: Wait, others: Mapping[str, Stored], *, is_last: bool) -> list[str]:
    """Return the keys whose claims, of others, it is of no use to wait for any more."""
    if not is_last:
        return [key for key, stub in others.items() if not wait.is_of_use(io, stub)]
    for stub in others.values():
        remember_hung(stub)
    if others:
        wait.end("in vain")
    return list(others)
