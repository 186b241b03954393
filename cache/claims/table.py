"""Who computes what in this process: the claims on the keys of one store.

A claim is one caller's right to compute a key. Threads and tasks of any number of event loops
that want the same key meanwhile wait for it, if that is safe:

- Deadlock avoidance: each caller knows the claims that it holds, and never waits for one whose
  holder waits, directly or through others, for one of those. Locks take part in that check too.
- Sync code that a running loop waits for does not wait for a loop, which may need that very
  thread (code inside the loop, and in threads of asgiref's that serve one). Such callers share
  claims of their own; inside a running loop they do not wait even for those.
- A write to the key detaches its claims: nobody joins them any more, and what they bring is
  not stored.

What is claimed, what the holder does and what the others get is for each user of this room:
see `flights`, `turns` and `holdings`.
"""

import math
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from twofold.effects import (
    Effects,
    Ending,
    after_fork_in_child,
    leak_on_fork,
    new_rlock,
    this_caller,
)
from twofold.errors import ReentrantCall

C = TypeVar("C", bound="Claim")

Joined: TypeAlias = "list[Claim]"
"""What one caller has joined and not left yet; it stands for the caller."""

_held: "ContextVar[tuple[Claim, ...]]" = ContextVar("twofold_held", default=())


class Claim(Ending):
    """The right of one caller to compute a key.

    Whoever runs in the context of its holder works for it, and does not wait for it. Where
    `held_by` names a thread or a task, that one alone does: others that inherited the context
    may go on after it.

    Args:
        claims: the table that it is in, or beside.
        key: what is claimed.
        by_loop: whether its holder runs in an event loop.
        group: claims of one key in several groups do not wait for each other.
        ends: until when others wait for it, by the clock that `Claims.join` is told.
    """

    __slots__ = (
        "__weakref__",
        "_beside_loop",
        "_detached",
        "_followers",
        "_holds",
        "by_loop",
        "claims",
        "ends",
        "group",
        "held_by",
        "holder",
        "key",
        "wants",
    )

    def __init__(
        self,
        claims: "Claims",
        key: str,
        by_loop: bool,
        group: str = "",
        ends: float = math.inf,
    ) -> None:
        super().__init__()
        self.claims: Claims = claims
        self.key: str = key
        self.by_loop: bool = by_loop
        self.group: str = group
        self.ends: float = ends
        self.holder: int = 0
        self.held_by: int | None = None
        self.wants: tuple[Claim, ...] = ()
        self._holds = False
        self._followers: set[int] | None = None  # most claims have none
        self._beside_loop = False
        self._detached = False

    def __repr__(self) -> str:
        state = "done" if self.ended else "detached" if self._detached else "held"
        return f"<{type(self).__name__} {self.key!r} {state} waiting={self.waiting}>"

    @property
    def waiting(self) -> int:
        """How many callers wait for it, the holder among them."""
        return self._holds + len(self._followers or ())

    @property
    def followed(self) -> bool:
        """Whether anybody waits for it but the holder."""
        return bool(self._followers)

    def detach(self) -> None:
        """Keep what it brings from being stored."""
        self._detached = True

    def detached(self) -> bool:
        """Tell whether what it brings is not to be stored."""
        return self._detached

    def is_dead(self) -> bool:
        """Tell whether its holder is gone, and will never end it."""
        return False

    def rival(self, claims: "tuple[Claim, ...]") -> "Claim | None":
        """Return which of the claims on its key it is to wait for, or to take the place of."""
        for each in claims:
            if each.group == self.group and each._beside_loop is self._beside_loop:
                return each
        return None

    def admit(self, caller: int) -> None:
        """Count one more who waits for it; the caller holds the lock."""
        if self._followers is None:
            self._followers = set()
        self._followers.add(caller)

    def dismiss(self, caller: int) -> None:
        """Count a caller no more; the caller holds the lock."""
        if caller == self.holder:
            self._holds = False
        if self._followers is not None:
            self._followers.discard(caller)

    def left(self, by_holder: bool, deserted: bool) -> None:
        """Do what is to be done when a caller leaves it; `deserted`: it was the last one."""


