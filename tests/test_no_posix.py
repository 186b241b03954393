"""Where what POSIX alone has is missing, as on Windows, in a process that does not see it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFORMANCE = "tests/test_conformance.py"
STORES = ("SQLite", "Redis")  # files, and sockets
OTHERS = ("Memory", "Memcached", "MemoryAndPickle", "SQLiteAndJson", "RedisWithoutHiredis",
          "RedisCluster", "RedisBehindSentinels", "MemcachedServers")  # fmt: skip


def run_without_posix(*tests: str) -> None:
    """Run `tests` where twofold does not see POSIX; all must pass, and one at least be found."""
    options = ("-q", "-p", "no:cacheprovider", "-k", "not test_forked_children")
    command = [sys.executable, "-m", "tests.no_posix", *options, *tests]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "skipped" not in run.stdout


@pytest.mark.parametrize("store", STORES)
def test_a_store_passes_the_conformance_suite(store: str) -> None:
    """All cases in both faces, but that of forked children, for there is no fork."""
    run_without_posix(f"{CONFORMANCE}::Test{store}")


@pytest.mark.heavy
@pytest.mark.parametrize("store", OTHERS)
def test_a_variant_of_a_store_passes_the_conformance_suite(store: str) -> None:
    """Neither serializers, our own parser, other protocols nor many servers need POSIX."""
    run_without_posix(f"{CONFORMANCE}::Test{store}")


def test_what_is_special_there() -> None:
    """What cannot be done says so, and what is open is not moved."""
    run_without_posix("tests/no_posix_cases.py")
