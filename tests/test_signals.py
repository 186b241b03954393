"""An exception of a signal's handler loses nothing, wherever it comes, on any store.

Celery's soft limit, an alarm or Ctrl-C in a notebook raise in the midst of an operation.
As SQLite tests its paths without memory: at the first bytecode, at the second, … until the
operation is done without. By default some of them are tried, `-m heavy` tries all.
"""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import MemcachedServer, RedisServer
from tests.chaos.signals import Signal
from tests.memory_books import check
from twofold import Cache, Lock
from twofold.backend import Backend
from twofold.backends.files import FilesBackend
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.memory import MemoryBackend
from twofold.backends.network import pool
from twofold.backends.redis import RedisBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.effects import renewals
from twofold.stub import new_stub


class SoftTimeLimit(Exception):
    """As Celery's."""


class Alarm(TimeoutError):
    """As many an alarm's handler raises: an `OSError`, but none of the system's."""


KINDS = (SoftTimeLimit, KeyboardInterrupt, Alarm)

STUB = new_stub()
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "get": lambda store: store.get("k"),
    "get of a missing key": lambda store: store.get("missing"),
    "get_many": lambda store: store.get_many(["k", "missing", "n"]),
    "set": lambda store: store.set("k", b"2", 60),
    "set of a new key": lambda store: store.set("new", b"v" * 2000, None),
    "set_many": lambda store: store.set_many({"k": b"2", "new": b"3"}, 60),
    "add": lambda store: store.add("new", b"v", 60),
    "touch": lambda store: store.touch("k", 90),
    "delete": lambda store: store.delete("k"),
    "delete_many": lambda store: store.delete_many(["k", "missing"]),
    "incr": lambda store: store.incr("n", 1),
    "has": lambda store: store.has("k"),
    "ttl": lambda store: store.ttl("k"),
    "compare_and_set": lambda store: store.compare_and_set("k", b"1", b"2", 60),
    "compare_and_delete": lambda store: store.compare_and_delete("k", b"1"),
    "clear": lambda store: store.clear("k"),
    "close": lambda store: store.close(),
    "get on a new connection": lambda store: store.get("k"),
    "get_or_claim": lambda store: store.get_or_claim("new", STUB, 30),
    "fill": lambda store: store.fill("claimed", STUB, b"v", 60),
    "renew": lambda store: store.renew("claimed", STUB, 60),
    "release": lambda store: store.release("claimed", STUB),
}
# What is dropped before it was owned is closed, or never begun: Python warns of that.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
STORES = ("memory", "sqlite", "files", "redis", "memcached")
EVERY = {"memory": 11, "sqlite": 61, "files": 149, "redis": 61, "memcached": 97}
PATIENCE = 25.0  # seconds; who is not served by then would wait for 30, or for ever
DEADLINE = 20.0  # seconds, which no machine is busy for
LONGEST = 7200  # seconds, for tens of thousands of bytecodes on a busy machine
CLEAR_IS_SO_LONG = 19  # times as many bytecodes as another's, in files: the same in 64 folders


@pytest.fixture
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    monkeypatch.setattr(pool, "_LAST_WORD", PATIENCE)  # what was sent is done before what follows
    name: str = request.param
    made = _make(name, request, tmp_path)
    yield made
    made.close()


def _make(name: str, request: pytest.FixtureRequest, folder: Path) -> Backend:
    if name == "memory":
        return MemoryBackend("signals", max_entries=4)
    if name == "sqlite":
        return SQLiteBackend(str(folder / "cache.db"), deadline=DEADLINE)
    if name == "files":
        return FilesBackend(str(folder / "files"), deadline=DEADLINE, max_entries=4)
    if name == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        return RedisBackend(redis.url, deadline=DEADLINE)
    memcached: MemcachedServer = request.getfixturevalue("memcached_in_turn")
    return MemcachedBackend(memcached.address, deadline=DEADLINE)


def prepare(store: Backend) -> None:
    """Have the same there before each operation, in few calls."""
    number = 1 if store.holds_objects else b"1"
    assert store.set_many({"k": b"1", "n": number}, 60) == []
    store.delete_many(["new", "claimed"])
    assert store.get_or_claim("claimed", STUB, 60) is None


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def interrupted(store: Backend | Lock, operation: Callable[[Any], Any], n: int) -> bool:
    """Tell whether the n-th bytecode was reached, and the exception raised there came out."""
    kind = KINDS[n % len(KINDS)]
    with Signal(n, kind) as signal:
        try:
            operation(store)
        except kind:
            return True
    assert not signal.fired, "the exception was lost"
    return False


