"""What holds after every test: nothing of twofold's is left behind."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import hypothesis  # noqa: F401 - of what it registers when it is imported, it asks the collector
import pytest

from tests.chaos.leaks import LASTING
from twofold import close_all, configure, events
from twofold.backends.files import FilesBackend
from twofold.backends.memory import _stores
from twofold.backends.network.backend import NetworkBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.effects.faces import _Task
from twofold.freshness import overrides

pytest_plugins = ["pytester", "tests.chaos.fixtures"]

_PATIENCE = 20.0  # seconds for what was told to end
_FIRST = ("test_django_suite", "test_site")
"""Modules of one long fixture: one process begins with them, and none is left with them."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1)
_NETWORKED = ("test_chaos", "test_memcached", "test_network", "test_redis")


for _store in (FilesBackend, NetworkBackend, SQLiteBackend):
    # A test that says nothing of a deadline is not about time: none that a busy machine misses.
    _store.__init__.__kwdefaults__["deadline"] = 20.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the heavy tests out unless `-m` says what to run; begin with what takes long."""
    if not config.getoption("markexpr"):
        heavy = [item for item in items if item.get_closest_marker("heavy")]
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]
    items.sort(key=lambda item: item.path.stem not in _FIRST)


def pytest_collection_finish() -> None:
    """Spare each `gc.collect()` of a test the walk over all tests, which takes 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_of_a_network_is_left(request: pytest.FixtureRequest) -> None:
    """Have the fault harness check the tests that use it."""
    if request.path.name.startswith(_NETWORKED):
        request.getfixturevalue("no_leaks")


@pytest.fixture(autouse=True)
def _settings_are_as_before() -> Iterator[None]:
    """Check that a test leaves to the next one what it found; its caches go, and all in memory."""
    before = _common_state()
    yield
    close_all()
    configure()
    for store in list(_stores._open.values()):  # of caches that are not collected yet
        store.clear("")
    if pages := sys.modules.get("twofold.contrib.django.page_store"):
        pages._outages.clear()  # an outage soon after another of the same alias is told late
    assert _common_state() == before


def _common_state() -> dict[str, Any]:
    """Return what all tests of a process have in common, and some of them change."""
    django = sys.modules.get("django.conf")
    configured = django is not None and django.settings.configured
    return {
        "Django's settings": id(django.settings._wrapped) if configured else None,
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "working directory": os.getcwd(),
        "garbage collection": (gc.isenabled(), *gc.get_threshold()),
        "switch interval": sys.getswitchinterval(),
        "signals": [signal.getsignal(each) for each in _SIGNALS],
        "subscribers": list(events._subscribers),
        "overrides": set(overrides.requests),
    }


@pytest.fixture(autouse=True)
def _nothing_is_left(_nothing_of_a_network_is_left: None) -> Iterator[None]:
    """Check that a test leaves no worker thread and no task of twofold's alive."""
    before = _alive()
    yield
    close_all()
    ends = time.monotonic() + _PATIENCE
    if _alive() - before:
        gc.collect()  # a cache that a test has dropped lets go of its threads when it is collected
    while (left := _alive() - before) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not left, f"left behind: {left}"


def _alive() -> set[Any]:
    """Return the threads of all backends, and the tasks of all flights."""
    threads = [each for each in threading.enumerate() if each.name.startswith("twofold-")]
    workers = {each for each in threads if not each.name.startswith(LASTING)}
    return workers | {
        task for task in list(_Task._running) if not task._task.get_loop().is_closed()
    }
