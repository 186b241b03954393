"""What happens at a miss: one computation, stored unless something newer is there."""

from collections.abc import Callable
from inspect import isawaitable, iscoroutine
from typing import Any, TypeAlias

from twofold.backend import Backend, Stored
from twofold.effects import Effects
from twofold.entry import MISSING, Codec
from twofold.errors import AwaitableResult, CannotSerialize
from twofold.flight import Flight, Flights
from twofold.lease import Lease, pauses

Condition: TypeAlias = Callable[[Any], bool]
"""Tells of a computed value whether to store it."""

_Computed: TypeAlias = tuple[Any, Stored | None]
"""A value, and what its copies for further callers are made of, if it has such."""


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


def _refuse_awaitable(default: Any) -> None:
    if isawaitable(default):
        if iscoroutine(default):
            default.close()
        raise AwaitableResult(
            f"{default!r} can be awaited once only, and cannot be stored: give `aget_or_set`"
            " the async function itself, not what calling it returned"
        )


class Filler:
    """Fills one cache with what functions return.

    Args:
        backend: the store.
        soft: the same, with outages that look like misses.
        codec: makes stored entries of values, and values of them.
        lease_key: makes the key of the lease of a normalised key.
    """

    def __init__(
        self, backend: Backend, soft: Backend, codec: Codec, lease_key: Callable[[str], str]
    ) -> None:
        self.flights: Flights = Flights()
        self.computed: int = 0
        self.joined: int = 0
        self._backend = soft
        self._leases = backend
        self._codec = codec
        self._lease_key = lease_key

    async def fill(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        ttl: float | None,
        condition: Condition | None = None,
        refresh: bool = False,
    ) -> Any:
        """Return the value of `key`, computed once however many callers missed it.

        Args:
            io: the face of the caller.
            key: the normalised key.
            function: computes the value; async only where `io` can run it.
            ttl: seconds to keep it, None for ever; 0 stores nothing, and shares nothing.
            condition: tells whether to store it.
            refresh: compute and store anew, whatever is there or on its way.
        """
        if ttl is not None and ttl <= 0 and not refresh:
            return await self._call(io, function)  # what nobody is to find, nobody shares
        if refresh:
            self.flights.detach(key)

        async def compute(io: Effects, flight: Flight[_Computed]) -> _Computed:
            return await self._compute(io, flight, function, ttl, condition, refresh)

        (value, stored), led = await self.flights.share(io, key, compute)
        if led:
            return value
        self.joined += 1
        copy = MISSING if stored is None else self._codec.load(key, stored)
        return value if copy is MISSING else copy

    async def _compute(
        self,
        io: Effects,
        flight: Flight[_Computed],
        function: Callable[[], Any],
        ttl: float | None,
        condition: Condition | None,
        refresh: bool,
    ) -> _Computed:
        """Compute for `flight` under a lease, and store what is to be kept."""
        if flight.detached():
            return await self._call(io, function), None
        key = flight.key
        lease = Lease(self._leases, self._codec, self._lease_key(key))
        try:
            present, value = await self._claim(io, key, lease, refresh)
            if value is not MISSING:
                return value, present
            value = await self._call(io, function)
            keep = condition is None or condition(value)
            stored = self._codec.dump(key, value) if keep else self._copy_of(key, value)
            if keep and not lease.unavailable and (ttl is None or ttl > 0):
                await self._store(io, flight, present, stored, ttl, refresh)
        except GeneratorExit:  # the loop is gone, and nothing can be awaited
            raise
        except BaseException:
            await io.settle(lease.release(io))
            raise
        if await lease.release(io) and keep:
            await self._take_back(io, key, stored)
        return value, stored

    async def _claim(
        self, io: Effects, key: str, lease: Lease, refresh: bool
    ) -> tuple[Stored | None, Any]:
        """Take the lease, and read again; return the value if another brought it meanwhile.

        Sync code that a loop waits for does not wait here either, and nobody waits for
        longer than a lease lives: they compute without one.
        """
        if refresh:
            await lease.steal(io)
            return None, MISSING
        present: Stored | None = None
        for pause in pauses():
            taken = await lease.take(io)
            if lease.unavailable:
                break
            present = await io.op(self._backend.get, self._backend.aget, key)
            value = MISSING if present is None else self._codec.load(key, present)
            if value is not MISSING:
                await lease.release(io)
                return present, value
            if taken or not io.may_wait(for_loop=True):
                break
            await io.sleep(pause)
        return present, MISSING

    def _copy_of(self, key: str, value: Any) -> Stored | None:
        """Return what copies of a value that is not stored are made of, if it has that."""
        try:
            return self._codec.dump(key, value)
        except CannotSerialize:
            return None

    async def _call(self, io: Effects, function: Callable[[], Any]) -> Any:
        self.computed += 1
        return await io.call(function)

    async def _store(
        self,
        io: Effects,
        flight: Flight[_Computed],
        present: Stored | None,
        stored: Stored,
        ttl: float | None,
        refresh: bool,
    ) -> None:
        """Store unless something newer was written, or the key deleted, since `flight` began.

        A missing key is added and an unreadable entry replaced only while it is the same
        one, so that a newer value stays. A write may still come between the look at
        `detached()` and ours: then what we wrote, if it is there, goes again.
        """
        store, key = self._backend, flight.key
        if flight.detached():
            return
        if refresh:
            await io.op(store.set, store.aset, key, stored, ttl)
        elif present is None:
            await io.op(store.add, store.aadd, key, stored, ttl)
        else:
            await io.op(store.compare_and_set, store.acompare_and_set, key, present, stored, ttl)
        if flight.detached():
            await self._take_back(io, key, stored)

    async def _take_back(self, io: Effects, key: str, stored: Stored) -> None:
        store = self._backend
        await io.op(store.compare_and_delete, store.acompare_and_delete, key, stored)
