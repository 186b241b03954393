"""One computation for all who miss a key together.

Whoever misses a key joins its flight. The first to join leads: it computes in the caller's
thread (sync) or in a task of its own (async), stores, removes the flight from the table and
resolves it. The others follow: they wait for what the leader brings.

- An `Exception` of the function is raised in all who wait, and is not kept; one that is kept is a
  result. Who asked after the key was changed, or a tag invalidated, joins anew.
- Cancellation, exits and what a signal's handler raised are not shared. A flight that ends that
  way, or whose event loop has died, is lost; those who waited join anew, and one of them leads.
- A task that computes is cancelled when nobody waits for it any more.
- A write to the key detaches the flight: it still serves those who wait.
- A follower takes what was computed from before its own call only if the store accepted it, and
  was asked to after that call: another process may have changed the key before the call.
  Otherwise it joins anew.
- A function that needs its own key raises `ReentrantCall`.
- Who waits with a patience leaves when that is over, and the computation goes on. So behind
  sync code it runs in a thread of its own.
- Nobody waits for longer than 30 seconds: then they compute for themselves, and do not store.
"""

import math
from collections.abc import Callable, Collection, Coroutine
from itertools import count
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from twofold.claims.table import Claim, Claims, Joined, held, hold, reentrant
from twofold.effects import Effects, Spawned
from twofold.interrupts import is_interrupt

T = TypeVar("T")

_LOOK_EVERY = 1.0  # seconds between two looks at whether the leader still lives
LONGEST = 30.0
"""Seconds that anybody waits: locks that nobody sees here may close a circle."""

_moments: Final = count(1)


def moment() -> int:
    """Return a number that tells which of two steps in this process came first."""
    return next(_moments)


class Abandoned(BaseException):
    """What ends a flight whose leader was interrupted before it could say how."""


class Late(Exception):
    """The computation takes longer than the caller's patience, and goes on."""


class Busy(Exception):
    """Nothing in the background is free to compute."""


