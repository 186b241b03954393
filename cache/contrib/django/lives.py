"""How long values live, and locks: what django-redis adds to Django's cache, over any store."""

from datetime import datetime
from math import ceil
from typing import Any

from twofold.contrib.django.computing import ComputingCache
from twofold.contrib.django.locks import DjangoLock, new_lock
from twofold.timeouts import Timeout


class LivingCache(ComputingCache):
    """What tells and changes how long values live.

    Who is not there has a life of 0, and one that lives for ever a life of None. A timeout of 0
    or less, and a time that is over, remove the value.
    """

    def ttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the seconds that `key` lives, rounded up."""
        return _whole(self.cache.ttl(self.make_and_validate_key(key, version)))

    async def attl(self, key: Any, version: int | None = None) -> int | None:
        return _whole(await self.cache.attl(self.make_and_validate_key(key, version)))

    def pttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the milliseconds that `key` lives, rounded up."""
        return _whole(self.cache.ttl(self.make_and_validate_key(key, version)), 1000)

    async def apttl(self, key: Any, version: int | None = None) -> int | None:
        return _whole(await self.cache.attl(self.make_and_validate_key(key, version)), 1000)

    def expire(self, key: Any, timeout: Timeout, version: int | None = None) -> bool:
        """Have `key` live for so many seconds from now, and return whether it was there."""
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        return self.cache.touch(full, life)

    async def aexpire(self, key: Any, timeout: Timeout, version: int | None = None) -> bool:
        full, life = self.make_and_validate_key(key, version), self._life(timeout)
        return await self.cache.atouch(full, life)

    def pexpire(self, key: Any, timeout: Timeout, version: int | None = None) -> bool:
        """Do what `expire` does; a number is of milliseconds."""
        return self.expire(key, _of_milliseconds(timeout), version)

    async def apexpire(self, key: Any, timeout: Timeout, version: int | None = None) -> bool:
        return await self.aexpire(key, _of_milliseconds(timeout), version)

    def expire_at(self, key: Any, when: datetime | float, version: int | None = None) -> bool:
        """Have `key` live until a time, which may be in seconds since 1970."""
        return self.expire(key, self._until(when), version)

    async def aexpire_at(
        self, key: Any, when: datetime | float, version: int | None = None
    ) -> bool:
        return await self.aexpire(key, self._until(when), version)

    def pexpire_at(self, key: Any, when: datetime | float, version: int | None = None) -> bool:
        """Have `key` live until a time, which may be in milliseconds since 1970."""
        return self.expire(key, self._until(when, 1000), version)

    async def apexpire_at(
        self, key: Any, when: datetime | float, version: int | None = None
    ) -> bool:
        return await self.aexpire(key, self._until(when, 1000), version)

    def persist(self, key: Any, version: int | None = None) -> bool:
        """Have `key` live for ever, and return whether it was there."""
        return self.expire(key, None, version)

    async def apersist(self, key: Any, version: int | None = None) -> bool:
        return await self.aexpire(key, None, version)

    def lock(
        self,
        key: Any,
        version: int | None = None,
        timeout: Timeout = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        *,
        thread_local: bool = True,
    ) -> DjangoLock:
        """Return a lock named `key`: `with cache.lock("k"):`, `async with cache.lock("k"):`.

        Args:
            key: its name; locks and values do not meet.
            version: as of a value.
            timeout: how long it is held at most; with None it is renewed while it is held, and
                free a minute after its holder's process has ended.
            sleep: has no meaning: who waits looks again as often as it helps.
            blocking: whether `acquire` waits.
            blocking_timeout: the seconds that it waits at most; None waits until it is free.
            thread_local: has no meaning: any thread may release the lock.
        """
        full = self.make_and_validate_key(key, version)
        return new_lock(self.cache, full, timeout, blocking_timeout if blocking else 0.0)

    def _until(self, when: datetime | float, per_second: int = 1) -> float:
        """Return the seconds from now until a time."""
        at = when.timestamp() if isinstance(when, datetime) else when / per_second
        return at - self.cache.backend.clock.time()


def _whole(seconds: float | None, per_second: int = 1) -> int | None:
    return None if seconds is None else ceil(seconds * per_second)


def _of_milliseconds(timeout: Timeout) -> Timeout:
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        return timeout / 1000
    return timeout
