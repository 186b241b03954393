"""Pings to a server whose circuit breaker is open, in the background, so that no caller waits.

One thread makes those to all servers, each over a connection of its own.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final
from weakref import ref

from twofold.backends.network.breaker import Breaker
from twofold.backends.network.connectors import Connector
from twofold.backends.network.errors import ConnectionLost
from twofold.backends.network.replies import (
    INCOMPLETE,
    ProtocolError,
    Reply,
    ReplyError,
    WireProtocol,
    mismatch,
)
from twofold.effects import Job, LoopThread

PING_EVERY = 0.25
"""Seconds from one ping to the next while the first has no answer."""

_pings: Final = LoopThread("twofold-pings")


@dataclass(frozen=True)
class Ping:
    """How one server is pinged.

    Args:
        name: the server's, for messages.
        connector: opens the connections.
        protocol: what is asked, and what the server answers if it is well.
        timeout: seconds that it may take, connecting and logging in included.
    """

    name: str
    connector: Connector
    protocol: WireProtocol
    timeout: float

    async def ask(self) -> None:
        """Connect, ask, and disconnect.

        Raises:
            ConnectError: no connection could be made.
            ConnectionLost: there was no answer, a wrong one, or that the server is not ready.
        """
        deadline = monotonic() + self.timeout
        opened = await self.connector.aconnect(self.timeout)
        answer = _Answer(self.protocol)
        opened.transport.set_protocol(answer)
        try:
            opened.transport.write(self.protocol.probe)
            async with asyncio.timeout(deadline - monotonic()):
                reply = await answer.reply
        except TimeoutError as error:
            text = f"{self.name} did not answer a ping within {self.timeout:g} s"
            raise ConnectionLost(text) from error
        except (OSError, ProtocolError) as error:
            raise ConnectionLost(f"{self.name}: {error}") from error
        finally:
            opened.transport.abort()
            await answer.ended
        is_unwell = self.protocol.is_unwell
        if isinstance(reply, ReplyError) and is_unwell is not None and is_unwell(reply):
            raise ConnectionLost(str(reply))


class _Answer(asyncio.Protocol):
    """Takes the answer to a ping."""

    def __init__(self, protocol: WireProtocol) -> None:
        self._protocol = protocol
        self._reader = protocol.new_reader()
        loop = asyncio.get_running_loop()
        self.reply: asyncio.Future[Reply] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        if self.reply.done():
            return
        try:
            self._reader.feed(data)
            if (reply := self._reader.gets()) is INCOMPLETE:
                return
            if not self._protocol.matches(self._protocol.probe, reply):
                raise mismatch(reply)
        except ProtocolError as error:
            self.reply.set_exception(error)
        else:
            self.reply.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)
        if not self.reply.done():
            self.reply.set_exception(exc or ConnectionResetError("it closed the connection"))
            self.reply.exception()  # nobody may be waiting any more


def probe(breaker: Breaker, ping: Ping) -> Job:
    """Return the job that pings while `breaker` is open; it ends when nobody else has that."""
    return _pings.job(partial(_watch, ref(breaker), ping))


async def _watch(there: "ref[Breaker]", ping: Ping) -> None:
    """Ping again and again, at the breaker's pauses.

    A ping may hang as long as the deadline. Others follow it meanwhile, since a server that is
    back may never answer on the connection that it had before.
    """
    asked: set[asyncio.Task[None]] = set()
    try:
        while (pause := _pause(there)) is not None:
            await asyncio.sleep(pause)
            task = asyncio.create_task(_ping(there, ping))
            asked.add(task)
            task.add_done_callback(asked.discard)
            await asyncio.wait({task}, timeout=PING_EVERY)
    finally:
        for task in asked:
            task.cancel()
        if asked:
            await asyncio.wait(set(asked))


def _pause(there: "ref[Breaker]") -> float | None:
    """Return the seconds before the next ping; None if there is to be none."""
    breaker = there()
    return breaker.pause if breaker is not None and breaker.tripped else None


async def _ping(there: "ref[Breaker]", ping: Ping) -> None:
    failure: Exception | None = None
    try:
        await ping.ask()
    except Exception as error:  # a connector may fail by anything, as the driver's does
        failure = error
    breaker = there()
    if breaker is None:
        return
    if failure is None:
        breaker.close()
    else:
        breaker.stay_open(failure)
