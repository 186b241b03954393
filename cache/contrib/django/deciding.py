"""Django's own rules for pages, with the I/O of the cache taken out of them.

What may be stored, for how long and under which key is decided by Django's middleware,
which asks a cache as it goes. Here it asks a stand-in, which knows what was read so far
and notes what it would write.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

from django.http import HttpRequest


class Middleware(Protocol):
    """What is needed of a middleware of Django's for caching."""

    cache_alias: str

    @property
    def cache(self) -> Any:
        """The cache, one of Django's."""

    def single_flight(self) -> bool:
        """Tell whether one request computes a page, and the others wait for it."""


class Unread(Exception):
    """Django wants to know a key that was not read yet."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class StandIn:
    """Stands for a cache while Django decides."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.written: list[tuple[str, Any, float]] = []

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self.known:
            raise Unread(key)
        return default if self.known[key] is None else self.known[key]

    def set(self, key: str, value: Any, timeout: float) -> None:
        self.written.append((key, value, timeout))


@cache
def _twin(kind: type[Any]) -> type[Any]:
    """Return a kind of middleware that decides as `kind` does, and has a stand-in for its cache."""
    return type(kind.__name__, (kind,), {"cache": property(lambda self: vars(self)["_stand_in"])})


def deciding(middleware: Middleware, stand_in: StandIn) -> Any:
    """Return what decides as `middleware` does, a user's own methods included."""
    twin = object.__new__(_twin(type(middleware)))
    vars(twin).update(vars(middleware), _stand_in=stand_in)
    return twin


@contextmanager
def one_address(request: HttpRequest) -> Iterator[None]:
    """Have the address of `request` made once: Django makes it for each key, at each attempt."""
    own = vars(request)
    if "build_absolute_uri" in own:
        yield
        return
    make, made = request.build_absolute_uri, list[str]()

    def build(location: str | None = None) -> str:
        if location is not None:
            return make(location)
        if not made:
            made.append(make())
        return made[0]

    own["build_absolute_uri"] = build
    try:
        yield
    finally:
        del own["build_absolute_uri"]
