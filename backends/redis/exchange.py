"""Commands out, replies in: to the right server, again if that is safe, in one deadline."""

from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple

from twofold.backends.network import ConnectionLost, late
from twofold.backends.redis.channel import Channels
from twofold.backends.redis.commands import BULK, Command, pack
from twofold.backends.redis.replies import Reply, ReplyError
from twofold.backends.redis.requests import Answers, Request
from twofold.backends.redis.servers import Server, Slots, Topology
from twofold.backends.redis.wires import Wires
from twofold.effects import Blocking, Effects, Native, PerLoop, run_sync
from twofold.errors import BackendUnavailable

_ATTEMPTS = 5  # times that a command is sent at most, redirections included
_MOST_BIG = 1024  # keys whose values are known to be big
_ASKING: Final = pack(b"ASKING")
_CLUSTER_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")
_BLOCKING = Blocking()
_NATIVE = Native()


class Refused(BackendUnavailable):
    """The server refused a command; `code` is the first word of what it said."""

    def __init__(self, server: Server, error: ReplyError, hint: str = "") -> None:
        super().__init__(f"{server.name} refused: {error}{hint}")
        self.code: str = error.code
        self.reason: str = str(error)


_HINTS = {
    "MOVED": " (it is part of a cluster: set OPTIONS['cluster'] to True)",
    "READONLY": " (LOCATION names a replica where a primary should be)",
    "NOAUTH": " (LOCATION or OPTIONS['password'] must name a password)",
}


class _Try(NamedTuple):
    """What to send of a command, this time."""

    packed: bytes
    wanted: int = 1
    server: Server | None = None
    """Where to, if not where its key belongs."""


class _Tried(NamedTuple):
    """What came of it."""

    server: Server | None
    outcome: Reply | BackendUnavailable
    generation: int = 0
    """The server's, when it was asked."""


_FAILURES = (ReplyError, BackendUnavailable)
_UNTRIED: Final = _Tried(None, None)


