"""What is stored only over what was read, again and again while others change that."""

from collections.abc import Iterable
from typing import Any

from twofold.backoff import pauses
from twofold.core import Cache
from twofold.effects import Effects, within
from twofold.entry import MISSING, Entry
from twofold.errors import BackendUnavailable, MissingKey, NotACounter
from twofold.timeouts import Timeout


async def set_over(
    io: Effects,
    cache: Cache,
    full: str,
    value: Any,
    life: float | None,
    stale: Timeout,
    tags: Iterable[str],
) -> bool:
    """Store `value` under a normalised key where there is one, and return whether it is stored."""
    store, io = cache._backend, within(io, cache.backend.deadline)
    pins = await cache._pin(io, tags, life, stale)
    if pins is None:
        return False
    kept = cache._kept(full, value, life, stale, pins)
    for pause in pauses(store.deadline, store.clock.monotonic):
        if pause:
            await io.sleep(pause)
        found, entry = await _found(io, cache, full)
        if entry is None:
            return False
        cache._detach(full)
        if await io.op(store.compare_and_set, store.acompare_and_set, full, found, *kept):
            return cache._stored(True)
    raise _changed(full)


async def add_beyond(io: Effects, cache: Cache, full: str, delta: int) -> int:
    """Add to an int of any size, under a normalised key; its life stays as it is.

    Raises:
        MissingKey: there is none.
        NotACounter: there is something else.
        BackendUnavailable: others changed it all the while.
    """
    store, io = cache._backend, within(io, cache.backend.deadline)
    for pause in pauses(store.deadline, store.clock.monotonic):
        if pause:
            await io.sleep(pause)
        found, entry = await _found(io, cache, full)
        if entry is None:
            raise MissingKey(f"no counter {full!r} to add to: set it first")
        if type(entry.value) is not int:
            raise NotACounter(f"{full!r} does not hold an int to add to: set it to one first")
        total: int = entry.value + delta
        meta = entry.meta and entry.meta._replace(tags=cache._reader.tags_of(full, found))
        stored = cache._dump(full, total, meta)
        if await io.op(store.replace, store.areplace, full, found, stored):
            return total
    raise _changed(full)


async def _found(io: Effects, cache: Cache, full: str) -> tuple[Any, Entry | None]:
    """Return what is stored, and the entry that it is if that is fresh."""
    store = cache._backend
    stored = await io.op(store.get, store.aget, full)
    entry = MISSING if stored is None else await cache._fresh.reader.open(io, full, stored)
    if entry is MISSING or not entry.is_fresh(store.clock.time()):
        return stored, None
    return stored, entry


def _changed(full: str) -> BackendUnavailable:
    return BackendUnavailable(f"{full!r} was changed again and again while it was read; try again")
