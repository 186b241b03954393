"""How a socket is connected, and the first commands on it, in both faces."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Any

from twofold.backends.network.connectors import Opened
from twofold.backends.network.lookup import Lookup, SocketAddress
from twofold.backends.network.replies import (
    INCOMPLETE,
    ProtocolError,
    Reader,
    Reply,
    ReplyError,
    WireProtocol,
    mismatch,
)
from twofold.interrupts import raise_if_of_others

_CHUNK = 65536  # bytes to receive at a time
_INTERNET = {socket.AF_INET, socket.AF_INET6}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Endpoint:
    """Where a server listens: a path, or the addresses of a host, which are tried in turn.

    A connection is made by the monotonic time `deadline`, or `TimeoutError` is raised.
    """

    def __init__(self, host: str, port: int, path: str = "") -> None:
        self._host = host
        self._known = [SocketAddress(socket.AF_UNIX, path)] if path else []
        self._lookup = Lookup(host, port)

    def connect(self, deadline: float, tls: ssl.SSLContext | None = None) -> socket.socket:
        """Return a socket, encrypted if `tls` tells how."""
        found = self._known or self._lookup.find(seconds_left(deadline))
        failure: OSError = OSError("the host has no address: look at its DNS, or write the address")
        for n, each in enumerate(found):
            share = seconds_left(deadline) / (len(found) - n)
            try:
                return self._connected(each, share, tls)
            except OSError as error:
                raise_if_of_others(error)
                failure = error
        raise failure

    def _connected(
        self, at: SocketAddress, seconds: float, tls: ssl.SSLContext | None
    ) -> socket.socket:
        opened = _new_socket(at)
        try:
            opened.settimeout(seconds)
            opened.connect(at.address)
            return tls.wrap_socket(opened, server_hostname=self._host) if tls else opened
        except BaseException:
            opened.close()
            raise

    async def aconnect(self, deadline: float) -> socket.socket:
        """Return a socket, not encrypted yet, for `streams`."""
        async with asyncio.timeout(seconds_left(deadline)):
            found = self._known or await self._lookup.afind()
        failure: OSError = OSError("the host has no address: look at its DNS, or write the address")
        for n, each in enumerate(found):
            try:
                async with asyncio.timeout(seconds_left(deadline) / (len(found) - n)):
                    return await _aconnected(each)
            except OSError as error:
                raise_if_of_others(error)
                failure = error
        raise failure

    async def streams(self, deadline: float, tls: ssl.SSLContext | None = None) -> Streams:
        """Return streams over a connection, encrypted if `tls` tells how."""
        opened = await self.aconnect(deadline)
        made: Streams | None = None
        try:
            name = self._host if tls else None
            async with asyncio.timeout(seconds_left(deadline)):
                made = await asyncio.open_connection(sock=opened, ssl=tls, server_hostname=name)
        except BaseException:
            let_go(made, opened)
            raise
        return made


async def _aconnected(at: SocketAddress) -> socket.socket:
    opened = _new_socket(at)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, at.address)
    except BaseException:
        opened.close()
        raise
    return opened


def _new_socket(at: SocketAddress) -> socket.socket:
    opened = socket.socket(at.family, socket.SOCK_STREAM)
    if at.family in _INTERNET:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return opened


def seconds_left(deadline: float) -> float:
    """Return the seconds until a monotonic time, or raise `TimeoutError` if it has come."""
    if (seconds := deadline - monotonic()) > 0:
        return seconds
    raise TimeoutError


def handshake(
    opened: socket.socket, protocol: WireProtocol, commands: Sequence[bytes], deadline: float
) -> list[Reply]:
    """Return the replies to `commands`, sent as one; by the monotonic time `deadline`.

    Raises:
        OSError: the connection ended, or time did.
        ProtocolError: what came is no reply to a command.
    """
    reader, replies = protocol.new_reader(), list[Reply]()
    opened.settimeout(seconds_left(deadline))
    opened.sendall(b"".join(commands))
    while not _is_answered(reader, protocol, commands, replies):
        opened.settimeout(seconds_left(deadline))
        reader.feed(_some(opened.recv(_CHUNK)))
    return replies


async def ahandshake(
    streams: Streams, protocol: WireProtocol, commands: Sequence[bytes], deadline: float
) -> list[Reply]:
    """Do what `handshake` does."""
    reader, replies = protocol.new_reader(), list[Reply]()
    incoming, outgoing = streams
    outgoing.write(b"".join(commands))
    async with asyncio.timeout(seconds_left(deadline)):
        while not _is_answered(reader, protocol, commands, replies):
            reader.feed(_some(await incoming.read(_CHUNK)))
    return replies


def let_go(made: Streams | None, opened: socket.socket | None = None) -> None:
    """Close the transport under streams, or the socket that they were to be made of.

    A socket is its transport's then: closed under it, its descriptor would be given to the next
    one, which the loop would refuse.
    """
    if made is not None:
        made[1].transport.abort()
    elif opened is not None:
        opened.close()


def transport_of(made: Streams) -> Opened:
    """Return the transport under streams."""
    writer = made[1]
    transport: Any = writer.transport
    return Opened(transport, writer)


def _some(data: bytes) -> bytes:
    if not data:
        raise ConnectionResetError("it closed the connection")
    return data


def _is_answered(
    reader: Reader, protocol: WireProtocol, commands: Sequence[bytes], replies: list[Reply]
) -> bool:
    """Take the replies that have come whole, and tell whether these are all."""
    while len(replies) < len(commands):
        if (reply := reader.gets()) is INCOMPLETE:
            return False
        if not protocol.matches(commands[len(replies)], reply):
            raise mismatch(reply)
        if isinstance(reply, ReplyError):
            raise ConnectionRefusedError(str(reply))
        replies.append(reply)
    if reader.has_data():
        raise ProtocolError("it sent more than was asked for")
    return True
