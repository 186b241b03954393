"""A TCP proxy on this machine that harms what passes, as it is told while it runs."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.chaos.processes import HOST, free_port

T = TypeVar("T")

_AT_ONCE = 65536  # bytes read at a time
_BACKLOG = 4096
_PATIENCE = 10.0  # seconds for a control to take effect
_RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST


class Proxy:
    """Passes TCP between 127.0.0.1:`port` and a target, in a thread and a loop of its own.

    `delay` and `chunk` may be set at any time. A method has taken effect when it returns; it may
    be called from any thread, in a loop too. Requests are what clients send, replies what
    the target sends. When the target cannot be reached, a client's connection is closed.
    """

    host = HOST

    def __init__(self, target_host: str, target_port: int) -> None:
        self.delay: float | tuple[float, float] = 0.0
        """Seconds that what was read (up to 64 KB) waits before it goes on, each way; or (from,
        to) for a random time. What comes meanwhile is read next, at once, and waits too."""
        self.chunk: int | None = None
        """Pass on pieces of at most so many bytes, each sent on its own."""
        self.accepted = 0
        """Connections accepted so far."""
        self.requested = 0
        """Bytes of requests passed so far."""
        self.replied = 0
        """Bytes of replies passed so far."""
        self.turns = 0
        """Requests, or pieces of such, that came after a reply: round trips, if one client asks."""
        self.port = 0
        self._asking = False
        self._target = target_host, target_port
        self._random = random.Random(0)
        self._left: int | None = None
        self._passing = asyncio.Event()
        self._live: dict[asyncio.Task[None], socket.socket] = {}
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)

    def __repr__(self) -> str:
        host, port = self._target
        return f"<Proxy {self.address} -> {host}:{port} connections={self.connections}>"

    def __enter__(self) -> Self:
        self._loop = asyncio.SelectorEventLoop()
        self._thread.start()
        self.port = free_port()
        self.heal()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self.kill_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """Where the proxy is: "127.0.0.1:12345"."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as the URL of database 0 of a Redis."""
        return f"redis://{self.address}/0"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._live)

    def cut_after(self, replied: int) -> None:
        """After so many more bytes of replies, on whatever connections, close that connection.

        This happens once: what comes later passes. The bytes before the cut do arrive.
        """
        self._do(self._cut_after(replied))

    def lose_reply(self) -> None:
        """Have the next request executed, swallow its reply, and close the connection; once."""
        self.cut_after(0)

    def reset(self) -> None:
        """Break all connections with RST: clients see `ConnectionResetError`."""
        self._do(self._end_all(reset=True))

    def kill_all(self) -> None:
        """Close all connections in good order: clients see the end of the stream."""
        self._do(self._end_all(reset=False))

    def black_hole(self, on: bool = True) -> None:
        """Pass nothing, either way, though connections are accepted and stay open.

        As over a network that lost all packets for a time, what was sent meanwhile passes when
        the hole closes: late replies arrive. `reset()` first if they should not.
        """
        self._do(self._black_hole(on))

    def refuse(self, on: bool = True) -> None:
        """Listen no more: connecting is refused. What is open stays; `kill_all()` ends it."""
        self._do(self._refuse(on))

    def heal(self) -> None:
        """Take back all that was told, and be a plain proxy, on the same port."""
        self.delay, self.chunk = 0.0, None
        self._do(self._cut_after(None))
        self._do(self._black_hole(False))
        self._do(self._refuse(False))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, body: Coroutine[Any, Any, T]) -> T:
        """Run a control in the proxy's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(body, self._loop).result(_PATIENCE)

    async def _cut_after(self, replied: int | None) -> None:
        self._left = replied

    async def _black_hole(self, on: bool) -> None:
        if on:
            self._passing.clear()
        else:
            self._passing.set()

    async def _refuse(self, on: bool) -> None:
        if on and self._listener is not None:
            self._accept(self._listener)
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        elif not on and self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=_BACKLOG)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _end_all(self, reset: bool) -> None:
        ending = list(self._live)
        for task, client in self._live.items():
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    def _accept(self, listener: socket.socket) -> None:
        """Accept all that have connected; for their clients they are open already."""
        with suppress(BlockingIOError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                task = self._loop.create_task(self._serve(client))
                self._live[task] = client
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._live.pop(task).close()  # a task that was cancelled at once has not done it

    async def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as target, suppress(OSError):
            for side in (client, target):
                side.setblocking(False)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(target, self._target)
            try:
                await _first_of(self._requests(client, target), self._replies(target, client))
            finally:
                _read_out(client)

    async def _requests(self, client: socket.socket, target: socket.socket) -> None:
        while data := await self._loop.sock_recv(client, _AT_ONCE):
            await self._hold()
            self.turns += not self._asking
            self._asking = True
            self.requested += len(data)
            await self._send(target, data)

    async def _replies(self, target: socket.socket, client: socket.socket) -> None:
        while data := await self._loop.sock_recv(target, _AT_ONCE):
            await self._hold()
            data, last = self._allowed(data)
            self._asking = False
            self.replied += len(data)
            await self._send(client, data)
            if last:
                return

    async def _hold(self) -> None:
        delay = self.delay
        seconds = self._random.uniform(*delay) if isinstance(delay, tuple) else delay
        if seconds:
            await asyncio.sleep(seconds)
        await self._passing.wait()

    def _allowed(self, data: bytes) -> tuple[bytes, bool]:
        """Return how much of a reply may pass, and whether that is the cut."""
        left = self._left
        if left is None or len(data) < left:
            self._left = None if left is None else left - len(data)
            return data, False
        self._left = None
        return data[:left], True

    async def _send(self, to: socket.socket, data: bytes) -> None:
        size = self.chunk or max(1, len(data))
        for start in range(0, len(data), size):
            await self._loop.sock_sendall(to, data[start : start + size])


async def _first_of(*bodies: Coroutine[Any, Any, None]) -> None:
    """Run bodies side by side until the first ends; the others are cancelled."""
    tasks = [asyncio.create_task(body) for body in bodies]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _read_out(client: socket.socket) -> None:
    """Read what a client has sent: closing over unread bytes would send RST."""
    with suppress(OSError):
        while client.recv(_AT_ONCE):
            pass
