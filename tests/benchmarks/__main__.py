"""The command line: `python -m tests.benchmarks [--quick] [--only AREA] [--output FOLDER]`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    decorators,
    django,
    footprint,
    hop,
    memcached,
    memory,
    redis,
    report,
    sqlite,
)
from tests.benchmarks.harness import Bench

AREAS: dict[str, Callable[[Bench], None]] = {
    area.AREA: area.run
    for area in (memory, decorators, sqlite, redis, memcached, django, hop, footprint)
}


def main() -> None:
    """Measure the areas asked for, and write the tables and the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", choices=AREAS, action="append", help="this area; repeatable")
    default = Path(__file__).parent / "results"
    parser.add_argument("--output", type=Path, default=default, help="folder for the results")
    options = parser.parse_args()
    bench = Bench(rounds=3, seconds=0.05) if options.quick else Bench(rounds=21, seconds=0.08)
    try:
        for area in options.only or AREAS:
            print(f"measuring {area} ...", flush=True)
            AREAS[area](bench)
    finally:
        bench.close()
    print(f"\n{report.write(bench.rows, options.output)}\n{options.output}")


main()
