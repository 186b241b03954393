"""Clients measured side by side, and how many times as much the peers cost.

All clients of a comparison are timed in one process, in each round in another order, so
that whatever else the machine does falls on all of them. What counts is the ratio to
ours of the same round: its median, and its lowest and highest.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import iscoroutinefunction
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Read: TypeAlias = Callable[[Any], Coroutine[Any, Any, Any]]

VALUE = b"v" * 100
TIMEOUT = 3600  # seconds; longer than a run on a busy machine takes
CAPACITY = 100_000
KEYS = [f"item:{number:05d}" for number in range(1000)]


@dataclass(frozen=True)
class Client:
    """One of those compared, and a piece of work that is repeated while it is timed.

    Attributes:
        name: who it is.
        work: makes `calls` calls; sync or async.
        calls: how many calls it makes.
        target: how many times our cost the client's is to be, at least.
    """

    name: str
    work: Callable[[], Any]
    calls: int = len(KEYS)
    target: float | None = None


@dataclass(frozen=True)
class Row:
    """What one client costs for one kind of call, beside ours."""

    area: str
    what: str
    client: str
    cost: float
    unit: str
    ratios: tuple[float, float, float] | None
    """The client's cost by ours: median, lowest and highest; None for ours itself."""
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None if there is none."""
        if self.ratios is None or self.target is None:
            return None
        return self.ratios[0] >= self.target


def compare(
    area: str, what: str, unit: str, costs: dict[str, list[float]], targets: dict[str, float | None]
) -> list[Row]:
    """Return a row for each client of `costs` by round, of which the first is ours."""
    ours = next(iter(costs.values()))
    rows = []
    for name, theirs in costs.items():
        ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
        spread = None if theirs is ours else (median(ratios), min(ratios), max(ratios))
        rows.append(Row(area, what, name, median(theirs), unit, spread, targets.get(name)))
    return rows


class Bench:
    """Times clients in rounds, and collects the rows.

    Args:
        rounds: how often each client is timed.
        seconds: how long each client works at least, each time.
    """

    def __init__(self, rounds: int, seconds: float) -> None:
        self.rounds = rounds
        self.rows: list[Row] = []
        self._seconds = seconds
        self._runner = asyncio.Runner()

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        """Run `body` in the one event loop of all async clients."""
        return self._runner.run(body)

    def race(self, area: str, what: str, clients: Sequence[Client]) -> None:
        """Time `clients`, ours first in the list, and add their rows."""
        times = {client: self._enough(client) for client in clients}
        costs: dict[str, list[float]] = {client.name: [] for client in clients}
        for _ in range(self.rounds):
            for client in random.sample(clients, len(clients)):
                elapsed = self._time(client, times[client])
                costs[client.name].append(elapsed / times[client] / client.calls * 1e6)
        self.add(area, what, "µs", costs, {client.name: client.target for client in clients})

    def add(
        self,
        area: str,
        what: str,
        unit: str,
        costs: dict[str, list[float]],
        targets: dict[str, float | None],
    ) -> None:
        """Add the rows of clients whose costs are known."""
        self.rows += compare(area, what, unit, costs, targets)

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    def _enough(self, client: Client) -> int:
        """Return how often the work of `client` is to be repeated; this warms it up too."""
        times = 1
        while (elapsed := self._time(client, times)) < self._seconds / 4:
            times *= 2
        return max(1, round(times * self._seconds / elapsed))

    def _time(self, client: Client, times: int) -> float:
        gc.collect()
        if iscoroutinefunction(client.work):
            return self.run(_awaiting(client.work, times))
        start = perf_counter()
        for _ in range(times):
            client.work()
        return perf_counter() - start


async def _awaiting(work: Callable[[], Coroutine[Any, Any, Any]], times: int) -> float:
    start = perf_counter()
    for _ in range(times):
        await work()
    return perf_counter() - start


def each(function: Callable[[Any], Any], items: Sequence[Any] = KEYS) -> Callable[[], None]:
    """Return work that calls `function` with one item after the other."""

    def work() -> None:
        for item in items:
            function(item)

    return work


def aeach(
    function: Callable[[Any], Coroutine[Any, Any, Any]], items: Sequence[Any] = KEYS
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return work that awaits `function` for one item after the other."""

    async def work() -> None:
        for item in items:
            await function(item)

    return work


def together(
    function: Callable[[Any], Coroutine[Any, Any, Any]],
    tasks: int = 100,
    items: Sequence[Any] = KEYS,
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return work that awaits `function` for all items, in `tasks` tasks at a time."""
    shares = [aeach(function, items[start::tasks]) for start in range(tasks)]

    async def work() -> None:
        await asyncio.gather(*(share() for share in shares))

    return work


def in_threads(
    threads: ThreadPoolExecutor, function: Callable[[Any], Any], count: int
) -> Callable[[], None]:
    """Return work that calls `function` for all keys, in `count` threads at a time."""
    shares = [each(function, KEYS[start::count]) for start in range(count)]

    def work() -> None:
        for done in [threads.submit(share) for share in shares]:
            done.result()

    return work


async def aprepare(write: Callable[..., Coroutine[Any, Any, Any]], read: Read) -> None:
    """Store what will be read, and see that it is."""
    for key in KEYS:
        await write(key, VALUE)
        expect(await read(key))


def expect(got: object, wanted: object = VALUE) -> None:
    """Raise unless a client really brings what it is timed for."""
    if got != wanted:
        raise AssertionError(f"a client brought {got!r} where {wanted!r} is stored")
