"""One connection on which a server tells of changes: it pushes, and answers what it is asked."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from twofold.backends.network import (
    INCOMPLETE,
    ConnectionLost,
    ProtocolError,
    Reply,
    ReplyError,
    Server,
    redacted,
)
from twofold.backends.network.connectors import Opened
from twofold.backends.network.replies import mismatch
from twofold.backends.redis.commands import CLUSTER_INFO, HELLO, PING, ROLE, track
from twofold.backends.redis.pushes import Push, PushReader

_FORBIDS: Final = ("NOPERM", "NOPROTO", "unknown", "syntax", "not support")


class TrackingRefused(ConnectionLost):
    """The server does not tell of changes, or not this user."""


class Tracking(asyncio.Protocol):
    """A connection to one server.

    Args:
        server: where to.
        told: called with the keys that a push names, and with None if any may have changed.
        ended: called when the connection is lost.
    """

    def __init__(
        self,
        server: Server,
        told: Callable[[Sequence[str] | None], None],
        ended: Callable[[], None],
    ) -> None:
        self._server = server
        self._told = told
        self._ended = ended
        self._reader = PushReader()
        self._asked: deque[tuple[bytes, asyncio.Future[Reply]]] = deque()
        self._questions: list[bytes] = [PING]
        self._role: Reply = None
        self._opened: Opened | None = None
        self._lost: ConnectionLost | None = None

    def __repr__(self) -> str:
        return f"<Tracking {self._server.name}>"

    async def open(self, seconds: float, in_cluster: bool) -> None:
        """Connect, and find out what can be asked of the server.

        Raises:
            ConnectionLost: it does not answer, or speaks another protocol.
            TrackingRefused: it does not speak this one.
        """
        self._opened = await self._server.connector.aconnect(seconds)
        self._opened.transport.set_protocol(self)
        questions = [ROLE, CLUSTER_INFO] if in_cluster else [ROLE]
        greeting, *answers = await self._ask(HELLO, *questions)
        self._require(greeting)
        allowed = [each for each, got in zip(questions, answers, strict=True) if _is_answer(got)]
        self._questions = allowed or [PING]
        self._role = _role(answers[0])

    async def track(self, prefixes: Sequence[str]) -> None:
        """Have the server tell of changes to keys with `prefixes` as well, from now on.

        Raises:
            ConnectionLost: see `beat`.
            TrackingRefused: it does not, or not this user.
        """
        [reply] = await self._ask(track(prefixes))
        self._require(reply)

    async def beat(self) -> None:
        """Return when the server has answered, and is what it was when this began.

        Raises:
            ConnectionLost: it is not, or has ended the connection.
        """
        for reply in await self._ask(*self._questions):
            if isinstance(reply, ReplyError):
                raise ConnectionLost(f"{self._server.name} refused: {redacted(reply)}")
            if type(reply) is list and _role(reply) != self._role:
                raise ConnectionLost(f"{self._server.name} is another's replica by now, or none")
            if type(reply) is bytes and b"cluster_state:fail" in reply:
                raise ConnectionLost(f"{self._server.name} has lost the rest of its cluster")

    def close(self) -> None:
        """Close it; that is no loss."""
        if self._lost is None:
            self._lost = ConnectionLost(f"the connection to {self._server.name} was closed")
        if self._opened is not None:
            self._opened.transport.abort()

    async def _ask(self, *packed: bytes) -> list[Reply]:
        """Return the replies to commands, sent as one."""
        if self._opened is None or self._lost is not None:
            raise self._lost or ConnectionLost(f"there is no connection to {self._server.name}")
        loop = asyncio.get_running_loop()
        asked = [(each, loop.create_future()) for each in packed]
        self._asked += asked
        self._opened.transport.write(b"".join(packed))
        return [await reply for _, reply in asked]

    def _require(self, reply: Reply) -> None:
        """Raise why a server does not do what it was asked to."""
        if not isinstance(reply, ReplyError):
            return
        text = f"{self._server.name} refused: {redacted(reply)}"
        forbids = any(word in str(reply) for word in _FORBIDS)
        raise TrackingRefused(text) if forbids else ConnectionLost(text)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not INCOMPLETE:
                if type(reply) is Push:
                    self._told(reply.keys)
                else:
                    self._answer(reply)
        except (ProtocolError, IndexError) as error:
            self._lose(ConnectionLost(f"{self._server.name} broke the protocol: {error!r}"))
        except BaseException as error:  # of a watcher: what it was to be told is lost
            self._lose(ConnectionLost(f"a watcher of {self._server.name} failed: {error!r}"))
            raise

    def _answer(self, reply: Reply) -> None:
        packed, waiting = self._asked.popleft()
        if not self._server.protocol.matches(packed, reply):
            raise mismatch(reply)
        if not waiting.done():  # else who asked has given up
            waiting.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(ConnectionLost(f"{self._server.name} closed the connection"))

    def _lose(self, error: ConnectionLost) -> None:
        if self._lost is not None:
            return
        self._lost = error
        if self._opened is not None:
            self._opened.transport.abort()
        for _, waiting in self._asked:
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # who asked may have given up
        self._ended()


def _is_answer(reply: Reply) -> bool:
    return not isinstance(reply, ReplyError)


def _role(reply: Reply) -> Reply:
    return None if isinstance(reply, ReplyError) else reply[0]
