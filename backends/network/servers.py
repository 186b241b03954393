"""One server of a store, and how connections to it are opened."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from twofold.backends.network.breaker import Breaker
from twofold.backends.network.replies import WireProtocol

CLOSED: Final = -1
"""The generation of a connection that is closed; no server has it."""


class Opened(NamedTuple):
    """What was opened for the async face."""

    transport: asyncio.Transport
    stream: Any
    """What the driver has around the transport, and must live as long."""


class Connector(Protocol):
    """Opens connections to one server.

    It has `seconds`, and gives up after half of them if it can: there may be another server.
    """

    def connect(self, seconds: float) -> socket.socket:
        """Return a socket that is logged in, or raise `ConnectError`."""

    async def aconnect(self, seconds: float) -> Opened:
        """Return a transport that is logged in, or raise `ConnectError`."""


class Server:
    """One server, for all threads and event loops."""

    def __init__(self, name: str, connector: Connector, protocol: WireProtocol) -> None:
        self.name = name
        self.connector = connector
        self.protocol = protocol
        self.breaker: Breaker = Breaker(name)
        self.generation: int = 0
        """Connections of an earlier generation are closed instead of used."""

    def __repr__(self) -> str:
        return f"<Server {self.name} {self.breaker.state}>"

    def renew(self, seen: int) -> None:
        """Have every thread and loop connect anew, unless they do since generation `seen`."""
        if self.generation == seen:
            self.generation = seen + 1


class Topology(Protocol):
    """The servers, and which of them has a key."""

    def place(self, key: str, reads: bool) -> Server | None:
        """Return the server for a command on `key`; None if that is not known yet."""

    def servers(self) -> Sequence[Server]:
        """Return all servers known."""

    def distrust(self) -> None:
        """Take note that a server did not answer, or was not the right one."""
