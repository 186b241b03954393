"""Carries commands to the right server, again if that is safe, within one deadline."""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from twofold.backend import ServerState
from twofold.backends.network.async_connections import AsyncConnections
from twofold.backends.network.batches import (
    BULK,
    NOT_SENT,
    Attempt,
    Batch,
    BatchOutcome,
    Command,
    Result,
)
from twofold.backends.network.errors import (
    ConnectionLost,
    Outcome,
    Refused,
    deadline_exceeded,
    is_lost,
    redacted,
)
from twofold.backends.network.pool import ConnectionPool
from twofold.backends.network.replies import Reply, ReplyError
from twofold.backends.network.servers import Server, Topology
from twofold.effects import BLOCKING, NATIVE, Effects, PerLoop, ends_by, run_sync
from twofold.errors import BackendUnavailable

_ATTEMPTS = 5  # times that a command is sent at most, redirections included
_AT_A_TIME = 1000  # commands to a server: it reads no more while too many replies wait to be read
_MOST_BIG = 1024  # keys whose values are known to be big


_FAILURES: Final = (ReplyError, BackendUnavailable)


class Client:
    """Executes commands on servers, for every thread and event loop.

    A command that changes nothing is sent again if its connection is lost; one that may
    have been carried out is not.

    Args:
        topology: where keys belong.
        timeout: seconds that a call may take, all attempts together.
    """

    def __init__(self, topology: Topology, timeout: float) -> None:
        self._topology = topology
        self.timeout: float = timeout
        self._pool = ConnectionPool(timeout)
        self._loops: PerLoop[AsyncConnections] = PerLoop(
            lambda: AsyncConnections(timeout), AsyncConnections.aclose, AsyncConnections.abandon
        )
        self._big: dict[str, None] = {}

    def due(self) -> float:
        """Return the monotonic time at which an operation that begins now must end.

        Raises:
            DeadlineExceeded: those before it, which are one to their caller, took all the time.
        """
        now, bound = monotonic(), ends_by()
        if bound is None or bound >= now + self.timeout:
            return now + self.timeout
        if bound <= now:
            raise deadline_exceeded("the store", self.timeout)
        return bound

    def execute(self, command: Command, deadline: float | None = None) -> Reply | Refused:
        """Return the reply to one command, or why the server refused it.

        Where it is one step of several, `deadline` is the monotonic time at which they end.

        Raises:
            DeadlineExceeded: there is none in time.
            BackendUnavailable: the server cannot be reached, or was lost.
        """
        if deadline is None:  # `due`, written out where nothing bounds it: a hit has one call less
            deadline = monotonic() + self.timeout if ends_by() is None else self.due()
        server = self._topology.place(command.key, command.reads)
        if server is None:
            return _answered(run_sync(self._retry(BLOCKING, [command], [NOT_SENT], deadline)))
        seen = server.generation
        try:
            reply = self._pool.execute(server, command.packed, deadline)
        except BackendUnavailable as failure:
            reply = failure
        if not isinstance(reply, _FAILURES):
            return reply
        results = [Result(server, reply, seen)]
        del reply  # see `_retry`
        return _answered(run_sync(self._retry(BLOCKING, [command], results, deadline)))

    async def aexecute(self, command: Command, deadline: float | None = None) -> Reply | Refused:
        """Do what `execute` does."""
        if deadline is None:
            deadline = monotonic() + self.timeout if ends_by() is None else self.due()
        packed, key, reads, bulk, _ = command
        server = self._topology.place(key, reads)
        if server is None:
            return _answered(await self._retry(NATIVE, [command], [NOT_SENT], deadline))
        bulk, seen = bulk or key in self._big, server.generation
        try:
            reply = await self._loops.get().get(server, bulk).submit(packed, deadline)
        except BackendUnavailable as failure:
            reply = failure
        value = reply.get(key) if type(reply) is dict else reply
        if type(value) is bytes and not bulk and len(value) < BULK:
            return reply  # what follows is the same, slower
        if not isinstance(reply, _FAILURES):
            if bulk or type(value) is bytes:
                self._note_size(key, packed, value)
            return reply
        results = [Result(server, reply, seen)]
        del reply, value  # see `_retry`
        return _answered(await self._retry(NATIVE, [command], results, deadline))

    def execute_pair(
        self, key: str, reads: bool, packed: bytes, parts: tuple[bytes, bytes]
    ) -> list[Outcome]:
        """Return the replies to two commands on one key that change nothing, sent as one.

        Args:
            key: what places them.
            reads: whether a replica may be asked.
            packed: both.
            parts: each.

        Raises:
            BackendUnavailable: there is none to either; see `execute`.
        """
        deadline = monotonic() + self.timeout if ends_by() is None else self.due()
        server = self._topology.place(key, reads)
        outcomes: list[Reply | BackendUnavailable] = []
        seen = 0
        if server is not None:
            seen = server.generation
            try:
                outcomes = self._pool.execute_pair(server, packed, parts, deadline)
                if ReplyError not in map(type, outcomes):
                    return outcomes
            except BackendUnavailable as failure:
                outcomes = [failure] * 2
        results = [Result(server, each, seen) for each in outcomes] or [NOT_SENT] * 2
        del outcomes  # see `_retry`
        commands = [Command(part, key, reads) for part in parts]
        return _answered_in_part(run_sync(self._retry(BLOCKING, commands, results, deadline)))

    async def aexecute_pair(
        self, key: str, reads: bool, packed: bytes, parts: tuple[bytes, bytes]
    ) -> list[Outcome]:
        """Do what `execute_pair` does."""
        deadline = monotonic() + self.timeout if ends_by() is None else self.due()
        server = self._topology.place(key, reads)
        outcomes: list[Reply | BackendUnavailable] = []
        seen = 0
        if server is not None:
            bulk, seen = key in self._big, server.generation
            try:
                connection = self._loops.get().get(server, bulk)
                outcomes = await connection.submit(packed, deadline, parts)
                if ReplyError not in map(type, outcomes):
                    found = outcomes[0]
                    if bulk or (type(found) is bytes and len(found) >= BULK):
                        self._note_size(key, packed, found)
                    return outcomes
            except BackendUnavailable as failure:
                outcomes = [failure] * 2
        results = [Result(server, each, seen) for each in outcomes] or [NOT_SENT] * 2
        del outcomes  # see `_retry`
        commands = [Command(part, key, reads) for part in parts]
        return _answered_in_part(await self._retry(NATIVE, commands, results, deadline))

    def execute_many(
        self, commands: Sequence[Command], deadline: float | None = None
    ) -> list[Reply | BackendUnavailable]:
        """Return the replies to `commands`, sent side by side, or why there is none of one.

        Raises:
            BackendUnavailable: there is none of any; see `execute`.
        """
        if len(commands) == 1:
            return [self.execute(commands[0], deadline)]
        return _answered_in_part(
            run_sync(self._execute_all(BLOCKING, commands, deadline or self.due()))
        )

    async def aexecute_many(
        self, commands: Sequence[Command], deadline: float | None = None
    ) -> list[Reply | BackendUnavailable]:
        """Do what `execute_many` does."""
        if len(commands) == 1:
            return [await self.aexecute(commands[0], deadline)]
        return _answered_in_part(await self._execute_all(NATIVE, commands, deadline or self.due()))

    async def both(
        self, io: Effects, first: Command, second: Command, deadline: float
    ) -> list[Reply | BackendUnavailable]:
        """Return the replies to two commands on one key, the second sent just behind the first.

        They go over one connection, and neither without the other. Refusals are returned.
        """
        parts = (first.packed, second.packed)
        packed = b"".join(parts)
        server = self._topology.place(first.key, reads=False)
        results = [NOT_SENT, NOT_SENT]
        if server is not None:
            bulk = first.key in self._big or len(packed) >= BULK
            seen, batch = server.generation, Batch(server, packed, parts, bulk)
            [answers] = await self._execute_batches(io, [batch], deadline)
            if type(answers) is list and ReplyError not in map(type, answers):
                return [*answers]
            each = answers if isinstance(answers, list) else [answers, answers]
            results = [Result(server, outcome, seen) for outcome in each]
            del answers, each  # see `_retry`
        commands = [first._replace(reads=False), second._replace(reads=False)]
        return _answered_in_part(await self._retry(io, commands, results, deadline))

    async def execute_on(
        self,
        io: Effects,
        server: Server,
        *packed: bytes,
        seconds: float | None = None,
        dedicated: bool = False,
    ) -> list[Reply]:
        """Return the replies of one server to commands on no key in particular.

        `seconds` instead of the deadline are for a long reply; a silent server has no
        longer than the deadline. `dedicated`, it has a connection to itself.
        """
        seen = server.generation
        batch = Batch(server, b"".join(packed), packed, bulk=True, dedicated=dedicated)
        deadline = monotonic() + (self.timeout if seconds is None else seconds)
        [answers] = await self._execute_batches(io, [batch], deadline)
        if isinstance(answers, BackendUnavailable):
            self._topology.distrust()
            raise answers
        for reply in answers:
            if isinstance(reply, ReplyError):
                self._topology.distrust()
                server.renew(seen)
                raise self._refused(server, reply)
        return answers

    def states(self) -> list[ServerState]:
        """Return how the servers do; connections are those that are idle, or shared."""
        return list(map(self._state, self._topology.servers()))

    def _state(self, server: Server) -> ServerState:
        idle = self._pool.count(server) + sum(each.count(server) for each in self._loops)
        breaker = server.breaker
        return ServerState(server.name, breaker.state, breaker.failures, breaker.error, idle)

    def close(self) -> None:
        """Close all connections, those in use after their replies."""
        self._loops.sweep()
        self._leave(self._topology.servers())

    async def aclose(self) -> None:
        """Do what `close` does; those of the running loop are closed at once."""
        await self._loops.aclose()
        self.close()

    def _leave(self, servers: Sequence[Server]) -> None:
        for server in servers:
            server.rest()
        self._pool.close(servers)
        for connections in self._loops:
            connections.leave(servers)

    def _note_size(self, key: str, packed: bytes, value: Reply) -> None:
        """Remember whether the value of `key` should have the other connection next time."""
        size = max(len(packed), len(value) if type(value) is bytes else 0)
        if size < BULK and type(value) is not bytes:  # `EXISTS` and the like do not tell
            return
        self._big.pop(key, None)
        if size >= BULK:
            self._big[key] = None
            for oldest in list(self._big)[:-_MOST_BIG]:
                self._big.pop(oldest, None)

    async def _execute_all(
        self, io: Effects, commands: Sequence[Command], deadline: float
    ) -> list[Reply | BackendUnavailable]:
        """Return the replies to `commands`, or what `_retry` does where it takes more to get them.

        Usually there is one server, and it answers all.
        """
        place = self._topology.place
        servers = {place(key, reads) for _, key, reads, _, _ in commands}
        server = servers.pop() if len(servers) == 1 else None
        if server is None or len(commands) > _AT_A_TIME:
            return await self._retry(io, commands, [NOT_SENT] * len(commands), deadline)
        seen, packed = server.generation, [command.packed for command in commands]
        [answers] = await self._execute_batches(
            io, [self._batch(server, packed, commands)], deadline
        )
        if type(answers) is list and ReplyError not in map(type, answers):
            return answers
        each = answers if isinstance(answers, list) else [answers] * len(commands)
        results = [Result(server, outcome, seen) for outcome in each]
        del answers, each  # see `_retry`
        return await self._retry(io, commands, results, deadline)

    async def _retry(
        self, io: Effects, commands: Sequence[Command], results: list[Result], deadline: float
    ) -> list[Reply | BackendUnavailable]:
        """Return the replies to `commands`, of which `results` tell what came so far."""
        try:
            for _ in range(_ATTEMPTS):
                attempts = {
                    n: again
                    for n, command in enumerate(commands)
                    if (again := self._next_attempt(command, results[n])) is not None
                }
                if not attempts or monotonic() >= deadline:
                    break
                await self._prepare(io, deadline)
                for n, came in (await self._send(io, commands, attempts, deadline)).items():
                    results[n] = came
            return list(map(self._final, results))
        finally:
            results.clear()  # errors, whose tracebacks have this frame, would keep themselves alive

    async def _prepare(self, io: Effects, deadline: float) -> None:
        """Learn what must be known to place commands."""

    def _next_attempt(self, command: Command, result: Result) -> Attempt | None:
        """Return what to send next, or None if that was it."""
        server, outcome, seen = result
        if isinstance(outcome, BackendUnavailable):
            self._topology.distrust()
            if not isinstance(outcome, ConnectionLost) or (outcome.sent and not command.reads):
                return None
            return None if self._is_hopeless(command, server) else Attempt(command.packed)
        if server is None:
            return Attempt(command.packed)
        if not isinstance(outcome, ReplyError):
            return None
        return self._after_refusal(command, server, outcome, seen)

    def _after_refusal(
        self, command: Command, server: Server, error: ReplyError, seen: int
    ) -> Attempt | None:
        """Return what to send instead of a command that the server refused, if anything."""
        return None

    def _is_hopeless(self, command: Command, server: Server | None) -> bool:
        """Tell whether the only server for `command` is the one that just failed for good."""
        if server is None or not server.breaker.tripped:
            return False
        return self._topology.place(command.key, command.reads) is server

    async def _send(
        self,
        io: Effects,
        commands: Sequence[Command],
        attempts: dict[int, Attempt],
        deadline: float,
    ) -> dict[int, Result]:
        """Send `attempts`, all for one server as one, and return what came of each."""
        by_server: dict[Server, list[int]] = {}
        results: dict[int, Result] = {}
        for n, each in attempts.items():
            server = each.server or self._topology.place(commands[n].key, commands[n].reads)
            if server is None:
                self._topology.distrust()
                nobody = BackendUnavailable(
                    "no server of the cluster has the slot of the key: look at CLUSTER INFO"
                )
                results[n] = Result(None, nobody)
            else:
                by_server.setdefault(server, []).append(n)
        longest = max(map(len, by_server.values()), default=0)
        for at in range(0, longest, _AT_A_TIME):
            some = {
                server: part for server, n in by_server.items() if (part := n[at : at + _AT_A_TIME])
            }
            results |= await self._send_some(io, commands, attempts, some, deadline)
        return results

    async def _send_some(
        self,
        io: Effects,
        commands: Sequence[Command],
        attempts: dict[int, Attempt],
        by_server: dict[Server, list[int]],
        deadline: float,
    ) -> dict[int, Result]:
        """Send not too many `attempts`, for the servers that are told, and return what came."""
        results: dict[int, Result] = {}
        batches = [
            self._batch(
                server,
                [part for n in numbers for part in attempts[n].parts],
                [commands[n] for n in numbers],
            )
            for server, numbers in by_server.items()
        ]
        seen = {server: server.generation for server in by_server}
        for batch, answers in zip(
            batches, await self._execute_batches(io, batches, deadline), strict=True
        ):
            at = 0
            for n in by_server[batch.server]:
                at += len(attempts[n].parts)
                outcome = answers if isinstance(answers, BackendUnavailable) else answers[at - 1]
                results[n] = Result(batch.server, outcome, seen[batch.server])
        return results

    def _batch(self, server: Server, parts: Sequence[bytes], commands: Sequence[Command]) -> Batch:
        packed, known = b"".join(parts), self._big
        bulk = any(big or key in known for _, key, _, big, _ in commands)
        return Batch(server, packed, parts, bulk or len(packed) >= BULK)

    async def _execute_batches(
        self, io: Effects, batches: Sequence[Batch], deadline: float
    ) -> list[BatchOutcome]:
        return await io.op(self._pool.execute_batches, self._aexecute_batches, batches, deadline)

    async def _aexecute_batches(
        self, batches: Sequence[Batch], deadline: float
    ) -> list[BatchOutcome]:
        return await self._loops.get().execute_batches(batches, deadline)

    def _final(self, result: Result) -> Reply | BackendUnavailable:
        """Return a reply, or why there is none."""
        server, outcome, _ = result
        if isinstance(outcome, BackendUnavailable):
            return outcome
        if server is None:
            return deadline_exceeded("the store", self.timeout)
        return self._refused(server, outcome) if isinstance(outcome, ReplyError) else outcome

    def _refused(self, server: Server, error: ReplyError) -> Refused:
        return Refused(f"{server.name} refused: {redacted(error)}", error)


def _answered(outcomes: list[Reply | BackendUnavailable]) -> Reply | Refused:
    """Return what a server replied; raise why none did."""
    [outcome] = outcomes
    if not is_lost(outcome):
        return outcome
    try:
        raise outcome
    finally:
        del outcome, outcomes  # an error whose traceback has this frame would keep itself alive


def _answered_in_part(
    outcomes: list[Reply | BackendUnavailable],
) -> list[Reply | BackendUnavailable]:
    """Return `outcomes` if there is a reply among them; raise why there is none otherwise."""
    if not outcomes or not all(map(is_lost, outcomes)):
        return outcomes
    return [_answered(outcomes[:1])]
