"""How a connection is opened, and the first things said over it, in both faces."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Any

from twofold.backends.network.lookup import Found, Lookup
from twofold.backends.network.replies import (
    INCOMPLETE,
    Dialect,
    ProtocolError,
    Reader,
    Reply,
    ReplyError,
    misfit,
)
from twofold.backends.network.servers import Opened

_CHUNK = 65536  # bytes to receive at a time
_INTERNET = {socket.AF_INET, socket.AF_INET6}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place:
    """Where a server listens: at a path, or at the addresses of a host, which are tried in turn.

    What it opens is ready by the monotonic time `ends`, or a `TimeoutError` is raised.
    """

    def __init__(self, host: str, port: int, path: str = "") -> None:
        self._host = host
        self._known = [Found(socket.AF_UNIX, path)] if path else []
        self._lookup = Lookup(host, port)

    def open(self, ends: float, tls: ssl.SSLContext | None = None) -> socket.socket:
        """Return a socket, encrypted if `tls` tells how."""
        found = self._known or self._lookup.find(left(ends))
        failure: OSError = OSError("the host has no address")
        for n, each in enumerate(found):
            share = left(ends) / (len(found) - n)
            try:
                return self._opened(each, share, tls)
            except OSError as error:
                failure = error
        raise failure

    def _opened(self, at: Found, seconds: float, tls: ssl.SSLContext | None) -> socket.socket:
        opened = _new_socket(at)
        try:
            opened.settimeout(seconds)
            opened.connect(at.address)
            return tls.wrap_socket(opened, server_hostname=self._host) if tls else opened
        except BaseException:
            opened.close()
            raise

    async def aopen(self, ends: float) -> socket.socket:
        """Return a socket, not encrypted yet, for `streams`."""
        async with asyncio.timeout(left(ends)):
            found = self._known or await self._lookup.afind()
        failure: OSError = OSError("the host has no address")
        for n, each in enumerate(found):
            try:
                async with asyncio.timeout(left(ends) / (len(found) - n)):
                    return await _aopened(each)
            except OSError as error:
                failure = error
        raise failure

    async def streams(self, ends: float, tls: ssl.SSLContext | None = None) -> Streams:
        """Return streams over a connection, encrypted if `tls` tells how."""
        opened = await self.aopen(ends)
        name = self._host if tls else None
        try:
            async with asyncio.timeout(left(ends)):
                return await asyncio.open_connection(sock=opened, ssl=tls, server_hostname=name)
        except BaseException:
            opened.close()
            raise


async def _aopened(at: Found) -> socket.socket:
    opened = _new_socket(at)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, at.address)
    except BaseException:
        opened.close()
        raise
    return opened


def _new_socket(at: Found) -> socket.socket:
    opened = socket.socket(at.family, socket.SOCK_STREAM)
    if at.family in _INTERNET:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return opened


def left(ends: float) -> float:
    """Return the seconds until a monotonic time, or raise `TimeoutError` if it has come."""
    if (seconds := ends - monotonic()) > 0:
        return seconds
    raise TimeoutError


def ask(
    opened: socket.socket, dialect: Dialect, commands: Sequence[bytes], ends: float
) -> list[Reply]:
    """Return the replies to `commands`, sent as one; they take until `ends` at most.

    Raises:
        OSError: the connection ended, or time did.
        ProtocolError: what came is no reply to a command.
    """
    reader, replies = dialect.new_reader(), list[Reply]()
    opened.settimeout(left(ends))
    opened.sendall(b"".join(commands))
    while not _is_answered(reader, dialect, commands, replies):
        opened.settimeout(left(ends))
        reader.feed(_some(opened.recv(_CHUNK)))
    return replies


async def aask(
    streams: Streams, dialect: Dialect, commands: Sequence[bytes], ends: float
) -> list[Reply]:
    """Do what `ask` does."""
    reader, replies = dialect.new_reader(), list[Reply]()
    incoming, outgoing = streams
    outgoing.write(b"".join(commands))
    async with asyncio.timeout(left(ends)):
        while not _is_answered(reader, dialect, commands, replies):
            reader.feed(_some(await incoming.read(_CHUNK)))
    return replies


def taken_over(writer: asyncio.StreamWriter) -> Opened:
    """Return the transport under streams."""
    transport: Any = writer.transport
    return Opened(transport, writer)


def _some(data: bytes) -> bytes:
    if not data:
        raise ConnectionResetError("it closed the connection")
    return data


def _is_answered(
    reader: Reader, dialect: Dialect, commands: Sequence[bytes], replies: list[Reply]
) -> bool:
    """Take the replies that have come whole, and tell whether these are all."""
    while len(replies) < len(commands):
        if (reply := reader.gets()) is INCOMPLETE:
            return False
        if not dialect.fits(commands[len(replies)], reply):
            raise misfit(reply)
        if isinstance(reply, ReplyError):
            raise ConnectionRefusedError(str(reply))
        replies.append(reply)
    if reader.has_data():
        raise ProtocolError("more was sent than was asked for")
    return True
