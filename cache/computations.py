"""What happens at a miss: one computation, stored unless something newer is there."""

from collections.abc import Callable, Coroutine
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, NamedTuple

from twofold.backend import Backend, Stored
from twofold.claims.flights import Flight, share
from twofold.claims.stored import StoredClaim
from twofold.claims.table import Claims, claims_of
from twofold.effects import Effects, within
from twofold.entry import MISSING, Codec
from twofold.errors import AwaitableResult, BackendUnavailable, CannotSerialize
from twofold.policy import Policy
from twofold.stats import Counts
from twofold.stub import is_stub

_REFRESHES = 3  # of one key, before something newer is left to be found


class Computed(NamedTuple):
    """What a computation brought."""

    value: Any
    stored: Stored | None
    """The value as the store keeps it, of which others get copies; None if it cannot."""
    accepted: bool
    """Whether nobody has changed the key since it was begun."""


def producer(default: Any) -> Callable[[], Any]:
    """Return a function that brings `default`: itself if it is one, else the value."""
    if callable(default):
        function: Callable[[], Any] = default
        return function
    _refuse_awaitable(default)
    return lambda: default


def aproducer(default: Any) -> Callable[[], Any]:
    """Do what `producer` does, for an event loop: a value costs no thread."""
    if callable(default):
        function: Callable[[], Any] = default
        return function
    _refuse_awaitable(default)

    async def given() -> Any:
        return default

    return given


def _swap(store: Backend, present: Stored, key: str, stored: Stored, ttl: float | None) -> bool:
    return store.compare_and_set(key, present, stored, ttl)


def _refuse_awaitable(default: Any) -> None:
    if isawaitable(default):
        if iscoroutine(default):
            default.close()
        raise AwaitableResult(
            f"{default!r} can be awaited once only, and cannot be stored: give `aget_or_set`"
            " the async function itself, not what calling it returned"
        )


