"""A user's function of many: asked for a list of names, it returns a mapping of them to values."""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from twofold.callables import is_async, name_of
from twofold.computing.maker import Maker
from twofold.display import shown
from twofold.effects import Effects
from twofold.entry import MISSING
from twofold.errors import NotAMapping
from twofold.keys.snapshots import snapshot


class FunctionOfMany:
    """A user's function of a list of names, asked by the keys of those.

    Args:
        function: returns a mapping of the names to values.
        names: what each key is called there.
        missing: the value of a name that it leaves out; MISSING leaves the key out, too.
        tags: those of each key, where they are not the same for all.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        names: Mapping[str, Any],
        missing: Any = MISSING,
        tags: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.function = function
        self.tags: Mapping[str, Sequence[str]] = tags
        self.found: int | None = None
        """How many of the values were there; None if that was not looked at."""
        self.names: Mapping[str, Any] = names
        self._missing = missing

    async def call(self, io: Effects, maker: Maker, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of `keys`, those that are left out apart.

        Raises:
            NotAMapping: the function has returned something else.
        """
        asked = [self.names[key] for key in keys]
        brought = await maker.call(io, _calling(self.function, [*asked]))  # its own, to sort
        if not isinstance(brought, Mapping):
            raise NotAMapping(
                f"{name_of(self.function)}() is to return a mapping, such as a dict, of what it is"
                f" asked for to values; not {shown(brought)}"
            )
        values = {key: brought.get(name, MISSING) for key, name in zip(keys, asked, strict=True)}
        if self._missing is MISSING:
            return {key: value for key, value in values.items() if value is not MISSING}
        return {
            key: snapshot(self._missing, {}) if value is MISSING else value
            for key, value in values.items()
        }


def _calling(function: Callable[[list[Any]], Any], asked: list[Any]) -> Callable[[], Any]:
    """Return the one call, as sync or async as the function is."""

    def produce() -> Any:
        return function(asked)

    async def aproduce() -> Any:
        return await function(asked)

    producer = aproduce if is_async(function) else produce
    producer.__qualname__ = name_of(function)  # errors are to name the user's own
    return producer
