"""The cache: every operation in both faces, over a backend.

Each sync method stands above its async twin, which has the same parameters and differs
by `await` alone. Names, parameters and rules are Django's.
"""

from collections.abc import Iterable
from typing import Any, Never, TypeVar, Unpack, overload

from twofold import counter
from twofold.assembly import private_parts
from twofold.backend import Backend
from twofold.claims.renewal import rest
from twofold.computing.operations import ComputingCache
from twofold.display import shown
from twofold.effects import background
from twofold.errors import InvalidTimeout
from twofold.lock import Lock
from twofold.private import remember
from twofold.reads import ReadingCache
from twofold.settings.arguments import CacheSettings
from twofold.spelling import unexpected
from twofold.stats import Stats
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout, seconds
from twofold.typed import TypedCache
from twofold.versions import VersionedCache
from twofold.writes import WritingCache

T = TypeVar("T")


class Cache(ReadingCache, ComputingCache, WritingCache, VersionedCache):
    """A cache with parallel `get`/`aget`, `set`/`aset`, …

    `caches["alias"]` are those of the settings. One made by hand is a library's or a part's
    own: it touches none of those, and `close_all` closes it too.

    Args:
        backend: a URL such as "redis://127.0.0.1", or a store.
        settings: the keys of an alias in `CACHES`, in lower case: `timeout`, `key_prefix`,
            `version`, `key_function`, `serializer`, `compressor`, `compress_min`,
            `secret`, and the dict `options`. Caches of one store and one `key_prefix`
            share their entries.

    Raises:
        SettingsError: one of them is unknown or cannot be.
    """

    def __init__(self, backend: Backend | str, /, **settings: Unpack[CacheSettings]) -> None:
        self._assemble(private_parts(backend, settings))
        remember(self)

    def touch(
        self,
        key: str,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        **others: Never,
    ) -> bool:
        """Give `key` a new life of `timeout`, and return whether it was there."""
        if others:
            raise unexpected(self.touch, others)
        if self._guard is not None:
            self._guard("touch")
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return self._deleted(self._fresh.delete_many(self._detached([full]))) > 0
        return self._fresh.touch(full, ttl)

    async def atouch(
        self,
        key: str,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        **others: Never,
    ) -> bool:
        """Do what `touch` does."""
        if others:
            raise unexpected(self.atouch, others)
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return self._deleted(await self._fresh.adelete_many(self._detached([full]))) > 0
        return await self._fresh.atouch(full, ttl)

    def ttl(self, key: str, version: int | None = None) -> float | None:
        """Return the seconds that `key` is fresh: None for ever, 0.0 if it is missing."""
        if self._guard is not None:
            self._guard("ttl")
        return self._fresh.ttl(self._key(key, version))

    async def attl(self, key: str, version: int | None = None) -> float | None:
        """Do what `ttl` does."""
        return await self._fresh.attl(self._key(key, version))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Remove `key`, and return whether it was there, or was being computed.

        What is being computed for it now, in this process or another, is not kept.
        """
        if self._guard is not None:
            self._guard("delete")
        full = self._key(key, version)
        return self._deleted(self._fresh.delete_many(self._detached([full]))) > 0

    async def adelete(self, key: str, version: int | None = None) -> bool:
        """Do what `delete` does."""
        full = self._key(key, version)
        return self._deleted(await self._fresh.adelete_many(self._detached([full]))) > 0

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> int:
        """Remove `keys` in one round trip, and return how many were there; see `delete`."""
        if self._guard is not None:
            self._guard("delete_many")
        names = self._names(keys, version)
        return self._deleted(self._fresh.delete_many(self._detached(names)))

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> int:
        """Do what `delete_many` does."""
        names = self._names(keys, version)
        return self._deleted(await self._fresh.adelete_many(self._detached(names)))

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Return whether `key` is there."""
        if self._guard is not None:
            self._guard("has_key")
        return self._fresh.has(self._key(key, version))

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        """Do what `has_key` does."""
        return await self._fresh.ahas(self._key(key, version))

    def __contains__(self, key: str) -> bool:
        return self.has_key(key)

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Add `delta` to a counter, atomically, keeping its expiry; return the sum.

        Raises:
            MissingKey: `key` is not there (a ValueError, as in Django).
            NotACounter: its value is not a signed 64-bit integer.
            CounterOverflow: the sum would not be one; the counter is unchanged.
            BackendUnavailable: others changed a signed counter all the while.
        """
        if self._guard is not None:
            self._guard("incr")
        return self._counters.incr(self._key(key, version), counter.delta(delta))

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what `incr` does."""
        return await self._counters.aincr(self._key(key, version), counter.delta(delta))

    def decr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Take `delta` from a counter; see `incr`."""
        if self._guard is not None:
            self._guard("decr")
        return self._counters.incr(self._key(key, version), counter.delta(-delta))

    async def adecr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what `decr` does."""
        return await self._counters.aincr(self._key(key, version), counter.delta(-delta))

    def lock(
        self,
        key: str,
        timeout: Timeout = 60,
        wait: Timeout = None,
        *,
        renew: bool = False,
        **others: Never,
    ) -> Lock:
        """Return a lock named `key`: `with cache.lock("k"):`, `async with cache.lock("k"):`.

        Args:
            key: its name; locks and values do not meet.
            timeout: how long it is held at most; when that is over it is free.
            wait: how long to wait for it at most; None waits until it is free.
            renew: restart `timeout` regularly while it is held: then it is free
                that long after its holder's process ended, or lost the store.
            others: there are no others; the error names the right one.

        Raises:
            LockNotAcquired: on entering, after `wait`.
            ReentrantCall: on entering, if whoever holds it waits for the caller.
            LockLost: on leaving, if it was held for longer than `timeout`.
        """
        if others:
            raise unexpected(self.lock, others)
        ttl = self._ttl(timeout)
        if not ttl:
            raise InvalidTimeout(
                f"a lock's timeout is how long it is held at most, more than 0;"
                f" not {shown(timeout)}"
            )
        name = self._keys.lock(key)
        return Lock(
            self.backend,
            self._codec,
            self._claims,
            name,
            ttl,
            seconds(wait),
            self._guard,
            renew=renew,
        )

    def clear(self) -> None:
        """Remove every entry of this alias's prefix, in all versions; locks stay.

        With `OPTIONS["clear"] = "flush"` it empties the whole store.
        """
        self._clear("clear", self._scope if self._scope is not None else self._keys.scope())

    async def aclear(self) -> None:
        """Do what `clear` does."""
        await self._aclear(self._scope if self._scope is not None else self._keys.scope())

    def clear_prefix(self, prefix: str, version: int | None = None) -> None:
        """Remove every entry whose key begins with `prefix`, in one version."""
        self._clear("clear_prefix", self._keys.prefix(prefix, version))

    async def aclear_prefix(self, prefix: str, version: int | None = None) -> None:
        """Do what `clear_prefix` does."""
        await self._aclear(self._keys.prefix(prefix, version))

    def close(self) -> None:
        """Let go of connections, files and threads; the next operation takes them again.

        Values that are being refreshed in the background are waited for, for the store's
        deadline at most; tasks that take longer are cancelled.
        """
        if self._guard is not None:
            self._guard("close")
        try:
            background.drain(self._claims, self.backend.deadline)
        finally:
            rest()
            self._close_store()

    async def aclose(self) -> None:
        """Do what `close` does."""
        try:
            await background.adrain(self._claims, self.backend.deadline)
        finally:
            rest()
            self._close_near()
            await self.backend.aclose()

    @overload
    def typed(self, kind: type[T]) -> TypedCache[T]: ...

    @overload
    def typed(self, kind: Any) -> TypedCache[Any]: ...

    def typed(self, kind: Any) -> TypedCache[Any]:
        """Return this cache as one of values of a type: `users = cache.typed(User)`.

        Raises:
            SettingsError: nothing knows how to store values of the type.
        """
        return TypedCache(lambda: self, kind)

    def stats(self) -> Stats:
        """Return what this cache has seen so far."""
        counts, tier = self._counts, None if self._near is None else self._near.tier
        return Stats(
            hits=counts.hits + (0 if tier is None else tier.hits),
            stale_hits=counts.stale_hits,
            misses=counts.misses,
            stores=counts.stores,
            deletes=counts.deletes,
            computations=counts.computations,
            refreshes=counts.refreshes,
            joined=counts.joined,
            failures=counts.failures,
            invalidations=counts.invalidations,
            unserializable=counts.unserializable,
            damaged=self._codec.damaged,
            unavailable=self._fail_open.outage.failures if self._fail_open is not None else 0,
            evicted=self.backend.evicted,
            servers=tuple(self.backend.servers()),
            near=None if self._near is None else self._near.tier.stats(),
        )
