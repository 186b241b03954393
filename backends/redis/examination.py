"""What `twofold check` asks the servers: what they are, and what does not suit a cache."""

from collections.abc import Awaitable, Callable
from time import monotonic

from twofold.backend import Examined
from twofold.backends.network import Refused, Reply, Server
from twofold.backends.redis import commands, results
from twofold.backends.redis.client import RedisClient
from twofold.backends.redis.watch import StoreWatch
from twofold.effects import Effects

_LOOK_EVERY = 0.01  # seconds, at a watch that has just begun


class Examination:
    """One examination of a store.

    Args:
        client: asks the servers.
        watch: tells of changes to the store, if anybody watches.
        round_trip: measures the seconds of a round trip to one server.
    """

    def __init__(
        self,
        client: RedisClient,
        watch: StoreWatch,
        round_trip: Callable[[Effects, Server], Awaitable[float]],
    ) -> None:
        self._client = client
        self._watch = watch
        self._round_trip = round_trip

    async def run(self, io: Effects) -> list[Examined]:
        """Return what each server says of itself."""
        primaries, topology = await self._client.primaries(io), self._client.topology
        told = await self._await_watch(io)
        servers = primaries if topology.splits else topology.servers()
        return [
            await self._examine(io, each, told if each in primaries else "") for each in servers
        ]

    async def _await_watch(self, io: Effects) -> str:
        """Return how the watch does, when it has had the time to begin; empty without one."""
        until = monotonic() + self._client.timeout
        while (told := self._watch.condition) == "" and self._watch.wanted:
            if monotonic() > until:
                return "not live yet"
            await io.sleep(_LOOK_EVERY)
        return told

    async def _examine(self, io: Effects, server: Server, watch: str) -> Examined:
        [text] = await self._client.execute_on(io, server, commands.INFO)
        limit = await self._reply(io, server, commands.CLIENTS_LIMIT) if watch else None
        return results.examined(
            server.name,
            text.decode(errors="replace"),
            await self._round_trip(io, server),
            scripts=not results.forbids_scripts(await self._reply(io, server, commands.EVAL)),
            watch=watch,
            unlimited=limit == [b"maxmemory-clients", b"0"],
        )

    async def _reply(self, io: Effects, server: Server, packed: bytes) -> Reply | Refused:
        """Return the reply to a command, or why it was refused."""
        try:
            [reply] = await self._client.execute_on(io, server, packed)
        except Refused as refusal:
            return refusal
        return reply
