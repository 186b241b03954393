"""The operations that store values and what is stored about them, and that end many at once.

Each sync method stands above its async twin, as in `core`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Never

from twofold import counter
from twofold.display import shown
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync, within
from twofold.engine import Engine
from twofold.entry import Meta
from twofold.errors import BackendUnavailable, InvalidKey
from twofold.metadata import Pins
from twofold.spelling import unexpected
from twofold.tags.names import Pinned, tag_names
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout, seconds


class WritingCache(Engine):
    """`set`, `set_many`, `add` and `invalidate_tags`."""

    def set(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        **others: Never,
    ) -> bool:
        """Store `value` for `timeout`; one of 0 or less removes the key.

        With `stale` it is kept for as long as that afterwards, for those who take a stale value:
        `get` with `allow_stale`, and `get_or_set` while it computes a new one. Only ints, which
        are counters, are not. With `tags` it can be invalidated together with others, by
        `invalidate_tags` from the moment on at which this begins; an int is no counter then.

        Returns:
            Whether that was done; False if the store had no room for the value.

        Raises:
            CannotSerialize: the serializer cannot restore the value exactly.
        """
        if others:
            raise unexpected(self.set, others)
        if self._guard is not None:
            self._guard("set")
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(self._fresh.delete_many(self._detached([full])))
            return True
        if tags:
            return run_sync(self._set_tagged(BLOCKING, full, value, ttl, stale, tags))
        if self._claims.table:  # what `_detach` does, whose call few need
            self._claims.detach(full)
        if stale is None:
            stored = self._backend.set(full, self._dump(full, value), ttl)
        else:
            stored = self._backend.set(full, *self._kept(full, value, ttl, stale))
        if stored:
            self._counts.stores += 1
        return stored

    async def aset(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        **others: Never,
    ) -> bool:
        """Do what `set` does."""
        if others:
            raise unexpected(self.aset, others)
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(await self._fresh.adelete_many(self._detached([full])))
            return True
        if tags:
            return await self._set_tagged(NATIVE, full, value, ttl, stale, tags)
        if self._claims.table:  # what `_detach` does, whose call few need
            self._claims.detach(full)
        if stale is None:
            stored = await self._backend.aset(full, self._dump(full, value), ttl)
        else:
            stored = await self._backend.aset(full, *self._kept(full, value, ttl, stale))
        if stored:
            self._counts.stores += 1
        return stored

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        **others: Never,
    ) -> list[str]:
        """Store all of `data` in one round trip, and return the keys that failed.

        Raises:
            CannotSerialize: one value cannot be stored; then none is.
        """
        if others:
            raise unexpected(self.set_many, others)
        if self._guard is not None:
            self._guard("set_many")
        names, ttl = self._names(_values(data), version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(self._fresh.delete_many(self._detached(names)))
            return []
        return run_sync(self._set_all(BLOCKING, names, data, ttl, stale, tags))

    async def aset_many(
        self,
        data: Mapping[str, Any],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        **others: Never,
    ) -> list[str]:
        """Do what `set_many` does."""
        if others:
            raise unexpected(self.aset_many, others)
        names, ttl = self._names(_values(data), version), self._ttl(timeout)
        if ttl == 0:
            self._deleted(await self._fresh.adelete_many(self._detached(names)))
            return []
        return await self._set_all(NATIVE, names, data, ttl, stale, tags)

    def add(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        **others: Never,
    ) -> bool:
        """Store `value` only if `key` is missing, and return whether it is stored."""
        if others:
            raise unexpected(self.add, others)
        if self._guard is not None:
            self._guard("add")
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return False
        if tags:
            return run_sync(
                self._set_tagged(BLOCKING, full, value, ttl, stale, tags, only_if_missing=True)
            )
        return self._stored(self._fresh.add(full, *self._kept(full, value, ttl, stale)))

    async def aadd(
        self,
        key: str,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        **others: Never,
    ) -> bool:
        """Do what `add` does."""
        if others:
            raise unexpected(self.aadd, others)
        full, ttl = self._key(key, version), self._ttl(timeout)
        if ttl == 0:
            return False
        if tags:
            return await self._set_tagged(
                NATIVE, full, value, ttl, stale, tags, only_if_missing=True
            )
        return self._stored(await self._fresh.aadd(full, *self._kept(full, value, ttl, stale)))

    def invalidate_tags(self, *tags: str, keep_stale: bool = False) -> None:
        """Make all entries invalid that have one of `tags`, however many there are.

        No call that begins after this has returned gets one of them, in any process: nor what is
        being computed now under one of the tags.

        Args:
            tags: their names; those of this alias's `KEY_PREFIX`, in all versions.
            keep_stale: let entries be stale instead, for those who take a stale value.

        Raises:
            InvalidKey: a tag is empty, or no text.
        """
        if self._guard is not None:
            self._guard("invalidate_tags")
        run_sync(self._invalidate_tags(BLOCKING, tags, keep_stale))

    async def ainvalidate_tags(self, *tags: str, keep_stale: bool = False) -> None:
        """Do what `invalidate_tags` does."""
        await self._invalidate_tags(NATIVE, tags, keep_stale)

    async def _invalidate_tags(self, io: Effects, tags: Iterable[str], keep_stale: bool) -> None:
        names = tag_names(tags)
        if not names:
            return
        try:
            await self._tags.invalidate(io, names, keep_stale=keep_stale)
        except BackendUnavailable as exc:
            if not self._noted(exc):
                raise
        else:
            self._reached()
            self._counts.invalidations += len(names)

    def _kept(
        self, full: str, value: Any, ttl: float | None, stale: Timeout, pins: Pins = ()
    ) -> tuple[Any, float | None]:
        """Return what to store, and for how long; counters are never stale."""
        more = None if stale is None else seconds(stale)
        if not more or ttl is None or counter.is_counter(value):
            return self._dump(full, value, Meta(0.0, tags=pins) if pins else None), ttl
        now = self._clock.time()
        meta = Meta(now, soft=now + ttl, hard=now + ttl + more, tags=pins)
        return self._dump(full, value, meta), ttl + more

    async def _pin(
        self, io: Effects, tags: Iterable[str], ttl: float | None, stale: Timeout
    ) -> Pins | None:
        """Return the tags of what is to be stored; None in an outage that is a miss here."""
        if isinstance(tags, Pinned):
            return tags.pins
        names = tag_names(tags)
        if not names:
            return ()
        more = None if stale is None else seconds(stale)
        try:
            return await self._tags.pin(io, names, ttl if ttl is None else ttl + (more or 0.0))
        except BackendUnavailable as exc:
            if not self._noted(exc):
                raise
            return None

    async def _pinned(
        self, io: Effects, tags: Iterable[str], ttl: float | None, stale: Timeout = None
    ) -> Pinned:
        """Return tags that count from now on, for `set` and the like at some later time."""
        pinned = Pinned(tag_names(tags))
        pinned.pins = await self._pin(io, tuple(pinned), ttl, stale)
        return pinned

    async def _set_tagged(
        self,
        io: Effects,
        full: str,
        value: Any,
        ttl: float | None,
        stale: Timeout,
        tags: Iterable[str],
        *,
        only_if_missing: bool = False,
    ) -> bool:
        """Store a value with its tags, which hold from now on."""
        io = within(io, self._backend.deadline)
        if not only_if_missing:
            self._detach(full)
        pins = await self._pin(io, tags, ttl, stale)
        if pins is None:
            return False
        kept = self._kept(full, value, ttl, stale, pins)
        if only_if_missing:
            return self._stored(await io.op(self._fresh.add, self._fresh.aadd, full, *kept))
        return self._stored(await io.op(self._backend.set, self._backend.aset, full, *kept))

    async def _set_all(
        self,
        io: Effects,
        names: Mapping[str, str],
        data: Mapping[str, Any],
        ttl: float | None,
        stale: Timeout,
        tags: Iterable[str],
    ) -> list[str]:
        """Store `data`, those of one life in one round trip, and return the keys that failed."""
        store, failed = self._backend, list[str]()
        io = within(io, store.deadline) if tags else io
        self._detached(names)
        pins = await self._pin(io, tags, ttl, stale) if tags else ()
        if pins is None:
            return [names[full] for full in names]
        lives: dict[float | None, dict[str, Any]] = {}
        if names and stale is None and not pins:
            dump = self._dump
            lives[ttl] = {full: dump(full, data[key]) for full, key in names.items()}
        else:
            for full, key in names.items():
                stored, life = self._kept(full, data[key], ttl, stale, pins)
                lives.setdefault(life, {})[full] = stored
        for life, items in lives.items():
            failed += await io.op(store.set_many, store.aset_many, items, life)
        self._counts.stores += len(names) - len(failed)
        return [names[full] for full in failed]


def _values(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `data`, unless it is something else, whose items would be taken for keys."""
    if not isinstance(data, Mapping):
        raise InvalidKey(f"many values are a dict of keys to values, not {shown(data)}")
    return data
