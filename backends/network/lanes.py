"""The async face's connections to all servers, for one event loop."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from twofold.backends.network.channel import Channel
from twofold.backends.network.requests import Answers, Request
from twofold.backends.network.servers import Server
from twofold.backends.network.slots import Slot
from twofold.errors import BackendUnavailable

_GONE_WITHIN = 1.0  # seconds that transports may take to close


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
        """Send all `requests` side by side, and return what came of each.

        That takes no task for each: the loop's task factory may fail in between.
        """
        asked = [self._ask(each, due) for each in requests]
        try:
            return [
                await _answers(request, slot) if isinstance(slot, Slot) else slot
                for request, slot in zip(requests, asked, strict=True)
            ]
        finally:
            for slot in asked:
                if isinstance(slot, Slot):
                    slot.leave()

    def _ask(self, request: Request, due: float) -> Slot | BackendUnavailable:
        """Have a request sent; one that is apart, over a connection for it alone."""
        apart = request.apart
        try:
            channel = (
                self._renew(request.server, None)
                if apart
                else self.lane(request.server, request.bulk)
            )
        except BackendUnavailable as error:
            return error
        slot = channel.ask(request.packed, due, request.parts, apart)
        if apart:
            self._retire(channel)
        return slot

    def count(self, server: Server) -> int:
        """Return how many connections there are to `server`."""
        made = [lanes[server] for lanes in self._lanes if server in lanes]
        return sum(channel.generation == server.generation for channel in made)

    async def aclose(self) -> None:
        """Close all connections, in their own loop."""
        channels = self._all()
        for channel in channels:
            channel.close()
        if ends := {each for channel in channels for each in channel.ends}:
            await asyncio.wait(ends, timeout=_GONE_WITHIN)

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


async def _answers(request: Request, slot: Slot) -> Answers:
    try:
        replies = await slot
    except BackendUnavailable as error:
        return error
    return [replies] if len(request.parts) == 1 else replies
