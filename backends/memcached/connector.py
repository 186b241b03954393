"""How a connection is opened and logged in.

aiomcache makes the streams of the async face, pymemcache logs in for the sync one, each
over a socket of twofold's: aiomcache looks hosts up where that delays others, and pymemcache
tries only the first address of a host. They are used for nothing else, since what they do later
cannot be made safe from outside: aiomcache 0.8.2 loops for ever over a connection that the
server closes, and sends one command at a time; pymemcache 4.0 limits each receive instead
of the call, and asks one server after the other. So the socket or transport that they
opened is taken over.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping
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

from twofold.backends.memcached.addresses import NodeAddress
from twofold.backends.network import ConnectError, Opened
from twofold.backends.network.options import Tls
from twofold.backends.network.sockets import (
    Endpoint,
    Streams,
    let_go,
    seconds_left,
    transport_of,
)
from twofold.display import printable
from twofold.interrupts import raise_if_of_others

_LONGEST_ANSWER: Final = 4096  # bytes that a server may answer to the login and the version
_AT_ONCE: Final = -1  # the life of the login, for a server that asks for none and stores it
_REFUSALS = (b"unauthenticated", b"authentication failure")
_HINTS = {
    "unauthenticated": " (give the login by OPTIONS['username'] and OPTIONS['password'])",
    "closed": (
        " (a server with TLS needs OPTIONS['tls']; one with SASL speaks only the binary protocol,"
        " which neither driver does: start it with --auth-file instead)"
    ),
}


class DirectConnector:
    """Connects to one address.

    Args:
        address: where the server is.
        login: name and password, for a server with `--auth-file`.
        tls: what it takes to encrypt, or None.
    """

    def __init__(
        self,
        address: NodeAddress,
        login: tuple[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.version: str = ""
        """The server's, as far as it is known."""
        self.item_size_max: int | None = None
        """Bytes of the largest item, if the newest connection has asked for them."""
        self.is_proxied: bool | None = None
        """Whether there is a proxy before it that knows only the older commands; None: unknown."""
        self._address = address
        self._endpoint = Endpoint(address.host, address.port, address.path)
        self._login = " ".join(login).encode() if login else b""
        self._tls = tls

    def connect(self, seconds: float) -> socket.socket:
        deadline = monotonic() + seconds / 2  # there may be another server
        address = self._address
        client = Client(address.path or (address.host, address.port))
        with _failures(address.name):
            try:
                opened = self._endpoint.connect(
                    deadline, self._tls.context() if self._tls else None
                )
                client.sock = _Hurried(opened, deadline)
                if self._login:
                    client.set("twofold", self._login, _AT_ONCE, noreply=False)
                self._opened(b"VERSION " + client.version())
            except BaseException:
                client.close()
                raise
        client.sock = None
        return opened

    async def aconnect(self, seconds: float) -> Opened:
        made: Streams | None = None
        try:
            with _failures(self._address.name):
                deadline = monotonic() + seconds / 2
                made = await self._streams(deadline)
                async with asyncio.timeout(seconds_left(deadline)):
                    await self._greet(*made)
            return transport_of(made)
        except BaseException:
            let_go(made)
            raise

    async def _greet(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Log in, and ask for the version."""
        if self._login:
            head = b"set twofold 0 %d %d\r\n" % (_AT_ONCE, len(self._login))
            await _told(stream, writer, head + self._login, b"STORED")
        self._opened(await _told(stream, writer, b"version", b"VERSION "))
        if stream.at_eof() or writer.transport.is_closing():
            raise ConnectionResetError("it closed the connection")

    async def _streams(self, deadline: float) -> Streams:
        """Have aiomcache make streams of a socket, once."""
        tls = self._tls.context() if self._tls else None
        opened = await self._endpoint.aconnect(deadline)
        made: Streams | None = None
        try:
            name = self._address.host if tls else None
            how = _Once({"sock": opened, "ssl": tls, "server_hostname": name})
            nowhere: Any = None
            async with asyncio.timeout(seconds_left(deadline)):
                pool = MemcachePool(nowhere, nowhere, minsize=1, maxsize=1, conn_args=how)
                made = await pool.acquire()
        except BaseException:
            let_go(made, opened)
            raise
        return made

    def _opened(self, version: bytes) -> None:
        """Note the version and forget the limit: the server may have been restarted."""
        self.version = printable(version.removeprefix(b"VERSION ").decode(errors="replace"))
        self.item_size_max = None


class _Once(Mapping[str, Any]):
    """The arguments of one connection, which refuse to be those of a second.

    aiomcache makes another one where the server has closed the first before it is handed out:
    of the same socket, whose descriptor goes with the first. libuv ends the process then.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self._used = False

    def __getitem__(self, name: str) -> Any:
        return self._arguments[name]

    def __iter__(self) -> Iterator[str]:
        if self._used:
            raise ConnectionResetError("it closed the connection")
        self._used = True
        return iter(self._arguments)

    def __len__(self) -> int:
        return len(self._arguments)


class _Hurried:
    """A socket for pymemcache that bounds the sum of what it receives, in time and in size."""

    def __init__(self, opened: socket.socket, deadline: float) -> None:
        self._opened = opened
        self._deadline = deadline
        self._most = _LONGEST_ANSWER
        self.close = opened.close

    def sendall(self, data: bytes) -> None:
        self._opened.settimeout(seconds_left(self._deadline))
        self._opened.sendall(data)

    def recv(self, size: int) -> bytes:
        self._opened.settimeout(seconds_left(self._deadline))
        data = self._opened.recv(min(size, self._most))  # the end of the stream, once it is 0
        self._most -= len(data)
        return data


async def _told(
    stream: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes, wanted: bytes
) -> bytes:
    """Send a line, and return the answer if it begins as `wanted`."""
    writer.write(line + b"\r\n")
    answer = (await stream.readuntil(b"\r\n")).rstrip()
    if answer.startswith(wanted):
        return answer
    for known in _REFUSALS:
        if known in answer:
            raise MemcacheError(known)
    raise MemcacheUnknownCommandError("its answer is not shown, since it may repeat the login")


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Translate what goes wrong while a connection is opened."""
    try:
        yield
    except TimeoutError as error:
        raise_if_of_others(error)
        text = (
            f"{name} cannot be reached in time: see that it runs and that LOCATION names it, or"
            " give it more time by OPTIONS['deadline']"
        )
        raise ConnectError(text, refused=False) from error
    except (EOFError, ConnectionResetError, MemcacheUnexpectedCloseError) as error:
        raise_if_of_others(error)
        text = f"{name} cannot be reached: it closed the connection{_HINTS['closed']}"
        raise ConnectError(text, refused=True) from error
    except MemcacheUnknownCommandError as error:
        text = f"{name} cannot be reached: it has too many connections (-c), or is no memcached"
        raise ConnectError(text, refused=True) from error
    except (MemcacheError, OSError, ValueError, asyncio.LimitOverrunError) as error:
        raise_if_of_others(error)
        said = error.args[0] if error.args else error
        text = printable(said.decode(errors="replace") if isinstance(said, bytes) else str(error))
        hint = _HINTS["unauthenticated"] if "unauthenticated" in text else ""
        raise ConnectError(f"{name} cannot be reached: {text}{hint}", refused=True) from error
