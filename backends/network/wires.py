"""The connections of the sync face: each thread has its own, and waits for no other.

A thread takes a connection from its shelf, asks, and puts it back. What asks in between,
in a signal handler or while garbage is collected, finds the shelf empty and opens one
more. A connection that is left by an exception is closed: there may be bytes to come.
"""

import atexit
import select
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import get_clock_info, monotonic
from weakref import WeakSet, WeakValueDictionary, finalize

from twofold.backends.descriptors import is_systems
from twofold.backends.network.faults import ConnectionLost, DialFailed, late
from twofold.backends.network.replies import INCOMPLETE, ProtocolError, Reply, misfit
from twofold.backends.network.requests import Answers, Request
from twofold.backends.network.servers import CLOSED, Server
from twofold.effects import ThreadLocal, after_fork_in_child, park
from twofold.errors import BackendUnavailable

_CHUNK = 65536  # bytes to receive at a time
_IDLE = 1.0  # seconds after which a connection is looked at before it is used
_NEARLY = 0.005  # seconds that a limit may be off, so that the socket is told of few
_STEP = get_clock_info("monotonic").resolution  # seconds: 0.016 on Windows before CPython 3.13
_INHERITED = 64  # connections to a server that ended threads may leave
_GRACE = 0.001  # seconds at least for replies that may lie there, after another server's


class Wire:
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
        self._reader = server.dialect.new_reader()
        self._limit = 0.0  # seconds that the socket waits

    def send(self, packed: bytes, due: float) -> None:
        """Send commands, which with their replies may take until the monotonic time `due`."""
        self._wait_until(due)
        self._socket.sendall(packed)

    def receive(self, due: float) -> Reply:
        """Return the next reply, if it comes in time."""
        reply = self._reader.gets()
        return self.receive_first(due) if reply is INCOMPLETE else reply

    def receive_first(self, due: float) -> Reply:
        """Return a reply of which nothing has been read that is not a part of it."""
        reader = self._reader
        while True:
            self._wait_until(due)
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionLost(f"{self._name} closed the connection")
            reader.feed(data)
            if (reply := reader.gets()) is not INCOMPLETE:
                return reply

    def has_more(self) -> bool:
        """Tell whether more than the replies has come, which is nobody's."""
        return self._reader.has_data()

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

    def _wait_until(self, due: float) -> None:
        now = monotonic()
        seconds = min(due - now, self._patience)
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


class Estate:
    """The connections of threads that have ended, for those that come."""

    def __init__(self) -> None:
        self._idle: dict[Server, deque[Wire]] = {}

    def leave(self, server: Server, wire: Wire) -> None:
        """Take a connection in, or close it: there are enough, or it is out of date."""
        idle = self._idle.setdefault(server, deque())
        if len(idle) < _INHERITED and wire.generation == server.generation:
            idle.append(wire)
        else:
            wire.close()

    def take(self, server: Server) -> Wire | None:
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
            while (wire := self.take(server)) is not None:
                wire.close()


class Shelf(dict[Server, list[Wire]]):
    """The connections of one thread that are not in use; `estate` gets them as it ends."""

    def __init__(self, estate: Estate) -> None:
        super().__init__()
        self._estate = estate

    def close(self) -> None:
        """Close them."""
        for idle in list(self.values()):
            with suppress(IndexError):
                while True:
                    idle.pop().close()

    def __del__(self) -> None:
        for server, idle in self.items():
            while idle:
                self._estate.leave(server, idle.pop())


