"""Where pages are kept: a `Cache`, whose failures cost the cache and never the page."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from twofold.contrib.http.headers import Headers, varying
from twofold.contrib.http.keys import variant_key
from twofold.contrib.http.page import Page, Varied, read
from twofold.core import Cache
from twofold.display import printable
from twofold.effects import Effects
from twofold.policy import Timeout, seconds
from twofold.registry import caches

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("twofold")


class PageStore:
    """Pages in a cache; whatever goes wrong there is a miss, or a page not stored.

    The first failure of an outage is logged as a warning; all are counted in `failures`.

    Args:
        cache: an alias, which is looked up at each use, or a cache.
    """

    def __init__(self, cache: Cache | str) -> None:
        self.failures: int = 0
        self._cache = cache
        self._failing: str | None = None

    def __repr__(self) -> str:
        return f"<PageStore {self._cache!r} failures={self.failures}>"

    def cache(self) -> Cache:
        """Return the cache; `SettingsError` if there is none of that alias."""
        return caches[self._cache] if isinstance(self._cache, str) else self._cache

    def seconds(self, timeout: Timeout) -> float | None:
        """Return the seconds that `timeout` means here; None for ever."""
        return seconds(timeout, self.cache().timeout)

    async def find(self, io: Effects, first: str, asked: Headers) -> tuple[Page | None, str]:
        """Return the page that is stored for a request, and under which key it is, or would be.

        Args:
            io: the face of the caller.
            first: the key of the URL.
            asked: the fields of the request.
        """
        there = await self._read(io, first)
        if isinstance(there, Varied):
            second = variant_key(first, there.token, there.names, asked)
            variant = await self._read(io, second)
            return variant if isinstance(variant, Page) else None, second
        return there, first

    async def keep(self, io: Effects, first: str, asked: Headers, page: Page) -> bool:
        """Store `page` for its lifetime, and return whether it is stored; see `find`."""
        cache = self.cache()
        names = varying(page.headers)
        if not names:
            setting = (first, page.plain(), page.lifetime)
            return await self._try(io, False, cache.set, cache.aset, *setting)
        record = await self._read(io, first)
        if not isinstance(record, Varied) or record.names != names:
            record = Varied(names, secrets.token_bytes(8))
        second = variant_key(first, record.token, names, asked)
        both: dict[str, Any] = {first: record.plain(), second: page.plain()}
        failed = await self._try(io, [first], cache.set_many, cache.aset_many, both, page.lifetime)
        return not failed

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
        operation = blocking.__name__
        try:
            result = await io.op(blocking, native, *args, **kwargs)
        except Exception as exc:  # also what a user's own backend or serializer raises
            self._note(operation, exc)
            return otherwise
        if operation == self._failing:
            self._failing = None
        return result

    def _note(self, operation: str, exc: Exception) -> None:
        """Count a failure; log the first, until the operation that failed works again."""
        self.failures += 1
        if self._failing is None:
            self._failing = operation
            name = self._cache if isinstance(self._cache, str) else self._cache.alias
            why = printable(str(exc))
            _log.warning("pages go on without cache %r: %s: %s", name, operation, why)
