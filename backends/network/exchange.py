"""Commands out, replies in: to the right server, again if that is safe, in one deadline."""

from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple

from twofold.backend import ServerState
from twofold.backends.network.faults import ConnectionLost, Refused, is_lost, late, said
from twofold.backends.network.lanes import Lanes
from twofold.backends.network.replies import Reply, ReplyError
from twofold.backends.network.requests import BULK, Answers, Command, Request
from twofold.backends.network.servers import Server, Topology
from twofold.backends.network.wires import Wires
from twofold.effects import BLOCKING, NATIVE, Effects, PerLoop, run_sync
from twofold.errors import BackendUnavailable

_ATTEMPTS = 5  # times that a command is sent at most, redirections included
_AT_A_TIME = 1000  # commands to a server: it reads no more while too many replies wait to be read
_MOST_BIG = 1024  # keys whose values are known to be big


class Try(NamedTuple):
    """What to send of a command, this time."""

    packed: bytes
    server: Server | None = None
    """Where to, if not where its key belongs."""
    before: bytes = b""
    """A command that must be sent just before it, and has a reply of its own."""

    @property
    def parts(self) -> list[bytes]:
        """All that is sent, command by command."""
        return [self.before, self.packed] if self.before else [self.packed]


class Tried(NamedTuple):
    """What came of it."""

    server: Server | None
    outcome: Reply | BackendUnavailable
    generation: int = 0
    """The server's, when it was asked."""


_FAILURES = (ReplyError, BackendUnavailable)
_UNTRIED: Final = Tried(None, None)


