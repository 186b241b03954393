"""Who computes what is missing in one of Django's caches, while others wait.

In the process it is a turn. Where the cache is one of ours, other processes see a claim in its
store as well, and what was computed is stored only if nobody has changed the key meanwhile.
"""

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, TypeVar

from django.core.cache import InvalidCacheBackendError

from twofold.claims.flights import Late
from twofold.claims.keys import KeyClaim
from twofold.claims.table import Claims
from twofold.claims.turns import Look, Turn, Turns
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.computing.answers import Found
from twofold.computing.call_tags import CallTags
from twofold.contrib.django.base import TwofoldCache
from twofold.contrib.django.pickles import needs_thread, pickled
from twofold.core import Cache
from twofold.effects import Effects, within
from twofold.entry import MISSING, Meta
from twofold.errors import BackendUnavailable, CannotSerialize
from twofold.freshness.policy import Age, Policy
from twofold.interrupts import raise_if_of_others

T = TypeVar("T")

elsewhere: Claims = Claims()
"""Who computes what is missing in third-party caches."""


class Shelf:
    """One of Django's caches, and who computes what is missing there.

    Args:
        alias: its alias.
        django: what Django has of that alias.
    """

    def __init__(self, alias: str, django: Any) -> None:
        self._alias = alias
        self._django = django
        self.cache: Cache | None = cache_behind(django)
        self._places: dict[str, str] = {}  # Django looks at each letter of a key

    def __repr__(self) -> str:
        return f"<Shelf {self._alias!r} {self._django!r}>"

    @property
    def claims(self) -> Claims:
        """Who computes what is missing here, in this process."""
        return elsewhere if self.cache is None else self.cache._claims

    @property
    def clock(self) -> Clock:
        """The clock of what is stored here."""
        return SYSTEM_CLOCK if self.cache is None else self.cache._clock

    def full(self, key: str) -> str:
        """Return what a key of Django's is in the cache behind it."""
        full: str = self._django.make_and_validate_key(key)
        return full

    def place(self, key: str) -> str:
        """Return what a key of Django's is claimed as."""
        if self.cache is None:
            return f"{self._alias}:{key}"
        if key not in self._places:
            self._places[key] = self.cache._key(self.full(key))
        return self._places[key]

    def look(self, key: str, policy: Policy) -> Found | None:
        """Return what is there under a key of Django's, if it may be served at all."""
        cache = self.cache
        if cache is None:
            value = self._django.get(key, MISSING)
            return None if value is MISSING else Found(key, value, Age.FRESH)
        if cache._guard is not None:
            cache._guard("get")
        place = self.place(key)
        found = cache._find_in(cache._reads, place, policy)
        if found.age is Age.GONE:
            cache._counts.misses += 1
            return None
        return found

    def put(self, key: str, value: Any, timeout: Any) -> None:
        """Store a value under a key of Django's."""
        self._django.set(key, value, timeout)

    def life(self, timeout: Any) -> float | None:
        """Return the seconds that a timeout of Django's means here; None for ever."""
        life: float | None = self._django._life(timeout)
        return life