class Wires:
    """The connections of all threads.

    Args:
        deadline: seconds that a call may take.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._begin()
        after_fork_in_child(self)
        _all_wires.add(self)

    def _begin(self) -> None:
        self._estate = Estate()
        self._shelves: WeakValueDictionary[int, Shelf] = WeakValueDictionary()
        self._own = ThreadLocal()

    def ask(self, server: Server, packed: bytes, due: float) -> Reply:
        """Return the reply to one command, if it comes until the monotonic time `due`.

        Raises:
            DeadlineExceeded: it does not.
            ConnectionLost: the connection ended before, or could not be made.
            BackendUnavailable: the server's breaker is open.
        """
        wire = self._take(server, due)
        try:
            wire.send(packed, due)
            reply = wire.receive_first(due)
            if not server.dialect.fits(packed, reply):
                raise misfit(reply)  # noqa: TRY301 - as the reader's own
        except BaseException as error:
            failure = self._failure(server, wire, error)
        else:
            self._put(server, wire)
            return reply
        try:
            raise failure
        finally:
            del failure  # whose traceback has this frame, would keep itself alive

    def exchange(self, requests: Sequence[Request], due: float) -> list[Answers]:
        """Send all `requests` side by side, and return what came of each."""
        sent: list[Wire | BackendUnavailable] = []
        try:
            for request in requests:
                sent.append(self._send(request, due))  # noqa: PERF401 - what was sent must be known
            return [
                self._receive(request, wire, due) if isinstance(wire, Wire) else wire
                for request, wire in zip(requests, sent, strict=True)
            ]
        except BaseException:
            for wire in sent:
                if isinstance(wire, Wire):
                    wire.close()
            raise

    def close(self, servers: Sequence[Server]) -> None:
        """Close the connections to `servers`: idle ones now, others after their reply."""
        for server in servers:
            server.renew(server.generation)
        for shelf in self._all_shelves():
            shelf.close()
        self._estate.close()

    def end(self) -> None:
        """Close all idle connections, since the program ends; who asks yet opens one again."""
        for shelf in self._all_shelves():
            shelf.close()
        self._estate.close()

    def count(self, server: Server) -> int:
        """Return how many idle connections there are to a server."""
        own = sum(len(shelf.get(server, ())) for shelf in self._all_shelves())
        return own + self._estate.count(server)

    def _all_shelves(self) -> list[Shelf]:
        references = self._shelves.valuerefs()  # a list, whatever threads come and go meanwhile
        return [shelf for each in references if (shelf := each()) is not None]

    def _shelf(self) -> Shelf:
        """Return this thread's shelf."""
        try:
            shelf: Shelf = self._own.shelf
        except AttributeError:
            shelf = self._own.shelf = Shelf(self._estate)
            self._shelves[id(shelf)] = shelf
        return shelf

    def _send(self, request: Request, due: float) -> Wire | BackendUnavailable:
        try:
            wire = self._take(request.server, due)
        except BackendUnavailable as error:
            return error
        try:
            wire.send(request.packed, due)
        except BaseException as error:
            return self._failure(request.server, wire, error)
        return wire

    def _receive(self, request: Request, wire: Wire, due: float) -> Answers:
        due = max(due, monotonic() + _GRACE)
        try:
            replies = [self._reply(request, wire, part, due) for part in request.parts]
        except BaseException as error:
            return self._failure(request.server, wire, error)
        self._put(request.server, wire)
        return replies

    def _reply(self, request: Request, wire: Wire, part: bytes, due: float) -> Reply:
        dialect = request.server.dialect
        while True:
            reply = wire.receive(due)
            if not dialect.fits(part, reply):
                raise misfit(reply)
            if not (request.apart and dialect.begins and dialect.begins(reply)):
                return reply

    def _take(self, server: Server, due: float) -> Wire:
        """Return a connection of this thread's that nobody uses."""
        if monotonic() >= due:
            raise late(server.name, self._deadline)
        if server.breaker.tripped:
            server.breaker.admit()
        idle = self._shelf().get(server)
        while idle:
            try:
                wire = idle.pop()
            except IndexError:  # `close` in another thread was faster
                break
            if wire.is_fit(server):
                return wire
            wire.close()
        while (left := self._estate.take(server)) is not None:
            if left.is_fit(server):
                return left
            left.close()
        return self._open(server, due)

    def _open(self, server: Server, due: float) -> Wire:
        generation = server.generation
        try:
            opened = server.dialer.open(min(due - monotonic(), self._deadline))
        except DialFailed as error:
            server.breaker.fail(error, refused=error.refused)
            raise
        return Wire(server, generation, opened, self._deadline)

    def _put(self, server: Server, wire: Wire) -> None:
        if server.breaker.failures:
            server.breaker.succeed()
        if wire.has_more():
            wire.close()
            return
        wire.used_at = monotonic()
        shelf = self._shelf()
        shelf.setdefault(server, []).append(wire)
        if wire.generation != server.generation:  # `close` came in between
            shelf.close()

    def _failure(self, server: Server, wire: Wire, error: BaseException) -> BackendUnavailable:
        """Close `wire`, tell the breaker, and return what `error` means for the caller.

        What is no fault of the connection, such as a signal's exception, is raised as it
        is. That a server closed a connection which it had served says nothing against it.
        """
        wire.close()
        if isinstance(error, TimeoutError) and not error.errno:
            if monotonic() < wire.waits_until - _NEARLY - _STEP:
                raise error  # somebody else's, from a signal's handler
            server.breaker.fail(failure := late(server.name, self._deadline))
            return failure
        if not isinstance(error, ConnectionLost | OSError | ProtocolError):
            raise error
        lost = error if isinstance(error, ConnectionLost) else _lost(server, error)
        if not wire.used_at:
            server.breaker.fail(lost)
        return lost

    def _after_fork(self) -> None:
        park(self._own, self._shelves, self._estate)
        self._begin()


_all_wires: WeakSet[Wires] = WeakSet()


@atexit.register
def _end_all() -> None:
    """Close what would be told of as left open, when modules are torn down already."""
    for wires in list(_all_wires):
        wires.end()


def _lost(server: Server, error: Exception) -> ConnectionLost:
    lost = ConnectionLost(f"{server.name}: {error}")
    lost.__cause__ = error
    return lost
