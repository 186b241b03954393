"""What is told of one store to its watchers in this process.

By a connection to each of its primaries on which that broadcasts what anybody changes. All are
served by one thread, for both faces and every event loop.
"""

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final
from weakref import ref

from twofold.backends.network import ConnectionLost
from twofold.backends.redis.client import RedisClient
from twofold.backends.redis.topology import ClusterTopology
from twofold.backends.redis.tracking import Tracking, TrackingRefused
from twofold.effects import (
    NATIVE,
    Job,
    LoopThread,
    after_fork_in_child,
    leak_on_fork,
    new_rlock,
)
from twofold.errors import BackendUnavailable
from twofold.events import WatchLost, WatchRefused, WatchRegained, emit
from twofold.watch import Watcher, WatchState

_BEATS: Final = 4  # in the time of a bound
_GRACE: Final = 0.05  # seconds to take in what came while the thread did not run
_FIRST_PAUSE: Final = 0.02  # seconds at most before connecting again, doubled each time
_LONGEST_PAUSE: Final = 1.0
_REFUSED_PAUSE: Final = 60.0

_thread: Final = LoopThread("twofold-watch")


class RedisWatch:
    """See `twofold.watch.Watch`."""

    def __init__(
        self, store: "StoreWatch", prefixes: Sequence[str], watcher: Watcher, bound: float
    ) -> None:
        self.prefixes: tuple[str, ...] = tuple(prefixes)
        self.bound: float = bound
        self.until: float = -inf
        self._store = store
        self._watcher = ref(watcher)
        self._closed = False

    def __repr__(self) -> str:
        return f"<RedisWatch {self.prefixes} {'live' if self.state.live else 'not live'}>"

    def valid_until(self) -> float:
        if self.until == -inf and not self._closed:
            self._store.start()  # it is a forked child's, or the backend has been closed
        return self.until

    @property
    def refused(self) -> bool:
        return self._store.refused

    @property
    def state(self) -> WatchState:
        store, live = self._store, self.until > monotonic()
        return WatchState(
            live, self.bound, store.pushes, store.losses, "" if live else store.error, self.refused
        )

    def close(self) -> None:
        self._closed, self.until = True, -inf
        self._store.remove(self)

    @property
    def wanted(self) -> bool:
        """Whether anybody is there to be told."""
        return self._watcher() is not None

    def tell(self, keys: Sequence[str] | None) -> None:
        """Tell which keys have changed; None: any may have."""
        watcher = self._watcher()
        if watcher is None or self._closed:
            return
        if keys is None:
            watcher.flushed()
        elif mine := [key for key in keys if key.startswith(self.prefixes)]:
            watcher.changed(mine)

    def confirm(self, sent: float) -> None:
        """Take note that whatever happened before the monotonic time `sent` has been told of."""
        self.until = -inf if self._closed else sent + self.bound

    def lose(self) -> None:
        """Take note that changes are not told of any more."""
        self.until = -inf
        if (watcher := self._watcher()) is not None and not self._closed:
            watcher.lost()


