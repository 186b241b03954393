"""Turns: of those who miss the same thing together one computes, and the others wait.

Unlike a flight (`twofold.flight`), a turn runs nothing and carries no result. Who takes it
computes in a request of its own, in its own task and context, stores what others may
have, and releases the turn; who waited looks again. Then

- what was stored is found;
- where nothing may be shared, each computes without a further wait, and so do all who
  come in the next seconds: what cannot be shared is not to be done one after the other;
- where there was no answer (an error, a client that went away), the next one takes a turn.

Nobody waits in a circle: who has a turn waits for no other. Sync code that a running loop
waits for does not wait for a loop, as in `twofold.flight`. And a turn has its time; when
that is over, whoever waits takes it.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import Effects, after_fork_in_child, new_lock, park

T = TypeVar("T")

LONGEST = 30.0
"""Seconds that a turn has, and that one caller waits at most, for however many turns."""

_APART = 10.0  # seconds for which what cannot be shared is remembered
_MOST_APART = 4096  # keys

_held: "ContextVar[tuple[Turn, ...]]" = ContextVar("twofold_turns", default=())

Look: TypeAlias = Callable[[Effects], Coroutine[Any, Any, tuple[T | None, str]]]
"""Looks into the cache: returns what is there, or None and the key of what is missing."""


class Turn:
    """The right of one caller to compute `key`; it is to be released, whatever happens.

    Others wait for it if it `leads`, until `ends` by the monotonic clock.
    """

    __slots__ = ("_done", "_shared", "_turns", "by_loop", "ends", "key", "leads")

    def __init__(self, turns: "Turns", key: str, by_loop: bool, ends: float) -> None:
        self.key: str = key
        self.by_loop: bool = by_loop
        self.ends: float = ends
        self.leads: bool = False
        self._turns = turns
        self._shared: bool | None = None
        self._done: Future[None] = Future()

    def __repr__(self) -> str:
        return f"<Turn {self.key!r} {'released' if self.released else 'held'}>"

    @property
    def released(self) -> bool:
        """Whether it is over."""
        return self._done.done()

    def release(self, shared: bool | None = None) -> None:
        """Let those who wait go on; a second call does nothing.

        Args:
            shared: whether what was computed is where they will find it; False if it is
                for nobody else, None if nothing was computed.
        """
        if not self.released:
            self._shared = shared
            self._turns._end(self, shared)
            self._done.set_result(None)

    async def wait(self, io: Effects, seconds: float) -> bool | None:
        """Wait for it, and return what it was released with; None if it was not."""
        await io.wait(self._done, seconds)
        return self._shared


class Turns:
    """The turns of one cache in this process: threads and any number of event loops.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._table: dict[tuple[str, bool], Turn] = {}
        self._apart: OrderedDict[str, float] = OrderedDict()
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Turns {sorted({key for key, _ in list(self._table)})}>"

    async def find(self, io: Effects, look: Look[T]) -> tuple[T | None, Turn | None]:
        """Return what `look` finds, perhaps after another has stored it; or the turn to compute it.

        Exactly one of the two is None.
        """
        waited: set[str] = set()
        patient_until = self._clock.monotonic() + LONGEST
        found, key = await look(io)
        while found is None:
            patience = patient_until - self._clock.monotonic()
            turn, mine = self._take(io, key, alone=key in waited or patience <= 0)
            if mine:
                found, missing = await self._look_again(io, look, turn)
                if found is None and missing == key:
                    return None, turn
                turn.release()
                key = missing
            else:
                if (
                    await turn.wait(io, min(patience, turn.ends - self._clock.monotonic()))
                    is not None
                ):
                    waited.add(key)
                found, key = await look(io)
        return found, None

    async def _look_again(self, io: Effects, look: Look[T], turn: Turn) -> tuple[T | None, str]:
        """Look once more: another may have stored and released just before `turn` was taken."""
        if not turn.leads:
            return None, turn.key
        try:
            return await look(io)
        except BaseException:
            turn.release()
            raise

    def _take(self, io: Effects, key: str, alone: bool) -> tuple[Turn, bool]:
        """Return a turn, and whether it is the caller's: another's only where waiting is safe."""
        now = self._clock.monotonic()
        mine = tuple(turn for turn in _held.get() if turn.ends > now and not turn.released)
        taken = Turn(self, key, io.by_loop, now + LONGEST)
        with self._lock:
            alone = alone or self._apart.get(key, now) > now
            lane, turn = False, self._table.get((key, False))
            if turn is not None and turn.by_loop and not io.may_wait(for_loop=True):
                lane, turn = True, self._table.get((key, True))
            if turn is not None and turn.ends > now:
                if not alone and not mine and io.may_wait(for_loop=False):
                    return turn, False
            elif not alone:
                taken.leads = True
                self._table[key, lane] = taken
        _held.set((*mine, taken))
        return taken, True

    def _end(self, turn: Turn, shared: bool | None) -> None:
        """Take `turn` off the table, and remember whether waiting for its key is of use."""
        with self._lock:
            for lane in (False, True):
                if self._table.get((turn.key, lane)) is turn:
                    del self._table[turn.key, lane]
            if shared is not None:
                self._apart.pop(turn.key, None)
            if shared is False:
                self._apart[turn.key] = self._clock.monotonic() + _APART
                if len(self._apart) > _MOST_APART:
                    self._apart.popitem(last=False)

    def _after_fork(self) -> None:
        park(self._lock, self._table)
        self._lock, self._table = new_lock(), {}
