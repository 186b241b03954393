"""A lock that lives in the store: a random token under a key, with a bounded life.

Held by the caller that added the token; let go by removing the key only while it still holds
that token. A holder that dies loses the lock when its life ends, and so does one that
works longer than that, unless the lock is renewed meanwhile: `LockLost` tells it.

An exception of a signal's handler may come after any call, also after the one that added
the token. So the token is noted before it is sent, and outermost, whatever comes, what is
noted is removed again.
"""

import logging
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple
from weakref import ref

from twofold.backend import Backend, Stored
from twofold.claims.holdings import Holding, circle_at
from twofold.claims.table import Claims, Joined, held
from twofold.effects import BLOCKING, NATIVE, Effects, Tick, renewals, run_sync, within
from twofold.entry import Codec
from twofold.errors import (
    BackendUnavailable,
    BlockingCallInEventLoop,
    CacheError,
    LockLost,
    LockNotAcquired,
    ReentrantCall,
)
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout, seconds

_FIRST_PAUSE = 0.005  # seconds between two tries, doubled each time
_LONGEST_PAUSE = 0.25
_RENEWALS = 3  # in a life, so that two may fail

_log = logging.getLogger("twofold")


class Noted(NamedTuple):
    """What may be in the store."""

    token: Stored
    io: Effects
    """Bounded by the operation's deadline: removing the token has what is left of that."""


class Attempt(NamedTuple):
    """What an operation leaves if it is interrupted."""

    tokens: list[Noted]
    joined: Joined
    """The holder that it waits for in this process."""


