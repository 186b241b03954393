"""Runs tests while twofold sees of the standard library what there is of it on Windows.

    python -m tests.no_posix PYTEST-ARGUMENTS

What POSIX alone has is missing in the modules that twofold imports, and in no others: the
drivers, pytest and the servers' fixtures are as ever. And what is open in this process can
be neither renamed nor removed by twofold, and its monotonic clock moves 64 times a second.
"""

import asyncio
import builtins
import errno
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ABSENT = {"fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios"}
HIDDEN = {
    "os": """
        O_ASYNC O_CLOEXEC O_DIRECTORY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC
        WNOHANG chown fchdir fchmod fchown fork forkpty fdatasync getegid geteuid getgid getgroups
        getloadavg getpgid getuid initgroups killpg lchown lockf mkfifo openpty
        pipe2 posix_fadvise posix_fallocate pread preadv pwrite pwritev register_at_fork
        sched_getaffinity sched_yield sendfile setsid setuid statvfs sync uname wait
    """,
    "select": "devpoll epoll kqueue poll POLLIN POLLOUT POLLERR POLLHUP POLLNVAL POLLPRI",
    "signal": """
        SIGALRM SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP
        SIGUSR1 SIGUSR2 SIGVTALRM alarm getitimer pause pthread_kill pthread_sigmask setitimer
        siginterrupt sigpending sigwait
    """,
    "socket": "AF_UNIX SCM_RIGHTS SO_REUSEPORT recv_fds send_fds sethostname",
    "time": "clock_getres clock_gettime pthread_getcpuclockid tzset",
}
NOT_OF_A_PROACTOR = ("add_reader", "add_signal_handler", "add_writer", "create_unix_connection")

STEP = 1 / 64
"""Seconds from one time of the monotonic clock to the next, before CPython 3.13."""

Imports = Callable[..., ModuleType]


class Lesser(ModuleType):
    """A module without some of its names, and with others in place of some."""

    def __init__(self, whole: ModuleType, hidden: Iterable[str], instead: dict[str, Any]) -> None:
        super().__init__(whole.__name__)
        self.__dict__.update(instead)
        self.__dict__["_whole"] = whole
        self.__dict__["_hidden"] = frozenset(hidden)

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} here")
        return getattr(self._whole, name)


def hide() -> None:
    """Let twofold see no more than there is on Windows."""
    instead = {"os": _os(), "time": _time()}
    lesser = {
        name: Lesser(__import__(name), hidden.split(), instead.get(name, {}))
        for name, hidden in HIDDEN.items()
    }
    builtins.__import__ = _importing(builtins.__import__, lesser)
    for name in NOT_OF_A_PROACTOR:
        setattr(asyncio.SelectorEventLoop, name, _not_implemented)


def _importing(real: Imports, lesser: dict[str, Lesser]) -> Imports:
    def importing(name: str, importer: Any = None, *args: Any, **kwargs: Any) -> ModuleType:
        by = (importer or {}).get("__name__", "")
        if by == "twofold" or by.startswith("twofold."):
            if name in ABSENT:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in lesser:
                return lesser[name]
        return real(name, importer, *args, **kwargs)

    return importing


def _os() -> dict[str, Any]:
    """Return the functions of `os` that do otherwise on Windows."""
    functions = {each.__name__: each for each in {*os.supports_dir_fd, os.rename, os.replace}}
    instead = {name: _without_folders(each) for name, each in functions.items()}
    for name in ("rename", "replace", "unlink"):
        instead[name] = _refused_while_open(instead[name])
    return {**instead, "supports_dir_fd": set()}


def _time() -> dict[str, Any]:
    """Return the functions of `time` that do otherwise on Windows."""
    return {
        "monotonic": lambda: time.monotonic() // STEP * STEP,
        "get_clock_info": lambda name: SimpleNamespace(resolution=STEP),
    }


def _without_folders(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if any(kwargs.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
            raise NotImplementedError("dir_fd unavailable on this platform")
        return function(*args, **kwargs)

    return called


def _refused_while_open(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def called(path: str, *args: Any, **kwargs: Any) -> Any:
        if os.path.realpath(path) in map(os.path.realpath, Path("/proc/self/fd").iterdir()):
            raise PermissionError(errno.EACCES, "it is used by a process", path)
        return function(path, *args, **kwargs)

    return called


def _not_implemented(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


if __name__ == "__main__":
    hide()
    sys.exit(pytest.main(sys.argv[1:]))
