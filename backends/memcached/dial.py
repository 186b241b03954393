"""How a connection is opened and logged in.

In the async face aiomcache connects. In the sync one the standard library does, for
pymemcache tries the first address of a host alone; it is pymemcache that logs in. The
drivers are not used for more, since their conversations cannot be made safe from outside:
aiomcache 0.8.2 loops for ever over a connection that the server closes, and sends one
command at a time; pymemcache 4.0 limits each receive instead of the call, and asks one
server after the other. So what they opened is taken over, socket or transport.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from aiomcache.pool import MemcachePool
from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
)

from twofold.backends.memcached.addresses import Address
from twofold.backends.network import DialFailed, Opened

_AT_ONCE: Final = -1  # the life of the login, for a server that asks for none and stores it
_REFUSALS = (b"unauthenticated", b"authentication failure")
_HINTS = {
    "unauthenticated": " (OPTIONS['username'] and OPTIONS['password'] tell who you are)",
    "closed": (
        " (one with TLS wants OPTIONS['tls']; one with SASL speaks the binary protocol alone, which"
        " neither driver does: start it with --auth-file instead)"
    ),
}


class Direct:
    """Dials one address.

    Args:
        address: where the server is.
        login: name and password, for a server with `--auth-file`.
        tls: what it takes to encrypt, or None.
    """

    def __init__(
        self,
        address: Address,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.version: str = ""
        """The server's, as far as it is known."""
        self.item_size_max: int | None = None
        """Bytes of the largest item, if they were asked for on the newest connection."""
        self._address = address
        self._login = " ".join(login).encode() if login else b""
        self._tls = tls

    def open(self, seconds: float) -> socket.socket:
        ends = monotonic() + seconds / 2  # there may be another server
        address = self._address
        client = Client(address.path or (address.host, address.port))
        with _failures(address.name):
            try:
                opened = self._connected(_left(ends))
                client.sock = _Hurried(opened, ends)
                if self._login:
                    client.set("twofold", self._login, _AT_ONCE, noreply=False)
                self._opened(b"VERSION " + client.version())
            except BaseException:
                client.close()
                raise
        client.sock = None
        return opened

    async def aopen(self, seconds: float) -> Opened:
        with _failures(self._address.name):
            async with asyncio.timeout(seconds / 2):
                stream, writer = await (await self._pool()).acquire()
                try:
                    if self._login:
                        size = len(self._login)
                        head = b"set twofold 0 %d %d\r\n" % (_AT_ONCE, size)
                        await _told(stream, writer, head + self._login, b"STORED")
                    self._opened(await _told(stream, writer, b"version", b"VERSION "))
                    if stream.at_eof() or writer.transport.is_closing():
                        raise ConnectionResetError("it closed the connection")  # noqa: TRY301
                except BaseException:
                    writer.transport.abort()
                    raise
        return Opened(writer.transport, writer)

    def _connected(self, seconds: float) -> socket.socket:
        """Return a connection to the first address that takes one; pymemcache tries no other."""
        if self._address.path:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                opened.settimeout(seconds)
                opened.connect(self._address.path)
            except BaseException:
                opened.close()
                raise
            return opened
        where = (self._address.host, self._address.port)
        opened = socket.create_connection(where, seconds / _addresses(*where))
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                return opened
            return self._tls.wrap_socket(opened, server_hostname=self._address.host)
        except BaseException:
            opened.close()
            raise

    async def _pool(self) -> Any:
        """Return a pool of aiomcache's that makes one connection."""
        address, pool = self._address, {"minsize": 1, "maxsize": 1}
        if not address.path:
            how: dict[str, Any] = {}
            if self._tls is not None:
                how = {"ssl": self._tls, "server_hostname": address.host}
            return MemcachePool(address.host, address.port, **pool, conn_args=how)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            await asyncio.get_running_loop().sock_connect(opened, address.path)
        except BaseException:
            opened.close()
            raise
        nowhere: Any = None
        return MemcachePool(nowhere, nowhere, **pool, conn_args={"sock": opened})

    def _opened(self, version: bytes) -> None:
        """Note what a new connection tells of the server, which may be another one now."""
        self.version = version.removeprefix(b"VERSION ").decode(errors="replace")
        self.item_size_max = None


class _Hurried:
    """A socket for pymemcache, which limits each receive, that limits all of them together."""

    def __init__(self, opened: socket.socket, ends: float) -> None:
        self._opened = opened
        self._ends = ends
        self.close = opened.close

    def sendall(self, data: bytes) -> None:
        self._opened.settimeout(_left(self._ends))
        self._opened.sendall(data)

    def recv(self, size: int) -> bytes:
        self._opened.settimeout(_left(self._ends))
        return self._opened.recv(size)


async def _told(
    stream: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes, wanted: bytes
) -> bytes:
    """Return the line that the server answers to another, if it is one that is `wanted`."""
    writer.write(line + b"\r\n")
    answer = (await stream.readuntil(b"\r\n")).rstrip()
    if answer.startswith(wanted):
        return answer
    for known in _REFUSALS:
        if known in answer:
            raise MemcacheError(known)
    raise MemcacheUnknownCommandError("what it said is not shown, since it may be what it was told")


def _left(ends: float) -> float:
    if (seconds := ends - monotonic()) > 0:
        return seconds
    raise TimeoutError


def _addresses(host: str, port: int) -> int:
    """Return how many addresses will be tried, if they must."""
    try:
        return len(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    except OSError:
        return 1


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Translate what goes wrong while a connection is opened."""
    try:
        yield
    except TimeoutError as error:
        raise DialFailed(f"{name} cannot be reached in time", refused=False) from error
    except (EOFError, ConnectionResetError, MemcacheUnexpectedCloseError) as error:
        text = f"{name} cannot be reached: it closed the connection{_HINTS['closed']}"
        raise DialFailed(text, refused=True) from error
    except MemcacheUnknownCommandError as error:
        text = f"{name} cannot be reached: it has too many connections (-c), or is no memcached"
        raise DialFailed(text, refused=True) from error
    except (MemcacheError, OSError, ValueError, asyncio.LimitOverrunError) as error:
        said = error.args[0] if error.args else error
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
        hint = _HINTS["unauthenticated"] if "unauthenticated" in text else ""
        raise DialFailed(f"{name} cannot be reached: {text}{hint}", refused=True) from error
