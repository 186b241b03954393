"""Who tells a process of the changes that others make to a store.

A store that can do so has `Backend.watch`. What a process keeps near of such a store is as good
as the store's own answer while the watch is live, but for the time that a change takes to be
told of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class WatchState:
    """How a watch does."""

    live: bool
    """Whether changes are told of."""
    bound: float
    """Seconds within which each change is told of, or else the watch is known to be lost."""
    pushes: int
    """Messages of changes that came so far; one may name many keys."""
    losses: int
    """How often it was lost so far."""
    error: str
    """Why it is not live; empty while it is, and before it could be for the first time."""
    refused: bool = False
    """See `Watch.refused`."""


class Watcher(Protocol):
    """Is told what happened, in some thread of the store's; it must neither wait nor raise.

    The store refers to it weakly: who watches keeps it, and the watch ends with it.
    """

    def changed(self, keys: Sequence[str]) -> None:
        """Take note that `keys` were written, deleted or evicted by anybody, its process too."""

    def flushed(self) -> None:
        """Take note that anything may have changed.

        That is also said whenever the watch becomes live: from then on every change is told of.
        """

    def lost(self) -> None:
        """Take note that changes are not told of, until `flushed`."""


class Watch(Protocol):
    """Tells a `Watcher` of the changes that anybody makes to keys with some prefixes."""

    def valid_until(self) -> float:
        """Return the monotonic time up to which what is kept near may be served.

        All that changed more than the bound before that time has been told of. It is -inf while
        the watch is not live.
        """

    @property
    def refused(self) -> bool:
        """Whether the store turned out not to tell of changes, or not to this user.

        It is then as if there were no watch, until it is live after all.
        """

    @property
    def state(self) -> WatchState:
        """How it does."""

    def close(self) -> None:
        """End it: the watcher is told nothing more, but for what is being told just now."""
