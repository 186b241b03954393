"""The pytest plugin: the fixtures `cache` and `clock`.

Installed with twofold and loaded by pytest itself. It imports nothing of twofold before
one of its fixtures is used.
"""

from collections.abc import Iterator
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from twofold.core import Cache
    from twofold.testing.clock import FakeClock


@pytest.fixture
def cache(_twofold_clock: "FakeClock") -> "Iterator[Cache]":
    """Return an empty memory cache, which `twofold.cache` and `@cached` use in this test.

    It is the one alias, "default", whatever the settings are; they are back afterwards.
    Its time is that of the fixture `clock`. pytest's own fixture of that name is to be
    had as `request.config.cache`.
    """
    from twofold.registry import caches

    settings = {"BACKEND": _MEMORY, "LOCATION": f"test-{token_hex(8)}"}
    with caches.override({"default": settings}, clock=_twofold_clock):
        yield caches["default"]


@pytest.fixture
def clock(_twofold_clock: "FakeClock") -> "FakeClock":
    """Return the `FakeClock` of the fixture `cache`: `clock.advance(60)`."""
    return _twofold_clock


@pytest.fixture
def _twofold_clock() -> "FakeClock":
    """Return the clock; by a name that no fixture of the user's takes."""
    from twofold.testing.clock import FakeClock

    return FakeClock()


_MEMORY = "twofold.backends.memory.MemoryBackend"
