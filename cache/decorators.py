"""`cached`: a function in, the same function with a cache out.

`def` stays `def` and `async def` stays `async def`; methods bind as ever. A hit is one
lookup; at a miss the function runs once for all who miss the same arguments together.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from twofold.core import Cache
from twofold.errors import SettingsError
from twofold.freshness import Freshness
from twofold.functions import AsyncCached, Cached, CachedClassMethod, CachedStaticMethod
from twofold.plan import Plan
from twofold.spelling import did_you_mean
from twofold.timeouts import DEFAULT_TIMEOUT, Condition, Timeout

P = ParamSpec("P")
R = TypeVar("R")


class Decorator:
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
            `Freshness`; the alias's own `FRESHNESS` unless given.

    Raises:
        SettingsError: an option is none of these, or cannot be: a parameter that `key` or
            `ignore` names is none of the function's, a default can stand in no key, `key`
            or `condition` is async, the function is a generator.
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
        timeout: Timeout | Callable[[Any], Timeout] = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
        **freshness: Unpack[Freshness],
    ) -> "Decorator": ...

    def __call__(self, *functions: Any, **options: Any) -> Any:
        for name in sorted(options.keys() - _OPTIONS):
            raise SettingsError(f"cached() has no option {name!r}{_advice(name)}")
        if not functions:
            return Decorator(**{**self._options, **options})
        (function,) = functions
        if isinstance(function, classmethod):
            return CachedClassMethod(self._decorate(function.__func__, options))
        if isinstance(function, staticmethod):
            return CachedStaticMethod(self._decorate(function.__func__, options))
        return self._decorate(function, options)

    def _decorate(
        self, function: Any, options: dict[str, Any]
    ) -> Cached[..., Any] | AsyncCached[..., Any]:
        options = {**self._options, **options}
        if hasattr(function, "__func__") and options.get("key") is None:
            return self._decorate_bound(function, options)
        plan = Plan(function, **options)
        return AsyncCached(plan) if plan.is_async else Cached(plan)

    def _decorate_bound(
        self, method: Any, options: dict[str, Any]
    ) -> Cached[..., Any] | AsyncCached[..., Any]:
        """Return the bound method of the decorated function: its object stands in the keys."""
        bound: Cached[..., Any] | AsyncCached[..., Any]
        bound = self._decorate(method.__func__, options)._bind(method.__self__)
        return bound


def _advice(name: str) -> str:
    """Return what to write for an option that other caches have, or whose name is near."""
    advice = next((text for names, text in _ELSEWHERE.items() if name in names.split()), None)
    if advice is not None:
        return f": {advice}"
    return did_you_mean(name, _OPTIONS) or f"; it has {', '.join(sorted(_OPTIONS))}"


_OPTIONS = frozenset({"cache", "timeout", "key", "ignore", "condition", *Freshness.__annotations__})

_ELSEWHERE = {
    "ttl expire expires expire_in expires_in expire_after expiration expiration_time expiry"
    " time_to_live seconds duration lifetime max_age maxage cache_timeout": (
        "how long a result is kept is timeout=, such as timeout=60 or timeout='10m'"
    ),
    "key_builder key_func key_fn key_function key_maker make_key make_cache_key keygen"
    " key_generator function_key_generator hash_func hash_function": (
        "what makes the key is key=, a function of the same arguments or a template"
    ),
    "namespace prefix key_prefix name tag_prefix": (
        "all keys of an alias begin with its KEY_PREFIX in the settings; those of one function"
        " begin as the template key= does"
    ),
    "maxsize max_size max_entries maxsize_bytes capacity size": (
        "how much is kept is the store's business: OPTIONS['max_entries'] of the memory store"
    ),
    "typed": "arguments of different types have keys of their own, always",
    "ignored ignore_args exclude exclude_args skip_args noself ignore_self": (
        "parameters that stay out of the key are named by ignore=, such as ignore=('self',)"
    ),
    "unless skip skip_cache_func skip_cache_if cache_if response_filter cache_none": (
        "condition=, a function of the result, decides whether it is stored"
    ),
    "backend alias using region store storage": "which cache keeps the results is cache=",
    "lock stampede single_flight": "a function runs once for all who miss together, always",
    "serializer": "how results are stored is the SERIALIZER of the alias in the settings",
    "version": "keys carry the VERSION of the alias in the settings",
    "tags tag": "there are no tags: begin a template key= with a text to clear_prefix() by",
}

cached: Decorator = Decorator()
