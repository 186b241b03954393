"""Django's own rules for pages, with the I/O of the cache taken out of them.

What may be stored, for how long and under which key is decided by Django's middleware,
which asks a cache as it goes. Here it asks a stand-in, which knows what was read so far
and notes what it would write.
"""

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


class OneAddress:
    """Within it, the address of `request` is made once: Django makes it for each key.

    It is for steps that wait for nothing: whoever copies the request meanwhile would have it, too.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._own = vars(request)
        self._is_theirs = "build_absolute_uri" in self._own
        self._make = request.build_absolute_uri
        self._made: str | None = None

    def __enter__(self) -> None:
        if not self._is_theirs:
            self._own["build_absolute_uri"] = self._build

    def __exit__(self, *_: object) -> None:
        if not self._is_theirs:
            self._own.pop("build_absolute_uri", None)

    def _build(self, location: str | None = None) -> str:
        if location is not None:
            return self._make(location)
        if self._made is None:
            self._made = self._make()
        return self._made
