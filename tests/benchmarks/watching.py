"""What a write costs the server while processes watch it, each with a cache that keeps copies near.

python -m tests.benchmarks.watching URL      is one of those processes, until its input ends
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import psutil

from tests.benchmarks.harness import KEYS, TIMEOUT, VALUE, Bench
from tests.chaos import RedisServer, eventually
from twofold import Cache

AREA = "watching"
PREFIX = "watched"
WATCHERS = (0, 1, 10, 50)
WRITES = 10_000
AT_ONCE = 100
START = 120.0  # seconds that a process may take, of many that start at once
TICK = 0.01  # seconds, the least CPU of a process that the system tells
SETTLED = 0.2  # seconds in which nothing more is told
PATIENT: Any = {"deadline": 60}  # seconds, on a machine that all who watch keep busy
ROOT = Path(__file__).parents[2]


def run(bench: Bench) -> None:
    """Compare the CPU that the server, and each who watches it, take for a write."""
    costs: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(RedisServer(folder))
        writer = stack.enter_context(closing(Cache(server.url, key_prefix=PREFIX, options=PATIENT)))
        writer.set_many(dict.fromkeys(KEYS, VALUE), TIMEOUT)
        for count in WATCHERS:
            with _watchers(server, count) as watchers:
                for what, write in _writes(writer):
                    of_server, of_watchers = _spent(server, watchers, write)
                    name = f"{count} watching"
                    costs.setdefault(f"{what}, the server's CPU", {})[name] = [of_server]
                    if count:
                        each = of_watchers / count
                        costs.setdefault(f"{what}, CPU of each who watches", {})[name] = [each]
    for what, by_count in costs.items():
        bench.add(AREA, what, "µs", by_count, {})


def _writes(cache: Cache) -> Iterator[tuple[str, Callable[[], None]]]:
    def one_by_one() -> None:
        for number in range(WRITES):
            cache.set(KEYS[number % len(KEYS)], VALUE, TIMEOUT)

    def at_once() -> None:
        for start in range(0, WRITES, AT_ONCE):
            at = start % len(KEYS)
            cache.set_many(dict.fromkeys(KEYS[at : at + AT_ONCE], VALUE), TIMEOUT)

    yield "a write alone", one_by_one
    yield f"one of {AT_ONCE} writes at once", at_once


def _spent(
    server: RedisServer, watchers: Sequence[psutil.Process], write: Callable[[], None]
) -> tuple[float, float]:
    """Return the µs that a write costs the server, and all who watch it together."""
    before = _cpu(server), sum(map(_cpu_of, watchers))
    write()
    _settle(watchers)
    after = _cpu(server), sum(map(_cpu_of, watchers))
    server_took, watchers_took = (b - a for a, b in zip(before, after, strict=True))
    return server_took / WRITES * 1e6, max(watchers_took, TICK) / WRITES * 1e6


def _cpu(server: RedisServer) -> float:
    info = server.info("cpu")  # finer than what the system tells of it
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _settle(watchers: Sequence[psutil.Process]) -> None:
    """Return when all have taken in what they were told."""
    spent, idle = -1.0, TICK * (2 + len(watchers) / 10)  # by which they ask for signs of life
    while (now := sum(map(_cpu_of, watchers))) - spent > idle:
        spent = now
        sleep(SETTLED)


@contextmanager
def _watchers(server: RedisServer, count: int) -> Iterator[list[psutil.Process]]:
    """Have processes watch, and return them."""
    command = [sys.executable, "-m", "tests.benchmarks.watching", server.url]
    start = partial(
        subprocess.Popen,
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with ExitStack() as stack:
        begun: list[Any] = [stack.enter_context(start()) for _ in range(count)]
        for each in begun:
            stack.callback(each.stdin.close)
        for each in begun:
            assert each.stdout.readline() == "live\n"
        yield [psutil.Process(each.pid) for each in begun]


def main() -> None:
    """Watch as one process of an application does, until standard input ends."""
    with closing(Cache(sys.argv[1], key_prefix=PREFIX, near="16mb")) as cache:
        cache.get(KEYS[0])
        eventually(lambda: cache.stats().near.watch.live, "the watch is live", START)
        print("live", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
