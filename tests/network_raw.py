"""A server of which a test sees each command, and which answers when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import pytest

from tests.network_kinds import Kind
from tests.network_loops import Run
from twofold.backend import Backend
from twofold.backends.network import INCOMPLETE, Opened

PATIENCE = 10.0  # seconds
BIG = b"big" * 40_000


def value_of(key: bytes | str) -> bytes:
    """Return what the server has under a key."""
    name = key if isinstance(key, bytes) else key.encode()
    return BIG if name.startswith(b"big") else b"value of " + name


class Spoken(NamedTuple):
    """How servers of one kind talk, seen from their end."""

    kind: Kind
    direct: type
    """What connects, in the backend."""
    new_reader: Callable[[], Any]
    """Returns what makes commands of bytes, each a list of its words."""
    answer: Callable[[list[bytes]], bytes]
    """Returns the reply to a command, whose keys all exist."""
    greeting: list[bytes] | None = None
    """The command that begins a connection, answered at once and otherwise left out."""


class Peer(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: "Raw") -> None:
        self.commands: list[list[bytes]] = []
        self.owed: list[list[bytes]] = []
        self.lost = False
        self.transport: asyncio.Transport
        self._server = server
        self._reader = server.spoken.new_reader()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._server.peers.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not INCOMPLETE:
            if command == self._server.spoken.greeting:
                self.transport.write(self._server.spoken.answer(command))
                continue
            self.commands.append(command)
            self.owed.append(command)
        self._server.most_owed = max(self._server.most_owed, len(self.owed))
        if not self._server.holds:
            self.pay()

    @property
    def keys(self) -> list[bytes]:
        """The first keys of the commands."""
        return [command[1] for command in self.commands]

    def pay(self) -> None:
        """Answer what came."""
        self.transport.write(b"".join(map(self._server.spoken.answer, self.owed)))
        self.owed.clear()


class Raw:
    """The server; its replies may be held back."""

    def __init__(self, spoken: Spoken) -> None:
        self.spoken = spoken
        self.peers: list[Peer] = []
        self.holds = False
        """Whether replies are held back until `pay`."""
        self.most_owed = 0
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def started(cls, spoken: Spoken) -> AsyncIterator[Self]:
        raw = cls(spoken)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Peer(raw), "127.0.0.1", 0)
        raw.url = f"{spoken.kind.name}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield raw
        finally:
            server.close()
            for peer in raw.peers:
                peer.transport.abort()
            await until(lambda: all(peer.lost for peer in raw.peers))

    @property
    def peer(self) -> Peer:
        """The newest connection."""
        return self.peers[-1]

    @property
    def commands(self) -> list[list[bytes]]:
        """All commands of all connections."""
        return [command for peer in self.peers for command in peer.commands]

    def pay(self) -> None:
        """Answer what came so far."""
        for peer in self.peers:
            peer.pay()

    def release(self) -> None:
        """Answer what came, and what comes."""
        self.holds = False
        self.pay()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def turns(number: int) -> None:
    """Let the loop run for so many iterations."""
    for _ in range(number):
        await asyncio.sleep(0)


def started(calls: Iterable[Coroutine[Any, Any, Any]]) -> list["asyncio.Task[Any]"]:
    """Begin calls, each in a task of its own."""
    return [asyncio.ensure_future(call) for call in calls]


Body = Callable[[Raw, Any], Awaitable[None]]


@pytest.fixture
def run_raw(run: Run, spoken: Spoken) -> Callable[..., None]:
    """Return what runs a body with a raw server and a backend that is warm."""

    async def whole(body: Body, deadline: float, warm: bool) -> None:
        async with Raw.started(spoken) as raw:
            backend: Backend = spoken.kind.make(raw.url, deadline=deadline)
            if warm:
                await backend.aget("warm")
                raw.peer.commands.clear()
            await body(raw, backend)
            await backend.aclose()

    def run_body(body: Body, deadline: float = PATIENCE, warm: bool = True) -> None:
        run(whole(body, deadline, warm))

    return run_body


class Spied:
    """A transport that notes what is written."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self.transport = transport
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        self._writes.append(bytes(data))
        self.transport.write(data)


@pytest.fixture
def writes(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what is written, write by write, on whatever connection that is ready."""
    seen: list[bytes] = []
    direct: Any = spoken.direct
    aconnect = direct.aconnect

    async def aconnect_spied(self: Any, seconds: float) -> Opened:
        opened = await aconnect(self, seconds)
        return Opened(Spied(opened.transport, seen), opened.stream)  # type: ignore[arg-type]

    monkeypatch.setattr(direct, "aconnect", aconnect_spied)
    return seen
