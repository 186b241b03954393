"""Reads of a far store, answered near where a copy may be served.

What they return is for a `NearCodec`, wherever it comes from: a copy, of which the codec makes each
reader's own; or what the far store had, decoded once, for the one who asked.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from twofold.backend import Backend, Looked, Stored
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.near.codec import NearCodec
from twofold.near.tier import Tier
from twofold.outage import Outage


class Reads(Protocol):
    """How values are read: from a store, or near of it."""

    def get(self, key: str) -> Stored | None:
        """Return the value of `key`, or None if it is missing or expired."""

    async def aget(self, key: str) -> Stored | None:
        """Do what `get` does."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Return the values of those of `keys` that are there."""

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Do what `get_many` does."""


class FarReads(NamedTuple):
    """How what is not near is read, by who has looked there."""

    get: Callable[[str], Stored | None]
    aget: Callable[[str], Coroutine[Any, Any, Stored | None]]


class Near(NamedTuple):
    """What a cache keeps near, and what reads it."""

    tier: Tier
    codec: NearCodec


class NearReader:
    """The reads of one cache, for callers to whom an outage is a miss, or to whom it is not.

    Args:
        near: the copies.
        far: the store that they are of.
        outage: notes failures of the far store, where they are misses.
        raises: whether they are none where no copy can stand in, not even as a stale value.
    """

    def __init__(
        self, near: Near, far: Backend, outage: Outage | None = None, *, raises: bool = False
    ) -> None:
        self._tier = near.tier
        self._find = near.tier.find
        self._clock = near.tier.clock
        self._copy = near.codec.copy
        self._look = far.look
        self._alook = far.alook
        self._look_many = far.look_many
        self._alook_many = far.alook_many
        self._outage = outage
        self._lasting = {} if outage is None else outage.lasting
        self._raises = raises

    def get(self, key: str) -> Stored | None:
        entry, now = self._find(key), self._clock.monotonic()
        if entry is not None and now < entry.deadline and now < self._tier.valid_until:
            copy = entry.value
            if copy is not None:  # it was not dropped just now
                entry.visited = True
                self._tier.others += 1
                return copy
        return self.fetch(key)

    async def aget(self, key: str) -> Stored | None:
        entry, now = self._find(key), self._clock.monotonic()
        if entry is not None and now < entry.deadline and now < self._tier.valid_until:
            copy = entry.value
            if copy is not None:
                entry.visited = True
                self._tier.others += 1
                return copy
        return await self.afetch(key)

    def fetch(self, key: str) -> Stored | None:
        """Do what `get` does where no copy may be served unless the watch is asked again."""
        tier, now = self._tier, self._clock.monotonic()
        if now >= tier.valid_until and (copy := tier.confirmed(key, now)) is not None:
            return copy
        read = tier.reads.setdefault(key, object()) if now < tier.valid_until else None
        try:
            looked = self._look(key)
            if self._lasting:
                self._end_outage()
            return self._brought(key, read, looked, now)
        except BackendUnavailable as exc:
            return self._unavailable(key, exc)
        finally:
            tier.reads.pop(key, None)

    async def afetch(self, key: str) -> Stored | None:
        """Do what `fetch` does."""
        tier, now = self._tier, self._clock.monotonic()
        if now >= tier.valid_until and (copy := tier.confirmed(key, now)) is not None:
            return copy
        read = tier.reads.setdefault(key, object()) if now < tier.valid_until else None
        try:
            looked = await self._alook(key)
            if self._lasting:
                self._end_outage()
            return self._brought(key, read, looked, now)
        except BackendUnavailable as exc:
            return self._unavailable(key, exc)
        finally:
            tier.reads.pop(key, None)

    def _brought(
        self, key: str, read: object | None, looked: Looked | None, sent: float
    ) -> Stored | None:
        """Return what the far store had, for the one who asked, and keep a copy if that may be."""
        if looked is None:
            given = copy = left = None
        else:
            stored, left = looked
            given, copy = self._copy(key, stored)
        if read is None:
            self._tier.forget(key)
        elif copy is not None and (left is None or left > 0):
            self._tier.keep(key, read, copy, left, sent)
        return given

    def _end_outage(self) -> None:
        if self._outage is not None:
            self._outage.end()

    def _unavailable(self, key: str, error: BackendUnavailable) -> Stored | None:
        """Return a copy that is not confirmed, as a stale value, where its callers take such."""
        copy = None if self._outage is None else self._tier.unconfirmed(key)
        if self._outage is None or (copy is None and self._raises):
            raise error
        self._outage.fail(error)
        return copy

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        now = self._clock.monotonic()
        near, reads = self._begin_many(keys, now)
        if not reads:
            return near
        try:
            found = self._look_many(list(reads))
            return near | self._given_many(reads, found, now)
        except BackendUnavailable as exc:
            return self._partly(near, reads, exc, now)
        finally:
            self._end_many(reads)

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        now = self._clock.monotonic()
        near, reads = self._begin_many(keys, now)
        if not reads:
            return near
        try:
            found = await self._alook_many(list(reads))
            return near | self._given_many(reads, found, now)
        except BackendUnavailable as exc:
            return self._partly(near, reads, exc, now)
        finally:
            self._end_many(reads)

    def _begin_many(
        self, keys: Sequence[str], now: float
    ) -> tuple[dict[str, Stored], dict[str, object | None]]:
        """Return the copies that may be served, and register reads of the other keys."""
        tier, near, reads = self._tier, dict[str, Stored](), dict[str, object | None]()
        valid, find = now < tier.valid_until or tier.extend(now), self._find
        for key in keys:
            entry = find(key) if valid else None
            if entry is None or entry.deadline <= now or (copy := entry.value) is None:
                reads[key] = tier.reads.setdefault(key, object()) if valid else None
            else:
                entry.visited = True
                near[key] = copy
        tier.others += len(near)
        return near, reads

    def _end_many(self, reads: Iterable[str]) -> None:
        for key in reads:
            self._tier.reads.pop(key, None)

    def _given_many(
        self, reads: Mapping[str, object | None], found: Mapping[str, Looked], sent: float
    ) -> dict[str, Stored]:
        if self._lasting:
            self._end_outage()
        return self._brought_many(reads, found, sent)

    def _brought_many(
        self, reads: Mapping[str, object | None], found: Mapping[str, Looked], sent: float
    ) -> dict[str, Stored]:
        given = {key: self._brought(key, read, found.get(key), sent) for key, read in reads.items()}
        return {key: each for key, each in given.items() if each is not None}

    def _partly(
        self,
        near: dict[str, Stored],
        reads: Mapping[str, object | None],
        error: BackendUnavailable,
        sent: float,
    ) -> dict[str, Stored]:
        """Return what there is without the servers that failed, or raise that."""
        if isinstance(error, PartlyUnavailable):
            answered = {key: reads[key] for key in error.result}
            there = near | self._brought_many(answered, error.result, sent)
        else:
            copies = {key: self._tier.unconfirmed(key) for key in reads}
            there = near | {key: each for key, each in copies.items() if each is not None}
        is_whole = len(there) == len(near) + len(reads)
        if self._outage is not None and (is_whole or not self._raises):
            self._outage.fail(error)
            return there
        if there:
            raise PartlyUnavailable(str(error), there) from error
        raise error


def far_of(reads: Reads) -> Reads | FarReads:
    """Return what reads values that are not near, or were never to be."""
    return FarReads(reads.fetch, reads.afetch) if isinstance(reads, NearReader) else reads