class Flight(Claim, Generic[T]):
    """One computation of one key, on its way."""

    __slots__ = (
        "_accepted",
        "_begun",
        "_error",
        "_kept",
        "_limit",
        "_resolved",
        "_result",
        "_shared",
        "_traceback",
        "goes_on",
        "leader",
    )

    def __init__(self, claims: Claims, key: str, by_loop: bool = False) -> None:
        super().__init__(claims, key, by_loop)
        self.leader: Spawned | None = None
        self.goes_on: bool = False
        """Whether it is to come to its end though nobody waits for it."""
        self._begun = 0
        self._kept: Collection[type[Exception]] = ()
        self._limit = math.inf
        self._accepted = 0.0
        self._resolved = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._shared = True
        self._traceback: TracebackType | None = None

    def begin(self, kept: Collection[type[Exception]] = ()) -> None:
        """Note that what the result says holds from now on; errors of `kept` are results, too."""
        self._begun, self._kept = moment(), kept

    def accept(self, until: float = math.inf) -> None:
        """Note that nobody changed the key from when the result was begun to a moment.

        Who asks after that may do so because it was changed in between.
        """
        self._accepted = until

    def limit(self, asked: float) -> None:
        """Note that an error is only for who asked before a moment, or before it was begun."""
        self._limit = asked

    def serves(self, asked: int) -> bool:
        """Tell whether a caller that asked at a moment may have the result."""
        if self._accepted > asked or self._begun > asked:
            return True
        is_shared = self._error is not None and type(self._error) not in self._kept
        return is_shared and self._limit > asked

    def resolve(self, result: T) -> None:
        """Give `result` to all who wait."""
        self._result, self._resolved = result, True
        self.end()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in all who wait; what says nothing to them, in the leader alone."""
        own = isinstance(error, Late) or not isinstance(error, Exception)
        self._shared = not (own or is_interrupt(error))
        self._error, self._traceback = error, error.__traceback__
        self.end()

    def end(self) -> None:
        self.leader = None  # its task holds the context that holds this flight
        super().end()

    def left(self, by_holder: bool, deserted: bool) -> None:
        if self.ended:
            if by_holder:  # whom a signal's handler may have interrupted while it woke others
                self.end()
            if deserted:  # the traceback of an error leads back to this flight
                self._result = self._error = self._traceback = None
            return
        interrupted = by_holder and (self.leader is None or self.is_dead())
        if self.goes_on and not interrupted:
            return
        if interrupted:
            self.abandon()
        elif deserted:
            self.detach()
            self.claims.remove(self)
            if self.leader is not None:
                self.leader.cancel()

    def abandon(self) -> None:
        """Wake all who wait, whatever kept its leader, who is gone, from doing so."""
        if self.ended:
            self.end()
            return
        self.detach()
        self.claims.remove(self)
        self.fail(Abandoned())

    def lost(self) -> bool:
        """Tell whether there is no outcome to share, now or ever."""
        if self.ended:
            return not self._shared
        return self.is_dead()

    def is_dead(self) -> bool:
        leader = self.leader
        return not self.ended and leader is not None and not leader.alive()

    def outcome(self) -> T:
        """Return or raise what the computation brought."""
        if self._resolved:
            return self._result  # type: ignore[return-value]
        if self._error is None:
            raise RuntimeError(f"{self!r} was asked for its outcome before it was resolved")
        # Each of the many who raise it would add its own frames to the one traceback.
        raise self._error.with_traceback(self._traceback)


Body: TypeAlias = Callable[[Effects, Flight[T]], Coroutine[Any, Any, T]]
"""Computes for a flight; it does not store once `flight.detached()`."""


async def share(
    io: Effects, claims: Claims, key: str, body: Body[T], patience: float | None = None
) -> tuple[T, bool]:
    """Run `body` once for all who ask for `key` meanwhile.

    Args:
        io: the face of the caller.
        claims: those on the keys of the store.
        key: what is asked for.
        body: computes it.
        patience: seconds to wait at most, None without end; then `body` goes on by itself.

    Returns:
        What it returned, and whether it ran for this caller in the first place.

    Raises:
        ReentrantCall: the caller is computing `key` itself.
        Late: the patience is over.
        Busy: nothing in the background is free to run it.
    """
    asked = moment()
    until = math.inf if patience is None else monotonic() + patience
    looks = 0
    while True:
        timed_out = looks * _LOOK_EVERY >= LONGEST
        refuse_reentry(claims, key)
        joined: Joined = []
        try:
            own: Flight[T] = Flight(claims, key, io.by_loop)
            flight = claims.join(io, own, joined, alone=timed_out)
            leads = flight is own
            if leads and patience is None:
                flight.leader = task = io.spawn(_lead(io, flight, body), flight.abandon)
                if task is not None:
                    await io.join(task)
            elif leads:
                await _start_behind(io, flight, body)
            waits = not leads or patience is not None
            while waits and not await io.wait(flight, pause(until)) and not flight.lost():
                if monotonic() >= until:
                    flight.goes_on = True
                    raise Late
                looks += 1
                timed_out = not leads and looks * _LOOK_EVERY >= LONGEST
                if timed_out:
                    break
            if flight.ended and (leads or (not flight.lost() and flight.serves(asked))):
                return flight.outcome(), leads
        except Abandoned:  # in a loop that goes on: its task was not this caller's
            pass
        finally:
            try:
                claims.leave(joined)
            finally:  # a signal's handler may have broken that off
                claims.leave(joined)
        if not timed_out:
            flight.detach()
            claims.remove(flight)


def forget_lost(claims: Claims, key: str) -> bool:
    """Let nobody join what computes `key` if that cannot end any more; tell whether any was so."""
    there = claims.table.get(key, ())
    lost = [each for each in there if isinstance(each, Flight) and each.lost()]
    for flight in lost:
        flight.detach()
        claims.remove(flight)
    return bool(lost)


async def start(io: Effects, claims: Claims, key: str, body: Body[Any]) -> bool:
    """Have `body` run in the background, unless something computes `key` already.

    Return whether it is being computed now; False if nothing was free to run it.
    """
    joined: Joined = []
    try:
        own: Flight[Any] = Flight(claims, key, io.by_loop)
        if claims.join(io, own, joined, waits=False) is own and not own.detached():
            await _start_behind(io, own, body, alone=True)
    except Busy:
        return False
    finally:
        try:
            claims.leave(joined)
        finally:
            claims.leave(joined)
    return True


async def _start_behind(
    io: Effects, flight: Flight[T], body: Body[T], *, alone: bool = False
) -> None:
    """Run `body` in the background; `alone`: the caller, and what it holds, does not wait."""
    flight.goes_on = True
    lead = _lead(io, flight, body, alone=alone)
    leader = await io.behind(lead, flight.claims, flight.abandon)
    if leader is None:
        flight.goes_on = False
        raise Busy
    flight.leader = None if flight.ended else leader  # which may have ended by now


def pause(until: float) -> float:
    """Return the seconds until the next look at whether the leader lives, or to a time."""
    return max(0.0, min(_LOOK_EVERY, until - monotonic()))


async def _lead(io: Effects, flight: Flight[T], body: Body[T], *, alone: bool = False) -> None:
    """Run `body` for `flight`, in a context of its own."""
    try:
        hold(flight, alone=alone)
        result = await body(io, flight)
    except BaseException as exc:
        flight.claims.remove(flight)
        flight.fail(exc)
        if not isinstance(exc, Exception):
            raise
    else:
        flight.claims.remove(flight)
        flight.resolve(result)


def refuse_reentry(claims: Claims, key: str) -> None:
    """Raise `ReentrantCall` if the caller computes `key` itself."""
    for claim in held():
        if claim.claims is claims and claim.key == key:
            raise reentrant(key)
