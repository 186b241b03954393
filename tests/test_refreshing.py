"""Refreshes in the background: one for all, and nothing newer is ever overwritten."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import eventually, running
from tests.test_claims import WRITES, Steps, another, location, together
from twofold import Cache, events
from twofold.effects import background
from twofold.freshness.policy import Step, decide
from twofold.testing import FACES, Face, FakeClock

__all__ = ["another", "location"]  # fixtures

STALE: dict[str, Any] = {"timeout": 600, "stale": 600}
AT_ONCE: dict[str, Any] = {"timeout": 0.001, "stale": 600}


def make_stale(cache: Cache, key: str = "k") -> None:
    """Store "old", which is stale by now."""
    cache.delete(key)  # a store in memory outlives the caches of the test before
    assert cache.get_or_set(key, lambda: "old", **AT_ONCE) == "old"
    eventually(lambda: cache.get(key) is None, "it is stale")


CROWD = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
from twofold import Cache

cache = Cache(sys.argv[1], options={"deadline": 20.0})
options = {"timeout": 600, "stale": 600, "retry_after": 600}

def work():
    with open(sys.argv[2], "a") as log:
        log.write("computed\\n")
    time.sleep(0.3)
    if sys.argv[3] == "fails":
        raise RuntimeError("down")
    return "new"

async def crowd():
    return await asyncio.gather(*[cache.aget_or_set("k", work, **options) for _ in range(20)])

print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(24) as threads:
    loops = [threads.submit(asyncio.run, crowd()) for _ in range(8)]
    calls = [threads.submit(cache.get_or_set, "k", work, **options) for _ in range(16)]
    got = [call.result(60) for call in calls] + [v for loop in loops for v in loop.result(60)]
assert set(got) <= {"old", "new"}, set(got)
if sys.argv[3] == "fails":
    assert set(got) == {"old"}, set(got)
cache.close()
"""


@pytest.mark.parametrize("outcome", ["returns", "fails"])
def test_four_processes_refresh_once(
    location: str, another: Callable[[], Cache], tmp_path: Path, outcome: str
) -> None:
    """704 callers are served, and one run is all, also if it fails."""
    make_stale(another())
    log = tmp_path / "log"
    together(CROWD, location, str(log), outcome)
    assert log.read_text() == "computed\n"


