"""What happens at a miss: one computation, stored unless something newer is there."""

from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from twofold.backend import Backend, Stored
from twofold.claims.flights import Body, Flight, moment, share, start
from twofold.claims.stored import Resting, StoredClaim, released
from twofold.claims.table import Claims, claims_of
from twofold.computing.call_tags import CallTags
from twofold.computing.maker import Made, Maker
from twofold.computing.private_writes import PrivateWrites
from twofold.effects import Effects, within
from twofold.entry import MISSING
from twofold.errors import BackendUnavailable
from twofold.freshness.policy import Age, Policy, age
from twofold.freshness.rests import ELSEWHERE, Rests
from twofold.stats import Counts
from twofold.stub import is_stub

_NOW = 1e-300  # the draw of xfetch by which whoever asks refreshes

_REFRESHES = 3  # of one key, before something newer is left to be found


class Computed(NamedTuple):
    """What a computation brought."""

    value: Any
    stored: Stored | None
    """The value as the store keeps it, of which others get copies; None if it cannot."""
    accepted: bool
    """Whether nobody has changed the key since it was begun."""

    @property
    def alone(self) -> bool:
        """Whether nobody else gets it, since no copies can be made of it."""
        return self.stored is None and self.value is not MISSING


def _computed(made: Made, accepted: bool) -> Computed:
    if made.error is not None:
        raise made.error
    return Computed(made.value, made.stored, accepted)


