"""The async face's connections to all servers, for one event loop."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from twofold.backends.network.channel import Channel
from twofold.backends.network.requests import Answers, Request
from twofold.backends.network.servers import Server
from twofold.errors import BackendUnavailable


class Lanes:
    """The connections of one event loop, made when they are first needed.

    There may be two to a server: values that take long to pass go over one of their own,
    so that nothing small waits behind them.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._lanes: tuple[dict[Server, Channel], dict[Server, Channel]] = ({}, {})
        self._retired: set[Channel] = set()

    def lane(self, server: Server, bulk: bool) -> Channel:
        """Return the connection for small things, or for `bulk`.

        Raises:
            BackendUnavailable: the server's breaker is open.
        """
        lanes = self._lanes[bulk]
        channel = lanes.get(server)
        if channel is None or channel.generation != server.generation or server.breaker.tripped:
            channel = lanes[server] = self._renew(server, channel)
        return channel

    def _renew(self, server: Server, old: Channel | None) -> Channel:
        if server.breaker.tripped:
            server.breaker.admit()
        if old is not None:
            if old.dialing and old.generation == server.generation:
                return old
            self._retire(old)
        return Channel(server, self._deadline)

    def _retire(self, channel: Channel) -> None:
        """Let `channel` end when nobody waits any more, and know of it until then."""
        channel.retire()
        self._retired = {each for each in self._retired if not each.idle}
        if not channel.idle:
            self._retired.add(channel)

    async def exchange(self, requests: Sequence[Request], due: float) -> list[Answers]:
        """Send all `requests` side by side, and return what came of each."""
        if len(requests) == 1:
            return [await self._answers(requests[0], due)]
        return await asyncio.gather(*[self._answers(each, due) for each in requests])

    async def _answers(self, request: Request, due: float) -> Answers:
        if request.apart:
            return await self._answers_apart(request, due)
        try:
            channel = self.lane(request.server, request.bulk)
            replies = await channel.ask(request.packed, due, request.parts)
        except BackendUnavailable as error:
            return error
        return [replies] if len(request.parts) == 1 else replies

    async def _answers_apart(self, request: Request, due: float) -> Answers:
        """Ask over a connection that is made for this request alone."""
        try:
            channel = self._renew(request.server, None)
        except BackendUnavailable as error:
            return error
        asked = channel.ask(request.packed, due, request.parts, apart=True)
        self._retire(channel)
        try:
            replies = await asked
        except BackendUnavailable as error:
            return error
        return [replies] if len(request.parts) == 1 else replies

    def count(self, server: Server) -> int:
        """Return how many connections there are to `server`."""
        made = [lanes[server] for lanes in self._lanes if server in lanes]
        return sum(channel.generation == server.generation for channel in made)

    async def aclose(self) -> None:
        """Close all connections, in their own loop."""
        channels = self._all()
        for channel in channels:
            channel.close()
        await asyncio.gather(*[channel.closed() for channel in channels])

    def abandon(self) -> None:
        """Close all connections of a loop that has closed."""
        for channel in self._all():
            channel.abandon()

    def leave(self, servers: Sequence[Server]) -> None:
        """Close the connections to `servers` after their replies; from any thread."""
        with suppress(RuntimeError):  # the loop has closed: they are abandoned
            self._loop.call_soon_threadsafe(self._leave, servers)

    def _leave(self, servers: Sequence[Server]) -> None:
        for lanes in self._lanes:
            for channel in [lanes.pop(server) for server in servers if server in lanes]:
                self._retire(channel)

    def _all(self) -> list[Channel]:
        return [*self._lanes[False].values(), *self._lanes[True].values(), *self._retired]
