"""What a million small entries take in memory, in a fresh process for each client.

python -m tests.benchmarks.footprint twofold      prints bytes per entry
"""

import gc
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cachetools
import psutil

from tests.benchmarks.harness import TIMEOUT, Bench, expect
from twofold import cache, configure

AREA = "footprint"
ENTRIES = 1_000_000
ROUNDS = 3  # resident memory hardly differs between two runs


def run(bench: Bench) -> None:
    """Compare resident memory per entry."""
    costs: dict[str, list[float]] = {name: [] for name in _CLIENTS}
    for _ in range(min(ROUNDS, bench.rounds)):
        for name in random.sample(list(_CLIENTS), len(_CLIENTS)):
            costs[name].append(_measured_apart(name))
    targets = {"cachetools TTLCache": 1 / 1.2}
    bench.add(AREA, "a small entry, of a million", "bytes", costs, {**targets})


def _measured_apart(name: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.footprint", name]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _small_items() -> Iterator[tuple[str, bytes]]:
    for number in range(ENTRIES):
        yield f"item:{number}", b"%d" % number


def _fill_twofold() -> Callable[[str], Any]:
    options = {"max_entries": ENTRIES, "max_bytes": 2**31}
    configure({"default": {"BACKEND": "memory", "TIMEOUT": TIMEOUT, "OPTIONS": options}})
    for key, value in _small_items():
        cache.set(key, value)
    return cache.get


def _fill_cachetools() -> Callable[[str], Any]:
    store: cachetools.TTLCache[str, bytes] = cachetools.TTLCache(ENTRIES, TIMEOUT)
    for key, value in _small_items():
        store[key] = value
    return store.get


_CLIENTS = {"twofold": _fill_twofold, "cachetools TTLCache": _fill_cachetools}


def _bytes_per_entry(fill: Callable[[], Callable[[str], Any]]) -> float:
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    get = fill()
    gc.collect()
    grown = process.memory_info().rss - before
    expect([get("item:0"), get(f"item:{ENTRIES - 1}")], [b"0", b"%d" % (ENTRIES - 1)])
    return float(grown / ENTRIES)


if __name__ == "__main__":
    print(_bytes_per_entry(_CLIENTS[sys.argv[1]]))
