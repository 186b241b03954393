"""Tags whose generations are values in the store.

A generation is a byte that begins no entry, no counter and no stub, and two random halves of 64
bits. It lives for as long as the longest-lived entry that was computed under it.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from twofold.backend import Backend
from twofold.effects import Effects, within
from twofold.errors import PartlyUnavailable
from twofold.metadata import Pins
from twofold.tags.generations import NOTHING, Standing, Tags

_MAGIC: Final = b"\xf4"
_HALF: Final = 8
_HARD: Final = len(_MAGIC) + _HALF
_SIZE: Final = _HARD + _HALF

_FOR_EVER: Final = 50 * 365 * 86400.0
_COMPUTING: Final = 60.0
"""Seconds that a generation has more than its entry: it is pinned before the function runs."""


class Reads(Protocol):
    """How generations are read: from the store, or near of it."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return those of `keys` that are there."""

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Do what `get_many` does."""


class StoredTags(Tags):
    """The tags of one cache.

    Args:
        store: keeps the generations.
        key: makes the key of a tag of its name, and of the epoch of none.
        reads: what generations are read from to know the standing of entries.
    """

    def __init__(self, store: Backend, key: Callable[[str], str], reads: Reads) -> None:
        self._store = store
        self._reads = reads
        self._key = key

    def keys(self, names: Iterable[str]) -> list[str]:
        return [self._key(name) for name in names]

    async def pin(self, io: Effects, names: Iterable[str], life: float | None) -> Pins:
        io = within(io, self._store.deadline)
        keys = {name: self._key(name) for name in names}
        there = await self._ensure(io, list(keys.values()), life)
        return tuple((name, there[key]) for name, key in keys.items())

    async def epoch(self, io: Effects) -> Any:
        [(_, epoch)] = await self.pin(io, [""], None)
        return epoch

    async def _ensure(
        self, io: Effects, keys: Sequence[str], life: float | None
    ) -> dict[str, bytes]:
        """Return generations, new ones where there are none; all are to live for `life`."""
        store = self._store
        wanted = _FOR_EVER if life is None else min(life + _COMPUTING, _FOR_EVER)
        longer = 2 * wanted  # a write at each fill would be told to all who watch the store
        there = await io.op(store.look_many, store.alook_many, keys)
        found = {key: value for key, (value, _) in there.items()}
        if missing := [key for key in keys if key not in found]:
            new = _new()
            claim = store.get_or_claim_many, store.aget_or_claim_many
            taken = await io.op(*claim, missing, new, longer)
            found |= {key: new if each is None else each for key, each in taken.items()}
        for key, (_, left) in there.items():
            if left is not None and left < wanted:
                await io.op(store.touch, store.atouch, key, longer)
        return found

    async def standings(
        self, io: Effects, pinned: Sequence[Pins], known: Mapping[str, Any] = NOTHING
    ) -> list[Standing]:
        names = {name: self._key(name) for pins in pinned for name, _ in pins}
        unknown = [key for key in names.values() if key not in known]
        found: Mapping[str, Any] = known
        if unknown:
            reads = self._reads
            try:
                found = {**known, **await io.op(reads.get_many, reads.aget_many, unknown)}
            except PartlyUnavailable as error:
                read = {**known, **error.result}
                raise PartlyUnavailable(str(error), _judged(pinned, names, read)) from error
        return _judged(pinned, names, found)

    async def invalidate(self, io: Effects, names: Sequence[str], *, keep_stale: bool) -> None:
        store, keys = self._store, self.keys(names)
        io = within(io, store.deadline)
        gone = [] if keep_stale else keys
        change = store.set_and_delete, store.aset_and_delete
        await io.op(*change, self._key(""), _new(), gone)
        if keep_stale:
            # From where writes go: what a replica has may be one from before the current one.
            for key, (old, _) in (await io.op(store.look_many, store.alook_many, keys)).items():
                await self._soften(io, key, old)

    async def _soften(self, io: Effects, key: str, old: bytes) -> None:
        """Give a generation another soft half."""
        store = self._store
        soft = old[:_HARD] + secrets.token_bytes(_HALF)
        if not await io.op(store.replace, store.areplace, key, old, soft):
            # It was invalidated meanwhile, or there is no room: then what has it is invalid.
            await io.op(store.compare_and_delete, store.acompare_and_delete, key, old)


def is_generation(stored: Any) -> bool:
    """Tell whether what a store keeps is the generation of a tag."""
    return type(stored) is bytes and len(stored) == _SIZE and stored.startswith(_MAGIC)


def _judged(
    pinned: Sequence[Pins], keys: Mapping[str, str], found: Mapping[str, Any]
) -> list[Standing]:
    return [
        max(
            (_standing(pin, found.get(keys[name])) for name, pin in pins),
            default=Standing.CURRENT,
        )
        for pins in pinned
    ]


def _standing(pinned: Any, current: Any) -> Standing:
    if type(current) is not bytes or type(pinned) is not bytes or len(pinned) != _SIZE:
        return Standing.GONE
    if current == pinned:
        return Standing.CURRENT
    return Standing.STALE if current[:_HARD] == pinned[:_HARD] else Standing.GONE


def _new() -> bytes:
    return _MAGIC + secrets.token_bytes(2 * _HALF)