class Lock:
    """One holding of a lock: a context manager in both faces, or `acquire` and `release`.

    Args:
        backend: where the lock lives.
        codec: makes a stored entry of the token.
        claims: where this process notes who holds and awaits what.
        key: the normalised key of the lock.
        ttl: seconds after which the lock is free again, whatever its holder does.
        wait: seconds to wait for it at most; None waits as long as it takes.
        guard: refuses a sync use that would block a running event loop.
        renew: whether its life is restarted regularly while it is held.
    """

    def __init__(
        self,
        backend: Backend,
        codec: Codec,
        claims: Claims,
        key: str,
        ttl: float,
        wait: float | None,
        guard: Callable[[str], None] | None,
        *,
        renew: bool = False,
    ) -> None:
        self._backend = backend
        self._codec = codec
        self._claims = claims
        self._key = key
        self._ttl = ttl
        self._wait = wait
        self._guard = guard
        self._every = ttl / _RENEWALS if renew else None
        self._token: Stored | None = None
        self._holding: Holding | None = None
        self._renewal: Tick | None = None

    def __repr__(self) -> str:
        state = "held" if self._token is not None else "not held"
        renewed = " renewed" if self._every else ""
        return f"<Lock {self._key!r} {state} ttl={self._ttl:g}{renewed}>"

    def acquire(self, wait: Timeout = DEFAULT_TIMEOUT) -> bool:
        """Take the lock, and return whether it is held now.

        Args:
            wait: how long to wait for it at most: 0 tries once, None waits until it is
                free; unless given here, as `cache.lock` was told.

        Raises:
            RuntimeError: this object holds it already.
            ReentrantCall: whoever holds it waits for the caller; they would wait for ever.
            BackendUnavailable: the store cannot be reached; it is not held.
        """
        if self._guard is not None:
            self._guard("acquire")
        patience, mine = self._patience(wait), self._new()
        try:
            return run_sync(self._acquire(BLOCKING, mine, patience))
        except BaseException:
            run_sync(self._withdraw(mine))
            raise

    async def aacquire(self, wait: Timeout = DEFAULT_TIMEOUT) -> bool:
        """Do what `acquire` does; if it is cancelled, the lock is not held."""
        return await self._aacquire(self._patience(wait))

    def release(self) -> None:
        """Let go of the lock.

        Raises:
            LockLost: its life ended while it was held.
            RuntimeError: this object does not hold it.
            BackendUnavailable: the store cannot be reached; it can be released again.
        """
        if self._guard is not None:
            self._guard("release")
        self._leave(None)

    async def arelease(self) -> None:
        """Do what `release` does."""
        await self._aleave(None)

    def __enter__(self) -> "Lock":
        if self._guard is not None:
            self._guard("lock")
        mine = self._new()
        try:
            is_held = run_sync(self._acquire(BLOCKING, mine, self._wait, entered=True))
        except BaseException:
            run_sync(self._withdraw(mine))
            raise
        if is_held:  # before the return no call, after which a handler might raise
            return self
        raise self._not_acquired()

    async def __aenter__(self) -> "Lock":
        if await self._aacquire(self._wait, entered=True):  # as above: no call before the return
            return self
        raise self._not_acquired()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(error)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._aleave(error)

    def _leave(self, error: BaseException | None) -> None:
        mine = Attempt([], [])
        try:
            mine.tokens.append(self._noted(BLOCKING))
            run_sync(self._release(mine, error))
        except CacheError:
            raise
        except BaseException:
            run_sync(self._withdraw(mine))
            raise
        finally:  # who leaves holds nothing, whatever became of the lock in the store
            self._end_holding()

    async def _aleave(self, error: BaseException | None) -> None:
        io, mine = NATIVE, Attempt([], [])
        try:
            mine.tokens.append(self._noted(io))
            await io.shield(self._release(mine, error))
        except (CacheError, GeneratorExit):  # the latter: the loop is gone
            raise
        except BaseException:
            await io.shield(self._withdraw(mine))
            raise
        finally:
            self._end_holding()

    async def _aacquire(self, wait: float | None, *, entered: bool = False) -> bool:
        io, mine = NATIVE, self._new()
        try:
            return await self._acquire(io, mine, wait, entered=entered)
        except GeneratorExit:  # the loop is gone, and nothing can be awaited
            raise
        except BaseException:
            await io.shield(self._withdraw(mine))
            raise

    def _new(self) -> Attempt:
        if self._token is not None:
            raise RuntimeError(f"{self!r} is held already: ask the cache for another lock object")
        return Attempt([], [])

    def _noted(self, io: Effects) -> Noted:
        if self._token is None:
            raise RuntimeError(f"{self!r} cannot be released: acquire it first")
        return Noted(self._token, within(io, self._backend.deadline))

    def _patience(self, wait: Timeout) -> float | None:
        return self._wait if wait is DEFAULT_TIMEOUT else seconds(wait)

    async def _acquire(
        self, io: Effects, mine: Attempt, wait: float | None, *, entered: bool = False
    ) -> bool:
        """Try until the token is in the store, `wait` is over, or waiting would block a loop.

        Who `entered` a `with` will leave it too, and may be said to hold the lock meanwhile.
        """
        try:
            return await self._try(io, mine, wait, entered=entered)
        finally:
            self._claims.leave(mine.joined)

    async def _try(self, io: Effects, mine: Attempt, wait: float | None, *, entered: bool) -> bool:
        store = self._backend
        token = self._codec.dump(self._key, secrets.token_hex(16))
        pause, waited = _FIRST_PAUSE, 0.0
        while True:
            bounded = within(io, store.deadline)
            mine.tokens.append(Noted(token, bounded))
            adding = bounded.op(store.add, store.aadd, self._key, token, self._ttl)
            if await io.shield(adding):
                self._hold(token, entered)
                return True
            mine.tokens.clear()
            if wait is not None and waited >= wait:
                return False
            if not io.may_wait(for_loop=False):
                raise BlockingCallInEventLoop(
                    f"the lock {self._key!r} is held by another, and waiting for it here would"
                    " block the event loop that runs in this thread: use `async with`, or aacquire"
                )
            await self._refuse_circle(within(io, store.deadline), mine.joined)
            rest = pause * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads the tries
            if wait is not None:
                rest = min(rest, wait - waited)
            await io.sleep(rest)
            waited += rest
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _refuse_circle(self, io: Effects, joined: Joined) -> None:
        """Raise if whoever holds the lock here waits, directly or through others, for the caller.

        The store is asked whether they still do: their life may be over, or the key removed.
        """
        holding = circle_at(self._claims, self._key, joined)
        if holding is None:
            return
        store = self._backend
        if await io.op(store.get, store.aget, self._key) == holding.token:
            raise ReentrantCall(self._circle(is_own=holding in held()))

    def _end_holding(self) -> None:
        if self._holding is not None:
            self._holding.end()
            self._holding = None  # only now: who is interrupted before ends it by a second call

    def _hold(self, token: Stored, entered: bool) -> None:
        self._token = token
        if entered:
            self._holding = Holding(self._claims, self._key, token)
            self._holding.begin()
        if self._every is not None:
            self._renewal = renewals.tick(_Renewal(self), self._every)
            self._renewal.start()

    def _let_go(self) -> None:
        self._end_holding()
        self._token = None

    def _stop_renewing(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    async def _withdraw(self, mine: Attempt) -> None:
        """Remove what an interrupted operation may have left."""
        self._claims.leave(mine.joined)
        for noted in mine.tokens:
            self._stop_renewing()
            self._let_go()
            with suppress(BackendUnavailable):  # then it stays for its life, and not longer
                await self._remove(noted)

    async def _release(self, mine: Attempt, error: BaseException | None) -> None:
        self._stop_renewing()
        was_there = await self._remove(mine.tokens[0])
        self._let_go()
        mine.tokens.clear()
        if was_there:
            return
        if error is None:
            raise LockLost(self._lost())
        _log.warning("%s", self._lost())

    async def _remove(self, noted: Noted) -> bool:
        store, (token, io) = self._backend, noted
        return await io.op(store.compare_and_delete, store.acompare_and_delete, self._key, token)

    def _renew(self) -> bool:
        """Restart the life of a held lock, and tell whether to go on with that."""
        token = self._token
        if token is None or self._renewal is None:
            return False
        if self._backend.compare_and_set(self._key, token, token, self._ttl):
            return True
        if self._renewal is not None:  # else it was released meanwhile
            _log.warning("%s", self._lost())
        return False

    def _circle(self, *, is_own: bool) -> str:
        if is_own:
            return (
                f"the lock {self._key!r} is held by this very task or thread, which would wait for"
                " itself: a lock is not reentrant, so take it once, around both uses"
            )
        return (
            f"waiting for the lock {self._key!r} would never end, for whoever holds it waits for"
            " what is held or computed here: take locks in one order everywhere, and ask for no"
            " key while holding a lock that the key's function takes"
        )

    def _not_acquired(self) -> LockNotAcquired:
        return LockNotAcquired(
            f"the lock {self._key!r} was held by another for the whole wait of"
            f" {self._wait:g} s; its life is bounded, so it will be free again"
        )

    def _lost(self) -> str:
        if self._every is not None:
            return (
                f"the lock {self._key!r} was removed, or could not be renewed for {self._ttl:g} s,"
                " while it was held: another may have held it too. See that its store can be"
                " reached, and neither delete its key nor clear the cache meanwhile."
            )
        return (
            f"the lock {self._key!r} expired after {self._ttl:g} s, or was removed, while it was"
            " held: another may have held it too. Give lock() a longer timeout or renew=True, and"
            " neither delete its key nor clear the cache meanwhile."
        )


class _Renewal:
    """Renews a lock as long as it is held."""

    def __init__(self, lock: Lock) -> None:
        self._lock = ref(lock)

    def __repr__(self) -> str:
        return f"renewal of {self._lock()!r}"

    def __call__(self) -> bool:
        lock = self._lock()
        return lock is not None and lock._renew()
