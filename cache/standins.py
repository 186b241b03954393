"""Caches that are looked up each time they are used, under a name that stays."""

from typing import Any

from twofold.core import Cache
from twofold.typed import TypedCache


class StandIn(Cache):
    """A cache for another one, which `_found` tells; it has nothing of its own."""

    def __init__(self) -> None:
        pass  # all that a cache is made of is the other's

    def _found(self) -> Cache:
        """Return the cache that this one stands for now."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by who looks what protocols an object knows
            raise AttributeError(f"a Cache has no attribute {name!r}")
        found = self._found()
        try:
            return getattr(found, name)
        except AttributeError as error:
            from twofold.elsewhere import operation

            advice = operation(name)
            if advice is None:
                raise
            text = f"a cache has no {name!r}: {advice}"
            raise AttributeError(text, name=name, obj=error.obj) from None

    def typed(self, kind: Any) -> TypedCache[Any]:
        """Return what looks this cache up each time, as one of values of a type."""
        return TypedCache(self._found, kind)

    def __contains__(self, key: str) -> bool:
        return key in self._found()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), "alias", "backend", "timeout"})

    def __repr__(self) -> str:
        return repr(self._found())


class _Member:
    """A member of `Cache` that a stand-in has of the other cache, and not of its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: StandIn | None, owner: type[Any]) -> Any:
        return getattr(Cache, self._name) if instance is None else instance.__getattr__(self._name)


for _name in {each for base in Cache.__mro__[:-1] for each in vars(base)} - vars(StandIn).keys():
    if not _name.startswith("__"):
        setattr(StandIn, _name, _Member(_name))
