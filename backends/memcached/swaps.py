"""What takes several steps on one key: counting, and writing over what is expected."""

from collections.abc import Callable
from time import monotonic

from twofold import counter
from twofold.backends.memcached import commands, results
from twofold.backends.network import Command, Exchange, Refused, Reply
from twofold.effects import Effects
from twofold.errors import BackendUnavailable, CacheError

_ATTEMPTS = 16  # times that a value is read again, since it was changed meanwhile


class Swaps:
    """Operations whose last step is refused if the value was changed since the first.

    Args:
        exchange: the way to the servers.
        expiry: returns a life as a server wants it.
        deadline: seconds that all steps together may take.
    """

    def __init__(
        self,
        exchange: Exchange,
        expiry: Callable[[str, float | None], int],
        deadline: float,
    ) -> None:
        self._exchange = exchange
        self._expiry = expiry
        self._deadline = deadline

    async def incr(self, io: Effects, key: str, delta: int) -> int:
        """Add by the server's `incr`, and take back what leaves signed 64 bits.

        Where the server sees no number it is done by CAS; who comes second may find one.
        """
        due = monotonic() + self._deadline
        for _ in range(_ATTEMPTS):
            reply = await self._ask(io, commands.incr(key, delta), due)
            if results.is_no_number(reply):
                added = await self._incr_by_cas(io, key, delta, due)
                if added is not None:
                    return added
                continue
            total = results.counted(key, reply)
            if not results.is_overflow(total, delta):
                return total
            await self._ask(io, commands.incr(key, -delta))  # with all the time that it may take
            raise results.overflow(key, delta)
        raise _restless(key)

    async def _incr_by_cas(self, io: Effects, key: str, delta: int, due: float) -> int | None:
        """Add to another program's number, such as `b"-5"`; None if it was changed meanwhile.

        Servers before 1.6 also fail to see a number in one over 2**63 now and then.
        """
        asked = [commands.gets(key), commands.ttl(key)]
        found, left = await io.op(self._exchange.ask_all, self._exchange.aask_all, asked, due)
        item = results.item(key, found)
        if item is None:
            return None
        total = counter.total(key, item.value, delta)
        expiry = self._expiry(key, results.seconds(key, left))
        put = commands.cas(key, counter.write(total), expiry, item.unique)
        return total if results.is_added(await self._ask(io, put, due)) else None

    async def swap(
        self, io: Effects, key: str, expected: bytes, put: Callable[[int], Command], due: float
    ) -> bool:
        """Put something where `expected` stands, and tell whether it did.

        That is the command that `put` makes of what changes whenever the value does. It is
        done again if `expected` was written anew meanwhile.
        """
        for _ in range(_ATTEMPTS):
            item = results.item(key, await self._ask(io, commands.gets(key), due))
            if item is None or item.value != expected:
                return False
            if results.is_added(await self._ask(io, put(item.unique), due)):
                return True
        raise _restless(key)

    async def _ask(
        self, io: Effects, command: Command, due: float | None = None
    ) -> Reply | Refused:
        return await io.op(self._exchange.ask, self._exchange.aask, command, due)


def _restless(key: str) -> CacheError:
    return BackendUnavailable(f"{key!r} is changed by others all the time: try again later")
