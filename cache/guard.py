"""The guard of event loops: a call that blocks is refused, or told, where a loop runs."""

import sys
import warnings
from typing import Literal

from twofold.backend import Backend
from twofold.effects import in_event_loop
from twofold.errors import BlockingCallInEventLoop, BlockingCallWarning

_ROOMS = f"{__name__.partition('.')[0]}."

_OF_LOCKS = {
    "lock": "`async with cache.lock(...)`",
    "acquire": "`await lock.aacquire(...)`",
    "release": "`await lock.arelease()`",
}

_OF_DJANGO = ("django.middleware.cache", "django.utils.cache")
"""The modules in which Django's own `cache_page` and cache middleware ask the cache."""


class LoopGuard:
    """Looks before each sync call of a cache whether it would freeze a running event loop.

    Args:
        alias: the cache's.
        store: the name of its store.
        warns: whether such a call is only warned of.
        blocks: whether the store does; one that does not has a guard to find calls that would
            freeze a loop on another.
    """

    def __init__(self, alias: str, store: str, warns: bool, *, blocks: bool = True) -> None:
        self._alias = alias
        self._why = f"on {store} blocks" if blocks else f"on {store} would block on other stores"
        self._warns = warns

    def __repr__(self) -> str:
        return f"<LoopGuard of {self._alias!r} {'warns' if self._warns else 'raises'}>"

    def __call__(self, method: str) -> None:
        """Let `method` pass where no event loop runs in this thread.

        Raises:
            BlockingCallInEventLoop: one does, and the guard does not only warn.
        """
        if not in_event_loop():
            return
        level, caller = _caller()
        message = (
            f"cache {self._alias!r}: {method}() {self._why}, and an"
            f" event loop is running in this thread: {_instead(method, caller)} instead."
            ' OPTIONS["blocking_calls"] = "warn" or "allow" permits it.'
        )
        if not self._warns:
            raise BlockingCallInEventLoop(message)
        warnings.warn(message, BlockingCallWarning, stacklevel=level)


def guard_for(
    backend: Backend, alias: str, blocking_calls: Literal["raise", "warn", "allow"]
) -> LoopGuard | None:
    """Return the guard of a cache over `backend`, if it needs one."""
    if blocking_calls == "allow":
        return None
    blocks = backend.kind != "inline"
    return LoopGuard(alias, type(backend).__name__, blocking_calls == "warn", blocks=blocks)


def _instead(method: str, caller: str) -> str:
    if caller in _OF_DJANGO:
        return "cache_page, or the cache middleware, of twofold.contrib.django"
    return _OF_LOCKS.get(method, f"`await cache.a{method}(...)`")


def _caller() -> tuple[int, str]:
    """Return the `stacklevel` of the code that called the cache, for the guard, and its module.

    A framework's drop-in cache lies between; Python tells a warning once for each line.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_ROOMS):
        level, frame = level + 1, frame.f_back
    return level, str(frame.f_globals.get("__name__"))
