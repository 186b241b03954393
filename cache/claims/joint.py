"""Flights of several keys with one leader: one call of a function brings them all.

Who leads some of the keys follows the others. It waits for those only when its own have been
brought, since whoever holds a claim while it waits for another may close a circle.
"""

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from twofold.claims.flights import Busy, Flight, pause
from twofold.claims.table import Claims, Joined, held, hold_all, reentrant
from twofold.effects import Effects
from twofold.interrupts import is_interrupt

T = TypeVar("T")


class JointFlight(Flight[T]):
    """One of several flights, whose leader stops when nobody waits for any of them."""

    __slots__ = ("_crew",)

    def __init__(
        self, claims: Claims, key: str, by_loop: bool, crew: "list[JointFlight[T]]"
    ) -> None:
        super().__init__(claims, key, by_loop)
        self._crew = crew

    def left(self, by_holder: bool, deserted: bool) -> None:
        if self.ended or self.goes_on or self.leader is None:
            super().left(by_holder, deserted)
        elif deserted:
            going = [each for each in self._crew if not each.ended]
            if not any(each.waiting or each.goes_on for each in going):
                for each in going:
                    Flight.left(each, by_holder=False, deserted=True)

    def disband(self) -> None:
        """Forget the others of its crew, which have ended; they would keep each other alive."""
        self._crew.clear()

    def finish(self, result: T) -> None:
        """Let nobody join it any more, and give `result` to all who wait."""
        self.claims.remove(self)
        self.resolve(result)

    def give_up(self, error: BaseException) -> None:
        """Let nobody join it any more, and raise `error` in all who wait; see `fail`."""
        self.claims.remove(self)
        self.fail(error)


Body: TypeAlias = Callable[[Effects, list[JointFlight[T]]], Coroutine[Any, Any, None]]
"""Computes for flights, and finishes each."""


def join_all(
    io: Effects,
    claims: Claims,
    keys: Iterable[str],
    joined: Joined,
    *,
    alone: bool = False,
    waits: bool = True,
) -> tuple[list[JointFlight[T]], dict[str, Flight[T]]]:
    """Return the flights that the caller is to lead, and those of all keys; see `Claims.join`.

    Raises:
        ReentrantCall: the caller is computing one of the keys.
    """
    mine = {claim.key for claim in held() if claim.claims is claims}
    led: list[JointFlight[T]] = []
    crew: list[JointFlight[T]] = []
    flights: dict[str, Flight[T]] = {}
    for key in keys:
        if key in mine and waits:
            raise reentrant(key)
        own = JointFlight[T](claims, key, io.by_loop, crew)
        other: Flight[T] = claims.join(io, own, joined, alone=alone, waits=waits)
        if other is own:
            led.append(own)
            crew.append(own)
        flights[key] = other
    return led, flights


async def lead(io: Effects, flights: list[JointFlight[T]], body: Body[T]) -> None:
    """Run `body` for flights that the caller leads, and wait until it ends."""
    task = io.spawn(_lead(io, flights, body), partial(_abandon, flights))
    for flight in flights:
        flight.leader = None if flight.ended else task
    if task is not None:
        await io.join(task)


async def lead_behind(
    io: Effects, flights: list[JointFlight[T]], body: Body[T], *, alone: bool = False
) -> None:
    """Run `body` in the background; `alone`: the caller, and what it holds, does not wait.

    Raises:
        Busy: nothing is free to run it.
    """
    for flight in flights:
        flight.goes_on = True
    lead, over = _lead(io, flights, body, alone=alone), partial(_abandon, flights)
    leader = await io.behind(lead, flights[0].claims, over)
    for flight in flights:
        flight.goes_on = leader is not None
        flight.leader = None if flight.ended else leader
    if leader is None:
        raise Busy


def _abandon(flights: list[JointFlight[Any]]) -> None:
    for flight in flights:
        flight.abandon()


async def _lead(
    io: Effects, flights: list[JointFlight[T]], body: Body[T], *, alone: bool = False
) -> None:
    """Run `body` for `flights`, in a context of its own."""
    try:
        hold_all(flights, alone=alone)
        await body(io, flights)
    except BaseException as exc:
        for flight in flights:
            if not flight.ended:
                flight.give_up(exc)
        # What a signal's handler raised is the caller's, who may have all results by now.
        if not isinstance(exc, Exception) or (not io.by_loop and is_interrupt(exc)):
            raise
    finally:
        flights[0].disband()


async def wait_for(io: Effects, flight: Flight[Any], until: float) -> bool:
    """Wait until `flight` ends or is lost, to a monotonic time at most; tell whether it has."""
    while not (flight.ended or flight.lost()):
        if monotonic() >= until:
            return False
        await io.wait(flight, pause(until))
    return True
