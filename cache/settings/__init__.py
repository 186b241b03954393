"""`CACHES`: what an entry means, where the settings are kept, and what they choose."""

from twofold.settings.config import CacheConfig, Raw, placed, read_cache, read_caches
from twofold.settings.sources import (
    CommonOptions,
    Source,
    backend_class,
    discover,
    find,
    split_options,
)

__all__ = [
    "CacheConfig",
    "CommonOptions",
    "Raw",
    "Source",
    "backend_class",
    "discover",
    "find",
    "placed",
    "read_cache",
    "read_caches",
    "split_options",
]
