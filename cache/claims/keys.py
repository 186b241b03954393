"""A claim to one key of a cache by code that computes in its own time: a request, a template.

It holds among processes by a stub in the store, and here by the turn that was taken for it.
"""

from collections.abc import Callable
from math import inf
from typing import Any

from twofold.backend import Backend, Stored
from twofold.claims.stored import StoredClaim
from twofold.claims.table import held
from twofold.claims.turns import Turn
from twofold.effects import Effects
from twofold.entry import MISSING, Codec, Meta
from twofold.errors import ReentrantCall
from twofold.stats import Counts
from twofold.tags.reader import Reader


class KeyClaim:
    """The right to store one key, as long as nobody else changes it.

    Args:
        store: hides stubs, and raises `BackendUnavailable` in an outage.
        codec: makes stored entries of values.
        reader: makes values of them.
        key: the normalised key.
        beside: makes the key of a claim beside an entry that cannot be used.
        turn: holds the key in this process.
        counts: the numbers of the cache.
    """

    def __init__(
        self,
        store: Backend,
        codec: Codec,
        reader: Reader,
        key: str,
        beside: Callable[[str], str],
        turn: Turn,
        counts: Counts,
    ) -> None:
        self.key = key
        self._store = store
        self._codec = codec
        self._reader = reader
        self._turn = turn
        self._counts = counts
        self._stored = (
            None if store.private else StoredClaim(store, key, beside, turn.is_over, turn)
        )

    @property
    def followed(self) -> bool:
        """Whether others wait for it in this process."""
        return self._turn.followed

    async def take(
        self,
        io: Effects,
        is_usable: Callable[[Any], bool],
        since: float = 0.0,
        wait: bool = True,
        until: float = inf,
    ) -> bool:
        """Claim the key; tell whether something usable came meanwhile.

        One other process that claimed it first is waited for, for one life at most: what it
        computes may turn out to be for nobody else, and the next one's then as well.

        Args:
            io: the face of the caller.
            is_usable: tells whether a value that is there is what the caller looks for.
            since: the monotonic time at which the key was read, just before.
            wait: whether to wait for another process at all.
            until: the monotonic time until which to wait for one.

        Raises:
            Late: another process computes longer than that.
            BackendUnavailable: the store cannot tell.
        """
        if self._stored is None or self._is_held_around():
            return False

        async def is_value(io: Effects, stored: Stored) -> bool:
            value = await self._reader.load(io, self.key, stored)
            return value is not MISSING and is_usable(value)

        try:
            return (
                await self._stored.take(
                    io, is_value, _nothing, since, int(wait), until=until, owner=self._codec.owner
                )
                is not None
            )
        except ReentrantCall:  # it holds the key by another cache of the store
            return False

    def _is_held_around(self) -> bool:
        """Tell whether the caller holds the key already, and would wait for itself."""
        turn = self._turn
        there = (each for each in held() if each is not turn)
        return any(each.claims is turn.claims and each.key == self.key for each in there)

    async def take_again(self, io: Effects) -> None:
        """Claim the key for a value that is to replace whatever is there; wait for nobody.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        if self._stored is not None:
            await self._stored.take_again(io)

    async def stands(self, io: Effects) -> bool:
        """Tell whether nobody has changed the key since it was claimed.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        if self._stored is not None:
            return await self._stored.stands(io)
        return not self._turn.detached()

    async def fill(
        self, io: Effects, value: Any, ttl: float | None, meta: Meta | None = None
    ) -> bool:
        """Store `value` unless the key has been changed since it was claimed; tell whether it was.

        Raises:
            CannotSerialize: the value cannot be stored.
            BackendUnavailable: the store cannot tell.
        """
        stored = self._codec.dump(self.key, value, meta)
        if self._stored is not None:
            filled = await self._stored.fill(io, stored, ttl)
        else:
            with self._store.exclusive():  # who detaches the turn writes before this, or after
                filled = not self._turn.detached() and self._store.set(self.key, stored, ttl)
        self._counts.stores += filled
        return filled

    async def release(self, io: Effects) -> bool:
        """Let other processes claim the key, even if cancelled; a second call does nothing.

        Return whether it was still claimed, and had neither been filled nor changed.
        """
        if self._stored is not None:
            return await self._stored.end(io)
        return not self._turn.detached()

    def forget(self) -> None:
        """Let go where nothing can be awaited: other processes go on when the stub ends."""
        if self._stored is not None:
            self._stored.forget()


def _nothing() -> None:
    pass
