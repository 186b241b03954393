"""The connections of the sync face: each thread has its own, and waits for no other.

A thread takes one of its idle connections, asks, and puts it back. A call within a
call, from a signal's handler or a finaliser, therefore never meets a connection in use: it
opens another. A connection that is left by an exception is closed, since its reply is
still to come, and would be taken for the next one's.
"""

import atexit
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import get_clock_info, monotonic
from weakref import WeakSet, WeakValueDictionary, finalize

from twofold.backends.descriptors import is_systems
from twofold.backends.network.batches import Batch, BatchOutcome
from twofold.backends.network.errors import ConnectError, ConnectionLost, deadline_exceeded
from twofold.backends.network.replies import INCOMPLETE, ProtocolError, Reader, Reply, mismatch
from twofold.backends.network.servers import CLOSED, Server
from twofold.effects import ThreadLocal, after_fork_in_child, leak_on_fork
from twofold.errors import BackendUnavailable
from twofold.interrupts import is_interrupt

_CHUNK = 65536  # bytes to receive at a time
_IDLE = 1.0  # seconds after which a connection is looked at before it is used
_NEARLY = 0.005  # seconds that a limit may be off, so that the socket is told of few
_STEP = get_clock_info("monotonic").resolution  # seconds: 0.016 on Windows before CPython 3.13
_AT_ONCE = 4096  # bytes that an idle connection takes without waiting for room
_INHERITED = 64  # connections to a server that ended threads may leave
_GRACE = 0.001  # seconds at least for replies that may lie there, after another server's
_LAST_WORD = 0.1  # seconds that a server has to carry out what an interrupted caller sent


