"""What `get`, `set` and the like do with what is stored about a value: its tags, its deadlines."""

from collections.abc import Iterable, Mapping
from typing import Any

from twofold import counter
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.engine import Engine
from twofold.entry import MISSING, Meta
from twofold.errors import BackendUnavailable
from twofold.metadata import Pins
from twofold.tags.names import tag_names
from twofold.timeouts import Timeout, seconds


class TaggedCache(Engine):
    """`invalidate_tags`, and what `get`, `set`, `set_many` and `add` do with tags."""

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
            self._counts.invalidations += len(names)

    async def _get_tagged(
        self, io: Effects, full: str, stored: Any, default: Any, allow_stale: bool
    ) -> Any:
        """Return the value of what was read and has tags, or `default`."""
        try:
            entry = await self._reader.open(io, full, stored)
        except BackendUnavailable as exc:
            if not self._noted(exc):
                raise
            entry = MISSING
        value = self._value(entry, allow_stale)
        if value is MISSING:
            self._counts.misses += 1
            return default
        self._counts.hits += 1
        return value

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
        pins = await self._pin(io, tags, ttl, stale)
        if pins is None:
            return False
        kept = self._kept(full, value, ttl, stale, pins)
        if only_if_missing:
            return self._stored(await io.op(self._fresh.add, self._fresh.aadd, full, *kept))
        self._detach(full)
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
        self._detached(names)
        for life, items in lives.items():
            failed += await io.op(store.set_many, store.aset_many, items, life)
        self._counts.stores += len(names) - len(failed)
        return [names[full] for full in failed]
