"""What writes only over the value it has read, by `gets` and `cas`; and counting, which may."""

import random
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from twofold import counter
from twofold.backends.memcached import commands, results, stored
from twofold.backends.memcached.claimed import Claimed
from twofold.backends.memcached.operations import ADD, CAS, CAS_AWAY, DELETE, GETS, INCR
from twofold.backends.memcached.proxies import Proxies
from twofold.backends.memcached.replies import Item
from twofold.backends.network import Client, Command
from twofold.backoff import pauses
from twofold.effects import Effects
from twofold.errors import BackendUnavailable, CacheError
from twofold.metadata import HasMetadata, has_metadata
from twofold.stub import is_stub

_SHARE = 0.5  # of the time, for tries: one begun at its end would be cut off with its connection


class CompareAndSet:
    """Operations whose last step is refused if the value was changed since the first.

    Args:
        client: the way to the servers.
        proxies: the way for what proxies do not know.
        expiry: returns a life as a server wants it.
        claimed: the numbers of stubs.

    All steps together end at the monotonic time `deadline`.
    """

    def __init__(
        self,
        client: Client,
        proxies: Proxies,
        expiry: Callable[[str, float | None], int],
        claimed: Claimed,
    ) -> None:
        self._client = client
        self._proxies = proxies
        self._expiry = expiry
        self._claimed = claimed

    async def claim(
        self, io: Effects, key: str, stub: bytes, expiry: int, deadline: float
    ) -> bytes | None:
        """Store `stub` where nothing is, and return None; else return what is there.

        The `gets` behind the `add` tells either what is there, or the number by which the
        claim is filled in one round trip.
        """
        for pause in pauses(_SHARE * (deadline - monotonic())):
            if pause:
                await io.sleep(pause)
            added, told = await self._client.both(
                io, ADD.build(key, stub, expiry), GETS.build(key), deadline
            )
            is_added, item = ADD.read(key, added), GETS.read(key, told)
            if item is not None and item.value != stub:
                return item.value
            if item is not None:
                self._claimed.note(key, stub, item.unique)
            if item is not None or is_added:
                return None
        raise too_many_cas_races(key)

    async def set(
        self,
        io: Effects,
        key: str,
        expected: bytes,
        value: bytes,
        expiry: int,
        deadline: float,
    ) -> bool:
        """Store `value` where `expected` stands, and return whether it did."""

        def write(unique: int) -> Command:
            return CAS.build(key, value, expiry, unique)

        return await self._write_over(io, key, expected, write, deadline)

    async def delete(self, io: Effects, key: str, expected: bytes, deadline: float) -> bool:
        """Remove `key` if it holds `expected`, and return whether it did."""

        def write(unique: int) -> Command:
            return CAS_AWAY.build(key, unique)

        return await self._write_over(io, key, expected, write, deadline)

    async def replace(
        self, io: Effects, key: str, expected: bytes, value: bytes, deadline: float
    ) -> bool:
        """Store `value` where `expected` stands, with the life that is left; return whether."""
        item, left = await self._item_and_life(io, key, deadline)
        if item is None or item.value != expected:
            return False
        return await CAS.step(io, self._client, deadline, key, value, left(), item.unique)

    async def incr(self, io: Effects, key: str, delta: int, deadline: float) -> int:
        """Add by the server's `incr` where it can, and by CAS otherwise.

        A counter that comes near the ends of signed 64 bits is written so that the server
        sees no number in it. What another program wrote is taken back if it was passed.
        """
        for pause in pauses(_SHARE * (deadline - monotonic())):
            if pause:
                await io.sleep(pause)
            if abs(delta) <= stored.MOST:
                total = await INCR.step(io, self._client, deadline, key, delta)
                if total is not None:
                    return await self._checked(io, key, delta, total, deadline)
            total = await self._incr_by_cas(io, key, delta, deadline)
            if total is not None:
                return total
        raise too_many_cas_races(key)

    async def _checked(self, io: Effects, key: str, delta: int, total: int, deadline: float) -> int:
        """Return the server's sum; take it back if it left signed 64 bits."""
        if results.is_overflow(total, delta):
            await self._take_back(io, key, delta, total, deadline)
            raise results.overflow(key, delta)
        if stored.is_near_the_end(total):
            with suppress(CacheError):  # the sum stands; the next caller rewrites it otherwise
                await self._incr_by_cas(io, key, 0, deadline)
        return total

    async def _take_back(
        self, io: Effects, key: str, delta: int, total: int, deadline: float
    ) -> None:
        """Undo a sum that left signed 64 bits, by CAS where the server sees no number in it."""
        if await INCR.step(io, self._client, deadline, key, -delta) is not None:
            return
        item, left = await self._item_and_life(io, key, deadline)
        if item is not None and counter.read(item.value) == total:
            before = counter.write(stored.signed((total - delta) % stored.WRAP))
            await CAS.step(io, self._client, deadline, key, before, left(), item.unique)

    async def _incr_by_cas(self, io: Effects, key: str, delta: int, deadline: float) -> int | None:
        """Add where the server sees no number; None if it was changed meanwhile.

        That is near the ends, and in another program's number such as `b"-5"`. Servers such as
        1.6.18 also see none in a number from 2**63 on where a minus follows in their memory.
        """
        item, left = await self._item_and_life(io, key, deadline)
        if item is not None and is_stub(item.value):
            item = None
        if item is not None and has_metadata(item.value):
            raise HasMetadata(key)
        total = counter.total(key, item.value if item else None, delta)
        if item is None:
            return None
        value = counter.write(total)
        is_added = await CAS.step(io, self._client, deadline, key, value, left(), item.unique)
        return total if is_added else None

    async def _item_and_life(
        self, io: Effects, key: str, deadline: float
    ) -> tuple[Item | None, Callable[[], int]]:
        """Return what is stored, and what tells the life it has left when that is asked."""
        since = monotonic()
        found, told = await self._proxies.ask_both(
            io, commands.gets(key), commands.look(key), deadline
        )

        def left() -> int:
            life = results.left(key, told)
            if life is not None and random.random() < monotonic() - since:  # noqa: S311
                # Servers count whole seconds. A step from one to the next between the answer and
                # the write would prolong the life by a second; in the mean, this takes it back.
                life -= 1
            return self._expiry(key, life)

        return results.item(key, found), left

    async def _write_over(
        self,
        io: Effects,
        key: str,
        expected: bytes,
        write: Callable[[int], Command],
        deadline: float,
    ) -> bool:
        """Send `write` where `expected` stands, and return whether it was stored.

        It is made of the number that changes whenever the value does. Another writer may have
        written `expected` again meanwhile: then it is read again.
        """
        if (unique := self._claimed.take(key, expected)) is not None:
            written = await self._write_over_claim(io, key, expected, write(unique), deadline)
            if written is not None:
                return written
        for pause in pauses(_SHARE * (deadline - monotonic())):
            if pause:
                await io.sleep(pause)
            item = await GETS.step(io, self._client, deadline, key)
            if item is None or item.value != expected:
                return False
            outcome = await io.op(
                self._client.execute, self._client.aexecute, write(item.unique), deadline
            )
            if CAS.read(key, outcome):
                return True
        raise too_many_cas_races(key)

    async def _write_over_claim(
        self, io: Effects, key: str, stub: bytes, write: Command, deadline: float
    ) -> bool | None:
        """Send `write` in one round trip; None if `stub` has another number by now.

        A server that was restarted meanwhile counts from 1 again, and may have given the
        number to another's value. So the same connection asks, just before, whether `stub` is
        there. If it was not, what was written is removed: it may be older than what it replaced.
        """
        told, outcome = await self._client.both(io, GETS.build(key), write, deadline)
        is_written, item = CAS.read(key, outcome), GETS.read(key, told)
        if item is not None and item.value == stub:
            return is_written or None
        if is_written:
            await DELETE.step(io, self._client, deadline, key)
        return False


def too_many_cas_races(key: str) -> CacheError:
    """Return the error of a write that others forestalled each time."""
    return BackendUnavailable(
        f"compare-and-set on {key!r} failed again and again under contention: try again later,"
        " or spread the writes over several keys"
    )
