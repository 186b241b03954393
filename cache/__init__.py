"""One cache, two faces: every operation in sync and in async code, over the same entries.

from twofold import cache, cached

cache.set("greeting", "hello", timeout=60)      # in sync code
await cache.aget("greeting")                    # in async code, the same entry

@cached(timeout="10m")
async def profile(user_id: int) -> dict: ...
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twofold import events
    from twofold.backend import Backend, ServerState
    from twofold.core import Cache
    from twofold.entry import MISSING
    from twofold.errors import (
        AwaitableResult,
        BackendUnavailable,
        BlockingCallInEventLoop,
        BlockingCallWarning,
        CacheError,
        CannotSerialize,
        ComputationTimeout,
        CounterOverflow,
        DeadlineExceeded,
        InvalidKey,
        InvalidTimeout,
        LockLost,
        LockNotAcquired,
        MissingKey,
        NoEventLoop,
        NotACounter,
        NotAMapping,
        PartlyUnavailable,
        ReentrantCall,
        SettingsError,
        UnstableArgument,
    )
    from twofold.freshness.options import Freshness
    from twofold.freshness.overrides import bypass, refreshing
    from twofold.functions.cached import AsyncCached, Cached
    from twofold.functions.decorators import cached
    from twofold.functions.managed import CacheInfo
    from twofold.lock import Lock
    from twofold.registry import aclose_all, cache, caches, close_all, configure
    from twofold.stats import Stats
    from twofold.timeouts import DEFAULT_TIMEOUT, Timeout
    from twofold.types.registered import register_type
    from twofold.version import __version__

__all__ = [
    "DEFAULT_TIMEOUT",
    "MISSING",
    "AsyncCached",
    "AwaitableResult",
    "Backend",
    "BackendUnavailable",
    "BlockingCallInEventLoop",
    "BlockingCallWarning",
    "Cache",
    "CacheError",
    "CacheInfo",
    "Cached",
    "CannotSerialize",
    "ComputationTimeout",
    "CounterOverflow",
    "DeadlineExceeded",
    "Freshness",
    "InvalidKey",
    "InvalidTimeout",
    "Lock",
    "LockLost",
    "LockNotAcquired",
    "MissingKey",
    "NoEventLoop",
    "NotACounter",
    "NotAMapping",
    "PartlyUnavailable",
    "ReentrantCall",
    "ServerState",
    "SettingsError",
    "Stats",
    "Timeout",
    "UnstableArgument",
    "__version__",
    "aclose_all",
    "bypass",
    "cache",
    "cached",
    "caches",
    "close_all",
    "configure",
    "events",
    "refreshing",
    "register_type",
]

_ROOMS = {
    "Backend": "backend",
    "ServerState": "backend",
    "Cache": "core",
    "cached": "functions.decorators",
    "MISSING": "entry",
    "Freshness": "freshness.options",
    "AsyncCached": "functions.cached",
    "CacheInfo": "functions.managed",
    "Cached": "functions.cached",
    "Lock": "lock",
    "DEFAULT_TIMEOUT": "timeouts",
    "Timeout": "timeouts",
    "bypass": "freshness.overrides",
    "refreshing": "freshness.overrides",
    "aclose_all": "registry",
    "cache": "registry",
    "caches": "registry",
    "close_all": "registry",
    "configure": "registry",
    "Stats": "stats",
    "register_type": "types.registered",
    "__version__": "version",
}

if not TYPE_CHECKING:  # to a type checker, a module with `__getattr__` has every name

    def __getattr__(name: str) -> Any:
        """Import a name when it is asked for: pytest loads our plugin into every project."""
        if name not in __all__:
            raise _no(name)
        if name == "events":
            return import_module(f"{__name__}.events")
        found = getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}"), name)
        globals()[name] = found
        return found


def _no(name: str) -> Exception:
    """Return the error for a name that there is not, which `__getattr__` was asked for."""
    elsewhere = {} if name.startswith("_") else import_module(f"{__name__}.elsewhere").NAMES
    if name not in elsewhere:
        return AttributeError(f"module {__name__!r} has no attribute {name!r}")
    text = f"twofold has no {name!r}: {elsewhere[name]}"
    # `from twofold import …` asks by `hasattr`, and shows the text of no AttributeError.
    if sys._getframe(2).f_code.co_name == "_handle_fromlist":
        return ImportError(text, name=__name__)
    return AttributeError(text)


def __dir__() -> list[str]:
    """Return what is for users: TAB shows no room of the house, and nothing that it imports."""
    rooms = {"backends", "contrib", "errors", "testing"}
    return sorted({*__all__, *(name for name in globals() if name[:2] == "__" or name in rooms)})
