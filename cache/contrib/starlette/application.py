"""What tells an application from others that use the same store."""

from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import blake2b
from typing import Any

from twofold.keys.names import module_name


def application_name(*apps: Any) -> str:
    """Return a name that ASGI applications have in all processes: that of their endpoints.

    An object of Starlette's has no name, and nobody can say where it was made; but its
    endpoints are functions and classes, which have both.
    """
    names = "\n".join(sorted({name_of(each) for each in endpoints(apps)}))
    return blake2b(names.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def endpoints(apps: Iterable[Any]) -> Iterator[Any]:
    """Yield what answers in the end, through middleware, mounts and routers."""
    waiting, seen = list(apps), set()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            inside = _inside(each)
            waiting += inside
            if not inside:
                yield getattr(each, "endpoint", each)


def _inside(thing: Any) -> list[Any]:
    """Return what an application, a mount, a middleware, a router or one of FastAPI's leads to."""
    if hasattr(thing, "endpoint"):
        return []
    if routes := getattr(thing, "routes", ()):
        return list(routes)
    return [getattr(thing, name) for name in ("original_router", "app") if hasattr(thing, name)]


def name_of(thing: Any) -> str:
    """Return the name of an endpoint, with its module's."""
    if isinstance(thing, partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{module_name(named)}.{named.__qualname__}"
