"""What a test leaves behind: tasks, threads and descriptors."""

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable

import psutil

_PATIENCE = 20.0  # seconds for what was told to end
LASTING = ("twofold-call", "twofold-claims")
"""Threads that are kept for the next call, or the next computation."""


class Leak(AssertionError):
    """A test has ended, and something that it began has not."""


class Watch:
    """What there is of a kind of thing now; `check()` fails while there is more."""

    def __init__(self, seen: Callable[[], dict[object, str]]) -> None:
        self._seen = seen
        self._before = set(seen())

    def left(self) -> list[str]:
        """Describe what came since, and is there still."""
        return [text for thing, text in self._seen().items() if thing not in self._before]

    def check(self) -> None:
        """Raise `Leak`, with a list, if after a time something is left."""
        ends = time.monotonic() + _PATIENCE
        while (left := self.left()) and time.monotonic() < ends:
            time.sleep(0.01)
        refuse(left)

    async def acheck(self) -> None:
        """Do what `check` does, and let the loop run meanwhile."""
        ends = time.monotonic() + _PATIENCE
        while (left := self.left()) and time.monotonic() < ends:
            await asyncio.sleep(0.01)
        refuse(left)


def refuse(left: Iterable[str]) -> None:
    """Raise `Leak` if there is anything."""
    if lines := sorted(left):
        raise Leak("\n  ".join((f"{len(lines)} left behind by the test:", *lines)))


def tasks() -> dict[object, str]:
    """Return the tasks of this loop that have not ended, but for the one that asks."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return {task: f"task {task!r}" for task in others}


def threads() -> dict[object, str]:
    """Return the threads, but for those that are kept for the next call."""
    return {
        each: f"thread {each.name!r}"
        for each in threading.enumerate()
        if not each.name.startswith(LASTING)
    }


def descriptors() -> dict[object, str]:
    """Return the open descriptors, each by its number and what it is."""
    found: dict[object, str] = {}
    sockets = _sockets()
    for name in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:  # the one that lists the folder
            continue
        what = sockets.get(int(name)) or _described(int(name), status)
        found[int(name), status.st_dev, status.st_ino] = f"descriptor {name}: {what}"
    return found


def _sockets() -> dict[int, str]:
    """Describe the sockets by descriptor: where from, where to, in what state."""
    return {
        each.fd: f"socket {_joined(each.laddr)} -> {_joined(each.raddr)} {each.status}"
        for each in psutil.Process().net_connections(kind="all")
    }


def _joined(address: object) -> str:
    return ":".join(map(str, address)) if isinstance(address, tuple) else str(address)


def _described(number: int, status: os.stat_result) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return stat.filemode(status.st_mode)
