"""One process's claim to compute a key, kept in the store for others to see.

The claim is a stub in the value's own key. Filling replaces the stub by the value, atomically:
if anybody has written or removed the key meanwhile, the stub is gone and the fill refused, so
that what was computed from an older state is never there to be read. Where an entry is present
that cannot be read, it stays, the claim stands beside it under a key of its own, and filling
compares that entry.

A computation that takes longer than a life has its claim renewed, by comparing the stub. Others
who miss the key meanwhile wait for the value, or for the stub to end, for one life at most: then
they compute without a claim, and do not store. The idea is that of memcached's leases at
Facebook (R. Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1).
"""

import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from twofold.backend import Backend, Stored
from twofold.claims import renewal
from twofold.claims.flights import Late
from twofold.claims.renewal import Living
from twofold.claims.table import Claim, held, reentrant
from twofold.claims.waiting import Wait, pauses, remember_hung
from twofold.effects import Effects, within
from twofold.errors import BackendUnavailable
from twofold.stub import Stub, is_of_this_process, is_stub, new_stub, resting_stub, rests

T = TypeVar("T")


class Resting(Exception):
    """A refresh has failed just before, in this process or another, and is not tried again yet."""


IsValue: TypeAlias = Callable[[Effects, Stored], Awaitable[bool]]
"""Tells whether what stands under a key can be read, and is good."""