class Claims:
    """The claims on the keys of one store, which they keep alive."""

    def __init__(self, store: object = None) -> None:
        self.store = store
        self.table: dict[str, tuple[Claim, ...]] = {}
        self.resting: dict[str, float] = {}
        """Until when keys are not to be claimed for a refresh, see `rests`."""
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {sorted(self.table)}>"

    def __iter__(self) -> Iterator[Claim]:
        return iter([claim for claims in list(self.table.values()) for claim in claims])

    def join(
        self,
        io: Effects,
        own: C,
        joined: Joined,
        *,
        now: float = 0.0,
        alone: bool = False,
        waits: bool = True,
    ) -> C:
        """Return the claim on the key of `own`: `own` itself, or another's to wait for.

        It is in `joined` before it is anywhere else, so that whoever gave that can leave it.

        Args:
            io: the face of the caller.
            own: the claim that the caller holds if there is nobody to wait for.
            joined: the caller.
            now: the time; claims that have ended by then are not waited for.
            alone: whether to wait for nobody. What is claimed beside another is detached.
            waits: whether the caller, and so whoever wants what it holds, waits for it.
        """
        mine = held(now) if waits else ()
        own.holder = id(joined)
        with _shared.lock:
            there = self.table.get(own.key, ())
            for dead in [each for each in there if each.is_dead()]:
                dead.detach()
                there = _without(dead, there)
            other: Any = own.rival(there)
            if other is not None and other.by_loop and not io.may_wait(for_loop=True):
                own._beside_loop = True
                other = own.rival(there)
            if other is not None and other.ends > now:
                if not (alone or _waits_for(other, mine)) and io.may_wait(for_loop=False):
                    _follow(other, joined, mine)
                    return other  # type: ignore[no-any-return]
                own._detached = True
            joined.append(own)
            own._holds = True
            for claim in mine:
                if claim.held_by is not None:  # its task waits for the task that computes
                    claim.wants += (own,)
            if not own._detached:
                self.table[own.key] = (*_without(other, there), own)
        return own

    def leave(self, joined: Joined) -> None:
        """Wait for nothing any more, and hold nothing."""
        while joined:
            claim = joined[-1]
            with _shared.lock:
                for own in _held.get():
                    if _is_of_caller(own):
                        own.wants = _without(claim, own.wants)
                claim.dismiss(id(joined))
            claim.left(claim.holder == id(joined), not claim.waiting)
            joined.pop()

    def claims_key(self, key: str) -> bool:
        """Tell whether somebody holds a claim on `key`."""
        there = self.table.get(key)
        return there is not None and not all(each.is_dead() for each in there)

    def place(self, claim: Claim) -> None:
        """Let those who want its key find `claim`, which excludes nobody by itself."""
        with _shared.lock:
            there = self.table.get(claim.key, ())
            self.table[claim.key] = (*_without(claim.rival(there), there), claim)

    def remove(self, claim: Claim) -> None:
        """Let nobody join `claim` any more."""
        with _shared.lock:
            left = _without(claim, self.table.get(claim.key, ()))
            if left:
                self.table[claim.key] = left
            else:
                self.table.pop(claim.key, None)

    def detach(self, key: str) -> None:
        """Keep what is being computed for `key` from being stored, or joined."""
        for claim in self.table.get(key, ()):
            claim.detach()
            self.remove(claim)

    def detach_all(self, prefix: str) -> None:
        """Detach the claims on all keys that begin with `prefix`."""
        for key in list(self.table):
            if key.startswith(prefix):
                self.detach(key)

    def _after_fork(self) -> None:
        leak_on_fork(self.table)
        self.table = {}


def hold(claim: Claim, *, alone: bool = False) -> None:
    """Have the caller's context know that it holds `claim`, until that is done.

    `alone`: and nothing else, since nobody who does waits for the caller.
    """
    hold_all([claim], alone=alone)


def hold_all(claims: Iterable[Claim], *, alone: bool = False) -> None:
    """Do what `hold` does for several claims."""
    others = () if alone else [each for each in _held.get() if not each.ended]
    _held.set((*others, *claims))


def held(now: float = 0.0) -> tuple[Claim, ...]:
    """Return the claims that the caller holds at a time."""
    claims = _held.get()
    if not claims:  # as at most misses
        return ()
    return tuple(
        [claim for claim in claims if not claim.ended and claim.ends > now and _is_of_caller(claim)]
    )


def reentrant(key: str) -> ReentrantCall:
    """Return the error of whoever would wait for its own result."""
    return ReentrantCall(
        f"the function that computes {key!r} asked for {key!r} itself, and would wait for"
        " its own result: give the inner call another key"
    )


def closes_circle(claim: Claim, joined: Joined) -> bool:
    """Tell whether the holder of `claim` waits for the caller; else note that the caller waits.

    It is in `joined` then, with which `Claims.leave` ends the waiting.
    """
    mine = held()
    with _shared.lock:
        if _waits_for(claim, mine):
            return True
        _follow(claim, joined, mine)
    return False


def _follow(claim: Claim, joined: Joined, mine: tuple[Claim, ...]) -> None:
    joined.append(claim)
    claim.admit(id(joined))
    for each in mine:
        each.wants += (claim,)


def _is_of_caller(claim: Claim) -> bool:
    return claim.held_by is None or claim.held_by == this_caller()


def _without(claim: Claim | None, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """Return `claims` with `claim` once less."""
    if claim not in claims:
        return claims
    if len(claims) == 1:
        return ()
    at = claims.index(claim)
    return (*claims[:at], *claims[at + 1 :])


def _waits_for(claim: Claim, mine: tuple[Claim, ...]) -> bool:
    """Tell whether the holder of `claim` waits, directly or through others, for one of `mine`."""
    if not mine:
        return False
    seen: set[Claim] = set()
    ahead = [claim]
    while ahead:
        current = ahead.pop()
        if current in mine:
            return True
        if current not in seen:
            seen.add(current)
            ahead.extend(current.wants)
    return False


class _Shared:
    """The lock over all tables and who waits for whom; a finaliser may come in amid a step."""

    def __init__(self) -> None:
        self.lock = new_rlock()
        after_fork_in_child(self)

    def _after_fork(self) -> None:
        leak_on_fork(self.lock)
        self.lock = new_rlock()


_shared = _Shared()

_by_store: "WeakValueDictionary[int, Claims]" = WeakValueDictionary()


def claims_of(store: object) -> Claims:
    """Return the claims on the keys of a store, the same for all its aliases."""
    with _shared.lock:
        return _by_store.setdefault(id(store), Claims(store))
