"""Decorated functions of many ids: called as before, and with the methods of their cache."""

from collections.abc import Coroutine, Mapping
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from twofold.computing.function_of_many import FunctionOfMany
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import BlockingCallInEventLoop
from twofold.functions.binding import OfClass, OfInstance
from twofold.functions.managed import ManagedFunction, resemble_async
from twofold.functions.plan_of_many import CallOfMany, PlanOfMany

P = ParamSpec("P")
Q = ParamSpec("Q")
K = TypeVar("K")
V = TypeVar("V")
S = TypeVar("S")


class _CachedMany(ManagedFunction, Generic[P, K, V]):
    """What decorated functions of many ids offer, beside being called."""

    _plan: PlanOfMany
    _plan_type = PlanOfMany

    def key(self, one: Any, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of one id's result; the other arguments are those of a call."""
        return self._plan.keys.of((*self._bound, one, *args), kwargs)

    def get(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Return what is stored for ids; never run the function."""
        call = self._of(args, kwargs)
        keys = call.keys()
        with self._advising("get"):
            return _by_id(keys, self._plan.store().get_many(keys.values()))

    async def aget(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Do what `get` does."""
        call = self._of(args, kwargs)
        keys = call.keys()
        return _by_id(keys, await self._plan.store().aget_many(keys.values()))

    def set(self, results: Mapping[K, V], /, *args: Any, **kwargs: Any) -> list[K]:
        """Store results by their ids, and return the ids whose are not stored.

        The other arguments are those of a call.
        """
        self._check("set")
        return run_sync(self._set(BLOCKING, results, args, kwargs))

    async def aset(self, results: Mapping[K, V], /, *args: Any, **kwargs: Any) -> list[K]:
        """Do what `set` does."""
        return await self._set(NATIVE, results, args, kwargs)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Run the function, store what it returns, whatever is stored now, and return it.

        What it leaves out is removed.

        Raises:
            AwaitableResult: the function is async; `arefresh` runs it.
        """
        self._check("refresh")
        return run_sync(self._refresh(BLOCKING, args, kwargs))

    async def arefresh(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Do what `refresh` does; a sync function runs in a worker thread."""
        return await self._refresh(NATIVE, args, kwargs)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> int:
        """Remove what is stored for ids, and return for how many something was.

        What the function is computing for them now is not stored.
        """
        keys = self._of(args, kwargs).keys()
        with self._advising("invalidate"):
            return self._plan.store().delete_many(keys.values())

    async def ainvalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> int:
        """Do what `invalidate` does."""
        keys = self._of(args, kwargs).keys()
        return await self._plan.store().adelete_many(keys.values())

    def _of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallOfMany:
        return CallOfMany(self._plan, self._bound, args, kwargs)

    def _check(self, method: str) -> None:
        """Raise `BlockingCallInEventLoop` where the store refuses to block."""
        guard = self._plan.store()._guard
        if guard is not None:
            with self._advising(method):
                guard(method)

    async def _answer(
        self, io: Effects, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[K, V]:
        """Return what is stored where it may be served at its age, and bring the rest."""
        plan, store = self._plan, self._plan.store()
        keys, function = self._asked(args, kwargs)
        policy = plan.policy(store)
        brought = await store._bring_many(io, list(function.names), function, policy)
        if function.found is not None:
            plan.hits += function.found
            plan.misses += len(function.names) - function.found
        return _by_id(keys, brought)

    async def _refresh(
        self, io: Effects, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[K, V]:
        plan, store = self._plan, self._plan.store()
        keys, function = self._asked(args, kwargs)
        names, policy = list(function.names), plan.policy(store)
        return _by_id(keys, await store._batches.refresh(io, names, function, policy))

    def _asked(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[dict[Any, str], FunctionOfMany]:
        """Return the normalised keys of the ids of a call, and what brings their results."""
        plan, store = self._plan, self._plan.store()
        call, keys, names = self._of(args, kwargs), dict[Any, str](), dict[str, Any]()
        for each, key in call.keys().items():
            plan.tell_of_process(key, store)
            keys[each] = full = store._key(key, None)
            names.setdefault(full, each)  # of ids that share a key, one is asked for
        tags = {full: plan.tags_of_call(call, each) for full, each in names.items()}
        function = FunctionOfMany(plan.producer_of_many(call), names, plan.missing, tags)
        return keys, function

    async def _set(
        self,
        io: Effects,
        results: Mapping[K, V],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> list[K]:
        plan, store = self._plan, self._plan.store()
        call = self._of((list(results), *args), kwargs)
        keys, alike = call.keys(), dict[Any, dict[str, V]]()
        for each, value in results.items():
            tags = plan.tags_of(value, *call.arguments(each))
            alike.setdefault((plan.timeout_of(value), tags), {})[keys[each]] = value
        stale, failed, store_all = plan.policy(store).stale, set[str](), store.set_many
        for (timeout, tags), data in alike.items():
            how = {"stale": stale, "tags": tags}
            failed |= {*await io.op(store_all, store.aset_many, data, timeout, None, **how)}
        return [each for each, key in keys.items() if key in failed]


class CachedMany(_CachedMany[P, K, V]):
    """A decorated `def` of many ids: call it as before, or by its cache."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        guard = self._plan.store()._guard
        if guard is not None:
            try:
                guard("get_many")
            except BlockingCallInEventLoop:
                raise BlockingCallInEventLoop(self._advice()) from None
        return run_sync(self._answer(BLOCKING, args, kwargs))

    @overload
    def __get__(
        self: OfClass[S, Q, dict[K, V]], instance: S | None, owner: type[S]
    ) -> "CachedMany[Q, K, V]": ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: OfInstance[S, Q, dict[K, V]], instance: S, owner: type[Any] | None = None
    ) -> "CachedMany[Q, K, V]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None or self._bound else self._bind(instance)


class AsyncCachedMany(_CachedMany[P, K, V]):
    """A decorated `async def` of many ids: await it as before, or use its cache."""

    def _begin(self, plan: Any) -> None:
        super()._begin(plan)
        resemble_async(self, plan)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        return await self._answer(NATIVE, args, kwargs)

    @overload
    def __get__(
        self: OfClass[S, Q, Coroutine[Any, Any, dict[K, V]]], instance: S | None, owner: type[S]
    ) -> "AsyncCachedMany[Q, K, V]": ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: OfInstance[S, Q, Coroutine[Any, Any, dict[K, V]]],
        instance: S,
        owner: type[Any] | None = None,
    ) -> "AsyncCachedMany[Q, K, V]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None or self._bound else self._bind(instance)


def _by_id(keys: Mapping[Any, str], values: Mapping[str, Any]) -> dict[Any, Any]:
    """Return values by the ids whose keys have one, in the order of the ids."""
    return {each: values[key] for each, key in keys.items() if key in values}
