"""The machine's clocks: entries expire when a test's tool moves them."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = {
    "freezegun": """
from freezegun import freeze_time
def moved(seconds):
    with freeze_time("2024-01-01") as frozen:
        yield
        frozen.tick(seconds)
        yield
""",
    "time-machine": """
import time_machine
def moved(seconds):
    with time_machine.travel("2024-01-01", tick=False) as traveller:
        yield
        traveller.shift(seconds)
        yield
""",
}
LIVES = """
import sys
import twofold
from twofold import cache
for url in ("memory://", f"sqlite:///{sys.argv[1]}/c.db", f"files:///{sys.argv[1]}/f"):
    twofold.configure(url)
    steps = moved(59)
    next(steps)
    cache.set("k", 1, 60)
    cache.set("for ever", 1, None)
    next(steps)
    assert (cache.get("k"), round(cache.ttl("k"))) == (1, 1), url
    steps.close()
    steps = moved(61)
    next(steps)
    cache.set("k", 1, 60)
    next(steps)
    assert (cache.get("k"), cache.get("for ever"), cache.add("k", 2, 60)) == (None, 1, True), url
    steps.close()
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_entries_expire_when_a_tool_moves_the_time(tool: str, tmp_path: Path) -> None:
    """Freezegun moves both clocks, time-machine the wall clock alone, and all stores follow."""
    code = TOOLS[tool] + LIVES
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
