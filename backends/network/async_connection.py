"""The connections of the async face: one, multiplexed, for all tasks of an event loop.

A command joins the queue of those that wait. It is written at once if no reply is
outstanding, else together with all others of the same tick of the loop; reads among them
become one request if the protocol can do that.

Replies are matched to commands in order. A cancelled command keeps its place, so later
replies stay aligned: cancelling one caller does not affect the others. A connection that
fails, fails every command on it.

Only this module does I/O on the loop; a store's `Connector` opens the connections.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import Any

from twofold.backends.network.connectors import Opened
from twofold.backends.network.errors import (
    ASK_WHO,
    ConnectError,
    ConnectionLost,
    deadline_exceeded,
)
from twofold.backends.network.pending import MergedRead, PendingReply, callers, fail
from twofold.backends.network.replies import INCOMPLETE, ProtocolError, Reply, mismatch
from twofold.backends.network.servers import CLOSED, Server
from twofold.interrupts import raise_if_of_others

_MOST_SENT = 1024  # requests that may be on their way
_MOST_BYTES = 262_144  # bytes to hand to the transport at a time, and to be buffered there
_LOOK_EVERY = 0.05  # seconds from one look at the deadlines to the next
_LOST = 1.0  # seconds by which a look is so late that a signal's handler kept it from coming
_PATIENCE = 0.05  # seconds at most to read what came while the loop stood still
_NEXT_LOOK = 0.01  # seconds in which a server that is still sending gets something through


class AsyncConnection(asyncio.Protocol):
    """One connection to a server, from `begin` until it is lost.

    Args:
        server: where to.
        timeout: seconds; a server that is silent for as long is given up, and one whose
            reply is as much too late.
    """

    def __init__(self, server: Server, timeout: float) -> None:
        self.generation: int = CLOSED
        """The server's when this began; another one before, and when this is closed."""
        self._server = server
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        # Timers and tasks get an empty context: a caller's would live as long as the connection.
        self._context = contextvars.Context()
        self._protocol = server.protocol
        self._reader = self._protocol.new_reader()
        self._waiting: deque[PendingReply] = deque()
        self._sent: deque[PendingReply | MergedRead] = deque()
        self._opened: Opened | None = None
        self._flushing = True  # as soon as there is a connection
        self._paused = False
        self._retired = False
        self._ended: ConnectionLost | None = None
        self._heard_at = 0.0
        self._look_at = 0.0
        self._patient_until = 0.0  # unless the loop stood still
        self._heard_before = 0.0
        self._look_every = min(_LOOK_EVERY, timeout / 4)
        self._watch: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()
        self._connecting: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        counts = f"waiting={len(self._waiting)} sent={len(self._sent)}"
        return f"<AsyncConnection {self._server.name} {counts}>"

    @property
    def idle(self) -> bool:
        """Whether nobody waits for a reply on it."""
        return not self._sent and not self._waiting

    def submit(
        self, packed: bytes, deadline: float, parts: Sequence[bytes] = (), dedicated: bool = False
    ) -> PendingReply:
        """Queue a request; if it has several `parts`, each has its reply.

        On a `dedicated` connection, a reply may be a preamble of the one that follows.

        Awaiting it fails with `DeadlineExceeded` at the monotonic time `deadline`, and with
        `ConnectionLost` if the connection ends before, or cannot be made.
        """
        pending = PendingReply(loop=self._loop)
        pending.packed, pending.deadline, pending.wanted = packed, deadline, 1
        if parts or dedicated:
            pending.wanted = len(parts) if len(parts) > 1 else int(not dedicated)
            pending.parts, pending.replies = parts, []
        if self._ended is not None:
            fail(deque([pending]), self._ended, sent=False)
            return pending
        # One timer looks after all: a timer for each request would cost more than the request.
        if self._watch is None or self._look_at < deadline - self._timeout - _LOST:
            self._check_in(self._look_every)
        if self._flushing:
            self._waiting.append(pending)
        elif self._sent or self._paused or self._opened is None:
            self._waiting.append(pending)
            self._flush_soon()  # the server is busy: others of this tick may join
        else:
            try:
                self._heard_at = monotonic()  # the silence of an idle connection is no fault
                self._sent.append(pending)
                self._opened.transport.write(packed)
            except BaseException:
                self._interrupted()
                raise
        return pending

    def _interrupted(self) -> None:
        """End it, since a signal's handler has raised: later replies would be out of step."""
        self._end(ConnectionLost(f"asking {self._server.name} was interrupted"))

    def begin(self) -> None:
        """Start to connect, once somebody knows of this who will close it.

        Raises:
            ConnectError: the loop takes no task; its task factory is the application's.
        """
        generation = self._server.generation
        connecting = self._connect()
        try:
            self._connecting = self._loop.create_task(connecting, context=self._context)
            self._connecting.add_done_callback(self._connected, context=self._context)
        except Exception as error:
            raise_if_of_others(error)
            connecting.close()
            failed = _connect_error(self._server, error)
            self._server.fail(failed, refused=True)
            raise failed from error
        self.generation = generation

    async def _connect(self) -> None:
        try:
            self._opened = opened = await self._server.connector.aconnect(self._timeout)
            if self._ended is not None:  # by who did not know of this task: `begin` was broken off
                self._end(self._ended)
                return
            opened.transport.set_protocol(self)
            opened.transport.set_write_buffer_limits(high=_MOST_BYTES)
            self._flush()
        except Exception as error:
            raise_if_of_others(error)
            failed = (
                error if isinstance(error, ConnectError) else _connect_error(self._server, error)
            )
            self._server.fail(failed, refused=failed.refused)
            self._end(failed)

    def _connected(self, connecting: "asyncio.Task[None]") -> None:
        """End it where connecting was broken off.

        By a signal's handler, or by who cancels all tasks of the loop, as `asyncio.run` does.
        """
        cause = None if connecting.cancelled() else connecting.exception()
        if connecting.cancelled() or cause is not None:
            lost = ConnectionLost(f"connecting to {self._server.name} was cancelled")
            lost.__cause__ = cause
            self._end(lost)

    def _flush_soon(self) -> None:
        self._flushing = True
        self._loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        """Write what waits, as far as the bounds allow."""
        self._flushing = False
        if self._opened is None:
            return
        leaving = list[PendingReply]()
        try:
            if not self._sent:
                self._heard_at = monotonic()
            self._take_waiting(leaving)
            if len(leaving) == 1:
                self._sent.append(pending := leaving[0])
                self._opened.transport.write(pending.packed)
            elif leaving:
                requests = leaving if self._protocol.merge is None else self._merged(leaving)
                self._sent += requests
                self._opened.transport.write(b"".join([each.packed for each in requests]))
            elif self._retired and self.idle:
                self.close()
        except BaseException:
            self._sent += leaving
            self._interrupted()
            raise

    def _take_waiting(self, leaving: list[PendingReply]) -> None:
        """Move what may be sent now to `leaving`; it is always in one of the two, or both."""
        waiting, size = self._waiting, 0
        room = 0 if self._paused else _MOST_SENT - len(self._sent)
        while waiting and len(leaving) < room and size < _MOST_BYTES:
            pending = waiting[0]
            if not pending.done():  # it was cancelled or late before it left
                leaving.append(pending)
                size += len(pending.packed)
            waiting.popleft()

    def _merged(self, waiting: list[PendingReply]) -> Sequence[PendingReply | MergedRead]:
        """Return `waiting` with its reads merged into one request, in the place of the first.

        That keeps every promise: they were asked for side by side, in no order.
        """
        start, merge = self._protocol.mergeable, self._protocol.merge
        reads = [each for each in waiting if each.packed.startswith(start) and each.wanted == 1]
        if len(reads) < 2 or merge is None:
            return waiting
        merged = MergedRead(reads, merge([pending.packed for pending in reads]))
        if len(reads) == len(waiting):
            return [merged]
        others = set(map(id, reads[1:]))
        return [merged if each is reads[0] else each for each in waiting if id(each) not in others]

    def data_received(self, data: bytes) -> None:
        try:
            self._heard_at = monotonic()
            reader, sent, matches = self._reader, self._sent, self._protocol.matches
            outstanding = len(sent)
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                pending = sent[0]
                # A reply of another kind means that replies are out of step: no later one may
                # be trusted.
                if pending.wanted != 1:
                    if (reply := self._whole(pending, reply)) is INCOMPLETE:
                        continue
                elif not matches(pending.packed, reply):
                    raise mismatch(reply)  # noqa: TRY301 - a call costs more
                if not pending.done():  # else its caller has left, and the reply is dropped
                    pending.set_result(reply)
                sent.popleft()  # only now, so that who is interrupted before fails it
        except (ProtocolError, IndexError) as error:
            self._give_up(
                ConnectionLost(f"{self._server.name} broke the protocol: {error!r}{ASK_WHO}")
            )
            return
        except BaseException:
            self._interrupted()
            raise
        answered = outstanding - len(sent)
        if answered and self._server.breaker.failures:
            self._server.breaker.succeed()
        if not sent and reader.has_data():
            self._give_up(
                ConnectionLost(f"{self._server.name} sent more than was asked for{ASK_WHO}")
            )
            return
        if (answered > 1 or self._waiting) and not self._flushing:
            self._flush_soon()  # after those who were answered now, and may ask again
        if self._retired and self.idle:
            self.close()

    def _whole(self, pending: PendingReply | MergedRead, reply: Reply) -> Reply:
        """Return all replies to a request of several parts, or the one behind a preamble.

        That is INCOMPLETE until it has come.
        """
        if type(pending) is PendingReply and pending.wanted:
            replies = pending.replies
            if not self._protocol.matches(pending.parts[len(replies)], reply):
                raise mismatch(reply)
            replies.append(reply)
            return replies if len(replies) == pending.wanted else INCOMPLETE
        if not self._protocol.matches(pending.packed, reply):
            raise mismatch(reply)
        is_preamble = self._protocol.is_preamble
        return INCOMPLETE if is_preamble is not None and is_preamble(reply) else reply

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

    def _check_in(self, seconds: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._look_at = monotonic() + seconds
        self._watch = self._loop.call_later(seconds, self._check_deadlines, context=self._context)

    def _check_deadlines(self) -> None:
        """Fail requests past their deadline; give up a server that is silent or too slow."""
        self._watch = None
        now = monotonic()
        if self._flushing and self._opened is not None:  # a signal's handler kept that from running
            self._flush()
        # This look comes late if the loop stood still, and then replies may lie unread in the
        # socket. They are read first, as long as more arrive: the server is not at fault.
        if now - self._look_at > _LOOK_EVERY and not self._patient_until:
            self._patient_until, self._heard_before = now + _PATIENCE, 0.0
        if now < self._patient_until and self._heard_before != self._heard_at:
            self._heard_before = self._heard_at
            self._check_in(_NEXT_LOOK)
            return
        self._patient_until = 0.0
        for pending in callers(chain(self._sent, self._waiting)):
            if pending.deadline <= now:
                pending.fail(deadline_exceeded(self._server.name, self._timeout))
        if self._sent and now - min(self._heard_at, self._sent[0].deadline) >= self._timeout:
            text = f"{self._server.name} sent nothing for {self._timeout:g} s, and is given up"
            self._give_up(ConnectionLost(text))
        elif not self.idle:
            self._check_in(self._look_every)

    def _give_up(self, error: ConnectionLost) -> None:
        self._blame(error)
        self._end(error)

    def _blame(self, error: ConnectionLost) -> None:
        # A server may close an idle connection: that says nothing of whether it works.
        if self._sent:
            self._server.fail(error)

    def retire(self) -> None:
        """Close as soon as nobody waits for a reply."""
        self._retired = True
        self.generation = CLOSED
        if self.idle:
            self.close()

    @property
    def connecting(self) -> bool:
        """Whether the connection is still to be made."""
        return self._connecting is not None and not self._connecting.done()

    def close(self) -> None:
        """Close at once; who waits is told that the connection was lost."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._end(ConnectionLost(f"the connection to {self._server.name} was closed"))

    @property
    def closing(self) -> Sequence[asyncio.Future[None]]:
        """What to await after `close`, for the transport to be gone."""
        return [self._lost] if self._connecting is None else [self._connecting, self._lost]

    def abandon(self) -> None:
        """Close the descriptor though the loop has closed, and calls no callbacks any more."""
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


def _connect_error(server: Server, error: Exception) -> ConnectError:
    failed = ConnectError(f"{server.name} cannot be reached: {error!r}", refused=True)
    failed.__cause__ = error
    return failed