@pytest.mark.parametrize("write", ["clear", "delete", "set"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_write_during_a_refresh_wins(
    face: Face, write: str, another: Callable[[], Cache]
) -> None:
    """Whatever step of it a foreign write comes before, what was computed from older is gone."""
    background.inline = True
    try:
        for step in range(10):
            ours, theirs = another(), another()
            theirs.clear()
            make_stale(theirs)
            source = ["older"]

            def act(theirs: Cache = theirs, source: list[str] = source) -> None:
                source[0] = "new"
                WRITES[write](theirs)

            def look(theirs: Cache = theirs) -> None:
                assert theirs.get("k", allow_stale=True) in (None, "new")

            steps = Steps(ours.backend, step, act, look)
            call = face.view(ours).get_or_set("k", lambda source=source: source[0], **STALE)
            assert face.run(call) in ("old", "older", "new")
            if not steps.acted:
                assert step >= 2
                return
            look()
            ours.close()
            theirs.close()
        pytest.fail("a refresh takes no ten steps")
    finally:
        background.inline = False


REFRESH = """
import sys, threading
from twofold import Cache

cache = Cache(sys.argv[1], options={"deadline": 20.0})
begun = threading.Event()

def work():
    begun.set()
    threading.Event().wait(60)

assert cache.get_or_set("k", work, timeout=600, stale=600) == "old"
assert begun.wait(30)
print("computing", flush=True)
if sys.argv[2] == "killed":
    sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["killed", "exits"])
def test_a_refresh_whose_process_is_gone_is_taken_over(
    location: str, another: Callable[[], Cache], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a life; and an interpreter that exits amid a refresh says nothing."""
    ours = another()
    make_stale(ours)
    program = REFRESH.replace("from twofold import Cache", _SHORT_LIFE)
    with running("-c", program, location, how, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        if how == "killed":
            process.send_signal(signal.SIGKILL)
        _, told = process.communicate(timeout=30)
    assert told == ""
    assert process.returncode == (-signal.SIGKILL if how == "killed" else 0)
    monkeypatch.setattr("twofold.computing.computations.ELSEWHERE", 0.05)

    def refreshed() -> bool:
        return ours.get_or_set("k", lambda: "new", **STALE) == "new"

    eventually(refreshed, "it is refreshed here", 20)


_SHORT_LIFE = """
from twofold import Cache
from twofold.claims import renewal
renewal.LIFE = 1.0
"""


def test_a_mark_elsewhere_ends_the_rest_in_the_store(
    another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who share the store may try again, but the process that failed."""
    monkeypatch.setattr(background, "inline", True)
    failing, marking, asking = another(), another(), another()
    make_stale(failing)

    def fail() -> str:
        raise RuntimeError("down")

    assert failing.get_or_set("k", fail, **STALE) == "old"
    assert marking.mark_stale("k") is False
    assert asking.get_or_set("k", lambda: "new", **STALE) == "old"
    assert asking.get("k") == "new"
    assert marking.backend.get(marking._keys.claim(marking._key("k"))) is None


ENDING = """
import atexit, threading, time
from twofold import Cache

cache, begun, over = Cache("memory://"), threading.Event(), threading.Event()

def work():
    begun.set()
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    over.set()
    raise RuntimeError("the interpreter ends")

cache.set("k", "old", stale=600)
cache.mark_stale("k")
assert cache.get_or_set("k", work, stale=600) == "old"
assert begun.wait(30)
atexit.register(lambda: (over.wait(10), time.sleep(0.05)))
"""


def test_a_refresh_that_fails_as_the_interpreter_ends_says_nothing() -> None:
    """What it needs is gone then, and nobody is there to be told."""
    command = [sys.executable, "-W", "error", "-c", ENDING]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_fork_amid_a_refresh_begins_without_it(another: Callable[[], Cache]) -> None:
    """The child serves the stale value, and neither waits for the parent's thread nor ends it."""
    ours = another()
    make_stale(ours)
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert may_end.wait(30)
        return "new"

    assert ours.get_or_set("k", slow, **STALE) == "old"
    assert begun.wait(30)
    child = os.fork()
    if child == 0:
        try:
            began = "0 threads" in repr(background)
            served = ours.get_or_set("k", lambda: "of the child", **STALE) == "old"
            os._exit(0 if began and served else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    may_end.set()
    eventually(lambda: ours.get("k") == "new", "the parent's is stored")


@pytest.mark.parametrize("ending", ["run", "close", "no cancellation"])
def test_a_loop_that_ends_amid_a_refresh_gives_it_up(
    ending: str, another: Callable[[], Cache]
) -> None:
    """Its claim is released at once where its cancellation runs; the next caller does it itself."""
    ours, theirs = another(), another()
    make_stale(ours)
    begun = []

    async def slow() -> str:
        begun.append(1)
        await asyncio.sleep(60)
        return "never"

    async def ask() -> None:
        assert await ours.aget_or_set("k", slow, **STALE) == "old"
        while not begun:
            await asyncio.sleep(0.001)

    if ending == "run":
        asyncio.run(ask())
        assert theirs.get_or_set("k", lambda: "new", **STALE, wait=None) == "new"
    elif ending == "no cancellation":
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask())
        loop.close()
    else:
        ours.backend.deadline = 0.05  # for which it waits
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask())
        loop.run_until_complete(ours.aclose())
        loop.close()
        ours.backend.deadline = 20.0
    assert ours.get_or_set("k", lambda: "new", **STALE) == "new"


def test_who_takes_over_from_a_loop_that_ended_waits_no_longer_than_max_wait() -> None:
    """It is served the stale value then, and the computation goes on."""
    cache, may_end = Cache("memory://"), threading.Event()
    make_stale(cache)

    async def slow() -> str:
        await asyncio.sleep(60)
        return "never"

    async def ask() -> None:
        assert await cache.aget_or_set("k", slow, **STALE) == "old"
        await asyncio.sleep(0)

    def hang() -> str:
        assert may_end.wait(30)
        return "new"

    asyncio.run(ask())
    assert cache.get_or_set("k", hang, **STALE, max_wait=0.01) == "old"
    may_end.set()
    eventually(lambda: cache.get("k") == "new", "it is stored")
    cache.close()


def test_a_caller_that_is_cancelled_leaves_the_refresh_running(
    another: Callable[[], Cache],
) -> None:
    """Whether it waits for it or not."""
    ours = another()
    make_stale(ours)

    async def main() -> None:
        may_end, begun = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            begun.set()
            await may_end.wait()
            return "new"

        waiting = asyncio.create_task(ours.aget_or_set("k", slow, **STALE, wait=30))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_end.set()
        while await ours.aget("k") != "new":
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_nothing_is_queued_where_all_threads_are_busy() -> None:
    """Stale values are served, what has none is computed by its caller."""
    cache, may_end = Cache("memory://refreshing"), threading.Event()
    cache.clear()
    busy = []

    def hang() -> str:
        busy.append(1)
        assert may_end.wait(30)
        return "new"

    keys = [f"k{n}" for n in range(20)]
    for key in keys:
        make_stale(cache, key)
    assert [cache.get_or_set(key, hang, **STALE) for key in keys] == ["old"] * 20
    eventually(lambda: len(busy) == 16, "the threads are busy")
    assert cache.get_or_set("m", lambda: threading.get_ident(), max_wait=1) == threading.get_ident()
    assert cache.get_or_set(keys[-1], lambda: "mine", **STALE, wait=1) == "old"
    may_end.set()
    cache.close()
    assert [cache.get(key) for key in keys[:16]] == ["new"] * 16
    assert cache.get(keys[-1]) is None


def test_an_outage_of_a_function_is_told_once(
    twofold_cache: Cache, twofold_clock: FakeClock
) -> None:
    """Of many keys and tries, until it works again; at most each 10 s, if it does now and then."""
    told: list[events.Event] = []
    unsubscribe = events.subscribe(told.append)
    fails = True

    def function() -> str:
        if fails:
            raise RuntimeError("down")
        return "new"

    def ask(key: str) -> None:
        assert twofold_cache.get_or_set(key, function, 600, stale=600, retry_after=0) == "old"

    keys = "abcd"
    for key in keys:
        twofold_cache.get_or_set(key, lambda: "old", 1, stale=600)
    twofold_clock.advance(2)
    for key in keys:
        ask(key)
    assert [type(event) for event in told] == [events.RefreshFailed]
    assert "function() failed" in str(told[0])
    fails = False
    ask("a")
    fails = True
    ask("b")
    assert len(told) == 1
    twofold_clock.advance(10)
    ask("b")
    ask("c")
    assert len(told) == 2
    twofold_clock.advance(20)
    ask("d")
    assert len(told) == 2
    unsubscribe()


def test_a_failed_refresh_rests_for_all_caches_of_the_store() -> None:
    """Two caches of one memory store know of each other's failures."""
    ours, theirs = Cache("memory://resting"), Cache("memory://resting")
    make_stale(ours)
    tries = []

    def fail() -> str:
        tries.append(1)
        raise RuntimeError("down")

    for cache in (ours, theirs, ours):
        assert cache.get_or_set("k", fail, **STALE, wait=None) == "old"
    assert tries == [1]
    ours.close()
    theirs.close()


@pytest.mark.parametrize("wait", [0, None, 5])
def test_who_looked_before_another_failed_does_not_try_again(
    wait: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh fails between their look and their own."""
    cache, tries = Cache("memory://"), []
    make_stale(cache)
    monkeypatch.setattr(background, "inline", True)
    options: dict[str, Any] = {**STALE, "wait": wait}
    looks = []

    def fail() -> str:
        tries.append(1)
        raise RuntimeError("down")

    def look(*args: Any, **kwargs: Any) -> Step:
        looks.append(1)
        if len(looks) == 1:  # it was not known yet when they looked whether to serve at once
            assert cache.get_or_set("k", fail, **options) == "old"
        return decide(*args, **kwargs)

    monkeypatch.setattr("twofold.computing.answers.decide", look)
    assert cache.get_or_set("k", fail, **options) == "old"
    assert len(looks) > 1
    assert tries == [1]
    cache.close()


def test_a_miss_that_fails_too_leaves_the_rest_as_it_is(another: Callable[[], Cache]) -> None:
    """Who takes no stale value does not heed it; those who do still wait for the next try."""
    make_stale(another())
    tries = []

    def fail(*_: object) -> Any:
        tries.append(1)
        raise RuntimeError("down")

    assert another().get_or_set("k", fail, **STALE, wait=None) == "old"
    with pytest.raises(RuntimeError):
        another().get_or_set("k", fail, 600)
    with pytest.raises(RuntimeError):
        another().get_or_set_many(["k"], fail, 600)
    assert another().get_or_set("k", fail, **STALE, wait=None) == "old"
    assert len(tries) == 3


@pytest.mark.parametrize("wait", [0, None, 5])
def test_a_failure_elsewhere_is_asked_for_once_in_a_while(
    wait: float | None, another: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale hit is one round trip then, for who waits too."""
    ours, theirs = another(), another()
    make_stale(ours)
    monkeypatch.setattr(background, "inline", True)
    monkeypatch.setattr("twofold.computing.computations.ELSEWHERE", 600)
    asked = []

    def counted(claim: Callable[..., Any]) -> Callable[..., Any]:
        def claiming(*args: Any) -> Any:
            asked.append(1)
            return claim(*args)

        return claiming

    def fail(*_: object) -> Any:
        raise RuntimeError("down")

    assert ours.get_or_set("k", fail, **STALE, wait=wait) == "old"
    for name in ("get_or_claim", "get_or_claim_many"):
        monkeypatch.setattr(theirs.backend, name, counted(getattr(theirs.backend, name)))
    for _ in range(3):
        assert theirs.get_or_set("k", fail, **STALE, wait=wait) == "old"
    assert len(asked) == (1 if wait == 0 else 2)
    theirs._rests.succeed("k", fail)
    for _ in range(3):
        assert theirs.get_or_set_many(["k"], fail, **STALE, wait=wait) == {"k": "old"}
    assert 0 < len(asked) <= 4


def test_callers_are_answered_while_the_function_hangs() -> None:
    """By the stale value after `wait`; what hung is stored at last."""
    cache, begun, may_end = Cache("memory://refreshing"), threading.Event(), threading.Event()
    cache.clear()
    make_stale(cache)

    def hang() -> str:
        begun.set()
        assert may_end.wait(30)
        return "new"

    served = [cache.get_or_set("k", hang, **STALE, wait=0.01) for _ in range(10)]
    assert served == ["old"] * 10
    assert begun.wait(10)
    assert cache.stats().computations == 2
    may_end.set()
    eventually(lambda: cache.get("k") == "new", "it is stored")
    cache.close()
