"""The operations that move a value from one version of its key to another."""

from math import inf

from twofold.described import until
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync, within
from twofold.engine import Engine
from twofold.entry import MISSING, Entry, Missing
from twofold.errors import BackendUnavailable, MissingKey


class VersionedCache(Engine):
    """`incr_version` and `decr_version`."""

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

    async def _move(self, io: Effects, key: str, delta: int, version: int | None) -> int:
        """Store under another version what is stored under this one."""
        there = (self._keys.version if version is None else version) + delta
        await self._move_to(io, key, self._key(key, version), self._key(key, there), there)
        return there

    async def _move_to(self, io: Effects, key: object, old: str, new: str, there: int) -> None:
        """Store under one normalised key what is stored under another."""
        store, reader = self._backend, self._fresh.reader  # whatever type the value is of
        io = within(io, store.deadline)
        stored = await io.op(store.get, store.aget, old)
        entry = MISSING if stored is None else await reader.open(io, old, stored)
        left = await self._left(io, old, entry)
        if entry is MISSING or left == 0:
            raise MissingKey(f"no value of {key!r} to move to version {there}: set it first")
        if old == new:
            return
        self._detach(old)
        self._detach(new)
        meta = entry.meta and entry.meta._replace(tags=reader.tags_of(old, stored))
        moved = self._fresh.codec.dump(new, entry.value, meta, entry.mark)
        if not await io.op(store.set, store.aset, new, moved, left):
            raise BackendUnavailable(
                f"the value of {key!r} was not stored under version {there}, and keeps the old one:"
                " see whether the store has room, and try again"
            )
        self._stored(True)
        self._deleted(await io.op(store.delete, store.adelete, old))

    async def _left(self, io: Effects, key: str, entry: Entry | Missing) -> float | None:
        """Return the life that a fresh entry has left in the store, 0.0 if it is not fresh."""
        now = self._clock.time()
        if entry is MISSING or not entry.is_fresh(now):
            return 0.0
        if entry.meta is not None and entry.meta.hard < inf:
            return until(entry.meta.hard, now)
        return await self._fresh.left(io, key)
