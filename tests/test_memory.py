"""The store in the process: bounds, eviction, expiry, sharing."""

import faulthandler
import gc
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from tests.memory_books import check
from twofold import (
    BackendUnavailable,
    Cache,
    LockNotAcquired,
    SettingsError,
    caches,
    configure,
)
from twofold.backends.memory import MemoryBackend, _stores
from twofold.memory.entry import ENTRY_BYTES
from twofold.testing import FakeClock


def store_of(name: str, **options: Any) -> tuple[MemoryBackend, FakeClock]:
    """Return a store of its own, and its clock."""
    clock = FakeClock()
    return MemoryBackend(name, clock=clock, **options), clock


def test_entries_are_bounded() -> None:
    """A full store makes room for each new entry by letting one go."""
    store, _ = store_of("entries", max_entries=10)
    for number in range(100):
        assert store.set(f"k{number}", number, None)
        check(store)
    assert len(store._store.entries) == 10
    assert store.get("k99") == 99


@pytest.mark.parametrize(("cull_frequency", "left"), [(3, 29), (0, 19), (None, 30), (1, 19)])
def test_culling_is_what_django_does(cull_frequency: int | None, left: int) -> None:
    """49 sets of new keys leave what Django's own tests of culling expect."""
    store, _ = store_of(f"cull {cull_frequency}", max_entries=30, cull_frequency=cull_frequency)
    for number in range(1, 50):
        assert store.set(f"cull{number}", "value", 1000)
        assert store.has(f"cull{number}")
        check(store)
    assert sum(store.has(f"cull{number}") for number in range(1, 50)) == left
    assert store.set("cull49", "again", None)
    assert len(store._store.entries) == left


def test_culling_leaves_locks() -> None:
    """However many others go, a held lock stays; and so does the newcomer."""
    store, _ = store_of("cull locks", max_entries=10, cull_frequency=0)
    store.set("!lock:a", "token", 60)
    for number in range(10):
        store.set(f"k{number}", "value", None)
    assert list(store._store.entries) == ["!lock:a", "k9"]
    store.set("!claim:b", "token", 60)
    for number in range(20, 28):
        store.set(f"k{number}", "value", None)
    assert list(store._store.entries) == ["!lock:a", "!claim:b", "k27"]


@pytest.mark.parametrize("value", [-1, True, 1.5, "3"])
def test_a_frequency_that_is_no_number_is_refused(value: Any) -> None:
    """The error names the key in OPTIONS and shows the value."""
    with pytest.raises(SettingsError, match=rf"OPTIONS\['cull_frequency'\].*{value!r}"):
        MemoryBackend(f"frequency {value}", cull_frequency=value)


def test_bytes_are_bounded() -> None:
    """Keys, values and what an entry costs count together."""
    store, _ = store_of("bytes", max_bytes=20 * (ENTRY_BYTES + 1200))
    for number in range(100):
        store.set(f"k{number}", "x" * 1000, None)
        check(store)
    assert 15 <= len(store._store.entries) <= 22


def test_the_items_of_a_tuple_are_weighed() -> None:
    """A tuple does not hide the size of what it holds."""
    store, _ = store_of("tuples", max_bytes=100_000)
    for number in range(100):
        store.set(f"k{number}", ("x" * 10_000, number), None)
        check(store)
    assert len(store._store.entries) < 10


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Slotted:
    text: str


class Row(NamedTuple):
    text: str


@attrs.frozen
class Frozen:
    text: str


class Struct(msgspec.Struct, frozen=True):
    text: str


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    text: str


KINDS: list[Any] = [Text, Slotted, Row, Frozen, Struct, Path]
KINDS += [lambda text: Model(text=text), lambda text: (Text(text),), lambda text: {"k": text}]


@pytest.mark.parametrize("made", KINDS)
@pytest.mark.parametrize("options", [{}, {"stale": 60}])
def test_what_is_shared_is_weighed(made: Any, options: Any) -> None:
    """A frozen value, which all readers have as it is, does not hide the size of its fields."""
    cache = Cache(f"memory://shared {made}", options={"max_bytes": 100_000})
    cache.clear()
    for number in range(100):
        cache.set(f"k{number}", made("x" * 10_000 + str(number)), **options)
    assert 5 <= sum(f"k{number}" in cache for number in range(100)) < 10


def test_private_copies_are_weighed() -> None:
    """A mutable value, which is kept as bytes, weighs as much as those."""
    options = {"max_bytes": 100_000}
    configure({"default": {"LOCATION": "memory://copies weighed", "OPTIONS": options}})
    for number in range(100):
        caches["default"].set(f"k{number}", ["x" * 10_000])
    there = [f"k{number}" in caches["default"] for number in range(100)]
    assert 5 <= sum(there) < 10


