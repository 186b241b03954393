"""Executes scripts or, where a server forbids them, transactions in their place."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twofold.backends.network import Command, Outcome, Refused, Reply
from twofold.backends.redis import results
from twofold.backends.redis.client import RedisClient
from twofold.errors import BackendUnavailable


class ScriptClient:
    """Executes scripts on one client.

    A transaction needs a connection that nobody shares, and more than one round trip: in the
    async face a worker thread does it by the sync face.

    Args:
        client: executes everything else.
        in_worker: has a worker thread call a function.
    """

    def __init__(self, client: RedisClient, in_worker: Callable[..., Awaitable[Any]]) -> None:
        self._client = client
        self._in_worker = in_worker

    def execute(self, command: Command, deadline: float | None = None) -> Reply | Refused:
        """Return the reply to a script, or why the server refused it; see `Client.execute`."""
        if self._client.runs_scripts(command):
            outcome = self._client.execute(command, deadline)
            if type(outcome) is not Refused or not results.forbids_scripts(outcome):
                return outcome
        return self._client.transact(command, deadline)

    async def aexecute(self, command: Command, deadline: float | None = None) -> Reply | Refused:
        if self._client.runs_scripts(command):
            outcome = await self._client.aexecute(command, deadline)
            if type(outcome) is not Refused or not results.forbids_scripts(outcome):
                return outcome
        return await self._in_worker(self._client.transact, command, deadline)

    def execute_many(self, commands: Sequence[Command]) -> list[Outcome]:
        """Return the replies to scripts, sent side by side; see `Client.execute_many`."""
        if len(commands) == 1:
            return [self.execute(commands[0])]
        outcomes = self._client.execute_many(commands)
        return list(map(self._final, commands, outcomes))

    async def aexecute_many(self, commands: Sequence[Command]) -> list[Outcome]:
        if len(commands) == 1:
            return [await self.aexecute(commands[0])]
        outcomes = await self._client.aexecute_many(commands)
        if not any(map(results.forbids_scripts, outcomes)):
            return outcomes
        final: list[Outcome] = await self._in_worker(
            lambda: [*map(self._final, commands, outcomes)]
        )
        return final

    def _final(self, command: Command, outcome: Outcome) -> Outcome:
        """Return what came of a script, or, where it was forbidden, of a transaction."""
        if not results.forbids_scripts(outcome):
            return outcome
        try:
            return self._client.transact(command)
        except BackendUnavailable as error:
            return error
