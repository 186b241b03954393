"""`cached`: a function in, the same function with a cache out.

`def` stays `def` and `async def` stays `async def`; methods bind as ever. A hit is one
lookup; at a miss the function runs once for all who miss the same arguments together.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from inspect import Parameter, Signature, signature
from typing import Any, Generic, Never, ParamSpec, TypeVar, Unpack, get_overloads, overload

from twofold.core import Cache
from twofold.errors import SettingsError
from twofold.freshness.options import Freshness
from twofold.functions.cached import AsyncCached, Cached, CachedClassMethod, CachedStaticMethod
from twofold.functions.cached_many import AsyncCachedMany, CachedMany
from twofold.functions.plan import Plan
from twofold.functions.plan_of_many import PlanOfMany
from twofold.spelling import did_you_mean
from twofold.timeouts import DEFAULT_TIMEOUT, Condition, Timeout

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M")
D = TypeVar("D")

_OPTIONS = frozenset({"cache", "timeout", "key", "ignore", "condition", *Freshness.__annotations__})


class _Signature:
    """What `inspect.signature` and TAB show of a decorator: the function, and its options."""

    def __get__(self, decorator: Any, owner: type[Any]) -> Signature:
        if decorator is None:
            raise AttributeError("__signature__")
        of_options = signature(get_overloads(owner.__call__)[-1])
        _, *options = of_options.parameters.values()
        function = Parameter("function", Parameter.POSITIONAL_ONLY, default=None)
        optional = [
            each.replace(default=...) if each.name == "missing" else each for each in options
        ]
        return of_options.replace(parameters=[function, *optional])


class _Options:
    """What a decorator is given before the function, and how it is applied to one."""

    __signature__: _Signature = _Signature()
    _names = _OPTIONS
    _called = "cached"

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"{self._called}({given})"

    def _apply(self, functions: tuple[Any, ...], options: dict[str, Any]) -> Any:
        for name in sorted(options.keys() - self._names):
            raise SettingsError(f"{self._called}() has no option {name!r}{self._advice(name)}")
        if not functions:
            return type(self)(**{**self._options, **options})
        (function,) = functions
        if isinstance(function, classmethod):
            return CachedClassMethod(self._decorate(function.__func__, options))
        if isinstance(function, staticmethod):
            return CachedStaticMethod(self._decorate(function.__func__, options))
        return self._decorate(function, options)

    def _decorate(self, function: Any, options: dict[str, Any]) -> Any:
        options = {**self._options, **options}
        if hasattr(function, "__func__") and options.get("key") is None:
            # A bound method: its object stands in the keys.
            return self._decorate(function.__func__, options)._bind(function.__self__)
        return self._wrapped(function, options)

    def _wrapped(self, function: Any, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _advice(self, name: str) -> str:
        """Return what to write for an option that other caches have, or whose name is near."""
        from twofold.elsewhere import OF_DECORATORS

        if advice := OF_DECORATORS.get(name):
            return f": {advice}"
        return did_you_mean(name, self._names) or f"; it has {', '.join(sorted(self._names))}"


class Decorator(_Options):
    """Cache what a function returns, by its arguments: `@cached`, `@cached(timeout=60)`.

    Works on `def`, `async def`, methods, class methods and static methods (put `@cached`
    on top of `@classmethod`). A returned None is cached; an exception is not.

    Args:
        function: what to decorate, when used without parentheses.
        cache: an alias of the settings, or a cache.
        timeout: how long a result is fresh, or a function of the result that tells; the
            alias's own `TIMEOUT` unless given.
        key: a template such as "user:{user.id}" over the function's parameters, or a
            function of the same arguments that returns the key.
        ignore: parameters that do not change the result, and stay out of the key.
        condition: tells whether to store a result.
        freshness: what may be served after the timeout, and when it is computed anew: see
            `Freshness`; the alias's own `FRESHNESS` unless given. `tags` are templates over the
            parameters, such as ["user:{user_id}"], or a function of the result.

    Raises:
        SettingsError: an option is none of these, or cannot be: a parameter that `key` or
            `ignore` names is none of the function's, a default can stand in no key, `key`
            or `condition` is async, the function is a generator.
        UnstableArgument: on a call, an argument has no identity to make a key of.
    """

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
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
        **freshness: Unpack[Freshness],
    ) -> "Decorator": ...

    def __call__(self, *functions: Any, **options: Any) -> Any:
        return self._apply(functions, options)

    @property
    def many(self) -> "ManyDecorator[Never]":
        """Cache what a function returns for each of many ids: see `ManyDecorator`."""
        return ManyDecorator(**self._options)

    def _wrapped(self, function: Any, options: dict[str, Any]) -> Any:
        plan = Plan(function, **options)
        return AsyncCached(plan) if plan.is_async else Cached(plan)


class ManyDecorator(_Options, Generic[M]):
    """Cache what a function returns for each id: `@cached.many`, `@cached.many(timeout=60)`.

    It decorates what takes an iterable of hashable ids, as the first parameter after self or
    cls, and returns a mapping of them to results. Called with ids, it runs once for those that
    are missing and that nobody else is computing, and returns a dict in the order of the ids. An
    id that it leaves out is not in that, and not stored. The other arguments are part of each key.

    Args:
        function: what to decorate, when used without parentheses.
        missing: a result for the ids that the function leaves out, to be stored and returned.
        cache, timeout, key, ignore, condition, freshness: as those of `cached`; `key`,
            `timeout` and `condition` are for one id and its result: "user:{ids}" is of one.
            There is no `errors`.

    Raises:
        SettingsError: an option is none of these, or cannot be, or no parameter takes ids.
        NotAMapping: on a call, the function returned something else than a mapping.
    """

    _names = frozenset({*_OPTIONS, "missing"})
    _called = "cached.many"

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Mapping[K, V]]], /
    ) -> AsyncCachedMany[P, K, V | M]: ...

    @overload
    def __call__(self, function: Callable[P, Mapping[K, V]], /) -> CachedMany[P, K, V | M]: ...

    @overload
    def __call__(
        self,
        *,
        cache: Cache | str = "default",
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
        **freshness: Unpack[Freshness],
    ) -> "ManyDecorator[M]": ...

    @overload
    def __call__(
        self,
        *,
        missing: D,
        cache: Cache | str = "default",
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
        **freshness: Unpack[Freshness],
    ) -> "ManyDecorator[D]": ...

    def __call__(self, *functions: Any, **options: Any) -> Any:
        return self._apply(functions, options)

    def _wrapped(self, function: Any, options: dict[str, Any]) -> Any:
        plan = PlanOfMany(function, **options)
        return AsyncCachedMany(plan) if plan.is_async else CachedMany(plan)


cached: Decorator = Decorator()
