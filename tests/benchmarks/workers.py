"""Two commits, each laid out in a folder, and processes that run its operations."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from tests.chaos import MemcachedServer, RedisServer

HERE = "this tree"
STORES = ("memory", "sqlite", "files", "redis", "memcached")
ROOT = Path(__file__).parents[2]


def lay_out_both(revision: str, folder: Path) -> dict[str, Path]:
    """Return where this tree and that of `revision` are laid out, by name; ours is the first."""
    return {
        HERE: lay_out(ROOT, folder / "here"),
        revision: lay_out(_exported(revision, folder / "export"), folder / "there"),
    }


def lay_out(source: Path, target: Path) -> Path:
    """Copy the two folders to where an import finds them as `twofold`."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / "cache", target / "twofold", ignore=skip)
    shutil.copytree(source / "backends", target / "twofold" / "backends", ignore=skip)
    return target


def _exported(revision: str, folder: Path) -> Path:
    command = ["git", "archive", "--format=tar", revision, "cache", "backends"]
    archive = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def locate(stack: ExitStack, folder: Path, only: Sequence[str] = ()) -> dict[str, str]:
    """Return where each store is; servers are started, and run until `stack` is left."""
    found = {"memory": "", "sqlite": "sqlite.db", "files": "files"}
    servers = {"redis": RedisServer, "memcached": MemcachedServer}
    for name, kind in servers.items():
        if not only or name in only:
            server = stack.enter_context(kind(folder / name))
            found[name] = server.url if isinstance(server, RedisServer) else server.address
    return {name: where for name, where in found.items() if not only or name in only}


class Worker:
    """A process that runs operations with one of the trees."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers
        self.calls: dict[str, int] = json.loads(self._line())
        """How many calls the work of each operation makes."""

    def time(self, name: str, times: int) -> tuple[float, float]:
        """Return what one call costs, in seconds of CPU and by the wall."""
        self._requests.write(json.dumps([name, times]) + "\n")
        self._requests.flush()
        cpu, wall = json.loads(self._line())
        return cpu, wall

    def _line(self) -> str:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("a process that runs operations has ended; its error is above")
        return line


@contextmanager
def working(tree: Path, locations: dict[str, str], under: Sequence[str] = ()) -> Iterator[Worker]:
    """Start a worker that imports `tree`; `under` is a command before that of Python.

    What is on disk is in a folder of the tree's own.
    """
    apart = {
        name: str(tree / where) if name in ("sqlite", "files") else where
        for name, where in locations.items()
    }
    command = [sys.executable, "-m", "tests.benchmarks.operations", json.dumps(apart)]
    process = subprocess.Popen(
        [*under, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        requests, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        yield Worker(requests, answers)
        requests.close()


def in_all(workers: dict[str, Worker]) -> list[str]:
    """Return the names of the operations that every one of the workers has."""
    first, *others = (worker.calls for worker in workers.values())
    return [name for name in first if all(name in calls for calls in others)]