class Computations:
    """The computations of one cache's values.

    Args:
        store: hides stubs, and raises `BackendUnavailable` in an outage.
        maker: calls functions, and makes entries of what they return.
        beside: makes the key of a claim beside an entry that cannot be read.
        counts: the numbers of the cache.
        rests: what is not to be refreshed now.
    """

    def __init__(
        self,
        store: Backend,
        maker: Maker,
        beside: Callable[[str], str],
        counts: Counts,
        rests: Rests,
    ) -> None:
        self.claims: Claims = claims_of(store.identity)
        self._store = store
        self._reader = maker.reader
        self._maker = maker
        self._beside = beside
        self._counts = counts
        self._rests = rests
        self.private: PrivateWrites = PrivateWrites(store, maker, counts)
        self.note: Callable[[BackendUnavailable], None] = maker.note

    async def compute(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        policy: Policy,
        since: float = 0.0,
        *,
        reachable: bool = True,
        patience: float | None = None,
        has_value: bool = False,
    ) -> Any:
        """Return the value of `key`, computed once however many callers missed it.

        Args:
            io: the face of the caller.
            key: the normalised key.
            function: computes the value; async only where `io` can run it.
            policy: what becomes of the value.
            since: the monotonic time at which the store was asked for the value, if it is
                remote: its deadline is for that and the claim.
            reachable: whether the store is worth asking; else nothing is stored.
            patience: seconds to wait at most; None without end.
            has_value: whether the caller has an old one.

        Raises:
            Late: the patience is over, and the computation goes on.
            Busy: nothing in the background is free to compute.
            Resting: the old value is not to be refreshed yet.
        """
        if not policy.stores or self._maker.unserializable.holds(function, key):
            return await self._maker.call(io, function)  # what nobody is to find, nobody shares

        if not reachable:
            body = partial(self._unreached, function)
        elif self._store.private:
            body = partial(self._here, function, policy, has_value, False)
        else:
            until = monotonic() + patience if patience is not None and io.stays() else inf
            body = partial(self._among_processes, function, policy, since, has_value, until)
        while True:
            try:
                computed, led = await self._share(io, key, body, patience)
            except Resting:
                if has_value:
                    raise
                continue  # somebody else's refresh has come to nothing
            if led:
                return computed.value
            if computed.alone:
                return await self._maker.call(io, function)
            self._counts.joined += 1
            return self._maker.copy(key, computed.value, computed.stored)

    async def refresh_behind(
        self, io: Effects, key: str, function: Callable[[], Any], policy: Policy
    ) -> bool:
        """Have a value that is old replaced in the background; False if nothing is free for it."""

        async def body(io: Effects, flight: Flight[Computed]) -> Computed:
            try:
                return await self._renewed(io, flight, function, policy)
            except Exception:
                raise
            except BaseException:  # its event loop ends
                self._rests.lose(key)
                raise

        return await start(io, self.claims, key, body)

    async def refresh(
        self, io: Effects, key: str, function: Callable[[], Any], policy: Policy
    ) -> Any:
        """Compute and store anew, whatever is there or on its way; return the value.

        If the key is changed meanwhile, again and again, it is left missing; and at once to
        whoever has begun since, for theirs is newer.
        """
        body = partial(self._anew, function, policy)
        for _ in range(_REFRESHES):
            self.claims.detach(key)
            computed, led = await self._share(io, key, body)
            if computed.accepted or await self.is_claimed(io, key):
                break
        else:
            await self._delete(io, key)
        if led or computed.alone:
            return computed.value if led else await self._maker.call(io, function)
        return self._maker.copy(key, computed.value, computed.stored)

    async def _share(
        self, io: Effects, key: str, body: Body[Computed], patience: float | None = None
    ) -> tuple[Computed, bool]:
        """Do what `share` does, again where a function of many keys has left this one out."""
        while True:
            computed, led = await share(io, self.claims, key, body, patience)
            if computed.value is not MISSING:
                return computed, led

    async def is_claimed(self, io: Effects, key: str) -> bool:
        """Tell whether somebody computes `key` now.

        Who was refused would take it from them, and they from whoever did so in turn.
        """
        store = self._store
        if self.claims.claims_key(key) or store.private:
            return self.claims.claims_key(key)
        try:
            return is_stub(await io.op(store.get, store.aget, key), store.holds_objects)
        except BackendUnavailable as exc:
            self.note(exc)
            return False

    async def _unreached(
        self, function: Callable[[], Any], io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Compute while the store is not worth asking."""
        computed = await self._for_callers(function, io, flight)
        flight.accept()  # for all that can be known
        return computed

    async def _for_callers(
        self, function: Callable[[], Any], io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Compute what is not stored."""
        flight.begin()
        value = await self._maker.call(io, function)
        return Computed(value, self._maker.copied(flight.key, value), accepted=False)

    async def _here(
        self,
        function: Callable[[], Any],
        policy: Policy,
        has_value: bool,
        renews: bool,
        io: Effects,
        flight: Flight[Computed],
    ) -> Computed:
        """Compute a value of a store that is this process's own, where no stub is needed.

        `renews`: it is to replace an old one, and nothing else.
        """
        if flight.detached():
            return await self._for_callers(function, io, flight)
        store, key = self._store, flight.key
        flight.begin(policy.errors)
        present = store.get(key)
        if renews:
            await self.check_old(io, flight, present, policy)
        elif present is not None:
            value = await self._maker.read(io, key, present, policy)
            if value is not MISSING:
                return Computed(value, present, accepted=False)
            if has_value and key in self._rests:
                raise Resting  # it has failed since the caller looked
        tags = await self._tags(io, key, policy)
        try:
            made = await self._maker.make(io, key, function, policy, tags)
        except Exception as exc:
            self._maker.failed(key, function, policy, present is not None, exc)
            await self._limit(io, flight, tags)
            raise
        return _computed(made, await self.private.swap(io, flight, function, policy, present, made))

    async def _renewed(
        self, io: Effects, flight: Flight[Computed], function: Callable[[], Any], policy: Policy
    ) -> Computed:
        """Compute a value to replace an old one, unless somebody else is at it."""
        self._counts.refreshes += 1
        if self._store.private:
            return await self._here(function, policy, True, True, io, flight)
        claim = StoredClaim(self._store, flight.key, self._beside, flight.lost, flight)

        async def compute(io: Effects) -> Computed:
            try:
                await self.check_old(io, flight, await claim.take_beside(io), policy)
            except BackendUnavailable as exc:
                self.note(exc)
                self._rests.begin(flight.key, ELSEWHERE)
                raise Resting from None
            return await self._fill(io, flight, claim, function, policy)

        return await released(io, claim, compute)

    async def check_old(
        self, io: Effects, flight: Flight[Computed], present: Stored | None, policy: Policy
    ) -> None:
        """Raise `Resting` unless what is there is old, and this caller's to replace."""
        if present is None:
            self._rests.begin(flight.key, ELSEWHERE)
            raise Resting
        entry = await self._reader.open(io, flight.key, present)
        now = self._store.clock.time()
        if flight.key in self._rests:
            raise Resting  # it has failed since the caller looked
        if entry is MISSING or age(entry.meta, now, policy, _NOW) is Age.FRESH:
            raise Resting

    async def _among_processes(
        self,
        function: Callable[[], Any],
        policy: Policy,
        since: float,
        has_value: bool,
        until: float,
        io: Effects,
        flight: Flight[Computed],
    ) -> Computed:
        """Compute a value under a claim that other processes see."""
        if flight.detached():
            return await self._for_callers(function, io, flight)
        claim = StoredClaim(self._store, flight.key, self._beside, flight.lost, flight)
        values: list[Any] = []

        async def is_value(io: Effects, stored: Stored) -> bool:
            value = await self._maker.read(io, flight.key, stored, policy)
            values.append(value)
            return value is not MISSING

        async def compute(io: Effects) -> Computed:
            try:
                found = await claim.take(
                    io,
                    is_value,
                    partial(flight.begin, policy.errors),
                    since,
                    heeds_rest=has_value,
                    until=until,
                    owner=self._reader.owner,
                )
            except BackendUnavailable as exc:
                return await self._without(io, flight, claim, function, exc)
            except Resting:
                self._rests.begin(flight.key, ELSEWHERE)
                raise
            if found is None:
                return await self._fill(io, flight, claim, function, policy)
            return Computed(values[-1], found, accepted=False)

        return await released(io, claim, compute)

    async def _anew(
        self, function: Callable[[], Any], policy: Policy, io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Compute a value to stand in the place of whatever is there."""
        if self._store.private or flight.detached():
            return await self._replace(function, policy, io, flight)
        claim = StoredClaim(self._store, flight.key, self._beside, flight.lost, flight)

        async def compute(io: Effects) -> Computed:
            try:
                await claim.take_again(io)
            except BackendUnavailable as exc:
                return await self._without(io, flight, claim, function, exc)
            return await self._fill(io, flight, claim, function, policy, anew=True)

        return await released(io, claim, compute)

    async def _replace(
        self, function: Callable[[], Any], policy: Policy, io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Do what `_anew` does in a store of this process's own."""
        flight.begin(policy.errors)
        tags = await self._tags(io, flight.key, policy)
        try:
            made = await self._maker.make(io, flight.key, function, policy, tags)
        except Exception:
            await self._limit(io, flight, tags)
            raise
        return _computed(made, await self.private.put(io, flight, function, policy, made))

    async def _fill(
        self,
        io: Effects,
        flight: Flight[Computed],
        claim: StoredClaim,
        function: Callable[[], Any],
        policy: Policy,
        *,
        anew: bool = False,
    ) -> Computed:
        """Compute under `claim`, and store what is to be kept."""
        key, replaces = flight.key, claim.replaces
        io = within(io, self._store.deadline, claim.asked)
        flight.begin(policy.errors)
        tags = await self._tags(io, key, policy)
        try:
            made = await self._maker.make(io, key, function, policy, tags)
        except Exception as exc:
            checked = moment()
            if self._maker.failed(key, function, policy, replaces, exc) or claim.ended_rest:
                await claim.rest(io, policy.retry_after)
            stood = await claim.end(io)
            await self._limit(io, flight, tags, checked if stood or replaces else 0)
            raise
        filled, untold, checked = False, False, moment()
        try:
            if made.keep:
                filled = await claim.fill(io, made.stored, made.life)
                self._counts.stores += filled
                filled = filled or await claim.drop(io)  # there is no room for it
            elif made.drop:
                await claim.drop(io)
            elif self._maker.returned(key, function, policy, replaces, made):
                await claim.rest(io, policy.retry_after)
        except BackendUnavailable as exc:
            self.note(exc)
            untold = True
        holds: bool | None = await claim.release(io) or filled
        if made.keep:
            self._maker.returned(key, function, policy, replaces, made)
        if holds:
            holds = await self._maker.holds(io, made.pins, asked=anew or flight.followed)
        elif untold:
            holds = None
        if holds:
            flight.accept(checked)
        return _computed(made, made.is_final(holds))

    async def _tags(self, io: Effects, key: str, policy: Policy) -> CallTags | None:
        """Return the tags of what is to be computed, pinned; None if it has none."""
        if not policy.tags:
            return None
        return await self._maker.begin_tags(io, policy, {key: policy.tags})

    async def _limit(
        self,
        io: Effects,
        flight: Flight[Computed],
        tags: CallTags | None,
        checked: int | None = None,
    ) -> None:
        """Let who asked after the key was changed, or a tag, not have an error of before.

        `checked` is the moment up to which the key was as it was; 0 if it was changed.
        """
        until = moment() if checked is None else checked
        asked = [flight.key] if flight.followed else []
        held = await self._maker.held(io, tags, asked)
        flight.limit(until if all(held.values()) else 0)

    async def _without(
        self,
        io: Effects,
        flight: Flight[Computed],
        claim: StoredClaim,
        function: Callable[[], Any],
        outage: BackendUnavailable,
    ) -> Computed:
        """Compute while the store cannot be asked."""
        self.note(outage)
        claim.forget()
        computed = await self._for_callers(function, io, flight)
        flight.accept()
        return computed._replace(accepted=True)

    async def _delete(self, io: Effects, key: str) -> None:
        try:
            await io.op(self._store.delete, self._store.adelete, key)
        except BackendUnavailable as exc:
            self.note(exc)