def elsewhere(function: Callable[[], Any]) -> Any:
    """Return what a new thread makes of `function`, which holds no lock of this one's."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert answers, "another thread waits, or has failed"
    return answers[0]


def is_whole(store: Backend) -> None:
    """Assert that every thread can go on with the key, and that the books are right."""
    assert store.set("k", b"9", 60)
    assert store.get("k") == b"9"
    if isinstance(store, MemoryBackend | SQLiteBackend | FilesBackend):
        assert elsewhere(lambda: (store.set("k", b"8", 60), store.get("k"))) == (True, b"8")
    if isinstance(store, MemoryBackend):
        check(store)
    assert all(server.breaker == "closed" for server in store.servers())


def run_all(store: Backend, operation: Callable[[Any], Any], first: int, step: int) -> int:
    """Interrupt an operation at every `step`-th bytecode, and return how many it has, about."""
    anew = operation is OPERATIONS["get on a new connection"]
    prepare(store)
    operation(store)
    store.close()
    before, n = descriptors(), first
    prepare(store)
    if anew:
        store.close()
    while interrupted(store, operation, n):
        is_whole(store)
        prepare(store)
        n += step
        if anew:
            store.close()
    store.close()
    gc.collect()  # an exception's traceback may be part of a cycle
    assert descriptors() == before
    return n


def length(store: Backend, operation: str) -> int:
    """Return how many bytecodes of an operation are alike, so that one of them is enough."""
    return CLEAR_IS_SO_LONG if operation == "clear" and isinstance(store, FilesBackend) else 1


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_loses_nothing(
    request: pytest.FixtureRequest, store: Backend, operation: str
) -> None:
    """Neither a lock nor a descriptor is left, and the next call on the key answers."""
    step = EVERY[request.node.callspec.params["store"]] * length(store, operation)
    first = 1 + list(OPERATIONS).index(operation) % step
    assert run_all(store, OPERATIONS[operation], first, step) > first


@pytest.mark.parametrize("store", ["redis", "memcached"], indirect=True)
def test_an_alarm_on_an_idle_connection(store: RedisBackend | MemcachedBackend) -> None:
    """It is not taken for the end of what the call before had."""
    n = 1
    prepare(store)
    while True:
        store.get("k")
        for idle in store._client._pool._all_idle():
            for connection in chain(*idle.values()):
                connection.waits_until = time.monotonic() - 1
        with Signal(n, Alarm) as signal, suppress(Alarm):
            assert store.get("k") == b"1"
            assert not signal.fired, "the exception was lost"
        if not signal.fired:
            break
        n += 3
    assert all(server.breaker == "closed" for server in store.servers())


LOCKING: dict[str, Callable[[Lock], Any]] = {
    "acquire": lambda lock: lock.acquire(),
    "enter": lambda lock: lock.__enter__(),
    "release": lambda lock: lock.release(),
    "exit": lambda lock: lock.__exit__(None, None, None),
}


def a_lock(store: Backend, operation: str) -> Lock:
    """Return a lock that `operation` can be done with; half of them are renewed."""
    lock = Cache(store).lock("l", timeout=1000, wait=0, renew=operation in ("acquire", "exit"))
    if operation in ("release", "exit"):
        assert lock.acquire()
    return lock


def lock_at_each(store: Backend, operation: str, first: int, step: int) -> int:
    """Interrupt what is done with a lock at every `step`-th bytecode; return how many there are."""
    done = a_lock(store, operation)  # whatever is done once only
    LOCKING[operation](done)
    if operation in ("acquire", "enter"):
        done.release()
    n, lock = first, a_lock(store, operation)
    while interrupted(lock, LOCKING[operation], n):
        if operation in ("release", "exit") and "not held" not in repr(lock):
            lock.release()  # it was interrupted before it began
        assert repr(renewals).endswith("0 ticks>")
        other = Cache(store).lock("l", wait=0)
        assert other.acquire(), "the lock was left in the store"
        other.release()
        lock = a_lock(store, operation)
        n += step
    if operation in ("acquire", "enter"):
        lock.release()
    return n


@pytest.mark.parametrize("operation", LOCKING)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_leaves_no_lock_held(
    request: pytest.FixtureRequest, store: Backend, operation: str
) -> None:
    """Who did not get a lock does not hold it, and who let go of it can do so again."""
    step = EVERY[request.node.callspec.params["store"]]
    first = 1 + list(LOCKING).index(operation) * 7 % step
    assert lock_at_each(store, operation, first, step) > first


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("operation", LOCKING)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode_leaves_no_lock_held(
    store: Backend, operation: str
) -> None:
    """Who did not get a lock does not hold it, and who let go of it can do so again."""
    assert lock_at_each(store, operation, 1, 1) > 1


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_an_exception_of_a_handler_at_any_bytecode_loses_nothing(
    store: Backend, operation: str
) -> None:
    """Neither a lock nor a descriptor is left, and the next call on the key answers."""
    assert run_all(store, OPERATIONS[operation], 1, length(store, operation)) > 1
