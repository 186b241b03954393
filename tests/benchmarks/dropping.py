"""How soon after a foreign write the copy in another process is gone.

python -m tests.benchmarks.dropping URL THREADS

is that other process: it keeps one key near, and prints when each copy of it was dropped, by the
clock that all processes of a machine share. THREADS of it compute all the while.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.benchmarks.harness import TIMEOUT, Bench
from tests.chaos import RedisServer, eventually
from twofold import Cache

PREFIX = "dropping"
KEY = "paced"
PATIENCE = 60.0  # seconds, on a machine that is busy
PACE = 0.002  # seconds from a drop to the next write
ROOT = Path(__file__).parents[2]


def time_drops(bench: Bench, area: str, server: RedisServer, writes: int) -> None:
    """Add how soon after a write is sent its copy is gone, beside how soon it is answered."""
    for threads, where in ((0, "an idle process"), (2, "a process of two busy threads")):
        waits, round_trips = _times(server, threads, writes)
        for share, name in ((0.5, "half of them"), (0.99, "99 of 100")):
            at = int(share * writes)
            costs = {
                "gone after": [max(0.01, sorted(waits)[at])],
                "a write": [sorted(round_trips)[at]],
            }
            bench.add(area, f"a foreign write to {where}, {name}", "µs", costs, {})


def _times(server: RedisServer, threads: int, writes: int) -> tuple[list[float], list[float]]:
    waits, round_trips = [], []
    with (
        closing(Cache(server.url, timeout=TIMEOUT, key_prefix=PREFIX)) as writer,
        _process(server, threads, writer) as dropped,
    ):
        for number in range(writes):
            sleep(PACE)
            sent = monotonic()
            writer.set(KEY, str(number))
            round_trips.append((monotonic() - sent) * 1e6)
            waits.append((next(dropped) - sent) * 1e6)
    return waits, round_trips


@contextmanager
def _process(server: RedisServer, threads: int, writer: Cache) -> Iterator[Iterator[float]]:
    """Have another process keep a key near, and yield when its copies were dropped."""
    writer.set(KEY, "first")
    command = [sys.executable, "-m", "tests.benchmarks.dropping", server.url, str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield map(float, process.stdout)
        process.stdin.close()


def main() -> None:
    """Be that process, until standard input ends."""
    cache = Cache(sys.argv[1], timeout=TIMEOUT, key_prefix=PREFIX, near="1mb")
    tier: Any = cache._near and cache._near.tier
    full, drop = cache._key(KEY), tier.drop
    ended, gone = threading.Event(), threading.Event()
    times: list[float] = []

    def timed(keys: Any) -> None:
        was_near = tier.find(full) is not None
        drop(keys)
        if was_near:
            times.append(monotonic())
            gone.set()

    def fill() -> None:
        eventually(lambda: cache.get(KEY) and tier.find(full), "the key is near", PATIENCE)

    def report() -> None:
        fill()
        tier.drop = timed
        print("near", flush=True)
        while not ended.is_set():
            gone.wait()
            gone.clear()
            fill()
            print(times.pop(), flush=True)

    def compute() -> None:
        while not ended.is_set():
            sum(range(1000))

    for work in (report, *[compute] * int(sys.argv[2])):
        threading.Thread(target=work, daemon=True).start()
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
