"""An exception of a signal's handler leaves no claim, wherever it comes, on any store.

As in `test_signals`: at the first bytecode, at the second, … until the computation is done
without. Whoever waited, asks next or asks elsewhere gets a value at once.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.signals import Signal
from tests.test_http_rules import headers, request
from tests.test_signals import EVERY, STORES, elsewhere, store
from twofold import Cache, cached
from twofold.backend import Backend
from twofold.claims import stored, table
from twofold.contrib.http import Pages, Response
from twofold.effects import BLOCKING, run_sync
from twofold.errors import BackendUnavailable
from twofold.stub import is_stub, new_stub

__all__ = ["store"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


class Interrupt(BaseException):
    """What a handler raises; what a page's store raises is no failure of the page."""


class Fails(Exception):
    """What a user's function raises."""


class Place:
    """A key, or a page, that one computes in this thread while another waits."""

    def __init__(self, store: Backend, operation: str) -> None:
        self.cache = Cache(store, timeout=60)
        self.pages = Pages(self.cache)
        self.operation = operation
        self.lonely = False
        self._followers: list[tuple[threading.Thread, list[Any]]] = []
        self._cached = cached(cache=self.cache, key="k")(self._function)

    def run(self) -> None:
        """Do what is interrupted."""
        DO[self.operation](self)

    def function(self) -> None:
        """Return a value when somebody waits for it."""
