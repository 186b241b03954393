"""One computation per key in this process, shared by threads and tasks of any number of loops.

Whoever misses a key joins its flight. The first to join leads: it computes in the caller's
thread (sync) or in a task of its own (async), stores, removes the flight from the table and
resolves it. The others follow: they wait for what the leader brings.

- An `Exception` of the function is raised in all who wait, and is not kept.
- Cancellation and exits are not shared. A flight that ends that way, or whose event loop has
  died, is lost; those who waited join anew, and one of them leads.
- A task that computes is cancelled when nobody waits for it any more.
- A write to the key detaches the flight: it still serves those who wait, but nobody joins it.
- A follower takes what was computed from before its own call only if the store accepted it:
  another process may have changed the key before that call. Otherwise it joins anew.
- Deadlock avoidance: each caller knows the flights it leads, and never waits for one that
  waits, directly or through others, for one of those; it computes for itself. A function that
  needs its own key raises `ReentrantCall`.
- Nobody waits for longer than 30 seconds: then they compute for themselves.
- Sync code that a running loop waits for does not wait for a loop, which may need that
  very thread (code inside the loop, and in threads of asgiref's that serve one). Such
  callers share flights of their own; inside a running loop they do not wait even for those.

A caller that computes for itself does not store; the leader does.
"""

from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from itertools import count
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from twofold.effects import Effects, Spawned, after_fork_in_child, new_rlock, park
from twofold.errors import ReentrantCall

T = TypeVar("T")

_LOOK_EVERY = 1.0  # seconds between two looks at whether the leader still lives
_LONGEST = 30.0  # seconds that anybody waits: locks that nobody sees here may close a circle

_leading: "ContextVar[tuple[Flight[Any], ...]]" = ContextVar("twofold_leading", default=())

_moments: Final = count(1)
"""Numbers that tell which of two steps in this process came first."""


class Abandoned(BaseException):
    """What ends a flight whose leader was interrupted before it could say how."""


