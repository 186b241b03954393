"""The pytest plugin: the fixtures `twofold_cache`, `twofold_clock` and `twofold_background`.

Installed with twofold and loaded by pytest itself. It imports nothing of twofold before
one of its fixtures is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twofold.core import Cache
    from twofold.testing.clock import FakeClock


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the fixtures run on any store."""
    parser.getgroup("twofold").addoption(
        "--twofold-store",
        default="memory",
        metavar="STORE",
        help="where twofold_cache keeps its values: memory (the default), sqlite, files, redis,"
        " memcached, or a URL; servers are looked for on this machine",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a store that there is not, before any test."""
    wanted: str = config.getoption("--twofold-store")
    if wanted not in _STORES and "://" not in wanted:
        raise pytest.UsageError(
            f"--twofold-store={wanted}: give one of {', '.join(_STORES)}, or a URL such as"
            " redis://10.0.0.5/15"
        )


@pytest.fixture
def twofold_cache(twofold_clock: "FakeClock", request: pytest.FixtureRequest) -> "Iterator[Cache]":
    """Return an empty cache, which `twofold.cache` and `@cached` use in this test.

    It is the alias "default", whatever the settings are; each other alias that they have is an
    empty cache of its own. They are back afterwards. It is in memory, or where `--twofold-store`
    says. Its time is that of the fixture `twofold_clock`, but for the lives of entries on servers.
    What would be refreshed in the background is refreshed before the call returns, which still
    returns the stale value.
    """
    from twofold.effects import background
    from twofold.registry import caches

    settings = {alias: _settings(request) for alias in {"default": None, **_aliases()}}
    outside, background.inline = background.inline, True
    try:
        with caches.override(settings, clock=twofold_clock):
            try:
                yield caches["default"]
            finally:
                for alias in caches.built.keys() & settings.keys():
                    caches[alias].clear()
    finally:
        background.inline = outside


def _aliases() -> dict[str, None]:
    """Return the names of the caches that there are; of settings that are wrong, none."""
    from twofold.registry import caches

    try:
        return dict.fromkeys(caches)
    except Exception:  # a module of settings may raise anything
        return {}


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of a store that no other test uses, or of a part of one."""
    from secrets import token_hex

    place = _place(request, f"test-{token_hex(8)}")
    return {**place, "OPTIONS": {"on_unserializable": "raise"}}


def _place(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    wanted: str = request.config.getoption("--twofold-store")
    if wanted == "memory":
        return {"BACKEND": _MEMORY, "LOCATION": name}
    if wanted in ("files", "sqlite"):
        folder = request.getfixturevalue("tmp_path_factory").mktemp("twofold")
        return {"BACKEND": wanted, "LOCATION": str(folder / "cache")}
    return {"LOCATION": _SERVERS.get(wanted, wanted), "KEY_PREFIX": name}


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
_STORES = ("memory", "sqlite", "files", "redis", "memcached")
_SERVERS = {"memcached": "memcached://127.0.0.1", "redis": "redis://127.0.0.1"}
