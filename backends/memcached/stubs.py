"""Operations to which a stub, a claim to compute a key, is a missing value.

A stub is told from values by its flags, which the server tells without the value. One that does
not know how (before 1.6, or behind some proxies) is asked for the value instead. So is a value
that has metadata, which is left as it is, but by a delete.
"""

from collections.abc import Sequence
from typing import Final

from twofold.backends.memcached import results
from twofold.backends.memcached.cas import too_many_cas_races
from twofold.backends.memcached.operations import ADD, CAS, CAS_AWAY, DELETE, GETS, TOUCH
from twofold.backends.memcached.proxies import Proxies
from twofold.backends.network import Client, Command, Outcome
from twofold.effects import Effects
from twofold.metadata import HasMetadata, Removed, has_metadata
from twofold.stub import is_stub

_ATTEMPTS: Final = 16  # at a key that others write meanwhile


class StubHiding:
    """The operations that tell whether a key is there.

    Args:
        client: the way to the servers.
        proxies: which of them know `mg`.

    All steps together end at the monotonic time `deadline`.
    """

    def __init__(self, client: Client, proxies: Proxies) -> None:
        self._client = client
        self._proxies = proxies

    async def has(self, io: Effects, key: str, deadline: float) -> bool:
        """Tell whether `key` has a value."""
        [look] = await self._proxies.looks(io, [key], deadline)
        return results.is_value(key, await self._ask(io, look, deadline))

    async def add(self, io: Effects, key: str, value: bytes, expiry: int, deadline: float) -> bool:
        """Store `value` where nothing is, or over a stub; return whether it is stored."""
        [look] = await self._proxies.looks(io, [key], deadline)
        for _ in range(_ATTEMPTS):
            add = ADD.build(key, value, expiry)
            added, told = await self._client.both(io, add, look, deadline)
            if ADD.read(key, added):
                return True
            seen = results.seen(key, told)
            if results.is_value(key, told):
                return False
            if seen is not None and await CAS.step(
                io, self._client, deadline, key, value, expiry, seen.unique
            ):
                return True
        raise too_many_cas_races(key)

    async def touch(self, io: Effects, key: str, expiry: int, deadline: float) -> bool:
        """Give a value a new life, and return whether there is one.

        A stub that has come since the look is removed, since it must not live longer than
        others wait for it: its value is refused then, and computed again.
        """
        [look] = await self._proxies.looks(io, [key], deadline)
        if look.packed.startswith(b"gets"):
            return await self._touch_by_cas(io, key, expiry, deadline)
        look = look._replace(reads=False)  # it is the beginning of a write
        if not results.is_value(key, await self._ask(io, look, deadline)):
            return False
        seen = await TOUCH.step(io, self._client, deadline, key, expiry)
        if seen is not None and seen.is_stub:
            await io.shield(CAS_AWAY.step(io, self._client, deadline, key, seen.unique))
        if seen is not None and seen.meta is not None:
            raise HasMetadata(key)
        return seen is not None and not seen.is_stub

    async def delete(self, io: Effects, key: str, deadline: float) -> bool:
        """Remove what is under `key`, and return whether that was a value."""
        [look] = await self._proxies.looks(io, [key], deadline)
        gone = results.deleted(await self._client.both(io, look, DELETE.build(key), deadline))
        return gone > 0 or type(gone) is Removed

    async def delete_many(self, io: Effects, keys: Sequence[str], deadline: float) -> int:
        """Remove what is under `keys`, and return how many values that were."""
        asked: list[Command] = []
        for look in await self._proxies.looks(io, keys, deadline):
            asked += [look._replace(reads=False), DELETE.build(look.key)]
        run, arun = self._client.execute_many, self._client.aexecute_many
        return results.deleted(await io.op(run, arun, asked, deadline))

    async def _touch_by_cas(self, io: Effects, key: str, expiry: int, deadline: float) -> bool:
        for _ in range(_ATTEMPTS):
            item = await GETS.step(io, self._client, deadline, key)
            if item is None or is_stub(item.value):
                return False
            if has_metadata(item.value):
                raise HasMetadata(key)
            if await CAS.step(io, self._client, deadline, key, item.value, expiry, item.unique):
                return True
        raise too_many_cas_races(key)

    async def _ask(self, io: Effects, command: Command, deadline: float) -> Outcome:
        return await io.op(self._client.execute, self._client.aexecute, command, deadline)
