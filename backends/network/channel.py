"""The connections of the async face: one, multiplexed, for all tasks of an event loop.

A caller's command joins those that wait. It leaves at once if no reply is awaited, else
with all others of the same tick of the loop, those that read made one if the dialect can
do that. Replies come in the order of the commands, and each ends one wait, whether
anybody still waits or not: so a cancelled caller harms no other. A connection that fails
fails everybody who waits for it.

Nobody but this module does I/O on the loop; a driver opens the connections.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import Any

from twofold.backends.network.faults import ConnectionLost, DialFailed, late
from twofold.backends.network.replies import INCOMPLETE, ProtocolError, Reply
from twofold.backends.network.requests import Answers, Request
from twofold.backends.network.servers import CLOSED, Opened, Server
from twofold.errors import BackendUnavailable

_MOST_SENT = 1024  # requests that may be on their way
_MOST_BYTES = 262_144  # bytes to hand to the transport at a time, and to be buffered there
_LOOK_EVERY = 0.05  # seconds from one look at the deadlines to the next
_PATIENCE = 0.05  # seconds at most to read what came while the loop stood still
_GONE_WITHIN = 1.0  # seconds that a transport may take to close


class Slot(asyncio.Future[Reply]):
    """A request's place in the line; to await it brings the reply, or the list of replies."""

    __slots__ = ("due", "packed", "replies", "wanted")

    packed: bytes
    wanted: int
    due: float
    replies: list[Reply]

    def take(self, reply: Reply) -> bool:
        """Take the next of several replies, and tell whether it was the last one."""
        self.replies.append(reply)
        if len(self.replies) < self.wanted:
            return False
        if not self.done():
            self.set_result(self.replies)
        return True

    def fail(self, error: BaseException) -> None:
        """End the wait by an error."""
        if not self.done():
            self.set_exception(error)


class Joint:
    """What several callers read, as one request whose reply is each one's."""

    __slots__ = ("due", "packed", "slots", "wanted")

    def __init__(self, slots: list[Slot], packed: bytes) -> None:
        self.slots = slots
        self.packed = packed
        self.wanted = 1
        self.due: float = slots[0].due

    def done(self) -> bool:
        """Tell whether nobody waits any more."""
        return all(slot.done() for slot in self.slots)

    def set_result(self, reply: Reply) -> None:
        """Give everybody who waits the reply."""
        for slot in self.slots:
            if not slot.done():
                slot.set_result(reply)

    def take(self, reply: Reply) -> bool:
        """Take the one reply."""
        self.set_result(reply)
        return True


