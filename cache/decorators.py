"""`cached`: a function in, the same function with a cache out.

`def` stays `def` and `async def` stays `async def`; methods bind as ever. A hit is one
lookup; at a miss the function runs once for all who miss the same arguments together.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, update_wrapper
from inspect import (
    Signature,
    isasyncgenfunction,
    iscoroutinefunction,
    isgeneratorfunction,
    signature,
)
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Self, TypeVar, cast, overload

from asgiref.sync import markcoroutinefunction

from twofold.core import Cache
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.entry import MISSING
from twofold.errors import BackendUnavailable, BlockingCallInEventLoop, SettingsError
from twofold.fill import Condition
from twofold.keys import CallKeys
from twofold.policy import DEFAULT_TIMEOUT, Timeout, seconds
from twofold.registry import caches
from twofold.spelling import did_you_mean

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class CacheInfo(NamedTuple):
    """What the calls of a function came to, in this process."""

    hits: int
    misses: int
    computed: int
    """How often the function ran; misses that waited together share one run."""


class _Plan:
    """What a decorated function and its bound methods have in common."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        cache: Cache | str = "default",
        timeout: Timeout = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
    ) -> None:
        self.function = function
        self.name: str = _name_of(function)
        self.is_async: bool = _is_async(function)
        self.store: Callable[[], Cache] = _finder(cache)
        self.timeout = timeout if timeout is DEFAULT_TIMEOUT else seconds(timeout)
        self.keys: CallKeys = CallKeys(function, key, ignore)
        self.condition = condition
        self.hits = self.misses = self.computed = 0

    def producer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Return the one call that a miss makes, as sync or async as the function is."""

        def produce() -> Any:
            self.computed += 1
            return self.function(*args, **kwargs)

        async def aproduce() -> Any:
            self.computed += 1
            return await self.function(*args, **kwargs)

        producer = aproduce if self.is_async else produce
        producer.__qualname__ = self.name  # errors are to name the user's own
        return producer


def _finder(cache: Cache | str) -> Callable[[], Cache]:
    """Return what looks an alias up at each call, for settings may replace its cache."""
    return partial(caches.__getitem__, cache) if isinstance(cache, str) else lambda: cache


def _name_of(function: Callable[..., Any]) -> str:
    """Return the name of what is called; objects and partial functions go by their class."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _is_async(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(_body_of(function))


def _body_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a call runs: of a partial one, or of an object's class."""
    while isinstance(function, partial):
        function = function.func
    return function if hasattr(function, "__code__") else type(function).__call__


class _SignatureOfFunction:
    """The `__signature__` of a decorated function, which the class itself has not."""

    def __get__(self, decorated: Any, owner: type[Any]) -> Signature:
        if decorated is None:
            raise AttributeError("__signature__")
        full = signature(decorated._plan.function)
        return full.replace(parameters=list(full.parameters.values())[len(decorated._bound) :])


