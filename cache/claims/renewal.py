"""The claims of this process in stores, whose lives are renewed while their computations go on."""

from collections.abc import Callable
from typing import Final, Protocol

from twofold.backend import Stored
from twofold.claims.table import Claim
from twofold.effects import Effects, Tick, Ticker, after_fork_in_child, leak_on_fork, new_rlock
from twofold.stub import Stub, is_stub

LIFE = 30.0
"""Seconds after which another process may compute what this one has not finished."""

_RENEWALS = 4  # in a life, so that one may fail


class Living(Protocol):
    """A claim that is renewed while its computation goes on."""

    is_lost: Callable[[], bool]

    @property
    def here(self) -> Claim:
        """The claim that it goes with in this process."""

    def renew(self) -> None:
        """Begin its life anew; called in a thread of its own."""

    def forget(self) -> None:
        """Leave it to whoever meets it."""

    async def end(self, io: Effects) -> object:
        """Release it, even if the caller is cancelled; nothing happens the second time."""


class Live:
    """The claims whose computations go on in this process, and are renewed while they do.

    One call renews all of them, four times in a life, so that a claim costs no timer of its
    own; one that is younger than that period is left for the next time.
    """

    def __init__(self) -> None:
        self._claims: dict[bytes, Living] = {}
        self._old: frozenset[bytes] = frozenset()
        self._tick: Tick | None = None
        self._lock = new_rlock()  # a handler may come in while the thread starts
        after_fork_in_child(self)

    def __contains__(self, stub: object) -> bool:
        claim = self._claims.get(stub)  # type: ignore[call-overload]
        return claim is not None and not claim.is_lost()

    def holder_of(self, found: Stored | None) -> Claim | None:
        """Return the claim of this process that `found` goes with, if it is the stub of one."""
        if found is None or not is_stub(found):
            return None
        claim = self._claims.get(bytes(found))
        return None if claim is None else claim.here

    def add(self, stub: Stub, claim: Living) -> None:
        """Renew `claim` until its stub is removed here."""
        self._claims[stub] = claim
        if self._tick is None:
            with self._lock:
                if self._tick is None:
                    self._start()

    def _start(self) -> None:
        """Begin to renew; where no thread can start, what takes a life is not stored."""
        tick = _renewals.tick(self._renew, LIFE / _RENEWALS)
        try:
            tick.start()
            self._tick = tick
        except RuntimeError:
            tick.cancel()
        except BaseException:  # of a signal's handler: nobody would cancel it
            tick.cancel()
            raise

    def remove(self, stub: Stub) -> None:
        """Renew it no more; nothing happens the second time."""
        self._claims.pop(stub, None)

    def rest(self) -> None:
        """Let the thread end if there is nothing to renew."""
        with self._lock:
            if not self._claims and self._tick is not None:
                self._tick.cancel()
                self._tick = None

    def _renew(self) -> bool:
        for stub in self._old:
            claim = self._claims.get(stub)
            if claim is not None:
                claim.renew()
        with self._lock:
            self._old = frozenset(self._claims)
            if not self._old:
                self._tick = None
            return bool(self._old)

    def _after_fork(self) -> None:
        leak_on_fork(self._claims, self._tick, self._lock)
        self._claims, self._old, self._tick, self._lock = {}, frozenset(), None, new_rlock()


_renewals: Final = Ticker("twofold-claims")
live: Final = Live()
"""Those of this process."""


def rest() -> None:
    """Let the thread that renews claims end, unless there are some."""
    live.rest()