class Channel(asyncio.Protocol):
    """One connection to a server, from the first request on it until it is lost.

    Args:
        server: where to.
        deadline: seconds; a server that is silent for as long is given up, and one whose
            reply is as much too late.
    """

    def __init__(self, server: Server, deadline: float) -> None:
        self.generation: int = server.generation
        """The server's when this was made; another one when this is closed."""
        self._server = server
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.Context()  # a request's would be kept alive by timers
        self._dialect = server.dialect
        self._reader = self._dialect.new_reader()
        self._waiting: deque[Slot] = deque()
        self._sent: deque[Slot | Joint] = deque()
        self._opened: Opened | None = None
        self._flushing = False
        self._paused = False
        self._retired = False
        self._ended: ConnectionLost | None = None
        self._heard_at = 0.0
        self._look_at = 0.0
        self._patient_until = 0.0  # unless the loop stood still
        self._heard_before = 0.0
        self._look_every = min(_LOOK_EVERY, deadline / 4)
        self._watch: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()
        self._dialing = self._loop.create_task(self._dial(), context=self._context)

    def __repr__(self) -> str:
        return f"<Channel {self._server.name} waiting={len(self._waiting)} sent={len(self._sent)}>"

    @property
    def idle(self) -> bool:
        """Whether nobody waits for a reply on it."""
        return not self._sent and not self._waiting

    def ask(self, packed: bytes, wanted: int, due: float) -> Slot:
        """Put a request in the line; more than one reply is `wanted` of several commands.

        To await it fails with `DeadlineExceeded` at the monotonic time `due`, and with
        `ConnectionLost` if the connection ends before, or cannot be made.
        """
        slot = Slot(loop=self._loop)
        slot.packed, slot.wanted, slot.due = packed, wanted, due
        if wanted > 1:
            slot.replies = []
        self._waiting.append(slot)
        if self._ended is not None:
            _fail(self._waiting, self._ended, sent=False)
            return slot
        if self._watch is None:
            self._watch_on(self._look_every)
        if self._opened is not None and not self._flushing:
            if self._sent:
                self._flush_soon()
            else:
                self._flush()
        return slot

    async def _dial(self) -> None:
        try:
            opened = await self._server.dialer.aopen(self._deadline)
        except asyncio.CancelledError:
            self._end(ConnectionLost(f"connecting to {self._server.name} was cancelled"))
            raise
        except Exception as error:
            failed = error if isinstance(error, DialFailed) else _undialled(self._server, error)
            self._server.breaker.fail(failed, refused=failed.refused)
            self._end(failed)
            return
        self._opened = opened
        opened.transport.set_protocol(self)
        opened.transport.set_write_buffer_limits(high=_MOST_BYTES)
        self._flush()
        if self._server.breaker.tripped and not self._sent:
            self._probe()

    def _probe(self) -> None:
        """Ask on nobody's behalf: whoever was to find out about the server has left."""
        pong = self.ask(self._dialect.ping, 1, monotonic() + self._deadline)
        pong.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _flush_soon(self) -> None:
        self._flushing = True
        self._loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        """Write what waits, as far as the bounds allow."""
        self._flushing = False
        if self._opened is None:
            return
        if not self._sent:
            self._heard_at = monotonic()
        leaving: list[Slot] = []
        room, size = _MOST_SENT - len(self._sent), 0
        while self._waiting and not self._paused and size < _MOST_BYTES and len(leaving) < room:
            slot = self._waiting.popleft()
            if not slot.done():  # it was cancelled or late before it left
                leaving.append(slot)
                size += len(slot.packed)
        if len(leaving) == 1:
            self._sent.append(slot := leaving[0])
            self._opened.transport.write(slot.packed)
        elif leaving:
            requests = leaving if self._dialect.join is None else self._joined(leaving)
            self._sent += requests
            self._opened.transport.write(b"".join([each.packed for each in requests]))
        elif self._retired and self.idle:
            self.close()

    def _joined(self, slots: list[Slot]) -> Sequence[Slot | Joint]:
        """Return `slots` with all those that read made one, in the place of the first.

        They were asked for side by side, so that none must come before another.
        """
        start, join = self._dialect.reads, self._dialect.join
        reads = [slot for slot in slots if slot.packed.startswith(start) and slot.wanted == 1]
        if len(reads) < 2 or join is None:
            return slots
        joint = Joint(reads, join([slot.packed for slot in reads]))
        if len(reads) == len(slots):
            return [joint]
        others = set(map(id, reads[1:]))
        return [joint if slot is reads[0] else slot for slot in slots if id(slot) not in others]

    def data_received(self, data: bytes) -> None:
        self._heard_at = monotonic()
        reader, sent, count = self._reader, self._sent, 0
        types, fits = self._dialect.types, self._dialect.fits
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                count += 1
                if type(reply) not in types:
                    raise ProtocolError(f"a reply is a {type(reply).__name__}")  # noqa: TRY301
                slot = sent[0]
                if slot.wanted > 1:
                    if not slot.take(reply):
                        continue
                elif fits is not None and not fits(slot.packed, reply):
                    raise ProtocolError("one is to something else")  # noqa: TRY301
                sent.popleft()
                if not slot.done():
                    slot.set_result(reply)
        except (ProtocolError, IndexError) as error:
            self._give_up(ConnectionLost(f"{self._server.name} sent what is no reply: {error!r}"))
            return
        if count and self._server.breaker.failures:
            self._server.breaker.succeed()
        if (count > 1 or self._waiting) and not self._flushing:
            self._flush_soon()  # after those who were answered now, and may ask again
        if self._retired and self.idle:
            self.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._waiting and not self._flushing:
            self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._opened is not None:
            error = ConnectionLost(f"{self._server.name} closed the connection")
            error.__cause__ = exc
            self._blame(error)
            self._end(error)
        if not self._lost.done():
            self._lost.set_result(None)

    def _watch_on(self, seconds: float) -> None:
        self._look_at = monotonic() + seconds
        self._watch = self._loop.call_later(seconds, self._look, context=self._context)

    def _look(self) -> None:
        """Fail the requests that are due, and give up a server that is silent or too slow."""
        self._watch = None
        now = monotonic()
        if now - self._look_at > _LOOK_EVERY and not self._patient_until:
            self._patient_until, self._heard_before = now + _PATIENCE, 0.0
        if now < self._patient_until and self._heard_before != self._heard_at:
            self._heard_before = self._heard_at  # the loop stood still: replies may lie there
            self._watch_on(0.001)
            return
        self._patient_until = 0.0
        for slot in _callers(chain(self._sent, self._waiting)):
            if slot.due <= now:
                slot.fail(late(self._server.name, self._deadline))
        if self._sent and now - min(self._heard_at, self._sent[0].due) >= self._deadline:
            self._give_up(ConnectionLost(f"{self._server.name} has fallen silent, or is too slow"))
        elif not self.idle:
            self._watch_on(self._look_every)

    def _give_up(self, error: ConnectionLost) -> None:
        self._blame(error)
        self._end(error)

    def _blame(self, error: ConnectionLost) -> None:
        if self._sent:
            self._server.breaker.fail(error)

    def retire(self) -> None:
        """Close as soon as nobody waits for a reply."""
        self._retired = True
        self.generation = CLOSED
        if self.idle:
            self.close()

    @property
    def dialing(self) -> bool:
        """Whether the connection is still to be made."""
        return not self._dialing.done()

    def close(self) -> None:
        """Close at once; who waits is told that the connection was lost."""
        self._dialing.cancel()
        self._end(ConnectionLost(f"the connection to {self._server.name} was closed"))

    async def closed(self) -> None:
        """Wait until it is closed, having been told to."""
        if self.dialing:
            await asyncio.wait({self._dialing})
        with suppress(TimeoutError):
            async with asyncio.timeout(_GONE_WITHIN):
                await asyncio.shield(self._lost)

    def abandon(self) -> None:
        """Let go of the descriptor of a loop that has closed, which takes no more steps."""
        opened, self._opened = self._opened, None
        self.generation = CLOSED
        if opened is not None:
            tls: Any = getattr(opened.transport, "_ssl_protocol", None)
            transport: Any = opened.transport if tls is None else tls._transport
            with suppress(RuntimeError):
                opened.transport.abort()
            with suppress(RuntimeError, AttributeError):  # uvloop's have been closed with it
                transport._call_connection_lost(None)

    def _end(self, error: ConnectionLost) -> None:
        """Let go of the connection, and of everybody who waits."""
        self.generation = CLOSED
        self._ended = error
        opened, self._opened = self._opened, None
        if self._watch is not None:
            self._watch.cancel()
        if opened is not None:
            opened.transport.abort()
        elif not self._lost.done():
            self._lost.set_result(None)
        _fail(self._sent, error, sent=True)
        _fail(self._waiting, error, sent=False)


