"""The async face's connections to all servers, for one event loop."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from twofold.backends.network.async_connection import AsyncConnection
from twofold.backends.network.batches import Batch, BatchOutcome
from twofold.backends.network.pending import PendingReply
from twofold.backends.network.servers import Server
from twofold.errors import BackendUnavailable

_GONE_WITHIN = 1.0  # seconds that transports may take to close


class AsyncConnections:
    """The connections of one event loop, made when they are first needed.

    There may be two to a server: large values have their own, so that nothing small waits
    behind them (head-of-line blocking).
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._shared: tuple[dict[Server, AsyncConnection], dict[Server, AsyncConnection]] = ({}, {})
        self._retired: set[AsyncConnection] = set()

    def get(self, server: Server, bulk: bool) -> AsyncConnection:
        """Return the connection for small things, or for `bulk`.

        Raises:
            BackendUnavailable: the server's breaker is open.
        """
        connection = self._shared[bulk].get(server)
        if (
            connection is None
            or connection.generation != server.generation
            or server.breaker.tripped
        ):
            connection = self._renew(server, bulk, connection)
        return connection

    def _renew(self, server: Server, bulk: bool, old: AsyncConnection | None) -> AsyncConnection:
        self._admit(server)
        if old is not None:
            if old.connecting and old.generation == server.generation:
                return old
            self._retire(old)
        new = self._shared[bulk][server] = AsyncConnection(server, self._timeout)
        new.begin()
        return new

    def _admit(self, server: Server) -> None:
        if server.breaker.tripped:
            self._leave([server])
            server.admit()

    def _retire(self, connection: AsyncConnection) -> None:
        """Let `connection` end when nobody waits any more, and know of it until then."""
        connection.retire()
        self._retired = {each for each in self._retired if not each.idle}
        if not connection.idle:
            self._retired.add(connection)

    async def execute_batches(
        self, batches: Sequence[Batch], deadline: float
    ) -> list[BatchOutcome]:
        """Send all `batches` side by side, and return what came of each.

        There is no task for each: the application's task factory could fail half-way.
        """
        asked = [self._ask(each, deadline) for each in batches]
        try:
            return [
                await _answers(batch, pending) if isinstance(pending, PendingReply) else pending
                for batch, pending in zip(batches, asked, strict=True)
            ]
        finally:
            for pending in asked:
                if isinstance(pending, PendingReply):
                    pending.cancel()

    def _ask(self, batch: Batch, deadline: float) -> PendingReply | BackendUnavailable:
        """Have a batch sent, over a connection of its own if it is to be."""
        try:
            if batch.dedicated:
                return self._ask_apart(batch, deadline)
            connection = self.get(batch.server, batch.bulk)
        except BackendUnavailable as error:
            return error
        return connection.submit(batch.packed, deadline, batch.parts)

    def _ask_apart(self, batch: Batch, deadline: float) -> PendingReply:
        self._admit(batch.server)
        connection = AsyncConnection(batch.server, self._timeout)
        try:
            connection.begin()
            return connection.submit(batch.packed, deadline, batch.parts, dedicated=True)
        finally:
            self._retire(connection)

    def count(self, server: Server) -> int:
        """Return how many connections there are to `server`."""
        made = [shared[server] for shared in self._shared if server in shared]
        return sum(connection.generation == server.generation for connection in made)

    async def aclose(self) -> None:
        """Close all connections, in their own loop."""
        connections = self._all()
        for connection in connections:
            connection.close()
        if closing := {each for connection in connections for each in connection.closing}:
            await asyncio.wait(closing, timeout=_GONE_WITHIN)

    def abandon(self) -> None:
        """Close all connections of a loop that has closed."""
        for connection in self._all():
            connection.abandon()

    def leave(self, servers: Sequence[Server]) -> None:
        """Close the connections to `servers` after their replies; from any thread."""
        with suppress(RuntimeError):  # the loop has closed: they are abandoned
            self._loop.call_soon_threadsafe(self._leave, servers)

    def _leave(self, servers: Sequence[Server]) -> None:
        for shared in self._shared:
            for connection in [shared.pop(server) for server in servers if server in shared]:
                self._retire(connection)

    def _all(self) -> list[AsyncConnection]:
        return [*self._shared[False].values(), *self._shared[True].values(), *self._retired]


async def _answers(batch: Batch, pending: PendingReply) -> BatchOutcome:
    try:
        replies = await pending
    except BackendUnavailable as error:
        return error
    return [replies] if len(batch.parts) == 1 else replies
