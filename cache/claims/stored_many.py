"""Claims to several keys in the store, each step of which is one round trip for all.

They are one stub under many keys; `stored` tells what it is to other processes.
"""

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias

from twofold.backend import Backend, Fill, Stored
from twofold.claims import renewal
from twofold.claims.table import Claim, held, reentrant
from twofold.effects import Effects, within
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.stub import Stub, is_of_this_process, is_stub, new_stub, resting_stub, rests

Values: TypeAlias = Callable[[Effects, Mapping[str, Stored]], Awaitable[Iterable[str]]]


class Taken:
    """What came of claiming keys."""

    def __init__(self) -> None:
        self.mine: list[str] = []
        """Claimed, to be computed."""
        self.found: dict[str, Stored] = {}
        """What somebody brought before."""
        self.others: dict[str, Stored] = {}
        """The stubs of others."""
        self.resting: list[str] = []
        """Not to be refreshed yet."""
        self.unknown: list[str] = []
        """The store cannot tell."""

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={len(each)}" for name, each in vars(self).items())
        return f"<{type(self).__name__} {counts}>"


class StoredClaims:
    """The claims of one caller.

    Args:
        store: where they stand.
        beside: makes the key of a claim beside an entry that is to be replaced.
        note: is told of each failure of the store.
        is_lost: tells whether nobody computes any more who could release them.
        here: the claims that they go with in this process.
    """

    def __init__(
        self,
        store: Backend,
        beside: Callable[[str], str],
        note: Callable[[BackendUnavailable], None],
        is_lost: Callable[[], bool],
        here: Sequence[Claim],
    ) -> None:
        self.is_lost: Callable[[], bool] = is_lost
        self._store = store
        self._beside = beside
        self._note = note
        self._here = here
        self.asked: float = 0.0
        """The monotonic time at which the store was asked last for claims."""
        self.ended_rests: set[str] = set()
        """Keys whose refresh had failed just before, which these claims do not heed."""
        self._stub: Stub = new_stub()
        self._places: dict[str, str] = {}
        self._present: dict[str, Stored] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {len(self._places)} keys>"

    @property
    def here(self) -> Claim:
        """One of those that they go with, whose holder holds them all."""
        return next((claim for claim in self._here if not claim.ended), self._here[0])

    def replaced(self, key: str) -> Stored | None:
        """Return the entry that filling `key` replaces, if its claim stands beside one."""
        return self._present.get(key)

    async def take(
        self,
        io: Effects,
        keys: Iterable[str],
        values: Values,
        since: float = 0.0,
        old: Container[str] = (),
    ) -> Taken:
        """Claim what is missing, and wait for nobody.

        Args:
            io: the face of the caller.
            keys: what is wanted.
            values: returns those of the keys under which is what can be read, and is good.
            since: the monotonic time at which the keys were read, just before; the store's
                deadline is for both.
            old: those of which a refresh that has failed just before is not tried again.

        Raises:
            ReentrantCall: the caller holds one of the claims, by another cache of the store.
        """
        renewal.live.add(self._stub, self)
        self.asked = since or monotonic()
        io = within(io, self._store.deadline, self.asked)
        taken, entries = Taken(), dict[str, Stored]()
        for key, found in (await self._claim(io, {key: key for key in keys}, taken)).items():
            if found is None or is_stub(found, self._store.holds_objects):
                await self._sort(io, key, found, taken, old)
            else:
                entries[key] = found
        for key in await values(io, entries) if entries else ():
            del self._places[key]
            taken.found[key] = entries.pop(key)
        if old_entries := list(entries):
            beside = Taken()
            await self._take_beside(io, old_entries, beside, old)
            # Read again: whoever had the claim before may have brought something newer.
            there = {key: self._present[key] for key in beside.mine if key in self._present}
            for key in await values(io, there):
                beside.found[key] = self._present.pop(key)
                beside.mine.remove(key)
            for name, part in vars(beside).items():
                all_of_it = getattr(taken, name)
                all_of_it.update(part) if isinstance(part, dict) else all_of_it.extend(part)
            if beside.found:
                await self._let_go(io, list(beside.found))
        return taken

    async def take_beside(self, io: Effects, keys: Iterable[str]) -> Taken:
        """Claim keys beside what is there, to replace that."""
        renewal.live.add(self._stub, self)
        taken, keys, self.asked = Taken(), list(keys), monotonic()
        io = within(io, self._store.deadline, self.asked)
        await self._take_beside(io, keys, taken, keys)
        return taken

    async def take_again(self, io: Effects, keys: Iterable[str]) -> Taken:
        """Claim keys for what is to replace whatever is there."""
        renewal.live.add(self._stub, self)
        self.asked = monotonic()
        io, taken = within(io, self._store.deadline, self.asked), Taken()
        for key, found in (await self._claim(io, {key: key for key in keys}, taken)).items():
            taken.mine.append(key)
            if found is None:
                continue
            if not is_stub(found, self._store.holds_objects):
                self._present[key] = found
            elif await self._replace(io, key, found):
                continue
            del self._places[key]
        return taken

    async def fill(
        self, io: Effects, values: Mapping[str, tuple[Stored, float | None]]
    ) -> dict[str, bool | None]:
        """Store values where nobody has changed the key since it was claimed.

        Return whether each is stored, None where the store cannot tell.
        """
        stand = [key for key in values if key in self._places or key in self._present]
        fills = {key: Fill(self._present.get(key, self._stub), *values[key]) for key in stand}
        filled: dict[str, bool | None] = dict.fromkeys(values, False)
        filled |= dict.fromkeys(fills) | await self._fill(io, fills)
        for key, done in filled.items():
            if done and key not in self._present:
                self._places.pop(key, None)
        return filled

    async def drop(self, io: Effects, keys: Iterable[str]) -> set[str]:
        """Remove the entries that filling replaces; return those that had not been changed."""
        there = {key: self._present[key] for key in keys if key in self._present}
        return {key for key, done in (await self._remove(io, there)).items() if done}

    async def rest(self, io: Effects, keys: Iterable[str], seconds: float) -> None:
        """Let nobody refresh what claims stand beside for so long."""
        resting = Fill(self._stub, resting_stub(), seconds)
        places = {
            self._places[key]: key for key in keys if key in self._places and key in self._present
        }
        if seconds > 0:
            for place, done in (await self._fill(io, dict.fromkeys(places, resting))).items():
                if done:
                    self._places.pop(places[place], None)

    async def release(self, io: Effects) -> set[str]:
        """Let others claim the keys; return those in which a claim stood to this moment."""
        stood = await self._let_go(io, list(self._places))
        self._present.clear()
        return stood

    async def end(self, io: Effects) -> set[str]:
        """Release all even if the caller is cancelled; awaits nothing if it is over already."""
        stood = await io.shield(self.release(io)) if self._places else set[str]()
        self.forget()
        return stood

    def forget(self) -> None:
        """Leave the claims to whoever meets them, in this process at once."""
        self._places.clear()
        renewal.live.remove(self._stub)

    def renew(self) -> None:
        """Begin their lives anew; called in a thread of its own."""
        if self.is_lost():
            self.forget()
        for place in list(self._places.values()):
            with suppress(Exception):  # there are more tries before a life is over
                self._store.renew(place, self._stub, renewal.LIFE)

    async def _claim(
        self, io: Effects, places: dict[str, str], taken: Taken
    ) -> dict[str, Stored | None]:
        """Claim each key at its place; return what is there, None where nothing was."""
        store = self._store
        self._places |= places  # noted before, for the caller may be interrupted after
        found: dict[str, Stored | None] = {}
        claim = store.get_or_claim_many, store.aget_or_claim_many
        try:
            found = await io.op(*claim, list(places.values()), self._stub, renewal.LIFE)
        except BackendUnavailable as error:
            found = self._partly(error)
        for key in [key for key, place in places.items() if place not in found]:
            taken.unknown.append(key)
            self._places.pop(key)
        return {key: found[place] for key, place in places.items() if place in found}

    async def _take_beside(
        self, io: Effects, keys: list[str], taken: Taken, old: Container[str]
    ) -> None:
        """Claim keys beside their entries, which are read again and noted."""
        places = {key: self._beside(key) for key in keys}
        for key, found in (await self._claim(io, places, taken)).items():
            await self._sort(io, key, found, taken, old)
        if not taken.mine:
            return
        store = self._store
        there: dict[str, Stored] = {}
        try:
            there = await io.op(store.get_many, store.aget_many, taken.mine)
        except BackendUnavailable as error:
            there = self._partly(error)
        for key in taken.mine:
            if key in there and not is_stub(there[key], store.holds_objects):
                self._present[key] = there[key]

    async def _sort(
        self, io: Effects, key: str, found: Stored | None, taken: Taken, old: Container[str]
    ) -> None:
        """Note whose `key` is, at which nothing was found, or a stub."""
        if found is None or await self._take_over(io, key, found, old):
            taken.mine.append(key)
            return
        del self._places[key]
        if renewal.live.holder_of(found) in held():
            raise reentrant(key)
        if key in old and is_stub(found) and rests(found):
            taken.resting.append(key)
        else:
            taken.others[key] = found

    async def _take_over(self, io: Effects, key: str, found: Stored, old: Container[str]) -> bool:
        """Replace a stub that nobody in this process computes under any more."""
        if not is_stub(found, self._store.holds_objects):
            return False
        if rests(found):
            lost = key not in old
            if lost:
                self.ended_rests.add(key)
        else:
            lost = is_of_this_process(found) and bytes(found) not in renewal.live
        return lost and await self._replace(io, key, found)

    async def _replace(self, io: Effects, key: str, found: Stored) -> bool:
        stub = Fill(found, self._stub, renewal.LIFE)
        return (await self._fill(io, {self._places[key]: stub})).get(self._places[key], False)

    async def _let_go(self, io: Effects, keys: list[str]) -> set[str]:
        """Release some of the claims; return those of the keys in which one stood."""
        places = {self._places[key]: key for key in keys if key in self._places}
        stood = await self._remove(io, dict.fromkeys(places, self._stub))
        for key in places.values():  # only now, for whoever is interrupted before calls again
            self._places.pop(key, None)
        return {place for place, done in stood.items() if done and place == places[place]}

    async def _fill(self, io: Effects, fills: Mapping[str, Fill]) -> dict[str, bool]:
        store = self._store
        if not fills:
            return {}
        try:
            return await io.op(store.fill_many, store.afill_many, fills)
        except BackendUnavailable as error:
            return self._partly(error)

    async def _remove(self, io: Effects, there: Mapping[str, Stored]) -> dict[str, bool]:
        store = self._store
        if not there:
            return {}
        try:
            return await io.op(store.release_many, store.arelease_many, there)
        except BackendUnavailable as error:
            return self._partly(error)

    def _partly(self, error: BackendUnavailable) -> dict[str, Any]:
        """Note an outage, and return what the servers that answered said."""
        self._note(error)
        result: dict[str, Any] = error.result if isinstance(error, PartlyUnavailable) else {}
        return result
