"""Whether a proxy, such as twemproxy, stands before a server.

A proxy that does not know a command closes the connection, as `mg` or `stats` makes some
do, and says nothing. That looks like an outage. So the first such command for a server is
sent once; if its connection is lost, and twice so, while others are not, it is the proxy.
"""

from twofold.backends.memcached import commands
from twofold.backends.memcached.router import Router
from twofold.backends.network import Client, Command, ConnectionLost, Outcome, is_lost
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

_TESTS = 2


class Proxies:
    """The way for commands that proxies do not know.

    Args:
        client: the way to the servers.
        router: which server has a key.
    """

    def __init__(self, client: Client, router: Router) -> None:
        self._client = client
        self._router = router

    async def ask(self, io: Effects, command: Command, deadline: float) -> Outcome | None:
        """Return what comes of a command; None if a proxy does not let it through."""
        connector = self._router.place(command.key).connector
        if connector.is_proxied is None:
            return await self._test(io, command, deadline)
        if connector.is_proxied:
            return None
        return await self._ask(io, command, deadline)

    async def ask_both(
        self, io: Effects, known: Command, unknown: Command, deadline: float
    ) -> list[Outcome | None]:
        """Return what comes of two commands on a key, of which proxies know the first alone."""
        if self._router.place(known.key).connector.is_proxied is False:
            asked = [known, unknown]
            return await io.op(
                self._client.execute_many, self._client.aexecute_many, asked, deadline
            )
        return [await self._ask(io, known, deadline), await self.ask(io, unknown, deadline)]

    async def _test(self, io: Effects, command: Command, deadline: float) -> Outcome | None:
        connector = self._router.place(command.key).connector
        for _ in range(_TESTS):
            outcome = await self._ask(io, command._replace(reads=False), deadline)
            if not isinstance(outcome, ConnectionLost) or not outcome.sent:
                connector.is_proxied = None if is_lost(outcome) else False
                return outcome
            known = await self._ask(io, commands.get(command.key)._replace(reads=False), deadline)
            if is_lost(known):
                return known
        connector.is_proxied = True
        return None

    async def _ask(self, io: Effects, command: Command, deadline: float) -> Outcome:
        try:
            return await io.op(self._client.execute, self._client.aexecute, command, deadline)
        except BackendUnavailable as error:
            return error