class Computations:
    """The computations of one cache's values.

    Args:
        store: hides stubs, and raises `BackendUnavailable` in an outage.
        codec: makes stored entries of values, and values of them.
        beside: makes the key of a claim beside an entry that cannot be read.
        note_outage: is told of each failure of the store that a computation goes on without.
        counts: the numbers of the cache.
    """

    def __init__(
        self,
        store: Backend,
        codec: Codec,
        beside: Callable[[str], str],
        note_outage: Callable[[BackendUnavailable], None] | None,
        counts: Counts,
    ) -> None:
        self.claims: Claims = claims_of(store.identity)
        self._store = store
        self._codec = codec
        self._beside = beside
        self._note_outage = note_outage
        self._counts = counts

    async def compute(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        policy: Policy,
        since: float = 0.0,
        *,
        reachable: bool = True,
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
        """
        if not policy.stores:
            return await self._call(io, function)  # what nobody is to find, nobody shares

        if not reachable:
            body = partial(self._unreached, function)
        elif self._store.private:
            body = partial(self._here, function, policy)
        else:
            body = partial(self._among_processes, function, policy, since)
        computed, led = await share(io, self.claims, key, body)
        if led:
            return computed.value
        self._counts.joined += 1
        return self._copy(key, computed)

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
            computed, led = await share(io, self.claims, key, body)
            if computed.accepted or await self._is_claimed(io, key):
                break
        else:
            await self._delete(io, key)
        return computed.value if led else self._copy(key, computed)

    async def _is_claimed(self, io: Effects, key: str) -> bool:
        """Tell whether somebody computes `key` now.

        Who was refused would take it from them, and they from whoever did so in turn.
        """
        store = self._store
        if key in self.claims.table or store.private:
            return key in self.claims.table
        try:
            return is_stub(await io.op(store.get, store.aget, key), store.holds_objects)
        except BackendUnavailable as exc:
            self._note(exc)
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
        return Computed(await self._call(io, function), None, accepted=False)

    async def _here(
        self, function: Callable[[], Any], policy: Policy, io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Compute a value of a store that is this process's own, where no stub is needed."""
        if flight.detached():
            return await self._for_callers(function, io, flight)
        store, key = self._store, flight.key
        flight.begin()
        present = store.get(key)
        value = MISSING if present is None else self._codec.load(key, present)
        if value is not MISSING:
            return Computed(value, present, accepted=False)
        value = await self._call(io, function)
        keep = policy.keeps(value)
        stored = self._dump(key, value, keep)
        if keep and present is None:
            self._write(flight, store.add, stored, policy.ttl)
        elif keep:
            self._write(flight, partial(_swap, store, present), stored, policy.ttl)
        flight.accept()  # all who joined did so before anybody detached it
        return Computed(value, stored, accepted=True)

    async def _among_processes(
        self,
        function: Callable[[], Any],
        policy: Policy,
        since: float,
        io: Effects,
        flight: Flight[Computed],
    ) -> Computed:
        """Compute a value under a claim that other processes see."""
        if flight.detached():
            return await self._for_callers(function, io, flight)
        claim = StoredClaim(self._store, flight.key, self._beside, flight.lost)
        values: list[Any] = []

        def is_value(stored: Stored) -> bool:
            value = self._codec.load(flight.key, stored)
            values.append(value)
            return value is not MISSING

        async def compute(io: Effects) -> Computed:
            try:
                found = await claim.take(io, is_value, flight.begin, since)
            except BackendUnavailable as exc:
                return await self._without(io, flight, claim, function, exc)
            if found is None:
                return await self._fill(io, flight, claim, function, policy)
            return Computed(values[-1], found, accepted=False)

        return await self._released(io, claim, compute)

    async def _anew(
        self, function: Callable[[], Any], policy: Policy, io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Compute a value to stand in the place of whatever is there."""
        if self._store.private or flight.detached():
            return await self._replace(function, policy, io, flight)
        claim = StoredClaim(self._store, flight.key, self._beside, flight.lost)

        async def compute(io: Effects) -> Computed:
            try:
                await claim.take_again(io)
            except BackendUnavailable as exc:
                return await self._without(io, flight, claim, function, exc)
            return await self._fill(io, flight, claim, function, policy)

        return await self._released(io, claim, compute)

    async def _replace(
        self, function: Callable[[], Any], policy: Policy, io: Effects, flight: Flight[Computed]
    ) -> Computed:
        """Do what `_anew` does in a store of this process's own."""
        key = flight.key
        flight.begin()
        value = await self._call(io, function)
        keep = policy.keeps(value)
        stored = self._dump(key, value, keep)
        accepted = not keep or self._write(flight, self._store.set, stored, policy.ttl)
        flight.accept()
        return Computed(value, stored, accepted)

    async def _fill(
        self,
        io: Effects,
        flight: Flight[Computed],
        claim: StoredClaim,
        function: Callable[[], Any],
        policy: Policy,
    ) -> Computed:
        """Compute under `claim`, and store what is to be kept."""
        key = flight.key
        flight.begin()
        value = await self._call(io, function)
        keep = policy.keeps(value)
        stored = self._dump(key, value, keep)
        filled = False
        io = within(io, self._store.deadline)
        try:
            if keep:
                filled = await claim.fill(io, stored, policy.ttl)
                self._counts.stores += filled
        except BackendUnavailable as exc:
            self._note(exc)
            filled = True  # for all that can be known
        unchanged = await claim.release(io) or filled
        if unchanged:
            flight.accept()
        return Computed(value, stored, accepted=unchanged or not keep)

    async def _without(
        self,
        io: Effects,
        flight: Flight[Computed],
        claim: StoredClaim,
        function: Callable[[], Any],
        outage: BackendUnavailable,
    ) -> Computed:
        """Compute while the store cannot be asked."""
        self._note(outage)
        claim.forget()
        computed = await self._for_callers(function, io, flight)
        flight.accept()
        return computed._replace(accepted=True)

    async def _released(
        self,
        io: Effects,
        claim: StoredClaim,
        compute: Callable[[Effects], Coroutine[Any, Any, Computed]],
    ) -> Computed:
        """Compute, and release `claim` whatever comes of it."""
        try:
            return await compute(io)
        except GeneratorExit:  # the loop is gone, and nothing can be awaited
            claim.forget()
            raise
        finally:
            try:
                await claim.end(io)
            finally:  # a signal's handler may have broken that off
                await claim.end(io)

    def _write(
        self,
        flight: Flight[Computed],
        write: Callable[[str, Stored, float | None], bool],
        stored: Stored,
        ttl: float | None,
    ) -> bool:
        """Have a store of this process's own write, unless something newer was."""
        try:
            with self._store.exclusive():  # who detaches it writes before this, or after
                written = not flight.detached() and write(flight.key, stored, ttl)
            if written and flight.detached():  # by a finaliser or a handler, in this thread
                self._store.compare_and_delete(flight.key, stored)
                return False
            self._counts.stores += written
        except BackendUnavailable as exc:  # it is amid another operation in this thread
            self._note(exc)
            return True
        return written

    def _dump(self, key: str, value: Any, keep: bool) -> Stored | None:
        """Return what to store, or of what is not stored, what copies are made of, if any."""
        try:
            stored: Stored = self._codec.dump(key, value)
        except CannotSerialize:
            if keep:
                raise
            return None
        return stored

    def _copy(self, key: str, computed: Computed) -> Any:
        """Return the value for one more caller."""
        stored = computed.stored
        copy = MISSING if stored is None else self._codec.load(key, stored)
        return computed.value if copy is MISSING else copy

    async def _call(self, io: Effects, function: Callable[[], Any]) -> Any:
        self._counts.computations += 1
        try:
            return await io.call(function)
        except Exception:
            self._counts.failures += 1
            raise

    def _note(self, outage: BackendUnavailable) -> None:
        if self._note_outage is not None:
            self._note_outage(outage)

    async def _delete(self, io: Effects, key: str) -> None:
        try:
            await io.op(self._store.delete, self._store.adelete, key)
        except BackendUnavailable as exc:
            self._note(exc)
