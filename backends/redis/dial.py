"""How a connection is opened: by redis-py, which connects, encrypts and logs in.

What it opened is then taken out of its hands: the socket in the sync face, the transport
in the async one. Only three private attributes are used for that (`_sock`, `_reader`,
`_writer` of its connections), here and nowhere else.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import redis
from redis.asyncio import connection as native
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from twofold.backends.network import DialFailed
from twofold.backends.redis.addresses import Address


class Opened(NamedTuple):
    """What the async side of redis-py opened: the stream must live as long as its transport."""

    transport: asyncio.Transport
    stream: asyncio.StreamWriter


class Dialer(Protocol):
    """Opens connections to one server.

    It has `seconds`, and gives up after half of them if it can: there may be another server.
    """

    def open(self, seconds: float) -> socket.socket:
        """Return a socket that is logged in, or raise `DialFailed`."""

    async def aopen(self, seconds: float) -> Opened:
        """Return a transport that is logged in, or raise `DialFailed`."""


@dataclass(frozen=True)
class Login:
    """How to log in, wherever the server is."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: dict[str, Any] = field(default_factory=dict)
    """Arguments of redis-py whose names begin with `ssl_`."""

    def at(self, address: Address) -> "Login":
        """Return this login with what the URL of a server says of it put first."""
        return replace(
            self,
            username=address.username or self.username,
            password=address.password or self.password,
            db=self.db if address.db is None else address.db,
        )


class Direct:
    """Dials one address."""

    def __init__(self, address: Address, login: Login) -> None:
        self._name = address.name
        self._arguments = _arguments(address, login)
        self._steps = 1 + bool(login.password) + bool(login.db)  # to connect, to be let in
        if address.path:
            self._sync: Any = redis.UnixDomainSocketConnection
            self._async: Any = native.UnixDomainSocketConnection
        elif address.tls:
            self._sync, self._async = redis.SSLConnection, native.SSLConnection
        else:
            self._sync, self._async = redis.Connection, native.Connection

    def open(self, seconds: float) -> socket.socket:
        each = seconds / max(2, self._steps)
        limits = {"socket_connect_timeout": each, "socket_timeout": each}
        connection = self._sync(**self._arguments, **limits)
        try:
            with _failures(self._name):
                connection.connect()
        except BaseException:
            connection.disconnect()
            raise
        opened: socket.socket = connection._sock
        connection._sock = None
        return opened

    async def aopen(self, seconds: float) -> Opened:
        limits = {"socket_connect_timeout": None, "socket_timeout": None}
        connection = self._async(**self._arguments, **limits)
        try:
            with _failures(self._name):
                async with asyncio.timeout(seconds / 2):
                    await connection.connect()
                if connection._reader.at_eof() or connection._writer.transport.is_closing():
                    raise ConnectionResetError("it closed the connection at once")  # noqa: TRY301
        except BaseException:
            connection._close()
            raise
        stream = connection._writer
        connection._reader = connection._writer = None
        return Opened(stream.transport, stream)

    def ask(self, seconds: float, *command: str) -> Any:
        """Return the reply to one command, over a connection of its own."""
        limits = {"socket_connect_timeout": seconds, "socket_timeout": seconds}
        connection = self._sync(**self._arguments, **limits)
        try:
            with _failures(self._name):
                connection.connect()
                connection.send_command(*command)
                return connection.read_response()
        finally:
            connection.disconnect()

    async def aask(self, seconds: float, *command: str) -> Any:
        """Do what `ask` does."""
        limits = {"socket_connect_timeout": None, "socket_timeout": None}
        connection = self._async(**self._arguments, **limits)
        try:
            with _failures(self._name):
                async with asyncio.timeout(seconds):
                    await connection.connect()
                    await connection.send_command(*command)
                    return await connection.read_response()
        finally:
            connection._close()


class ViaSentinel:
    """Asks the sentinels where the primary of a service is, each time, and dials that."""

    def __init__(
        self, sentinels: Sequence[Address], service: str, login: Login, sentinel_login: Login
    ) -> None:
        at = ", ".join([each.name for each in sentinels])
        self._name = f"the primary of {service!r} by the sentinels at {at}"
        self._sentinels = [
            Direct(each, replace(sentinel_login, tls=login.tls)) for each in sentinels
        ]
        self._question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        self._login = login
        self._tls = sentinels[0].tls

    def open(self, seconds: float) -> socket.socket:
        failure: DialFailed | None = None
        for sentinel in self._sentinels:
            try:
                found = sentinel.ask(self._share(seconds), *self._question)
            except DialFailed as error:
                failure = error
            else:
                if found:
                    return self._direct(*found).open(seconds / 2)
        raise self._unknown(failure) from failure

    async def aopen(self, seconds: float) -> Opened:
        failure: DialFailed | None = None
        for sentinel in self._sentinels:
            try:
                found = await sentinel.aask(self._share(seconds), *self._question)
            except DialFailed as error:
                failure = error
            else:
                if found:
                    return await self._direct(*found).aopen(seconds / 2)
        raise self._unknown(failure) from failure

    def _share(self, seconds: float) -> float:
        """Return the time for one sentinel, for it may be silent."""
        return seconds / 2 / (1 + len(self._sentinels))

    def _direct(self, host: bytes, port: bytes) -> Direct:
        return Direct(Address(host.decode(), int(port), tls=self._tls), self._login)

    def _unknown(self, failure: DialFailed | None) -> DialFailed:
        why = failure or "OPTIONS['sentinel'] is the name of a service, and they know none of it"
        refused = failure is None or failure.refused
        return DialFailed(f"{self._name} cannot be found: {why}", refused)


def _arguments(address: Address, login: Login) -> dict[str, Any]:
    """Return what redis-py is told: where to, who, and none of its own retries."""
    where = {"path": address.path} if address.path else {"host": address.host, "port": address.port}
    return {
        **where,
        "username": login.username,
        "password": login.password,
        "db": login.db,
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
        **(login.tls if address.tls else {}),
    }


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Translate what goes wrong while a connection is opened."""
    try:
        yield
    except (TimeoutError, RedisTimeout) as error:
        raise DialFailed(f"{name} cannot be reached in time", refused=False) from error
    except (RedisError, OSError, ssl.SSLError, ValueError) as error:
        raise DialFailed(f"{name} cannot be reached: {error}", refused=True) from error
