"""The caches that programs made for themselves: in no settings, and closed with all others."""

import atexit
from contextlib import AsyncExitStack, ExitStack
from typing import Protocol
from weakref import WeakValueDictionary


class Closable(Protocol):
    """A cache, to who closes it."""

    def close(self) -> None:
        """Let go of connections, files and threads."""

    async def aclose(self) -> None:
        """Do what `close` does."""


_made: WeakValueDictionary[int, Closable] = WeakValueDictionary()


def remember(cache: Closable) -> None:
    """Have `close_all` close `cache`, as long as it is referenced."""
    _made[id(cache)] = cache


def close_all() -> None:
    """Close every private cache."""
    with ExitStack() as stack:  # one that fails keeps no other open
        for cache in _alive():
            stack.callback(cache.close)


async def aclose_all() -> None:
    """Do what `close_all` does."""
    async with AsyncExitStack() as stack:
        for cache in _alive():
            stack.push_async_callback(cache.aclose)


def _alive() -> list[Closable]:
    found = [there() for there in _made.valuerefs()]  # a list at once, whatever threads add
    return [cache for cache in found if cache is not None]


atexit.register(close_all)