class Hold:
    """The right of one caller to compute a missing key; it must be released in any case.

    Args:
        shelf: where it is missing.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._taken: list[Turn] = []
        self._claim: KeyClaim | None = None

    def __repr__(self) -> str:
        return f"<Hold {self._taken} in {self.shelf}>"

    async def find(
        self,
        io: Effects,
        turns: Turns,
        look: Look[T],
        is_usable: Callable[[Any], bool],
        group: str,
        began: float = 0.0,
        patience: float | None = None,
    ) -> T | None:
        """Return what `look` finds, perhaps after another has stored it; None if this holds it.

        Args:
            io: the face of the caller.
            turns: those of its kind.
            look: looks into the cache; what it misses is a `Shelf.place`.
            is_usable: tells whether a value under the key that was missed last is found by `look`.
            group: callers of one key in several groups do not wait for each other here.
            began: the monotonic time at which the first look began, if that is over already.
            patience: seconds to wait for others at most; None to compute what takes them too long.

        Raises:
            Late: the patience is over.
        """
        since = 0.0
        until = inf if patience is None else monotonic() + patience

        async def timed(io: Effects) -> tuple[T | None, str]:
            nonlocal since, began
            since, began = began or monotonic(), 0.0
            return await look(io)

        async def again(io: Effects, turn: Turn) -> tuple[T | None, str]:
            if await self._take(io, turn, is_usable, since, until=until):
                return await timed(io)
            return None, turn.key

        # A group is never "", that of functions: these hold what has a result.
        found, turn = await turns.find(
            io, self.shelf.claims, timed, self._taken, f" {group}", again, patience
        )
        if turn is not None and not turn.leads and not turn.detached():
            await self._take(io, turn, is_usable, since, wait=False)
        return found

    @property
    def beside(self) -> bool:
        """Whether another caller here holds or has changed the key: then nothing may be stored."""
        return all(turn.detached() for turn in self._taken)

    @property
    def followed(self) -> bool:
        """Whether others wait here for what is computed."""
        return any(turn.followed for turn in self._taken)

    def is_of(self, key: str) -> bool:
        """Tell whether this is the hold of a key of Django's."""
        place = self.shelf.place(key)
        return any(turn.key == place for turn in self._taken)

    async def _take(
        self,
        io: Effects,
        turn: Turn,
        is_usable: Callable[[Any], bool],
        since: float,
        wait: bool = True,
        until: float = inf,
    ) -> bool:
        """Claim the key of `turn` for this process; tell whether to look for it once more.

        `since` is the monotonic time at which it was looked for, just before.
        """
        cache = self.shelf.cache
        if cache is None:
            return True
        self._claim = claim = cache._claim(turn.key, turn)
        try:
            came = await claim.take(io, is_usable, since, wait, until)
        except Late:
            claim.forget()
            self._claim = None
            raise
        except Exception as exc:
            raise_if_of_others(exc)
            claim.forget()
            self._claim = None
            if isinstance(exc, BackendUnavailable):
                cache._noted(exc)
            return False
        if came:
            claim.forget()
        return came or cache.backend.private

    async def begin_tags(self, io: Effects, policy: Policy) -> CallTags | None:
        """Pin the tags of what is to be computed: invalidations from now on count."""
        cache, key = self.shelf.cache, self._taken[-1].key
        if cache is None:
            return None
        return await cache._maker.begin_tags(io, policy, {key: policy.tags})

    async def fill(self, io: Effects, value: Any, timeout: Any, meta: Meta | None = None) -> bool:
        """Store `value` unless the key was changed since it was claimed; tell whether it was."""
        return self._claim is not None and await self._fill(io, self._claim, value, timeout, meta)

    async def fill_other(
        self, io: Effects, key: str, value: Any, timeout: Any, meta: Meta | None = None
    ) -> bool:
        """Store `value` under a key that is known only now, on the same condition."""
        cache = self.shelf.cache
        if cache is None or self._claim is None:
            return False
        other = cache._claim(self.shelf.place(key), self._taken[-1])
        bounded = within(io, cache.backend.deadline)
        try:
            await other.take_again(bounded)
            # Nothing was changed before this key was claimed, and a later change will be seen.
            return await self._claim.stands(bounded) and await self._fill(
                bounded, other, value, timeout, meta
            )
        except BackendUnavailable as exc:
            return self._refused(exc)
        except GeneratorExit:
            other.forget()
            raise
        finally:
            await other.release(io)

    async def release(self, io: Effects, shared: bool | None = None) -> None:
        """Let those who wait go on, in other processes and here; a second call does nothing.

        That nothing was stored because the key was changed does not make the next one unshareable.

        Args:
            io: the face of the caller.
            shared: see `Turn.release`.
        """
        try:
            stood = self._claim is None or await self._claim.release(io)
            self._release(shared if stood or shared else None)
        finally:  # a signal's handler may have broken that off
            if self._claim is not None:
                await self._claim.release(io)
            self._release(None)

    def forget(self) -> None:
        """Do what `release` does where nothing can be awaited."""
        if self._claim is not None:
            self._claim.forget()
        self._release(None)

    def _release(self, shared: bool | None) -> None:
        for turn in self._taken:
            turn.release(shared)

    async def _fill(
        self, io: Effects, claim: KeyClaim, value: Any, timeout: Any, meta: Meta | None = None
    ) -> bool:
        cache, life = self.shelf.cache, self.shelf.life(timeout)
        if cache is None or (life is not None and life <= 0):
            return False
        if cache._guard is not None and not io.by_loop:
            cache._guard("set")
        try:
            return await claim.fill(io, value, life, meta)
        except BackendUnavailable as exc:
            return self._refused(exc)
        except CannotSerialize as exc:
            if not (io.by_loop and needs_thread(exc)):
                raise
        return await claim.fill(io, await pickled(value), life, meta)

    def _refused(self, outage: BackendUnavailable) -> bool:
        """Return that nothing was stored, where an outage is a miss."""
        if self.shelf.cache is None or not self.shelf.cache._noted(outage):
            raise outage
        return False


def cache_behind(django: Any) -> Cache | None:
    """Return the cache behind one of Django's, if that is ours, and can be."""
    try:
        return django.cache if isinstance(django, TwofoldCache) else None
    except InvalidCacheBackendError:  # reading from it raises this again
        return None