def test_a_value_too_big_is_not_stored_and_the_old_one_stays() -> None:
    """What can never fit is refused, without emptying the store for it."""
    store, _ = store_of("big", max_bytes=10_000)
    store.set("k", "old", None)
    assert store.set("k", "x" * 20_000, None) is False
    assert store.get("k") == "old"
    check(store)


def test_what_is_asked_for_stays() -> None:
    """An entry that is hit between writes outlives those that are not."""
    store, _ = store_of("clock", max_entries=50)
    store.set("hot", "value", None)
    for number in range(1000):
        assert store.get("hot") == "value"
        store.set(f"cold{number}", number, None)
    assert store.get("hot") == "value"


def test_an_eviction_looks_at_few_entries() -> None:
    """With every entry hit, one write still lets one go after a bounded look."""
    store, _ = store_of("all hot", max_entries=1000)
    for number in range(1000):
        store.set(f"k{number}", number, None)
    for number in range(1000):
        store.get(f"k{number}")
    store.set("new", 1, None)
    assert sum(not entry.visited for entry in store._store.entries.values()) <= 10
    check(store)


def test_expired_entries_go_before_live_ones() -> None:
    """Writes clear a few expired entries each, and evict none that live meanwhile."""
    store, clock = store_of("expired", max_entries=200)
    for number in range(100):
        store.set(f"short{number}", number, 10.0)
        store.set(f"long{number}", number, 1000.0)
    clock.advance(20)
    for number in range(50):
        store.set(f"new{number}", number, 1000.0)
        check(store)
    assert all(store.get(f"long{number}") == number for number in range(100))
    assert not any(f"short{number}" in store._store.entries for number in range(100))


@pytest.mark.parametrize("ttl", [1e-9, 0.001, 1.0, 299.0, 86_400.0, 3.2e9])
def test_time_to_live_is_exact(ttl: float) -> None:
    """An entry is there until its time is over, and not after, however short or long."""
    store, clock = store_of(f"ttl {ttl}")
    store.set("k", 1, ttl)
    clock.advance(ttl * 0.999)
    assert store.get("k") == 1
    clock.advance(ttl * 0.002)
    assert store.get("k") is None
    assert store.ttl("k") == 0.0


def test_the_shortest_time_to_live_is_over_at_once() -> None:
    """A life too short for the clock to tell is an entry that has expired."""
    store, _ = store_of("shortest")
    assert store.set("k", 1, 5e-324)
    assert store.get("k") is None


def test_rewriting_one_key_leaves_nothing_behind() -> None:
    """A key set again and again is scheduled to expire once."""
    store, clock = store_of("again")
    for _ in range(1000):
        store.set("k", 1, 300.0)
        clock.advance(0.5)
        store.touch("k", 600.0)
    check(store)
    assert len(store._store._expiries._buckets) < 100


def test_random_use_keeps_the_books() -> None:
    """After any mixture of operations the counts and weights are right."""
    chance = random.Random(7)
    store, clock = store_of("books", max_entries=60, max_bytes=60_000)
    operations: list[Callable[[str], Any]] = [
        store.get,
        store.delete,
        lambda key: store.set(key, "x" * chance.randrange(3000), chance.choice([None, 1.0, 50.0])),
        lambda key: store.add(key, 5, 7.0),
        lambda key: store.touch(key, chance.choice([None, 3.0])),
        lambda key: store.compare_and_set(key, 5, 6, 9.0),
        lambda key: store.compare_and_delete(key, 6),
        lambda _: clock.advance(chance.random()),
        lambda _: store.clear(f"k{chance.randrange(10)}"),
    ]
    for _ in range(5000):
        chance.choices(operations, weights=[9, 1, 9, 3, 2, 2, 1, 3, 0.1])[0](
            f"k{chance.randrange(200)}"
        )
        check(store)


def test_aliases_with_one_location_share_a_store() -> None:
    """The same LOCATION is the same store; other bounds for it are an error."""
    configure({"a": "memory://shared", "b": "memory://shared", "c": "memory://other"})
    caches["a"].set("k", 1)
    assert caches["b"].get("k") == 1
    assert caches["c"].get("k") is None
    with pytest.raises(SettingsError, match="max_entries=100000"):
        MemoryBackend("shared", max_entries=5)
    with pytest.raises(SettingsError, match="cull_frequency=None"):
        MemoryBackend("shared", cull_frequency=3)


