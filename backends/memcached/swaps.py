"""What takes several steps on one key: counting, and writing over what is expected."""

import random
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from twofold import counter
from twofold.backends.memcached import commands, results, stored
from twofold.backends.memcached.proxies import Proxies
from twofold.backends.memcached.replies import Item
from twofold.backends.network import Client, Command, Refused, Reply
from twofold.effects import Effects
from twofold.errors import BackendUnavailable, CacheError

_ATTEMPTS = 16  # times that a value is read again, since it was changed meanwhile


class Swaps:
    """Operations whose last step is refused if the value was changed since the first.

    Args:
        client: the way to the servers.
        proxies: the way for what proxies do not know.
        expiry: returns a life as a server wants it.

    All steps together end at the monotonic time `deadline`.
    """

    def __init__(
        self,
        client: Client,
        proxies: Proxies,
        expiry: Callable[[str, float | None], int],
    ) -> None:
        self._client = client
        self._proxies = proxies
        self._expiry = expiry

    async def incr(self, io: Effects, key: str, delta: int, deadline: float) -> int:
        """Add by the server's `incr` where it can, and by CAS otherwise.

        A counter that comes near the ends of signed 64 bits is written so that the server
        sees no number in it. What another program wrote is taken back if it was passed.
        """
        for _ in range(_ATTEMPTS):
            if abs(delta) <= stored.MOST:
                reply = await self._ask(io, commands.incr(key, delta), deadline)
                if not results.is_no_number(reply):
                    return await self._added(io, key, delta, results.counted(key, reply), deadline)
            total = await self._incr_by_cas(io, key, delta, deadline)
            if total is not None:
                return total
        raise _restless(key)

    async def _added(self, io: Effects, key: str, delta: int, total: int, deadline: float) -> int:
        """Return what the server says is the sum, or take it back."""
        if results.is_overflow(total, delta):
            await self._ask(io, commands.incr(key, -delta), deadline)
            raise results.overflow(key, delta)
        if stored.is_near_the_end(total):
            with suppress(CacheError):  # it has been added; who comes next will see to it too
                await self._incr_by_cas(io, key, 0, deadline)
        return total

    async def _incr_by_cas(self, io: Effects, key: str, delta: int, deadline: float) -> int | None:
        """Add where the server sees no number; None if it was changed meanwhile.

        That is near the ends, and in another program's number such as `b"-5"`. Servers
        before 1.6 also fail to see one in a number over 2**63 now and then.
        """
        item, left = await self._found(io, key, deadline)
        total = counter.total(key, item.value if item else None, delta)
        if item is None:
            return None
        put = commands.cas(key, counter.write(total), left(), item.unique)
        return total if results.is_added(await self._ask(io, put, deadline)) else None

    async def replace(
        self, io: Effects, key: str, expected: bytes, value: bytes, deadline: float
    ) -> bool:
        """Put `value` where `expected` stands, with the life that is left, and tell whether."""
        item, left = await self._found(io, key, deadline)
        if item is None or item.value != expected:
            return False
        put = commands.cas(key, value, left(), item.unique)
        return results.is_added(await self._ask(io, put, deadline))

    async def _found(
        self, io: Effects, key: str, deadline: float
    ) -> tuple[Item | None, Callable[[], int]]:
        """Return what is stored, and what tells the life it has left when that is asked."""
        since = monotonic()
        found, told = await self._proxies.ask_both(
            io, commands.gets(key), commands.ttl(key), deadline
        )

        def left() -> int:
            life = results.seconds(key, told)
            if life is not None and random.random() < monotonic() - since:  # noqa: S311
                # Servers count whole seconds. A step from one to the next between the answer and
                # the write would prolong the life by a second; in the mean, this takes it back.
                life -= 1
            return self._expiry(key, life)

        return results.item(key, found), left

    async def swap(
        self, io: Effects, key: str, expected: bytes, put: Callable[[int], Command], deadline: float
    ) -> bool:
        """Put something where `expected` stands, and tell whether it did.

        That is the command that `put` makes of what changes whenever the value does. It is
        done again if `expected` was written anew meanwhile.
        """
        for _ in range(_ATTEMPTS):
            item = results.item(key, await self._ask(io, commands.gets(key), deadline))
            if item is None or item.value != expected:
                return False
            if results.is_added(await self._ask(io, put(item.unique), deadline)):
                return True
        raise _restless(key)

    async def _ask(self, io: Effects, command: Command, deadline: float) -> Reply | Refused:
        return await io.op(self._client.execute, self._client.aexecute, command, deadline)


def _restless(key: str) -> CacheError:
    return BackendUnavailable(f"{key!r} is changed by others all the time: try again later")
