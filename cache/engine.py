"""What the operations of a cache stand on: its store, its codec, its keys, its numbers."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, Self

from twofold.assembly import Parts
from twofold.backend import Backend
from twofold.claims.filter import hiding_stubs
from twofold.claims.keys import KeyClaim
from twofold.claims.table import claims_of
from twofold.claims.turns import Turn
from twofold.computing.answers import Answers, Found
from twofold.computing.batches import Batches
from twofold.computing.computations import Computations
from twofold.computing.function_of_many import FunctionOfMany
from twofold.computing.loads import Loads
from twofold.computing.maker import Maker
from twofold.computing.unserializable import Unserializable
from twofold.counting import SignedCounters
from twofold.described import FreshStore
from twofold.effects import BLOCKING, NATIVE, Effects, remaining, run_sync
from twofold.entry import MISSING, Codec
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.freshness.overrides import override, requests
from twofold.freshness.policies import Policies
from twofold.freshness.policy import Age, Policy
from twofold.freshness.rests import Rests
from twofold.guard import guard_for
from twofold.keys import KeyMaker, many
from twofold.near.reader import NearReader, Reads, far_of
from twofold.near.writes import OwnWrites
from twofold.outage import FailOpen
from twofold.stats import Counts, Hits
from twofold.tags.generations import NOTHING, Tags
from twofold.tags.local import LocalTags, table_of
from twofold.tags.reader import Reader, is_untold
from twofold.tags.seen import Seen
from twofold.tags.stored import StoredTags
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout, seconds
from twofold.types import Shape, TypedCodec


def _tags(store: Backend, reads: Reads, keys: KeyMaker) -> Tags:
    """Return the tags of a cache's entries in `store`."""
    if store.private and store.holds_objects:
        return LocalTags(table_of(store.identity), keys.tag)
    return StoredTags(store, keys.tag, reads)


