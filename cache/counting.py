"""Counters that are signed, to which therefore no store can add.

What is stored is read and verified, and its sum with the change put in its place if that
is still what it was; else all is done again. The life that is left stays as it is.
"""

from twofold import counter
from twofold.backend import Backend
from twofold.backoff import pauses
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync, within
from twofold.entry import MISSING, Codec
from twofold.errors import BackendUnavailable, MissingKey, NotACounter
from twofold.outage import FailOpen
from twofold.tags.reader import Reader


class SignedCounters:
    """Adds to signed counters in the place of a store.

    Args:
        store: keeps them.
        reader: reads what is stored.
        codec: signs them.
        fail_open: makes an outage a miss; None if that is an error.
    """

    def __init__(
        self, store: Backend, reader: Reader, codec: Codec, fail_open: FailOpen | None
    ) -> None:
        self._store = store
        self._reader = reader
        self._codec = codec
        self._fail_open = fail_open

    def incr(self, key: str, change: int) -> int:
        return run_sync(self._add(BLOCKING, key, change))

    async def aincr(self, key: str, change: int) -> int:
        return await self._add(NATIVE, key, change)

    async def _add(self, io: Effects, key: str, change: int) -> int:
        if self._fail_open is not None:
            return await self._fail_open.count(add, io, self._reader, self._codec, key, change)
        return await add(io, self._store, self._reader, self._codec, key, change)


async def add(
    io: Effects, store: Backend, reader: Reader, codec: Codec, key: str, change: int
) -> int:
    """Add `change` to the signed counter under `key`, and return the sum.

    Raises:
        MissingKey: there is none, or what stands there is not signed as it should be.
        NotACounter: what is stored is no counter.
        CounterOverflow: the sum leaves signed 64 bits.
        BackendUnavailable: others changed it, for as long as an operation may take.
    """
    io = within(io, store.deadline)
    for pause in pauses(store.deadline, store.clock.monotonic):
        if pause:
            await io.sleep(pause)
        stored = await io.op(store.get, store.aget, key)
        entry = MISSING if stored is None else await reader.open(io, key, stored)
        if entry is MISSING or not entry.is_fresh(store.clock.time()):
            raise MissingKey(f"no counter {key!r} to add to: set it first")
        number = entry.value
        if entry.meta is not None or not counter.is_counter(number):
            raise NotACounter(
                f"{key!r} does not hold a signed 64-bit integer to add to: set it to one first"
            )
        total = counter.add(number, change)
        if await io.op(store.replace, store.areplace, key, stored, codec.dump(key, total)):
            return total
    raise BackendUnavailable(
        f"compare-and-set on {key!r} failed again and again under contention: try again later"
    )
