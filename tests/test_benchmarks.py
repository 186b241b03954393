"""The instruments that measure the code keep working with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks import dropping, watching
from tests.benchmarks.harness import Bench, Row
from tests.benchmarks.instructions import COMMAND, total
from tests.benchmarks.picture import svg
from tests.chaos import RedisServer

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


def test_instructions_between_two_marks_are_counted(tmp_path):
    """What is done twice as often takes twice as many, and the same takes as many again."""
    profile = tmp_path / "callgrind"
    program = """
from tests.benchmarks.marks import begin, end
for times in (20_000, 20_000, 40_000):
    begun = begin()
    for _ in range(times):
        str(times)
    end(begun)
"""
    command = [*COMMAND, f"--callgrind-out-file={profile}", sys.executable, "-S", "-c", program]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    first, again, twice = (total(profile.with_suffix(f".{number}")) for number in (1, 2, 3))
    assert abs(again / first - 1) < 0.1
    assert abs(twice / again - 2) < 0.1


def test_who_has_no_valgrind_is_told_so():
    """Without the program that counts instructions, nothing is begun."""
    command = [sys.executable, "-m", "tests.benchmarks", "--against", "HEAD", "--instructions"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "apt-get install valgrind" in done.stderr


def test_the_picture_is_small_and_has_its_text_as_text():
    """Each peer is a bar with its name beside it, of a few short lines of SVG."""
    rows = [
        Row("memory", "get", "twofold", 1.0, "µs", None, None),
        Row("memory", "get", "slow & <steady>", 5.0, "µs", (5.0, 4.0, 6.0), 3.0),
        Row("memory", "get", "fast", 0.5, "µs", (0.5, 0.4, 0.6), None),
    ]
    drawn = svg(rows)
    ElementTree.fromstring(drawn)
    assert "memory get · slow &amp; &lt;steady&gt;" in drawn
    assert drawn.count("<rect") == 1 + 2  # the paper and the bars
    assert drawn.count('class="target"') == 1
    assert len(drawn) < 3000


def test_the_picture_in_the_repository_is_small():
    """What is committed stays below what a reader of a diff can bear."""
    picture = ROOT / "tests" / "benchmarks" / "results" / "picture.svg"
    assert picture.stat().st_size < 20_000


@pytest.mark.heavy
def test_processes_that_watch_are_measured(monkeypatch, tmp_path):
    """What their writes cost, and how soon their copies are gone, is told of each set-up."""
    bench = Bench(1, 0.01)
    for name, value in (("WRITES", 200), ("WATCHERS", (0, 2))):
        monkeypatch.setattr(watching, name, value)
    watching.run(bench)
    with RedisServer(tmp_path) as server:
        dropping.time_drops(bench, "near", server, 5)
    bench.close()
    measured = {(row.what, row.client) for row in bench.rows}
    assert ("a write alone, the server's CPU", "2 watching") in measured
    assert ("a foreign write to an idle process, half of them", "gone after") in measured
    assert all(row.cost > 0 for row in bench.rows)
