"""The working tree beside another commit, by the instructions that each operation takes.

They are counted by valgrind's callgrind, all of a process's threads together, and are almost
the same in each run, whatever else the machine does: a difference of 1 % shows. They say
nothing about what a server, the kernel or a slow memory takes.
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.against import WITHIN, rows
from tests.benchmarks.harness import Row
from tests.benchmarks.workers import Worker, in_all, lay_out_both, locate, working

PROGRAM: Final = "valgrind"
COMMAND: Final = (  # `marks` call these functions of libc
    "env",
    "PYTHONHASHSEED=0",
    PROGRAM,
    "--quiet",
    "--tool=callgrind",
    "--zero-before=getpgrp",
    "--dump-before=getsid",
)


def missing() -> str | None:
    """Return what to do before instructions can be counted here, or None if they can be."""
    if shutil.which(PROGRAM):
        return None
    return f"--instructions needs {PROGRAM} on PATH: apt-get install {PROGRAM}"


def measure(revision: str, *, quick: bool, only: Sequence[str] = ()) -> list[Row]:
    """Return a row for each operation of this tree beside `revision`.

    Args:
        revision: whatever git calls a commit.
        quick: some twenty calls of each operation, not two hundred.
        only: stores; all of them if none is named.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        trees = lay_out_both(revision, folder)
        locations = locate(stack, folder, only)
        print("starting two processes, which takes minutes ...", flush=True)
        counters = {
            name: Counter(stack, path, locations, 20 if quick else 200)
            for name, path in trees.items()
        }
        return [
            row
            for operation in in_all({name: each.worker for name, each in counters.items()})
            for row in rows(
                operation,
                "instructions",
                {name: [each.count(operation)] for name, each in counters.items()},
                WITHIN,
            )
        ]


class Counter:
    """A worker whose instructions are counted, until `stack` is left.

    Args:
        stack: ends it.
        tree: what it imports; the profiles are written there.
        locations: where the stores are.
        calls: how many calls of an operation are counted, at least.
    """

    def __init__(self, stack: ExitStack, tree: Path, locations: dict[str, str], calls: int) -> None:
        self._profile = tree / "callgrind"
        under = [*COMMAND, f"--callgrind-out-file={self._profile}"]
        self.worker: Worker = stack.enter_context(working(tree, locations, under))
        self._calls = calls
        self._profiles = count(1)

    def count(self, operation: str) -> float:
        """Return how many instructions one call of `operation` takes, once it is warm."""
        calls = self.worker.calls[operation]
        times = -(-self._calls // calls)
        self._run(operation, times)
        return self._run(operation, times) / times / calls

    def _run(self, operation: str, times: int) -> int:
        self.worker.time(operation, times)
        return total(self._profile.with_suffix(f".{next(self._profiles)}"))


def total(profile: Path) -> int:
    """Return the instructions that a profile of callgrind's is about."""
    lines = profile.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("totals: "))
