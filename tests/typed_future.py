"""Functions whose annotations are text, of types that come later, or from around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from twofold import Cache, cached

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]

calls: list[Any] = []


@cached
def later(number: int) -> Later:
    calls.append(number)
    return Later(number, Inner("x"))


@cached
def optional(number: int, unknown: Nothing | None = None) -> list[Later] | None:
    calls.append(number)
    return [Later(number, Inner("x"))]


@cached
def unknown(number: int) -> Nothing:
    calls.append(number)
    return [number]


@dataclass
class Later:
    id: int
    inner: Inner


@dataclass
class Inner:
    name: str


@dataclass
class Human:
    """What is called `Person` now, in another module."""

    name: str
    born: date
    height: float | None = None
    friends: list[Human] = field(default_factory=list)


def of_a_function(cache: Cache) -> tuple[Any, Any]:
    """Return a decorated function whose type is defined here, and a value of it."""

    @dataclass
    class Local:
        id: int

    value = Local(1)

    @cached(cache=cache)
    def local() -> Local:
        calls.append(1)
        return value

    return local, value
