"""Tags whose generations are values in the store.

A generation is a byte that begins no entry, no counter and no stub, and two random halves of 64
bits. It lives for as long as the longest-lived entry that was computed under it.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from twofold.backend import Backend
from twofold.effects import Effects, within
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.metadata import Pins, tag_head, timeless
from twofold.tags.generations import NOTHING, Standing, Tags

_MAGIC: Final = b"\xf4"
_HALF: Final = 8
_HARD: Final = len(_MAGIC) + _HALF
_SIZE: Final = _HARD + _HALF

_REMEMBERED: Final = 1024  # tags
_REMEMBERED_LENGTH: Final = 256  # characters of a name

_FOR_EVER: Final = 50 * 365 * 86400.0
_COMPUTING: Final = 60.0
"""Seconds that a generation has more than its entry: it is pinned before the function runs."""


class Reads(Protocol):
    """How generations are read: from the store, or near of it."""

    def get(self, key: str) -> Any | None:
        """Return the value of `key`, or None."""

    async def aget(self, key: str) -> Any | None:
        """Do what `get` does."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return those of `keys` that are there."""

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Do what `get_many` does."""


class _Known(dict[str, tuple[str, bytes]]):
    """The keys of tags, and what comes before their generations in metadata, by their names.

    Of a name that is long only the key is told.
    """

    def __init__(self, key: Callable[[str], str]) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, name: str) -> tuple[str, bytes]:
        key = self._key(name)
        if len(name) > _REMEMBERED_LENGTH:
            return key, b""
        made = key, tag_head(name, _SIZE)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[name] = made
        return made


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
        self._known = _Known(key)

    def keys(self, names: Iterable[str]) -> list[str]:
        known = self._known
        return [known[name][0] for name in names]

    def standing(self, pins: Pins, known: Mapping[str, Any] = NOTHING) -> Standing:
        worst = Standing.CURRENT
        for name, pin in pins:
            key = self._known[name][0]
            if key not in known:
                return Standing.UNTOLD
            current = known[key]
            if current != pin or len(pin) != _SIZE:
                worst = max(worst, _standing(pin, current))
        return worst

    def described(self, names: Iterable[str], known: Mapping[str, Any]) -> bytes:
        tags: list[bytes] = []
        for name in names:
            key, head = self._known[name]
            generation = known.get(key)
            if not head or type(generation) is not bytes or len(generation) != _SIZE:
                return b""
            tags += (head, generation)
        return timeless(tags)

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
        for key, (value, _) in [*there.items()]:
            if not is_generation(value):  # somebody else stored it, and no entry can have it
                await io.op(store.compare_and_delete, store.acompare_and_delete, key, value)
                del there[key]
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
        pins = {pin for each in pinned for pin in each}
        names = dict.fromkeys([name for name, _ in pins])
        unknown = [key for key in self.keys(names) if key not in known]
        found, partly = known, None
        if unknown:
            found = {**known, **dict.fromkeys(unknown)}
            try:
                found |= await self._read(io, unknown)
            except PartlyUnavailable as error:
                found, partly = found | error.result, error
        of = {pin: self.standing((pin,), found) for pin in pins}.__getitem__
        result = [max(map(of, each), default=Standing.CURRENT) for each in pinned]
        if partly is not None:
            raise PartlyUnavailable(str(partly), result) from partly
        return result

    async def _read(self, io: Effects, keys: list[str]) -> dict[str, Any]:
        reads = self._reads
        if len(keys) > 1:
            return await io.op(reads.get_many, reads.aget_many, keys)
        return {keys[0]: await io.op(reads.get, reads.aget, keys[0])}

    async def invalidate(self, io: Effects, names: Sequence[str], *, keep_stale: bool) -> None:
        store, keys = self._store, self.keys(names)
        io = within(io, store.deadline)
        change = store.set_and_delete, store.aset_and_delete
        if not keep_stale:
            await io.op(*change, self._key(""), _new(), keys)
            return
        try:
            await io.op(*change, self._key(""), _new(), [])
        except BackendUnavailable:  # the server of the epoch, and maybe of no tag
            await self._soften_all(io, keys)
            raise
        await self._soften_all(io, keys)

    async def _soften_all(self, io: Effects, keys: Sequence[str]) -> None:
        """Give generations other soft halves, those of all servers that answer."""
        store = self._store
        failure: BackendUnavailable | None = None
        try:
            # From where writes go: what a replica has may be one from before the current one.
            there = await io.op(store.look_many, store.alook_many, keys)
        except PartlyUnavailable as error:
            there, failure = error.result, error
        for key in keys:
            try:
                if key in there:
                    await self._soften(io, key, there[key][0])
                else:  # of what another has removed, a copy may be near, which a write ends
                    remove = store.compare_and_delete, store.acompare_and_delete
                    await io.op(*remove, key, _new())
            except BackendUnavailable as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _soften(self, io: Effects, key: str, old: bytes) -> None:
        """Give a generation another soft half."""
        store = self._store
        soft = old[:_HARD] + secrets.token_bytes(_HALF)
        softened = is_generation(old) and await io.op(store.replace, store.areplace, key, old, soft)
        if not softened:
            # It was invalidated meanwhile, or there is no room: then what has it is invalid.
            await io.op(store.compare_and_delete, store.acompare_and_delete, key, old)


def is_generation(stored: Any) -> bool:
    """Tell whether what a store keeps is the generation of a tag."""
    return type(stored) is bytes and len(stored) == _SIZE and stored.startswith(_MAGIC)


def _standing(pinned: Any, current: Any) -> Standing:
    """Return what has become of a tag whose generation is not the one that was pinned."""
    if type(current) is not bytes or type(pinned) is not bytes or len(pinned) != _SIZE:
        return Standing.GONE
    return Standing.STALE if current[:_HARD] == pinned[:_HARD] else Standing.GONE


def _new() -> bytes:
    return _MAGIC + secrets.token_bytes(2 * _HALF)
