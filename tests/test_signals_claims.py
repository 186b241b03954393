"""An exception of a signal's handler leaves no claim held, wherever it comes, on any store.

As in `test_signals`: at the first bytecode, at the second, … until the computation is done
without. Whoever waited meanwhile, and whoever asks next, gets a value at once: what goes on
only after a look at the time, or at the end of a life, hangs here.
"""

import gc
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import pytest

from tests.chaos.signals import Signal
from tests.test_http_rules import headers, request
from tests.test_signals import LONGEST, PATIENCE, STORES, elsewhere, store
from twofold import Cache, cached
from twofold.backend import Backend
from twofold.claims import flights, renewal, table
from twofold.contrib.http import Pages, Response
from twofold.contrib.http.keys import page_key
from twofold.effects import BLOCKING, run_sync
from twofold.stub import is_stub, new_stub

__all__ = ["store"]

EVERY = {"memory": 293, "sqlite": 593, "files": 1193, "redis": 593, "memcached": 893}

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


class Interrupted(BaseException):
    """What a handler raises."""


class Failed(Exception):
    """What a user's function raises."""


class Asked:
    """A key and a page, which this thread computes while another one waits for them."""

    def __init__(self, store: Backend, name: str, operation: "Operation") -> None:
        self.store = store
        self.cache = Cache(store, timeout=60)
        self.pages = Pages(self.cache)
        self.name = name
        self.operation = operation
        self.of_page = "page" in name
        self._followed = False
        self._waiting: list[threading.Thread] = []
        self.function = cached(cache=self.cache, key="k")(self.compute)

    def run(self) -> None:
        """Do what is interrupted, of which a failing function is a part."""
        with suppress(Failed):
            self.operation(self)

    def compute(self) -> int:
        """Compute the value of the key, once somebody else waits for it."""
        self.wait_for_a_follower()
        if "fails" in self.name:
            raise Failed
        return 1

    def compute_many(self, keys: list[str]) -> dict[str, int]:
        """Compute the values of keys."""
        return dict.fromkeys(keys, self.compute())

    def page(self, fails: bool = False) -> bytes:
        """Answer a request as an application does, once somebody else waits for the page."""
        exchange = run_sync(self.pages.open(BLOCKING, request(), 60))
        try:
            if exchange.answer is not None:
                return exchange.answer.body or b""
            self.wait_for_a_follower()
            if fails:
                raise Failed
            kind = "no-store" if "not stored" in self.name else "max-age=60"
            made = Response(200, headers(f"Cache-Control: {kind}"), b"page")
            return run_sync(exchange.respond(BLOCKING, made)).body or b""
        finally:
            try:
                run_sync(exchange.close(BLOCKING))
            finally:  # the first steps of the call before are in no range of ours
                run_sync(exchange.close(BLOCKING))

    def wait_for_a_follower(self) -> None:
        """Have another thread wait for what this one computes."""
        if self._followed:
            return
        self._followed = True
        follower = threading.Thread(target=self._follow, daemon=True)
        follower.start()
        self._waiting.append(follower)
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends and follower.is_alive() and not self._is_followed():
            time.sleep(0.0002)

    def _is_followed(self) -> bool:
        """Tell whether somebody waits; it runs none of our own code, whose bytecodes count."""
        table = self.cache._claims.table
        return any(each._followers for claims in list(table.values()) for each in claims)

    def _follow(self) -> None:
        with suppress(Failed):
            self.page() if self.of_page else self.cache.get_or_set("k", int)

    def is_free(self) -> None:
        """Assert that nothing is held, and that everybody who asks is served."""
        self.await_follower()
        assert not self.cache._claims.table
        assert not table.held()
        assert not renewal.live._claims
        renewal.rest()
        assert repr(renewal._renewals).endswith(" 0 ticks>")
        assert elsewhere(self._locks_are_free)
        assert not self._stub_is_left()
        if self.of_page:
            assert elsewhere(self.page) == b"page"
        else:
            value = elsewhere(lambda: self.cache.get_or_set("k", lambda: 2))
            assert self.cache.get("k") == value
            assert self.cache.get_or_set("k", lambda: 3) == value

    def begin(self) -> None:
        """Have nothing there, and nobody wait."""
        self.await_follower()
        self.cache.clear()
        self.pages.turns._unshared.clear()
        self._waiting.clear()
        self._followed = False

    def await_follower(self) -> None:
        """Assert that whoever waited for this thread is served."""
        for follower in self._waiting:
            follower.join(PATIENCE)
            assert not follower.is_alive(), "who waited waits on"

    def _locks_are_free(self) -> bool:
        for lock in (table._shared.lock, renewal.live._lock, self.pages.turns._lock):
            with lock:
                pass
        return True

    def _stub_is_left(self) -> bool:
        key = page_key(request(), "page") if self.of_page else "k"
        full, mine = self.cache._key(key, None), new_stub()
        there = self.store.get_or_claim(full, mine, 5)
        if there is None:
            self.store.release(full, mine)
        return is_stub(there, self.store.holds_objects)


Operation: TypeAlias = Callable[[Any], Any]

OPERATIONS: dict[str, Operation] = {
    "get_or_set": lambda asked: asked.cache.get_or_set("k", asked.compute),
    "get_or_set that fails": lambda asked: asked.cache.get_or_set("k", asked.compute),
    "get_or_set_many": lambda asked: asked.cache.get_or_set_many(["k", "l"], asked.compute_many),
    "cached": lambda asked: asked.function(),
    "refresh": lambda asked: asked.function.refresh(),
    "page": lambda asked: asked.page(),
    "page that fails": lambda asked: asked.page(fails=True),
    "page that is not stored": lambda asked: asked.page(),
}


def at_each(
    asked: Asked, first: int, step: int, kinds: Sequence[type[BaseException]] = (Interrupted,)
) -> int:
    """Interrupt an operation at every `step`-th bytecode, and return how many it has, about."""
    n = first
    asked.begin()  # a store in memory is the one of the test before
    asked.run()  # whatever is done once only
    while True:
        asked.begin()
        gc.collect(1)  # CPython 3.12.1 crashed where another thread closed what the last one left
        kind = kinds[n % len(kinds)]
        with Signal(n, kind) as handler, suppress(kind):
            asked.run()
            assert not handler.fired, "the exception was lost"
        if not handler.fired:
            asked.await_follower()
            asked.cache.close()
            gc.collect()  # what an exception broke off, while warnings of that are ignored
            return n
        Backend.close(asked.store)  # waits for what a loop that has ended had asked of threads
        asked.is_free()
        n += step


@pytest.fixture(autouse=True)
def _nobody_looks_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "_LOOK_EVERY", 60.0)


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> None:
    """Forget what was going on in event loops that other tests have broken off."""
    for claim in [each for each in renewal.live._claims.values() if each.is_lost()]:
        claim.forget()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_leaves_no_claim(
    request: pytest.FixtureRequest, store: Backend, operation: str
) -> None:
    """Neither here nor in the store, and nobody waits for whom it came to."""
    step = EVERY[request.node.callspec.params["store"]]
    first = 1 + list(OPERATIONS).index(operation) * 41 % step
    assert at_each(Asked(store, operation, OPERATIONS[operation]), first, step) > first


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode_leaves_no_claim(
    store: Backend, operation: str
) -> None:
    """Neither here nor in the store, and nobody waits for whom it came to."""
    assert at_each(Asked(store, operation, OPERATIONS[operation]), 1, 1) > 1
