"""One computation per key, shared by threads and by tasks of any number of event loops.

Whoever misses a key joins its flight. The first to join leads: it computes in the
caller's thread (sync) or in a task of its own (async), stores, takes the flight off the
table and lands it. The others follow: they wait for what the leader brings.

- An `Exception` of the function is raised in all who wait, and is not kept.
- Cancellation and exits are not shared. A flight that ends that way, or whose event loop
  has died, is lost; those who waited join anew, and one of them leads.
- A task that computes is cancelled when nobody waits for it any more.
- A write to the key detaches the flight: it still serves those who wait, but what it
  brings is not to be stored.
- Nobody waits in a circle. Each caller knows the flights it computes for; if the flight
  it wants waits, over however many others, for one of those, it computes for itself. A
  function that needs its own key raises `ReentrantCall`.
- Nobody waits for longer than 30 seconds: then they compute for themselves.
- Sync code that a running loop waits for does not wait for a loop, which may need that
  very thread (code inside the loop, and in threads of asgiref's that serve one). Such
  callers share flights of their own; inside a running loop they do not wait even for those.

Whoever computes for itself stores nothing: the flight beside it will.
"""

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

from twofold.effects import Effects, Spawned, after_fork_in_child, new_lock, park
from twofold.errors import ReentrantCall

T = TypeVar("T")

_LOOK_EVERY = 1.0  # seconds between two looks at whether the leader still lives
_LONGEST = 30.0  # seconds that anybody waits: locks that nobody sees here may close a circle

_leading: "ContextVar[tuple[Flight[Any], ...]]" = ContextVar("twofold_leading", default=())


