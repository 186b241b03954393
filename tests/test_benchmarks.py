"""The instruments that measure the code keep working with it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_operations_that_two_commits_are_timed_in_run_on_this_one():
    """A process of `--against` names its operations, and times the one it is asked for."""
    command = [sys.executable, "-m", "tests.benchmarks.operations", '{"memory": ""}']
    asked = "".join(
        json.dumps([name, 1]) + "\n" for name in ("memory: get", "memory: aget, 1 task")
    )
    done = subprocess.run(
        command, cwd=ROOT, input=asked, check=True, capture_output=True, text=True, timeout=60
    )
    names, *times = map(json.loads, done.stdout.splitlines())
    assert {"memory: get", "memory: Starlette, a page's hit", "memory: Django's get"} <= set(names)
    assert not done.stderr  # an area that could not be set up
    assert len(times) == 2
    assert all(cpu > 0 and wall > 0 for cpu, wall in times)
