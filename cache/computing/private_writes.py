"""What becomes of a made value in a store that is this process's own, where no claim is needed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from twofold.backend import Backend, Stored
from twofold.claims.flights import Flight, moment
from twofold.computing.maker import Made, Maker
from twofold.effects import Effects
from twofold.errors import BackendUnavailable
from twofold.freshness.policy import Policy
from twofold.metadata import HasMetadata
from twofold.stats import Counts


class PrivateWrites:
    """The writes of made values, each of which gives way to whatever is newer.

    Args:
        store: one that is `private`.
        maker: has made the values.
        counts: the numbers of the cache.
    """

    def __init__(self, store: Backend, maker: Maker, counts: Counts) -> None:
        self._store = store
        self._maker = maker
        self._counts = counts

    async def swap(
        self,
        io: Effects,
        flight: Flight[Any],
        function: Callable[..., Any],
        policy: Policy,
        present: Stored | None,
        made: Made,
    ) -> bool:
        """Put what was made in the place of `present`.

        Return whether it is for those, too, who have asked since it was begun.
        """
        store, key, replaces = self._store, flight.key, present is not None
        outdated, checked = made.drop, moment()
        if made.keep:
            write = partial(self._swap, present) if replaces else self._add
            outdated = not self._write(flight, write, made)  # there is no room for it
        if outdated and replaces:
            store.compare_and_delete(key, present)
        self._maker.returned(key, function, policy, replaces, made)
        holds = await self._maker.holds(io, made.pins, asked=flight.followed)
        if holds:
            flight.accept(checked)  # all who joined did so before anybody detached it
        return holds is not False

    async def put(
        self,
        io: Effects,
        flight: Flight[Any],
        function: Callable[..., Any],
        policy: Policy,
        made: Made,
    ) -> bool:
        """Put what was made in the place of whatever is there; tell whether that is final."""
        checked = moment()
        if made.drop:
            self._write(flight, self._remove, made)
        accepted = not made.keep or self._write(flight, self._set, made) or not flight.detached()
        self._maker.returned(flight.key, function, policy, False, made)
        holds = await self._maker.holds(io, made.pins)
        if holds:
            flight.accept(checked)
        return accepted and made.is_final(holds)

    def _write(
        self,
        flight: Flight[Any],
        write: Callable[[str, Stored, float | None], bool],
        made: Made,
    ) -> bool:
        """Write unless something newer was written."""
        stored = made.stored
        try:
            with self._store.exclusive():  # who detaches it writes before this, or after
                written = not flight.detached() and write(flight.key, stored, made.life)
            if written and flight.detached():  # by a finaliser or a handler, in this thread
                self._store.compare_and_delete(flight.key, stored)
                return False
            self._counts.stores += written and made.keep
        except BackendUnavailable as exc:  # it is amid another operation in this thread
            self._maker.note(exc)
            return True
        return written

    def _add(self, key: str, stored: Stored, ttl: float | None) -> bool:
        """Store a value unless anything is there: what came meanwhile is newer, stale or not."""
        try:
            return self._store.add(key, stored, ttl)
        except HasMetadata:
            return False

    def _swap(self, present: Stored, key: str, stored: Stored, ttl: float | None) -> bool:
        return self._store.compare_and_set(key, present, stored, ttl)

    def _set(self, key: str, stored: Stored, ttl: float | None) -> bool:
        """Store a value in the place of an older one, which goes where there is no room for it."""
        written = self._store.set(key, stored, ttl)
        if not written:
            self._store.delete(key)
        return written

    def _remove(self, key: str, _stored: Stored, _ttl: float | None) -> bool:
        return self._store.delete(key)
