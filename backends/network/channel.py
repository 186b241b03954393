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
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import Any

from twofold.backends.network.faults import ConnectionLost, DialFailed, late
from twofold.backends.network.replies import INCOMPLETE, ProtocolError, Reply, misfit
from twofold.backends.network.servers import CLOSED, Opened, Server
from twofold.backends.network.slots import Joint, Slot, callers, fail

_MOST_SENT = 1024  # requests that may be on their way
_MOST_BYTES = 262_144  # bytes to hand to the transport at a time, and to be buffered there
_LOOK_EVERY = 0.05  # seconds from one look at the deadlines to the next
_PATIENCE = 0.05  # seconds at most to read what came while the loop stood still


class Channel(asyncio.Protocol):
    """One connection to a server, from the first request on it until it is lost.

    Args:
        server: where to.
        deadline: seconds; a server that is silent for as long is given up, and one whose
            reply is as much too late.

    Raises:
        DialFailed: the loop takes no task.
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
        self._dialing = self._begin()

    def __repr__(self) -> str:
        return f"<Channel {self._server.name} waiting={len(self._waiting)} sent={len(self._sent)}>"

    @property
    def idle(self) -> bool:
        """Whether nobody waits for a reply on it."""
        return not self._sent and not self._waiting

    def ask(
        self, packed: bytes, due: float, parts: Sequence[bytes] = (), apart: bool = False
    ) -> Slot:
        """Put a request in the line; if it has several `parts`, each has its reply.

        Of a request that is `apart`, a reply may announce the one that follows.

        To await it fails with `DeadlineExceeded` at the monotonic time `due`, and with
        `ConnectionLost` if the connection ends before, or cannot be made.
        """
        slot = Slot(loop=self._loop)
        slot.packed, slot.wanted, slot.due = packed, len(parts) or 1, due
        if slot.wanted > 1:
            slot.parts, slot.replies = parts, []
        elif apart:
            slot.wanted = 0
        self._waiting.append(slot)
        if self._ended is not None:
            fail(self._waiting, self._ended, sent=False)
            return slot
        if self._watch is None:
            self._watch_on(self._look_every)
        if self._opened is not None and not self._flushing:
            if self._sent:
                self._flush_soon()
            else:
                self._flush()
        return slot

    def _begin(self) -> "asyncio.Task[None]":
        """Have the connection made; the loop's task factory is the application's, and may fail."""
        dial = self._dial()
        try:
            return self._loop.create_task(dial, context=self._context)
        except Exception as error:
            dial.close()
            failed = _undialled(self._server, error)
            self._server.breaker.fail(failed, refused=True)
            raise failed from error

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
        pong = self.ask(self._dialect.ping, monotonic() + self._deadline)
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
        fits = self._dialect.fits
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                count += 1
                slot = sent[0]
                if not fits(slot.next_part(), reply):
                    raise misfit(reply)
                if slot.wanted != 1 and isinstance(slot, Slot) and not self._takes(slot, reply):
                    continue
                sent.popleft()
                if not slot.done():
                    slot.set_result(reply)
        except (ProtocolError, IndexError) as error:
            self._give_up(ConnectionLost(f"{self._server.name} sent what is no reply: {error!r}"))
            return
        if count and self._server.breaker.failures:
            self._server.breaker.succeed()
        if not sent and reader.has_data():
            self._give_up(ConnectionLost(f"{self._server.name} sent more than was asked for"))
            return
        if (count > 1 or self._waiting) and not self._flushing:
            self._flush_soon()  # after those who were answered now, and may ask again
        if self._retired and self.idle:
            self.close()

    def _takes(self, slot: Slot, reply: Reply) -> bool:
        """Give a caller one of several replies, and tell whether it was the last."""
        if slot.wanted:
            return slot.take(reply)
        begins = self._dialect.begins
        return begins is None or not begins(reply)

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
        for slot in callers(chain(self._sent, self._waiting)):
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

    @property
    def ends(self) -> Sequence[asyncio.Future[None]]:
        """What is done once it is closed, having been told to."""
        return self._dialing, self._lost

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
        fail(self._sent, error, sent=True)
        fail(self._waiting, error, sent=False)


def _undialled(server: Server, error: Exception) -> DialFailed:
    failed = DialFailed(f"{server.name} cannot be reached: {error!r}", refused=True)
    failed.__cause__ = error
    return failed