class _CachedFunction(Generic[P, R]):
    """What decorated functions of both kinds offer, beside being called."""

    __signature__: _SignatureOfFunction = _SignatureOfFunction()

    def __init__(self, plan: _Plan) -> None:
        self._resemble(plan)
        self._plan = plan
        self._bound: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        bound = f" of {self._bound[0]!r}" if self._bound else ""
        return f"<cached {self._plan.name}{bound} {self.cache_info()}>"

    def __reduce__(self) -> Any:
        if self._bound:
            return getattr, (self._bound[0], self._plan.name.rpartition(".")[2])
        return self._plan.name

    def _resemble(self, plan: _Plan) -> None:
        """Take over the name, the text and the attributes of the function, but none of ours."""
        theirs, reserved = getattr(plan.function, "__dict__", {}), {*dir(self), "_plan", "_bound"}
        vars(self).update({name: theirs[name] for name in theirs.keys() - reserved})
        vars(self).update(__name__=plan.name.rpartition(".")[2], __qualname__=plan.name)
        update_wrapper(cast(Any, self), plan.function, updated=())

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

    def set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Store `value` as the result for these arguments; see `Cache.set`."""
        key = self.key(*args, **kwargs)
        with self._advising("set"):
            return self._plan.store().set(key, value, self._plan.timeout)

    async def aset(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do what `set` does."""
        plan = self._plan
        return await plan.store().aset(self.key(*args, **kwargs), value, plan.timeout)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function, store what it returns, whatever is stored now, and return it.

        Raises:
            AwaitableResult: the function is async; `arefresh` runs it.
        """
        guard = self._plan.store()._guard
        if guard is not None:
            with self._advising("refresh"):
                guard("refresh")
        return run_sync(self._fill(BLOCKING, self._bound + args, kwargs, refresh=True))

    async def arefresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what `refresh` does; a sync function runs in a worker thread."""
        return await self._fill(NATIVE, self._bound + args, kwargs, refresh=True)

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

    def cache_info(self) -> CacheInfo:
        """Return the hits, misses and runs of this function in this process."""
        return CacheInfo(self._plan.hits, self._plan.misses, self._plan.computed)

    def cache_clear(self) -> None:
        """Remove all that is stored of this function, by the prefix of its keys.

        Raises:
            SettingsError: `key=` is a function, or a template that begins with a field:
                then the keys have no prefix in common.
        """
        prefix = self._key_prefix()
        with self._advising("cache_clear", "()"):
            self._plan.store().clear_prefix(prefix)

    async def acache_clear(self) -> None:
        """Do what `cache_clear` does."""
        await self._plan.store().aclear_prefix(self._key_prefix())

    def _key_prefix(self) -> str:
        prefix = self._plan.keys.prefix
        if not prefix:
            raise SettingsError(
                f"the keys of {self._plan.name}() have no prefix in common:"
                " begin the key= template with a text of its own, or invalidate(...) each call"
            )
        return prefix

    @contextmanager
    def _advising(self, method: str, arguments: str = "(...)") -> Iterator[None]:
        """Name the function's own twin of `method` where the store refuses to block."""
        try:
            yield
        except BlockingCallInEventLoop:
            name = self._plan.name
            raise BlockingCallInEventLoop(
                f"{name}.{method}() uses the cache {self._plan.store().alias!r}, which blocks, and"
                f" an event loop is running in this thread: `await {name}.a{method}{arguments}`"
                " instead"
            ) from None

    async def _fill(
        self, io: Effects, args: tuple[Any, ...], kwargs: dict[str, Any], refresh: bool = False
    ) -> R:
        plan = self._plan
        result: R = await plan.store()._fill(
            io,
            plan.keys.of(args, kwargs),
            plan.producer(args, kwargs),
            plan.timeout,
            plan.condition,
            refresh,
        )
        return result

    def _bind(self, first: object) -> Self:
        bound = object.__new__(type(self))
        vars(bound).update(vars(self))
        bound._bound = (first,)
        return bound


