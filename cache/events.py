"""What happens rarely to caches and their stores, as events for subscribers.

    unsubscribe = events.subscribe(print)

The log is a subscriber like others. Hits, misses and all else that is frequent is counted, and
no event: see `Cache.stats`.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from twofold.display import printable

__all__ = [
    "BreakerClosed",
    "BreakerOpened",
    "CacheBypassed",
    "ClaimWaited",
    "EntriesDamaged",
    "Event",
    "OutageBegan",
    "OutageEnded",
    "RefreshFailed",
    "ResultNotStored",
    "ResultOfOtherType",
    "StoreFailed",
    "Subscriber",
    "WatchLost",
    "WatchRefused",
    "WatchRegained",
    "subscribe",
]


@dataclass(frozen=True)
class Event:
    """Something that happened; `str()` of it is a sentence for people, which may change."""

    @property
    def level(self) -> int:
        """The level at which it is logged."""
        return logging.WARNING

    @property
    def logger(self) -> str:
        """The name of the logger."""
        return "twofold"


Subscriber: TypeAlias = Callable[[Event], object]


@dataclass(frozen=True)
class OutageBegan(Event):
    """A store failed that had not failed before, and its cache goes on without it."""

    cache: str
    """The alias."""
    error: str
    operation: str = ""
    """What fails, where it is not all of the cache."""

    def __str__(self) -> str:
        fails = f"fails to {self.operation}" if self.operation else "is unavailable"
        return f"cache {self.cache!r} {fails}, going on without it: {self.error}"


@dataclass(frozen=True)
class OutageEnded(Event):
    """What failed works again."""

    cache: str
    seconds: float
    """How long it lasted."""
    failures: int
    """How many operations failed."""
    operation: str = ""

    def __str__(self) -> str:
        works = f"succeeds to {self.operation}" if self.operation else "is available"
        return (
            f"cache {self.cache!r} {works} again after {self.seconds:.3g} s and"
            f" {self.failures} failed operations"
        )


@dataclass(frozen=True)
class BreakerOpened(Event):
    """A server is not asked for a moment, since it failed."""

    server: str
    error: str

    @property
    def level(self) -> int:
        return logging.INFO

    def __str__(self) -> str:
        return f"the circuit breaker of {self.server} is open: {self.error}"


@dataclass(frozen=True)
class BreakerClosed(Event):
    """A server has answered, and is asked again."""

    server: str

    @property
    def level(self) -> int:
        return logging.INFO

    def __str__(self) -> str:
        return f"the circuit breaker of {self.server} is closed: it has answered"


@dataclass(frozen=True)
class EntriesDamaged(Event):
    """An entry could not be read, for the first time in this cache; others are counted alone."""

    cache: str
    signed: bool
    """Whether entries are signed, so that a changed `SECRET` explains it."""

    def __str__(self) -> str:
        why = (
            "they do not verify. If SECRET was changed, list the old one second:"
            ' SECRET = ["new", "old"]'
            if self.signed
            else "they are damaged, or written with another SERIALIZER, COMPRESSOR or SECRET"
        )
        return f"entries of cache {self.cache!r} are misses, and counted as damaged: {why}"


@dataclass(frozen=True)
class StoreFailed(Event):
    """A store on a disk met a fault, which costs misses. At most one a minute is sent."""

    store: str
    """"sqlite" or "files"."""
    error: str

    @property
    def logger(self) -> str:
        return f"twofold.{self.store}"

    def __str__(self) -> str:
        return self.error


@dataclass(frozen=True)
class RefreshFailed(Event):
    """A function failed to refresh a value, and the stale one is served.

    Further failures of the function are not told of, until it has returned again.
    """

    cache: str
    function: str
    error: str

    def __str__(self) -> str:
        return f"{self.function}() failed, cache {self.cache!r} serves stale values: {self.error}"


@dataclass(frozen=True)
class ResultNotStored(Event):
    """A function returned what cannot be stored; its callers get that. It is told of once."""

    cache: str
    function: str
    error: str

    def __str__(self) -> str:
        return (
            f"what {self.function}() returns is not stored in cache {self.cache!r}, and computed at"
            f" each call: {self.error}"
        )


@dataclass(frozen=True)
class ResultOfOtherType(Event):
    """A function returned what is not of the type that it is annotated with; it is told of once.

    Its callers get that, and it is stored as what it is, without its type, if it can be.
    """

    cache: str
    function: str
    error: str

    def __str__(self) -> str:
        return (
            f"{self.function}() returns what its annotation does not bring back, and cache"
            f" {self.cache!r} keeps it without its type: {self.error}. Correct the annotation,"
            " or leave it out"
        )


@dataclass(frozen=True)
class ClaimWaited(Event):
    """A caller has waited for another process that computes its key: long, or in vain."""

    cache: str
    key: str
    seconds: float
    ended: Literal["value", "claimed", "in vain"]
    """By a value; by a claim that ended without one, so that the caller has it now; or by the
    patience of the caller, which computes for itself, and stores nothing."""

    @property
    def level(self) -> int:
        return logging.WARNING if self.ended == "in vain" else logging.INFO

    def __str__(self) -> str:
        how = {
            "value": "and has its value",
            "claimed": "which ended without a value, and computes it now",
            "in vain": "in vain, and computes without storing: does that one hang?",
        }
        return (
            f"a caller of cache {self.cache!r} has waited {self.seconds:.3g} s for another process"
            f" to compute {self.key!r}, {how[self.ended]}"
        )


@dataclass(frozen=True)
class CacheBypassed(Event):
    """What cannot use a cache where it is called does without it. It is sent once."""

    cache: str
    what: str
    error: str

    def __str__(self) -> str:
        return f"{self.what} without cache {self.cache!r}: {self.error}"


@dataclass(frozen=True)
class WatchLost(Event):
    """What others change in a store is not told of, so that nothing of it is served from near."""

    store: str
    """The names of its servers."""
    error: str

    def __str__(self) -> str:
        return (
            f"what changes in {self.store} is not told of, so that it is asked itself: {self.error}"
        )


@dataclass(frozen=True)
class WatchRegained(Event):
    """What others change is told of again."""

    store: str
    seconds: float
    """How long it was not."""

    def __str__(self) -> str:
        return f"what changes in {self.store} is told of again after {self.seconds:.3g} s"


@dataclass(frozen=True)
class WatchRefused(Event):
    """A store does not tell of changes, or not this user: what is near lives for a short time."""

    store: str
    error: str

    def __str__(self) -> str:
        return (
            f"{self.store} does not tell of changes, so that what is kept near of it lives for as"
            f" long as NEAR['timeout'] says, else 1 s: {self.error}"
        )


_subscribers: list[Subscriber] = []


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Have `subscriber` called with each event from now on; return what ends that.

    It is called where the event happens, in any thread and in event loops, so it must not
    block. What it raises is logged.
    """
    _subscribers.append(subscriber)

    def unsubscribe() -> None:
        with suppress(ValueError):  # it is a second time
            _subscribers.remove(subscriber)

    return unsubscribe


def emit(event: Event) -> None:
    """Tell `event`; never with a lock held, since subscribers may use a cache."""
    for subscriber in tuple(_subscribers):
        try:
            subscriber(event)
        except Exception:
            logging.getLogger("twofold").exception("%r failed at %r", subscriber, event)


def _log(event: Event) -> None:
    logging.getLogger(event.logger).log(event.level, "%s", printable(str(event)))


subscribe(_log)