class Exchange:
    """The way to the servers and back, for every thread and event loop.

    A command that changes nothing is sent again if its connection is lost; one that may
    have been carried out is not. One that a server refused, since another has its key or
    is the primary by now, goes there.

    Args:
        topology: where keys belong.
        deadline: seconds that a call may take, all attempts together.
    """

    def __init__(self, topology: Topology, deadline: float) -> None:
        self.topology = topology
        self._deadline = deadline
        self._wires = Wires(deadline)
        self._loops: PerLoop[Channels] = PerLoop(
            lambda: Channels(deadline), Channels.aclose, Channels.abandon
        )
        self._big: dict[str, None] = {}

    def ask(self, command: Command) -> Reply | Refused:
        """Return the reply to one command, or why the server refused it.

        Raises:
            DeadlineExceeded: there is none in time.
            BackendUnavailable: the server cannot be reached, or was lost.
        """
        due = monotonic() + self._deadline
        server = self.topology.place(command.key, command.reads)
        tried = [_UNTRIED]
        if server is not None:
            seen = server.generation
            try:
                reply = self._wires.ask(server, command.packed, due)
            except BackendUnavailable as failure:
                reply = failure
            if not isinstance(reply, _FAILURES):
                return reply
            tried = [_Tried(server, reply, seen)]
            del reply  # see `_persist`
        [final] = run_sync(self._persist(_BLOCKING, [command], tried, due))
        return final

    async def aask(self, command: Command) -> Reply | Refused:
        """Do what `ask` does."""
        due = monotonic() + self._deadline
        packed, key, reads, bulk, _ = command
        server = self.topology.place(key, reads)
        tried = [_UNTRIED]
        if server is not None:
            bulk, seen = bulk or key in self._big, server.generation
            try:
                reply = await self._loops.get().lane(server, bulk).ask(packed, 1, due)
            except BackendUnavailable as failure:
                reply = failure
            if type(reply) is bytes and not bulk and len(reply) < BULK:
                return reply  # what follows is the same, slower
            if not isinstance(reply, _FAILURES):
                if bulk or type(reply) is bytes:
                    self._note_size(key, packed, reply)
                return reply
            tried = [_Tried(server, reply, seen)]
            del reply  # see `_persist`
        [final] = await self._persist(_NATIVE, [command], tried, due)
        return final

    def ask_all(self, commands: Sequence[Command]) -> list[Reply | Refused]:
        """Return the replies to `commands`, sent side by side; see `ask`."""
        if len(commands) == 1:
            return [self.ask(commands[0])]
        due = monotonic() + self._deadline
        return run_sync(self._persist(_BLOCKING, commands, [_UNTRIED] * len(commands), due))

    async def aask_all(self, commands: Sequence[Command]) -> list[Reply | Refused]:
        """Do what `ask_all` does."""
        if len(commands) == 1:
            return [await self.aask(commands[0])]
        due = monotonic() + self._deadline
        return await self._persist(_NATIVE, commands, [_UNTRIED] * len(commands), due)

    async def tell(self, io: Effects, server: Server, *packed: bytes) -> list[Reply]:
        """Return the replies of one server to commands on no key in particular."""
        seen = server.generation
        request = Request(server, b"".join(packed), len(packed), bulk=True)
        [answers] = await self._exchange(io, [request], monotonic() + self._deadline)
        if isinstance(answers, BackendUnavailable):
            self.topology.distrust()
            raise answers
        for reply in answers:
            if isinstance(reply, ReplyError):
                self.topology.distrust()
                server.renew(seen)
                raise self._refused(server, reply)
        return answers

    async def primaries(self, io: Effects) -> Sequence[Server]:
        """Return the servers that take writes, as the cluster sees them now."""
        await self._learn_slots(io, monotonic() + self._deadline)
        return self.topology.primaries()

    def connections(self, server: Server) -> int:
        """Return how many connections to `server` this process holds, but for those in use."""
        return self._wires.count(server) + sum(each.count(server) for each in self._loops)

    def close(self) -> None:
        """Close all connections, those in use after their replies."""
        self._loops.sweep()
        self._leave(self.topology.servers())

    async def aclose(self) -> None:
        """Do what `close` does; those of the running loop are closed at once."""
        await self._loops.aclose()
        self.close()

    def _leave(self, servers: Sequence[Server]) -> None:
        self._wires.close(servers)
        for channels in self._loops:
            channels.leave(servers)

    def _note_size(self, key: str, packed: bytes, reply: Reply) -> None:
        """Remember whether the value of `key` should have the other connection next time."""
        size = max(len(packed), len(reply) if type(reply) is bytes else 0)
        if size < BULK and type(reply) is int:  # `EXISTS` and the like do not tell
            return
        self._big.pop(key, None)
        if size >= BULK:
            self._big[key] = None
            for oldest in list(self._big)[:-_MOST_BIG]:
                self._big.pop(oldest, None)

    async def _persist(
        self, io: Effects, commands: Sequence[Command], tried: list[_Tried], due: float
    ) -> list[Reply | Refused]:
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
                if self.topology.wants_map:
                    await self._learn_slots(io, due)
                for n, came in (await self._try(io, commands, tries, due)).items():
                    tried[n] = came
            return list(map(self._final, tried))
        finally:
            tried.clear()  # errors, whose tracebacks have this frame, would keep themselves alive

    def _again(self, command: Command, tried: _Tried) -> _Try | None:
        """Return what to send next, or None if that was it."""
        server, outcome, seen = tried
        if isinstance(outcome, BackendUnavailable):
            self.topology.distrust()
            if not isinstance(outcome, ConnectionLost) or (outcome.sent and not command.reads):
                return None
            return None if self._is_hopeless(command, server) else _Try(command.packed)
        if server is None:
            return _Try(command.packed)
        if not isinstance(outcome, ReplyError):
            return None
        if outcome.code == "NOSCRIPT" and command.script:
            whole = pack(*command.script)
            if self.topology.splits:  # the key's slot may be on its way to this server
                return _Try(_ASKING + whole, 2, server)
            return _Try(whole, server=server)
        if outcome.code in _ELSEWHERE:
            return self._redirected(command, server, outcome)
        if outcome.code == "READONLY":
            server.renew(seen)
            return _Try(command.packed)
        if outcome.code in _UNWELL:
            server.renew(seen)
            server.breaker.fail(outcome, refused=True)
            self.topology.distrust()
            return None if self._is_hopeless(command, server) else _Try(command.packed)
        if outcome.code == "CLUSTERDOWN":  # maybe it was asked by an old map
            self.topology.distrust()
            return _Try(command.packed) if self.topology.wants_map else None
        return None

    def _is_hopeless(self, command: Command, server: Server | None) -> bool:
        """Tell whether the only server for `command` is the one that just failed for good."""
        if server is None or not server.breaker.tripped:
            return False
        return self.topology.place(command.key, command.reads) is server

    def _redirected(self, command: Command, server: Server, error: ReplyError) -> _Try | None:
        """Return what to send to the server that has the key instead of this one."""
        if not isinstance(self.topology, Slots):
            return None
        there = self.topology.redirect(str(error), server)
        if error.code == "ASK":
            return _Try(_ASKING + command.packed, 2, there)
        self.topology.move(command.key, there)
        return _Try(command.packed)

    async def _try(
        self, io: Effects, commands: Sequence[Command], tries: dict[int, _Try], due: float
    ) -> dict[int, _Tried]:
        """Send `tries`, all for one server as one, and return what came of each."""
        by_server: dict[Server, list[int]] = {}
        results: dict[int, _Tried] = {}
        for n, each in tries.items():
            server = each.server or self.topology.place(commands[n].key, commands[n].reads)
            if server is None:
                self.topology.distrust()
                nobody = BackendUnavailable("no server has the slot of the key")
                results[n] = _Tried(None, nobody)
            else:
                by_server.setdefault(server, []).append(n)
        requests = [
            self._request(server, [(commands[n], tries[n]) for n in numbers])
            for server, numbers in by_server.items()
        ]
        seen = {server: server.generation for server in by_server}
        for request, answers in zip(requests, await self._exchange(io, requests, due), strict=True):
            at = 0
            for n in by_server[request.server]:
                at += tries[n].wanted
                outcome = answers if isinstance(answers, BackendUnavailable) else answers[at - 1]
                results[n] = _Tried(request.server, outcome, seen[request.server])
        return results

    def _request(self, server: Server, parts: Sequence[tuple[Command, _Try]]) -> Request:
        packed = b"".join([each.packed for _, each in parts])
        wanted = sum([each.wanted for _, each in parts])
        big = any(command.bulk or command.key in self._big for command, _ in parts)
        return Request(server, packed, wanted, big or len(packed) >= BULK)

    async def _learn_slots(self, io: Effects, due: float) -> None:
        """Ask the servers of a cluster, one after the other, where its slots are."""
        if not isinstance(self.topology, Slots):
            return
        failure: object = "none is known"
        for server in self.topology.candidates():
            half = (monotonic() + due) / 2  # leaves time for the others
            [answers] = await self._exchange(io, [Request(server, _CLUSTER_SLOTS, 1)], half)
            failure = answers[0] if isinstance(answers, list) else answers
            if isinstance(failure, list) and failure:
                self._leave(self.topology.learn(failure, server))
                return
        if not self.topology.primaries():
            raise BackendUnavailable(
                f"no server tells the slots of the cluster: {failure or 'it has none'}."
                " (OPTIONS['cluster'] is for servers in cluster mode)"
            )

    async def _exchange(
        self, io: Effects, requests: Sequence[Request], due: float
    ) -> list[Answers]:
        return await io.op(self._wires.exchange, self._aexchange, requests, due)

    async def _aexchange(self, requests: Sequence[Request], due: float) -> list[Answers]:
        return await self._loops.get().exchange(requests, due)

    def _final(self, tried: _Tried) -> Reply | Refused:
        """Return a reply, or why it was refused; raise why there is none."""
        server, outcome, _ = tried
        if isinstance(outcome, BackendUnavailable):
            try:
                raise outcome
            finally:
                del outcome, tried
        if server is None:
            raise late("the store", self._deadline)
        return self._refused(server, outcome) if isinstance(outcome, ReplyError) else outcome

    def _refused(self, server: Server, error: ReplyError) -> Refused:
        hint = "" if self.topology.splits else _HINTS.get(error.code, "")
        return Refused(server, error, hint)


_ELSEWHERE = frozenset({"MOVED", "ASK"})
_UNWELL = frozenset({"LOADING", "MASTERDOWN"})