class Connection:
    """One connection, in use by one thread at a time.

    Args:
        server: where to.
        generation: the server's before the connection was opened.
        opened: the socket, logged in.
        patience: seconds of silence at most, however much time there is.
    """

    def __init__(
        self, server: Server, generation: int, opened: socket.socket, patience: float
    ) -> None:
        self.generation: int = generation
        self.used_at: float = 0.0
        self.waits_until: float = 0.0
        """The monotonic time at which it gives up, unless something comes."""
        self._name = server.name
        self._patience = patience
        self._socket = opened
        self._shut = finalize(self, _shut, opened)  # if need be before the socket is collected
        self._shut.atexit = False
        self.reader: Reader = server.protocol.new_reader()
        self._limit = 0.0  # seconds that the socket waits

    def send(self, packed: bytes, deadline: float) -> None:
        """Send commands, which with their replies may take until the monotonic time `deadline`."""
        self._wait_until(deadline)
        self._socket.sendall(packed)
        if len(packed) > _AT_ONCE:
            self._wait_until(deadline)

    def receive(self, deadline: float) -> Reply:
        """Return the next reply, if it comes in time."""
        reply = self.reader.gets()
        if reply is not INCOMPLETE:
            return reply
        self._wait_until(deadline)
        return self.receive_first(deadline)

    def receive_first(self, deadline: float) -> Reply:
        """Return a reply of which nothing has been read; the socket knows how long it may wait."""
        reader = self.reader
        while True:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionLost(f"{self._name} closed the connection before it replied")
            reader.feed(data)
            if (reply := reader.gets()) is not INCOMPLETE:
                return reply
            self._wait_until(deadline)

    def is_fit(self, server: Server) -> bool:
        """Tell whether, as far as can be seen, neither side has closed it."""
        if self.generation != server.generation:
            return False
        return monotonic() - self.used_at < _IDLE or not self._has_news()

    def _has_news(self) -> bool:
        """Tell whether the server closed the connection, or said what nobody asked for."""
        if not hasattr(select, "poll"):  # on Windows, where `select` takes any descriptor
            return bool(select.select([self._socket], [], [], 0)[0])
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the connection."""
        self.generation = CLOSED
        self._shut.detach()  # which by itself does nothing any more when the program ends
        _shut(self._socket)

    def finish(self) -> None:
        """Close the connection once the server has closed its side, after all it was sent.

        What the caller does next, to make up for what was broken off, might else be carried out
        before it. A server that takes long is not waited for.
        """
        try:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
                until = monotonic() + _LAST_WORD
                while (left := until - monotonic()) > 0:
                    self._socket.settimeout(left)
                    if not self._socket.recv(_CHUNK):
                        break
        finally:
            self.close()

    def _wait_until(self, deadline: float) -> None:
        now = monotonic()
        seconds = min(deadline - now, self._patience)
        self.waits_until = now + seconds
        if seconds <= 0:
            raise TimeoutError
        if abs(seconds - self._limit) > _NEARLY:
            self._socket.settimeout(seconds)
            self._limit = seconds


def _shut(opened: socket.socket) -> None:
    try:
        opened.close()
    except OSError as exc:
        if not is_systems(exc):
            raise


class OrphanedConnections:
    """Idle connections of finished threads, reused by new ones."""

    def __init__(self) -> None:
        self._idle: dict[Server, deque[Connection]] = {}

    def leave(self, server: Server, connection: Connection) -> None:
        """Take a connection in, or close it: there are enough, or it is out of date."""
        idle = self._idle.setdefault(server, deque())
        if len(idle) < _INHERITED and connection.generation == server.generation:
            idle.append(connection)
        else:
            connection.close()

    def take(self, server: Server) -> Connection | None:
        """Hand a connection out, if there is one."""
        try:
            return self._idle[server].pop()
        except LookupError:
            return None

    def count(self, server: Server) -> int:
        """Return how many connections there are to a server."""
        return len(self._idle.get(server, ()))

    def close(self) -> None:
        """Close them."""
        for server in list(self._idle):
            while (connection := self.take(server)) is not None:
                connection.close()


class IdleConnections(dict[Server, list[Connection]]):
    """Connections that one thread does not use now; `orphaned` gets them when it ends."""

    def __init__(self, orphaned: OrphanedConnections) -> None:
        super().__init__()
        self._orphaned = orphaned

    def close(self) -> None:
        """Close them."""
        for idle in list(self.values()):
            with suppress(IndexError):
                while True:
                    idle.pop().close()

    def __del__(self) -> None:
        for server, idle in self.items():
            while idle:
                self._orphaned.leave(server, idle.pop())


class ConnectionPool:
    """The connections of all threads.

    Args:
        timeout: seconds that a call may take.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._begin()
        after_fork_in_child(self)
        _all_pools.add(self)

    def _begin(self) -> None:
        self._orphaned = OrphanedConnections()
        self._idle_by_thread: WeakValueDictionary[int, IdleConnections] = WeakValueDictionary()
        self._own = ThreadLocal()

    def execute(self, server: Server, packed: bytes, deadline: float) -> Reply:
        """Return the reply to one command, if it comes until the monotonic time `deadline`.

        Raises:
            DeadlineExceeded: it does not.
            ConnectionLost: the connection ended before, or could not be made.
            BackendUnavailable: the server's breaker is open.
        """
        connection = self._take(server, deadline)
        try:
            connection.send(packed, deadline)
            reply = connection.receive_first(deadline)
            if not server.protocol.matches(packed, reply):
                raise mismatch(reply)  # noqa: TRY301 - as the reader's own
        except BaseException as error:
            failure = self._failure(server, connection, error)
        else:
            self._put(server, connection)
            return reply
        try:
            raise failure
        finally:
            del failure  # whose traceback has this frame, would keep itself alive

    def execute_pair(
        self, server: Server, packed: bytes, parts: tuple[bytes, bytes], deadline: float
    ) -> list[Reply]:
        """Return the replies to two commands, sent as one; see `execute`."""
        first, second = parts
        connection, matches = self._take(server, deadline), server.protocol.matches
        try:
            connection.send(packed, deadline)
            replies = [connection.receive_first(deadline), connection.receive(deadline)]
            if not (matches(first, replies[0]) and matches(second, replies[1])):
                raise mismatch(replies)  # noqa: TRY301 - as the reader's own
        except BaseException as error:
            failure = self._failure(server, connection, error)
        else:
            self._put(server, connection)
            return replies
        try:
            raise failure
        finally:
            del failure  # as in `execute`

    def execute_batches(self, batches: Sequence[Batch], deadline: float) -> list[BatchOutcome]:
        """Send all `batches` side by side, and return what came of each."""
        sent: list[Connection | BackendUnavailable] = []
        try:
            for batch in batches:
                sent.append(self._send(batch, deadline))  # noqa: PERF401 - known if the next fails
            return [
                self._receive(batch, connection, deadline)
                if isinstance(connection, Connection)
                else connection
                for batch, connection in zip(batches, sent, strict=True)
            ]
        except BaseException:
            for connection in sent:
                if isinstance(connection, Connection):
                    connection.finish()
            raise

    def converse(
        self,
        server: Server,
        first: Batch,
        then: Callable[[list[Reply]], Batch],
        deadline: float,
    ) -> list[Reply]:
        """Send `first`, and on the same connection what `then` makes of the replies.

        Return the replies to that. What is lost with `first`, which must change nothing, has
        not been sent as far as the caller is concerned.
        """
        connection, second = self._take(server, deadline), None
        try:
            second = then(self._exchange(first, connection, deadline))
            replies = self._exchange(second, connection, deadline)
        except BaseException as error:
            failure = self._failure(server, connection, error)
            if second is None and isinstance(failure, ConnectionLost):
                failure.sent = False
        else:
            self._put(server, connection)
            return replies
        try:
            raise failure
        finally:
            del failure  # as in `execute`

    def _exchange(self, batch: Batch, connection: Connection, deadline: float) -> list[Reply]:
        connection.send(batch.packed, deadline)
        return _replies(batch, connection, deadline)

    def close(self, servers: Sequence[Server]) -> None:
        """Close the connections to `servers`: idle ones now, others after their reply."""
        for server in servers:
            server.renew(server.generation)
        for idle in self._all_idle():
            idle.close()
        self._orphaned.close()

    def end(self) -> None:
        """Close all idle connections, since the program ends; who asks yet opens one again."""
        for idle in self._all_idle():
            idle.close()
        self._orphaned.close()

    def count(self, server: Server) -> int:
        """Return how many idle connections there are to a server."""
        own = sum(len(idle.get(server, ())) for idle in self._all_idle())
        return own + self._orphaned.count(server)

    def _all_idle(self) -> list[IdleConnections]:
        references = self._idle_by_thread.valuerefs()  # a list: threads come and go meanwhile
        return [idle for each in references if (idle := each()) is not None]

    def _idle_here(self) -> IdleConnections:
        """Return those of this thread."""
        try:
            idle: IdleConnections = self._own.idle
        except AttributeError:
            idle = self._own.idle = IdleConnections(self._orphaned)
            self._idle_by_thread[id(idle)] = idle
        return idle

    def _send(self, batch: Batch, deadline: float) -> Connection | BackendUnavailable:
        try:
            connection = self._take(batch.server, deadline)
        except BackendUnavailable as error:
            return error
        try:
            connection.send(batch.packed, deadline)
        except BaseException as error:
            return self._failure(batch.server, connection, error)
        return connection

    def _receive(self, batch: Batch, connection: Connection, deadline: float) -> BatchOutcome:
        deadline = max(deadline, monotonic() + _GRACE)
        try:
            replies = _replies(batch, connection, deadline)
        except BaseException as error:
            return self._failure(batch.server, connection, error)
        self._put(batch.server, connection)
        return replies

    def _take(self, server: Server, deadline: float) -> Connection:
        """Return a connection of this thread's that nobody uses."""
        if monotonic() >= deadline:
            raise deadline_exceeded(server.name, self._timeout)
        idle = self._idle_here().get(server)
        if server.breaker.tripped:
            while idle:  # they are of no use, and a full server may have no room for a ping
                idle.pop().close()
            server.admit()
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # `close` in another thread was faster
                break
            if connection.is_fit(server):
                return connection
            connection.close()
        while (left := self._orphaned.take(server)) is not None:
            if left.is_fit(server):
                return left
            left.close()
        return self._open(server, deadline)

    def _open(self, server: Server, deadline: float) -> Connection:
        generation = server.generation
        try:
            opened = server.connector.connect(min(deadline - monotonic(), self._timeout))
        except ConnectError as error:
            server.fail(error, refused=error.refused)
            raise
        return Connection(server, generation, opened, self._timeout)

    def _put(self, server: Server, connection: Connection) -> None:
        if server.breaker.failures:
            server.breaker.succeed()
        if connection.reader.has_data():  # which is nobody's
            connection.close()
            return
        connection.used_at = monotonic()
        idle = self._idle_here()
        idle.setdefault(server, []).append(connection)
        if connection.generation != server.generation:  # `close` came in between
            idle.close()

    def _failure(
        self, server: Server, connection: Connection, error: BaseException
    ) -> BackendUnavailable:
        """Close `connection`, tell the breaker, and return what `error` means for the caller.

        What is no fault of the connection, such as a signal's exception, is raised as it
        is. The breaker counts a lost connection only if it was new: servers close old ones.
        """
        is_late = isinstance(error, TimeoutError) and not error.errno
        is_early = is_late and monotonic() < connection.waits_until - _NEARLY - _STEP
        is_others = is_early or is_interrupt(error)
        if is_others or not isinstance(error, ConnectionLost | OSError | ProtocolError):
            connection.finish()
            raise error  # a time-out that is early is somebody else's
        connection.close()
        if is_late:
            server.fail(failure := deadline_exceeded(server.name, self._timeout))
            return failure
        lost = error if isinstance(error, ConnectionLost) else _lost(server, error)
        if not connection.used_at:
            server.fail(lost)
        return lost

    def _after_fork(self) -> None:
        leak_on_fork(self._own, self._idle_by_thread, self._orphaned)
        self._begin()


_all_pools: WeakSet[ConnectionPool] = WeakSet()


@atexit.register
def _end_all() -> None:
    """Close what would be told of as left open, when modules are torn down already."""
    for pool in list(_all_pools):
        pool.end()


def _replies(batch: Batch, connection: Connection, deadline: float) -> list[Reply]:
    protocol, replies = batch.server.protocol, list[Reply]()
    matches, receive = protocol.matches, connection.receive
    is_preamble = protocol.is_preamble if batch.dedicated else None
    for part in batch.parts:
        announced = True
        while announced:
            reply = receive(deadline)
            if not matches(part, reply):
                raise mismatch(reply)
            announced = is_preamble is not None and is_preamble(reply)
        replies.append(reply)
    return replies


def _lost(server: Server, error: Exception) -> ConnectionLost:
    lost = ConnectionLost(f"{server.name}: {error}")
    lost.__cause__ = error
    return lost
