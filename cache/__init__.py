"""One cache, two faces: every operation native in sync and in async code.

from twofold import cache, cached

cache.set("greeting", "hello", timeout=60)      # in sync code
await cache.aget("greeting")                    # in async code, the same entry

@cached(timeout="10m")
async def profile(user_id: int) -> dict: ...
"""

from twofold.backend import Backend
from twofold.core import Cache, Stats
from twofold.decorators import cached
from twofold.errors import (
    AwaitableResult,
    BackendUnavailable,
    BlockingCallInEventLoop,
    BlockingCallWarning,
    CacheError,
    CannotSerialize,
    CounterOverflow,
    DeadlineExceeded,
    InvalidKey,
    InvalidTimeout,
    LockLost,
    LockNotAcquired,
    MissingKey,
    NotACounter,
    ReentrantCall,
    SettingsError,
    UnstableArgument,
)
from twofold.functions import AsyncCached, Cached, CacheInfo
from twofold.policy import DEFAULT_TIMEOUT
from twofold.registry import aclose_all, cache, caches, close_all, configure

__all__ = [
    "DEFAULT_TIMEOUT",
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
    "CounterOverflow",
    "DeadlineExceeded",
    "InvalidKey",
    "InvalidTimeout",
    "LockLost",
    "LockNotAcquired",
    "MissingKey",
    "NotACounter",
    "ReentrantCall",
    "SettingsError",
    "Stats",
    "UnstableArgument",
    "aclose_all",
    "cache",
    "cached",
    "caches",
    "close_all",
    "configure",
]
