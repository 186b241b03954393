"""A far store to whose writers the copies near of it are dropped, whatever comes of a write.

Every operation that may change a key goes through here, so that no user of the store can forget it.
The copy goes after the reply: what was read before that may be kept until then, and no longer. A
write that failed, or whose caller was cancelled, may have been done all the same.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from twofold.backend import Backend, Fill, Stored
from twofold.forwarding import Forwarding
from twofold.near.tier import Tier

T = TypeVar("T")


class OwnWrites(Forwarding):
    """The store of a cache that has a tier.

    Args:
        inner: the far one.
        tier: the copies of it.
    """

    hides_stubs = True
    tells_metadata = True

    def __init__(self, inner: Backend, tier: Tier) -> None:
        super().__init__(inner)
        self._tier = tier

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._do((key,), self._inner.set, key, value, ttl)

    async def aset(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._ado((key,), self._inner.aset, key, value, ttl)

    def set_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return self._do(items, self._inner.set_many, items, ttl)

    async def aset_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return await self._ado(items, self._inner.aset_many, items, ttl)

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._do((key,), self._inner.add, key, value, ttl)

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._ado((key,), self._inner.aadd, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._do((key,), self._inner.touch, key, ttl)

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return await self._ado((key,), self._inner.atouch, key, ttl)

    def delete(self, key: str) -> bool:
        return self._do((key,), self._inner.delete, key)

    async def adelete(self, key: str) -> bool:
        return await self._ado((key,), self._inner.adelete, key)

    def delete_many(self, keys: Sequence[str]) -> int:
        return self._do(keys, self._inner.delete_many, keys)

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._ado(keys, self._inner.adelete_many, keys)

    def incr(self, key: str, delta: int) -> int:
        return self._do((key,), self._inner.incr, key, delta)

    async def aincr(self, key: str, delta: int) -> int:
        return await self._ado((key,), self._inner.aincr, key, delta)

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        return self._do((key,), self._inner.compare_and_set, key, expected, value, ttl)

    async def acompare_and_set(
        self, key: str, expected: Stored, value: Stored, ttl: float | None
    ) -> bool:
        return await self._ado((key,), self._inner.acompare_and_set, key, expected, value, ttl)

    def replace(self, key: str, expected: Stored, value: Stored) -> bool:
        return self._do((key,), self._inner.replace, key, expected, value)

    async def areplace(self, key: str, expected: Stored, value: Stored) -> bool:
        return await self._ado((key,), self._inner.areplace, key, expected, value)

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        return self._do((key,), self._inner.compare_and_delete, key, expected)

    async def acompare_and_delete(self, key: str, expected: Stored) -> bool:
        return await self._ado((key,), self._inner.acompare_and_delete, key, expected)

    def get_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        return self._do((key,), self._inner.get_or_claim, key, stub, life)

    async def aget_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        return await self._ado((key,), self._inner.aget_or_claim, key, stub, life)

    def fill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return self._do((key,), self._inner.fill, key, stub, value, ttl)

    async def afill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return await self._ado((key,), self._inner.afill, key, stub, value, ttl)

    def renew(self, key: str, stub: Stored, life: float) -> bool:
        return self._do((key,), self._inner.renew, key, stub, life)

    async def arenew(self, key: str, stub: Stored, life: float) -> bool:
        return await self._ado((key,), self._inner.arenew, key, stub, life)

    def release(self, key: str, stub: Stored) -> bool:
        return self._do((key,), self._inner.release, key, stub)

    async def arelease(self, key: str, stub: Stored) -> bool:
        return await self._ado((key,), self._inner.arelease, key, stub)

    def get_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        return self._do(keys, self._inner.get_or_claim_many, keys, stub, life)

    async def aget_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        return await self._ado(keys, self._inner.aget_or_claim_many, keys, stub, life)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return self._do(fills, self._inner.fill_many, fills)

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return await self._ado(fills, self._inner.afill_many, fills)

    def release_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        return self._do(held, self._inner.release_many, held)

    async def arelease_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        return await self._ado(held, self._inner.arelease_many, held)

    def set_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        self._do((key, *keys), self._inner.set_and_delete, key, value, keys)

    async def aset_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        await self._ado((key, *keys), self._inner.aset_and_delete, key, value, keys)

    def clear(self, prefix: str) -> None:
        try:
            try:
                self._inner.clear(prefix)
            finally:
                self._tier.drop_prefix(prefix)
        except BaseException:  # as in `_do`
            self._tier.drop_prefix(prefix)
            raise

    async def aclear(self, prefix: str) -> None:
        try:
            try:
                await self._inner.aclear(prefix)
            finally:
                self._tier.drop_prefix(prefix)
        except BaseException:
            self._tier.drop_prefix(prefix)
            raise

    def _do(self, keys: Iterable[str], operation: Callable[..., T], *args: object) -> T:
        try:
            try:
                return operation(*args)
            finally:
                self._tier.drop(keys)
        except BaseException:  # a signal's handler may have broken off the latter
            self._tier.drop(keys)
            raise

    async def _ado(
        self, keys: Iterable[str], operation: Callable[..., Awaitable[T]], *args: object
    ) -> T:
        try:
            try:
                return await operation(*args)
            finally:
                self._tier.drop(keys)
        except BaseException:
            self._tier.drop(keys)
            raise
