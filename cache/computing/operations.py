"""The operations of a cache that compute what they miss, or have it computed anew."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import Any, TypeVar, Unpack, overload

from twofold.claims.stored import end_rest
from twofold.computing.function_of_many import FunctionOfMany
from twofold.computing.maker import aproducer, producer
from twofold.effects import BLOCKING, NATIVE, Effects, loops, run_sync, within
from twofold.engine import Engine
from twofold.entry import MISSING
from twofold.errors import BackendUnavailable, SettingsError
from twofold.freshness.options import Freshness
from twofold.freshness.overrides import override, requests
from twofold.freshness.policy import Policy, plain
from twofold.metadata import has_tags
from twofold.timeouts import DEFAULT_TIMEOUT, Condition, Timeout

T = TypeVar("T")
D = TypeVar("D")


class ComputingCache(Engine):
    """`get_or_set`, `get_or_set_many`, `mark_stale`, and what decorated functions are made of."""

    @overload
    def get_or_set(
        self,
        key: str,
        default: Callable[[], T],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T: ...

    @overload
    def get_or_set(
        self,
        key: str,
        default: T,
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T: ...

    def get_or_set(
        self,
        key: str,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> Any:
        """Return the value of `key`; if it is missing, store and return `default`.

        A callable `default` is called, once however many threads and tasks miss the key
        together; the others are given what it returned, or its exception. An outage of
        the store is a miss.

        Args:
            key: what to look up.
            default: a value, or a function that computes it.
            timeout: how long the value is fresh; may be a function of it.
            version: the alias's own unless given.
            freshness: what may be served after that, and when it is computed anew; the
                alias's `FRESHNESS` unless given. An int that is given as a value is a
                counter, to which none of it applies.

        Raises:
            ComputationTimeout: it took longer than `max_wait`, and there is no stale value.
            AwaitableResult: `default` is async; `aget_or_set` takes such.
            ReentrantCall: `default` asks, while it computes `key`, for `key`.
        """
        if self._guard is not None and loops.running() is not None:
            self._guard("get_or_set")
        if freshness or self._asks or requests or callable(timeout):
            return self._answer(key, version, default, self._policy_of(timeout, freshness, default))
        full, ttl = self._key(key, version), self._ttl(timeout)
        since = monotonic() if self._remote else 0.0
        stored = self._tolerant_reads.get(full)
        value: Any = MISSING
        if stored is not None:
            value = stored if type(stored) in self._unwrapped else self._load(full, stored)
        if value is not MISSING:
            self._counts.hits += 1
            return value
        if has_tags(stored):
            return self._answer(key, version, default, self._policy(ttl, {}))
        self._counts.misses += 1
        return run_sync(
            self._computations.compute(
                BLOCKING, full, producer(default), plain(ttl), since, reachable=self.available
            )
        )

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], Awaitable[T]],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T: ...

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], T],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T: ...

    @overload
    async def aget_or_set(
        self,
        key: str,
        default: T,
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T: ...

    async def aget_or_set(
        self,
        key: str,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> Any:
        """Do what `get_or_set` does; `default` is a value, a function or an async function.

        An async function runs in a task of its own, which goes on if this caller is
        cancelled while others wait; a sync one runs in a worker thread.
        """
        if freshness or self._asks or requests or callable(timeout):
            policy = self._policy_of(timeout, freshness, default)
            return await self._aanswer(key, version, default, policy)
        full, ttl = self._key(key, version), self._ttl(timeout)
        since = monotonic() if self._remote else 0.0
        stored = await self._tolerant_reads.aget(full)
        value: Any = MISSING
        if stored is not None:
            value = stored if type(stored) in self._unwrapped else self._load(full, stored)
        if value is not MISSING:
            self._counts.hits += 1
            return value
        if has_tags(stored):
            return await self._aanswer(key, version, default, self._policy(ttl, {}))
        self._counts.misses += 1
        return await self._computations.compute(
            NATIVE, full, aproducer(default), plain(ttl), since, reachable=self.available
        )

    def _policy_of(self, timeout: Any, freshness: Mapping[str, Any], default: Any) -> Policy:
        policy = self._policy(timeout, freshness)
        if type(default) is int:  # a counter, which the store adds to
            return policy._replace(stale=0.0, early=None, errors={})
        return policy

    def _answer(
        self,
        key: str,
        version: int | None,
        default: Any,
        policy: Policy,
        io: Effects = BLOCKING,
        condition: Condition | None = None,
    ) -> Any:
        if requests and override():
            policy = policy if condition is None else policy._replace(condition=condition)
            return run_sync(self._override(io, key, version, producer(default), policy))
        since = monotonic() if self._remote else 0.0
        found = self._find(key, version, policy, since)
        if self._answers.serves(found, policy):
            return found.value
        if condition is not None:  # which no hit pays for
            policy = policy._replace(condition=condition)
        return run_sync(self._bring(io, found, producer(default), policy, since))

    async def _aanswer(self, key: str, version: int | None, default: Any, policy: Policy) -> Any:
        if requests and override():
            return await self._override(NATIVE, key, version, aproducer(default), policy)
        since = monotonic() if self._remote else 0.0
        found = await self._afind(key, version, policy, since)
        if self._answers.serves(found, policy):
            return found.value
        return await self._bring(NATIVE, found, aproducer(default), policy, since)

    @overload
    def get_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Mapping[str, T]],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> dict[str, T]: ...

    @overload
    def get_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Mapping[str, T]],
        timeout: Timeout | Callable[[T | D], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        missing: D,
        **freshness: Unpack[Freshness],
    ) -> dict[str, T | D]: ...

    def get_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        missing: Any = MISSING,
        **freshness: Unpack[Freshness],
    ) -> dict[str, Any]:
        """Return the values of `keys`, of which `function` brings those that are missing.

        It is called once, with a list of the keys that nobody else is computing, and returns a
        mapping of them to their values. The others are waited for after its own are stored.

        Args:
            keys: what to look up.
            function: brings what is missing; a key that it leaves out is not in the result
                either, and is not stored.
            timeout: how long each value is fresh; may be a function of it.
            version: the alias's own unless given.
            missing: a value for the keys that `function` leaves out, to be stored and returned.
            freshness: what may be served after that, and when it is computed anew; the
                alias's `FRESHNESS` unless given. `errors` is not for many keys.

        Raises:
            ComputationTimeout: a key without a stale value took longer than `max_wait`.
            NotAMapping: `function` returned something else than a mapping.
            AwaitableResult: `function` is async; `aget_or_set_many` takes such.
            ReentrantCall: `function` asks for one of the keys that it computes.
        """
        if self._guard is not None:
            self._guard("get_or_set_many")
        policy = self._policy_of_many(timeout, freshness)
        return run_sync(self._get_or_set_many(BLOCKING, keys, function, policy, version, missing))

    @overload
    async def aget_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Awaitable[Mapping[str, T]] | Mapping[str, T]],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> dict[str, T]: ...

    @overload
    async def aget_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Awaitable[Mapping[str, T]] | Mapping[str, T]],
        timeout: Timeout | Callable[[T | D], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        missing: D,
        **freshness: Unpack[Freshness],
    ) -> dict[str, T | D]: ...

    async def aget_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        missing: Any = MISSING,
        **freshness: Unpack[Freshness],
    ) -> dict[str, Any]:
        """Do what `get_or_set_many` does; `function` may be async."""
        policy = self._policy_of_many(timeout, freshness)
        return await self._get_or_set_many(NATIVE, keys, function, policy, version, missing)

    async def _get_or_set_many(
        self,
        io: Effects,
        keys: Iterable[str],
        function: Callable[[list[str]], Any],
        policy: Policy,
        version: int | None,
        missing: Any,
    ) -> dict[str, Any]:
        names = self._names(keys, version)
        asked = FunctionOfMany(function, names, missing)
        brought = await self._bring_many(io, list(names), asked, policy)
        return {key: brought[full] for full, key in names.items() if full in brought}

    def _policy_of_many(
        self, timeout: Any, freshness: Mapping[str, Any], condition: Condition | None = None
    ) -> Policy:
        if freshness.get("errors"):
            raise SettingsError(
                "errors= is for single values: an exception of a function of many keys does not"
                " tell whose it is. Let the function leave such keys out, and give missing="
            )
        return self._policy(timeout, freshness, condition)._replace(errors={})

    def mark_stale(self, key: str, version: int | None = None) -> bool:
        """Make the value of `key` stale, and return whether there was one that was fresh.

        It stays until its life is over, for those who take a stale value. What is being computed
        for `key` now is not kept. The next who asks refreshes it, also soon after a failure.
        """
        if self._guard is not None:
            self._guard("mark_stale")
        return run_sync(self._mark_stale(BLOCKING, key, version))

    async def amark_stale(self, key: str, version: int | None = None) -> bool:
        """Do what `mark_stale` does."""
        return await self._mark_stale(NATIVE, key, version)

    async def _mark_stale(self, io: Effects, key: str, version: int | None) -> bool:
        full, store = self._key(key, version), self._backend
        self._detach(full)
        io = within(io, store.deadline)
        marked = await self._fresh.mark_stale(io, full)
        self._rests.end(full)
        if not self._store.private:
            await end_rest(io, store, self._keys.claim(full))
        return marked

    async def _compute(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        policy: Policy,
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
        return await self._computations.compute(
            io,
            self._key(key, None),
            function,
            policy,
            since,
            reachable=outage is None and self.available,
        )

    async def _refresh(
        self,
        io: Effects,
        key: str,
        function: Callable[[], Any],
        policy: Policy,
    ) -> Any:
        """Run a decorated function again, and store its result."""
        return await self._computations.refresh(io, self._key(key, None), function, policy)
