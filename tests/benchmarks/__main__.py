"""`python -m tests.benchmarks [--quick] [--only AREA] [--output FOLDER]`, and with

`--against REV [--instructions]` beside another commit, not beside peers.

Needs the extra `bench`; with `--against`, the extra `test` suffices but for the picture.
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from tests.benchmarks import against, instructions, report
from tests.benchmarks.harness import Bench, Row
from tests.benchmarks.workers import STORES

AREAS = (
    "memory",
    "decorators",
    "sqlite",
    "redis",
    "near",
    "watching",
    "memcached",
    "django",
    "hop",
    "freshness",
    "tags",
    "footprint",
)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure the areas asked for, and write the tables and the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", help="this area, or store; repeatable")
    parser.add_argument("--against", metavar="REV", help="this tree beside that commit; no peers")
    parser.add_argument(
        "--instructions", action="store_true", help="with --against: count them, take no times"
    )
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args()
    known = STORES if options.against else AREAS
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"--only is one of {', '.join(known)}, not {', '.join(sorted(unknown))}")
    if options.instructions and not options.against:
        parser.error("--instructions needs --against REV, the commit to count beside")
    if options.instructions and (remedy := instructions.missing()):
        parser.error(remedy)
    if options.against:
        beside = instructions if options.instructions else against
        rows = beside.measure(options.against, quick=options.quick, only=options.only or ())
        folder = options.output or RESULTS / "against"
    else:
        rows = _beside_peers(options.only or AREAS, quick=options.quick)
        folder = options.output or RESULTS
    print(f"\n{report.write(rows, folder)}\n{folder}")


def _beside_peers(areas: list[str], *, quick: bool) -> list[Row]:
    bench = Bench(rounds=3, seconds=0.05) if quick else Bench(rounds=21, seconds=0.08)
    try:
        for area in areas:
            print(f"measuring {area} ...", flush=True)
            run: Callable[[Bench], None] = import_module(f"tests.benchmarks.{area}").run
            run(bench)
    finally:
        bench.close()
    return bench.rows


main()
