"""Runs the suite, and prints what failed."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.web import WebServer

SUITE = Path(__file__).with_name("suite.mjs")
CACHES = ("starlette", "flask")
_FAILED = ("fail", "optional_fail")
_UNDECIDED = ("setup_fail", "harness_fail", "dependency_fail", "retry", "untested")


def main(checkout: Path, caches: list[str]) -> None:
    """Run the suite of `checkout` through each of `caches`."""
    for name in caches:
        with tempfile.TemporaryDirectory() as folder, origin(checkout) as address:
            command = [f"tests.http_suite.{name}_proxy", "{port}"]
            settings = {"SUITE_ORIGIN": address, "CACHE_URL": "memory://"}
            with WebServer(Path(folder), command, environment=settings) as server:
                report(name, results(checkout, f"http://{server.address}"))


@contextmanager
def origin(checkout: Path) -> Iterator[str]:
    """Run the suite's own server."""
    command = ["node", str(SUITE), "origin", str(checkout)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def results(checkout: Path, base: str) -> list[dict[str, Any]]:
    """Return what the suite's client found at `base`."""
    command = ["node", str(SUITE), "client", str(checkout), base]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def report(name: str, found: list[dict[str, Any]]) -> None:
    """Print how many tests of each kind passed, and which did not."""
    print(f"\n== {name}")
    for kind in ("required", "optimal", "check"):
        told = Counter(each["outcome"] for each in found if each["kind"] == kind)
        print(f"{kind}: " + ", ".join(f"{count} {what}" for what, count in sorted(told.items())))
    _list("required tests that failed", found, "required", _FAILED)
    _list("required tests that came to nothing", found, "required", _UNDECIDED)
    _list("optimal tests that failed", found, "optimal", _FAILED)


def _list(title: str, found: list[dict[str, Any]], kind: str, outcomes: tuple[str, ...]) -> None:
    chosen = [each for each in found if each["kind"] == kind and each["outcome"] in outcomes]
    print(f"\n{title}: {len(chosen)}")
    for each in chosen:
        print(f"  {each['suite']}: {each['id']}: {each['why'] or each['outcome']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:] or list(CACHES))
