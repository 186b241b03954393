"""Decorated functions: called as before, and with the methods of their cache."""

from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from twofold.core import Cache
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.entry import MISSING
from twofold.errors import BackendUnavailable, BlockingCallInEventLoop
from twofold.freshness.overrides import override, requests
from twofold.functions.binding import OfClass, OfInstance
from twofold.functions.managed import ManagedFunction, resemble_async
from twofold.functions.plan import Plan
from twofold.registry import caches

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
D = TypeVar("D")


class _CachedFunction(ManagedFunction, Generic[P, R]):
    """What decorated functions of both kinds offer, beside being called."""

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call with these arguments."""
        return self._plan.keys.of(self._bound + args, kwargs)

    def get(self, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return what is stored for these arguments; never run the function.

        None means that nothing is stored, or that the function returned None.
        """
        key = self.key(*args, **kwargs)
        with self._advising("get"):
            hit: R | None = self._plan.store().get(key)
        return hit

    async def aget(self, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Do what `get` does."""
        hit: R | None = await self._plan.store().aget(self.key(*args, **kwargs))
        return hit

    def get_or(self, default: D, /, *args: P.args, **kwargs: P.kwargs) -> R | D:
        """Return what is stored for these arguments, or `default`; never run the function."""
        key = self.key(*args, **kwargs)
        with self._advising("get_or"):
            hit: R | D = self._plan.store().get(key, default)
        return hit

    async def aget_or(self, default: D, /, *args: P.args, **kwargs: P.kwargs) -> R | D:
        """Do what `get_or` does."""
        hit: R | D = await self._plan.store().aget(self.key(*args, **kwargs), default)
        return hit

    def set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Store `value` as the result for these arguments; see `Cache.set`."""
        key, plan = self.key(*args, **kwargs), self._plan
        store, tags = plan.store(), plan.tags_of(value, self._bound + args, kwargs)
        stale, timeout = plan.policy(store).stale, plan.timeout_of(value)
        with self._advising("set"):
            return store.set(key, value, timeout, stale=stale, tags=tags)

    async def aset(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do what `set` does."""
        key, plan = self.key(*args, **kwargs), self._plan
        store, tags = plan.store(), plan.tags_of(value, self._bound + args, kwargs)
        stale, timeout = plan.policy(store).stale, plan.timeout_of(value)
        return await store.aset(key, value, timeout, stale=stale, tags=tags)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function, store what it returns, whatever is stored now, and return it.

        Raises:
            AwaitableResult: the function is async; `arefresh` runs it.
        """
        guard = self._plan.store()._guard
        if guard is not None:
            with self._advising("refresh"):
                guard("refresh")
        return run_sync(self._refresh(BLOCKING, self._bound + args, kwargs))

    async def arefresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what `refresh` does; a sync function runs in a worker thread."""
        return await self._refresh(NATIVE, self._bound + args, kwargs)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove what is stored for these arguments, and return whether it was there.

        What the function is computing for them now is not stored.
        """
        key = self.key(*args, **kwargs)
        with self._advising("invalidate"):
            return self._plan.store().delete(key)

    async def ainvalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do what `invalidate` does."""
        return await self._plan.store().adelete(self.key(*args, **kwargs))

    async def _compute(
        self,
        io: Effects,
        key: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        since: float,
        outage: BackendUnavailable | None,
    ) -> R:
        """Return the result of a call that the store does not have, or cannot look up."""
        plan, store = self._plan, self._plan.store()
        key, function = self._call(key, args, kwargs)
        result: R = await store._compute(io, key, function, plan.policy(store), since, outage)
        return result

    def _call(
        self, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[str, Callable[[], Any]]:
        """Return the one call that a miss makes, and the key of what it is called with."""
        plan = self._plan
        given, named = plan.keys.snapshot(args, kwargs)
        if given is not args:
            key = plan.keys.of(given, named)
        plan.tell_of_process(key, plan.store())
        return key, plan.producer(given, named)

    async def _refresh(self, io: Effects, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        plan, store = self._plan, self._plan.store()
        given, named = plan.keys.snapshot(args, kwargs)
        key = plan.keys.of(given, named)
        plan.tell_of_process(key, store)
        function = plan.producer(given, named)
        policy = plan.policy_of(store, given, named)
        result: R = await store._refresh(io, key, function, policy)
        return result


class Cached(_CachedFunction[P, R]):
    """A decorated `def`: call it as before, or by its cache."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        plan, given = self._plan, self._bound + args
        era, store, asks = plan.found
        if era is not caches.era:
            store, asks = plan.find()
        if asks or requests:
            return self._answer(store, given, kwargs)
        key, outage = plan.keys.of(given, kwargs), None
        since = monotonic() if store._remote else 0.0
        try:
            hit: Any = store.get(key, MISSING)
        except BackendUnavailable as exc:
            hit, outage = MISSING, exc
        except BlockingCallInEventLoop:
            raise BlockingCallInEventLoop(self._advice()) from None
        if hit is not MISSING:
            plan.hits += 1
            return hit  # type: ignore[no-any-return]
        plan.misses += 1
        return run_sync(self._compute(BLOCKING, key, given, kwargs, since, outage))

    @overload
    def __get__(self: OfClass[S, Q, R], instance: S | None, owner: type[S]) -> "Cached[Q, R]": ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: OfInstance[S, Q, R], instance: S, owner: type[Any] | None = None
    ) -> "Cached[Q, R]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None or self._bound else self._bind(instance)

    def _answer(self, store: Cache, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        """Return what is stored if it may be served at its age, else what is computed."""
        plan = self._plan
        if plan.keys.asks:  # once, and of the very arguments that the function is called with
            args, kwargs = plan.keys.snapshot(args, kwargs)
        key = plan.keys.of(args, kwargs)
        policy = plan.policy_of(store, args, kwargs)
        if store._guard is not None:
            try:
                store._guard("get")
            except BlockingCallInEventLoop:
                raise BlockingCallInEventLoop(self._advice()) from None
        if requests and override():
            key, function = self._call(key, args, kwargs)
            return run_sync(store._override(BLOCKING, key, None, function, policy))  # type: ignore[no-any-return]
        since = monotonic() if store._remote else 0.0
        try:
            found = store._find(key, None, policy, since)
        except tuple(policy.errors):  # one that is kept
            plan.hits += 1
            raise
        if store._answers.serves(found, policy):
            plan.hits += 1
            return found.value  # type: ignore[no-any-return]
        given, named = plan.keys.snapshot(args, kwargs)
        if given is not args and plan.keys.of(given, named) != key:
            return self._answer(store, given, named)  # by another thread, while the store read
        plan.misses += 1
        plan.tell_of_process(key, store)
        function = plan.producer(given, named)
        return run_sync(  # type: ignore[no-any-return]
            store._bring(BLOCKING, found, function, policy, since, plan.note_served)
        )


class AsyncCached(_CachedFunction[P, R]):
    """A decorated `async def`: await it as before, or use its cache."""

    def _begin(self, plan: Plan) -> None:
        super()._begin(plan)
        resemble_async(self, plan)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        plan, given = self._plan, self._bound + args
        era, store, asks = plan.found
        if era is not caches.era:
            store, asks = plan.find()
        if asks or requests:
            return await self._answer(store, given, kwargs)
        if store._near is not None:
            hit: Any = store._near_hit(plan.keys.of(given, kwargs))
            if hit is not MISSING:
                plan.hits += 1
                return hit  # type: ignore[no-any-return]
        named: Mapping[str, Any] = kwargs
        inline, outage = store._is_inline, None
        if not inline:  # while the store is asked, the arguments' owner goes on
            given, named = plan.keys.snapshot(given, kwargs)
        key = plan.keys.of(given, named)
        since = 0.0 if inline else monotonic()
        try:  # `aget` would only cost two coroutines more where nothing waits
            hit = store.get(key, MISSING) if inline else await store.aget(key, MISSING)
        except BackendUnavailable as exc:
            hit, outage = MISSING, exc
        if hit is not MISSING:
            plan.hits += 1
            return hit  # type: ignore[no-any-return]
        plan.misses += 1
        return await self._compute(NATIVE, key, given, named, since, outage)

    async def _answer(self, store: Cache, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        """Return what is stored if it may be served at its age, else what is computed."""
        plan = self._plan
        if plan.keys.asks or not store._is_inline:  # meanwhile the arguments' owner goes on
            args, kwargs = plan.keys.snapshot(args, kwargs)
        key = plan.keys.of(args, kwargs)
        policy = plan.policy_of(store, args, kwargs)
        if requests and override():
            key, function = self._call(key, args, kwargs)
            return await store._override(NATIVE, key, None, function, policy)  # type: ignore[no-any-return]
        since = monotonic() if store._remote else 0.0
        try:
            found = await store._afind(key, None, policy, since)
        except tuple(policy.errors):
            plan.hits += 1
            raise
        if store._answers.serves(found, policy):
            plan.hits += 1
            return found.value  # type: ignore[no-any-return]
        plan.misses += 1
        _, function = self._call(key, args, kwargs)
        return await store._bring(  # type: ignore[no-any-return]
            NATIVE, found, function, policy, since, plan.note_served
        )

    @overload
    def __get__(
        self: OfClass[S, Q, Coroutine[Any, Any, R]], instance: S | None, owner: type[S]
    ) -> "AsyncCached[Q, R]": ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: OfInstance[S, Q, Coroutine[Any, Any, R]], instance: S, owner: type[Any] | None = None
    ) -> "AsyncCached[Q, R]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None or self._bound else self._bind(instance)


if TYPE_CHECKING:  # neither takes parameters when the program runs
    _ClassMethod: TypeAlias = classmethod[Any, ..., Any]
    _StaticMethod: TypeAlias = staticmethod[..., Any]
else:
    _ClassMethod, _StaticMethod = classmethod, staticmethod


class CachedClassMethod(_ClassMethod):
    """A decorated class method, as a class body holds it: each class has it bound to itself."""

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        function: Any = self.__func__
        return function._bind(type(instance) if owner is None else owner)

    def __reduce__(self) -> Any:
        return type(self), (self.__func__,)


class CachedStaticMethod(_StaticMethod):
    """A decorated static method, as a class body holds it."""

    def __reduce__(self) -> Any:
        return type(self), (self.__func__,)
