"""What happens at a miss: one computation, stored unless something newer is there."""

from collections.abc import Callable
from inspect import isawaitable, iscoroutine
from typing import Any, TypeAlias

from twofold.backend import Backend, Stored
from twofold.effects import Effects
from twofold.entry import MISSING, Codec
from twofold.errors import AwaitableResult
from twofold.flight import Flight, Flights

Condition: TypeAlias = Callable[[Any], bool]
"""Tells of a computed value whether to store it."""

_Computed: TypeAlias = tuple[Any, Stored | None]
"""A value, and as what it can be copied for each further caller; None if not stored."""


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
        backend: the store; an outage of it must look like a miss.
        codec: makes stored entries of values, and values of them.
    """

    def __init__(self, backend: Backend, codec: Codec) -> None:
        self.flights: Flights = Flights()
        self.computed: int = 0
        self.joined: int = 0
        self._backend = backend
        self._codec = codec

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
            ttl: seconds to keep it, None for ever; 0 stores nothing.
            condition: tells whether to store it.
            refresh: compute and store anew, whatever is there or on its way.
        """
        if refresh:
            self.flights.detach(key)

        async def compute(io: Effects, flight: Flight[_Computed]) -> _Computed:
            present = None
            if not refresh:
                present = await io.op(self._backend.get, self._backend.aget, key)
                value = MISSING if present is None else self._codec.load(key, present)
                if value is not MISSING:
                    return value, present
            self.computed += 1
            value = await io.call(function)
            if condition is not None and not condition(value):
                return value, None
            stored = self._codec.dump(key, value)
            if ttl is None or ttl > 0:
                await self._store(io, flight, present, stored, ttl, refresh)
            return value, stored

        (value, stored), led = await self.flights.share(io, key, compute)
        if led:
            return value
        self.joined += 1
        return value if stored is None else self._codec.load(key, stored)

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
            await io.op(store.compare_and_delete, store.acompare_and_delete, key, stored)
