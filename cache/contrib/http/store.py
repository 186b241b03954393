"""Where pages are kept: a `Cache`, whose failures cost the cache and never the page."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from twofold.claims.keys import KeyClaim
from twofold.claims.table import Claims
from twofold.claims.turns import Turn
from twofold.contrib.http.headers import Headers, varying
from twofold.contrib.http.keys import variant_key
from twofold.contrib.http.page import Page, Varied, read
from twofold.core import Cache
from twofold.effects import Effects, within
from twofold.errors import BackendUnavailable
from twofold.interrupts import raise_if_of_others
from twofold.outage import Outage
from twofold.registry import caches
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

    async def find(self, io: Effects, first: str, asked: Headers) -> tuple[Page | None, Place]:
        """Return the page that is stored for a request, and where it is, or would be.

        Args:
            io: the face of the caller.
            first: the key of the URL.
            asked: the fields of the request.
        """
        there = await self._read(io, first)
        if isinstance(there, Varied):
            second = variant_key(first, there.token, there.names, asked)
            variant = await self._read(io, second)
            return variant if isinstance(variant, Page) else None, Place(first, there, second)
        return there, Place(first, None, first)

    async def keep(
        self, io: Effects, place: Place, claim: KeyClaim, asked: Headers, page: Page
    ) -> bool:
        """Store `page` for its lifetime, and return whether it is stored; see `find`.

        What is stored under the key of the URL is stored last, and only if that key is as it
        was when the page began to be computed: each invalidation of the URL removes it.
        """
        return await self._guarded(
            io, "store", False, partial(self._keep, place, claim, asked, page)
        )

    async def _keep(
        self, place: Place, claim: KeyClaim, asked: Headers, page: Page, io: Effects
    ) -> bool:
        cache, life, record = self.cache(), page.lifetime, place.record
        names = varying(page.headers)
        if not names:
            if record is None:
                return await claim.fill(io, page.plain(), life)
            return await cache._swap(io, place.first, record.plain(), page.plain(), life)
        if record is not None and record.names == names:
            return await claim.fill(io, page.plain(), life) and await cache._swap(
                io, place.first, record.plain(), record.plain(), life
            )
        made = Varied(names, secrets.token_bytes(8))
        second = variant_key(place.first, made.token, names, asked)
        if not await io.op(cache.set, cache.aset, second, page.plain(), life):
            return False
        if record is None:
            return await claim.fill(io, made.plain(), life)
        return await cache._swap(io, place.first, record.plain(), made.plain(), life)

    async def drop(self, io: Effects, keys: Sequence[str]) -> None:
        """Remove the pages under `keys`, and with them all their variants."""
        cache = self.cache()
        await self._try(io, 0, cache.delete_many, cache.adelete_many, keys)

    async def _read(self, io: Effects, key: str) -> Page | Varied | None:
        cache = self.cache()
        return read(await self._try(io, None, cache.get, cache.aget, key))

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
