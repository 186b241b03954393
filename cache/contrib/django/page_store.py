"""Operations in the cache of a middleware, where an outage is a miss, logged once."""

from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from twofold.contrib.django.deciding import Middleware
from twofold.effects import Effects
from twofold.outage import Outage

T = TypeVar("T")

_outages: dict[tuple[str, str], Outage] = {}  # by aliases, and what has failed there


async def write(
    io: Effects,
    middleware: Middleware,
    key: str,
    value: Any,
    timeout: float,
    tags: Iterable[str] = (),
) -> bool:
    """Store a value, and return whether that was done: `set_many` tells, in all caches."""
    cache, options = middleware.cache, {"tags": tags} if tags else {}
    return not await io.op(cache.set_many, cache.aset_many, {key: value}, timeout, **options)


async def attempt(middleware: Middleware, what: str, doing: Awaitable[T], otherwise: T) -> T:
    """Return the result of an operation, or `otherwise` in an outage."""
    place = middleware.cache_alias, what
    try:
        result = await doing
    except Exception as error:
        _outages.setdefault(place, Outage(middleware.cache_alias)).fail(error, what)
        return otherwise
    if place in _outages:
        _outages[place].end(what)
    return result
