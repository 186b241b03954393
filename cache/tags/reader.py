"""What reads entries, those as well that have tags.

A codec cannot tell what has become of an entry's tags: to it an entry that has some is a miss. Here
the tags are looked at, and an entry whose tags are current is one without tags.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final, TypeAlias, TypeVar

from twofold.clock import Clock
from twofold.effects import Effects
from twofold.entry import MISSING, Codec, Described, Entry, Missing
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.metadata import Meta, Metas, Pins, has_tags
from twofold.tags.generations import NOTHING, Standing, Tags
from twofold.tags.seen import Seen

T = TypeVar("T")

_Became: TypeAlias = Mapping[Meta | None, Meta | Missing]

_NO_TIMES: Final = (0.0, inf, inf)


class Reader:
    """Reads the entries of one cache.

    Args:
        codec: decodes them.
        tags: tell the standing of those that have some.
        clock: tells what is stale.
        seen: is told which tags entries have.
    """

    def __init__(self, codec: Codec, tags: Tags, clock: Clock, seen: Seen | None = None) -> None:
        self._seen = seen
        self._codec = codec
        self._tags = tags
        self._clock = clock

    @property
    def owner(self) -> str:
        """The alias of the cache."""
        return self._codec.owner

    async def open(
        self, io: Effects, key: str, stored: Any, known: Mapping[str, Any] = NOTHING
    ) -> Entry | Missing:
        """Return an entry, however old; MISSING if it is invalid, or whatever is wrong with it.

        Args:
            io: the face of the caller.
            key: the normalised key.
            stored: what the store keeps.
            known: what was read along with it, see `Tags.standing`.

        Raises:
            BackendUnavailable: the store cannot tell what has become of its tags.
        """
        return await self.judge(io, key, self.read(key, stored, known), known)

    def read(
        self,
        key: str,
        stored: Any,
        known: Mapping[str, Any] = NOTHING,
    ) -> Entry | Missing:
        """Do what `open` does, and ask nobody: tags that are not told of stay with the entry."""
        entry = self._codec.open(key, stored)
        if entry is MISSING or entry.meta is None or not entry.meta.tags:
            return entry
        return _judged(entry, self._tags.standing(entry.meta.tags, known))

    def current(
        self,
        key: str,
        stored: Any,
        known: Mapping[str, Any] = NOTHING,
        names: Iterable[str] = (),
    ) -> Any | Missing:
        """Return a value of which no times are told, if its tags are known to be current.

        It is fresh for as long as it is there. MISSING tells nothing. `names` are tags that are
        `known`, and that it probably has: then one comparison tells that they are current.
        """
        if type(stored) is Described:
            kept, meta = stored
            if meta[:3] != _NO_TIMES or meta.error:
                return MISSING
            is_current = self._tags.standing(meta.tags, known) is Standing.CURRENT
            return self._codec.load(key, kept) if is_current else MISSING
        described = self._tags.described(names, known) if names else b""
        return self._codec.load_described(key, stored, described) if described else MISSING

    async def judge(
        self, io: Effects, key: str, entry: Entry | Missing, known: Mapping[str, Any] = NOTHING
    ) -> Entry | Missing:
        """Return what was read, once its tags are known; see `open`."""
        if entry is MISSING or entry.meta is None or not entry.meta.tags:
            return entry
        if self._seen is not None:
            self._seen.note(key, entry.meta.tags)
        try:
            [standing] = await self._tags.standings(io, [entry.meta.tags], known)
        except PartlyUnavailable as error:  # of one entry there is no part
            raise BackendUnavailable(str(error)) from error
        return _judged(entry, standing)

    async def load(self, io: Effects, key: str, stored: Any) -> Any | Missing:
        """Return a fresh value; MISSING if there is none.

        Raises:
            BackendUnavailable: the store cannot tell what has become of its tags.
        """
        if not has_tags(stored):
            return self._codec.load(key, stored)
        entry = await self.open(io, key, stored)
        if entry is MISSING or not entry.is_fresh(self._clock.time()):
            return MISSING
        return entry.value

    async def open_many(
        self,
        io: Effects,
        stored: Mapping[str, Any],
        known: Mapping[str, Any] = NOTHING,
        tags: Iterable[Iterable[str]] = (),
    ) -> dict[str, Entry | Missing]:
        """Do what `open` does for several keys, whose tags are read at once.

        `tags` are those that are `known`, and that some of the entries probably have.

        Raises:
            PartlyUnavailable: some servers did not answer; to the `result`, what has tags of
                theirs is missing.
            BackendUnavailable: the store cannot tell.
        """
        entries, metas = self._open_all(stored, known, tags)
        became, partly = await self._judge_all(io, metas, known)
        if became:
            self._note(entries, became, known)
            entries = {key: _as_it_became(entry, became) for key, entry in entries.items()}
        return whole(entries, partly)

    async def load_many(
        self,
        io: Effects,
        stored: Mapping[str, Any],
        names: Mapping[str, str],
        known: Mapping[str, Any] = NOTHING,
        tags: Iterable[Iterable[str]] = (),
    ) -> dict[str, Any]:
        """Return the fresh ones of several values, by `names` of their keys; see `open_many`."""
        entries, metas = self._open_all(stored, known, tags)
        became, partly = await self._judge_all(io, metas, known)
        if became:
            self._note(entries, became, known)
        now = self._clock.time()
        fresh = {meta for meta in metas if _is_fresh(became.get(meta, meta), now)}
        values = {
            names[key]: entry.value
            for key, entry in entries.items()
            if entry is not MISSING and entry.meta in fresh
        }
        return whole(values, partly)

    def _open_all(
        self, stored: Mapping[str, Any], known: Mapping[str, Any], tags: Iterable[Iterable[str]]
    ) -> tuple[dict[str, Entry | Missing], set[Meta | None]]:
        """Return entries with their tags, but for those that are seen to be current.

        And the metadata that they have.
        """
        metas, open_one = Metas(partial(self._as_known, known)), self._codec.open
        for names in tags:
            metas[self._tags.described(names, known)] = None
        entries = {key: open_one(key, each, metas) for key, each in stored.items()}
        return entries, {None, *metas.values()}

    def _as_known(self, known: Mapping[str, Any], meta: Meta) -> Meta | None:
        """Return None for metadata that tell no time, if their tags are known to be current."""
        if meta[:3] != _NO_TIMES or meta.error:
            return meta
        is_current = self._tags.standing(meta.tags, known) is Standing.CURRENT
        return None if is_current else meta

    def _note(
        self, entries: Mapping[str, Entry | Missing], became: _Became, known: Mapping[str, Any]
    ) -> None:
        """Note the tags of entries that are not `known`, so that they are the next time."""
        seen, keys = self._seen, self._tags.keys
        if seen is None or not self._tags.are_read:
            return
        told = known.keys()
        others = {
            meta for meta in became if meta and not told >= {*keys([name for name, _ in meta.tags])}
        }
        for key, entry in entries.items() if others else ():
            if entry is not MISSING and entry.meta is not None and entry.meta in others:
                seen.note(key, entry.meta.tags)

    async def _judge_all(
        self, io: Effects, metas: Iterable[Meta | None], known: Mapping[str, Any]
    ) -> tuple[_Became, PartlyUnavailable | None]:
        """Return what became of those metadata that have tags, and why it may be a part."""
        tagged = [meta for meta in metas if meta is not None and meta.tags]
        if not tagged:
            return {}, None
        partly = None
        try:
            standings = await self._tags.standings(io, [meta.tags for meta in tagged], known)
        except PartlyUnavailable as error:
            standings, partly = error.result, error
        return dict(zip(tagged, map(_became, tagged, standings), strict=True)), partly

    async def judged(self, io: Effects, metas: Iterable[Meta]) -> list[Meta]:
        """Return those of `metas` whose tags have not been invalidated, without tags.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        every = list(metas)
        if not any(meta.tags for meta in every):
            return every
        standings = await self._tags.standings(io, [meta.tags for meta in every])
        return [
            meta._replace(tags=())
            for meta, standing in zip(every, standings, strict=True)
            if standing is Standing.CURRENT
        ]

    async def extend(self, io: Effects, key: str, stored: Any, life: float | None) -> None:
        """Have the tags of what the store keeps live for as long as that is to from now on."""
        with suppress(BackendUnavailable):  # what is done to the entry itself tells of it
            await self._tags.pin(io, [name for name, _ in self.tags_of(key, stored)], life)

    def tags_of(self, key: str, stored: Any) -> Pins:
        """Return the tags of what the store keeps, whatever has become of them."""
        entry = self._codec.open(key, stored)
        return () if entry is MISSING or entry.meta is None else entry.meta.tags


