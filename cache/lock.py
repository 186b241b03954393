"""A lock that lives in the store: a random token under a key, with a bounded life.

Held by whoever added the token; let go by removing the key only while it still holds
that token. A holder that dies loses the lock when its life ends, and so does one that
works longer than that, unless the lock is renewed meanwhile: `LockLost` tells it.

An exception of a signal's handler may come after any call, also after the one that added
the token. So a list notes the token before it is sent, and outermost, whatever comes, what
is on the list is removed again.
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
from twofold.effects import BLOCKING, NATIVE, Effects, Tick, renewals, run_sync, within
from twofold.entry import Codec
from twofold.errors import (
    BackendUnavailable,
    BlockingCallInEventLoop,
    CacheError,
    LockLost,
    LockNotAcquired,
)
from twofold.policy import DEFAULT_TIMEOUT, Timeout, seconds

_FIRST_PAUSE = 0.005  # seconds between two tries, doubled each time
_LONGEST_PAUSE = 0.25
_RENEWALS = 3  # in a life, so that two may fail

_log = logging.getLogger("twofold")


class Noted(NamedTuple):
    """What an operation that may be interrupted leaves in the store."""

    token: Stored
    io: Effects
    """Bounded by the operation's deadline: removing the token has what is left of that."""


class Lock:
    """One holding of a lock: a context manager in both faces, or `acquire` and `release`.

    Args:
        backend: where the lock lives.
        codec: makes a stored entry of the token.
        key: the normalised key of the lock.
        ttl: seconds after which the lock is free again, whatever its holder does.
        wait: seconds to wait for it at most; None waits as long as it takes.
        guard: refuses a sync use that would block a running event loop.
        renew: whether its life begins anew again and again while it is held.
    """

    def __init__(
        self,
        backend: Backend,
        codec: Codec,
        key: str,
        ttl: float,
        wait: float | None,
        guard: Callable[[str], None] | None,
        *,
        renew: bool = False,
    ) -> None:
        self._backend = backend
        self._codec = codec
        self._key = key
        self._ttl = ttl
        self._wait = wait
        self._guard = guard
        self._every = ttl / _RENEWALS if renew else None
        self._token: Stored | None = None
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
        io, patience, mine = NATIVE, self._patience(wait), self._new()
        try:
            return await self._acquire(io, mine, patience)
        except GeneratorExit:  # the loop is gone, and nothing can be awaited
            raise
        except BaseException:
            await io.shield(self._withdraw(mine))
            raise

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
            held = run_sync(self._acquire(BLOCKING, mine, self._wait))
        except BaseException:
            run_sync(self._withdraw(mine))
            raise
        if held:  # before the return no call, after which a handler might raise
            return self
        raise self._not_acquired()

    async def __aenter__(self) -> "Lock":
        if not await self.aacquire():
            raise self._not_acquired()
        return self

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
        mine: list[Noted] = []
        try:
            mine.append(self._held(BLOCKING))
            run_sync(self._release(mine, error))
        except CacheError:
            raise
        except BaseException:
            run_sync(self._withdraw(mine))
            raise

    async def _aleave(self, error: BaseException | None) -> None:
        io = NATIVE
        await io.shield(self._release([self._held(io)], error))

    def _new(self) -> list[Noted]:
        """Return where a token is noted while it may be in the store."""
        if self._token is not None:
            raise RuntimeError(f"{self!r} is held already: ask the cache for another lock object")
        return []

    def _held(self, io: Effects) -> Noted:
        if self._token is None:
            raise RuntimeError(f"{self!r} cannot be released: acquire it first")
        return Noted(self._token, within(io, self._backend.deadline))

    def _patience(self, wait: Timeout) -> float | None:
        return self._wait if wait is DEFAULT_TIMEOUT else seconds(wait)

    async def _acquire(self, io: Effects, mine: list[Noted], wait: float | None) -> bool:
        """Try until the token is in the store, `wait` is over, or waiting would block a loop."""
        store = self._backend
        token = self._codec.dump(self._key, secrets.token_hex(16))
        pause, waited = _FIRST_PAUSE, 0.0
        while True:
            bounded = within(io, store.deadline)
            mine.append(Noted(token, bounded))
            adding = bounded.op(store.add, store.aadd, self._key, token, self._ttl)
            if await io.shield(adding):
                self._hold(token)
                return True
            mine.clear()
            if wait is not None and waited >= wait:
                return False
            if not io.may_wait(for_loop=False):
                raise BlockingCallInEventLoop(
                    f"the lock {self._key!r} is held by another, and waiting for it here would"
                    " block the event loop that runs in this thread: use `async with`, or aacquire"
                )
            rest = pause * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads the tries
            if wait is not None:
                rest = min(rest, wait - waited)
            await io.sleep(rest)
            waited += rest
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _hold(self, token: Stored) -> None:
        self._token = token
        if self._every is not None:
            self._renewal = renewals.tick(_Renewal(self), self._every)
            self._renewal.start()

    def _stop_renewing(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    async def _withdraw(self, mine: list[Noted]) -> None:
        """Remove what an interrupted operation may have left in the store."""
        for noted in mine:
            self._stop_renewing()
            self._token = None
            with suppress(BackendUnavailable):  # then it stays for its life, and not longer
                await self._remove(noted)

    async def _release(self, mine: list[Noted], error: BaseException | None) -> None:
        self._stop_renewing()
        was_there = await self._remove(mine[0])
        self._token = None
        mine.clear()
        if was_there:
            return
        if error is None:
            raise LockLost(self._lost())
        _log.warning("%s", self._lost())

    async def _remove(self, noted: Noted) -> bool:
        store, (token, io) = self._backend, noted
        return await io.op(store.compare_and_delete, store.acompare_and_delete, self._key, token)

    def _renew(self) -> bool:
        """Begin the life of a held lock anew, and tell whether to go on with that."""
        token = self._token
        if token is None or self._renewal is None:
            return False
        if self._backend.compare_and_set(self._key, token, token, self._ttl):
            return True
        if self._renewal is not None:  # else it was released meanwhile
            _log.warning("%s", self._lost())
        return False

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
    """Renews a lock as long as somebody holds on to it."""

    def __init__(self, lock: Lock) -> None:
        self._lock = ref(lock)

    def __repr__(self) -> str:
        return f"renewal of {self._lock()!r}"

    def __call__(self) -> bool:
        lock = self._lock()
        return lock is not None and lock._renew()
