"""A lock that lives in the store: a random token under a key, with a bounded life.

Held by whoever added the token; let go by removing the key only while it still holds
that token. A holder that dies loses the lock when its life ends, and so does one that
works longer than that: `LockLost` tells it.
"""

import logging
import random
import secrets
from collections.abc import Callable
from types import TracebackType

from twofold.backend import Backend, Stored
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.entry import Codec
from twofold.errors import BlockingCallInEventLoop, LockLost, LockNotAcquired

_FIRST_PAUSE = 0.005  # seconds between two tries, doubled each time
_LONGEST_PAUSE = 0.25

_log = logging.getLogger("twofold")


class Lock:
    """One holding of a lock, as a context manager in both faces.

    Args:
        backend: where the lock lives.
        codec: makes a stored entry of the token.
        key: the normalised key of the lock.
        ttl: seconds after which the lock is free again, whatever its holder does.
        wait: seconds to wait for it at most; None waits as long as it takes.
        guard: refuses a sync use that would block a running event loop.
    """

    def __init__(
        self,
        backend: Backend,
        codec: Codec,
        key: str,
        ttl: float,
        wait: float | None,
        guard: Callable[[str], None] | None,
    ) -> None:
        self._backend = backend
        self._codec = codec
        self._key = key
        self._ttl = ttl
        self._wait = wait
        self._guard = guard
        self._token: Stored | None = None

    def __repr__(self) -> str:
        state = "held" if self._token is not None else "not held"
        return f"<Lock {self._key!r} {state} ttl={self._ttl:g}>"

    def __enter__(self) -> "Lock":
        if self._guard is not None:
            self._guard("lock")
        run_sync(self._acquire(BLOCKING))
        return self

    async def __aenter__(self) -> "Lock":
        await self._acquire(NATIVE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run_sync(self._release(BLOCKING, error))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        io = NATIVE
        await io.settle(self._release(io, error))

    async def _acquire(self, io: Effects) -> None:
        if self._token is not None:
            raise RuntimeError(f"{self!r} is held already: ask the cache for another lock object")
        token = self._codec.dump(self._key, secrets.token_hex(16))
        pause, waited = _FIRST_PAUSE, 0.0
        while not await self._try(io, token):
            if self._wait is not None and waited >= self._wait:
                raise LockNotAcquired(
                    f"the lock {self._key!r} was held by another for the whole wait of"
                    f" {self._wait:g} s; its life is bounded, so it will be free again"
                )
            if not io.may_wait(for_loop=False):
                raise BlockingCallInEventLoop(
                    f"the lock {self._key!r} is held by another, and waiting for it here would"
                    " block the event loop that runs in this thread: use `async with`"
                )
            rest = pause * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads the tries
            if self._wait is not None:
                rest = min(rest, self._wait - waited)
            await io.sleep(rest)
            waited += rest
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._token = token

    async def _try(self, io: Effects, token: Stored) -> bool:
        """Add the token; if that is interrupted, the token does not stay behind."""
        store = self._backend
        try:
            return await io.settle(io.op(store.add, store.aadd, self._key, token, self._ttl))
        except BaseException:
            await io.settle(self._remove(io, token))
            raise

    async def _release(self, io: Effects, error: BaseException | None) -> None:
        token, self._token = self._token, None
        if await self._remove(io, token):
            return
        message = (
            f"the lock {self._key!r} expired after {self._ttl:g} s, or was removed, while it was"
            " held: another may have held it too. Give lock() a longer timeout, and neither"
            " delete its key nor clear the cache meanwhile."
        )
        if error is None:
            raise LockLost(message)
        _log.warning("%s", message)

    async def _remove(self, io: Effects, token: Stored) -> bool:
        store = self._backend
        return await io.op(store.compare_and_delete, store.acompare_and_delete, self._key, token)
