"""How the calls of a function of many ids are cached: each id by itself."""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from typing import Any, Union, get_args, get_origin

from twofold.core import Cache
from twofold.display import shown
from twofold.entry import MISSING
from twofold.errors import InvalidKey, SettingsError
from twofold.freshness.policy import Policy
from twofold.functions.plan import Plan
from twofold.keys import many

_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class PlanOfMany(Plan):
    """How the calls of one function of many ids are cached.

    Raises:
        SettingsError: they cannot be, in this way.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        missing: Any = MISSING,
        **options: Any,
    ) -> None:
        if options.get("errors"):
            raise SettingsError(
                "@cached.many has no errors=: an exception of a function of many ids does not tell"
                " whose it is. Let the function leave such ids out, and give missing="
            )
        self.missing = missing
        super().__init__(function, **options)
        if missing is not MISSING:
            self.options["missing"] = missing
        self._ignored = frozenset(options.get("ignore", ()))
        self._parameters = list(self.keys.signature.parameters.values())
        self.name_of_ids(0)

    def _annotation(self, returned: Any) -> Any:
        """Return the type of one id's result."""
        of_each = get_args(returned)
        if not isinstance(get_origin(returned), type) or len(of_each) != len(("id", "result")):
            return Any
        return of_each[1] if self.missing is MISSING else Union[of_each[1], type(self.missing)]  # noqa: UP007

    def name_of_ids(self, at: int) -> str:
        """Return the name of the parameter that takes the ids, of which `at` are bound before."""
        parameter = self._parameters[at] if at < len(self._parameters) else None
        if parameter is None or parameter.kind not in _BY_PLACE:
            raise SettingsError(
                f"{self.name}() takes no ids: @cached.many decorates a function whose first"
                " parameter, after self or cls, is an iterable of ids, such as"
                " `def users(ids: list[int]) -> dict[int, User]`"
            )
        return parameter.name

    def check_ignored(self, name: str) -> None:
        """Refuse to leave the ids out of the keys."""
        if name in self._ignored:
            raise SettingsError(
                f"{self.name}: ignore= names {name!r}, the ids, which tell results apart: take it"
                " out of that"
            )

    def policy(self, store: Cache) -> Policy:
        return super().policy(store)._replace(errors={})  # the alias may have some

    def tags_of_call(self, call: "CallOfMany", each: object) -> tuple[str, ...]:
        """Return the tags of one id's result, as far as the call tells them."""
        return () if self._tags is None else self._tags.of(*call.arguments(each))

    def producer_of_many(self, call: "CallOfMany") -> Callable[[list[Any]], Any]:
        """Return what calls the function with some of the ids of a call."""

        def produce(ids: list[Any]) -> Any:
            self.computed += 1
            args, kwargs = call.arguments(ids)
            return self.function(*args, **kwargs)

        async def aproduce(ids: list[Any]) -> Any:
            self.computed += 1
            args, kwargs = call.arguments(ids)
            return await self.function(*args, **kwargs)

        producer = aproduce if self.is_async else produce
        producer.__qualname__ = self.name
        vars(producer)["__wrapped__"] = self.function
        return producer


class CallOfMany:
    """One call: its ids, and what it is like for some of them.

    Raises:
        InvalidKey: the ids are none.
    """

    def __init__(
        self,
        plan: PlanOfMany,
        bound: tuple[Any, ...],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._plan = plan
        self._at = len(bound)
        self._name = plan.name_of_ids(self._at)
        plan.check_ignored(self._name)
        self._by_name = not args
        given = kwargs.get(self._name, MISSING) if self._by_name else args[0]
        if given is MISSING:
            raise TypeError(f"{plan.name}() is asked for nothing: give {self._name}")
        self.ids: list[Any] = self._unique(given)
        self._args, self._kwargs = bound + args, kwargs
        # While the store is asked, the arguments' owner goes on.
        self._args, self._kwargs = plan.keys.snapshot(*self.arguments(None))

    def arguments(self, ids: object) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments with `ids` in the place of all of them."""
        if self._by_name:
            return self._args, {**self._kwargs, self._name: ids}
        return (*self._args[: self._at], ids, *self._args[self._at + 1 :]), self._kwargs

    def key(self, each: object) -> str:
        """Return the key of one id's result."""
        return self._plan.keys.of(*self.arguments(each))

    def keys(self) -> dict[Any, str]:
        """Return the key of each id."""
        return {each: self.key(each) for each in self.ids}

    def _unique(self, given: Iterable[Any]) -> list[Any]:
        try:
            return list(dict.fromkeys(many(given)))
        except TypeError as error:
            if isinstance(error, InvalidKey):
                raise
            raise InvalidKey(
                f"{self._plan.name}() wants an iterable of hashable ids as {self._name}, such as a"
                f" list of ints; {shown(given)}: {error}"
            ) from None
