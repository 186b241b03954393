"""Waiting for what another process computes: how often to look, how long, and what is told of it.

A claim of this process that another cache of the store made is waited for as well, unless its
holder waits for the caller.
"""

import random
from collections.abc import Iterator
from time import monotonic
from typing import Final, Literal

from twofold.backend import Stored
from twofold.claims import renewal
from twofold.claims.table import Joined, closes_circle
from twofold.effects import Effects
from twofold.events import ClaimWaited, emit
from twofold.stub import is_stub

_LONG = 1.0  # seconds of waiting that an event tells of

_FIRST_PAUSE = 0.002  # seconds between two looks, doubled each time
_LONGEST_PAUSE = 0.1

_MOST_HUNG = 1024
_hung: Final[dict[bytes, None]] = {}
"""Stubs that were waited for to no avail: nobody here waits for one of them again."""


def pauses() -> Iterator[float]:
    """Return how long to wait between the looks at another's claim, over its whole life."""
    pause, total = _FIRST_PAUSE, 0.0
    while total < renewal.LIFE:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311 - it only spreads looks
        total += pause
        pause = min(2 * pause, _LONGEST_PAUSE)


class Wait:
    """One caller's waiting for stubs of others; it is to be left, whatever happens.

    Args:
        owner: the alias of the cache, for the event of a long wait.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._joined: Joined = []
        self._key = ""
        self._began = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key!r} {len(self._joined)} claims of this process>"

    def is_of_use(self, io: Effects, found: Stored) -> bool:
        """Tell whether to wait for the stub that was found; its holder is noted then."""
        if not io.may_wait(for_loop=True) or (is_stub(found) and found in _hung):
            return False
        holder = renewal.live.holder_of(found)
        return holder is None or not closes_circle(holder, self._joined)

    def begin(self, key: str) -> None:
        """Note that the caller waits, if it is the first time."""
        if not self._began:
            self._key, self._began = key, monotonic()

    def end(self, ended: Literal["value", "claimed", "in vain"]) -> None:
        """Tell of a wait that was long, or in vain."""
        seconds, waited = monotonic() - self._began, bool(self._began)
        self._began = 0.0
        if waited and (seconds >= _LONG or ended == "in vain"):
            emit(ClaimWaited(self._owner, self._key, seconds, ended))

    def leave(self) -> None:
        """Wait for no claim of this process any more."""
        if self._joined:
            self._joined[0].claims.leave(self._joined)


def remember_hung(found: Stored) -> None:
    """Note that a stub was waited for to no avail."""
    if is_stub(found):
        if len(_hung) >= _MOST_HUNG:
            _hung.clear()
        _hung[found] = None