class StoreWatch:
    """The watches of one store.

    Args:
        client: knows the store's servers.
    """

    def __init__(self, client: RedisClient) -> None:
        self.pushes: int = 0
        self.losses: int = 0
        self.error: str = ""
        """Why it is not live; empty while it is, and before it has been for the first time."""
        self.refused: bool = False
        """Whether the servers do not tell of changes, or not this user."""
        self.outline: object = None
        """What was known of the servers when those that are watched were chosen."""
        self._name = ", ".join([each.name for each in client.topology.servers()])
        self._client = client
        self._timeout = client.timeout
        self._watches: tuple[RedisWatch, ...] = ()
        self._job: Job = _thread.job(self._run)
        self._begin()
        after_fork_in_child(self)

    def _begin(self) -> None:
        self._lock = new_rlock()  # a signal's handler may ask too
        self._live: tuple[RedisWatch, ...] = ()
        self._tracked: list[str] = []
        self._sent = -inf
        self._failures = 0
        self._lost_at: float | None = None
        self._waker: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def __repr__(self) -> str:
        return f"<StoreWatch of {self._name}: {len(self._watches)} watches>"

    def add(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> RedisWatch:
        """See `Backend.watch`."""
        watch = RedisWatch(self, prefixes, watcher, bound)
        with self._lock:
            self._watches = (*self._watches, watch)
        self._job.start()
        self._wake()
        return watch

    def remove(self, watch: RedisWatch) -> None:
        """See `Watch.close`."""
        with self._lock:
            self._watches = tuple(each for each in self._watches if each is not watch)
        self._wake()

    @property
    def wanted(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watches)

    @property
    def condition(self) -> str:
        """How it does: "live", or why it is not; empty if nobody watches, or it just begins."""
        return "live" if self._live else self.error

    def start(self) -> None:
        """Connect in the background, unless that is done already."""
        if not self._job.running:
            self._job.start()

    def stop(self) -> None:
        """Let the connections go, until somebody asks for how long a watch is valid."""
        self._job.cancel()

    def view(self) -> object:
        """Return what is another once a server is asked that may not be watched; see `covers`."""
        topology = self._client.topology
        if not isinstance(topology, ClusterTopology):
            return None
        return topology.revision, self._client.strays

    def covers(self, view: object) -> bool:
        """Tell whether what was asked since `view` was asked of servers that are watched."""
        topology = self._client.topology
        if not self._live or not isinstance(topology, ClusterTopology):
            return True
        return view == self.view() and topology.revision == self.outline

    def _wake(self) -> None:
        if self._waker is not None:
            loop, woken = self._waker
            with suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(woken.set)

    async def _run(self) -> None:
        """Watch for as long as there are watchers, whatever happens."""
        self._waker = asyncio.get_running_loop(), asyncio.Event()
        while self._wanted():
            try:
                await self._watch()
            except Exception as error:  # a connector may fail by anything, and so may a watcher
                self._note(error)
                await self._sleep(self._pause())

    def _wanted(self) -> tuple[RedisWatch, ...]:
        """Return the watches whose watchers are still there."""
        with self._lock:
            self._watches = tuple(each for each in self._watches if each.wanted)
            return self._watches

    def _pause(self) -> float:
        """Return the seconds before connecting again."""
        if self.refused:
            return _REFUSED_PAUSE
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads the processes

    async def _sleep(self, seconds: float) -> None:
        """Wait, but for no longer than until something has changed."""
        if self._waker is not None:
            _, woken = self._waker
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await woken.wait()
            woken.clear()

    async def _watch(self) -> None:
        """Watch until something fails, or there are prefixes that need another connection."""
        topology = self._client.topology
        await self._client.primaries(NATIVE)
        # It is asked for before they are: what changes in between is seen at the first beat.
        self.outline = await topology.outline(self._timeout)
        lines = [Tracking(each, self._told, self._wake) for each in topology.primaries()]
        self._tracked = []
        try:
            opening = [each.open(self._timeout, topology.splits) for each in lines]
            await self._within(self._timeout, opening)
            while await self._cover(lines):
                await self._sleep(min(each.bound for each in self._live) / _BEATS)
                await self._beat(lines)
        finally:
            try:
                self._lose()
            finally:
                for each in lines:  # without waiting, amid which the job may be cancelled
                    each.close()

    async def _cover(self, lines: Sequence[Tracking]) -> bool:
        """Have all that is wanted told of; return False where that takes another connection."""
        watches, tracked = self._wanted(), self._tracked
        wanted = cover(prefix for each in watches for prefix in each.prefixes)
        more = tuple(each for each in wanted if not each.startswith(tuple(tracked)))
        if not watches or any(each.startswith(more) for each in tracked):
            return False
        if more:
            sent = monotonic()
            await self._within(self._timeout, [each.track(more) for each in lines])
            self._tracked, self._sent = [*tracked, *more], sent
        if not self._live:
            self._renew()
        begun = [each for each in watches if each not in self._live]
        self._live = watches
        for each in begun:
            each.tell(None)
        for each in watches:
            each.confirm(self._sent)
        if begun:
            self._note_live()
        return True

    def _renew(self) -> None:
        """Have everybody connect anew: what was open before may lead to an earlier primary.

        That may still answer, and know nothing of what is written from now on.
        """
        topology = self._client.topology
        if not isinstance(topology, ClusterTopology):
            for each in topology.primaries():
                each.renew(each.generation)

    async def _beat(self, lines: Sequence[Tracking]) -> None:
        """Ask all servers for a sign of life; what happened before was told by the time it comes.

        Such as what was pushed behind the answer was acknowledged to its writer later still.
        """
        sent, bound = monotonic(), min(each.bound for each in self._live)
        await self._within(bound, [*(each.beat() for each in lines), self._check_outline(bound)])
        self._sent, self._failures = sent, 0

    async def _check_outline(self, seconds: float) -> None:
        if await self._client.topology.outline(seconds) != self.outline:
            raise ConnectionLost(f"{self._name}: the primary, or the slots, are others by now")

    async def _within(self, seconds: float, bodies: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run `bodies` side by side, and raise what the first raises that fails.

        What has come while this thread did not run counts as having come in time.
        """
        tasks = [asyncio.create_task(each) for each in bodies]
        try:
            for patience in (seconds, _GRACE):
                done, late = await asyncio.wait(
                    tasks, timeout=patience, return_when=asyncio.FIRST_EXCEPTION
                )
                for each in done:
                    each.result()
                if not late:
                    return
            raise ConnectionLost(f"{self._name}: no answer within {seconds:g} s")
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _told(self, keys: Sequence[str] | None) -> None:
        self.pushes += 1
        for each in self._live:
            each.tell(keys)

    def _note_live(self) -> None:
        since, self._lost_at = self._lost_at, None
        self.error, self.refused = "", False
        if since is not None:
            emit(WatchRegained(self._name, monotonic() - since))

    def _lose(self) -> None:
        live, self._live = self._live, ()
        for each in live:
            each.lose()

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self.error = str(error) if isinstance(error, BackendUnavailable) else repr(error)
        refused, self.refused = self.refused, isinstance(error, TrackingRefused)
        if self.refused and not refused:
            emit(WatchRefused(self._name, self.error))
        if self._lost_at is None:
            self._lost_at = monotonic()
            self.losses += 1
            if not self.refused:
                emit(WatchLost(self._name, self.error))

    def _after_fork(self) -> None:
        leak_on_fork(self._lock, self._live, self._waker)
        self._begin()
        for each in self._watches:
            each.until = -inf


def cover(prefixes: Iterable[str]) -> list[str]:
    """Return those of `prefixes` that begin with no other, once each."""
    covering: list[str] = []
    for each in sorted(prefixes):
        if not (covering and each.startswith(covering[-1])):
            covering.append(each)
    return covering
