"""A store whose operations see stubs, as one whose operations do not.

What a third party writes knows nothing of claims, nor of metadata. Here a stub is a missing value
to all that tell whether a key is there, and a value that has metadata is left to the cache; `get`,
`get_many` and `look` pass both on, for the codec tells what they are.
"""

from collections.abc import Sequence

from twofold.backend import Backend, Stored
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import BackendUnavailable, MissingKey, NotACounter, PartlyUnavailable
from twofold.forwarding import Forwarding
from twofold.metadata import HasMetadata, Removed, has_metadata, head
from twofold.stub import is_stub

_ATTEMPTS = 16  # at a compare-and-set that others forestall


def hiding_stubs(store: Backend) -> Backend:
    """Return `store`, or what hides stubs in its place."""
    return store if store.hides_stubs and store.tells_metadata else StubFilter(store)


class StubFilter(Forwarding):
    """A backend around one that does not hide stubs itself, or does not tell of metadata."""

    hides_stubs = True
    tells_metadata = True

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        return run_sync(self._add(BLOCKING, key, value, ttl))

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._add(NATIVE, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return run_sync(self._touch(BLOCKING, key, ttl))

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return await self._touch(NATIVE, key, ttl)

    def ttl(self, key: str) -> float | None:
        return run_sync(self._ttl(BLOCKING, key))

    async def attl(self, key: str) -> float | None:
        return await self._ttl(NATIVE, key)

    def delete(self, key: str) -> bool:
        return _is_any(run_sync(self._delete_many(BLOCKING, [key])))

    async def adelete(self, key: str) -> bool:
        return _is_any(await self._delete_many(NATIVE, [key]))

    def delete_many(self, keys: Sequence[str]) -> int:
        return run_sync(self._delete_many(BLOCKING, keys))

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._delete_many(NATIVE, keys)

    def has(self, key: str) -> bool:
        return self._plain(key, self._inner.get(key)) is not None

    async def ahas(self, key: str) -> bool:
        return self._plain(key, await self._inner.aget(key)) is not None

    def incr(self, key: str, delta: int) -> int:
        return run_sync(self._incr(BLOCKING, key, delta))

    async def aincr(self, key: str, delta: int) -> int:
        return await self._incr(NATIVE, key, delta)

    def _value(self, found: Stored | None) -> Stored | None:
        return None if is_stub(found, self.holds_objects) else found

    def _plain(self, key: str, found: Stored | None) -> Stored | None:
        """Return what `_value` does; raise `HasMetadata`."""
        if has_metadata(found, self.holds_objects):
            raise HasMetadata(key)
        return self._value(found)

    async def _get(self, io: Effects, key: str) -> Stored | None:
        return await io.op(self._inner.get, self._inner.aget, key)

    async def _add(self, io: Effects, key: str, value: Stored, ttl: float | None) -> bool:
        inner = self._inner
        seen: Stored | None = b""
        for _ in range(_ATTEMPTS):
            if await io.op(inner.add, inner.aadd, key, value, ttl):
                return True
            found = await self._get(io, key)
            if self._plain(key, found) is not None:
                return False
            if found is not None and await self._swap(io, key, found, value, ttl):
                return True
            if found == seen:
                break  # there is no room for it
            seen = found
        return False

    async def _touch(self, io: Effects, key: str, ttl: float | None) -> bool:
        """Write what was read again, since a life given by `touch` might be a later stub's."""
        for _ in range(_ATTEMPTS):
            found = self._plain(key, await self._get(io, key))
            if found is None:
                return False
            if await self._swap(io, key, found, found, ttl):
                return True
        raise BackendUnavailable(
            f"{key!r} was written {_ATTEMPTS} times while it was to be touched; try again"
        )

    async def _ttl(self, io: Effects, key: str) -> float | None:
        missing: float | None = 0.0
        if self._plain(key, await self._get(io, key)) is None:
            return missing
        return await io.op(self._inner.ttl, self._inner.attl, key)

    async def _delete_many(self, io: Effects, keys: Sequence[str]) -> int:
        inner = self._inner
        partly = None
        try:
            found = await io.op(inner.get_many, inner.aget_many, keys)
        except PartlyUnavailable as error:
            found, partly = error.result, error
        stored = [self._value(each) for each in found.values()]
        described = [each for each in stored if has_metadata(each, self.holds_objects)]
        there = Removed.of(
            sum(each is not None for each in stored) - len(described), map(head, described)
        )
        try:
            await io.op(inner.delete_many, inner.adelete_many, keys)
        except PartlyUnavailable as error:
            error.result = min(there, error.result)
            raise
        if partly is not None:
            partly.result = there
            raise partly
        return there

    async def _incr(self, io: Effects, key: str, delta: int) -> int:
        try:
            return await io.op(self._inner.incr, self._inner.aincr, key, delta)
        except NotACounter:
            if self._plain(key, await self._get(io, key)) is not None:
                raise
            raise MissingKey(f"no counter {key!r} to add to: set it first") from None

    async def _swap(
        self, io: Effects, key: str, found: Stored, value: Stored, ttl: float | None
    ) -> bool:
        inner = self._inner
        return await io.op(inner.compare_and_set, inner.acompare_and_set, key, found, value, ttl)


def _is_any(removed: int) -> bool:
    return removed > 0 or type(removed) is Removed
