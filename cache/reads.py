"""The operations that read values.

Each sync method stands above its async twin, as in `core`.
"""

from collections.abc import Collection, Iterable, Mapping
from time import monotonic
from typing import Any

from twofold.effects import BLOCKING, NATIVE, Effects, loops, remaining, run_sync
from twofold.engine import Engine
from twofold.entry import MISSING, Entry, Missing
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.metadata import Pins, has_tags
from twofold.stats import Hits
from twofold.tags.generations import NOTHING
from twofold.tags.reader import is_untold, whole


class ReadingCache(Engine):
    """`get` and `get_many`."""

    def get(
        self,
        key: str,
        default: Any = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Any:
        """Return the value of `key`, or `default`; None is a hit, a stale one if `allow_stale`."""
        if self._guard is not None and loops.running() is not None:
            self._guard("get")
        names, here = self._known, self._here
        try:  # what `_key` does first: its call costs as much of a hit as counting it
            full = names(key) if version is None else None
        except TypeError:  # unhashable
            full = None
        if full is None:
            full = self._key(key, version)
        stored = here(full)
        if stored is not None:
            counts, since = self._counts_here, 0.0
        else:
            if self._waits:
                if (tags := self._seen.get(full)) is not None:
                    return run_sync(self._get_seen(BLOCKING, full, tags, default, allow_stale))
                counts, since = self._counts, monotonic()
                stored = (self._stale_far_reads if allow_stale else self._far_reads).get(full)
            if stored is None:
                self._counts.misses += 1
                return default
        if type(stored) in self._unwrapped:
            counts.hits += 1
            return stored
        value = (self._load_stale if allow_stale else self._load)(full, stored)
        if value is MISSING:
            if has_tags(stored):
                if type(stored) is not bytes:
                    known = NOTHING if self._near is None else self._tags_here(stored.meta.tags)
                    value = self._reader.current(full, stored, known)
                if value is not MISSING:
                    counts.hits += 1
                    return value
                entry = self._reader.read(full, stored)
                if is_untold(entry):
                    io = remaining(BLOCKING, self._store.deadline, since)
                    told = self._get_tagged(io, full, entry, default, allow_stale, counts)
                    return run_sync(told)
                return self._given(entry, default, allow_stale, counts)
            self._counts.misses += 1
            return default
        counts.hits += 1
        return value

    async def aget(
        self,
        key: str,
        default: Any = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Any:
        """Do what `get` does."""
        names, here = self._known, self._here
        try:
            full = names(key) if version is None else None
        except TypeError:
            full = None
        if full is None:
            full = self._key(key, version)
        stored = here(full)
        if stored is not None:
            counts, since = self._counts_here, 0.0
        else:
            if self._waits:
                if (tags := self._seen.get(full)) is not None:
                    return await self._get_seen(NATIVE, full, tags, default, allow_stale)
                counts, since = self._counts, monotonic()
                reads = self._stale_far_reads if allow_stale else self._far_reads
                stored = await reads.aget(full)
            if stored is None:
                self._counts.misses += 1
                return default
        if type(stored) in self._unwrapped:
            counts.hits += 1
            return stored
        value = (self._load_stale if allow_stale else self._load)(full, stored)
        if value is MISSING:
            if has_tags(stored):
                if type(stored) is not bytes:
                    known = NOTHING if self._near is None else self._tags_here(stored.meta.tags)
                    value = self._reader.current(full, stored, known)
                if value is not MISSING:
                    counts.hits += 1
                    return value
                entry = self._reader.read(full, stored)
                if is_untold(entry):
                    io = remaining(NATIVE, self._store.deadline, since)
                    told = self._get_tagged(io, full, entry, default, allow_stale, counts)
                    return await told
                return self._given(entry, default, allow_stale, counts)
            self._counts.misses += 1
            return default
        counts.hits += 1
        return value

    def _tags_here(self, pins: Pins) -> dict[str, Any]:
        """Return those generations of tags that are near."""
        here = self._here
        keys = self._tags.keys([name for name, _ in pins])
        return {key: copy for key in keys if (copy := here(key)) is not None}

    def _near_hit(self, key: str) -> Any | Missing:
        """Return the value of `key` if it is near, and asks nobody."""
        full = self._known(key) or self._key(key, None)
        copy = self._here(full)
        if copy is None:
            return MISSING
        value = copy if type(copy) in self._unwrapped else self._load(full, copy)
        if value is not MISSING:
            self._counts_here.hits += 1
        return value

    async def _get_seen(
        self, io: Effects, full: str, names: Iterable[str], default: Any, allow_stale: bool
    ) -> Any:
        """Do what `get` does, in one round trip if an entry has the tags that it had before."""
        counts, since, also = self._counts, monotonic(), self._tags.keys(names)
        reads = self._stale_reads if allow_stale else self._reads
        reader = self._stale_reader if allow_stale else self._reader
        try:
            read = await io.op(reads.get_many, reads.aget_many, [full, *also])
            known = dict.fromkeys(also) | read
        except PartlyUnavailable:  # maybe for a tag that the entry has no more
            io, known = remaining(io, self._store.deadline, since), {}
            read = {full: await io.op(reads.get, reads.aget, full)}
        stored = read.get(full)
        if stored is None:
            counts.misses += 1
            return default
        value = reader.current(full, stored, known, names)
        if value is not MISSING:
            counts.hits += 1
            return value
        if not has_tags(stored):
            self._seen.pop(full, None)
        entry = reader.read(full, stored, known)
        if is_untold(entry):
            io = remaining(io, self._store.deadline, since)
            return await self._get_tagged(io, full, entry, default, allow_stale, counts)
        return self._given(entry, default, allow_stale, counts)

    async def _get_tagged(
        self,
        io: Effects,
        full: str,
        read: Entry | Missing,
        default: Any,
        allow_stale: bool,
        counts: Hits,
    ) -> Any:
        """Return the value of what was read and has tags, or `default`."""
        try:
            reader = self._stale_reader if allow_stale else self._reader
            entry = await reader.judge(io, full, read)
        except BackendUnavailable as exc:
            if not self._noted(exc):
                raise
            entry = MISSING
        return self._given(entry, default, allow_stale, counts)

    def _given(self, entry: Entry | Missing, default: Any, allow_stale: bool, counts: Hits) -> Any:
        """Return the value of an entry as `get` does, and count that."""
        value = self._value(entry, allow_stale)
        if value is MISSING:
            self._counts.misses += 1
            return default
        counts.hits += 1
        return value

    def get_many(
        self, keys: Iterable[str], version: int | None = None, *, allow_stale: bool = False
    ) -> dict[str, Any]:
        """Return the values of those of `keys` that are there, in one round trip.

        Raises:
            PartlyUnavailable: some servers did not answer; its `result` is what this would
                have returned without them.
        """
        if self._guard is not None:
            self._guard("get_many")
        names, since = self._names(keys, version), monotonic()
        if self._seen and (tags := self._seen.of(names)):
            return run_sync(self._get_many_seen(BLOCKING, names, tags, allow_stale, since))
        try:
            found = (self._stale_reads if allow_stale else self._reads).get_many(list(names))
        except PartlyUnavailable as error:
            error.result = self._load_all(names, error.result, allow_stale, since)
            raise
        return self._load_all(names, found, allow_stale, since)

    async def aget_many(
        self, keys: Iterable[str], version: int | None = None, *, allow_stale: bool = False
    ) -> dict[str, Any]:
        """Do what `get_many` does."""
        names, since = self._names(keys, version), monotonic()
        if self._seen and (tags := self._seen.of(names)):
            return await self._get_many_seen(NATIVE, names, tags, allow_stale, since)
        try:
            reads = self._stale_reads if allow_stale else self._reads
            found = await reads.aget_many(list(names))
        except PartlyUnavailable as error:
            error.result = await self._aload_all(names, error.result, allow_stale, since)
            raise
        return await self._aload_all(names, found, allow_stale, since)

    async def _get_many_seen(
        self,
        io: Effects,
        names: Mapping[str, str],
        tags: Collection[tuple[str, ...]],
        allow_stale: bool,
        since: float,
    ) -> dict[str, Any]:
        """Do what `get_many` does, in one round trip if entries have the tags that some had."""
        also = self._tags.keys({name: None for each in tags for name in each})
        reads = self._stale_reads if allow_stale else self._reads
        known, partly = dict[str, Any].fromkeys(also), None
        try:
            found = await io.op(reads.get_many, reads.aget_many, [*names, *also])
        except PartlyUnavailable as error:
            found, partly = error.result, error
        known |= {key: found.pop(key) for key in also if key in found}
        io = remaining(io, self._store.deadline, since)
        expected = tags if self._near is None else ()  # what was near is not compared by its bytes
        read = await self._load_tagged(io, names, found, allow_stale, {}, known, expected)
        return whole(read, partly)

    def _load_all(
        self, names: Mapping[str, str], found: Mapping[str, Any], allow_stale: bool, since: float
    ) -> dict[str, Any]:
        read, left = self._load_untagged(names, found, allow_stale)
        if left:
            io = remaining(BLOCKING, self._store.deadline, since)
            return run_sync(self._load_tagged(io, names, left, allow_stale, read))
        return self._counted(read, len(names))

    async def _aload_all(
        self, names: Mapping[str, str], found: Mapping[str, Any], allow_stale: bool, since: float
    ) -> dict[str, Any]:
        read, left = self._load_untagged(names, found, allow_stale)
        if left:
            io = remaining(NATIVE, self._store.deadline, since)
            return await self._load_tagged(io, names, left, allow_stale, read)
        return self._counted(read, len(names))

    def _load_untagged(
        self, names: Mapping[str, str], found: Mapping[str, Any], allow_stale: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return values by the caller's keys, and what is left from the first that has tags on."""
        load, read = self._load_stale if allow_stale else self._load, dict[str, Any]()
        entries = iter(found.items())
        for full, stored in entries:
            value = load(full, stored)
            if value is not MISSING:
                read[names[full]] = value
            elif has_tags(stored):  # as most of those that follow, then
                return read, {full: stored, **dict(entries)}
        return read, {}

    def _counted(self, read: dict[str, Any], asked: int) -> dict[str, Any]:
        self._counts.hits += len(read)
        self._counts.misses += asked - len(read)
        return read

    async def _load_tagged(
        self,
        io: Effects,
        names: Mapping[str, str],
        left: Mapping[str, Any],
        allow_stale: bool,
        read: dict[str, Any],
        known: Mapping[str, Any] = NOTHING,
        tags: Iterable[Iterable[str]] = (),
    ) -> dict[str, Any]:
        """Return the values of what is `left`, and has tags or none, with those `read` before."""
        load = self._load_many_stale if allow_stale else self._reader.load_many
        try:
            read |= await load(io, left, names, known, tags)
        except PartlyUnavailable as error:
            error.result = self._counted({**read, **error.result}, len(names))
            raise
        return self._counted(read, len(names))

    async def _load_many_stale(
        self,
        io: Effects,
        stored: Mapping[str, Any],
        names: Mapping[str, str],
        known: Mapping[str, Any],
        tags: Iterable[Iterable[str]],
    ) -> dict[str, Any]:
        """Do what `Reader.load_many` does, with values that may be stale."""
        partly: PartlyUnavailable | None = None
        try:
            opened = await self._stale_reader.open_many(io, stored, known, tags)
        except PartlyUnavailable as error:
            opened, partly = error.result, error
        values = ((full, self._value(entry, allow_stale=True)) for full, entry in opened.items())
        return whole({names[full]: value for full, value in values if value is not MISSING}, partly)

    def _load_stale(self, full: str, stored: Any) -> Any | Missing:
        """Return a value that may be stale, but not past its time."""
        return self._value(self._codec.open(full, stored), allow_stale=True)

    def _value(self, entry: Entry | Missing, allow_stale: bool) -> Any | Missing:
        now = self._clock.time()
        if entry is MISSING or entry.is_gone(now):
            return MISSING
        if not entry.is_fresh(now):
            if not allow_stale:
                return MISSING
            self._counts.stale_hits += 1
        return entry.value