def _callers(requests: Iterable[Slot | Joint]) -> Iterator[Slot]:
    """Return the callers who wait for `requests`."""
    for each in requests:
        if isinstance(each, Joint):
            yield from each.slots
        else:
            yield each


def _fail(requests: deque[Slot] | deque[Slot | Joint], error: ConnectionLost, sent: bool) -> None:
    """Tell all who wait for `requests`, each by an exception of its own."""
    failed = list(_callers(requests))
    requests.clear()
    for slot in failed:
        own = ConnectionLost(str(error), sent)
        own.__cause__ = error
        slot.fail(own)


def _undialled(server: Server, error: Exception) -> DialFailed:
    failed = DialFailed(f"{server.name} cannot be reached: {error!r}", refused=True)
    failed.__cause__ = error
    return failed


class Channels:
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
            replies = await channel.ask(request.packed, request.wanted, due)
        except BackendUnavailable as error:
            return error
        return [replies] if request.wanted == 1 else replies

    async def _answers_apart(self, request: Request, due: float) -> Answers:
        """Ask over a connection that is made for this request alone."""
        try:
            channel = self._renew(request.server, None)
        except BackendUnavailable as error:
            return error
        asked = channel.ask(request.packed, request.wanted, due)
        self._retire(channel)
        try:
            replies = await asked
        except BackendUnavailable as error:
            return error
        return [replies] if request.wanted == 1 else replies

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
