"""The pytest plugin: the fixtures `twofold_cache`, `twofold_clock` and `twofold_background`.

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
def twofold_background(twofold_cache: "Cache") -> "Iterator[None]":
    """Have `twofold_cache` refresh behind its callers, in threads and tasks, as in production.

    `twofold_cache.close()` waits for what is on its way, and so does the end of the test for
    threads; tasks end with their event loop.
    """
    from twofold.effects import background

    background.inline = False
    try:
        yield
    finally:
        background.inline = True
        background.drain(twofold_cache._claims, twofold_cache.backend.deadline)


@pytest.fixture
def twofold_clock() -> "FakeClock":
    """Return the `FakeClock` of `twofold_cache`: `twofold_clock.advance(60)`."""
    from twofold.testing.clock import FakeClock

    return FakeClock()


_MEMORY = "twofold.backends.memory.MemoryBackend"
