"""What tells an application from others that use the same store."""

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import Any

from twofold.keys.names import module_name


def application_name(app: Any) -> str:
    """Return a name that an ASGI application has in all its processes: that of its endpoints.

    An object of Starlette's has no name, and nobody can say where it was made; but its
    endpoints are functions and classes, which have both.
    """
    names = "\n".join(sorted(set(_endpoints(app))))
    return blake2b(names.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _endpoints(app: Any) -> Iterator[str]:
    while not hasattr(app, "routes") and hasattr(app, "app"):  # middleware
        app = app.app
    if not hasattr(app, "routes"):
        yield _name(app)
        return
    for route in app.routes:
        endpoint = getattr(route, "endpoint", None)
        if endpoint is not None:
            yield _name(endpoint)
        elif hasattr(route, "app"):
            yield from _endpoints(route.app)


def _name(thing: Any) -> str:
    if isinstance(thing, partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{module_name(named)}.{named.__qualname__}"
