"""The operations to which a value that is stale, or past its time, is missing.

Only the cache can judge a value that has metadata. A store does nothing at one and raises
`HasMetadata`: then the value is read, and what is written replaces only what was read.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf, nextafter
from typing import Any, Final, TypeVar

from twofold.backend import Backend, Stored
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync, within
from twofold.entry import MISSING, Codec, Entry, Missing
from twofold.errors import BackendUnavailable, MissingKey, NotACounter, PartlyUnavailable
from twofold.metadata import HasMetadata, Meta, Removed, has_metadata, has_tags
from twofold.stub import is_stub
from twofold.tags.reader import Reader

T = TypeVar("T")

_ATTEMPTS: Final = 16  # at a value that others change meanwhile


class FreshStore:
    """What tells whether a key is there, of a store whose values may be stale.

    Args:
        store: keeps them.
        codec: writes them.
        reader: reads them.
    """

    def __init__(self, store: Backend, codec: Codec, reader: Reader) -> None:
        self._store = store
        self.codec: Codec = codec
        self.reader: Reader = reader
        self._clock = store.clock

    def has(self, key: str) -> bool:
        try:
            return self._store.has(key)
        except HasMetadata:
            return run_sync(self._has(BLOCKING, key))

    async def ahas(self, key: str) -> bool:
        try:
            return await self._store.ahas(key)
        except HasMetadata:
            return await self._has(NATIVE, key)

    def ttl(self, key: str) -> float | None:
        try:
            return self._store.ttl(key)
        except HasMetadata:
            return run_sync(self._ttl(BLOCKING, key))

    async def attl(self, key: str) -> float | None:
        try:
            return await self._store.attl(key)
        except HasMetadata:
            return await self._ttl(NATIVE, key)

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        try:
            return self._store.add(key, value, ttl)
        except HasMetadata:
            return run_sync(self._add(BLOCKING, key, value, ttl))

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        try:
            return await self._store.aadd(key, value, ttl)
        except HasMetadata:
            return await self._add(NATIVE, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        try:
            return self._store.touch(key, ttl)
        except HasMetadata:
            return run_sync(self._touch(BLOCKING, key, ttl))

    async def atouch(self, key: str, ttl: float | None) -> bool:
        try:
            return await self._store.atouch(key, ttl)
        except HasMetadata:
            return await self._touch(NATIVE, key, ttl)

    def incr(self, key: str, delta: int) -> int:
        try:
            return self._store.incr(key, delta)
        except HasMetadata:
            return run_sync(self._incr(BLOCKING, key, delta))

    async def aincr(self, key: str, delta: int) -> int:
        try:
            return await self._store.aincr(key, delta)
        except HasMetadata:
            return await self._incr(NATIVE, key, delta)

    def delete_many(self, keys: Sequence[str]) -> int:
        """Remove `keys`, and return how many of them were fresh."""
        try:
            removed = self._store.delete_many(keys)
        except PartlyUnavailable as error:
            error.result = run_sync(self._fresh(BLOCKING, error.result))
            raise
        return removed if type(removed) is int else run_sync(self._fresh(BLOCKING, removed))

    async def adelete_many(self, keys: Sequence[str]) -> int:
        try:
            removed = await self._store.adelete_many(keys)
        except PartlyUnavailable as error:
            error.result = await self._fresh(NATIVE, error.result)
            raise
        return removed if type(removed) is int else await self._fresh(NATIVE, removed)

    async def _fresh(self, io: Effects, removed: int) -> int:
        """Return how many of what was removed were fresh, as far as their beginnings tell."""
        if type(removed) is not Removed:
            return removed
        now, metas = self._clock.time(), await self.reader.judged(io, removed.described)
        return removed + sum(meta.is_fresh(now) for meta in metas)

    async def mark_stale(self, io: Effects, key: str) -> bool:
        """Make a fresh value stale, and tell whether there was one; see `Cache.mark_stale`."""
        store = self._store
        for _ in range(_ATTEMPTS):
            stored = await io.op(store.get, store.aget, key)
            if stored is None:
                return False
            if is_stub(stored, store.holds_objects):
                if await io.op(store.release, store.arelease, key, stored):
                    return False
                continue
            with suppress(HasMetadata):
                marked = await self._mark(io, key, stored)
                if marked is not None:
                    return marked
        raise _contended(key)

    async def _mark(self, io: Effects, key: str, stored: Stored) -> bool | None:
        """Make what was read stale; tell whether it was fresh, None if it is another by now."""
        now = self._clock.time()
        kept = self.codec.open(key, stored)
        entry = await self.reader.judge(io, key, kept)
        if entry is MISSING or kept is MISSING:
            return False
        described, is_fresh = kept.meta or Meta(now), entry.is_fresh(now)
        meta = described._replace(tags=())
        if meta.hard == inf:  # only the store knows how long it is good
            left = await self.left(io, key)
            meta = meta._replace(hard=inf if left is None else now + left)
        if meta.is_gone(now):
            return False
        # Who refreshes a stale value compares it: written anew, it is another one.
        soft = now if meta.soft > now else nextafter(meta.soft, -inf)
        marked = meta._replace(soft=soft, tags=described.tags)
        return is_fresh if await self._swap(io, key, stored, entry, marked) else None

    async def _has(self, io: Effects, key: str) -> bool:
        store = self._store

        async def decide(_io: Effects, _stored: Stored, meta: Meta | None, _entry: Any) -> bool:
            return meta is not None

        return await self._decide(io, key, decide, store.has, store.ahas)

    async def _ttl(self, io: Effects, key: str) -> float | None:
        store = self._store

        async def decide(
            io: Effects, _stored: Stored, meta: Meta | None, _entry: Any
        ) -> float | None:
            if meta is None:
                return 0.0
            end = min(meta.soft, meta.hard)
            return await self.left(io, key) if end == inf else self._until(end)

        return await self._decide(io, key, decide, store.ttl, store.attl)

    async def _add(self, io: Effects, key: str, value: Stored, ttl: float | None) -> bool:
        store = self._store

        async def decide(
            io: Effects, stored: Stored, meta: Meta | None, _entry: Any
        ) -> bool | Missing:
            if meta is not None:
                return False
            swap = store.compare_and_set, store.acompare_and_set
            return await io.op(*swap, key, stored, value, ttl) or MISSING

        return await self._decide(io, key, decide, store.add, store.aadd, value, ttl)

    async def _touch(self, io: Effects, key: str, ttl: float | None) -> bool:
        store = self._store

        async def decide(
            io: Effects, stored: Stored, meta: Meta | None, entry: Any
        ) -> bool | Missing:
            if meta is None:
                return False
            further = 0.0 if meta.hard == meta.soft else max(0.0, meta.hard - meta.soft)
            if has_tags(stored):
                await self.reader.extend(io, key, stored, None if ttl is None else ttl + further)
            if meta.soft == inf:  # only the store knows how long it is good
                swap = store.compare_and_set, store.acompare_and_set
                return await io.op(*swap, key, stored, stored, ttl) or MISSING
            soft = inf if ttl is None else self._clock.time() + ttl
            tags = self.reader.tags_of(key, stored)
            touched = meta._replace(soft=soft, hard=soft + further, tags=tags)
            return await self._swap(io, key, stored, entry, touched) or MISSING

        return await self._decide(io, key, decide, store.touch, store.atouch, ttl)

    async def _incr(self, io: Effects, key: str, delta: int) -> int:
        store = self._store

        async def decide(_io: Effects, _stored: Stored, meta: Meta | None, _entry: Any) -> int:
            if meta is None:
                raise MissingKey(f"no counter {key!r} to add to: set it first")
            raise NotACounter(
                f"{key!r} holds what was computed, or may be stale: set a number to add to"
            )

        return await self._decide(io, key, decide, store.incr, store.aincr, delta)

    async def _decide(
        self,
        io: Effects,
        key: str,
        decide: Callable[..., Awaitable[T | Missing]],
        blocking: Callable[..., T],
        native: Callable[..., Awaitable[T]],
        *args: Any,
    ) -> T:
        """Return what `decide` makes of what is there, or the store of what has no metadata.

        It is given what is stored and, if that is fresh, its metadata and entry; MISSING from it
        says that it was forestalled.
        """
        store = self._store
        io = within(io, store.deadline)
        for _ in range(_ATTEMPTS):
            stored = await io.op(store.get, store.aget, key)
            if has_metadata(stored, store.holds_objects):
                entry = await self.reader.open(io, key, stored)
                if entry is MISSING or not entry.is_fresh(self._clock.time()):
                    decided = await decide(io, stored, None, None)
                else:
                    decided = await decide(io, stored, entry.meta, entry)
                if decided is not MISSING:
                    return decided
                continue
            with suppress(HasMetadata):
                return await io.op(blocking, native, key, *args)
        raise _contended(key)

    async def _swap(self, io: Effects, key: str, stored: Stored, entry: Entry, meta: Meta) -> bool:
        """Store a value with `meta` in the place of what was read, for as long as that says."""
        store = self._store
        swap = store.compare_and_set, store.acompare_and_set
        new = self.codec.dump(key, entry.value, meta, entry.mark)
        left = self._until(meta.hard)
        return await io.op(*swap, key, stored, new, left)

    async def left(self, io: Effects, key: str) -> float | None:
        """Return the life that what is there has in the store, whatever it is."""
        found = await io.op(self._store.look, self._store.alook, key)
        return 0.0 if found is None else found[1]

    def _until(self, end: float) -> float | None:
        return until(end, self._clock.time())


def until(end: float, now: float) -> float | None:
    """Return the seconds from `now` until a time, None for ever."""
    return None if end == inf else max(0.0, end - now)


def _contended(key: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"{key!r} was written {_ATTEMPTS} times while it was to be read and written; try again"
    )
