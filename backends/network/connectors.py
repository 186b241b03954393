"""How connections to one server are opened."""

import asyncio
import socket
from typing import Any, NamedTuple, Protocol


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
