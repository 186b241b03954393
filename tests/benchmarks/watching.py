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
SETTLED = 0.2  # seconds in which nothing more is told
ROOT = Path(__file__).parents[2]


def run(bench: Bench) -> None:
    """Compare the CPU that the server, and all who watch it, take for a write."""
    server_costs: dict[str, dict[str, list[float]]] = {}
    watcher_costs: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(RedisServer(folder))
        writer = stack.enter_context(closing(Cache(server.url, key_prefix=PREFIX)))
        for count in WATCHERS:
            with _watchers(server, count) as watchers:
                name = f"{count} watching"
                for what, write, number in _writes(writer):
                    write()  # keys are there
                    before = _cpu(server), sum(map(_cpu_of, watchers))
                    write()
                    _settle(watchers)
                    after = _cpu(server), sum(map(_cpu_of, watchers))
                    spent = [(b - a) / number * 1e6 for a, b in zip(before, after, strict=True)]
                    server_costs.setdefault(what, {})[name] = spent[:1]
                    watcher_costs.setdefault(what, {})[name] = [spent[1] / max(1, count)]
    for what, costs in server_costs.items():
        bench.add(AREA, f"{what}, CPU of the server", "µs", costs, {})
    for what, costs in watcher_costs.items():
        del costs["0 watching"]
        bench.add(AREA, f"{what}, CPU of each who watches", "µs", costs, {})


def _writes(cache: Cache) -> Iterator[tuple[str, Callable[[], None], int]]:
    def one_by_one() -> None:
        for number in range(WRITES):
            cache.set(KEYS[number % len(KEYS)], VALUE, TIMEOUT)

    def at_once() -> None:
        for start in range(0, WRITES * 10, AT_ONCE):
            at = start % len(KEYS)
            cache.set_many(dict.fromkeys(KEYS[at : at + AT_ONCE], VALUE), TIMEOUT)

    yield "a write alone", one_by_one, WRITES
    yield f"one of {AT_ONCE} writes at once", at_once, WRITES * 10


def _cpu(server: RedisServer) -> float:
    info = server.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _settle(watchers: Sequence[psutil.Process]) -> None:
    """Return when all have taken in what they were told."""
    spent = -1.0
    while (now := sum(map(_cpu_of, watchers))) - spent > SETTLED / 10:
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
        eventually(lambda: cache.stats().near.watch.live, "the watch is live")
        print("live", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
