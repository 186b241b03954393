"""The client of Redis: redirections, scripts, the slots of a cluster."""

from collections.abc import Sequence
from functools import partial
from time import monotonic

from twofold.backends.network import (
    Attempt,
    Client,
    Command,
    ConnectionLost,
    Refused,
    Reply,
    ReplyError,
    Server,
    redacted,
)
from twofold.backends.network.batches import Batch, Result
from twofold.backends.redis.commands import ASKING, CLUSTER_SLOTS, pack
from twofold.backends.redis.protocol import is_unwell
from twofold.backends.redis.results import forbids_scripts
from twofold.backends.redis.topology import ClusterTopology, RedisTopology
from twofold.backends.redis.transactions import CHANGED, Transaction
from twofold.effects import BLOCKING, Effects, run_sync
from twofold.errors import BackendUnavailable

_HINTS = {
    "MOVED": " (it is part of a cluster: set OPTIONS['cluster'] to True)",
    "READONLY": " (LOCATION names a replica where a primary should be)",
    "NOAUTH": " (LOCATION or OPTIONS['password'] must name a password)",
}
_ELSEWHERE = frozenset({"MOVED", "ASK"})
_TRANSACTIONS = 16  # of one command, while others write its key
_REFUSALS = 4  # after which it is sent once more


class RedisClient(Client):
    """Executes commands on Redis.

    A command that a server refused, because another has its key or is the primary by now,
    is sent there.
    """

    def __init__(self, topology: RedisTopology, timeout: float) -> None:
        super().__init__(topology, timeout)
        self.topology = topology
        self.strays: int = 0
        """How often a server was asked that the map of the slots does not have yet."""
        self._without_scripts = set[Server]()

    async def primaries(self, io: Effects) -> Sequence[Server]:
        """Return the servers that take writes, as the cluster sees them now."""
        await self._learn_slots(io, monotonic() + self.timeout)
        return self.topology.primaries()

    def runs_scripts(self, command: Command) -> bool:
        """Tell whether the server that has the key has not forbidden scripts so far."""
        if not self._without_scripts:
            return True
        return self.topology.place(command.key, command.reads) not in self._without_scripts

    def transact(self, command: Command, deadline: float | None = None) -> Reply | Refused:
        """Do what a script does without it, over a connection that nobody shares.

        Raises:
            BackendUnavailable: see `execute`; or others wrote the key again and again.
        """
        deadline = deadline or self.due()
        for attempt in range(1, _TRANSACTIONS + 1):
            run_sync(self._prepare(BLOCKING, deadline))
            server = self.topology.place(command.key, command.reads)
            if server is None:
                break
            seen, transaction = server.generation, Transaction(command.script)
            try:
                reply = self._pool.converse(
                    server,
                    transaction.reads(server),
                    partial(transaction.writes, server),
                    deadline,
                )
            except ConnectionLost as lost:
                if self._next_attempt(command, Result(server, lost, seen)) is None:
                    raise
                continue
            reply = transaction.reply(reply)
            if type(reply) is ReplyError:
                again = self._after_refusal(command, server, reply, seen)
                if again is None or again.before or attempt > _REFUSALS:
                    return self._refused(server, reply)
            elif reply is not CHANGED:
                return reply
        raise BackendUnavailable(
            f"{command.key!r} was written {_TRANSACTIONS} times while it was read to be changed;"
            " try again"
        )

    async def _prepare(self, io: Effects, deadline: float) -> None:
        if self.topology.wants_map:
            await self._learn_slots(io, deadline)

    def _after_refusal(
        self, command: Command, server: Server, error: ReplyError, seen: int
    ) -> Attempt | None:
        if error.code == "NOSCRIPT" and command.script:
            whole = pack(*command.script)
            if self.topology.splits:  # the key's slot may be on its way to this server
                return Attempt(whole, server, ASKING)
            return Attempt(whole, server)
        if command.script and forbids_scripts(error):
            self._without_scripts.add(server)
            return None
        if error.code in _ELSEWHERE:
            return self._redirected(command, server, error)
        if error.code == "READONLY":
            # The primary has become a replica: its name may lead to another machine by now.
            server.renew(seen)
            return Attempt(command.packed)
        if is_unwell(error):
            # It refuses all commands for seconds: that is an outage, and costs nothing as one.
            server.fail(error, refused=True)
            self.topology.distrust()
            return None if self._is_hopeless(command, server) else Attempt(command.packed)
        if error.code == "CLUSTERDOWN":  # maybe it was asked by an old map
            self.topology.distrust()
            return Attempt(command.packed) if self.topology.wants_map else None
        return None

    def _redirected(self, command: Command, server: Server, error: ReplyError) -> Attempt | None:
        """Return what to send to the server that has the key instead of this one."""
        if not isinstance(self.topology, ClusterTopology):
            return None
        there = self.topology.redirect(str(error), server)
        if there is None:
            return None
        if error.code == "ASK":
            self.strays += there not in self.topology.primaries()
            return Attempt(command.packed, there, ASKING)
        self.topology.move(command.key, there)
        return Attempt(command.packed)

    async def _learn_slots(self, io: Effects, deadline: float) -> None:
        """Ask the servers of a cluster, one after the other, where its slots are."""
        if not isinstance(self.topology, ClusterTopology):
            return
        failure: object = "none is known"
        # One answer is enough, and a wrong one is corrected by MOVED.
        for server in self.topology.candidates():
            half = (monotonic() + deadline) / 2  # leaves time for the others
            batch = Batch(server, CLUSTER_SLOTS, [CLUSTER_SLOTS])
            [answers] = await self._execute_batches(io, [batch], half)
            failure = answers[0] if isinstance(answers, list) else answers
            if isinstance(failure, list) and failure:
                self._leave(self.topology.learn(failure, server))
                return
        if not self.topology.primaries():
            raise BackendUnavailable(
                f"no server tells the slots of the cluster: {redacted(failure or 'it has none')}."
                " (OPTIONS['cluster'] is for servers in cluster mode)"
            )

    def _refused(self, server: Server, error: ReplyError) -> Refused:
        # In a cluster MOVED and READONLY are no mistake of the settings.
        hint = "" if self.topology.splits else _HINTS.get(error.code, "")
        return Refused(f"{server.name} refused: {redacted(error)}{hint}", error)