class Flight(Generic[T]):
    """One computation of one key, on its way."""

    def __init__(self, flights: "Flights", key: str, by_loop: bool = False) -> None:
        self.flights = flights
        self.key = key
        self.by_loop = by_loop
        self._detached = False
        self.leader: Spawned | None = None
        self.waiting = 0
        self.wants: list[Flight[Any]] = []
        self.done: Future[None] = Future()
        self._result: tuple[T] | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    def __repr__(self) -> str:
        state = "landed" if self.done.done() else "detached" if self._detached else "flying"
        return f"<Flight {self.key!r} {state} waiting={self.waiting}>"

    def detach(self) -> None:
        """Keep what this flight brings from being stored."""
        self._detached = True

    def detached(self) -> bool:
        """Tell whether its result is only for those who wait, and not to be stored."""
        return self._detached

    def land(self, result: T) -> None:
        """Give `result` to all who wait."""
        self._result = (result,)
        self._end()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in all who wait; what is no `Exception`, in the leader alone."""
        self._error, self._traceback = error, error.__traceback__
        self._end()

    def forget(self) -> None:
        """Let go of the outcome: the traceback of an error leads back to this flight."""
        self._result = self._error = self._traceback = None

    def _end(self) -> None:
        self.leader = None  # its task holds the context that holds this flight
        self.done.set_result(None)

    def lost(self) -> bool:
        """Tell whether there is no outcome to share, now or ever."""
        if self.done.done():
            return self._error is not None and not isinstance(self._error, Exception)
        return self.leader is not None and not self.leader.alive()

    def outcome(self) -> T:
        """Return or raise what the computation brought."""
        if self._result is not None:
            return self._result[0]
        if self._error is None:
            raise RuntimeError(f"{self!r} was asked for its outcome before it landed")
        # Each of the many who raise it would add its own frames to the one traceback.
        raise self._error.with_traceback(self._traceback)


Body: TypeAlias = Callable[[Effects, Flight[T]], Coroutine[Any, Any, T]]
"""Computes for a flight; it does not store once `flight.detached()`."""


class Flights:
    """The flights of one cache, by key."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, bool], Flight[Any]] = {}
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Flights {sorted({key for key, _ in list(self.table)})}>"

    async def share(self, io: Effects, key: str, body: Body[T]) -> tuple[T, bool]:
        """Run `body` once for all who ask for `key` meanwhile.

        Returns:
            What it returned, and whether it ran for this caller in the first place.
        """
        looks = 0
        while True:
            tired = looks * _LOOK_EVERY >= _LONGEST
            flight, leads = self._join(io, key, alone=tired)
            try:
                if leads:
                    flight.leader = io.spawn(self._lead(io, flight, body))
                while not await io.wait(flight.done, _LOOK_EVERY) and not flight.lost():
                    looks += 1
                    tired = not leads and looks * _LOOK_EVERY >= _LONGEST
                    if tired:
                        break
                if flight.done.done() and (leads or not flight.lost()):
                    return flight.outcome(), leads
            finally:
                self._leave(flight)
            if not tired:
                self._take_off(flight)

    def detach(self, key: str) -> None:
        """Keep what is being computed for `key` from being stored."""
        for lane in (False, True):
            flight = self.table.get((key, lane))
            if flight is not None:
                self._take_off(flight)

    def detach_all(self, prefix: str) -> None:
        """Detach the flights of all keys that begin with `prefix`."""
        for key, _ in list(self.table):
            if key.startswith(prefix):
                self.detach(key)

    def _join(self, io: Effects, key: str, alone: bool) -> tuple[Flight[Any], bool]:
        """Return the flight to share, and whether to lead it: one of its own goes alone."""
        mine = tuple(flight for flight in _leading.get() if not flight.done.done())
        if any(flight.flights is self and flight.key == key for flight in mine):
            raise ReentrantCall(
                f"the function that computes {key!r} asked for {key!r} itself, and would"
                " wait for its own result"
            )
        apart = not io.may_wait(for_loop=True)
        with _shared.lock:
            flight = self.table.get((key, False))
            lane = apart and flight is not None and flight.by_loop
            if lane:
                flight = self.table.get((key, True))
            if flight is None:
                flight = self.table[key, lane] = Flight(self, key, io.by_loop)
                flight.waiting = 1
                return flight, True
            if alone or not io.may_wait(for_loop=False) or _leads_to(flight, mine):
                own_one: Flight[Any] = Flight(self, key, io.by_loop)
                own_one.detach()
                own_one.waiting = 1
                return own_one, True
            flight.waiting += 1
            for own in mine:
                own.wants.append(flight)
            return flight, False

    async def _lead(self, io: Effects, flight: Flight[T], body: Body[T]) -> None:
        """Run `body` for `flight`, in a context of its own."""
        _leading.set((*_leading.get(), flight))
        try:
            result = await body(io, flight)
        except BaseException as exc:
            self._take_off(flight, store=True)
            flight.fail(exc)
            if not isinstance(exc, Exception):
                raise
        else:
            self._take_off(flight, store=True)
            flight.land(result)

    def _leave(self, flight: Flight[Any]) -> None:
        """Stop waiting; the last one out cancels a computation that a loop does."""
        with _shared.lock:
            for own in _leading.get():
                if flight in own.wants:
                    own.wants.remove(flight)
            flight.waiting -= 1
            deserted, done = not flight.waiting, flight.done.done()
        if deserted and done:
            flight.forget()
        elif deserted:
            self._take_off(flight)
            if flight.leader is not None:
                flight.leader.cancel()

    def _take_off(self, flight: Flight[Any], store: bool = False) -> None:
        """Let nobody join `flight` any more; unless `store`, it is not to be stored."""
        if not store:
            flight.detach()
        with _shared.lock:
            for lane in (False, True):
                if self.table.get((flight.key, lane)) is flight:
                    del self.table[flight.key, lane]

    def _after_fork(self) -> None:
        park(self.table)
        self.table = {}


def _leads_to(flight: Flight[Any], mine: tuple[Flight[Any], ...]) -> bool:
    """Tell whether `flight` waits, over however many others, for one of `mine`."""
    seen: set[Flight[Any]] = set()
    ahead = [flight]
    while ahead:
        current = ahead.pop()
        if current in mine:
            return True
        if current not in seen:
            seen.add(current)
            ahead.extend(current.wants)
    return False


class _Shared:
    """The lock over all tables and who waits for whom."""

    def __init__(self) -> None:
        self.lock = new_lock()
        after_fork_in_child(self)

    def _after_fork(self) -> None:
        park(self.lock)
        self.lock = new_lock()


_shared = _Shared()
