"""Server processes that are never left behind, on ports that nothing else comes to use."""

import atexit
import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"

# Below the ports that the kernel gives to outgoing connections: a port of a stopped server is not
# taken by a client meanwhile, and no client that looks for the server connects to itself.
_PORTS = range(11_000, 21_000)
_TO_BUS = 10_000  # a cluster node's bus is so much above its port
_SYSTEM = random.SystemRandom()  # pytest-randomly seeds the common one: the same "random" ports

_GUARD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
alive = set()
for line in sys.stdin:
    (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
for pid in alive:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class ServerDidNotStart(Exception):
    """A server's process ended, or answered nothing, in the time that it has to start."""


class Guard:
    """A process of its own that kills the servers when this one ends, however it ends.

    (`PR_SET_PDEATHSIG` would be shorter, but kills when the *thread* that started a server ends.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the guard unless it runs: so that its pipe is no descriptor that a test left."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-IS", "-c", _GUARD],
                    stdin=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                    start_new_session=True,
                )
                atexit.register(self._end, os.getpid())

    def watch(self, pid: int) -> None:
        """Kill this process when ours ends."""
        self.start()
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """Take back `watch`: the process is gone, and its id may be used again."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.write(line)

    def _end(self, owner: int) -> None:
        """Let the guard do its work, unless this is a fork that ends."""
        if os.getpid() == owner and self._process is not None:
            self._process.communicate()


guard = Guard()


_CHOSEN_BY = {"redis-server": "REDIS_SERVER", "memcached": "MEMCACHED"}


def binary(name: str) -> str:
    """Return the path of a server's program: what a variable names, or what is on PATH.

    Valkey's program does for `redis-server`. An error says what to install.
    """
    variable = _CHOSEN_BY.get(name, "")
    if found := shutil.which(os.environ.get(variable) or name):
        return found
    raise ServerDidNotStart(
        f"{name} is neither in the variable {variable} nor on PATH, and the tests run against real"
        " servers: apt-get install redis-server memcached"
    )


def free_port() -> int:
    """Return a port that can be listened on now, and whose cluster bus can."""
    for port in _SYSTEM.sample(_PORTS, 100):
        if _is_free(port) and _is_free(port + _TO_BUS):
            return port
    raise ServerDidNotStart(f"no free port found in {_PORTS}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


@contextmanager
def running(*arguments: object, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run this Python with these arguments, and pipes; it is gone, and they are, after the block.

    Else a test that fails would leave them to fail the test that runs when they are collected.
    """
    command = [sys.executable, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **(pipes | options)) as process:
        try:
            yield process
        finally:
            process.kill()


class Process:
    """A program that runs in its folder, with what it prints in a log."""

    def __init__(self, command: list[str], folder: Path, log: Path) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which stop their servers
            )
        guard.watch(self.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; it is an error when the process is gone."""
        if not self.alive:
            raise ProcessLookupError(f"process {self.pid} is gone already")
        self._popen.send_signal(number)

    def end(self, number: signal.Signals, patience: float) -> None:
        """End it by this signal, or by SIGKILL when it still runs after `patience` seconds."""
        if self.alive:
            self._popen.send_signal(number)
            self._popen.send_signal(signal.SIGCONT)  # a frozen process sees no SIGTERM
        try:
            self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        guard.forget(self.pid)