class Engine:
    """The parts of a cache, and the steps that its operations share."""

    # What hits look at: Python finds it in slots at once, but not among more than 30 attributes.
    _HOT: Final = (
        "_asks",
        "_backend",
        "_claims",
        "_counts",
        "_counts_here",
        "_dump",
        "_guard",
        "_here",
        "_is_inline",
        "_key",
        "_known",
        "_load",
        "_near",
        "_reads",
        "_remote",
        "_seen",
        "_tolerant_reads",
        "_unwrapped",
        "_waits",
        "timeout",
    )
    __slots__ = (*_HOT, "__dict__", "__weakref__")

    @classmethod
    def _of(cls, parts: Parts) -> Self:
        """Return a cache made of `parts`."""
        made = cls.__new__(cls)
        made._assemble(parts)
        return made

    def _assemble(self, parts: Parts) -> None:
        self.alias: str = parts.alias
        self.backend: Backend = parts.backend
        self.timeout: float | None = parts.timeout
        backend, codec, keys, options = parts.backend, parts.codec, parts.keys, parts.options
        store = backend if backend.private and backend.tells_metadata else hiding_stubs(backend)
        near = parts.near
        far = store
        if near is not None:
            store = OwnWrites(far, near.tier)
        fail_open = None if backend.kind == "inline" else FailOpen(store, parts.alias)
        self._tolerant = store if fail_open is None else fail_open
        self._fail_open = fail_open
        self._backend = self._tolerant if options["on_error"] == "miss" else store
        codec.owner = parts.alias
        self._near = near
        self._reads: Reads = self._backend
        self._tolerant_reads: Reads = self._tolerant
        self._raising_reads: Reads = store
        self._stale_reads: Reads = self._backend
        if near is not None:
            outage = fail_open.outage if fail_open else None
            self._raising_reads = NearReader(near, far)
            self._tolerant_reads = NearReader(near, far, outage)
            tolerates = self._backend is self._tolerant
            self._reads = self._tolerant_reads if tolerates else self._raising_reads
            self._stale_reads = NearReader(near, far, outage, raises=not tolerates)
        self._counts = Counts()
        self._note_here(parts)
        self._tags = _tags(store, self._reads, keys)
        self._seen = Seen()
        tags = _tags(store, self._backend, keys)  # not those that are near
        self._fresh = FreshStore(self._backend, codec, Reader(codec, tags, backend.clock))
        self._keys = keys
        self._key = keys.__call__  # bound once: looking it up costs a tenth of a hit
        self._known = keys.known.get
        self._scope = "" if options["clear"] == "flush" else None
        self._guard = guard_for(backend, parts.alias, options["blocking_calls"])
        self._is_inline = backend.kind == "inline" and self._guard is None
        self._store = store
        self._remote = backend.kind == "native"
        self._claims = claims_of(store.identity)
        self._rests = Rests(parts.alias, store.clock, self._claims.resting)
        self._clock = backend.clock
        raises = options["on_unserializable"] == "raise"
        self._unserializable = Unserializable(parts.alias, store.clock, raises=raises)
        self._freshness = Policy(parts.timeout, default=parts.timeout, **parts.freshness)
        self._asks = bool(parts.freshness)
        self._policy = Policies(self._freshness).of
        self._use(codec)

    def _note_here(self, parts: Parts) -> None:
        """Note what of the store is in this process: copies, or all of it."""
        near, inline = parts.near, parts.backend.kind == "inline"
        self._waits = near is not None or not inline
        self._counts_here: Hits = near.tier if near else self._counts
        self._here: Callable[[str], Any] = NOTHING.get
        if near is not None:
            self._here = near.tier.get
        elif inline:
            self._here = self._reads.get
        self._far_reads = far_of(self._reads)
        self._stale_far_reads = far_of(self._stale_reads)

    def _use(self, codec: Codec) -> None:
        """Read and write values by `codec`."""
        store, counts, rests = self._store, self._counts, self._rests
        self._codec = codec
        self._load = codec.load
        self._unwrapped = codec.unwrapped_types
        self._dump = codec.dump
        fail_open = self._fail_open if self.fails_open else None
        signed = SignedCounters(self.backend, self._fresh.reader, codec, fail_open)
        self._counters = signed if codec.signs_numbers else self._fresh
        self._reader = Reader(codec, self._tags, self._clock, self._seen)
        stale_tags = _tags(store, self._stale_reads, self._keys)
        self._stale_reader = Reader(codec, stale_tags, self._clock, self._seen)
        # A hit looks at tags that may be near; who computes asks the store itself.
        claim, tags = self._keys.claim, _tags(store, store, self._keys)
        note = None if self._fail_open is None else self._fail_open.outage.fail
        self._maker = maker = Maker(
            codec, store.clock, counts, rests, self._unserializable, tags, note
        )
        self._computations = Computations(store, maker, claim, counts, rests)
        found_tags = _tags(store, self._tolerant_reads, self._keys)
        reader = Reader(codec, found_tags, self._clock, self._seen)
        self._answers = Answers(self._computations, maker, reader, store.clock, rests, counts)
        loads = Loads(self._computations, maker, store, claim, counts, rests)
        self._batches = Batches(
            self._computations, self._answers, loads, maker, store, counts, rests
        )

    def _of_type(self, shape: Shape, tell_other: Callable[[str], None] | None) -> Self:
        """Return this cache as one of values of a type.

        Raises:
            Unknown: nothing can convert them.
        """
        codec, rich = self._codec, self._codec.keeps != "json"
        if codec.keeps == "all":
            return self
        if tell_other is not None and (shape.says_nothing or shape.is_kept(rich=rich)):
            return self
        made = type(self).__new__(type(self))
        for name in (*self._HOT, *vars(self)):
            setattr(made, name, getattr(self, name))
        holds_objects = self._store.holds_objects
        typed = TypedCodec(
            codec, shape.fitted(rich=rich), holds_objects=holds_objects, tell_other=tell_other
        )
        made._use(typed)
        return made

    def __copy__(self) -> Self:
        return self  # the way to a store, and not what is in it

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Cache {self.alias!r} {self._keys!r} timeout={self.timeout} {self.backend!r}>"

    @property
    def available(self) -> bool:
        """Whether the last operation that an outage may turn into a miss reached the store."""
        return self._fail_open is None or not self._fail_open.outage.lasting

    @property
    def fails_open(self) -> bool:
        """Whether an outage of the store is a miss, and no error."""
        return self._backend is self._fail_open

    @property
    def flushes(self) -> bool:
        """Whether `clear()` empties the whole store, and not only this alias's prefix."""
        return self._scope is not None

    def _close_store(self) -> None:
        self._close_near()
        self.backend.close()

    def _retire_store(self) -> None:
        self._close_near()
        self.backend.retire()

    def _close_near(self) -> None:
        """Drop what is near, and end its watch; the next read begins another one."""
        if self._near is not None:
            self._near.tier.close()

    def _noted(self, outage: BackendUnavailable) -> bool:
        """Count and log an outage if that is a miss here; tell whether it is."""
        if self._fail_open is None or not self.fails_open:
            return False
        self._fail_open.outage.fail(outage)
        return True

    def _reached(self) -> None:
        """Note that the store has answered."""
        if self._fail_open is not None and self._fail_open.outage.lasting:
            self._fail_open.outage.end()

    def _claim(self, full: str, turn: Turn) -> KeyClaim:
        """Return a claim to a normalised key, for the holder of `turn`."""
        reader, counts = self._maker.reader, self._counts
        return KeyClaim(self._store, self._codec, reader, full, self._keys.claim, turn, counts)

    def _clear(self, method: str, scope: str) -> None:
        if self._guard is not None:
            self._guard(method)
        self._claims.detach_all(scope)
        self._backend.clear(scope)

    async def _aclear(self, scope: str) -> None:
        self._claims.detach_all(scope)
        await self._backend.aclear(scope)

    def _find(self, key: str, version: int | None, policy: Policy, since: float) -> Found:
        """Return what `key` holds, and how old it is; nothing in an outage."""
        return self._find_in(self._tolerant_reads, self._key(key, version), policy, since)

    def _find_in(self, reads: Reads, full: str, policy: Policy, since: float = 0.0) -> Found:
        tags = (not callable(policy.tags) and policy.tags) or self._seen.get(full, ())
        also = self._tags.keys(tags) if tags else ()
        read = reads.get_many([full, *also]) if also else {full: reads.get(full)}
        stored = read.get(full)
        if stored is None:
            return Found(full, MISSING, Age.GONE)
        if type(stored) in self._unwrapped:
            return Found(full, stored, Age.FRESH)
        if tags and (value := self._reader.current(full, stored, read, tags)) is not MISSING:
            return Found(full, value, Age.FRESH)
        known = {**dict.fromkeys(also), **read} if also else NOTHING
        entry = self._reader.read(full, stored, known)
        if is_untold(entry):
            io = remaining(BLOCKING, self._store.deadline, since)
            return run_sync(self._answers.find(io, full, entry, policy, known))
        return self._answers.found(full, entry, policy)

    async def _afind(self, key: str, version: int | None, policy: Policy, since: float) -> Found:
        return await self._afind_in(self._tolerant_reads, self._key(key, version), policy, since)

    async def _afind_in(self, reads: Reads, full: str, policy: Policy, since: float = 0.0) -> Found:
        tags = (not callable(policy.tags) and policy.tags) or self._seen.get(full, ())
        also = self._tags.keys(tags) if tags else ()
        read = await reads.aget_many([full, *also]) if also else {full: await reads.aget(full)}
        stored = read.get(full)
        if stored is None:
            return Found(full, MISSING, Age.GONE)
        if type(stored) in self._unwrapped:
            return Found(full, stored, Age.FRESH)
        if tags and (value := self._reader.current(full, stored, read, tags)) is not MISSING:
            return Found(full, value, Age.FRESH)
        known = {**dict.fromkeys(also), **read} if also else NOTHING
        entry = self._reader.read(full, stored, known)
        if is_untold(entry):
            io = remaining(NATIVE, self._store.deadline, since)
            return await self._answers.find(io, full, entry, policy, known)
        return self._answers.found(full, entry, policy)

    async def _bring(
        self,
        io: Effects,
        found: Found,
        function: Callable[[], Any],
        policy: Policy,
        since: float,
        tell_served: Callable[[], None] | None = None,
    ) -> Any:
        """Return what is to be computed where what was found is not served; see `Answers.bring`."""
        return await self._answers.bring(
            io, found, function, policy, since, reachable=self.available, tell_served=tell_served
        )

    async def _override(
        self,
        io: Effects,
        key: str,
        version: int | None,
        function: Callable[[], Any],
        policy: Policy,
    ) -> Any:
        """Return what is computed for a caller that does not take what is stored."""
        if override() == "bypass":
            return await self._maker.call(io, function)
        return await self._computations.refresh(io, self._key(key, version), function, policy)

    async def _bring_many(
        self, io: Effects, keys: list[str], function: FunctionOfMany, policy: Policy
    ) -> dict[str, Any]:
        """Return the values of normalised keys: what is found and served, and what is computed."""
        if not keys:
            return {}
        if requests and (what := override()):
            if what == "bypass":
                return await function.call(io, self._maker, keys)
            return await self._batches.refresh(io, keys, function, policy)
        since = monotonic() if self._remote else 0.0
        common = () if callable(policy.tags) else policy.tags
        tags = {common} if common else {*function.tags.values()} or self._seen.of(keys)
        also = self._tags.keys({name: None for each in tags for name in each})
        read, reachable = await self._read_many(io, [*keys, *also])
        known = {key: read.pop(key, None) for key in also}
        every = await self._answers.find_many(
            remaining(io, self._store.deadline, since), keys, read, policy, known, tags
        )
        return await self._batches.bring(io, every, function, policy, since, reachable=reachable)

    async def _read_many(self, io: Effects, keys: list[str]) -> tuple[dict[str, Any], bool]:
        """Return what is stored, as far as the store can tell, and whether it is worth asking."""
        fail_open, reads = self._fail_open, self._raising_reads
        try:
            found = await io.op(reads.get_many, reads.aget_many, keys)
        except BackendUnavailable as exc:
            if fail_open is not None:
                fail_open.outage.fail(exc)
            return (exc.result, True) if isinstance(exc, PartlyUnavailable) else ({}, False)
        self._reached()
        return found, True

    def _ttl(self, timeout: Timeout) -> float | None:
        return self.timeout if timeout is DEFAULT_TIMEOUT else seconds(timeout)

    def _names(self, keys: Iterable[str], version: int | None) -> dict[str, str]:
        """Return the caller's keys by their normalised ones."""
        return {self._key(key, version): key for key in many(keys)}

    def _stored(self, stored: bool) -> bool:
        if stored:
            self._counts.stores += 1
        return stored

    def _deleted(self, number: int) -> int:
        self._counts.deletes += number
        return number

    def _detach(self, full: str) -> None:
        if self._claims.table:
            self._claims.detach(full)

    def _detached(self, keys: Iterable[str]) -> list[str]:
        """Return normalised `keys`, whose flights are detached."""
        found = list(keys)
        if self._claims.table:
            for full in found:
                self._claims.detach(full)
        return found
