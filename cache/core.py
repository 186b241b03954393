"""The cache: every operation in both faces, over a backend.

Each sync method stands above its async twin, which has the same parameters and differs
by `await` alone. Names, parameters and rules are Django's.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Self, TypeVar, Unpack, overload

from twofold import counter, counting
from twofold.assembly import Parts, private_parts
from twofold.backend import Backend
from twofold.claims.filter import hiding_stubs
from twofold.claims.keys import KeyClaim
from twofold.claims.stored import rest
from twofold.claims.turns import Turn
from twofold.computations import Computations, aproducer, producer
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync, within
from twofold.entry import MISSING
from twofold.errors import (
    BackendUnavailable,
    InvalidTimeout,
    MissingKey,
    PartlyUnavailable,
)
from twofold.guard import guard_for
from twofold.keys import many
from twofold.lock import Lock
from twofold.outage import FailOpen
from twofold.policy import DEFAULT_TIMEOUT, Condition, Policy, Timeout, seconds
from twofold.private import remember
from twofold.settings.arguments import CacheSettings
from twofold.stats import Counts, Stats

T = TypeVar("T")


class Cache:
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

    @classmethod
    def _of(cls, parts: Parts) -> Self:
        """Return a cache made of `parts`."""
        made = cls.__new__(cls)
        made._assemble(parts)
        return made

    def _assemble(self, parts: Parts) -> None:
        self.alias: str = parts.alias
        self.backend: Backend = parts.backend
        self.timeout: float | None = parts.timeout
        backend, codec, keys, options = parts.backend, parts.codec, parts.keys, parts.options
        store = backend if backend.private else hiding_stubs(backend)
        fail_open = None if backend.kind == "inline" else FailOpen(store, parts.alias)
        self._soft = store if fail_open is None else fail_open
        self._fail_open = fail_open
        self._backend = self._soft if options["on_error"] == "miss" else store
        self._codec = codec
        codec.owner = parts.alias
        self._load = codec.load
        self._unwrapped = codec.unwrapped_types
        self._dump = codec.dump
        self._keys = keys
        self._key = keys.__call__  # bound once: looking it up costs a tenth of a hit
        self._known = keys.known.get
        self._scope = "" if options["clear"] == "flush" else None
        self._guard = guard_for(backend, parts.alias, options["blocking_calls"])
        self._store = store
        self._remote = backend.kind == "native"
        note = None if fail_open is None else fail_open.outage.fail
        self._counts = Counts()
        self._computations = Computations(store, codec, keys.lease, note, self._counts)
        self._claims = self._computations.claims

    def __copy__(self) -> Self:
        return self  # the way to a store, and not what is in it

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Cache {self.alias!r} {self._keys!r} timeout={self.timeout} {self.backend!r}>"

    @property
    def available(self) -> bool:
        """Whether the last operation that an outage may turn into a miss reached the store."""
        return self._fail_open is None or not self._fail_open.outage.lasting

    @property
    def fails_open(self) -> bool:
        """Whether an outage of the store is a miss, and no error."""
        return self._backend is self._fail_open

    @property
    def flushes(self) -> bool:
        """Whether `clear()` empties the whole store, and not only this alias's prefix."""
        return self._scope is not None

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return the value of `key`, or `default`; a stored None is a hit."""
        if self._guard is not None:
            self._guard("get")
        try:  # what `_key` does first: its call costs as much of a hit as counting it
            full = self._known(key) if version is None else None
        except TypeError:  # unhashable
            full = None
        if full is None:
            full = self._key(key, version)
        stored = self._backend.get(full)
        if stored is None:
            self._counts.misses += 1
            return default
        if type(stored) in self._unwrapped:
            self._counts.hits += 1
            return stored
        value = self._load(full, stored)
        if value is MISSING:
            self._counts.misses += 1
            return default
        self._counts.hits += 1
        return value

    async def aget(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Do what `get` does."""
        try:
            full = self._known(key) if version is None else None
        except TypeError:
            full = None
        if full is None:
            full = self._key(key, version)
        stored = await self._backend.aget(full)
        if stored is None:
            self._counts.misses += 1
            return default
        if type(stored) in self._unwrapped:
            self._counts.hits += 1
            return stored
        value = self._load(full, stored)
        if value is MISSING:
            self._counts.misses += 1
            return default
        self._counts.hits += 1
        return value

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Return the values of those of `keys` that are there, in one round trip.

        Raises:
            PartlyUnavailable: some servers did not answer; its `result` is what this would
                have returned without them.
        """
        if self._guard is not None:
            self._guard("get_many")
        names = self._names(keys, version)
        try:
            found = self._backend.get_many(list(names))
        except PartlyUnavailable as error:
            error.result = self._load_all(names, error.result)
            raise
        return self._load_all(names, found)

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Do what `get_many` does."""
        names = self._names(keys, version)
        try:
            found = await self._backend.aget_many(list(names))
        except PartlyUnavailable as error:
            error.result = self._load_all(names, error.result)
            raise
        return self._load_all(names, found)

    def set(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store `value` for `timeout`; one of 0 or less removes the key.

        Returns:
            Whether that was done; False if the store had no room for the value.

        Raises:
            CannotSerialize: the serializer cannot bring the value back as it is.
        """
        if self._guard is not None:
            self._guard("set")
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(self._backend.delete_many(self._detached([full])))
            return True
        self._detach(full)
        stored = self._backend.set(full, self._dump(full, value), ttl)
        if stored:
            self._counts.stores += 1
        return stored

    async def aset(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Do what `set` does."""
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(await self._backend.adelete_many(self._detached([full])))
            return True
        self._detach(full)
        stored = await self._backend.aset(full, self._dump(full, value), ttl)
        if stored:
            self._counts.stores += 1
        return stored

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Store all of `data` in one round trip, and return the keys that failed.

        Raises:
            CannotSerialize: one value cannot be stored; then none is.
        """
        if self._guard is not None:
            self._guard("set_many")
        names, ttl = self._names(data, version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(self._backend.delete_many(self._detached(names)))
            return []
        items = self._dump_all(names, data)
        failed = self._backend.set_many(items, ttl)
        self._counts.stores += len(items) - len(failed)
        return [names[full] for full in failed]

    async def aset_many(
        self,
        data: Mapping[str, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Do what `set_many` does."""
        names, ttl = self._names(data, version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(await self._backend.adelete_many(self._detached(names)))
            return []
        items = self._dump_all(names, data)
        failed = await self._backend.aset_many(items, ttl)
        self._counts.stores += len(items) - len(failed)
        return [names[full] for full in failed]

    def add(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store `value` only if `key` is missing, and return whether it is stored."""
        if self._guard is not None:
            self._guard("add")
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return False
        return self._stored(self._backend.add(full, self._dump(full, value), ttl))

    async def aadd(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Do what `add` does."""
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return False
        return self._stored(await self._backend.aadd(full, self._dump(full, value), ttl))

    def touch(
        self, key: str, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Give `key` a new life of `timeout`, and return whether it was there."""
        if self._guard is not None:
            self._guard("touch")
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return self._deleted(self._backend.delete_many(self._detached([full]))) > 0
        return self._backend.touch(full, ttl)

    async def atouch(
        self, key: str, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Do what `touch` does."""
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return self._deleted(await self._backend.adelete_many(self._detached([full]))) > 0
        return await self._backend.atouch(full, ttl)

    def ttl(self, key: str, version: int | None = None) -> float | None:
        """Return the seconds that `key` has left: None for ever, 0.0 if it is missing."""
        if self._guard is not None:
            self._guard("ttl")
        return self._backend.ttl(self._key(key, version))

    async def attl(self, key: str, version: int | None = None) -> float | None:
        """Do what `ttl` does."""
        return await self._backend.attl(self._key(key, version))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Remove `key`, and return whether it was there, or was being computed.

        What is being computed for it now, in this process or another, is not kept.
        """
        if self._guard is not None:
            self._guard("delete")
        full = self._key(key, version)
        return self._deleted(self._backend.delete_many(self._detached([full]))) > 0

    async def adelete(self, key: str, version: int | None = None) -> bool:
        """Do what `delete` does."""
        full = self._key(key, version)
        return self._deleted(await self._backend.adelete_many(self._detached([full]))) > 0

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> int:
        """Remove `keys` in one round trip, and return how many were there; see `delete`."""
        if self._guard is not None:
            self._guard("delete_many")
        names = self._names(keys, version)
        return self._deleted(self._backend.delete_many(self._detached(names)))

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> int:
        """Do what `delete_many` does."""
        names = self._names(keys, version)
        return self._deleted(await self._backend.adelete_many(self._detached(names)))

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Return whether `key` is there."""
        if self._guard is not None:
            self._guard("has_key")
        return self._backend.has(self._key(key, version))

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        """Do what `has_key` does."""
        return await self._backend.ahas(self._key(key, version))

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
        return self._add(self._key(key, version), counter.delta(delta))

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what `incr` does."""
        return await self._aadd(self._key(key, version), counter.delta(delta))

    def decr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Take `delta` from a counter; see `incr`."""
        if self._guard is not None:
            self._guard("decr")
        return self._add(self._key(key, version), counter.delta(-delta))

    async def adecr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what `decr` does."""
        return await self._aadd(self._key(key, version), counter.delta(-delta))

    def incr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Move the value of `key`, with the life it has left, `delta` versions on.

        Returns:
            The new version.

        Raises:
            MissingKey: `key` is not there.
            BackendUnavailable: the store did not take it under the new version.
        """
        if self._guard is not None:
            self._guard("incr_version")
        return run_sync(self._move(BLOCKING, key, delta, version))

    async def aincr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what `incr_version` does."""
        return await self._move(NATIVE, key, delta, version)

    def decr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Move the value of `key` `delta` versions back; see `incr_version`."""
        if self._guard is not None:
            self._guard("decr_version")
        return run_sync(self._move(BLOCKING, key, -delta, version))

    async def adecr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what `decr_version` does."""
        return await self._move(NATIVE, key, -delta, version)

    @overload
    def get_or_set(
        self,
        key: str,
        default: Callable[[], T],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    @overload
    def get_or_set(
        self,
        key: str,
        default: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    def get_or_set(
        self,
        key: str,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Return the value of `key`; if it is missing, store and return `default`.

        A callable `default` is called, once however many threads and tasks miss the key
        together; the others are given what it returned, or its exception. An outage of
        the store is a miss.

        Raises:
            AwaitableResult: `default` is async; `aget_or_set` takes such.
            ReentrantCall: `default` asks, while it computes `key`, for `key`.
        """
        if self._guard is not None:
            self._guard("get_or_set")
        full, ttl = self._key(key, version), self._ttl(timeout)
        since = monotonic() if self._remote else 0.0
        stored = self._soft.get(full)
        value: Any = MISSING
        if stored is not None:
            value = stored if type(stored) in self._unwrapped else self._load(full, stored)
        if value is not MISSING:
            self._counts.hits += 1
            return value
        self._counts.misses += 1
        return run_sync(
            self._computations.compute(
                BLOCKING, full, producer(default), Policy(ttl), since, reachable=self.available
            )
        )

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], Awaitable[T]],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], T],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    async def aget_or_set(
        self,
        key: str,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Do what `get_or_set` does; `default` is a value, a function or an async function.

        An async function runs in a task of its own, which goes on if this caller is
        cancelled while others wait; a sync one runs in a worker thread.
        """
        full, ttl = self._key(key, version), self._ttl(timeout)
        since = monotonic() if self._remote else 0.0
        stored = await self._soft.aget(full)
        value: Any = MISSING
        if stored is not None:
            value = stored if type(stored) in self._unwrapped else self._load(full, stored)
        if value is not MISSING:
            self._counts.hits += 1
            return value
        self._counts.misses += 1
        return await self._computations.compute(
            NATIVE, full, aproducer(default), Policy(ttl), since, reachable=self.available
        )

    def lock(
        self, key: str, timeout: Timeout = 60, wait: Timeout = None, *, renew: bool = False
    ) -> Lock:
        """Return a lock named `key`: `with cache.lock("k"):`, `async with cache.lock("k"):`.

        Args:
            key: its name; locks and values do not meet.
            timeout: how long it is held at most; when that is over it is free.
            wait: how long to wait for it at most; None waits until it is free.
            renew: begin `timeout` anew again and again while it is held: then it is free
                that long after its holder's process ended, or lost the store.

        Raises:
            LockNotAcquired: on entering, after `wait`.
            LockLost: on leaving, if it was held for longer than `timeout`.
        """
        ttl = self._ttl(timeout)
        if not ttl:
            raise InvalidTimeout(
                f"a lock's timeout is how long it is held at most, more than 0; not {timeout!r}"
            )
        name = self._keys.lock(key)
        return Lock(self.backend, self._codec, name, ttl, seconds(wait), self._guard, renew=renew)

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
        """Let go of connections, files and threads; the next operation takes them anew."""
        if self._guard is not None:
            self._guard("close")
        rest()
        self.backend.close()

    async def aclose(self) -> None:
        """Do what `close` does."""
        rest()
        await self.backend.aclose()

    def stats(self) -> Stats:
        """Return what this cache has seen so far."""
        counts = self._counts
        return Stats(
            hits=counts.hits,
            misses=counts.misses,
            stores=counts.stores,
            deletes=counts.deletes,
            computations=counts.computations,
            joined=counts.joined,
            failures=counts.failures,
            damaged=self._codec.damaged,
            unavailable=self._fail_open.outage.failures if self._fail_open is not None else 0,
            evicted=self.backend.evicted,
            servers=tuple(self.backend.servers()),
        )

    def _noted(self, outage: BackendUnavailable) -> bool:
        """Count and log an outage if that is a miss here; tell whether it is."""
        if self._fail_open is None or not self.fails_open:
            return False
        self._fail_open.outage.fail(outage)
        return True

    def _claim(self, key: str, turn: Turn) -> KeyClaim:
        """Return a claim to a key, for the holder of `turn`."""
        full = self._key(key, None)
        return KeyClaim(self._store, self._codec, full, self._keys.lease, turn, self._counts)

    async def _swap(self, io: Effects, key: str, old: Any, new: Any, ttl: float | None) -> bool:
        """Store `new` if `key` still holds the value `old`, and tell whether it is stored."""
        store, full = self._store, self._key(key, None)
        there, then = self._dump(full, old), self._dump(full, new)
        swap = store.compare_and_set, store.acompare_and_set
        return self._stored(await io.op(*swap, full, there, then, ttl))

    async def _compute(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        timeout: Timeout,
        condition: Condition | None,
        since: float,
        outage: BackendUnavailable | None,
    ) -> Any:
        """Return what a decorated function missed, having asked the store `since` then.

        `outage` is why it was missed, if the store failed.
        """
        if outage is not None:
            self._counts.misses += 1
            if self._fail_open is not None:
                self._fail_open.outage.fail(outage)
        full, policy = self._key(key, None), Policy(self._ttl(timeout), condition)
        return await self._computations.compute(
            io, full, function, policy, since, reachable=outage is None and self.available
        )

    async def _refresh(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        timeout: Timeout,
        condition: Condition | None,
    ) -> Any:
        """Compute and store anew what a decorated function brings."""
        full, policy = self._key(key, None), Policy(self._ttl(timeout), condition)
        return await self._computations.refresh(io, full, function, policy)

    def _clear(self, method: str, scope: str) -> None:
        if self._guard is not None:
            self._guard(method)
        self._claims.detach_all(scope)
        self._backend.clear(scope)

    async def _aclear(self, scope: str) -> None:
        self._claims.detach_all(scope)
        await self._backend.aclear(scope)

    def _add(self, key: str, change: int) -> int:
        if self._codec.signs_numbers:
            return run_sync(self._count(BLOCKING, key, change))
        return self._backend.incr(key, change)

    async def _aadd(self, key: str, change: int) -> int:
        if self._codec.signs_numbers:
            return await self._count(NATIVE, key, change)
        return await self._backend.aincr(key, change)

    async def _count(self, io: Effects, key: str, change: int) -> int:
        """Add to a counter that is signed."""
        if self._fail_open is not None and self.fails_open:
            return await self._fail_open.count(counting.add, io, self._codec, key, change)
        return await counting.add(io, self.backend, self._codec, key, change)

    async def _move(self, io: Effects, key: str, delta: int, version: int | None) -> int:
        """Store under another version what is stored under this one."""
        store = self._backend
        io = within(io, store.deadline)
        there = (self._keys.version if version is None else version) + delta
        old, new = self._key(key, version), self._key(key, there)
        stored = await io.op(store.get, store.aget, old)
        value = MISSING if stored is None else self._load(old, stored)
        ttl = await io.op(store.ttl, store.attl, old)
        if value is MISSING or ttl == 0:
            raise MissingKey(f"no value of {key!r} to move to version {there}: set it first")
        if old == new:
            return there
        self._detach(old)
        self._detach(new)
        if not await io.op(store.set, store.aset, new, self._dump(new, value), ttl):
            raise BackendUnavailable(
                f"the value of {key!r} was not stored under version {there}: it is where it was"
            )
        self._stored(True)
        self._deleted(await io.op(store.delete, store.adelete, old))
        return there

    def _ttl(self, timeout: Timeout) -> float | None:
        return self.timeout if timeout is DEFAULT_TIMEOUT else seconds(timeout)

    def _names(self, keys: Iterable[str], version: int | None) -> dict[str, str]:
        """Return the caller's keys by their normalised ones."""
        return {self._key(key, version): key for key in many(keys)}

    def _load_all(self, names: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
        values = {names[full]: self._load(full, stored) for full, stored in found.items()}
        read = {key: value for key, value in values.items() if value is not MISSING}
        self._counts.hits += len(read)
        self._counts.misses += len(names) - len(read)
        return read

    def _dump_all(self, names: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, Any]:
        items = {full: self._dump(full, data[key]) for full, key in names.items()}
        for full in items:
            self._detach(full)
        return items

    def _stored(self, stored: bool) -> bool:
        if stored:
            self._counts.stores += 1
        return stored

    def _deleted(self, number: int) -> int:
        self._counts.deletes += number
        return number

    def _detach(self, full: str) -> None:
        if self._claims.table:
            self._claims.detach(full)

    def _detached(self, keys: Iterable[str]) -> list[str]:
        """Return normalised `keys`, whose flights are detached."""
        found = list(keys)
        for full in found:
            self._detach(full)
        return found