def is_untold(entry: Entry | Missing) -> bool:
    """Tell whether the store is to be asked what has become of the tags of an entry."""
    return entry is not MISSING and entry.meta is not None and entry.meta.tags != ()


def _judged(entry: Entry, standing: Standing) -> Entry | Missing:
    """Return an entry without its tags; stale, or MISSING, if these have been invalidated."""
    value, meta, mark = entry
    assert meta is not None  # noqa: S101
    if standing is Standing.UNTOLD:
        return entry
    became = _became(meta, standing)
    return MISSING if became is MISSING else Entry(value, became, mark)


def _became(meta: Meta, standing: Standing) -> Meta | Missing:
    """Return metadata without their tags, as of a stale value if one of these was so marked."""
    created, soft, hard, took, _, error = meta
    if standing is Standing.CURRENT:
        return Meta(created, soft, hard, took, (), error)
    if standing is Standing.STALE:
        return Meta(created, -inf, hard, took, (), error)
    return MISSING


def _is_fresh(meta: Meta | Missing | None, now: float) -> bool:
    return meta is None or (meta is not MISSING and meta.is_fresh(now))


def _as_it_became(entry: Entry | Missing, became: _Became) -> Entry | Missing:
    if entry is MISSING or entry.meta not in became:
        return entry
    meta = became[entry.meta]
    return MISSING if meta is MISSING else Entry(entry.value, meta, entry.mark)


def whole(result: dict[str, T], partly: PartlyUnavailable | None) -> dict[str, T]:
    """Return `result`, or raise why it is a part only."""
    if partly is None:
        return result
    partly.result = result
    raise partly
