"""Locks with the parameters that redis-py's have, as users of django-redis know them."""

from twofold.core import Cache
from twofold.lock import Lock
from twofold.timeouts import Timeout, seconds

_LIFE = 60.0  # seconds that a lock which is renewed outlives its holder


class DjangoLock(Lock):
    """A lock of twofold's, whose `acquire` takes what redis-py's does."""

    def acquire(  # type: ignore[override]
        self, blocking: bool | None = None, blocking_timeout: float | None = None
    ) -> bool:
        """Take the lock, and return whether it is held now; see `Lock.acquire`.

        Args:
            blocking: whether to wait until it is free, unless told as the lock was made.
            blocking_timeout: the seconds to wait at most.
        """
        return super().acquire(self._chosen(blocking, blocking_timeout))

    async def aacquire(  # type: ignore[override]
        self, blocking: bool | None = None, blocking_timeout: float | None = None
    ) -> bool:
        return await super().aacquire(self._chosen(blocking, blocking_timeout))

    def _chosen(self, blocking: bool | None, blocking_timeout: float | None) -> float | None:
        if blocking is None and blocking_timeout is None:
            return self._wait
        return 0.0 if blocking is False else blocking_timeout


def new_lock(cache: Cache, key: str, timeout: Timeout, wait: float | None) -> DjangoLock:
    """Return a lock named `key`; with a timeout of None it is renewed while it is held."""
    return DjangoLock(
        cache.backend,
        cache._codec,
        cache._claims,
        cache._keys.lock(key),
        seconds(timeout) or _LIFE,
        wait,
        cache._guard,
        renew=timeout is None,
    )