class Cached(_CachedFunction[P, R]):
    """A decorated `def`: call it as before, or by its cache."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        plan = self._plan
        given = self._bound + args
        try:
            hit: Any = plan.store().get(plan.keys.of(given, kwargs), MISSING)
        except BackendUnavailable:
            hit = MISSING
        except BlockingCallInEventLoop:
            raise BlockingCallInEventLoop(self._advice()) from None
        if hit is not MISSING:
            plan.hits += 1
            return hit  # type: ignore[no-any-return]
        plan.misses += 1
        return run_sync(self._fill(BLOCKING, given, kwargs))

    @overload
    def __get__(
        self: "Cached[Concatenate[type[S], Q], R]", instance: S | None, owner: type[S]
    ) -> "Cached[Q, R]": ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: "Cached[Concatenate[S, Q], R]", instance: S, owner: type[Any] | None = None
    ) -> "Cached[Q, R]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None else self._bind(instance)

    def _advice(self) -> str:
        name = self._plan.name
        return (
            f"{name}() is cached in {self._plan.store().alias!r}, which blocks, and an event loop"
            f" is running in this thread: make {name} an `async def`, `await"
            f" sync_to_async({name})(...)`, or read it with `await {name}.aget(...)`"
        )


class AsyncCached(_CachedFunction[P, R]):
    """A decorated `async def`: await it as before, or use its cache."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__(plan)
        markcoroutinefunction(self)
        # Before Python 3.12 `inspect` knows async functions by their code alone.
        body = _body_of(plan.function)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(self, name, getattr(body, name, None))

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        plan = self._plan
        given = self._bound + args
        store, key = plan.store(), plan.keys.of(given, kwargs)
        try:
            if store.backend.kind == "inline":  # `aget` would only cost two coroutines more
                hit: Any = store.get(key, MISSING)
            else:
                hit = await store.aget(key, MISSING)
        except BackendUnavailable:
            hit = MISSING
        if hit is not MISSING:
            plan.hits += 1
            return hit  # type: ignore[no-any-return]
        plan.misses += 1
        return await self._fill(NATIVE, given, kwargs)

    @overload
    def __get__(
        self: "AsyncCached[Concatenate[type[S], Q], R]", instance: S | None, owner: type[S]
    ) -> "AsyncCached[Q, R]": ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: "AsyncCached[Concatenate[S, Q], R]", instance: S, owner: type[Any] | None = None
    ) -> "AsyncCached[Q, R]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None else self._bind(instance)


class _OfClass:
    """A decorated class or static method, as the class and its instances see it."""

    def __init__(self, function: _CachedFunction[..., Any], takes_class: bool) -> None:
        self._function = function
        self._takes_class = takes_class

    def __get__(self, instance: object, owner: type[Any]) -> _CachedFunction[..., Any]:
        return self._function._bind(owner) if self._takes_class else self._function


class Decorator:
    """Cache what a function returns, by its arguments: `@cached`, `@cached(timeout=60)`.

    Works on `def`, `async def`, methods, class methods and static methods (put `@cached`
    on top of `@classmethod`). A returned None is cached; an exception is not.

    Args:
        function: what to decorate, when used without parentheses.
        cache: an alias of the settings, or a cache.
        timeout: how long a result is kept; the alias's own `TIMEOUT` unless given.
        key: a template such as "user:{user.id}" over the function's parameters, or a
            function of the same arguments that returns the key.
        ignore: parameters that do not change the result, and stay out of the key.
        condition: tells of a result whether to store it.

    Raises:
        SettingsError: a parameter that `key` or `ignore` names is none of the function's.
        UnstableArgument: on a call, an argument has no identity to make a key of.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __repr__(self) -> str:
        return f"cached({', '.join(f'{name}={value!r}' for name, value in self._options.items())})"

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncCached[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Cached[P, R]: ...

    @overload
    def __call__(
        self,
        *,
        cache: Cache | str = "default",
        timeout: Timeout = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
    ) -> "Decorator": ...

    def __call__(self, *functions: Any, **options: Any) -> Any:
        for name in options.keys() - _OPTIONS:
            raise TypeError(f"cached() has no option {name!r}{did_you_mean(name, _OPTIONS)}")
        if not functions:
            return Decorator(**{**self._options, **options})
        (function,) = functions
        if isinstance(function, classmethod | staticmethod):
            inner = self._decorate(function.__func__)
            return _OfClass(inner, isinstance(function, classmethod))
        return self._decorate(function)

    def _decorate(self, function: Any) -> Cached[..., Any] | AsyncCached[..., Any]:
        if not callable(function):
            raise SettingsError(f"@cached decorates functions, and {function!r} is none")
        body = _body_of(function)
        if isgeneratorfunction(body) or isasyncgenfunction(body):
            raise SettingsError(
                f"{_name_of(function)}() is a generator, which can be read once only:"
                " let it return a list"
            )
        plan = _Plan(function, **self._options)
        return AsyncCached(plan) if plan.is_async else Cached(plan)


_OPTIONS = frozenset({"cache", "timeout", "key", "ignore", "condition"})

cached: Decorator = Decorator()
