"""What a program imports with twofold, told by the modules and by no clock."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from twofold.clock import SYSTEM_CLOCK, followed
from twofold.codecs.refusal import refuse
from twofold.contrib.django.workers import close_connections
from twofold.effects.loops import serves_event_loop
from twofold.settings.django import find_in_django

HEAVY = {
    "asgiref",
    "asyncio",
    "concurrent.futures",
    "email",
    "importlib.metadata",
    "multiprocessing",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "zipfile",
}
"""What takes long to import, and is imported by a use that needs it."""

GET = "from twofold import cache; assert cache.get('k') is None"

COMPUTE = """
from twofold import cache, cached

@cached(timeout=60)
def double(number):
    return 2 * number

assert [double(2), double(2), cache.get_or_set("k", dict)] == [4, 4, {}]
cache.set_many({"a": 1, "b": [2]})
cache.incr("a")
with cache.lock("l"):
    cache.delete("a")
cache.close()
"""


def imported_by(program: str, folder: Path) -> set[str]:
    """Return the modules that a program imports in a fresh interpreter."""
    lines = ["import sys", "before = set(sys.modules)", program]
    lines.append("print(*sorted(set(sys.modules) - before))")
    run = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(run, cwd=folder, capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_importing_twofold_imports_one_module_of_it(tmp_path: Path) -> None:
    """Names are looked up when they are asked for, and what is not asked for costs nothing."""
    modules = imported_by("import twofold", tmp_path)
    assert {name for name in modules if name.startswith("twofold")} == {"twofold"}
    assert not modules & {*HEAVY, "inspect", "logging"}


@pytest.mark.parametrize("program", [GET, COMPUTE], ids=["get", "compute"])
def test_sync_code_over_memory_needs_no_asyncio(tmp_path: Path, program: str) -> None:
    """What serves event loops, other stores and settings in files is not imported for it."""
    assert not imported_by(program, tmp_path) & HEAVY


@pytest.mark.parametrize("url", ["sqlite:///c.db", "files:///c"])
def test_sync_code_over_a_disk_needs_no_asyncio(tmp_path: Path, url: str) -> None:
    """Its threads for async callers are made for the first of them."""
    program = f"from twofold import Cache; c = Cache({url!r}); c.set('k', 1); c.close()"
    assert not imported_by(program, tmp_path) & {"asgiref", "asyncio", "ssl"}


def test_a_loop_is_seen_whatever_was_used_before_asyncio_came(tmp_path: Path) -> None:
    """What was in use before the program imported asyncio knows the loops that it runs then."""
    program = """
from twofold import BlockingCallInEventLoop, Cache, cache

disk = Cache("sqlite:///c.db")
disk.set("k", 1)
assert cache.get_or_set("k", lambda: 1) == 1
assert "asyncio" not in sys.modules

import asyncio

async def main():
    assert await cache.aget_or_set("a", lambda: 2) == 2
    assert await disk.aget("k") == 1
    try:
        disk.get("k")
    except BlockingCallInEventLoop:
        await disk.aclose()
        return "refused"

assert asyncio.run(main()) == "refused"
"""
    assert "asyncio" in imported_by(program, tmp_path)


@pytest.mark.parametrize(
    ("module", "look"),
    [
        ("asgiref.sync", serves_event_loop),
        ("django.conf", find_in_django),
        ("django.db", close_connections),
        ("django.db.models", lambda: refuse("json", object())),
        ("time_machine", lambda: followed(SYSTEM_CLOCK)),
    ],
)
def test_what_another_thread_is_importing_is_not_there_yet(
    module: str, look: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module stands in `sys.modules` before its names are in it."""
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    look()
