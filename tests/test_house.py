"""The rules of the house: what the code promises about itself, read off the code."""

import ast
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from twofold.backend import Backend
from twofold.core import Cache
from twofold.functions.cached import _CachedFunction
from twofold.functions.cached_many import _CachedMany
from twofold.lock import Lock
from twofold.typed import TypedCache

ROOT = Path(__file__).parent.parent
ROOMS = sorted((ROOT / "cache").rglob("*.py"))
LOOPS_AND_THREADS = {"asyncio", "threading", "_thread", "selectors"}


def name_of(path: Path) -> str:
    """Return the path of a room inside the house."""
    return path.relative_to(ROOT / "cache").as_posix()


def imports(path: Path) -> set[str]:
    """Return the modules that a room imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def parameters(method: Any) -> list[tuple[Any, ...]]:
    """Return what a method takes, types aside: a twin may take async functions as well."""
    taken = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.default) for each in taken]


@pytest.mark.parametrize("face", [Cache, TypedCache, Lock, Backend, _CachedFunction, _CachedMany])
def test_every_method_has_its_twin(face: type) -> None:
    """Each public method that does I/O has an `a` twin with the same parameters."""
    alone = {"key", "lock", "servers", "stats", "typed"}
    alone |= {"cache_info", "exclusive", "retire", "run_batch", "watch"}
    public = {
        name: member
        for name, member in inspect.getmembers(face, inspect.isfunction)
        if not name.startswith("_")
    }
    twins = {name for name in public if name[0] == "a" and name[1:] in public}
    assert twins, face
    for name in sorted(set(public) - twins - alone):
        twin = public[f"a{name}"]
        assert inspect.iscoroutinefunction(twin), name
        assert not inspect.iscoroutinefunction(public[name]), name
        assert parameters(twin) == parameters(public[name]), name


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_only_effects_knows_threads_and_loops(path: Path) -> None:
    """No room but `effects` (and the testing kit) imports them."""
    if name_of(path).split("/")[0] not in ("effects", "testing"):
        assert not imports(path) & LOOPS_AND_THREADS


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_no_room_names_a_backend(path: Path) -> None:
    """Backends are found by their dotted path in the settings, never imported."""
    if name_of(path).split("/")[0] != "testing":
        assert not any(name.startswith("twofold.backends") for name in imports(path))


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_nothing_bridges_by_async_to_sync(path: Path) -> None:
    """`async_to_sync`, a thread and a loop for each call, is used nowhere."""
    assert "async_to_sync" not in path.read_text()


BODIES = ["engine.py", "lock.py"]
BODIES += [
    f"computing/{room}.py"
    for room in ("answers", "batches", "computations", "loads", "maker", "operations")
]
BODIES += [f"functions/{room}.py" for room in ("cached", "cached_many")]
BODIES += [
    f"claims/{room}.py"
    for room in ("filter", "flights", "joint", "keys", "stored", "stored_many", "turns")
]
BODIES += [f"contrib/http/{room}.py" for room in ("pages", "store")]


@pytest.mark.parametrize("room", BODIES)
def test_bodies_await_only_effects_and_other_bodies(room: str) -> None:
    """What takes `io` awaits nothing but methods of `io` and calls that are given `io`."""
    for body in ast.walk(ast.parse((ROOT / "cache" / room).read_text())):
        if not isinstance(body, ast.AsyncFunctionDef):
            continue
        if "io" not in {argument.arg for argument in body.args.args}:
            continue
        for node in ast.walk(body):
            assert not isinstance(node, ast.AsyncFor | ast.AsyncWith | ast.Yield), body.name
            if isinstance(node, ast.Await):
                text = ast.unparse(node.value)
                assert text.startswith("io.") or "io," in text or "io)" in text, text


def test_imports_run_downwards() -> None:
    """No two rooms import each other, at whatever distance."""
    graph = {}
    for path in ROOMS:
        room = ".".join(("twofold", *path.relative_to(ROOT / "cache").with_suffix("").parts))
        graph[room.removesuffix(".__init__")] = imports(path)
    below: dict[str, set[str]] = {}

    def reach(room: str, trail: tuple[str, ...]) -> set[str]:
        assert room not in trail, " -> ".join((*trail[trail.index(room) :], room))
        if room not in below:
            direct = {name for name in graph[room] if name in graph and name != room}
            inner = {name for name in direct if not name.startswith(f"{room}.")}
            below[room] = direct.union(*(reach(name, (*trail, room)) for name in inner))
        return below[room]

    for room in graph:
        reach(room, ())


def test_every_room_is_drawn() -> None:
    """CONTRIBUTING's tables name each module; those of a framework stand in its folder's line."""
    drawn = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = [*ROOMS, *(ROOT / "backends").rglob("*.py")]
    missing = [
        room.relative_to(ROOT).as_posix()
        for room in rooms
        if "contrib" not in room.parts and not room.stem.startswith("__")
        if not re.search(rf"`(backends/)?{room.stem}`", drawn)
    ]
    assert not missing


def test_what_is_drawn_is_there() -> None:
    """Each module or folder that begins a line of CONTRIBUTING's tables of modules exists."""
    drawn = (ROOT / "CONTRIBUTING.md").read_text()
    tables = re.findall(r"\| module of `([\w/]+)` \|.*\n\| -.*\n((?:\|.*\n)+)", drawn)
    assert len(tables) > 10
    gone = [
        f"{folder}{name}"
        for folder, rows in tables
        for row in rows.splitlines()
        for name in re.findall(r"`([\w/]+)`", row.split("|")[1])
        if not (ROOT / folder / name).is_dir() and not (ROOT / folder / f"{name}.py").exists()
    ]
    assert not gone


def test_every_package_is_in_the_wheel() -> None:
    """Pyproject lists each folder of code, so that none is forgotten."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    places = {"cache": "twofold", "backends": "twofold.backends"}
    found = [
        ".".join((name, *init.parent.relative_to(ROOT / top).parts))
        for top, name in places.items()
        for init in (ROOT / top).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)
