"""Whether a proxy, such as twemproxy, stands before a server.

Some proxies close the connection, without a word, at a command that they do not know, such as
`mg` or `stats`. That looks like an outage. So the first such command for a server is a test: if
it loses its connection twice, while a `get` in between is answered, there is a proxy.
"""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from twofold.backends.memcached import commands, results
from twofold.backends.memcached.router import Node, Router
from twofold.backends.network import Client, Command, ConnectionLost, Outcome, is_lost, unwrap
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

_TESTS = 2


class Proxies:
    """Sends commands that proxies may not know.

    Args:
        client: the way to the servers.
        router: which server has a key.
    """

    def __init__(self, client: Client, router: Router) -> None:
        self._client = client
        self._router = router

    async def ask(self, io: Effects, command: Command, deadline: float) -> Outcome | None:
        """Return the outcome of a command; None if a proxy does not let it through."""
        connector = self._router.place(command.key).connector
        if connector.is_proxied is None:
            return await self._test(io, command, deadline)
        if connector.is_proxied:
            return None
        return await self._ask(io, command, deadline)

    async def looks(
        self,
        io: Effects,
        keys: Sequence[str],
        deadline: float,
        look: Callable[[str], Command] = commands.look,
    ) -> list[Command]:
        """Return what asks for what is under `keys`: `look`, or `gets` where `mg` is unknown.

        Servers of which it is not known yet are asked at once, in half of the time that is left.
        """
        nodes = [self._router.place(key) for key in keys]
        unknown = {
            node: commands.look(key)._replace(reads=False)
            for node, key in zip(nodes, keys, strict=True)
            if node.connector.is_proxied is None
        }
        if unknown:
            told = await self.ask_each(io, unknown, (monotonic() + deadline) / 2)
            if all(is_lost(told.get(node)) for node in nodes):
                unwrap(told.popitem()[1])
        return [
            look(key) if _knows_meta(node) else commands.gets(key)
            for node, key in zip(nodes, keys, strict=True)
        ]

    async def ask_each(
        self, io: Effects, asked: Mapping[Node, Command], deadline: float
    ) -> dict[Node, Outcome | None]:
        """Return what servers say to one command each; None from a proxy, as `ask`."""
        if len(asked) == 1:
            [(node, command)] = asked.items()
            return {node: await self.ask(io, command, deadline)}
        try:
            came = await io.op(
                self._client.execute_many, self._client.aexecute_many, [*asked.values()], deadline
            )
        except BackendUnavailable as error:
            came = [error] * len(asked)
        told: dict[Node, Outcome | None] = dict(zip(asked, came, strict=True))
        for node, outcome in told.items():
            if node.connector.is_proxied is None and isinstance(outcome, ConnectionLost):
                told[node] = await self.ask(io, asked[node], deadline)
            elif not is_lost(outcome):
                node.connector.is_proxied = False
        return told

    async def ask_both(
        self, io: Effects, known: Command, unknown: Command, deadline: float
    ) -> list[Outcome | None]:
        """Return the outcomes of two commands on a key, of which proxies know only the first."""
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


def _knows_meta(node: Node) -> bool:
    return node.connector.is_proxied is False and results.is_modern(node.connector.version)
