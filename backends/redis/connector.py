"""How a connection is opened and logged in.

redis-py does not do it: it resolves names in an executor that others wait for, bounds each
step instead of all together, and accepts any reply to a login.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from socket import socket
from time import monotonic
from typing import Any, TypeVar

from twofold.backends.network import ConnectError, Opened, ProtocolError, Reply, redacted
from twofold.backends.network.options import Tls
from twofold.backends.network.sockets import (
    Endpoint,
    Streams,
    ahandshake,
    handshake,
    let_go,
    transport_of,
)
from twofold.backends.redis.addresses import Address
from twofold.backends.redis.commands import ROLE, pack
from twofold.backends.redis.protocol import RESP
from twofold.display import printable
from twofold.interrupts import raise_if_of_others

T = TypeVar("T")


@dataclass(frozen=True)
class Login:
    """How to log in, wherever the server is."""

    username: str | None = field(default=None, repr=False)  # it may be all that lets in
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: dict[str, Any] = field(default_factory=dict)
    """Options whose names begin with `ssl_`."""

    def at(self, address: Address) -> "Login":
        """Return this login with what the URL of a server says of it put first."""
        return replace(
            self,
            username=address.username or self.username,
            password=address.password or self.password,
            db=self.db if address.db is None else address.db,
        )

    @property
    def commands(self) -> list[bytes]:
        """What a connection begins with."""
        words = [self.username, self.password or ""] if self.username else [self.password]
        given = [word.encode() for word in words if word is not None]
        return [
            *([pack(b"AUTH", *given)] if given else []),
            *([pack(b"SELECT", b"%d" % self.db)] if self.db else []),
        ]


class DirectConnector:
    """Connects to one address.

    Args:
        address: where the server is.
        login: how to log in.
        is_primary: whether it must be one.
    """

    def __init__(self, address: Address, login: Login, is_primary: bool = False) -> None:
        self._name = address.name
        self._endpoint = Endpoint(address.host, address.port, address.path)
        self._tls = Tls(login.tls) if address.tls else None
        self._login = login
        self._greeting = [*login.commands, *([ROLE] if is_primary else [])]
        self._is_primary = is_primary

    def connect(self, seconds: float) -> socket:
        opened, _ = self._greeted(seconds, self._greeting)
        return opened

    async def aconnect(self, seconds: float) -> Opened:
        opened, _ = await self._agreeted(seconds, self._greeting)
        return opened

    def query(self, seconds: float, command: bytes) -> Reply:
        """Return the reply to one command, over a connection of its own."""
        opened, replies = self._greeted(seconds, [*self._greeting, command])
        opened.close()
        return replies[-1]

    async def aquery(self, seconds: float, command: bytes) -> Reply:
        """Do what `query` does."""
        opened, replies = await self._agreeted(seconds, [*self._greeting, command])
        opened.transport.abort()
        return replies[-1]

    def _greeted(self, seconds: float, commands: Sequence[bytes]) -> tuple[socket, list[Reply]]:
        """Return a connection, and the replies to the first commands on it."""
        deadline = monotonic() + seconds / 2  # there may be another server
        with _failures(self._name, self._login.password or self._login.username):
            opened = self._endpoint.connect(deadline, self._tls.context() if self._tls else None)
            try:
                replies = handshake(opened, RESP, commands, deadline)
                self._check(replies)
            except BaseException:
                opened.close()
                raise
        return opened, replies

    async def _agreeted(
        self, seconds: float, commands: Sequence[bytes]
    ) -> tuple[Opened, list[Reply]]:
        """Do what `_greeted` does."""
        deadline = monotonic() + seconds / 2
        made: Streams | None = None
        try:
            with _failures(self._name, self._login.password or self._login.username):
                tls = self._tls.context() if self._tls else None
                made = await self._endpoint.streams(deadline, tls)
                replies = await ahandshake(made, RESP, commands, deadline)
                self._check(replies)
                if made[0].at_eof() or made[1].transport.is_closing():
                    raise ConnectionResetError("it closed the connection at once")  # noqa: TRY301
            return transport_of(made), replies
        except BaseException:
            let_go(made)
            raise

    def _check(self, replies: Sequence[Reply]) -> None:
        """Raise `OSError` unless a server that must be a primary says it is."""
        # Sentinels may name the old primary while a failover is under way.
        role = replies[len(self._greeting) - 1][0] if self._is_primary else b"master"
        if role != b"master":
            named = role.decode(errors="replace")
            text = f"its role is {named!r}, not primary: a failover is under way"
            raise ConnectionRefusedError(text)


class SentinelConnector:
    """Asks the sentinels where the primary of a service is, each time, and connects there.

    https://redis.io/docs/latest/develop/reference/sentinel-clients/ tells how.
    """

    def __init__(
        self, sentinels: Sequence[Address], service: str, login: Login, sentinel_login: Login
    ) -> None:
        at = ", ".join([each.name for each in sentinels])
        self._name = f"the primary of {service!r} by the sentinels at {at}"
        self._sentinels = [
            DirectConnector(each, replace(sentinel_login, tls=login.tls)) for each in sentinels
        ]
        self._question = pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.encode())
        self._login = login
        self._tls = sentinels[0].tls

    def connect(self, seconds: float) -> socket:
        failure: ConnectError | None = None
        deadline = monotonic() + seconds
        for sentinel, share in self._shares():
            try:
                found = sentinel.query((deadline - monotonic()) * share, self._question)
                if found:
                    return self._direct(*found).connect(deadline - monotonic())
            except ConnectError as error:
                failure = error
        raise self._unknown(failure) from failure

    async def aconnect(self, seconds: float) -> Opened:
        async def connect(host: bytes, port: bytes, deadline: float) -> Opened:
            return await self._direct(host, port).aconnect(deadline - monotonic())

        return await self._afind(seconds, connect)

    async def alocate(self, seconds: float) -> tuple[bytes, bytes]:
        """Return the host and port of the primary, or raise `ConnectError`."""

        async def name(host: bytes, port: bytes, _: float) -> tuple[bytes, bytes]:
            return host, port

        return await self._afind(seconds, name)

    async def _afind(self, seconds: float, use: Callable[[bytes, bytes, float], Awaitable[T]]) -> T:
        """Return what `use` makes, until a time, of the host and port that a sentinel names."""
        failure: ConnectError | None = None
        deadline = monotonic() + seconds
        for sentinel, share in self._shares():
            try:
                found = await sentinel.aquery((deadline - monotonic()) * share, self._question)
                if found:
                    host, port = found
                    return await use(host, port, deadline)
            except ConnectError as error:
                failure = error
        raise self._unknown(failure) from failure

    def _shares(self) -> list[tuple[DirectConnector, float]]:
        """Return the sentinels, and what part of the time left each may take: one may be silent."""
        count = len(self._sentinels)
        return [(each, 1 / (1 + count - n)) for n, each in enumerate(self._sentinels)]

    def _direct(self, host: bytes, port: bytes) -> DirectConnector:
        address = Address(host.decode(), int(port), tls=self._tls)
        return DirectConnector(address, self._login, is_primary=True)

    def _unknown(self, failure: ConnectError | None) -> ConnectError:
        why = failure or "they know no such service; OPTIONS['sentinel'] names it"
        refused = failure is None or failure.refused
        return ConnectError(f"{self._name} cannot be found: {why}", refused)


@contextmanager
def _failures(name: str, secret: str | None) -> Iterator[None]:
    """Translate what goes wrong while a connection is opened."""
    try:
        yield
    except TimeoutError as error:
        raise_if_of_others(error)
        text = f"{name} cannot be reached in time; OPTIONS['deadline'] sets the limit"
        raise ConnectError(text, refused=False) from error
    except (OSError, ProtocolError, ValueError) as error:
        raise_if_of_others(error)
        text, whole = redacted(error), str(error)
        if secret and secret in text:
            text = "what it said is not shown, since it repeats the login"
        failed = ConnectError(f"{name} cannot be reached: {text}", refused=True)
        raise failed from (error if printable(whole) == text else None)