def test_a_store_lives_as_long_as_somebody_uses_it() -> None:
    """When the last cache of a LOCATION is gone, so are its entries."""
    MemoryBackend("gone").set("k", 1, None)
    gc.collect()
    assert MemoryBackend("gone").get("k") is None


@pytest.mark.parametrize("bound", [0, -1, True, 1.5, "10"])
@pytest.mark.parametrize("name", ["max_entries", "max_bytes"])
def test_bounds_are_positive_numbers(name: str, bound: Any) -> None:
    """Anything else is refused, by the name of the option."""
    with pytest.raises(SettingsError, match=name):
        MemoryBackend("bounds", **{name: bound})


def test_objects_by_reference_where_asked_for() -> None:
    """`SERIALIZER: None` gives every reader the very object; the default gives copies."""
    configure(
        {
            "default": "memory://copies",
            "raw": {"LOCATION": "memory://raw", "SERIALIZER": None},
        }
    )
    value = {"a": object()}
    caches["raw"].set("k", value)
    assert caches["raw"].get("k") is value
    copied = {"a": [1]}
    caches["default"].set("k", copied)
    copied["a"].append(2)
    first = caches["default"].get("k")
    first["a"].append(3)
    assert caches["default"].get("k") == {"a": [1]}
    text = "immutable " * 10
    caches["default"].set("t", text)
    assert caches["default"].get("t") is text


def test_readers_never_see_a_torn_entry() -> None:
    """While writers set, evict and expire, a reader has a key's own value or none."""
    store = MemoryBackend("torn", max_entries=64)
    stop, wrong = threading.Event(), []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            key = f"k{chance.randrange(128)}"
            store.set(key, (key, chance.random()), chance.choice([0.001, 10.0]))

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(20_000):
            key = f"k{chance.randrange(128)}"
            value = store.get(key)
            if value is not None and value[0] != key:
                wrong.append((key, value))

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    for thread in writers:
        thread.join()
    assert not wrong
    check(store)


def test_a_fork_amid_a_write_leaves_the_child_a_working_store() -> None:
    """A child forked while a thread writes or opens a store starts empty, and does not hang."""
    store = MemoryBackend("fork")
    store.set("k", 1, None)
    amid, forked = threading.Event(), threading.Event()

    def write() -> bool:
        amid.set()
        return forked.wait(10)

    def open_and_write() -> None:
        with _stores._lock:
            store._store.do(write)

    writer = threading.Thread(target=open_and_write)
    writer.start()
    assert amid.wait(10)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        fine = store.get("k") is None and store.set("k", 2, None) and store.get("k") == 2
        fine = fine and MemoryBackend("opened in the child").set("k", 1, None)
        os._exit(0 if fine else 1)
    forked.set()
    writer.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.get("k") == 1


def test_repr_tells_how_full_it_is() -> None:
    """A cache shows its alias, its store and how much that holds."""
    configure({"default": "memory://shown"})
    cache: Cache = caches["default"]
    cache.set("k", 1)
    assert "'default'" in repr(cache)
    assert "1 of 100000 entries" in repr(cache)


class Farewell:
    """A value, part of a reference cycle if wished, that calls back when it is freed."""

    def __init__(self, call: Callable[[], Any], *, cycle: bool = False) -> None:
        self.call = call
        self.me = self if cycle else None

    def __del__(self) -> None:
        self.call()


