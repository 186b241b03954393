"""A store in front of another, for those to derive from that change a part of what it does."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from twofold.backend import Backend, Fill, Kind, Looked, Stored
from twofold.watch import Watch, Watcher


class Forwarding(Backend):
    """Forwards reads, writes and claims to `inner`, one by one."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.location, deadline=inner.deadline, clock=inner.clock)
        self.kind: Kind = inner.kind
        self.holds_objects: bool = inner.holds_objects
        self.private: bool = inner.private
        self._inner = inner

    @property
    def identity(self) -> object:
        return self._inner.identity

    def exclusive(self) -> AbstractContextManager[object]:
        return self._inner.exclusive()

    def watch(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> Watch | None:
        return self._inner.watch(prefixes, watcher, bound)

    def get(self, key: str) -> Stored | None:
        return self._inner.get(key)

    async def aget(self, key: str) -> Stored | None:
        return await self._inner.aget(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return self._inner.get_many(keys)

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return await self._inner.aget_many(keys)

    def look(self, key: str) -> Looked | None:
        return self._inner.look(key)

    async def alook(self, key: str) -> Looked | None:
        return await self._inner.alook(key)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return self._inner.look_many(keys)

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return await self._inner.alook_many(keys)

    def has(self, key: str) -> bool:
        return self._inner.has(key)

    async def ahas(self, key: str) -> bool:
        return await self._inner.ahas(key)

    def ttl(self, key: str) -> float | None:
        return self._inner.ttl(key)

    async def attl(self, key: str) -> float | None:
        return await self._inner.attl(key)

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._inner.set(key, value, ttl)

    async def aset(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._inner.aset(key, value, ttl)

    def set_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return self._inner.set_many(items, ttl)

    async def aset_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return await self._inner.aset_many(items, ttl)

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._inner.add(key, value, ttl)

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._inner.aadd(key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._inner.touch(key, ttl)

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return await self._inner.atouch(key, ttl)

    def delete(self, key: str) -> bool:
        return self._inner.delete(key)

    async def adelete(self, key: str) -> bool:
        return await self._inner.adelete(key)

    def delete_many(self, keys: Sequence[str]) -> int:
        return self._inner.delete_many(keys)

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._inner.adelete_many(keys)

    def incr(self, key: str, delta: int) -> int:
        return self._inner.incr(key, delta)

    async def aincr(self, key: str, delta: int) -> int:
        return await self._inner.aincr(key, delta)

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        return self._inner.compare_and_set(key, expected, value, ttl)

    async def acompare_and_set(
        self, key: str, expected: Stored, value: Stored, ttl: float | None
    ) -> bool:
        return await self._inner.acompare_and_set(key, expected, value, ttl)

    def replace(self, key: str, expected: Stored, value: Stored) -> bool:
        return self._inner.replace(key, expected, value)

    async def areplace(self, key: str, expected: Stored, value: Stored) -> bool:
        return await self._inner.areplace(key, expected, value)

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        return self._inner.compare_and_delete(key, expected)

    async def acompare_and_delete(self, key: str, expected: Stored) -> bool:
        return await self._inner.acompare_and_delete(key, expected)

    def get_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        return self._inner.get_or_claim(key, stub, life)

    async def aget_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        return await self._inner.aget_or_claim(key, stub, life)

    def fill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return self._inner.fill(key, stub, value, ttl)

    async def afill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return await self._inner.afill(key, stub, value, ttl)

    def renew(self, key: str, stub: Stored, life: float) -> bool:
        return self._inner.renew(key, stub, life)

    async def arenew(self, key: str, stub: Stored, life: float) -> bool:
        return await self._inner.arenew(key, stub, life)

    def release(self, key: str, stub: Stored) -> bool:
        return self._inner.release(key, stub)

    async def arelease(self, key: str, stub: Stored) -> bool:
        return await self._inner.arelease(key, stub)

    def get_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        return self._inner.get_or_claim_many(keys, stub, life)

    async def aget_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        return await self._inner.aget_or_claim_many(keys, stub, life)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return self._inner.fill_many(fills)

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return await self._inner.afill_many(fills)

    def release_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        return self._inner.release_many(held)

    async def arelease_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        return await self._inner.arelease_many(held)

    def set_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        self._inner.set_and_delete(key, value, keys)

    async def aset_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        await self._inner.aset_and_delete(key, value, keys)

    def clear(self, prefix: str) -> None:
        self._inner.clear(prefix)

    async def aclear(self, prefix: str) -> None:
        await self._inner.aclear(prefix)