class StoredClaim:
    """A claim to compute one key.

    Args:
        store: where it stands.
        key: the normalised key of the value.
        beside: makes the key of a claim beside an entry that cannot be read.
        is_lost: tells whether nobody computes any more who could release it.
        here: the claim that it goes with in this process.
    """

    def __init__(
        self,
        store: Backend,
        key: str,
        beside: Callable[[str], str],
        is_lost: Callable[[], bool],
        here: Claim,
    ) -> None:
        self.here: Claim = here
        self._store = store
        self._key = key
        self._beside = beside
        self.is_lost: Callable[[], bool] = is_lost
        self._stub: Stub = new_stub()
        self._heeds_rest = False
        self.asked: float = 0.0
        """The monotonic time at which the store was asked last whether it may be had."""
        self.ended_rest: bool = False
        """Whether a refresh had failed just before, which this claim does not heed."""
        self._stands_at: str | None = None
        self._present: Stored | None = None

    async def take(
        self,
        io: Effects,
        is_value: IsValue,
        look: Callable[[], None],
        since: float = 0.0,
        others: float = math.inf,
        heeds_rest: bool = False,
        until: float = math.inf,
        owner: str = "",
    ) -> Stored | None:
        """Claim the key, or return the value that somebody brought before or meanwhile.

        Sync code that a loop waits for does not wait for another process either, and nobody
        waits for longer than a stub lives: they compute without a claim, and do not store.
        Whatever comes of it, the claim is to be released.

        Args:
            io: the face of the caller.
            is_value: tells whether what is there can be read.
            look: is called before each look at the store.
            since: the monotonic time at which the key was read, just before: the first look
                shares the store's deadline with that.
            others: for how many claims of others to wait, one after another.
            heeds_rest: whether to leave it, if a refresh has failed just before.
            until: the monotonic time until which to wait for others.
            owner: the alias of the cache, for the event of a long wait.

        Raises:
            Resting: one has, and the next one is later.
            Late: another process computes longer than that.
            ReentrantCall: the caller holds the claim itself, by another cache of the store.
            BackendUnavailable: the store cannot tell.
        """
        renewal.live.add(self._stub, self)
        self._heeds_rest = heeds_rest
        wait = Wait(owner)
        try:
            return await self._take(io, is_value, look, since, others, until, wait)
        finally:
            try:
                wait.leave()
            finally:  # a signal's handler may have broken that off
                wait.leave()

    async def _take(
        self,
        io: Effects,
        is_value: IsValue,
        look: Callable[[], None],
        since: float,
        others: float,
        until: float,
        wait: Wait,
    ) -> Stored | None:
        seen: Stored | None = None
        for pause in pauses():
            look()
            self.asked = since or monotonic()
            found, over = await self._try(within(io, self._store.deadline, self.asked), is_value)
            if over:
                wait.end("claimed" if found is None else "value")
                return found
            self._stands_at, since = None, 0.0
            if renewal.live.holder_of(found) in held():
                self._present = None
                raise reentrant(self._key)
            if self._heeds_rest and found is not None and is_stub(found) and rests(found):
                raise Resting
            if found != seen:
                seen, others = found, others - 1
            wait.leave()
            if others < 0 or not wait.is_of_use(io, found):
                break
            left = until - monotonic()
            if left <= 0:
                raise Late
            wait.begin(self._key)
            await io.sleep(min(pause, left))
        else:
            remember_hung(found)
            wait.end("in vain")
        self._present = None  # whoever computes without a claim does not store
        return None

    async def take_again(self, io: Effects) -> None:
        """Claim the key for a value that is to replace whatever is there.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        renewal.live.add(self._stub, self)
        self.asked = monotonic()
        io = within(io, self._store.deadline, self.asked)
        found = await self._claim(io, self._key)
        if found is not None and is_stub(found, self._store.holds_objects):
            if not await self._replace(io, self._key, found):
                self._stands_at = None
        elif found is not None:
            self._present, self._stands_at = found, None

    async def take_beside(self, io: Effects) -> Stored | None:
        """Claim the key beside what is there, to replace it; return that, or None.

        None says that there is nothing to replace, or that somebody else is at it, or was in
        vain just now. Nobody is waited for.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        renewal.live.add(self._stub, self)
        self.asked = monotonic()
        io = within(io, self._store.deadline, self.asked)
        self._heeds_rest = True
        key = self._beside(self._key)
        found = await self._claim(io, key)
        if not await self._won(io, key, found):
            self._stands_at = None
            return None
        return await self._replaced(io)  # as it is now that nobody else replaces it

    @property
    def replaces(self) -> bool:
        """Whether it stands beside an entry, which filling replaces."""
        return self._present is not None

    async def rest(self, io: Effects, seconds: float) -> None:
        """Let nobody refresh what it stands beside for so long; call `end` all the same."""
        key, store = self._stands_at, self._store
        if key is not None and seconds > 0:
            swap = store.compare_and_set, store.acompare_and_set
            with suppress(BackendUnavailable):
                if await io.op(*swap, key, self._stub, resting_stub(), seconds):
                    self.forget()

    async def fill(self, io: Effects, value: Stored, ttl: float | None) -> bool:
        """Store `value` unless the key has been changed since it was claimed; tell whether it was.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        store, key = self._store, self._key
        if self._present is not None:
            return await io.op(
                store.compare_and_set, store.acompare_and_set, key, self._present, value, ttl
            )
        if self._stands_at is None:
            return False
        filled = await io.op(store.fill, store.afill, key, self._stub, value, ttl)
        if filled:
            self._stands_at = None
        return filled

    async def drop(self, io: Effects) -> bool:
        """Remove the entry that it stands beside, if that has not been changed; tell whether.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        if self._present is None:
            return False
        store, there = self._store, self._present
        drop = store.compare_and_delete, store.acompare_and_delete
        return await io.op(*drop, self._key, there)

    async def stands(self, io: Effects) -> bool:
        """Tell whether nobody has changed the key since it was claimed, and give it a new life.

        Beside an entry that cannot be read the claim stands as long as it can be filled.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        if self._present is not None:
            return True
        if self._stands_at is None:
            return False
        store = self._store
        return await io.op(store.renew, store.arenew, self._key, self._stub, renewal.LIFE)

    async def release(self, io: Effects) -> bool:
        """Let others claim the key; tell whether this claim stood in it to this moment.

        One that stands beside an entry cannot tell what became of that.
        """
        key, store, stood = self._stands_at, self._store, False
        if key is not None:
            with suppress(BackendUnavailable):
                stood = await io.op(store.release, store.arelease, key, self._stub)
        self.forget()  # only now, for whoever is interrupted before calls again
        return stood and key == self._key

    async def end(self, io: Effects) -> bool:
        """Release it even if the caller is cancelled; awaits nothing if it is over already.

        A signal's handler may break that off: call it again in `finally`.
        """
        stood = self._stands_at is not None and await io.shield(self.release(io))
        self.forget()
        return stood

    def forget(self) -> None:
        """Leave the claim to whoever meets it, in this process at once, in others by its end."""
        self._stands_at = None
        renewal.live.remove(self._stub)

    def renew(self) -> None:
        """Begin the life of the stub anew; called in a thread of its own."""
        key = self._stands_at
        if self.is_lost():
            self.forget()
        elif key is not None:
            # There are more tries before its life is over; and others, whatever a store raises.
            with suppress(Exception):
                self._store.renew(key, self._stub, renewal.LIFE)

    async def _try(self, io: Effects, is_value: IsValue) -> tuple[Stored | None, bool]:
        """Claim the key, or return what is there; tell whether that was the last try."""
        self._present, key = None, self._key
        found = await self._claim(io, key)
        if found is None or is_stub(found, self._store.holds_objects):
            return None if (claimed := await self._won(io, key, found)) else found, claimed
        if await is_value(io, found):
            self._stands_at = None
            return found, True
        self._present, key = found, self._beside(key)
        found = await self._claim(io, key)
        if not await self._won(io, key, found):
            return found, False
        # Read again: whoever had the claim before may have brought something newer.
        there = await self._replaced(io)
        if there is not None and await is_value(io, there):
            await self.release(io)
            return there, True
        return None, True

    async def _replaced(self, io: Effects) -> Stored | None:
        """Note and return the entry that the claim stands beside."""
        store = self._store
        there = await io.op(store.get, store.aget, self._key)
        self._present = None if is_stub(there, store.holds_objects) else there
        return self._present

    async def _won(self, io: Effects, key: str, found: Stored | None) -> bool:
        """Tell whether the key is claimed, if what was `found` there can be taken over."""
        return found is None or await self._take_over(io, key, found)

    async def _claim(self, io: Effects, key: str) -> Stored | None:
        self._stands_at = key  # noted before, for the caller may be interrupted after
        store = self._store
        return await io.op(store.get_or_claim, store.aget_or_claim, key, self._stub, renewal.LIFE)

    async def _take_over(self, io: Effects, key: str, found: Stored) -> bool:
        """Replace a stub that a computation of this process left when it was lost."""
        if not is_stub(found, self._store.holds_objects):
            return False
        if rests(found):
            lost = self.ended_rest = not self._heeds_rest
        else:
            lost = is_of_this_process(found) and bytes(found) not in renewal.live
        return lost and await self._replace(io, key, found)

    async def _replace(self, io: Effects, key: str, found: Stored) -> bool:
        store = self._store
        return await io.op(
            store.compare_and_set, store.acompare_and_set, key, found, self._stub, renewal.LIFE
        )


async def end_rest(io: Effects, store: Backend, key: str) -> None:
    """Let whoever asks next refresh what has a claim at `key`, beside it, that nobody holds.

    Raises:
        BackendUnavailable: the store cannot tell.
    """
    there = await io.op(store.get, store.aget, key)
    if there is not None and is_stub(there, store.holds_objects) and rests(there):
        await io.op(store.release, store.arelease, key, there)


async def released(
    io: Effects, claim: Living, compute: Callable[[Effects], Coroutine[Any, Any, T]]
) -> T:
    """Compute, and release `claim` whatever comes of it."""
    try:
        return await compute(io)
    except GeneratorExit:  # the loop is gone, and nothing can be awaited
        claim.forget()
        raise
    finally:
        try:
            await claim.end(io)
        finally:  # a signal's handler may have broken that off
            await claim.end(io)
