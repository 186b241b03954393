"""Runs of Django's tests in processes of their own, and what they report."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_ROOT = Path(__file__).parents[2]
_AT_ONCE = 6  # they mostly sleep
_TO_RUN = 280.0  # seconds


class Run(NamedTuple):
    """One run: the backend's name, its `LOCATION`, and the way of calling."""

    backend: str
    location: str
    face: str


@dataclass(frozen=True)
class Report:
    """What came of a run: tests by their ids, the number of calls by their twins."""

    ran: int
    failed: list[str]
    skipped: list[str]
    sent: dict[str, int]
    said: str


class Runs:
    """Runs tests that are in a folder, some at a time; those still waiting end with the block."""

    def __init__(self, tests: Path) -> None:
        self._tests = tests
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="django-suite")
        self._reports: dict[Run, Future[Report]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start(self, run: Run) -> None:
        """Run the tests, when it is their turn."""
        self._reports[run] = self._pool.submit(self._do, run)

    def report(self, run: Run) -> Report:
        """Wait for the report of a run that was started."""
        return self._reports[run].result()

    def _do(self, run: Run) -> Report:
        path = [str(self._tests), *filter(None, [os.environ.get("PYTHONPATH")]), str(_ROOT)]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.django_suite", run.face],
            cwd=self._tests,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                "TWOFOLD_SUITE_BACKEND": run.backend,
                "TWOFOLD_SUITE_LOCATION": run.location,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=_TO_RUN,
        )
        if ended.returncode:
            raise AssertionError(f"{run}: {ended.stderr}")
        return Report(**json.loads(ended.stdout.splitlines()[-1]))
