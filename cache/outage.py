"""An outage as misses: a backend around a backend, whose failures cost only the cache."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from twofold.backend import Backend, Stored
from twofold.display import printable
from twofold.effects import Effects
from twofold.entry import Codec
from twofold.errors import BackendUnavailable, MissingKey, PartlyUnavailable

T = TypeVar("T")

_log = logging.getLogger("twofold")


class FailOpen(Backend):
    """Reads of a store that is unavailable are misses, writes to it do nothing.

    The first failure of an outage is logged as a warning; all are counted in `failures`,
    and while it lasts `failing` is set.
    """

    def __init__(self, inner: Backend, alias: str) -> None:
        super().__init__(inner.location, deadline=inner.deadline, clock=inner.clock)
        self.failures: int = 0
        self._inner = inner
        self._alias = alias
        self.failing: bool = False

    def _try(self, otherwise: T, operation: Callable[..., T], *args: object) -> T:
        try:
            result = operation(*args)
        except BackendUnavailable as exc:
            return self._failed(exc, otherwise)
        self.failing = False
        return result

    async def _atry(self, otherwise: T, operation: Callable[..., Awaitable[T]], *args: object) -> T:
        try:
            result = await operation(*args)
        except BackendUnavailable as exc:
            return self._failed(exc, otherwise)
        self.failing = False
        return result

    def _failed(self, exc: BackendUnavailable, otherwise: T) -> T:
        """Take note of a failure, and return what was done all the same, or `otherwise`."""
        self.note(exc)
        return exc.result if isinstance(exc, PartlyUnavailable) else otherwise

    def note(self, exc: BackendUnavailable) -> None:
        """Count a failure; log the first of an outage."""
        self.failures += 1
        if not self.failing:
            self.failing = True
            why = printable(str(exc))
            _log.warning("cache %r is unavailable, going on without it: %s", self._alias, why)

    def get(self, key: str) -> Stored | None:
        return self._try(None, self._inner.get, key)

    async def aget(self, key: str) -> Stored | None:
        return await self._atry(None, self._inner.aget, key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return self._try({}, self._inner.get_many, keys)

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return await self._atry({}, self._inner.aget_many, keys)

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
        codec: Codec,
        key: str,
        change: int,
    ) -> int:
        """Do what `counting.add`, which is `add`, does; in an outage there is no counter."""
        unknown: int | None = None
        total = await self._atry(unknown, add, io, self._inner, codec, key, change)
        return self._counted(key, total)

    def _counted(self, key: str, total: int | None) -> int:
        if total is None:
            raise MissingKey(f"no counter {key!r} to be had: the store is unavailable")
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
