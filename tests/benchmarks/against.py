"""The working tree beside another commit: the same operations in both, interleaved.

Each commit has processes of its own, and each pair of processes times every operation in
turn, in random order, so that whatever else the machine does falls on both. What counts is
the ratio within a turn. Several pairs follow one another: how a process's memory happens to
lie can cost it some percent for its whole life.
"""

import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.harness import Row, compare
from tests.benchmarks.workers import HERE, Worker, in_all, lay_out_both, locate, working

SECONDS = 0.06  # of one slice, by the wall
WITHIN: Final = 0.98  # a cost of ours that is more than 2 % above the other's misses the target
UNITS = ("µs CPU", "µs wall")

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
        trees = lay_out_both(revision, folder)
        locations = locate(stack, folder, only)
        costs: _Costs = {}
        for number in range(pairs):
            print(f"pair {number + 1} of {pairs} ...", flush=True)
            _time_pair(trees, locations, turns, costs)
    return [
        row
        for name, units in costs.items()
        for unit, of_trees in units.items()
        for row in rows(name, unit, of_trees, WITHIN if "CPU" in unit else None)
    ]


def rows(name: str, unit: str, of_trees: dict[str, list[float]], target: float | None) -> list[Row]:
    """Return a row for each tree, of which the first is ours."""
    area, _, what = name.partition(": ")
    return compare(area, what, unit, of_trees, dict.fromkeys(of_trees, target))


def _time_pair(
    trees: dict[str, Path], locations: dict[str, str], turns: int, costs: _Costs
) -> None:
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(working(path, locations)) for name, path in trees.items()
        }
        common = in_all(workers)
        for name in common:
            costs.setdefault(name, {unit: {tree: [] for tree in trees} for unit in UNITS})
        times = {name: _enough(workers[HERE], name) for name in common}
        for _ in range(turns):
            for name in random.sample(common, len(common)):
                for tree in random.sample(list(workers), len(workers)):
                    measured = workers[tree].time(name, times[name])
                    for unit, seconds in zip(UNITS, measured, strict=True):
                        costs[name][unit][tree].append(seconds * 1e6)


def _enough(worker: Worker, name: str) -> int:
    """Return how often the work is to be repeated; this warms it up too."""
    times = 1
    while (took := worker.time(name, times)[1] * times * worker.calls[name]) < SECONDS / 4:
        times *= 2
    return max(1, round(times * SECONDS / took))
