"""Claims: who computes a key while others wait, among threads, loops and processes."""

import asyncio
import logging
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos import RedisServer, eventually, running
from tests.dict_backend import DictBackend
from twofold import BackendUnavailable, Cache, ReentrantCall, cached, events
from twofold.claims import renewal, waiting
from twofold.claims.renewal import rest
from twofold.contrib.http import Headers, Pages, Request, Response
from twofold.effects import BLOCKING, NATIVE, Ticker, run_sync
from twofold.events import ClaimWaited, Event
from twofold.stub import is_stub, new_stub
from twofold.testing import FACES, ChaosBackend, Face

LONG = 1000.0
SOON = 15.0  # seconds: half of the life of a claim
STEPS = ("get", "get_or_claim", "fill", "release")
WRITES: dict[str, Callable[[Cache], Any]] = {
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k"]),
    "set": lambda cache: cache.set("k", "new"),
    "set_many": lambda cache: cache.set_many({"k": "new"}),
    "clear": lambda cache: cache.clear(),
    "touch": lambda cache: cache.touch("k", 0),
}


STORES = ("sqlite", "files", "redis", "memcached")
VARYING = [(b"vary", b"accept-language")]


@pytest.fixture(params=STORES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that several processes may share."""
    if request.param in ("sqlite", "files"):
        return f"{request.param}:///{tmp_path}/store"
    server = request.getfixturevalue(f"{request.param}_server")
    return f"{request.param}://{server.address}"


@pytest.fixture
def another(location: str) -> Iterator[Callable[[], Cache]]:
    """Makes caches over the store that know of each other by the store alone, as processes do."""
    made: list[Cache] = []

    def make() -> Cache:
        options: Any = {"blocking_calls": "allow", "deadline": 20.0}
        made.append(Cache(location, options=options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


class Steps:
    """Does something before one of the operations of a store, and looks after each."""

    def __init__(
        self,
        store: Any,
        step: int,
        act: Callable[[], Any],
        look: Callable[[], Any],
        names: tuple[str, ...] = STEPS,
    ):
        self.left = step
        self.acted = False
        self._act = act
        self._look = look
        for name in names:
            setattr(store, name, self._sync(getattr(store, name)))
            setattr(store, f"a{name}", self._async(getattr(store, f"a{name}")))

    def _before(self) -> None:
        self.left -= 1
        if self.left == -1:
            self._act()
            self.acted = True

    def _after(self) -> None:
        if self.acted:
            self._look()

    def _sync(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            self._before()
            result = real(*args)
            self._after()
            return result

        return operation

    def _async(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def operation(*args: Any) -> Any:
            self._before()
            result = await real(*args)
            self._after()
            return result

        return operation


@pytest.mark.parametrize("write", sorted(WRITES))
@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("way", ["get_or_set", "refresh"])
def test_a_stale_value_is_never_readable(
    face: Face, write: str, way: str, another: Callable[[], Cache]
) -> None:
    """Whatever step of a computation a foreign write comes before, the old value is gone."""
    for step in range(10):
        ours, theirs = another(), another()
        theirs.clear()
        source = ["old"]

        def act(theirs: Cache = theirs, source: list[str] = source) -> None:
            source[0] = "new"
            WRITES[write](theirs)

        def look(theirs: Cache = theirs) -> None:
            assert theirs.get("k") in (None, "new")

        steps = Steps(ours.backend, step, act, look)
        function = cached(cache=ours, key=lambda: "k")(lambda source=source: source[0])
        call = face.view(ours).get_or_set("k", lambda source=source: source[0])
        if way == "refresh":
            call.close()
            call = face.view(function).refresh()
        assert face.run(call) in ("old", "new")
        if not steps.acted:
            assert step >= 2
            return
        look()
        ours.close()
        theirs.close()
    pytest.fail("a computation takes no ten steps")


@pytest.mark.parametrize("write", ["delete", "set"])
def test_a_call_after_a_write_elsewhere_gets_nothing_older(
    write: str, another: Callable[[], Cache]
) -> None:
    """It joins a computation that began before, but its function is asked again."""
    ours, theirs = another(), another()
    begun, may_end, source = threading.Event(), threading.Event(), ["old"]

    def slow() -> str:
        value = source[0]
        begun.set()
        assert may_end.wait(30)
        return value

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ours.get_or_set, "k", slow)
        assert begun.wait(30)
        source[0] = "new"
        WRITES[write](theirs)
        if write == "set":  # or the second would find it, and join nothing
            theirs.backend.set(theirs._key("k"), b"unreadable", 30.0)
        second = threads.submit(ours.get_or_set, "k", lambda: source[0])
        eventually(
            lambda: sum(f.waiting for f in ours._claims) == 2,
            "2 callers wait",
        )
        may_end.set()
        assert first.result(30) == "old"
        assert second.result(30) == "new"


def _unavailable(*_: object) -> Any:
    raise BackendUnavailable("the connection was lost")


@pytest.mark.parametrize("case", ["refused", "unreadable", "failed", "failed of many"])
def test_what_was_not_stored_is_no_newer(case: str, another: Callable[[], Cache]) -> None:
    """Where a condition refuses, or a claim stands beside an entry, nothing older comes either.

    Nor where the store was out of reach for a moment, just when it was to take the value.
    """
    ours, theirs = another(), another()
    begun, may_end, source = threading.Event(), threading.Event(), ["old"]
    if case == "unreadable":
        theirs.backend.set(theirs._key("k"), b"unreadable", 30.0)

    elif case.startswith("failed"):
        ours.backend.fill = ours.backend.fill_many = _unavailable  # type: ignore[method-assign]

    @cached(cache=ours, key=lambda: "k", condition=lambda value: case != "refused")
    def slow_one() -> str:
        value = source[0]
        begun.set()
        assert may_end.wait(30)
        return value

    def slow() -> Any:
        if case == "failed of many":
            return ours.get_or_set_many(["k"], lambda _: {"k": slow_one.__wrapped__()})["k"]
        return slow_one()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(slow)
        assert begun.wait(30)
        source[0] = "new"
        theirs.delete("k")
        second = threads.submit(slow)
        eventually(lambda: sum(f.waiting for f in ours._claims) == 2, "2 callers wait")
        may_end.set()
        assert first.result(30) == "old"
        assert second.result(30) == "new"


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("by", ["delete", "name", "result"])
def test_an_error_of_before_is_for_who_asked_before(
    by: str, many: bool, another: Callable[[], Cache]
) -> None:
    """What says that there is nothing is not given to who asks after something was put there."""
    ours, theirs = another(), another()
    begun, may_end, source = threading.Event(), threading.Event(), dict[str, str]()
    tags: Any = {"delete": None, "name": ["t"], "result": lambda _: ["t"]}[by]

    def slow(*_: Any) -> Any:
        there = dict(source)
        if not begun.is_set():
            begun.set()
            assert may_end.wait(30)
        return {"k": there["k"]} if many else there["k"]

    def ask() -> Any:
        if many:
            return ours.get_or_set_many(["k"], slow, tags=tags)["k"]
        return ours.get_or_set("k", slow, tags=tags)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask)
        assert begun.wait(30)
        source["k"] = "new"
        theirs.delete("k") if by == "delete" else theirs.invalidate_tags("t")
        second = threads.submit(ask)
        eventually(lambda: sum(f.waiting for f in ours._claims) == 2, "2 callers wait")
        may_end.set()
        with pytest.raises(KeyError):
            first.result(30)
        assert second.result(30) == "new"


def test_callers_share_what_the_store_accepted(another: Callable[[], Cache]) -> None:
    """Nobody has changed the key, so that those who joined later need not ask again."""
    ours = another()
    begun, may_end, runs = threading.Event(), threading.Event(), []

    def slow() -> str:
        runs.append(1)
        begun.set()
        assert may_end.wait(30)
        return "once"

    with ThreadPoolExecutor(5) as threads:
        calls = [threads.submit(ours.get_or_set, "k", slow) for _ in range(5)]
        eventually(
            lambda: sum(f.waiting for f in ours._claims) == 5,
            "5 callers wait",
        )
        may_end.set()
        assert [call.result(30) for call in calls] == ["once"] * 5
    assert len(runs) == 1


def test_callers_share_in_an_outage() -> None:
    """Nobody can be asked whether the key was changed, so one computation serves all who wait."""
    ours = Cache(ChaosBackend(inner=DictBackend(), failure_rate=1.0))
    ours.get_or_set("j", 1)  # now the outage is known
    may_end, runs = threading.Event(), []

    def slow() -> str:
        runs.append(1)
        assert may_end.wait(30)
        return "once"

    with ThreadPoolExecutor(5) as threads:
        calls = [threads.submit(ours.get_or_set, "k", slow) for _ in range(5)]
        eventually(lambda: sum(f.waiting for f in ours._claims) == 5, "5 callers wait")
        may_end.set()
        assert [call.result(30) for call in calls] == ["once"] * 5
    assert len(runs) == 1


def test_a_claim_needs_no_thread(
    another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can start, as at the interpreter's exit, a value is computed and stored."""
    ours = another()
    rest()
    monkeypatch.setattr(renewal.live, "_tick", None)

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert ours.get_or_set("k", lambda: "value") == "value"
        assert ours.get("k") == "value"


def test_another_process_is_waited_for(another: Callable[[], Cache]) -> None:
    """While its stub stands, its value is waited for, and not computed a second time."""
    ours, theirs = another(), another()
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert may_end.wait(30)
        return "theirs"

    with ThreadPoolExecutor(2) as threads:
        leading = threads.submit(theirs.get_or_set, "k", slow)
        assert begun.wait(30)
        waiting = threads.submit(ours.get_or_set, "k", lambda: "mine")
        eventually(lambda: bool(ours._claims.table), "it waits")
        may_end.set()
        assert leading.result(30) == "theirs"
        assert waiting.result(30) == "theirs"


def test_nobody_waits_longer_than_a_life(
    another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that hangs holds others up for one life; they compute, and do not store."""
    monkeypatch.setattr(renewal, "LIFE", 0.2)
    ours, theirs = another(), another()
    key = ours._key("k")
    assert theirs.backend.get_or_claim(key, b"\xf3of-another-host!", LONG) is None
    assert ours.get_or_set("k", lambda: "mine") == "mine"
    assert is_stub(theirs.backend.get(key))
    looks: list[str] = []
    real = ours.backend.get_or_claim

    def get_or_claim(key: str, *args: Any) -> Any:
        looks.append(key)
        return real(key, *args)

    monkeypatch.setattr(ours.backend, "get_or_claim", get_or_claim)
    assert ours.get_or_set("k", lambda: "mine") == "mine"
    assert looks == [key]  # the same leader is not waited for twice
    monkeypatch.setattr(renewal, "LIFE", 30.0)
    theirs.delete("k")
    assert ours.get_or_set("k", lambda: "mine") == "mine"
    assert ours.get("k") == "mine"


@pytest.mark.parametrize("ended", ["value", "claimed", "in vain"])
def test_a_long_wait_is_told_of(
    ended: str, another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of it, once; a short one is not, unless it was in vain."""
    monkeypatch.setattr(renewal, "LIFE", 0.2 if ended == "in vain" else 30.0)
    ours, theirs = another(), another()
    key, looks, heard = ours._key("k"), list[str](), list[Event]()
    real = ours.backend.get_or_claim

    def get_or_claim(key: str, *args: Any) -> Any:
        looks.append(key)
        return real(key, *args)

    monkeypatch.setattr(ours.backend, "get_or_claim", get_or_claim)
    for long in (0.0, 60.0):
        stub = b"\xf3" + secrets.token_bytes(16)  # of another process
        assert theirs.backend.get_or_claim(key, stub, LONG) is None
        monkeypatch.setattr(waiting, "_LONG", long)
        looks.clear()
        unsubscribe = events.subscribe(heard.append)
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(ours.get_or_set, "k", lambda: "ours")
            if ended != "in vain":
                eventually(lambda: len(looks) > 1, "it waits")
                theirs.set("k", "theirs") if ended == "value" else theirs.delete("k")
            assert asked.result(30) == ("theirs" if ended == "value" else "ours")
        unsubscribe()
        theirs.delete("k")
    told = [event for event in heard if isinstance(event, ClaimWaited)]
    assert told == [ClaimWaited("private", key, each.seconds, each.ended) for each in told]
    assert [each.ended for each in told] == [ended] * (2 if ended == "in vain" else 1)
    assert told[0].level == (logging.WARNING if ended == "in vain" else logging.INFO)
    assert repr(key) in str(told[0])


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("ended", ["value", "claimed", "in vain"])
def test_a_long_wait_for_several_keys_is_told_of_once(
    ended: str, face: Face, another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a call of many, the first key for which it waited stands for the others."""
    monkeypatch.setattr(renewal, "LIFE", 0.2 if ended == "in vain" else 30.0)
    monkeypatch.setattr(waiting, "_LONG", 0.0)
    ours, theirs = another(), another()
    keys, told, wanted = [ours._key("k"), ours._key("l")], list[Event](), ["k", "l", "m"]
    for key in keys:
        stub = b"\xf3" + secrets.token_bytes(16)  # of another process
        assert theirs.backend.get_or_claim(key, stub, LONG) is None

    def function(missing: list[str]) -> dict[str, str]:
        return dict.fromkeys(missing, "ours")

    async def ask() -> Any:
        return await face.view(ours).get_or_set_many(wanted, function)

    unsubscribe = events.subscribe(told.append)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(lambda: face.run(ask()))
        if ended != "in vain":
            eventually(lambda: theirs.get("m") == "ours", "it has brought its own")
            for key in "kl":
                theirs.set(key, "theirs") if ended == "value" else theirs.delete(key)
        them = "theirs" if ended == "value" else "ours"
        assert asked.result(30) == {"k": them, "l": them, "m": "ours"}
    unsubscribe()
    waits = [event for event in told if isinstance(event, ClaimWaited)]
    assert waits == [ClaimWaited("private", keys[0], waits[0].seconds, ended)]


def test_a_leader_that_hangs_beside_an_entry_is_waited_for_once(
    another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it stands beside is not mistaken for it."""
    monkeypatch.setattr(renewal, "LIFE", 0.2)
    ours = another()
    key = ours._key("k")
    beside, hung = ours._keys.claim(key), b"\xf3of-another-host?"
    ours.backend.set(key, b"unreadable", LONG)
    assert ours.backend.get_or_claim(beside, hung, LONG) is None
    assert ours.get_or_set("k", lambda: "mine") == "mine"
    assert hung in waiting._hung


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_function_that_asks_for_its_key_by_another_cache_is_told(
    face: Face, another: Callable[[], Cache]
) -> None:
    """It does not wait for its own stub for a whole life."""
    first, second = face.view(another()), another()

    def again() -> Any:
        return second.get_or_set("k", lambda: 2)

    async def aagain() -> Any:
        return await second.aget_or_set("k", lambda: 2)

    async def body() -> None:
        with pytest.raises(ReentrantCall, match="its own result"):
            await first.get_or_set("k", aagain if face.is_async else again)
        assert await first.get_or_set("k", lambda: 3) == 3

    face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_function_of_many_that_asks_for_one_of_them_by_another_cache_is_told(
    face: Face, another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first of its keys has come just before it was claimed."""
    cache, second = another(), another()
    first = face.view(cache)
    for name in ("get_or_claim_many", "aget_or_claim_many"):
        real = getattr(cache.backend, name)

        def claim(*args: Any, real: Any = real) -> Any:
            second.set("there", 1)
            return real(*args)

        monkeypatch.setattr(cache.backend, name, claim)

    def again(keys: list[str]) -> Any:
        return {key: second.get_or_set(key, lambda: 2) for key in keys}

    async def aagain(keys: list[str]) -> Any:
        return {key: await second.aget_or_set(key, lambda: 2) for key in keys}

    async def body() -> None:
        with pytest.raises(ReentrantCall, match="its own result"):
            await first.get_or_set_many(["there", "k"], aagain if face.is_async else again)

    face.run(body())


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_two_functions_that_ask_for_each_others_keys_by_two_caches_end(
    face: Face, many: bool, another: Callable[[], Cache]
) -> None:
    """One of them computes for itself what the other one waits with: neither waits for a life."""
    both = threading.Barrier(2)

    async def ask(cache: Cache, mine: str, other: str) -> Any:
        view = face.view(cache)

        async def compute() -> Any:
            both.wait(SOON)
            if not many:
                return await view.get_or_set(other, lambda: 1)
            found = await view.get_or_set_many([other], lambda keys: dict.fromkeys(keys, 1))
            return found[other]

        function = compute if face.is_async else lambda: run_sync(compute())
        return await view.get_or_set(mine, function)

    caches = another(), another()
    with ThreadPoolExecutor(2) as threads:
        asked = [
            threads.submit(face.run, ask(caches[0], "k", "l")),
            threads.submit(face.run, ask(caches[1], "l", "k")),
        ]
        assert [each.result(SOON) for each in asked] == [1, 1]
    for cache in caches:
        assert not cache._claims.table


def test_a_lost_claim_of_this_process_is_taken_over(another: Callable[[], Cache]) -> None:
    """Nobody computes under it any more, so there is nothing to wait for."""
    ours = another()
    assert ours.backend.get_or_claim(ours._key("k"), new_stub(), LONG) is None
    assert ours.get_or_set("k", lambda: "value") == "value"
    assert ours.get("k") == "value"


def test_an_entry_that_cannot_be_read_stays_until_it_is_replaced(
    another: Callable[[], Cache],
) -> None:
    """The claim stands beside it: another program may read what we cannot."""
    ours, theirs = another(), another()
    key = ours._key("k")
    theirs.backend.set(key, b"unreadable", LONG)
    found: list[Any] = []
    assert ours.get_or_set("k", lambda: found.append(theirs.backend.get(key)) or "value") == "value"
    assert found == [b"unreadable"]
    assert theirs.get("k") == "value"
    assert theirs.backend.get(ours._keys.claim(key)) is None


def test_a_refresh_that_is_refused_begins_again(another: Callable[[], Cache]) -> None:
    """Three times at most; what is changed again and again is left missing."""
    ours, theirs = another(), another()
    runs: list[int] = []

    @cached(cache=ours, key=lambda: "k")
    def function() -> int:
        runs.append(1)
        if len(runs) < writes:
            theirs.set("k", f"theirs {len(runs)}")
        return len(runs)

    writes = 3
    assert function.refresh() == 3
    assert theirs.get("k") == 3
    runs.clear()
    writes = 99
    assert function.refresh() == 3
    assert theirs.get("k") is None


@pytest.mark.parametrize("apart", [False, True], ids=["one cache", "two"])
def test_of_two_refreshes_the_later_one_is_stored(
    apart: bool, another: Callable[[], Cache]
) -> None:
    """Neither takes the key from the other again and again, until it is missing."""
    ours = another()
    theirs = another() if apart else ours
    begun, may_end = threading.Event(), threading.Event()
    runs: list[str] = []

    def refresh(cache: Cache, value: str) -> str:
        @cached(cache=cache, key=lambda: "k")
        def function() -> str:
            runs.append(value)
            if len(runs) == 2:
                begun.set()
                assert may_end.wait(30)
            elif len(runs) == 1:
                later.append(threads.submit(refresh, theirs, "later"))
                assert begun.wait(30)
            return value

        return function.refresh()

    later: list[Any] = []
    with ThreadPoolExecutor(2) as threads:
        assert threads.submit(refresh, ours, "earlier").result(30) == "earlier"
        may_end.set()
        assert later[0].result(30) == "later"
    assert runs == ["earlier", "later"]
    assert ours.get("k") == "later"


def test_a_store_that_fails_keeps_no_other_from_being_renewed(
    another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises: one call renews the claims of all stores."""
    ours, renewed = another(), list[str]()

    def renew(key: str, *args: Any) -> bool:
        renewed.append(key)
        raise OSError("of a third party's store")

    monkeypatch.setattr(ours.backend, "renew", renew)

    def function() -> str:
        renewal.live._renew()
        renewal.live._renew()
        return "value"

    ours.get_or_set("j", lambda: ours.get_or_set("k", function))
    assert set(renewed) == {ours._key("j"), ours._key("k")}  # the thread may have been at it, too


def test_a_claim_stands_where_an_unreadable_entry_was(another: Callable[[], Cache]) -> None:
    """What cannot be read may go while another is waited for; then the value is stored."""
    ours, theirs = another(), another()
    key = ours._key("k")
    beside = ours._keys.claim(key)
    theirs.backend.set(key, b"unreadable", LONG)
    assert theirs.backend.get_or_claim(beside, b"\xf3another-host-yet.", LONG) is None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ours.get_or_set, "k", lambda: "value")
        eventually(lambda: bool(ours._claims.table), "it waits")
        theirs.delete("k")
        assert waiting.result(30) == "value"
    assert theirs.get("k") == "value"


ASK = """
import asyncio, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from twofold import Cache

cache = Cache(sys.argv[1], options={"deadline": 20.0})

def work():
    with open(sys.argv[2], "a") as log:
        log.write("computed\\n")
    time.sleep(0.2)
    return "value"

async def crowd():
    return await asyncio.gather(*[cache.aget_or_set("k", work) for _ in range(20)])

print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(24) as threads:
    loops = [threads.submit(asyncio.run, crowd()) for _ in range(8)]
    calls = [threads.submit(cache.get_or_set, "k", work) for _ in range(16)]
    got = [call.result(60) for call in calls] + [v for loop in loops for v in loop.result(60)]
assert got == ["value"] * 176, got
cache.close()
"""


def test_four_processes_compute_once(location: str, tmp_path: Path) -> None:
    """704 callers in threads and loops of four processes get one value from one run."""
    log = tmp_path / "log"
    together(ASK, location, str(log))
    assert log.read_text() == "computed\n"


def together(program: str, *args: str) -> None:
    """Run four processes, which begin at the same time, to their good end."""
    with ExitStack() as started:
        processes = [started.enter_context(running("-c", program, *args)) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=60)
            assert process.returncode == 0


PAGE = """
import sys, time
from twofold import Cache
from twofold.contrib.http import Headers, Pages, Request, Response
from twofold.effects import BLOCKING, run_sync

pages = Pages(Cache(sys.argv[1], options={"deadline": 20.0}))
kind = [(b"content-type", b"text/plain"), *eval(sys.argv[3])]
asked = Request("GET", "http", b"h", b"/p", b"", Headers([(b"host", b"h")]), "/p")
print("ready", flush=True)
sys.stdin.readline()
exchange = run_sync(pages.open(BLOCKING, asked, 60))
if exchange.answer is None:
    with open(sys.argv[2], "a") as log:
        log.write("computed\\n")
    time.sleep(0.3)
    run_sync(exchange.respond(BLOCKING, Response(200, Headers(kind), b"page")))
else:
    assert exchange.answer.body == b"page"
exchange.release()
run_sync(exchange.close(BLOCKING))
"""


@pytest.mark.parametrize(
    ("location", "fields"),
    [
        *[pytest.param(store, [], id=f"{store}-plain") for store in STORES],
        pytest.param("sqlite", VARYING, id="sqlite-varying"),
        *[
            pytest.param(store, VARYING, id=f"{store}-varying", marks=pytest.mark.heavy)
            for store in STORES[1:]
        ],
    ],
    indirect=["location"],
)
def test_processes_compute_a_page_once(location: str, tmp_path: Path, fields: Any) -> None:
    """Of four processes that are asked for a page together one computes it."""
    log = tmp_path / "log"
    together(PAGE, location, str(log), repr(fields))
    assert log.read_text() == "computed\n"


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_an_invalidation_elsewhere_is_not_lost(
    another: Callable[[], Cache], face: Face, varying: bool, known: bool
) -> None:
    """A page that was begun before another process changed its URL is not stored after that."""
    io = NATIVE if face.is_async else BLOCKING
    ours, theirs = Pages(another()), Pages(another())
    told = [("content-type", "text/plain"), *([("vary", "x-side")] if varying else [])]
    answer = Response(200, Headers([(k.encode(), v.encode()) for k, v in told]), b"old")

    def asked(method: str, side: bytes) -> Request:
        fields = Headers([(b"host", b"h"), (b"x-side", side)])
        return Request(method, "http", b"h", b"/p", b"", fields, "/p")

    async def body() -> None:
        if known:
            exchange = await theirs.open(io, asked("GET", b"b"), 60)
            await exchange.respond(io, answer)
        begun = await ours.open(io, asked("GET", b"a" if varying else b"b"), 60)
        if known and not varying:
            assert begun.answer is not None
            return
        post = await theirs.open(io, asked("POST", b"a"), 60)
        await post.respond(io, Response(204, Headers(), b""))
        await begun.respond(io, answer)
        for side in (b"a", b"b"):
            found = await theirs.open(io, asked("GET", side), 60)
            assert found.answer is None
            found.release()
            await found.close(io)

    face.run(body())


def test_a_function_that_takes_three_lives_is_stored(
    another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is renewed meanwhile, whatever its thread or event loop is held up by."""
    monkeypatch.setattr(renewal, "LIFE", 3.0)
    ours, theirs = another(), another()
    renewed = threading.Semaphore(0)
    real = ours.backend.renew

    def renew(*args: Any) -> bool:
        done = real(*args)
        renewed.release()
        return done

    monkeypatch.setattr(ours.backend, "renew", renew)

    def slow() -> str:
        for _ in range(3):
            assert renewed.acquire(timeout=30)
            assert is_stub(theirs.backend.get(theirs._key("k")))
        return "slow"

    assert asyncio.run(ours.aget_or_set("k", slow)) == "slow"
    assert theirs.get("k") == "slow"


LEAD = """
import sys
from twofold import Cache
from twofold.claims import renewal
from twofold.claims.renewal import rest

renewal.LIFE = 1.0
cache = Cache(sys.argv[1], options={"deadline": 20.0})

def work():
    print("computing", flush=True)
    sys.stdin.readline()
    return "theirs"

print(cache.get_or_set("k", work), flush=True)
cache.close()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_leader_that_is_gone_holds_nobody_up(
    location: str, another: Callable[[], Cache], how: signal.Signals
) -> None:
    """Its claim ends with its life; if it comes back, what it brings is refused."""
    ours = another()
    with running("-c", LEAD, location) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        process.send_signal(how)
        assert ours.get_or_set("k", lambda: "ours") == "ours"
        assert ours.get("k") == "ours"
        process.send_signal(signal.SIGCONT)
        process.communicate("\n", timeout=60)
        assert ours.get("k") == "ours"


@pytest.mark.parametrize("write", ["del", "set"])
def test_other_programs_end_claims(redis_server: RedisServer, write: str) -> None:
    """A plain `DEL` or `SET`, by somebody who knows nothing of claims, does."""
    cache = Cache(redis_server.url)
    key = cache._key("k")
    foreign = b"17"

    def function() -> str:
        with redis.Redis(port=redis_server.port) as client:
            client.delete(key) if write == "del" else client.set(key, foreign)
        return "stale"

    assert cache.get_or_set("k", function) == "stale"
    assert cache.get("k") == (None if write == "del" else 17)
    cache.close()


@pytest.fixture
def renewing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Tells whether the thread lives that renews the claims of this test, and no others."""
    name = "twofold-claims-of-a-test"
    monkeypatch.setattr(renewal, "_renewals", Ticker(name))
    monkeypatch.setattr(renewal, "live", renewal.Live())
    return lambda: any(each.name == name for each in threading.enumerate())


def test_the_thread_that_renews_ends_with_the_caches(
    another: Callable[[], Cache], renewing: Callable[[], bool]
) -> None:
    """It stays for a while after a computation, and goes when a cache is closed."""
    cache = another()
    assert cache.get_or_set("k", lambda: renewing()) is True
    cache.close()
    eventually(lambda: not renewing(), "the thread has ended")


def test_a_handler_that_computes_while_the_thread_starts(
    tmp_path: Path, renewing: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds no lock taken by the very thread that it interrupts."""
    cache = Cache(f"sqlite:///{tmp_path}/store", options={"deadline": 20.0})
    real, handled = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("twofold-claims") and not handled:
            handled.append(cache.get_or_set("inner", lambda: "handled"))
        real(thread)

    assert not renewing()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert cache.get_or_set("outer", lambda: "value") == "value"
    assert handled == ["handled"]
    cache.close()


def test_a_wrapper_hands_claims_on(tmp_path: Path) -> None:
    """Two processes behind one that only passes on compute a key once."""
    urls = [f"sqlite:///{tmp_path}/store"] * 2
    ours, theirs = (Cache(ChaosBackend(inner=url, deadline=20.0)) for url in urls)

    def function() -> str:
        assert theirs.add("other", 1) is True
        assert is_stub(theirs.backend.get(theirs._key("k")))
        assert theirs.has_key("k") is False
        return "value"

    assert ours.get_or_set("k", function) == "value"
    assert theirs.get("k") == "value"
    ours.close()
    theirs.close()
