"""What a decorated function and its bound methods have in common."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any, TypeVar, Unpack

from twofold.callables import body_of, is_async, name_of
from twofold.core import Cache
from twofold.errors import SettingsError
from twofold.events import ResultOfOtherType, emit
from twofold.freshness.options import Freshness, read_freshness, read_ttl
from twofold.freshness.policy import Policy
from twofold.interrupts import raise_if_of_others
from twofold.keys import PROCESS, CallKeys, TagTemplates
from twofold.registry import caches
from twofold.settings.config import placed
from twofold.standins import StandIn
from twofold.tags.names import tag_names
from twofold.timeouts import DEFAULT_TIMEOUT, Condition, Timeout
from twofold.types import Shape, of_type, returned_by

T = TypeVar("T")

_log = logging.getLogger("twofold")

_OF_PROCESS = (
    "%s() is of a __main__ without a file (a notebook, a shell, python -c), or is called with"
    " something that is: what the cache %r keeps of it is found by this process alone. Define it"
    " in a module, or give it a key="
)


class Plan:
    """How the calls of one function are cached.

    Raises:
        SettingsError: they cannot be, in this way.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        cache: Cache | str = "default",
        timeout: Any = DEFAULT_TIMEOUT,
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
        condition: Condition | None = None,
        **freshness: Unpack[Freshness],
    ) -> None:
        self.name: str = name_of(function)
        _check_function(function, self.name)
        _check_condition(condition, self.name)
        self.function = function
        self.is_async: bool = is_async(function)
        self._find: Callable[[], Cache] = self._typed(_finder(cache, self.name))
        self._stays = not isinstance(cache, StandIn)
        self.found: tuple[object, Any, bool] = None, None, False
        """The era of `caches` in which `find` returned the two others, and returns them again."""
        self.timeout = timeout if timeout is DEFAULT_TIMEOUT else read_ttl(timeout)
        self._tags: TagTemplates | None = None
        with placed(f"{self.name}: @cached"):
            read_freshness(freshness)
        self.keys: CallKeys = CallKeys(function, key, ignore)
        self._asks = bool(freshness) or callable(timeout) or self.keys.asks
        self._freshness: dict[str, Any] = {**freshness}
        if "tags" in freshness and not callable(freshness["tags"]):
            self._tags = TagTemplates(function, self.name, self._freshness.pop("tags") or ())
        self._policy: tuple[Cache, Policy] | None = None
        self.condition = condition
        self.hits: int = 0
        self.misses: int = 0
        self.computed: int = 0
        self.options: dict[str, Any] = {
            "cache": cache,
            "timeout": timeout,
            "key": key,
            "ignore": ignore,
            "condition": condition,
            **freshness,
        }
        self.decorated: Any = None
        self.surrogate: Any = None
        self._told = False

    def find(self) -> tuple[Cache, bool]:
        """Return the cache, and whether a hit takes more than a look at what is under its key."""
        era = caches.era  # first: what `configure` replaces meanwhile is looked up again
        store = self._find()
        asks = self._asks or store._asks
        if self._stays:
            self.found = era, store, asks
        return store, asks

    def store(self) -> Cache:
        """Return the cache."""
        return self.find()[0]

    def _typed(self, find: Callable[[], Cache]) -> Callable[[], Cache]:
        """Return what finds the cache as one of the type that the function is annotated with."""
        shape: Callable[[], Shape | None] = partial(self._shape, self.function)
        try:
            known = self._shape(self.function)
        except NameError:  # of a type that is not there yet
            pass
        else:
            if known is None or known.is_kept(rich=False):
                return find
            shape = partial(_itself, known)
        return of_type(find, shape, self._tell_other)

    def _shape(self, function: Callable[..., Any]) -> Shape | None:
        """Return the type of what is stored of a call; None if nothing is known of it.

        Raises:
            NameError: it is not there yet.
        """
        try:
            return Shape(self._annotation(returned_by(function)))
        except NameError:
            raise
        except Exception as exc:  # whatever stands in an annotation: it is not there for us
            raise_if_of_others(exc)
            return None

    def _annotation(self, returned: Any) -> Any:
        return returned

    def _tell_other(self, why: str) -> None:
        emit(ResultOfOtherType(self.store().alias, self.name, why))

    def note_served(self) -> None:
        """Count a call that began as a miss as a hit: it is given the stale value."""
        self.misses -= 1
        self.hits += 1

    def timeout_of(self, value: Any) -> Timeout:
        """Return how long a given result is fresh."""
        timeout: Timeout = self.timeout(value) if callable(self.timeout) else self.timeout
        return timeout

    def policy(self, store: Cache) -> Policy:
        """Return what becomes of a result in `store`."""
        if self._policy is None or self._policy[0] is not store:
            policy = store._policy(self.timeout, self._freshness, self.condition)
            self._policy = store, policy
            return policy
        return self._policy[1]

    def policy_of(self, store: Cache, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Policy:
        """Return what becomes of the result of a call."""
        policy = self.policy(store)
        return policy if self._tags is None else policy.tagged(self._tags.of(args, kwargs))

    def tags_of(
        self, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """Return the tags of a given result of a call."""
        if self._tags is not None:
            return self._tags.of(args, kwargs)
        by_result: Any = self._freshness.get("tags")
        return tag_names(by_result(value)) if callable(by_result) else ()

    def producer(self, args: tuple[Any, ...], kwargs: Any) -> Callable[[], Any]:
        """Return the one call that a miss makes, as sync or async as the function is."""

        def produce() -> Any:
            self.computed += 1
            return self.function(*args, **kwargs)

        async def aproduce() -> Any:
            self.computed += 1
            return await self.function(*args, **kwargs)

        producer = aproduce if self.is_async else produce
        producer.__qualname__ = self.name  # errors are to name the user's own
        vars(producer)["__wrapped__"] = self.function
        return producer

    def tell_of_process(self, key: str, store: Cache) -> None:
        """Log, once, if `key` is one that no other process finds in `store`."""
        if PROCESS in key and not self._told and store.backend.kind != "inline":
            self._told = True
            _log.warning(_OF_PROCESS, self.name, store.alias)


def _itself(value: T) -> T:
    return value


def _finder(cache: Cache | str, name: str) -> Callable[[], Cache]:
    """Return what looks an alias up at each call, since settings may replace its cache."""
    if isinstance(cache, str):
        return partial(caches.__getitem__, cache)
    if isinstance(cache, StandIn):
        return cache._found
    if not isinstance(cache, Cache):
        raise SettingsError(f"{name}: cache= is an alias of the settings or a Cache, not {cache!r}")
    return lambda: cache


def _check_function(function: Any, name: str) -> None:
    if isinstance(function, property | cached_property):
        raise SettingsError(
            "@cached decorates functions, and this is a property: put @cached below it"
        )
    if not callable(function):
        raise SettingsError(
            f"@cached decorates functions, and {function!r} is none; options are given by name,"
            " such as @cached(timeout=60)"
        )
    body = body_of(function)
    if isgeneratorfunction(body) or isasyncgenfunction(body):
        raise SettingsError(
            f"{name}() is a generator, which can be read once only: let it return a list"
        )


def _check_condition(condition: Any, name: str) -> None:
    if condition is None:
        return
    if not callable(condition):
        raise SettingsError(f"{name}: condition= is a function of the result, not {condition!r}")
    if is_async(condition):
        raise SettingsError(
            f"{name}: condition={condition!r} is async, and what it returns would always count"
            " as true: let it be a def"
        )