@pytest.fixture
def alarm() -> Iterator[None]:
    """End the test run loudly, instead of never, if the test hangs."""
    faulthandler.dump_traceback_later(20, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("cycle", [False, True])
def test_a_finaliser_may_write_while_the_thread_is_amid_a_write(cycle: bool) -> None:
    """What a value that is let go of sets, deletes or touches is done after the write."""
    store, _ = store_of(f"finaliser {cycle}", max_entries=20)

    def write() -> None:
        assert store.set("last", 1, None)
        store.delete("session")
        store.touch("hot", 5.0)

    for number in range(1000):
        store.set("session", number, None)
        store.set("hot", number, None)
        store.set("value", Farewell(write, cycle=cycle), None)
    store.delete("value")
    gc.collect()
    assert store.get("last") == 1
    assert store.get("session") is None
    assert store.ttl("hot") == 5.0
    check(store)


@pytest.mark.usefixtures("alarm")
def test_a_finaliser_may_clear_and_many_may_write() -> None:
    """However many writes come in amid one, all of them are done, in their order."""
    store, _ = store_of("many finalisers")
    done: list[int] = []

    def write(number: int) -> None:
        store.set("count", number, None)
        done.append(number)

    for number in range(5000):
        store.set(f"k{number}", Farewell(partial(write, number)), None)
    store.set("last", Farewell(partial(store.clear, "k")), None)
    store.delete("last")
    assert len(done) == 5000
    assert store.get("count") == done[-1]
    assert len(store._store.entries) == 1
    check(store)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize(
    "operation",
    [
        lambda store: store.add("k", 1, None),
        lambda store: store.incr("k", 1),
        lambda store: store.compare_and_set("k", 1, 2, None),
        lambda store: store.compare_and_delete("k", 1),
    ],
)
def test_what_needs_an_answer_at_once_is_refused_amid_a_write(
    operation: Callable[[MemoryBackend], Any],
) -> None:
    """An atomic operation from a finaliser amid a write raises, and the store goes on."""
    store, _ = store_of("amid")
    raised: list[str] = []

    def call() -> None:
        with pytest.raises(BackendUnavailable) as caught:
            operation(store)
        raised.append(str(caught.value))

    store.set("k", 1, None)
    store.set("value", Farewell(call), None)
    assert store.set("value", 2, None)
    assert len(raised) == 1
    assert "finaliser or signal handler" in raised[0]
    assert store.incr("k", 1) == 2


@pytest.mark.usefixtures("alarm")
def test_a_failed_write_does_what_came_in_meanwhile() -> None:
    """An operation that raises leaves neither the store busy nor a write undone."""
    store, _ = store_of("failed")

    class Odd:
        def __eq__(self, other: object) -> bool:
            store.set("seen", 1, None)
            raise ValueError("odd")

        __hash__ = None  # type: ignore[assignment]

    store.set("k", Odd(), None)
    with pytest.raises(ValueError, match="odd"):
        store.compare_and_delete("k", Odd())
    assert store.get("seen") == 1
    assert store.incr("seen", 1) == 2


@pytest.mark.parametrize("bound", [{"max_entries": 2}, {"max_bytes": 2 * ENTRY_BYTES + 1000}])
@pytest.mark.parametrize("write", ["set", "add"])
def test_a_new_entry_is_not_evicted_by_its_own_write(write: str, bound: dict[str, int]) -> None:
    """With every other entry hit, what was just stored is there."""
    store, _ = store_of(f"newcomer {write} {bound}", **bound)
    for number in range(20):
        key = f"k{number}"
        assert getattr(store, write)(key, "x" * 400, None)
        assert store.get(key) is not None
        check(store)


def test_a_held_lock_is_not_evicted() -> None:
    """A full store makes room without letting a second holder into a lock."""
    configure({"default": {"LOCATION": "memory://held", "OPTIONS": {"max_entries": 10}}})
    cache: Cache = caches["default"]
    with cache.lock("job"):
        for number in range(50):
            cache.set(f"k{number}", number)
        with pytest.raises(LockNotAcquired), cache.lock("job", wait=0):
            pass
    assert cache.get("k49") == 49


def test_more_locks_than_entries_fit_leave_room_for_one() -> None:
    """Locks alone go over the bounds until they end; the last value is there meanwhile."""
    store, clock = store_of("locks", max_entries=3)
    locks = [f"app!lock:job{number}:x" for number in range(50)]
    assert all(store.add(key, number, 10.0) for number, key in enumerate(locks))
    for number in range(5):
        assert store.set(f"app:1:k!{number}", number, None)
    assert len(store.get_many(locks)) == 50
    assert [store.get(f"app:1:k!{number}") for number in range(5)] == [None] * 4 + [4]
    clock.advance(20)
    for number in range(20):
        store.set(f"app:1:{number}", number, None)
    check(store)


class Asked:
    """A lock, and an event that tells that somebody wants it."""

    def __init__(self, lock: Any, wanted: threading.Event) -> None:
        self._lock = lock
        self._wanted = wanted

    def __enter__(self) -> None:
        self._wanted.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_look_has_no_life_of_another_value() -> None:
    """While a value is written, its life is not told with that of the one before."""
    store, clock = store_of("look")
    inside, wanted, found = threading.Event(), threading.Event(), list[Any]()
    store.set("k", "old", 1000.0)
    entry = store._store.entries["k"]

    def write() -> bool:
        entry.value = "new"
        inside.set()
        assert wanted.wait(10.0)
        entry.deadline = clock.monotonic() + 5.0
        return True

    def look() -> None:
        found.append(store.look("k"))
        wanted.set()

    writer = threading.Thread(target=store._store.do, args=(write,))
    writer.start()
    assert inside.wait(10.0)
    store._store.lock = Asked(store._store.lock, wanted)  # type: ignore[assignment]
    reader = threading.Thread(target=look)
    reader.start()
    for thread in (writer, reader):
        thread.join(10.0)
    assert found == [("new", 5.0)]
