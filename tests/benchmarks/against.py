"""The working tree beside another commit: the same operations in both, interleaved.

Each commit has processes of its own, and each pair of processes times every operation in
turn, in random order, so that whatever else the machine does falls on both. What counts is
the ratio within a turn. Several pairs follow one another: how a process's memory happens to
lie can cost it some percent for its whole life.
"""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

from tests.benchmarks.harness import Row, compare
from tests.chaos import MemcachedServer, RedisServer

HERE = "this tree"
SECONDS = 0.06  # of one slice, by the wall
WITHIN = 0.98  # a cost of ours that is more than 2 % above the other's misses the target
STORES = ("memory", "sqlite", "files", "redis", "memcached")
UNITS = ("µs CPU", "µs wall")
ROOT = Path(__file__).parents[2]

_Costs = dict[str, dict[str, dict[str, list[float]]]]  # by operation, unit and tree


def measure(revision: str, *, quick: bool, only: Sequence[str] = ()) -> list[Row]:
    """Return a row for each operation, by CPU and by wall, of this tree beside `revision`.

    Args:
        revision: whatever git calls a commit.
        quick: one pair of processes and a few turns.
        only: stores; all of them if none is named.
    """
    pairs, turns = (1, 3) if quick else (4, 8)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        trees = {HERE: _lay_out(ROOT, folder / "here")}
        trees[revision] = _lay_out(_exported(revision, folder / "export"), folder / "there")
        locations = _locations(stack, folder, only)
        costs: _Costs = {}
        for number in range(pairs):
            print(f"pair {number + 1} of {pairs} ...", flush=True)
            _time_pair(trees, locations, turns, costs)
    return [
        row
        for name, units in costs.items()
        for unit, of_trees in units.items()
        for row in _rows(name, unit, of_trees, revision)
    ]


def _rows(name: str, unit: str, of_trees: dict[str, list[float]], revision: str) -> list[Row]:
    area, _, what = name.partition(": ")
    targets = {revision: WITHIN if "CPU" in unit else None}
    return compare(area, what, unit, of_trees, targets)


def _locations(stack: ExitStack, folder: Path, only: Sequence[str]) -> dict[str, str]:
    found = {"memory": "", "sqlite": "sqlite.db", "files": "files"}
    servers = {"redis": RedisServer, "memcached": MemcachedServer}
    for name, kind in servers.items():
        if not only or name in only:
            server = stack.enter_context(kind(folder / name))
            found[name] = server.url if isinstance(server, RedisServer) else server.address
    return {name: where for name, where in found.items() if not only or name in only}


def _exported(revision: str, folder: Path) -> Path:
    command = ["git", "archive", "--format=tar", revision, "cache", "backends"]
    archive = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _lay_out(source: Path, target: Path) -> Path:
    """Copy the two folders to where an import finds them as `twofold`."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / "cache", target / "twofold", ignore=skip)
    shutil.copytree(source / "backends", target / "twofold" / "backends", ignore=skip)
    return target


def _time_pair(
    trees: dict[str, Path], locations: dict[str, str], turns: int, costs: _Costs
) -> None:
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(_worker(path, _apart(locations, path)))
            for name, path in trees.items()
        }
        common = [
            name
            for name in workers[HERE].calls
            if all(name in worker.calls for worker in workers.values())
        ]
        for name in common:
            costs.setdefault(name, {unit: {tree: [] for tree in trees} for unit in UNITS})
        times = {name: workers[HERE].enough(name) for name in common}
        for _ in range(turns):
            for name in random.sample(common, len(common)):
                for tree in random.sample(list(workers), len(workers)):
                    measured = workers[tree].time(name, times[name])
                    for unit, seconds in zip(UNITS, measured, strict=True):
                        costs[name][unit][tree].append(seconds * 1e6)


def _apart(locations: dict[str, str], tree: Path) -> dict[str, str]:
    """Return the locations, with those on disk in a folder of this tree's own."""
    return {
        name: str(tree / where) if name in ("sqlite", "files") else where
        for name, where in locations.items()
    }


class Worker:
    """A process that times operations with one of the trees."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers
        self.calls: dict[str, int] = json.loads(self._line())

    def time(self, name: str, times: int) -> tuple[float, float]:
        """Return what one call costs, in seconds of CPU and by the wall."""
        self._requests.write(json.dumps([name, times]) + "\n")
        self._requests.flush()
        cpu, wall = json.loads(self._line())
        return cpu, wall

    def enough(self, name: str) -> int:
        """Return how often the work is to be repeated; this warms it up too."""
        times = 1
        while (took := self.time(name, times)[1] * times * self.calls[name]) < SECONDS / 4:
            times *= 2
        return max(1, round(times * SECONDS / took))

    def _line(self) -> str:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("a process that times operations has ended; its error is above")
        return line


@contextmanager
def _worker(tree: Path, locations: dict[str, str]) -> Iterator[Worker]:
    command = [sys.executable, "-m", "tests.benchmarks.operations", json.dumps(locations)]
    process = subprocess.Popen(
        command,
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
