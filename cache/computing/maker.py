"""What a computation makes: of a function's value what is to be stored, and back."""

from collections.abc import Callable
from contextlib import suppress
from inspect import isawaitable, iscoroutine
from math import inf
from random import random
from typing import Any, NamedTuple

from twofold.backend import Stored
from twofold.clock import Clock
from twofold.computing.unserializable import Unserializable
from twofold.effects import Effects
from twofold.entry import MISSING, Codec, Entry, Meta
from twofold.errors import AwaitableResult, CannotSerialize
from twofold.freshness.kept_errors import forms, name_of_class, rebuilt
from twofold.freshness.policy import Policy
from twofold.freshness.rests import Rests
from twofold.interrupts import is_interrupt
from twofold.stats import Counts


class Made(NamedTuple):
    """What a function brought, and what is to become of it."""

    value: Any
    stored: Stored | None
    """What the store is to keep, or of what is not kept, what copies are made of, if any."""
    keep: bool
    life: float | None
    """Seconds that the store keeps it; None for ever."""
    drop: bool = False
    """Whether what it would replace is to go."""
    error: Exception | None = None
    """What the function raised, if that is kept."""


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


class Maker:
    """Calls the functions of one cache.

    Args:
        codec: makes stored entries of values, and values of them.
        clock: that of the store.
        counts: the numbers of the cache.
        rests: what is not to be refreshed now.
        unserializable: the functions whose results cannot be stored.
    """

    def __init__(
        self,
        codec: Codec,
        clock: Clock,
        counts: Counts,
        rests: Rests,
        unserializable: Unserializable,
    ) -> None:
        self.unserializable = unserializable
        self._codec = codec
        self._clock = clock
        self._counts = counts
        self._rests = rests

    @property
    def owner(self) -> str:
        """The alias of the cache."""
        return self._codec.owner

    async def make(
        self, io: Effects, key: str, function: Callable[[], Any], policy: Policy
    ) -> Made:
        """Compute, and make of the value, or of an error that is kept, what is to be stored."""
        began = self._clock.time() if policy.ages or policy.errors else 0.0
        try:
            value = await self.call(io, function)
        except Exception as exc:
            kept = type(exc) in policy.errors and not is_interrupt(exc)
            made = self._made_of(key, exc, policy, began) if kept else None
            if made is None:
                raise
            return made
        return self.made(key, function, value, policy, began)

    def made(
        self, key: str, function: Callable[..., Any], value: Any, policy: Policy, began: float
    ) -> Made:
        """Return what is to become of a value, begun at a time by the wall clock."""
        keep, drop = policy.keeps(value) or not policy.stores, False
        ttl = policy.life(value, random()) if keep else None  # noqa: S311 - it spreads load
        if ttl is not None and ttl <= 0:
            keep, drop = False, True
        meta = policy.described(ttl, began, self._clock.time()) if keep and policy.ages else None
        try:
            stored = self._codec.dump(key, value, meta)
        except CannotSerialize as exc:
            return Made(value, None, False, None, drop or self._note(function, keep, exc))
        life = ttl if meta is None or ttl is None else ttl + policy.stale
        return Made(value, stored, keep, life, drop)

    def _note(self, function: Callable[..., Any], keep: bool, error: CannotSerialize) -> bool:
        """Note that a result cannot be stored; tell whether it should have been."""
        if keep:
            if self.unserializable.raises:
                raise error
            self._counts.unserializable += 1
            self.unserializable.note(function, error)
        return keep

    def _made_of(self, key: str, error: Exception, policy: Policy, began: float) -> Made | None:
        """Return how to keep what a function raised; None if it cannot be made again."""
        now, ttl = self._clock.time(), policy.errors[type(error)]
        until = now + (inf if ttl is None else ttl)
        meta = Meta(began, until, until, max(0.0, now - began), error=name_of_class(type(error)))
        for form in forms(error):
            with suppress(CannotSerialize):
                return Made(None, self._codec.dump(key, form, meta), True, ttl, error=error)
        return None

    async def call(self, io: Effects, function: Callable[[], Any]) -> Any:
        """Call a user's function, and count that."""
        self._counts.computations += 1
        try:
            return await io.call(function)
        except Exception:
            self._counts.failures += 1
            raise

    def failed(
        self,
        key: str,
        function: Callable[..., Any],
        policy: Policy,
        replaces: bool,
        error: Exception,
    ) -> bool:
        """Note a failure; tell whether there is an old value to serve for a while."""
        old = replaces and policy.ages and not is_interrupt(error)
        if old:
            self._rests.fail(key, function, policy.retry_after, error)
        return old

    def returned(
        self, key: str, function: Callable[..., Any], policy: Policy, replaces: bool, made: Made
    ) -> bool:
        """Note that a function has returned; tell whether an old value stays in its place."""
        stays = replaces and policy.ages and not made.keep and not made.drop
        self._rests.succeed(key, function)
        if stays:
            self._rests.begin(key, policy.retry_after)
        return stays

    def read(self, key: str, stored: Stored | None, policy: Policy) -> Any:
        """Return the value of what is stored, if it is fresh, or raise the error that is kept."""
        if stored is None:
            return MISSING
        if not policy.errors:
            return self._codec.load(key, stored)
        entry = self._codec.open(key, stored)
        if entry is MISSING:
            return MISSING
        self.raise_kept(entry, policy)
        return entry.value if entry.is_fresh(self._clock.time()) else MISSING

    def raise_kept(self, entry: Entry, policy: Policy) -> None:
        """Raise the error that an entry keeps, if it is one of the caller's, and not too old."""
        if entry.meta is None or not entry.meta.error:
            return
        error = rebuilt(entry, policy.errors)
        if error is not None and entry.meta.holds(self._clock.time()):
            raise error

    def copy(self, key: str, value: Any, stored: Stored | None) -> Any:
        """Return the value for one more caller."""
        copy = MISSING if stored is None else self._codec.load(key, stored)
        return value if copy is MISSING else copy
