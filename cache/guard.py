"""The guard of event loops: a call that blocks is refused, or told, where a loop runs."""

import sys
import warnings
from types import FrameType
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

_OF_PAGES = ("django.middleware.cache", "django.utils.cache")
"""The modules in which Django's own `cache_page` and cache middleware ask the cache."""

_OF_FRAMEWORKS = {
    "django.contrib.sessions.": (
        "`await request.session.aget(...)` and its like, or `await request.auser()`,"
    ),
    "django.template": "`await sync_to_async(render)(...)` of the template",
    "jinja2.": "`await asyncio.to_thread(render_template, ...)`",
}
"""The modules of frameworks that ask the cache for a view, and what the view is to call."""


def in_thread(name: str) -> str:
    """Return how a coroutine has a sync function run in a thread."""
    if "django.core" in sys.modules:  # which then closes the connections to its database
        return f"`await sync_to_async({name})(...)`"
    return f"`await asyncio.to_thread({name}, ...)`"


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
    if caller in _OF_PAGES:
        return "cache_page, or the cache middleware, of twofold.contrib.django"
    of_framework = _of_framework(caller)
    if of_framework is not None:
        return _OF_FRAMEWORKS[of_framework]
    return _OF_LOCKS.get(method, f"`await cache.a{method}(...)`")


def _of_framework(module: str) -> str | None:
    return next((each for each in _OF_FRAMEWORKS if module.startswith(each)), None)


def _caller() -> tuple[int, str]:
    """Return the `stacklevel` of the code that called the cache, for the guard, and its module.

    A framework's drop-in cache lies between; Python tells a warning once for each line. So where
    a framework asks for a view, the level is that of the view.
    """
    level, frame = _past(1, sys._getframe(1), _ROOMS)
    module = _module(frame)
    of_framework = _of_framework(module)
    if of_framework is not None:
        of_view, view = _past(level, frame, f"{of_framework.partition('.')[0]}.")
        level = of_view if view.f_back is not None else level
    return level, module


def _past(level: int, frame: FrameType, package: str) -> tuple[int, FrameType]:
    """Return the `stacklevel` and the frame of who called the code of a package."""
    while frame.f_back is not None and _module(frame).startswith(package):
        level, frame = level + 1, frame.f_back
    return level, frame


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