class Flight(Generic[T]):
    """One computation of one key, on its way."""

    def __init__(self, flights: "Flights", key: str, by_loop: bool = False) -> None:
        self.flights = flights
        self.key = key
        self.by_loop = by_loop
        self._detached = False
        self._begun = 0
        self._accepted = False
        self.leader: Spawned | None = None
        self.led_by = 0
        self.callers: set[int] = set()
        self.wants: list[Flight[Any]] = []
        self.done: Future[None] = Future()
        self._result: tuple[T] | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    def __repr__(self) -> str:
        state = "resolved" if self.done.done() else "detached" if self._detached else "computing"
        return f"<Flight {self.key!r} {state} waiting={self.waiting}>"

    @property
    def waiting(self) -> int:
        """How many callers wait for it, the leader's own among them."""
        return len(self.callers)

    def detach(self) -> None:
        """Keep what this flight brings from being stored."""
        with _shared.lock:  # so that no fill of `store_unless_detached` comes after it
            self._detached = True

    def detached(self) -> bool:
        """Tell whether its result is only for those who wait, and not to be stored."""
        return self._detached

    def store_unless_detached(self, write: Callable[..., bool], *args: Any) -> bool:
        """Have a store that never waits `write`; a `detach` comes before it, or after it."""
        with _shared.lock:
            return not self._detached and write(*args)

    def begin(self) -> None:
        """Note that what the result says holds from now on."""
        self._begun = next(_moments)

    def accept(self) -> None:
        """Note that the key has not been changed, by anybody, since the result was begun."""
        self._accepted = True

    def serves(self, asked: int) -> bool:
        """Tell whether a caller that asked at a moment may have the result."""
        return self._accepted or self._begun > asked or self._error is not None

    def resolve(self, result: T) -> None:
        """Give `result` to all who wait."""
        self._result = (result,)
        self._end()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in all who wait; what is no `Exception`, in the leader alone."""
        self._error, self._traceback = error, error.__traceback__
        self._end()

    def clear(self) -> None:
        """Let go of the outcome: the traceback of an error leads back to this flight."""
        self._result = self._error = self._traceback = None

    def _end(self) -> None:
        self.leader = None  # its task holds the context that holds this flight
        with suppress(InvalidStateError):  # the leader was interrupted as it started the task
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
            raise RuntimeError(f"{self!r} was asked for its outcome before it was resolved")
        # Each of the many who raise it would add its own frames to the one traceback.
        raise self._error.with_traceback(self._traceback)


Body: TypeAlias = Callable[[Effects, Flight[T]], Coroutine[Any, Any, T]]
"""Computes for a flight; it does not store once `flight.detached()`."""


class Flights:
    """The flights of one store, by key."""

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
        asked = next(_moments)
        looks = 0
        while True:
            timed_out = looks * _LOOK_EVERY >= _LONGEST
            joined: list[Flight[Any]] = []
            try:
                flight, leads = self._join(io, key, timed_out, joined)
                if leads:
                    flight.leader = io.spawn(self._lead(io, flight, body))
                while not await io.wait(flight.done, _LOOK_EVERY) and not flight.lost():
                    looks += 1
                    timed_out = not leads and looks * _LOOK_EVERY >= _LONGEST
                    if timed_out:
                        break
                if flight.done.done() and (leads or (not flight.lost() and flight.serves(asked))):
                    return flight.outcome(), leads
            finally:
                try:
                    self._leave(joined)
                finally:  # a signal's handler may have broken that off
                    self._leave(joined)
            if not timed_out:
                self._remove(flight)

    def detach(self, key: str) -> None:
        """Keep what is being computed for `key` from being stored."""
        for serves_loop in (False, True):
            flight = self.table.get((key, serves_loop))
            if flight is not None:
                self._remove(flight)

    def detach_all(self, prefix: str) -> None:
        """Detach the flights of all keys that begin with `prefix`."""
        for key, _ in list(self.table):
            if key.startswith(prefix):
                self.detach(key)

    def _join(
        self, io: Effects, key: str, alone: bool, joined: list[Flight[Any]]
    ) -> tuple[Flight[Any], bool]:
        """Return the flight to share, and whether to lead it: one of its own goes alone.

        It is in `joined` before it is anywhere else, so that whoever gave that can leave it.
        """
        mine = tuple(flight for flight in _leading.get() if not flight.done.done())
        if any(flight.flights is self and flight.key == key for flight in mine):
            raise ReentrantCall(
                f"the function that computes {key!r} asked for {key!r} itself, and would"
                " wait for its own result: give the inner call another key"
            )
        serves_loop = not io.may_wait(for_loop=True)
        with _shared.lock:
            flight = self.table.get((key, False))
            from_loop_thread = serves_loop and flight is not None and flight.by_loop
            if from_loop_thread:
                flight = self.table.get((key, True))
            if flight is None:
                flight = Flight(self, key, io.by_loop)
                flight.led_by = id(joined)
                flight.callers.add(id(joined))
                joined.append(flight)
                self.table[key, from_loop_thread] = flight
                return flight, True
            if alone or not io.may_wait(for_loop=False) or _waits_for(flight, mine):
                own_one: Flight[Any] = Flight(self, key, io.by_loop)
                own_one.detach()
                own_one.led_by = id(joined)
                own_one.callers.add(id(joined))
                joined.append(own_one)
                return own_one, True
            joined.append(flight)
            flight.callers.add(id(joined))
            for own in mine:
                own.wants.append(flight)
            return flight, False

    async def _lead(self, io: Effects, flight: Flight[T], body: Body[T]) -> None:
        """Run `body` for `flight`, in a context of its own."""
        try:
            _leading.set((*_leading.get(), flight))
            result = await body(io, flight)
        except BaseException as exc:
            self._remove(flight, store=True)
            flight.fail(exc)
            if not isinstance(exc, Exception):
                raise
        else:
            self._remove(flight, store=True)
            flight.resolve(result)

    def _leave(self, joined: list[Flight[Any]]) -> None:
        """Stop waiting; the last one out cancels a computation that a loop does."""
        while joined:
            flight = joined[-1]
            with _shared.lock:
                for own in _leading.get():
                    if flight in own.wants:
                        own.wants.remove(flight)
                flight.callers.discard(id(joined))
                deserted, done = not flight.callers, flight.done.done()
            if done:
                if deserted:
                    flight.clear()
            else:
                interrupted = flight.led_by == id(joined) and flight.leader is None
                if deserted or interrupted:
                    self._remove(flight)
                if interrupted:
                    flight.fail(Abandoned())
                elif deserted and flight.leader is not None:
                    flight.leader.cancel()
            joined.pop()

    def _remove(self, flight: Flight[Any], store: bool = False) -> None:
        """Let nobody join `flight` any more; unless `store`, it is not to be stored."""
        if not store:
            flight.detach()
        with _shared.lock:
            for serves_loop in (False, True):
                if self.table.get((flight.key, serves_loop)) is flight:
                    del self.table[flight.key, serves_loop]

    def _after_fork(self) -> None:
        park(self.table)
        self.table = {}


def _waits_for(flight: Flight[Any], mine: tuple[Flight[Any], ...]) -> bool:
    """Tell whether `flight` waits, directly or through others, for one of `mine`."""
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
    """The lock over all tables and who waits for whom; a finaliser may come in amid a step."""

    def __init__(self) -> None:
        self.lock = new_rlock()
        after_fork_in_child(self)

    def _after_fork(self) -> None:
        park(self.lock)
        self.lock = new_rlock()


_shared = _Shared()

_by_store: "WeakKeyDictionary[object, Flights]" = WeakKeyDictionary()


def flights_of(store: object) -> Flights:
    """Return the flights of a store, the same for all its aliases."""
    with _shared.lock:
        return _by_store.setdefault(store, Flights())
