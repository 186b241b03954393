"""`CACHES`: what an entry means, where the settings are kept, and what they choose."""

from twofold.settings.config import CacheConfig, Raw, placed, read_cache, read_caches
from twofold.settings.django import concerns_caches, follow_django
from twofold.settings.pyproject import tell
from twofold.settings.sources import (
    CommonOptions,
    EntryOptions,
    Source,
    backend_class,
    discover,
    entry_options,
    find,
    read,
    split_options,
)

__all__ = [
    "CacheConfig",
    "CommonOptions",
    "EntryOptions",
    "Raw",
    "Source",
    "backend_class",
    "concerns_caches",
    "discover",
    "entry_options",
    "find",
    "follow_django",
    "placed",
    "read",
    "read_cache",
    "read_caches",
    "split_options",
    "tell",
]
