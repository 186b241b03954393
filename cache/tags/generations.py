"""What a tag is: a generation, which changes when the tag is invalidated.

An entry keeps the generations that were current before it was computed, and is valid while all of
them still are. So an invalidation while a function runs is not lost, in whichever process it is,
and it takes as long for one entry as for a million. A generation that is missing, evicted or
expired, makes its entries misses. No clock is asked.

A generation has two halves. A new hard one makes entries invalid, a new soft one makes them stale.

Tags that only a result tells cannot be pinned before it is computed. For these there is an *epoch*,
which each invalidation changes first, before any generation: what was computed while the epoch
stayed the same was computed under the generations that are current after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Any, ClassVar, Final

from twofold.effects import Effects
from twofold.metadata import Pins

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Standing(IntEnum):
    """What has become of the tags of an entry; of several tags the highest counts."""

    CURRENT = 0
    STALE = 1
    """One was invalidated, and what has it may still be served as stale."""
    GONE = 2
    UNTOLD = 3
    """What was read does not tell of all tags: the store is to be asked."""


class Tags(ABC):
    """The tags of one cache's entries."""

    are_read: ClassVar[bool] = True
    """Whether the store is to be read to know the standing of entries."""

    @abstractmethod
    def standing(self, pins: Pins, known: Mapping[str, Any] = NOTHING) -> Standing:
        """Return what has become of the tags of an entry, as far as is `known`.

        That is what was read along with it: the value of each of `keys` that was asked for, None
        where there is none.
        """

    @abstractmethod
    def keys(self, names: Iterable[str]) -> list[str]:
        """Return what to read along with an entry to know its standing; nothing if no read is."""

    @abstractmethod
    def described(self, names: Iterable[str], known: Mapping[str, Any]) -> bytes:
        """Return the metadata, as bytes, of an entry with these tags that is current for ever.

        `known` is as in `standing`, for all of them. Nothing if no entry can be so.
        """

    @abstractmethod
    async def pin(self, io: Effects, names: Iterable[str], life: float | None) -> Pins:
        """Return the current generations of tags, for an entry that lives for `life` seconds.

        Raises:
            BackendUnavailable: the store cannot tell.
        """

    @abstractmethod
    async def epoch(self, io: Effects) -> Any:
        """Return what is another value after each invalidation of any tag.

        Raises:
            BackendUnavailable: the store cannot tell.
        """

    @abstractmethod
    async def standings(
        self, io: Effects, pinned: Sequence[Pins], known: Mapping[str, Any] = NOTHING
    ) -> list[Standing]:
        """Return what `standing` does for several entries; what is not `known` is read.

        Raises:
            PartlyUnavailable: some servers did not answer; as the `result`, what they alone can
                tell of is gone.
            BackendUnavailable: the store cannot tell.
        """

    @abstractmethod
    async def invalidate(self, io: Effects, names: Sequence[str], *, keep_stale: bool) -> None:
        """Make what has one of the tags invalid, or, with `keep_stale`, stale.

        Raises:
            BackendUnavailable: the store may not have done so.
        """
