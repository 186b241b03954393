"""A far store in this process that tells of writes late, and loses its watch when told to.

Each operation of the async face is a request, the server's work and a reply, with other tasks
between them as a seed decides. All that is told to a process comes in one row, pushes and replies
to pings, as over one connection.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any

from tests.dict_backend import DictBackend
from twofold.backend import Backend, Fill, Looked
from twofold.clock import Clock
from twofold.errors import BackendUnavailable
from twofold.stub import is_stub
from twofold.testing import FakeClock
from twofold.watch import Watcher, WatchState

BOUND = 1.0
"""Seconds within which a change is told of, or the watch no longer relied upon."""


@dataclass
class Write:
    """What the server did to a key, and when."""

    value: bytes | None
    time: float


class Server(DictBackend):
    """The store that all processes share."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.connections: list[FakeWatch] = []
        self.writes: dict[str, list[Write]] = {}
        self.down = False

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        stored = super().set(key, value, ttl)
        self._note(key, None if is_stub(value) else value)
        return stored

    def delete(self, key: str) -> bool:
        there = super().delete(key)
        if there:
            self._note(key, None)
        return there

    def incr(self, key: str, delta: int) -> int:
        total = super().incr(key, delta)
        self._note(key, b"%d" % total)
        return total

    def clear(self, prefix: str) -> None:
        gone = [key for key in self._entries if key.startswith(prefix)]
        super().clear(prefix)
        for key in gone:
            self._note(key, None)

    def flush(self) -> None:
        """Remove everything, and tell that, as FLUSHDB does."""
        for key in self._entries:
            self.writes.setdefault(key, []).append(Write(None, self.clock.monotonic()))
        self._entries.clear()
        for each in self.connections:
            each.row.append(None)

    def _note(self, key: str, value: bytes | None) -> None:
        self.writes.setdefault(key, []).append(Write(value, self.clock.monotonic()))
        for each in self.connections:
            each.row.append(key)


class FakeWatch:
    """What tells one process of writes, when `deliver` is called."""

    def __init__(self, server: Server, watcher: Watcher, bound: float) -> None:
        self._server, self._watcher, self.bound = server, watcher, bound
        self.row: deque[str | float | None] = deque()
        self.live = False
        self.closed = False
        self.refused = False
        self._vouched = -float("inf")
        self.pushes = self.losses = 0

    @property
    def state(self) -> WatchState:
        return WatchState(self.live, self.bound, self.pushes, self.losses, "")

    @property
    def connected(self) -> bool:
        return self in self._server.connections

    def valid_until(self) -> float:
        if not self.live:
            return -float("inf")
        return monotonic() + self._vouched + self.bound - self._server.clock.monotonic()

    def connect(self) -> None:
        """Have all writes told from now on."""
        self._server.connections.append(self)
        self._watcher.flushed()
        self.live, self._vouched = True, self._server.clock.monotonic()

    def ping(self) -> None:
        if self.connected:
            self.row.append(self._server.clock.monotonic())

    def deliver(self) -> bool:
        """Tell of the next in the row; False if nothing is there."""
        if not self.row:
            return False
        told = self.row.popleft()
        if isinstance(told, float):
            self._vouched = told
        elif told is None:
            self._watcher.flushed()
        else:
            self.pushes += 1
            self._watcher.changed([told])
        return True

    def cut(self) -> None:
        """Lose the connection and what was on its way, without a notice."""
        self._server.connections.remove(self)
        self.row.clear()

    def notice(self) -> None:
        """Find out that it is lost."""
        self.live = False
        self.losses += 1
        self._watcher.lost()

    def close(self) -> None:
        self.closed = True
        if self.connected:
            self.cut()
        self.live = False


_ONE = (
    "set",
    "add",
    "touch",
    "incr",
    "compare_and_set",
    "compare_and_delete",
    "delete",
    "get",
    "ttl",
)


class FarStore(Backend):
    """A way of one process to the server."""

    kind = "native"

    def __init__(self, server: Server, seed: int = 0) -> None:
        super().__init__(clock=server.clock)
        self.server = server
        self.watches: list[FakeWatch] = []
        self.tells = True
        self.requests = 0
        self._random = Random(seed)

    def watch(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> FakeWatch | None:
        if not self.tells:
            return None
        self.watches.append(FakeWatch(self.server, watcher, bound))
        self.watches[-1].connect()
        return self.watches[-1]

    def _work(self, operation: str, *args: Any) -> Any:
        self.requests += 1
        if self.server.down:
            raise BackendUnavailable("the server is down")
        return getattr(self.server, operation)(*args)

    async def _awork(self, operation: str, *args: Any) -> Any:
        await self._pause()
        done = self._work(operation, *args)
        await self._pause()
        return done

    async def _pause(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    def look(self, key: str) -> Looked | None:
        found: bytes | None = self._work("get", key)
        return None if found is None else (found, self.server.ttl(key))

    async def alook(self, key: str) -> Looked | None:
        await self._pause()
        found = self.look(key)
        await self._pause()
        return found

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        looked = ((key, self.look(key)) for key in keys)
        return {key: each for key, each in looked if each is not None}

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        await self._pause()
        found = self.look_many(keys)
        await self._pause()
        return found

    async def aget_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return await self._awork("get_many", keys)

    async def aset_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        return await self._awork("set_many", items, ttl)

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._awork("delete_many", keys)

    async def ahas(self, key: str) -> bool:
        return await self._awork("has", key)

    def clear(self, prefix: str) -> None:
        self._work("clear", prefix)

    async def aclear(self, prefix: str) -> None:
        await self._awork("clear", prefix)

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return await self._awork("fill_many", fills)

    async def aclose(self) -> None:
        self.close()


def _pair(name: str) -> None:
    def sync(self: FarStore, *args: Any) -> Any:
        return self._work(name, *args)

    async def twin(self: FarStore, *args: Any) -> Any:
        return await self._awork(name, *args)

    setattr(FarStore, name, sync)
    setattr(FarStore, f"a{name}", twin)


for _name in _ONE:
    _pair(_name)
FarStore.__abstractmethods__ = frozenset()


def world(seed: int = 0, processes: int = 2) -> tuple[FakeClock, Server, list[FarStore]]:
    """Return a server, and a way to it of each process."""
    clock = FakeClock()
    server = Server(clock)
    return clock, server, [FarStore(server, seed + each) for each in range(processes)]