class Exchange:
    """The way to the servers and back, for every thread and event loop.

    A command that changes nothing is sent again if its connection is lost; one that may
    have been carried out is not.

    Args:
        topology: where keys belong.
        deadline: seconds that a call may take, all attempts together.
    """

    def __init__(self, topology: Topology, deadline: float) -> None:
        self._topology = topology
        self._deadline = deadline
        self._wires = Wires(deadline)
        self._loops: PerLoop[Lanes] = PerLoop(lambda: Lanes(deadline), Lanes.aclose, Lanes.abandon)
        self._big: dict[str, None] = {}

    def ask(self, command: Command, due: float | None = None) -> Reply | Refused:
        """Return the reply to one command, or why the server refused it.

        Where it is one step of several, `due` is the monotonic time at which they end.

        Raises:
            DeadlineExceeded: there is none in time.
            BackendUnavailable: the server cannot be reached, or was lost.
        """
        due = due or monotonic() + self._deadline
        server = self._topology.place(command.key, command.reads)
        tried = [_UNTRIED]
        if server is not None:
            seen = server.generation
            try:
                reply = self._wires.ask(server, command.packed, due)
            except BackendUnavailable as failure:
                reply = failure
            if not isinstance(reply, _FAILURES):
                return reply
            tried = [Tried(server, reply, seen)]
            del reply  # see `_persist`
        return _answered(run_sync(self._persist(BLOCKING, [command], tried, due)))

    async def aask(self, command: Command, due: float | None = None) -> Reply | Refused:
        """Do what `ask` does."""
        due = due or monotonic() + self._deadline
        packed, key, reads, bulk, _ = command
        server = self._topology.place(key, reads)
        tried = [_UNTRIED]
        if server is not None:
            bulk, seen = bulk or key in self._big, server.generation
            try:
                reply = await self._loops.get().lane(server, bulk).ask(packed, due)
            except BackendUnavailable as failure:
                reply = failure
            value = reply.get(key) if type(reply) is dict else reply
            if type(value) is bytes and not bulk and len(value) < BULK:
                return reply  # what follows is the same, slower
            if not isinstance(reply, _FAILURES):
                if bulk or type(value) is bytes:
                    self._note_size(key, packed, value)
                return reply
            tried = [Tried(server, reply, seen)]
            del reply, value  # see `_persist`
        return _answered(await self._persist(NATIVE, [command], tried, due))

    def ask_all(
        self, commands: Sequence[Command], due: float | None = None
    ) -> list[Reply | BackendUnavailable]:
        """Return the replies to `commands`, sent side by side, or why there is none of one.

        Raises:
            BackendUnavailable: there is none of any; see `ask`.
        """
        if len(commands) == 1:
            return [self.ask(commands[0], due)]
        due = due or monotonic() + self._deadline
        untried = [_UNTRIED] * len(commands)
        return _answered_in_part(run_sync(self._persist(BLOCKING, commands, untried, due)))

    async def aask_all(
        self, commands: Sequence[Command], due: float | None = None
    ) -> list[Reply | BackendUnavailable]:
        """Do what `ask_all` does."""
        if len(commands) == 1:
            return [await self.aask(commands[0], due)]
        due = due or monotonic() + self._deadline
        untried = [_UNTRIED] * len(commands)
        return _answered_in_part(await self._persist(NATIVE, commands, untried, due))

    async def tell(
        self,
        io: Effects,
        server: Server,
        *packed: bytes,
        seconds: float | None = None,
        apart: bool = False,
    ) -> list[Reply]:
        """Return the replies of one server to commands on no key in particular.

        `seconds` instead of the deadline are for a long reply; a silent server has no
        longer than the deadline. `apart`, nothing else waits behind it.
        """
        seen = server.generation
        request = Request(server, b"".join(packed), packed, bulk=True, apart=apart)
        due = monotonic() + (self._deadline if seconds is None else seconds)
        [answers] = await self._exchange(io, [request], due)
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
        idle = self._wires.count(server) + sum(each.count(server) for each in self._loops)
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
        self._wires.close(servers)
        for channels in self._loops:
            channels.leave(servers)

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

    async def _persist(
        self, io: Effects, commands: Sequence[Command], tried: list[Tried], due: float
    ) -> list[Reply | BackendUnavailable]:
        """Return the replies to `commands`, of which `tried` tells what came so far."""
        try:
            for _ in range(_ATTEMPTS):
                tries = {
                    n: again
                    for n, command in enumerate(commands)
                    if (again := self._again(command, tried[n])) is not None
                }
                if not tries or monotonic() >= due:
                    break
                await self._prepare(io, due)
                for n, came in (await self._try(io, commands, tries, due)).items():
                    tried[n] = came
            return list(map(self._final, tried))
        finally:
            tried.clear()  # errors, whose tracebacks have this frame, would keep themselves alive

    async def _prepare(self, io: Effects, due: float) -> None:
        """Learn what must be known to place commands."""

    def _again(self, command: Command, tried: Tried) -> Try | None:
        """Return what to send next, or None if that was it."""
        server, outcome, seen = tried
        if isinstance(outcome, BackendUnavailable):
            self._topology.distrust()
            if not isinstance(outcome, ConnectionLost) or (outcome.sent and not command.reads):
                return None
            return None if self._is_hopeless(command, server) else Try(command.packed)
        if server is None:
            return Try(command.packed)
        if not isinstance(outcome, ReplyError):
            return None
        return self._refused_again(command, server, outcome, seen)

    def _refused_again(
        self, command: Command, server: Server, error: ReplyError, seen: int
    ) -> Try | None:
        """Return what to send instead of a command that the server refused, if anything."""
        return None

    def _is_hopeless(self, command: Command, server: Server | None) -> bool:
        """Tell whether the only server for `command` is the one that just failed for good."""
        if server is None or not server.breaker.tripped:
            return False
        return self._topology.place(command.key, command.reads) is server

    async def _try(
        self, io: Effects, commands: Sequence[Command], tries: dict[int, Try], due: float
    ) -> dict[int, Tried]:
        """Send `tries`, all for one server as one, and return what came of each."""
        by_server: dict[Server, list[int]] = {}
        results: dict[int, Tried] = {}
        for n, each in tries.items():
            server = each.server or self._topology.place(commands[n].key, commands[n].reads)
            if server is None:
                self._topology.distrust()
                nobody = BackendUnavailable("no server has the slot of the key")
                results[n] = Tried(None, nobody)
            else:
                by_server.setdefault(server, []).append(n)
        longest = max(map(len, by_server.values()), default=0)
        for at in range(0, longest, _AT_A_TIME):
            some = {
                server: part for server, n in by_server.items() if (part := n[at : at + _AT_A_TIME])
            }
            results |= await self._try_some(io, commands, tries, some, due)
        return results

    async def _try_some(
        self,
        io: Effects,
        commands: Sequence[Command],
        tries: dict[int, Try],
        by_server: dict[Server, list[int]],
        due: float,
    ) -> dict[int, Tried]:
        """Send not too many `tries`, for the servers that are told, and return what came."""
        results: dict[int, Tried] = {}
        requests = [
            self._request(server, [(commands[n], tries[n]) for n in numbers])
            for server, numbers in by_server.items()
        ]
        seen = {server: server.generation for server in by_server}
        for request, answers in zip(requests, await self._exchange(io, requests, due), strict=True):
            at = 0
            for n in by_server[request.server]:
                at += len(tries[n].parts)
                outcome = answers if isinstance(answers, BackendUnavailable) else answers[at - 1]
                results[n] = Tried(request.server, outcome, seen[request.server])
        return results

    def _request(self, server: Server, parts: Sequence[tuple[Command, Try]]) -> Request:
        asked = [part for _, each in parts for part in each.parts]
        packed = b"".join(asked)
        big = any(command.bulk or command.key in self._big for command, _ in parts)
        return Request(server, packed, asked, big or len(packed) >= BULK)

    async def _exchange(
        self, io: Effects, requests: Sequence[Request], due: float
    ) -> list[Answers]:
        return await io.op(self._wires.exchange, self._aexchange, requests, due)

    async def _aexchange(self, requests: Sequence[Request], due: float) -> list[Answers]:
        return await self._loops.get().exchange(requests, due)

    def _final(self, tried: Tried) -> Reply | BackendUnavailable:
        """Return a reply, or why there is none."""
        server, outcome, _ = tried
        if isinstance(outcome, BackendUnavailable):
            return outcome
        if server is None:
            return late("the store", self._deadline)
        return self._refused(server, outcome) if isinstance(outcome, ReplyError) else outcome

    def _refused(self, server: Server, error: ReplyError) -> Refused:
        return Refused(f"{server.name} refused: {said(error)}", error)


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
