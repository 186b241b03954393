"""Coroutines that run beside the program, in the event loop of a thread of their own.

The thread is a daemon, and is there only while one of them runs. A forked child begins without
any. At the end of the program they are cancelled, so that nothing they have opened is left open.
"""

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from twofold.effects.forks import after_fork_in_child, leak_on_fork
from twofold.effects.locks import new_rlock

_END = 1.0  # seconds that what is cancelled at the end of the program may take

_log = logging.getLogger("twofold")


class Job:
    """A coroutine that a `LoopThread` runs whenever it is started, until it ends."""

    def __init__(self, thread: "LoopThread", body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.body: Callable[[], Coroutine[Any, Any, None]] = body
        self.starts: int = 0
        """How often it was asked for: one that is started while it ends runs once more."""
        self._loop_thread = thread

    def __repr__(self) -> str:
        return f"<Job {self.body!r} {'running' if self.running else 'ended'}>"

    @property
    def running(self) -> bool:
        """Whether it runs in this process, or is about to."""
        return self in self._loop_thread.jobs

    def start(self) -> None:
        """Have it run, from any thread; nothing happens while it does."""
        self._loop_thread.start(self)

    def cancel(self) -> None:
        """Have it end, from any thread; nothing happens once it has."""
        self._loop_thread.cancel(self)


class LoopThread:
    """Runs jobs side by side in one thread; made once, for as long as the program runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()
        after_fork_in_child(self)
        atexit.register(self.end)

    def _begin(self) -> None:
        self.jobs: set[Job] = set()
        self._lock = new_rlock()  # a handler may come in while the thread starts
        self._thread: threading.Thread | None = None
        self._waker: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<LoopThread {self._name!r} {len(self.jobs)} jobs>"

    def job(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Job:
        """Return a job, not started yet: who notes it first can cancel it."""
        return Job(self, body)

    def start(self, job: Job) -> None:
        """See `Job.start`."""
        with self._lock:
            job.starts += 1
            if self._ended:
                return
            self.jobs.add(job)
            if self._thread is not None and self._thread.is_alive():
                self._wake()
                return
            # A thread that an exception of a signal's handler kept from starting is replaced.
            self._waker = None
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # there are too many threads: the next start may do better
                self.jobs.clear()

    def cancel(self, job: Job) -> None:
        """See `Job.cancel`."""
        with self._lock:
            self.jobs.discard(job)
            self._wake()

    def end(self) -> None:
        """Cancel all jobs for good, and wait a moment for the thread."""
        with self._lock:
            self._ended = True
            self.jobs.clear()
            self._wake()
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(_END)

    def _wake(self) -> None:
        if self._waker is not None:
            loop, woken = self._waker
            loop.call_soon_threadsafe(woken.set)

    def _run(self) -> None:
        # Not a loop of the application's policy, which may fail, or count its loops.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        """Run the jobs until none is left."""
        woken = asyncio.Event()
        tasks: dict[Job, asyncio.Task[None]] = {}
        ending: set[asyncio.Task[None]] = set()
        with self._lock:
            if self._thread is not threading.current_thread():
                return  # a signal's handler came in, and has started another
            self._waker = asyncio.get_running_loop(), woken
        while True:
            woken.clear()
            with self._lock:
                if not (self.jobs or tasks or ending):
                    self._thread = self._waker = None
                    return
                wanted = set(self.jobs)
            for job in tasks.keys() - wanted:
                tasks[job].cancel()
                ending.add(tasks.pop(job))
            for job in wanted - tasks.keys():
                tasks[job] = task = asyncio.create_task(self._run_job(job))
                task.add_done_callback(lambda _: woken.set())
            await woken.wait()
            ending = {task for task in ending if not task.done()}
            tasks = {job: task for job, task in tasks.items() if not task.done()}

    async def _run_job(self, job: Job) -> None:
        seen = -1
        try:
            while seen != job.starts:
                seen = job.starts
                await job.body()
                with self._lock:
                    if seen == job.starts:
                        self.jobs.discard(job)
        except Exception:
            self.jobs.discard(job)
            _log.exception("%r failed", job)

    def _after_fork(self) -> None:
        leak_on_fork(self.jobs, self._lock, self._thread, self._waker)
        self._begin()
