"""What a computation makes: of a function's value what is to be stored, and back."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from inspect import isawaitable, iscoroutine
from math import inf
from random import random
from typing import Any, Final, NamedTuple

from twofold.backend import Stored
from twofold.clock import Clock
from twofold.computing.call_tags import CallTags
from twofold.computing.unserializable import Unserializable
from twofold.effects import Effects
from twofold.entry import MISSING, Codec, Entry, Meta
from twofold.errors import (
    AwaitableResult,
    BackendUnavailable,
    CannotSerialize,
    PartlyUnavailable,
)
from twofold.freshness.kept_errors import forms, name_of_class, rebuilt
from twofold.freshness.policy import Policy
from twofold.freshness.rests import Rests
from twofold.interrupts import is_interrupt
from twofold.metadata import Pins
from twofold.stats import Counts
from twofold.tags.generations import Standing, Tags
from twofold.tags.reader import Reader


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
    pins: Pins | None = ()
    """Its tags; None if one that may be among them may have been invalidated meanwhile."""
    outdated: bool = False
    """Whether it is for that reason alone that it is not kept."""

    def is_final(self, holds: bool | None) -> bool:
        """Tell whether a refresh need not be repeated; `holds` as `Maker.holds` says."""
        return not self.outdated and (holds is not False or not self.keep)


LEFT_OUT: Final = Made(MISSING, None, keep=False, life=None, drop=True)
"""What is made of a key for which a function of many brought nothing."""


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
        tags: those of the cache.
        note_outage: is told of each failure of the store.
    """

    def __init__(
        self,
        codec: Codec,
        clock: Clock,
        counts: Counts,
        rests: Rests,
        unserializable: Unserializable,
        tags: Tags,
        note_outage: Callable[[BackendUnavailable], None] | None,
    ) -> None:
        self.unserializable = unserializable
        self._tags = tags
        self._note_outage = note_outage
        self.reader: Reader = Reader(codec, tags, clock)
        self._codec = codec
        self._clock = clock
        self._counts = counts
        self._rests = rests

    @property
    def owner(self) -> str:
        """The alias of the cache."""
        return self._codec.owner

    async def make(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        policy: Policy,
        tags: CallTags | None,
    ) -> Made:
        """Compute, and make of the value, or of an error that is kept, what is to be stored."""
        began = self._clock.time() if policy.ages or policy.errors else 0.0
        try:
            value = await self.call(io, function)
        except Exception as exc:
            kept = type(exc) in policy.errors and not is_interrupt(exc)
            made = await self._made_of(io, key, exc, policy, began, tags) if kept else None
            if made is None:
                raise
            return made
        if tags is None:
            keep = policy.keeps(value) or not policy.stores
            return self._made(key, function, value, policy, began, keep, ())
        return (await self.made(io, {key: value}, function, policy, began, tags))[key]

    async def begin_tags(
        self, io: Effects, policy: Policy, names: Mapping[str, Any]
    ) -> CallTags | None:
        """Return the tags of what is to be computed for some keys; None if it has none."""
        if not policy.stores or not (callable(policy.tags) or any(names.values())):
            return None
        tags = CallTags(self._tags, policy, names, self.note)
        await tags.begin(io)
        return tags

    async def made(
        self,
        io: Effects,
        values: Mapping[str, Any],
        function: Callable[..., Any],
        policy: Policy,
        began: float,
        tags: CallTags | None,
    ) -> dict[str, Made]:
        """Return what is to become of values, begun at a time by the wall clock.

        With tags, that says as well what becomes of the keys that were left out.
        """
        keep = {key: policy.keeps(value) or not policy.stores for key, value in values.items()}
        if tags is None:
            return {
                key: self._made(key, function, value, policy, began, keep[key], ())
                for key, value in values.items()
            }
        pins = await tags.end(io, {key: value for key, value in values.items() if keep[key]})
        made = {
            key: self._made(
                key,
                function,
                value,
                policy,
                began,
                keep[key] and not tags.failed,
                pins[key],
            )
            for key, value in values.items()
        }
        made |= {key: LEFT_OUT._replace(pins=pins[key]) for key in pins.keys() - values.keys()}
        if callable(policy.ttl) and (lives := [each.life for each in made.values() if each.keep]):
            await tags.extend(io, None if None in lives else max(filter(None, lives)))
        return made

    def _made(
        self,
        key: str,
        function: Callable[..., Any],
        value: Any,
        policy: Policy,
        began: float,
        keep: bool,
        pins: Pins | None,
    ) -> Made:
        outdated, drop = keep and pins is None, False
        keep = keep and not outdated
        ttl = policy.life(value, random()) if keep else None  # noqa: S311 - it spreads load
        if ttl is not None and ttl <= 0:
            keep, drop = False, True
        described = keep and (policy.ages or pins)
        meta = policy.described(ttl, began, self._clock.time(), pins or ()) if described else None
        try:
            stored = self._codec.dump(key, value, meta)
        except CannotSerialize as exc:
            drop = drop or self._note(function, key, keep, exc)
            return Made(value, None, False, None, drop, pins=pins, outdated=outdated)
        life = ttl if meta is None or ttl is None else ttl + policy.stale
        return Made(value, stored, keep, life, drop, pins=pins, outdated=outdated)

    def _note(
        self, function: Callable[..., Any], key: str, keep: bool, error: CannotSerialize
    ) -> bool:
        """Note that a result cannot be stored; tell whether it should have been."""
        if keep:
            if self.unserializable.raises:
                raise error
            self._counts.unserializable += 1
            self.unserializable.note(function, key, error)
        return keep

    async def holds(self, io: Effects, pins: Pins | None, *, asked: bool = True) -> bool | None:
        """Tell whether a value of these tags is for those, too, who have asked since it was begun.

        It is not if they are None: one that may be among them was invalidated. The answer is None
        where the store cannot tell, or is not to be `asked`, since nobody would be served.
        """
        if pins and not asked:
            return None
        return (await self.holding(io, {"": pins}))[""] if pins else pins is not None

    async def held(
        self, io: Effects, tags: CallTags | None, keys: Collection[str]
    ) -> dict[str, bool]:
        """Tell of some keys that brought nothing whether no tag was invalidated meanwhile.

        So it is taken to be where the store cannot tell.
        """
        if tags is None or not keys:
            return dict.fromkeys(keys, True)
        pins = await tags.end(io, {})
        holding = await self.holding(io, {key: pins[key] for key in keys})
        return {key: holds is not False for key, holds in holding.items()}

    async def holding(self, io: Effects, pins: Mapping[str, Pins | None]) -> dict[str, bool | None]:
        """Do what `holds` does for several values."""
        holding: dict[str, bool | None] = {key: each == () for key, each in pins.items()}
        tagged = {key: each for key, each in pins.items() if each}
        if tagged:
            try:
                standings = await self._tags.standings(io, list(tagged.values()))
            except BackendUnavailable as exc:
                self.note(exc)
                return holding | dict.fromkeys(tagged)
            for key, standing in zip(tagged, standings, strict=True):
                holding[key] = standing is Standing.CURRENT
        return holding

    def note(self, outage: BackendUnavailable) -> None:
        """Tell of a failure of the store that a computation goes on without."""
        if self._note_outage is not None:
            self._note_outage(outage)

    async def _made_of(
        self,
        io: Effects,
        key: str,
        error: Exception,
        policy: Policy,
        began: float,
        tags: CallTags | None,
    ) -> Made | None:
        """Return how to keep what a function raised; None if it cannot be made again.

        Nor is it kept where a tag was invalidated meanwhile, and nobody can tell whether of this.
        """
        now, ttl = self._clock.time(), policy.errors[type(error)]
        until = now + (inf if ttl is None else ttl)
        pins = () if tags is None else (await tags.end(io, {}))[key]
        if pins is None:
            return None
        name, took = name_of_class(type(error)), max(0.0, now - began)
        meta = Meta(began, until, until, took, tags=pins, error=name)
        for form in forms(error):
            with suppress(CannotSerialize):
                stored = self._codec.dump(key, form, meta)
                return Made(None, stored, True, ttl, error=error, pins=pins)
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

    async def read(self, io: Effects, key: str, stored: Stored | None, policy: Policy) -> Any:
        """Return the value of what is stored, if it is fresh, or raise the error that is kept."""
        if stored is None:
            return MISSING
        if not policy.errors:
            return await self.reader.load(io, key, stored)
        entry = await self.reader.open(io, key, stored)
        if entry is MISSING:
            return MISSING
        error = self.kept_error(entry, policy)
        if error is not None:
            raise error
        return entry.value if entry.is_fresh(self._clock.time()) else MISSING

    async def read_many(self, io: Effects, stored: Mapping[str, Stored]) -> dict[str, Any]:
        """Return the values of those of what is stored that are fresh, as far as can be known."""
        try:
            return await self.reader.load_many(io, stored, dict(zip(stored, stored, strict=True)))
        except BackendUnavailable as exc:
            self.note(exc)
            return exc.result if isinstance(exc, PartlyUnavailable) else {}

    def kept_error(self, entry: Entry, policy: Policy) -> Exception | None:
        """Return the error that an entry keeps, if it is one of the caller's, and not too old."""
        if entry.meta is None or not entry.meta.error:
            return None
        error = rebuilt(entry, policy.errors)
        return error if entry.meta.holds(self._clock.time()) else None

    def copied(self, key: str, value: Any) -> Stored | None:
        """Return what copies of a value are made of that is not to be stored, if anything."""
        try:
            stored: Stored = self._codec.dump(key, value)
        except CannotSerialize:
            return None
        return stored

    def copy(self, key: str, value: Any, stored: Stored | None) -> Any:
        """Return the value for one more caller."""
        if stored is None:
            return value
        copy = self._codec.load(key, stored)
        if copy is MISSING:  # to the codec, for it has tags
            entry = self._codec.open(key, stored)
            return value if entry is MISSING else entry.value
        return copy
