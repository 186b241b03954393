"""The contract of a store.

A backend stores values under keys that are already normalised (printable ASCII, at most
250 bytes) and knows no rule of caching. It has every operation in two faces. The sync
half is abstract; the async half is written here, once, as one hop to a worker thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from twofold.clock import SYSTEM_CLOCK, Clock, followed
from twofold.display import mask_location, shown
from twofold.effects import BLOCKING, NATIVE, Call, Effects, run_sync, within
from twofold.errors import BackendUnavailable, SettingsError
from twofold.metadata import HasMetadata
from twofold.stub import is_stub
from twofold.watch import Watch, Watcher

if TYPE_CHECKING:
    from twofold.effects import WorkerPool

Kind: TypeAlias = Literal["native", "threaded", "inline"]

Stored: TypeAlias = Any
"""What a backend keeps: `bytes`, unless `holds_objects`. Never None."""


Looked: TypeAlias = tuple[Stored, float | None]
"""What was found under a key, and the seconds that it has left, None for ever."""

_CLAIM_ATTEMPTS = 3  # at a key that comes and goes

BreakerState: TypeAlias = Literal["closed", "open"]


class Fill(NamedTuple):
    """What is to stand in the place of what is expected there."""

    expected: Stored
    value: Stored
    ttl: float | None


@dataclass(frozen=True)
class ServerState:
    """How one server of a store does, as far as this process knows."""

    name: str
    breaker: BreakerState
    """What its circuit breaker does with calls: "open", it refuses them until the server answers
    a ping."""
    failures: int
    """Failures since the last reply to a caller."""
    error: str
    """The last failure; empty after such a reply."""
    connections: int
    """How many are open and idle, or shared."""


@dataclass(frozen=True)
class Examined:
    """What one server of a store says of itself."""

    name: str
    version: str
    round_trip: float
    """Seconds."""
    warnings: tuple[str, ...] = ()
    item_size_max: int | None = None
    """Bytes of the largest item, key included, where the server has such a limit."""
    watch: str = ""
    """Of a store that is watched: "live", or why it is not."""


class Backend(ABC):
    """A store with parallel `get`/`aget`, `set`/`aset`, …

    A subclass implements the abstract methods below; that alone makes it work in both
    faces. Its constructor's keyword parameters are its `OPTIONS`.

    Values are bytes. A value made of bare ASCII digits with an optional minus sign is a
    counter, which `incr` adds to. `ttl` is in seconds, positive, None for ever. Errors
    of the driver are raised as `BackendUnavailable` from the original. A lock's key, see
    `keys.kinds.is_lock`, is not evicted before its time is over.

    Args:
        location: where the store is: a path, a URL, a name; the backend's own to read.
        deadline: seconds that one operation may take.
        clock: tells the time.
    """

    kind: Kind = "threaded"
    """"threaded": `aget` and the like hop to a thread. "native": they use an async
    driver. "inline": they call the sync method, which never blocks."""

    holds_objects: bool = False
    """Whether values are kept as Python objects in this process instead of as bytes."""

    thread_sensitive: bool = False
    """Whether every async call must run in one and the same thread."""

    workers: int = 16
    """Threads at most for the async half."""

    batch_size: int = 1
    """Calls at most that a worker gives to `run_batch` at a time."""

    private: bool = False
    """Whether only this process reads and writes it, so that no stub need tell others
    of a computation. Its operations never wait."""

    hides_stubs: bool = False
    """Whether a stub (see `twofold.stub`) is a missing value to each operation but `get` and
    `get_many`, which return it, and what is compared with one. Where it is not, the cache
    makes up for it by further operations."""

    tells_metadata: bool = False
    """Whether at a value that has metadata (see `twofold.metadata`) `has`, `add`, `touch`, `ttl`
    and `incr` do nothing and raise `HasMetadata`, and `delete_many` returns those of what it
    removed as `Removed`. Where it does not, the cache makes up for it by further operations."""

    takes_many_locations: bool = False
    """Whether `LOCATION` may be a list."""

    def __init__(
        self,
        location: str | list[str] = "",
        *,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        is_number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        if not is_number or not 0 < deadline < inf:
            raise SettingsError(
                f"OPTIONS['deadline'] is the seconds that an operation may take,"
                f" more than 0 and finite; not {shown(deadline)}"
            )
        self.location = location
        self.deadline: float = float(deadline)
        self.clock: Clock = followed(clock)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {_masked(self.location)!r} {self.kind}>"

    @property
    def identity(self) -> object:
        """What the backends of one store have in common in this process.

        An object that can be hashed and referred to weakly, and lives as long as one of them.
        """
        return self

    @property
    def evicted(self) -> int | None:
        """How many entries were removed to make room; None where the store cannot tell."""
        return None

    def exclusive(self) -> AbstractContextManager[object]:
        """Keep other threads' writes to a private store out while it is entered."""
        return nullcontext()

    @abstractmethod
    def get(self, key: str) -> Stored | None:
        """Return the value of `key`, or None if it is missing or expired."""

    async def aget(self, key: str) -> Stored | None:
        return await self._worker_pool(self.get, key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Return the values of those of `keys` that are there."""
        found = ((key, self.get(key)) for key in keys)
        return {key: value for key, value in found if value is not None}

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return await self._worker_pool(self.get_many, keys)

    def look(self, key: str) -> Looked | None:
        """Return what `get` does, from where writes go, and the seconds that it has left.

        They are 0.0 where the store cannot tell. One that tells of metadata or hides stubs
        overrides this: by `ttl`, the first have None and the second 0.0.
        """
        return run_sync(self._look(BLOCKING, key))

    async def alook(self, key: str) -> Looked | None:
        if self.kind == "native":
            return await self._look(NATIVE, key)
        return await self._worker_pool(self.look, key)

    async def _look(self, io: Effects, key: str) -> Looked | None:
        found = await io.op(self.get, self.aget, key)
        if found is None:
            return None
        try:
            return found, await io.op(self.ttl, self.attl, key)
        except HasMetadata:
            return found, None

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        """Do what `look` does for each key, and return what was found."""
        looked = ((key, self.look(key)) for key in keys)
        return {key: each for key, each in looked if each is not None}

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        if self.kind != "native":
            return await self._worker_pool(self.look_many, keys)
        looked = [(key, await self.alook(key)) for key in keys]
        return {key: each for key, each in looked if each is not None}

    @abstractmethod
    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        """Store `value`, over whatever is there, and return whether it is stored."""

    async def aset(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._worker_pool(self.set, key, value, ttl)

    def set_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        """Store all `items`, and return the keys of those that are not stored."""
        return [key for key, value in items.items() if not self.set(key, value, ttl)]

    async def aset_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return await self._worker_pool(self.set_many, items, ttl)

    @abstractmethod
    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        """Store `value` only if `key` is missing, atomically; return whether it is stored."""

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        return await self._worker_pool(self.add, key, value, ttl)

    @abstractmethod
    def touch(self, key: str, ttl: float | None) -> bool:
        """Give `key` a new life of `ttl`, and return whether it was there."""

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return await self._worker_pool(self.touch, key, ttl)

    @abstractmethod
    def ttl(self, key: str) -> float | None:
        """Return the seconds that `key` has left: None for ever, 0.0 if it is missing."""

    async def attl(self, key: str) -> float | None:
        return await self._worker_pool(self.ttl, key)

    @abstractmethod
    def delete(self, key: str) -> bool:
        """Remove `key`, and return whether it was there."""

    async def adelete(self, key: str) -> bool:
        return await self._worker_pool(self.delete, key)

    def delete_many(self, keys: Sequence[str]) -> int:
        """Remove `keys`, and return how many of them were there."""
        return sum(self.delete(key) for key in keys)

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._worker_pool(self.delete_many, keys)

    def set_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        """Store `value` for ever under `key`, and then remove `keys`, in this order.

        Where there is no room for `value`, or it cannot be known to be stored, `keys` are removed
        all the same, and with them, in the first case, what `key` had.

        Raises:
            BackendUnavailable: some of it may not have been done.
        """
        run_sync(self._set_and_delete(BLOCKING, key, value, keys))

    async def aset_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        if self.kind == "native":
            await self._set_and_delete(NATIVE, key, value, keys)
        else:
            await self._worker_pool(self.set_and_delete, key, value, keys)

    async def _set_and_delete(
        self, io: Effects, key: str, value: Stored, keys: Sequence[str]
    ) -> None:
        io = within(io, self.deadline)
        remove = self.delete_many, self.adelete_many
        try:
            stored = await io.op(self.set, self.aset, key, value, None)
        except BackendUnavailable:  # the server of this key, and maybe of no other
            await io.op(*remove, keys)
            raise
        await io.op(*remove, keys if stored else [key, *keys])

    def has(self, key: str) -> bool:
        """Return whether `key` is there."""
        return self.get(key) is not None

    async def ahas(self, key: str) -> bool:
        return await self._worker_pool(self.has, key)

    @abstractmethod
    def incr(self, key: str, delta: int) -> int:
        """Add `delta` to a counter, atomically, keeping its expiry; return the sum.

        Raises:
            MissingKey: `key` is not there.
            NotACounter: its value is not a signed 64-bit integer.
            CounterOverflow: the sum would not be one; the counter is unchanged.
        """

    async def aincr(self, key: str, delta: int) -> int:
        return await self._worker_pool(self.incr, key, delta)

    @abstractmethod
    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        """Store `value` only if `key` holds `expected`, atomically; return whether it did."""

    async def acompare_and_set(
        self, key: str, expected: Stored, value: Stored, ttl: float | None
    ) -> bool:
        return await self._worker_pool(self.compare_and_set, key, expected, value, ttl)

    def replace(self, key: str, expected: Stored, value: Stored) -> bool:
        """Do what `compare_and_set` does, but leave `key` the life that it has.

        Override it where the store can do that in one step: here, what passes between
        reading the life and writing it again is added to it.
        """
        ttl = self.ttl(key)
        return ttl != 0 and self.compare_and_set(key, expected, value, ttl)

    async def areplace(self, key: str, expected: Stored, value: Stored) -> bool:
        return await self._worker_pool(self.replace, key, expected, value)

    @abstractmethod
    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        """Remove `key` only if it holds `expected`, atomically; return whether it did."""

    async def acompare_and_delete(self, key: str, expected: Stored) -> bool:
        return await self._worker_pool(self.compare_and_delete, key, expected)

    @abstractmethod
    def clear(self, prefix: str) -> None:
        """Remove every key that begins with `prefix`; with an empty one, every key."""

    async def aclear(self, prefix: str) -> None:
        await self._worker_pool(self.clear, prefix)

    def get_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        """Store `stub` for `life` seconds if `key` is missing; else return what is there.

        What is there may be another's stub. None says that nothing was; `stub` is stored
        then, if the store had room for it.
        """
        return run_sync(self._get_or_claim(BLOCKING, key, stub, life))

    async def aget_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        if self.kind == "native":
            return await self._get_or_claim(NATIVE, key, stub, life)
        return await self._worker_pool(self.get_or_claim, key, stub, life)

    async def _get_or_claim(
        self, io: Effects, key: str, stub: Stored, life: float
    ) -> Stored | None:
        for _ in range(_CLAIM_ATTEMPTS):
            with suppress(HasMetadata):
                if await io.op(self.add, self.aadd, key, stub, life):
                    return None
            found = await io.op(self.get, self.aget, key)
            if found is not None:
                return found
        return None

    def fill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        """Store `value` only if `key` holds `stub`, atomically; return whether it did."""
        return self.compare_and_set(key, stub, value, ttl)

    async def afill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return await self.acompare_and_set(key, stub, value, ttl)

    def get_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        """Do what `get_or_claim` does for each key, and return what it would."""
        return {key: self.get_or_claim(key, stub, life) for key in keys}

    async def aget_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        if self.kind == "native":
            return {key: await self.aget_or_claim(key, stub, life) for key in keys}
        return await self._worker_pool(self.get_or_claim_many, keys, stub, life)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        """Do what `fill` does for each key, and return what it would.

        What is expected may be an entry, too, as in `compare_and_set`.
        """
        return {
            key: self.fill(key, *each)
            if is_stub(each.expected, self.holds_objects)
            else self.compare_and_set(key, *each)
            for key, each in fills.items()
        }

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        if self.kind != "native":
            return await self._worker_pool(self.fill_many, fills)
        return {
            key: await self.afill(key, *each)
            if is_stub(each.expected, self.holds_objects)
            else await self.acompare_and_set(key, *each)
            for key, each in fills.items()
        }

    def release_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        """Do what `compare_and_delete` does for each key, and return what it would."""
        return {key: self.compare_and_delete(key, each) for key, each in held.items()}

    async def arelease_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        if self.kind != "native":
            return await self._worker_pool(self.release_many, held)
        return {key: await self.acompare_and_delete(key, each) for key, each in held.items()}

    def renew(self, key: str, stub: Stored, life: float) -> bool:
        """Give `stub` a new life only if `key` holds it; return whether it did."""
        return self.compare_and_set(key, stub, stub, life)

    async def arenew(self, key: str, stub: Stored, life: float) -> bool:
        return await self.acompare_and_set(key, stub, stub, life)

    def release(self, key: str, stub: Stored) -> bool:
        """Remove `stub` only if `key` holds it; return whether it did."""
        return self.compare_and_delete(key, stub)

    async def arelease(self, key: str, stub: Stored) -> bool:
        return await self.acompare_and_delete(key, stub)

    def watch(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> Watch | None:
        """Have `watcher` told of changes to keys with one of `prefixes`, whoever makes them.

        It begins in the background, and raises no outage: until it is live, nothing that was read
        may be kept. None says that this store cannot tell, or may not.

        Args:
            prefixes: of which none begins with another.
            watcher: is told, in a thread of the store's.
            bound: the seconds after which what was told last is no longer relied upon.
        """
        return None

    def servers(self) -> list[ServerState]:
        """Return the state of each server, without asking any; empty for a store without."""
        return []

    def examine(self) -> list[Examined]:
        """Ask each server what it is, and how it is set up; empty for a store without."""
        return []

    async def aexamine(self) -> list[Examined]:
        return await self._worker_pool(self.examine)

    def close(self) -> None:
        """Let go of connections, files and threads; the next operation takes them again.

        A subclass that overrides this calls `super().close()` first, which waits for
        the calls that its workers are still at.
        """
        if "_worker_pool" in vars(self):
            self._worker_pool.close()

    def retire(self) -> None:
        """Close, since other settings have come: what is only in this process ends with it."""
        self.close()

    async def aclose(self) -> None:
        from twofold.effects import call_in_thread

        await call_in_thread(self.close)

    @cached_property
    def _worker_pool(self) -> "WorkerPool":
        from twofold.effects import WorkerPool

        return WorkerPool(
            self.run_batch,
            workers=1 if self.thread_sensitive else self.workers,
            batch=self.batch_size,
            deadline=self.deadline,
            name=f"twofold-{type(self).__name__}",
        )

    def run_batch(self, calls: Sequence[Call]) -> None:
        """Run in a worker calls of the async half that were made together.

        Override it to give a whole batch one transaction; see also `batch_size`.
        """
        for call in calls:
            call.run()


def _masked(location: str | list[str]) -> str | list[str]:
    if isinstance(location, str):
        return mask_location(location)
    return [*map(mask_location, location)]


class InlineBackend(Backend):
    """A store that never blocks, so that its async half calls the sync half directly."""

    kind: Kind = "inline"

    async def aget_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        return self.get_or_claim(key, stub, life)

    async def aget_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        return self.get_or_claim_many(keys, stub, life)

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return self.fill_many(fills)

    async def arelease_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        return self.release_many(held)

    async def aget(self, key: str) -> Stored | None:
        return self.get(key)

    async def aget_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return self.get_many(keys)

    async def alook(self, key: str) -> Looked | None:
        return self.look(key)

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return self.look_many(keys)

    async def aset(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self.set(key, value, ttl)

    async def aset_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return self.set_many(items, ttl)

    async def aadd(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self.add(key, value, ttl)

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return self.touch(key, ttl)

    async def attl(self, key: str) -> float | None:
        return self.ttl(key)

    async def adelete(self, key: str) -> bool:
        return self.delete(key)

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return self.delete_many(keys)

    async def aset_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        self.set_and_delete(key, value, keys)

    async def ahas(self, key: str) -> bool:
        return self.has(key)

    async def aincr(self, key: str, delta: int) -> int:
        return self.incr(key, delta)

    async def acompare_and_set(
        self, key: str, expected: Stored, value: Stored, ttl: float | None
    ) -> bool:
        return self.compare_and_set(key, expected, value, ttl)

    async def areplace(self, key: str, expected: Stored, value: Stored) -> bool:
        return self.replace(key, expected, value)

    async def acompare_and_delete(self, key: str, expected: Stored) -> bool:
        return self.compare_and_delete(key, expected)

    async def aclear(self, prefix: str) -> None:
        self.clear(prefix)

    async def aexamine(self) -> list[Examined]:
        return self.examine()

    async def aclose(self) -> None:
        self.close()
