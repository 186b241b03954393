"""Where pages are kept: a `Cache`, whose failures cost the cache and never the page."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

from twofold.claims.keys import KeyClaim
from twofold.claims.table import Claims
from twofold.claims.turns import Turn
from twofold.contrib.http.headers import Headers, varying
from twofold.contrib.http.keys import variant_key
from twofold.contrib.http.page import Page, Varied, read
from twofold.contrib.http.tags import PageTags, read_tagged
from twofold.core import Cache
from twofold.effects import Effects, within
from twofold.errors import BackendUnavailable
from twofold.interrupts import raise_if_of_others
from twofold.metadata import Meta, Pins
from twofold.outage import Outage
from twofold.registry import caches
from twofold.tags.names import Pinned
from twofold.timeouts import Timeout, seconds

P = ParamSpec("P")
T = TypeVar("T")


class Place(NamedTuple):
    """Where the page of a request is, or would be."""

    first: str
    """The key of the URL."""
    record: Varied | None
    """What is there, where the page varies."""
    key: str
    """The key of the page: `first`, or that of the variant."""


class PageStore:
    """Pages in a cache; whatever goes wrong there is a miss, or a page not stored.

    Args:
        cache: an alias, which is looked up at each use, or a cache.
    """

    def __init__(self, cache: Cache | str) -> None:
        self._cache = cache
        self._outage = Outage(cache if isinstance(cache, str) else cache.alias)

    def __repr__(self) -> str:
        return f"<PageStore {self._cache!r} failures={self.failures}>"

    @property
    def failures(self) -> int:
        """How many operations failed."""
        return self._outage.failures

    def cache(self) -> Cache:
        """Return the cache; `SettingsError` if there is none of that alias."""
        return caches[self._cache] if isinstance(self._cache, str) else self._cache

    def seconds(self, timeout: Timeout) -> float | None:
        """Return the seconds that `timeout` means here; None for ever."""
        return seconds(timeout, self.cache().timeout)

    def bounded(self, io: Effects) -> Effects:
        """Return the effects of `io` for operations that share one deadline of the store's."""
        return within(io, self.cache().backend.deadline)

    def place(self, key: str) -> str:
        """Return the normalised key of a page's."""
        return self.cache()._key(key)

    def claims(self) -> Claims:
        """Return who computes which page in this process."""
        return self.cache()._claims

    def claim(self, place: Place, turn: Turn) -> KeyClaim:
        """Return a claim to what is missing, for the caller to take and release."""
        return self.cache()._claim(self.place(place.key), turn)

    async def take(
        self, io: Effects, claim: KeyClaim, serves: Callable[[Page], bool], since: float
    ) -> bool | None:
        """Take a claim, and tell whether something came meanwhile; None if that fails.

        `since` is the monotonic time at which it was looked for, just before.
        """

        def is_usable(value: Any) -> bool:
            there = read(value)
            return serves(there) if isinstance(there, Page) else there is not None

        async def take(io: Effects) -> bool:
            return await claim.take(io, is_usable, since)

        came = await self._guarded(io, "claim", None, take)
        if came is None:
            claim.forget()
        return came

    async def find(
        self, io: Effects, first: str, asked: Headers, tags: tuple[str, ...] = ()
    ) -> tuple[Page | None, Place]:
        """Return the page that is stored for a request, and where it is, or would be.

        Args:
            io: the face of the caller.
            first: the key of the URL.
            asked: the fields of the request.
            tags: what is known of those of the page.
        """
        there = await self._read(io, first, tags)
        if isinstance(there, Varied):
            second = variant_key(first, there.token, there.names, asked)
            variant = await self._read(io, second, tags)
            return variant if isinstance(variant, Page) else None, Place(first, there, second)
        return there, Place(first, None, first)

    async def begin(self, io: Effects, tags: PageTags, timeout: float | None) -> None:
        """Pin the tags of a page that is about to be made; if that fails, it is not stored."""

        async def begin(io: Effects) -> None:
            await tags.begin(io, self.cache(), timeout)

        await self._guarded(io, "pin", None, begin)

    async def keep(
        self,
        io: Effects,
        place: Place,
        claim: KeyClaim,
        asked: Headers,
        page: Page,
        tags: PageTags,
    ) -> bool | None:
        """Store `page` for its lifetime, and return whether others will find it; see `find`.

        What is stored under the key of the URL is stored last, and only if that key is as it
        was when the page began to be computed: each invalidation of the URL removes it. None
        says to those who wait that one of its tags was invalidated: the next one may be stored.
        """
        names = tags.tell()

        async def keep(io: Effects) -> bool | None:
            pins = await tags.end(io, names, page.lifetime)
            if pins is None:
                return None
            kept = await self._keep(io, place, claim, asked, page, pins)
            # Whoever finds a page looks at its tags. Only those who wait are to be told that there
            # is none for them, or each of them would compute: they wait for one page at most.
            if not (kept and pins and claim.followed):
                return kept
            return kept if await self.cache()._maker.holds(io, pins) else None

        return await self._guarded(io, "store", False, keep)

    async def _keep(
        self, io: Effects, place: Place, claim: KeyClaim, asked: Headers, page: Page, pins: Pins
    ) -> bool:
        cache, life, record = self.cache(), page.lifetime, place.record
        meta = Meta(0.0, tags=pins) if pins else None
        names = varying(page.headers)
        if not names:
            if record is None:
                return await claim.fill(io, page.plain(), life, meta)
            return await self._swap(io, place.first, record.plain(), page.plain(), life, meta)
        if record is not None and record.names == names:
            return await claim.fill(io, page.plain(), life, meta) and await self._swap(
                io, place.first, record.plain(), record.plain(), life
            )
        made = Varied(names, secrets.token_bytes(8))
        second = variant_key(place.first, made.token, names, asked)
        pinned = Pinned.of(pins)
        if not await io.op(cache.set, cache.aset, second, page.plain(), life, tags=pinned):
            return False
        if record is None:
            return await claim.fill(io, made.plain(), life)
        return await self._swap(io, place.first, record.plain(), made.plain(), life)

    async def _swap(
        self,
        io: Effects,
        key: str,
        old: tuple[Any, ...],
        new: tuple[Any, ...],
        life: float | None,
        meta: Meta | None = None,
    ) -> bool:
        """Store `new` if `key` still holds `old`, and tell whether it is stored."""
        cache = self.cache()
        store, full = cache._store, cache._key(key, None)
        there, then = cache._dump(full, old), cache._dump(full, new, meta)
        swap = store.compare_and_set, store.acompare_and_set
        return cache._stored(await io.op(*swap, full, there, then, life))

    async def drop(self, io: Effects, keys: Sequence[str]) -> None:
        """Remove the pages under `keys`, and with them all their variants."""
        cache = self.cache()
        await self._try(io, 0, cache.delete_many, cache.adelete_many, keys)

    async def _read(self, io: Effects, key: str, tags: tuple[str, ...]) -> Page | Varied | None:
        async def get(io: Effects) -> Any:
            return await read_tagged(io, self.cache(), key, tags)

        return read(await self._guarded(io, "get", None, get))

    async def _try(
        self,
        io: Effects,
        otherwise: T,
        blocking: Callable[P, T],
        native: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async def operate(io: Effects) -> T:
            return await io.op(blocking, native, *args, **kwargs)

        return await self._guarded(io, blocking.__name__, otherwise, operate)

    async def _guarded(
        self,
        io: Effects,
        operation: str,
        otherwise: T,
        operate: Callable[[Effects], Awaitable[T]],
    ) -> T:
        try:
            result = await operate(io)
        except Exception as exc:  # also what a user's own backend or serializer raises
            raise_if_of_others(exc)
            self._note(operation, exc)
            return otherwise
        if self._outage.lasting:
            self._outage.end(operation)
        return result

    def _note(self, operation: str, exc: Exception) -> None:
        """Count a failure, as one of the cache's or of the pages'."""
        if not (isinstance(exc, BackendUnavailable) and self.cache()._noted(exc)):
            self._outage.fail(exc, operation)
