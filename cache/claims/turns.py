"""Turns: of those who miss the same thing together one computes, and the others wait.

Unlike a flight, a turn runs nothing and carries no result. Whoever takes it computes in a
request of its own, in its own task and context, stores what others may have, and releases the
turn; those who waited look again. Then

- what was stored is found;
- where nothing may be shared, each computes without a further wait, and so do all who
  come in the next seconds: responses that cannot be shared must not be serialised;
- where there was no answer (an error, a client that went away), the next one takes a turn.

A turn has its time; when that is over, whoever waits takes it.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from twofold.claims.flights import Late
from twofold.claims.table import Claim, Claims, Joined, hold
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import Effects, after_fork_in_child, leak_on_fork, new_lock

T = TypeVar("T")

LONGEST = 30.0
"""Seconds that a turn has, and that one caller waits at most, for however many turns."""

_UNSHARED = 10.0  # seconds for which what cannot be shared is remembered
_MOST_UNSHARED = 4096  # keys

Look: TypeAlias = Callable[[Effects], Coroutine[Any, Any, tuple[T | None, str]]]
"""Looks into the cache: returns what is there, or None and the key of what is missing."""

Again: TypeAlias = Callable[[Effects, "Turn"], Coroutine[Any, Any, tuple[T | None, str]]]
"""Does the same for the holder of a turn."""


class Turn(Claim):
    """The right of one caller to compute `key`; it is to be released, whatever happens.

    Others wait for it if it `leads`, until `ends` by the monotonic clock.
    """

    __slots__ = ("_joined", "_shared", "_turns", "leads")

    def __init__(
        self, turns: "Turns", claims: Claims, key: str, group: str, by_loop: bool, ends: float
    ) -> None:
        super().__init__(claims, key, by_loop, group, ends)
        self.leads: bool = False
        self._turns = turns
        self._shared: bool | None = None
        self._joined: Joined = []

    @property
    def released(self) -> bool:
        """Whether it is over."""
        return self.ended

    def is_over(self) -> bool:
        """Tell whether it was released, or has had its time."""
        return self.released or self._turns.is_past(self.ends)

    def release(self, shared: bool | None = None) -> None:
        """Let those who wait go on; a second call does nothing.

        Args:
            shared: whether what was computed is where they will find it; False if it is
                for nobody else, None if nothing was computed.
        """
        if not self.released:
            self._shared = shared
            self.claims.remove(self)
            self._turns.remember(self.key + self.group, shared)
        self.end()
        self.claims.leave(self._joined)  # a signal's handler may have broken off the first call

    async def wait(self, io: Effects, seconds: float) -> bool | None:
        """Wait for it, and return what it was released with; None if it was not."""
        await io.wait(self, seconds)
        return self._shared


class Turns:
    """The turns of one user of a cache: threads and any number of event loops.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._unshared: OrderedDict[str, float] = OrderedDict()
        after_fork_in_child(self)

    async def find(
        self,
        io: Effects,
        claims: Claims,
        look: Look[T],
        taken: list[Turn],
        group: str = "",
        again: "Again[T] | None" = None,
        patience: float | None = None,
    ) -> tuple[T | None, Turn | None]:
        """Return what `look` finds, perhaps after another has stored it; or the turn to compute it.

        Exactly one of the two is None.

        Args:
            io: the face of the caller.
            claims: where the keys are claimed.
            look: looks into the cache.
            taken: where the turn is noted before it is taken: whatever comes, also an exception
                out of this call, who gave the list releases what is in it.
            group: callers of one key in several groups do not wait for each other.
            again: looks once more for the holder of a turn that others wait for; `look` if
                absent.
            patience: seconds to wait at most; None to compute what takes others too long.

        Raises:
            Late: the patience is over.
        """
        waited: set[str] = set()
        longest = LONGEST if patience is None else min(patience, LONGEST)
        patient_until = self._clock.monotonic() + longest
        found, key = await look(io)
        while found is None:
            left = patient_until - self._clock.monotonic()
            own = Turn(self, claims, key, group, io.by_loop, self._clock.monotonic() + LONGEST)
            taken.append(own)
            turn = self._take(io, own, alone=key in waited or (left <= 0 and patience is None))
            if turn is own:
                found, missing = await self._look_again(io, look, again, turn)
                if found is None and missing == key:
                    return None, turn
                key = missing
            else:
                if left <= 0:
                    raise Late
                left = min(left, turn.ends - self._clock.monotonic())
                if await turn.wait(io, left) is not None:
                    waited.add(key)
            own.release()
            taken.remove(own)
            if turn is not own:
                found, key = await look(io)
        return found, None

    async def _look_again(
        self, io: Effects, look: Look[T], again: "Again[T] | None", turn: Turn
    ) -> tuple[T | None, str]:
        """Look once more: another may have stored and released just before `turn` was taken."""
        if not turn.leads:
            return None, turn.key
        return await (look(io) if again is None else again(io, turn))

    def _take(self, io: Effects, own: Turn, alone: bool) -> Turn:
        """Return `own`, or another's turn where waiting for it is safe and of use."""
        now = self._clock.monotonic()
        with self._lock:
            alone = alone or self._unshared.get(own.key + own.group, now) > now
        turn = own.claims.join(io, own, own._joined, now=now, alone=alone)
        if turn is own:
            own.leads = not own.detached() and not alone
            hold(own)
        return turn

    def is_past(self, moment: float) -> bool:
        """Tell whether a monotonic time has passed."""
        return self._clock.monotonic() >= moment

    def remember(self, key: str, shared: bool | None) -> None:
        """Remember whether waiting for a key is of use."""
        with self._lock:
            if shared is not None:
                self._unshared.pop(key, None)
            if shared is False:
                self._unshared[key] = self._clock.monotonic() + _UNSHARED
                if len(self._unshared) > _MOST_UNSHARED:
                    self._unshared.popitem(last=False)

    def _after_fork(self) -> None:
        leak_on_fork(self._lock)
        self._lock = new_lock()
