"""The pytest plugin: the fixtures `twofold_cache` and `twofold_clock`.

Installed with twofold and loaded by pytest itself. It imports nothing of twofold before
one of its fixtures is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from twofold.core import Cache
    from twofold.testing.clock import FakeClock


@pytest.fixture
def twofold_cache(twofold_clock: "FakeClock") -> "Iterator[Cache]":
    """Return an empty memory cache, which `twofold.cache` and `@cached` use in this test.

    It is the one alias, "default", whatever the settings are; they are back afterwards.
    Its time is that of the fixture `twofold_clock`. What would be refreshed in the background
    is refreshed before the call returns, which still returns the stale value.
    """
    from secrets import token_hex

    from twofold.effects import background
    from twofold.registry import caches

    settings = {
        "BACKEND": _MEMORY,
        "LOCATION": f"test-{token_hex(8)}",
        "OPTIONS": {"on_unserializable": "raise"},
    }
    outside, background.inline = background.inline, True
    try:
        with caches.override({"default": settings}, clock=twofold_clock):
            yield caches["default"]
    finally:
        background.inline = outside


@pytest.fixture
def twofold_clock() -> "FakeClock":
    """Return the `FakeClock` of `twofold_cache`: `twofold_clock.advance(60)`."""
    from twofold.testing.clock import FakeClock

    return FakeClock()


_MEMORY = "twofold.backends.memory.MemoryBackend"
