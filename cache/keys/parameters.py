"""The parameters of a function, and how arguments become theirs."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any

from twofold.errors import SettingsError
from twofold.keys.encoding import is_immutable

_PLAIN_KINDS = frozenset({Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY})
_BY_PLACE = frozenset({Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD})


class Parameters:
    """The parameters of a function, and how arguments become theirs."""

    __slots__ = (
        "_extra",
        "_function",
        "_more",
        "_places",
        "_plain",
        "_positional",
        "defaults",
        "names",
        "signature",
    )

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        try:
            self.signature: Signature = signature(function)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{name} cannot be cached: {error}") from error
        self._function = name
        parameters = self.signature.parameters
        kinds = [each.kind for each in parameters.values()]
        self.names: tuple[str, ...] = tuple(parameters)
        self._plain = set(kinds) <= _PLAIN_KINDS
        self._positional = kinds.count(Parameter.POSITIONAL_OR_KEYWORD)
        self.defaults: dict[str, Any] = {
            each.name: each.default
            for each in parameters.values()
            if each.default is not Parameter.empty
        }
        self._extra = self.names[-1] if Parameter.VAR_KEYWORD in kinds else None
        self._places = [each.name for each in parameters.values() if each.kind in _BY_PLACE]
        more = [each.name for each in parameters.values() if each.kind is each.VAR_POSITIONAL]
        self._more = more[0] if more else None

    def takes(self, name: object) -> bool:
        """Tell whether the function has a parameter of that name, or takes any."""
        return name in self.names or (isinstance(name, str) and self._extra is not None)

    def places(self, count: int) -> list[str | None]:
        """Return the names of the parameters that take `count` positional arguments."""
        return [*self._places, *[self._more] * count][:count]

    def field(self, name: str) -> str:
        """Return what a template calls an argument, one of extra keywords too; "" for `*args`."""
        if name in self.names:
            return "" if name == self._more else name
        return f"{self._extra}[{name}]"

    def leaves_out(self, ignored: frozenset[str], keyword: str) -> bool:
        """Tell whether a keyword argument is one of those in `ignored`."""
        return keyword in ignored or (self._extra in ignored and keyword not in self.names)

    def defaults_are_immutable(self, ignored: frozenset[str]) -> bool:
        """Tell whether the defaults that count stay the same."""
        return all(
            is_immutable(each) for name, each in self.defaults.items() if name not in ignored
        )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the value of each parameter, in their order.

        The usual call is bound here, twice as fast as `Signature.bind`.
        """
        if self._plain and not kwargs and len(args) == self._positional == len(self.names):
            return dict(zip(self.names, args, strict=True))
        if self._plain and len(args) <= self._positional:
            given = {**dict(zip(self.names, args, strict=False)), **kwargs}
            values = {**self.defaults, **given}
            if len(given) == len(args) + len(kwargs) and len(values) == len(self.names):
                try:
                    return {name: values[name] for name in self.names}
                except KeyError:
                    pass
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._function}(): {error}") from None
        bound.apply_defaults()
        return bound.arguments

    def flat(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], ignored: frozenset[str]
    ) -> list[tuple[str, Any]]:
        """Return names and values, those of extra keywords last and sorted."""
        bound = self.bind(args, kwargs)
        if self._extra is None:
            return list(bound.items())
        named = [(name, value) for name, value in bound.items() if name != self._extra]
        more = {} if self._extra in ignored else bound[self._extra]
        return named + sorted(more.items())
