"""The operations of a cache that compute what they miss."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar, overload

from twofold.computations import aproducer, producer
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.engine import Engine
from twofold.entry import MISSING
from twofold.errors import BackendUnavailable
from twofold.policy import DEFAULT_TIMEOUT, Condition, Policy, Timeout

T = TypeVar("T")


class ComputingCache(Engine):
    """`get_or_set`, and what decorated functions are made of."""

    @overload
    def get_or_set(
        self,
        key: str,
        default: Callable[[], T],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    @overload
    def get_or_set(
        self,
        key: str,
        default: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    def get_or_set(
        self,
        key: str,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Return the value of `key`; if it is missing, store and return `default`.

        A callable `default` is called, once however many threads and tasks miss the key
        together; the others are given what it returned, or its exception. An outage of
        the store is a miss.

        Raises:
            AwaitableResult: `default` is async; `aget_or_set` takes such.
            ReentrantCall: `default` asks, while it computes `key`, for `key`.
        """
        if self._guard is not None:
            self._guard("get_or_set")
        full, ttl = self._key(key, version), self._ttl(timeout)
        since = monotonic() if self._remote else 0.0
        stored = self._tolerant.get(full)
        value: Any = MISSING
        if stored is not None:
            value = stored if type(stored) in self._unwrapped else self._load(full, stored)
        if value is not MISSING:
            self._counts.hits += 1
            return value
        self._counts.misses += 1
        return run_sync(
            self._computations.compute(
                BLOCKING, full, producer(default), Policy(ttl), since, reachable=self.available
            )
        )

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], Awaitable[T]],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], T],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> T: ...

    async def aget_or_set(
        self,
        key: str,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Do what `get_or_set` does; `default` is a value, a function or an async function.

        An async function runs in a task of its own, which goes on if this caller is
        cancelled while others wait; a sync one runs in a worker thread.
        """
        full, ttl = self._key(key, version), self._ttl(timeout)
        since = monotonic() if self._remote else 0.0
        stored = await self._tolerant.aget(full)
        value: Any = MISSING
        if stored is not None:
            value = stored if type(stored) in self._unwrapped else self._load(full, stored)
        if value is not MISSING:
            self._counts.hits += 1
            return value
        self._counts.misses += 1
        return await self._computations.compute(
            NATIVE, full, aproducer(default), Policy(ttl), since, reachable=self.available
        )

    async def _compute(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        timeout: Timeout,
        condition: Condition | None,
        since: float,
        outage: BackendUnavailable | None,
    ) -> Any:
        """Return what a decorated function missed, having asked the store `since` then.

        `outage` is why it was missed, if the store failed.
        """
        if outage is not None:
            self._counts.misses += 1
            if self._fail_open is not None:
                self._fail_open.outage.fail(outage)
        full, policy = self._key(key, None), Policy(self._ttl(timeout), condition)
        return await self._computations.compute(
            io, full, function, policy, since, reachable=outage is None and self.available
        )

    async def _refresh(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        timeout: Timeout,
        condition: Condition | None,
    ) -> Any:
        """Run a decorated function again, and store its result."""
        full, policy = self._key(key, None), Policy(self._ttl(timeout), condition)
        return await self._computations.refresh(io, full, function, policy)
