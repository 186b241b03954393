"""What a cache counts, always: plain ints, without a lock or a look at a clock.

Two threads that count in the same moment may count once. That is the price of a hit that
takes no lock, and is too small to matter in these numbers.
"""

from dataclasses import dataclass
from typing import Protocol

from twofold.backend import ServerState
from twofold.watch import WatchState


@dataclass(frozen=True)
class NearStats:
    """What a near tier has and has seen, in this process."""

    hits: int
    """Values that were read from it."""
    entries: int
    bytes: int
    evicted: int
    """Entries removed to make room."""
    staleness: float | None
    """Seconds for which a value may be served that others have changed in the store; None without
    end."""
    watch: WatchState | None
    """How it is told of foreign writes; None where it is not."""


@dataclass(frozen=True)
class Stats:
    """What a cache has seen since it was built, in this process."""

    hits: int
    """Values that were there: of `get`, `get_or_set`, those of many keys, `@cached` and pages."""
    stale_hits: int
    """Those of the hits whose value was stale."""
    misses: int
    """Values that these did not find."""
    stores: int
    """Values stored, computed ones included."""
    deletes: int
    """Keys removed one by one, and not by `clear`."""
    computations: int
    """Functions run by `get_or_set`, `get_or_set_many` and `@cached`."""
    refreshes: int
    """Those of the computations that nobody had to wait for, begun in the background."""
    joined: int
    """Callers who were given another caller's computation."""
    failures: int
    """Those of the computations that ended in an exception."""
    invalidations: int
    """Tags that were invalidated."""
    unserializable: int
    """Those whose result could not be stored, and was returned alone."""
    damaged: int
    """Entries that could not be verified or decoded, and were misses."""
    unavailable: int
    """Operations that an outage turned into misses or no-ops."""
    evicted: int | None = None
    """Entries that the store removed to make room, for whichever cache; None if it cannot tell."""
    servers: tuple[ServerState, ...] = ()
    """The store's servers, as this process knows them."""
    near: NearStats | None = None
    """The copies near of it; None without `NEAR`."""

    @property
    def hit_ratio(self) -> float:
        """The share of hits among what was asked for; 0.0 before anything was."""
        return self.hits / (self.hits + self.misses or 1)


class Hits(Protocol):
    """Where hits are counted."""

    hits: int


class Counts:
    """The numbers of one cache that change as it is used."""

    __slots__ = (
        "computations",
        "deletes",
        "failures",
        "hits",
        "invalidations",
        "joined",
        "misses",
        "refreshes",
        "stale_hits",
        "stores",
        "unserializable",
    )

    def __init__(self) -> None:
        self.hits: int = 0
        self.stale_hits: int = 0
        self.misses: int = 0
        self.stores: int = 0
        self.deletes: int = 0
        self.computations: int = 0
        self.refreshes: int = 0
        self.joined: int = 0
        self.failures: int = 0
        self.invalidations: int = 0
        self.unserializable: int = 0

    def __repr__(self) -> str:
        counted = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"<{type(self).__name__} {counted}>"
