"""Coroutines that run beside the program: `twofold.effects.LoopThread`."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.chaos import eventually
from twofold.effects import LoopThread

NAME = "test-loop-thread"


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """One whose thread ends with the test."""
    made = LoopThread(NAME)
    yield made
    made.end()
    eventually(lambda: not threads(), "its thread ends, which the next test counts")


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == NAME]


class Sleeper:
    """A body that waits until it is cancelled, and counts."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    async def __call__(self) -> None:
        self.begun += 1
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended += 1


def begins(sleeper: Sleeper, times: int = 1) -> Callable[[], bool]:
    return lambda: sleeper.begun == times


def test_one_thread_runs_all_jobs_and_ends_with_the_last(loop_thread: LoopThread) -> None:
    """Each job is cancelled by itself, started again, and leaves no thread."""
    sleepers = [Sleeper() for _ in range(20)]
    jobs = [loop_thread.job(sleeper) for sleeper in sleepers]
    assert threads() == []
    for times in (1, 2):
        for job in jobs:
            job.start()
            job.start()
        for sleeper in sleepers:
            eventually(begins(sleeper, times), "each begins, once")
        assert len(threads()) == 1
        assert threads()[0].daemon
        jobs[0].cancel()
        eventually(lambda times=times: sleepers[0].ended == times, "one ends")  # type: ignore[misc]
        assert [job.running for job in jobs] == [False] + [True] * 19
        for job in jobs:
            job.cancel()
        eventually(lambda: not threads(), "the thread ends")
        assert [sleeper.ended for sleeper in sleepers] == [times] * 20


def test_a_job_that_is_started_as_it_ends_runs_again(loop_thread: LoopThread) -> None:
    """No start is lost, at whatever moment it comes."""
    ran: list[int] = []

    async def body() -> None:
        ran.append(1)
        if len(ran) < 5:
            job.start()

    job = loop_thread.job(body)
    job.start()
    eventually(lambda: not threads(), "the thread ends")
    assert len(ran) == 5
    for times in range(6, 30):
        job.start()
        eventually(lambda times=times: len(ran) == times, "it runs")  # type: ignore[misc]


def test_an_error_is_logged_and_ends_its_job_alone(
    loop_thread: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """Other jobs go on."""

    async def fail() -> None:
        raise ValueError("no store")

    sleeper = Sleeper()
    other, failing = loop_thread.job(sleeper), loop_thread.job(fail)
    with caplog.at_level(logging.ERROR, "twofold"):
        other.start()
        failing.start()
        eventually(lambda: not failing.running, "it ends")
        eventually(begins(sleeper), "the other has begun")
    assert "no store" in caplog.text
    assert other.running
    assert sleeper.ended == 0


def test_a_forked_child_begins_without_jobs(loop_thread: LoopThread) -> None:
    """It runs none of the parent's, until it starts one itself; the parent's goes on."""
    sleeper = Sleeper()
    job = loop_thread.job(sleeper)
    job.start()
    eventually(begins(sleeper), "it has begun")
    child = os.fork()
    if child == 0:
        inherited = job.running or threads() != []
        job.start()
        eventually(begins(sleeper, 2), "it begins in the child")
        os._exit(inherited)
    assert os.waitpid(child, 0)[1] == 0
    assert job.running
    assert (sleeper.begun, sleeper.ended) == (1, 0)


def test_no_job_is_left_at_the_end(loop_thread: LoopThread) -> None:
    """All are cancelled, with what they have to clean up, and none is started any more."""
    sleeper = Sleeper()
    job = loop_thread.job(sleeper)
    job.start()
    eventually(begins(sleeper), "it has begun")
    loop_thread.end()
    assert sleeper.ended == 1
    assert threads() == []
    job.start()
    assert threads() == []


def test_where_no_thread_can_be_had(
    loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised, and the next start makes up for it."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sleeper = Sleeper()
    job = loop_thread.job(sleeper)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        job.start()
    assert not job.running
    job.start()
    eventually(begins(sleeper), "it begins")


def test_their_reprs_tell_what_they_do(loop_thread: LoopThread) -> None:
    """Both the thread and a job show their state."""
    job = loop_thread.job(Sleeper())
    assert repr(job).endswith(" ended>")
    job.start()
    assert repr(job).endswith(" running>")
    assert repr(loop_thread) == f"<LoopThread {NAME!r} 1 jobs>"
