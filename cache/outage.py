"""An outage as misses: a backend around a backend, whose failures cost only the cache."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from twofold.backend import Backend, Kind, Looked, Stored
from twofold.clock import SYSTEM_CLOCK
from twofold.effects import Effects
from twofold.entry import Codec
from twofold.errors import BackendUnavailable, CacheError, MissingKey, PartlyUnavailable
from twofold.events import OutageBegan, OutageEnded, emit
from twofold.watch import Watch, Watcher

T = TypeVar("T")

_QUIET: Final = 10.0  # seconds from one outage's beginning to when another may be sent


class Outage:
    """From the first failure of something on until it works again.

    Beginning and end are events. A store that fails now and then would send both at
    each failure, so an outage that begins within 10 s of the last one is sent, with its end,
    only if it lasts longer.

    Args:
        cache: the alias.
    """

    def __init__(self, cache: str) -> None:
        self.failures: int = 0
        """All failures so far."""
        self.lasting: dict[str, Any] = {}
        """What is known of the outage; empty while there is none."""
        self._cache = cache
        self._next = 0.0

    def fail(self, error: Exception, operation: str = "") -> None:
        """Note a failure, of all or of one operation."""
        now, before = SYSTEM_CLOCK.monotonic(), self.failures
        self.failures += 1
        _, _, failing = self.lasting.setdefault("began", (now, before, operation))
        mine = object()  # of several threads, the one whose object is kept tells
        if now >= self._next and self.lasting.setdefault("told", mine) is mine:
            self._next = now + _QUIET
            why = str(error) if isinstance(error, CacheError) else repr(error)
            emit(OutageBegan(self._cache, why, failing))

    def end(self, operation: str = "") -> None:
        """Note that what failed works again, if it is `operation` that did."""
        began = self.lasting.get("began")
        if began is None or began[2] != operation:
            return
        told, began = self.lasting.pop("told", None), self.lasting.pop("began", None)
        if told is not None and began is not None:
            since, before, _ = began
            lasted = SYSTEM_CLOCK.monotonic() - since
            emit(OutageEnded(self._cache, lasted, self.failures - before, operation))


class FailOpen(Backend):
    """Reads of a store that is unavailable are misses, writes to it do nothing."""

    def __init__(self, inner: Backend, alias: str) -> None:
        super().__init__(inner.location, deadline=inner.deadline, clock=inner.clock)
        self.kind: Kind = inner.kind
        self.holds_objects: bool = inner.holds_objects
        self.private: bool = inner.private
        self.outage: Outage = Outage(alias)
        self._inner = inner

    def _try(self, otherwise: T, operation: Callable[..., T], *args: object) -> T:
        try:
            result = operation(*args)
        except BackendUnavailable as exc:
            return self._failed(exc, otherwise)
        if self.outage.lasting:
            self.outage.end()
        return result

    async def _atry(self, otherwise: T, operation: Callable[..., Awaitable[T]], *args: object) -> T:
        try:
            result = await operation(*args)
        except BackendUnavailable as exc:
            return self._failed(exc, otherwise)
        if self.outage.lasting:
            self.outage.end()
        return result

    def _failed(self, exc: BackendUnavailable, otherwise: T) -> T:
        """Record a failure, and return what was done nevertheless, or `otherwise`."""
        self.outage.fail(exc)
        return exc.result if isinstance(exc, PartlyUnavailable) else otherwise

    def get(self, key: str) -> Stored | None:
        return self._try(None, self._inner.get, key)

    async def aget(self, key: str) -> Stored | None:
        return await self._atry(None, self._inner.aget, key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return self._try({}, self._inner.get_many, keys)

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return await self._atry({}, self._inner.aget_many, keys)

    def look(self, key: str) -> Looked | None:
        return self._try(None, self._inner.look, key)

    async def alook(self, key: str) -> Looked | None:
        return await self._atry(None, self._inner.alook, key)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return self._try({}, self._inner.look_many, keys)

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return await self._atry({}, self._inner.alook_many, keys)

    def watch(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> Watch | None:
        return self._inner.watch(prefixes, watcher, bound)

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._try(False, self._inner.set, key, value, ttl)

    async def aset(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._atry(False, self._inner.aset, key, value, ttl)

    def set_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return self._try(list(items), self._inner.set_many, items, ttl)

    async def aset_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return await self._atry(list(items), self._inner.aset_many, items, ttl)

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._try(False, self._inner.add, key, value, ttl)

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._atry(False, self._inner.aadd, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._try(False, self._inner.touch, key, ttl)

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return await self._atry(False, self._inner.atouch, key, ttl)

    def ttl(self, key: str) -> float | None:
        gone: float | None = 0.0
        return self._try(gone, self._inner.ttl, key)

    async def attl(self, key: str) -> float | None:
        gone: float | None = 0.0
        return await self._atry(gone, self._inner.attl, key)

    def delete(self, key: str) -> bool:
        return self._try(False, self._inner.delete, key)

    async def adelete(self, key: str) -> bool:
        return await self._atry(False, self._inner.adelete, key)

    def delete_many(self, keys: Sequence[str]) -> int:
        return self._try(0, self._inner.delete_many, keys)

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._atry(0, self._inner.adelete_many, keys)

    def set_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        self._try(None, self._inner.set_and_delete, key, value, keys)

    async def aset_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        await self._atry(None, self._inner.aset_and_delete, key, value, keys)

    def has(self, key: str) -> bool:
        return self._try(False, self._inner.has, key)

    async def ahas(self, key: str) -> bool:
        return await self._atry(False, self._inner.ahas, key)

    def incr(self, key: str, delta: int) -> int:
        unknown: int | None = None
        total = self._try(unknown, self._inner.incr, key, delta)
        return self._counted(key, total)

    async def aincr(self, key: str, delta: int) -> int:
        unknown: int | None = None
        total = await self._atry(unknown, self._inner.aincr, key, delta)
        return self._counted(key, total)

    async def count(
        self,
        add: Callable[..., Awaitable[int]],
        io: Effects,
        reader: Any,
        codec: Codec,
        key: str,
        change: int,
    ) -> int:
        """Do what `counting.add`, which is `add`, does; in an outage there is no counter."""
        unknown: int | None = None
        total = await self._atry(unknown, add, io, self._inner, reader, codec, key, change)
        return self._counted(key, total)

    def _counted(self, key: str, total: int | None) -> int:
        if total is None:
            raise MissingKey(
                f"the store is unavailable, so counter {key!r} cannot be read: try again later"
            )
        return total

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        return self._try(False, self._inner.compare_and_set, key, expected, value, ttl)

    async def acompare_and_set(
        self, key: str, expected: Stored, value: Stored, ttl: float | None
    ) -> bool:
        return await self._atry(False, self._inner.acompare_and_set, key, expected, value, ttl)

    def replace(self, key: str, expected: Stored, value: Stored) -> bool:
        return self._try(False, self._inner.replace, key, expected, value)

    async def areplace(self, key: str, expected: Stored, value: Stored) -> bool:
        return await self._atry(False, self._inner.areplace, key, expected, value)

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        return self._try(False, self._inner.compare_and_delete, key, expected)

    async def acompare_and_delete(self, key: str, expected: Stored) -> bool:
        return await self._atry(False, self._inner.acompare_and_delete, key, expected)

    def clear(self, prefix: str) -> None:
        self._try(None, self._inner.clear, prefix)

    async def aclear(self, prefix: str) -> None:
        await self._atry(None, self._inner.aclear, prefix)
