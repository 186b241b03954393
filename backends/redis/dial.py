"""How a connection is opened: by redis-py, which connects, encrypts and logs in.

What it opened is then taken out of its hands: the socket in the sync face, the transport
in the async one. Private names of its connections are used for that (`_sock`, `_reader`,
`_writer` and `_close`), here and nowhere else.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import redis
from redis.asyncio import connection as native
from redis.asyncio import retry as native_retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from twofold.backends.network import DialFailed, Opened, said
from twofold.backends.redis.addresses import Address
from twofold.display import printable


@dataclass(frozen=True)
class Login:
    """How to log in, wherever the server is."""

    username: str | None = field(default=None, repr=False)  # it may be all that lets in
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
    """Dials one address.

    Args:
        address: where the server is.
        login: how to log in.
        is_primary: whether it must be one, which costs another round trip.
    """

    def __init__(self, address: Address, login: Login, is_primary: bool = False) -> None:
        self._name = address.name
        self._host, self._port = address.host, address.port
        self._arguments = _arguments(address, login)
        self._is_primary = is_primary
        # to connect, to be let in, to ask: the sync face limits each of them
        self._steps = sum(map(bool, (True, address.tls, login.password, login.db, is_primary)))
        self._tls: Any = None
        if address.path:
            self._sync: Any = redis.UnixDomainSocketConnection
            self._async: Any = native.UnixDomainSocketConnection
        elif address.tls:
            self._sync, self._async = redis.SSLConnection, native.SSLConnection
        else:
            self._sync, self._async = redis.Connection, native.Connection

    def open(self, seconds: float) -> socket.socket:
        connection = self._connection(seconds, self._steps)
        try:
            with _failures(self._name, self._arguments):
                connection.connect()
                if self._is_primary:
                    connection.send_command("ROLE")
                    _check_role(connection.read_response())
        except BaseException:
            connection.disconnect()
            raise
        opened: socket.socket = connection._sock
        connection._sock = None
        return opened

    async def aopen(self, seconds: float) -> Opened:
        connection = self._native_connection()
        try:
            with _failures(self._name, self._arguments):
                async with asyncio.timeout(seconds / 2):
                    await connection.connect()
                    if self._is_primary:
                        await connection.send_command("ROLE")
                        _check_role(await connection.read_response())
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
        connection = self._connection(seconds, self._steps + 1)
        try:
            with _failures(self._name, self._arguments):
                connection.connect()
                connection.send_command(*command)
                return connection.read_response()
        finally:
            connection.disconnect()

    async def aask(self, seconds: float, *command: str) -> Any:
        """Do what `ask` does."""
        connection = self._native_connection()
        try:
            with _failures(self._name, self._arguments):
                async with asyncio.timeout(seconds / 2):
                    await connection.connect()
                    await connection.send_command(*command)
                    return await connection.read_response()
        finally:
            connection._close()

    def _connection(self, seconds: float, steps: int) -> Any:
        """Return a connection of the sync face, each of whose steps has its share of time."""
        each = seconds / max(2, steps + self._addresses() - 1)
        limits = {"socket_connect_timeout": each, "socket_timeout": each}
        return self._sync(**self._arguments, retry=Retry(NoBackoff(), 0), **limits)

    def _native_connection(self) -> Any:
        limits = {"socket_connect_timeout": None, "socket_timeout": None}
        retry = native_retry.Retry(NoBackoff(), 0)
        connection = self._async(**self._arguments, retry=retry, **limits)
        if isinstance(connection, native.SSLConnection):  # to read certificates takes long
            self._tls = connection.ssl_context = self._tls or connection.ssl_context
        return connection

    def _addresses(self) -> int:
        """Return how many addresses redis-py will try, if it must."""
        if not self._host:
            return 1
        try:
            return len(socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM))
        except OSError:
            return 1


def _check_role(reply: Any) -> None:
    """Raise `RedisError` unless a server calls itself a primary."""
    if reply[0] != b"master":
        raise RedisError(f"it is no primary, but says {reply[0].decode()!r} of its role")


class ViaSentinel:
    """Asks the sentinels where the primary of a service is, each time, and dials that.

    https://redis.io/docs/latest/develop/reference/sentinel-clients/ tells how.
    """

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
        ends = monotonic() + seconds
        for sentinel, share in self._shares():
            try:
                found = sentinel.ask((ends - monotonic()) * share, *self._question)
                if found:
                    return self._direct(*found).open(ends - monotonic())
            except DialFailed as error:
                failure = error
        raise self._unknown(failure) from failure

    async def aopen(self, seconds: float) -> Opened:
        failure: DialFailed | None = None
        ends = monotonic() + seconds
        for sentinel, share in self._shares():
            try:
                found = await sentinel.aask((ends - monotonic()) * share, *self._question)
                if found:
                    return await self._direct(*found).aopen(ends - monotonic())
            except DialFailed as error:
                failure = error
        raise self._unknown(failure) from failure

    def _shares(self) -> list[tuple[Direct, float]]:
        """Return the sentinels, and what part of the time left each may take: one may be silent."""
        count = len(self._sentinels)
        return [(each, 1 / (1 + count - n)) for n, each in enumerate(self._sentinels)]

    def _direct(self, host: bytes, port: bytes) -> Direct:
        address = Address(host.decode(), int(port), tls=self._tls)
        return Direct(address, self._login, is_primary=True)

    def _unknown(self, failure: DialFailed | None) -> DialFailed:
        why = failure or "OPTIONS['sentinel'] is the name of a service, and they know none of it"
        refused = failure is None or failure.refused
        return DialFailed(f"{self._name} cannot be found: {why}", refused)


def _arguments(address: Address, login: Login) -> dict[str, Any]:
    """Return what redis-py is told: where to, and who."""
    where = {"path": address.path} if address.path else {"host": address.host, "port": address.port}
    return {
        **where,
        "username": login.username,
        "password": login.password,
        "db": login.db,
        "protocol": 2,
        "driver_info": None,
        **(login.tls if address.tls else {}),
    }


@contextmanager
def _failures(name: str, login: dict[str, Any]) -> Iterator[None]:
    """Translate what goes wrong while a connection is opened."""
    try:
        yield
    except (TimeoutError, RedisTimeout) as error:
        raise DialFailed(f"{name} cannot be reached in time", refused=False) from error
    except (RedisError, OSError, ssl.SSLError, ValueError) as error:
        text, whole = said(error), str(error)
        secret = login["password"] or login["username"]
        if secret and secret in text:
            text = "what it said is not shown, since it repeats the login"
        failed = DialFailed(f"{name} cannot be reached: {text}", refused=True)
        raise failed from (error if printable(whole) == text else None)
