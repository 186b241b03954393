"""The rooms that a page names, and which of them import which, drawn from the code."""

import ast
import re
from functools import cache
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import mean

from drawing import Sheet

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"

_NAMED = re.compile(r"`(twofold\.[\w.]+)`")
_HEIGHT, _STEP, _GAP, _LETTER = 42, 84, 12, 8.6
_SWEEPS = 40
_LEGEND = {"work": "the rules: cache/", "wait": "the contract", "good": "the stores: backends/"}


def rooms() -> str:
    """Draw the rooms of the page, in layers of which each imports only from those below it."""
    named = set(_NAMED.findall(PAGE.read_text(encoding="utf-8")))
    graph = _reduced({room: _reach(room, frozenset(named)) for room in named})
    layers, paths = _layered(graph)
    at = _placed(layers, paths)
    width = max(x + _width(each) / 2 for each, x in at.items()) + _GAP
    sheet = Sheet(round(width), _STEP * len(layers) + 6, "Which room imports which")
    rows = {each: 20 + _STEP * row for row, layer in enumerate(layers) for each in layer}
    places = {each: (x, rows[each]) for each, x in at.items()}
    for path in paths:
        for one, other in pairwise(path):
            _draw(sheet, places, one, other, last=other == path[-1])
    for room in sorted(named):
        x, y = places[room]
        folder, name = _words(room)
        sheet.bar(x - _width(room) / 2, y, _width(room), _HEIGHT, _fill(room))
        if folder:
            sheet.text(x, y + 17, folder, "middle")
        sheet.text(x, y + (34 if folder else 26), name, "middle inside strong")
    for place, (fill, what) in enumerate(_LEGEND.items()):
        sheet.bar(20, 20 + 24 * place, 16, 14, fill)
        sheet.text(44, 32 + 24 * place, what)
    return str(sheet)


def _words(room: str) -> tuple[str, str]:
    """Return the folder of a room, and its name in it."""
    folder, _, name = room.removeprefix("twofold.").removeprefix("backends.").rpartition(".")
    return folder, name


def _width(room: str) -> float:
    return 8 if ">" in room else _LETTER * max(map(len, _words(room))) + 20


def _fill(room: str) -> str:
    return "wait" if room == "twofold.backend" else "good" if ".backends." in room else "work"


def _file(room: str) -> Path | None:
    """Return the file of a module; none if there is no such module."""
    path = room.replace(".", "/").replace("twofold/backends", "backends", 1)
    path = re.sub("^twofold", "cache", path)
    found = (ROOT / f"{path}.py", ROOT / path / "__init__.py")
    return next((each for each in found if each.exists()), None)


@cache
def _imports(room: str) -> frozenset[str]:
    """Return the modules that a module imports, those included that a package stands for."""
    file = _file(room)
    if file is None:
        raise LookupError(f"{PAGE.name} names {room}, and there is none")
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("twofold"):
            found |= {_home(node.module, alias.name) for alias in node.names}
    return frozenset(found - {room})


def _home(module: str, name: str) -> str:
    """Return the module in which what is imported from `module` stands."""
    if _file(f"{module}.{name}"):
        return f"{module}.{name}"
    file = _file(module)
    if file is not None and file.name == "__init__.py":
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name in {each.name for each in node.names}:
                return _home(str(node.module), name)
    return module


@cache
def _reach(room: str, named: frozenset[str]) -> frozenset[str]:
    """Return the named rooms that a room imports, itself or by rooms that are not named."""
    found: set[str] = set()
    for other in _imports(room):
        found |= {other} if other in named else _reach(other, named)
    return frozenset(found - {room})


def _reduced(graph: dict[str, frozenset[str]]) -> dict[str, set[str]]:
    """Leave out what a longer way says already."""

    def below(room: str) -> set[str]:
        return set(graph[room]).union(*map(below, graph[room]))

    deep = {room: below(room) for room in graph}
    return {
        room: {one for one in to if not any(one in deep[two] for two in to)}
        for room, to in graph.items()
    }


def _layered(graph: dict[str, set[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the layers from the top, and the way of each arrow through them."""

    @cache
    def height(room: str) -> int:
        return max((height(other) + 1 for other in graph[room]), default=0)

    layers: list[list[str]] = [[] for _ in range(max(map(height, graph)) + 1)]
    paths = []
    for room in sorted(graph):
        layers[height(room)].append(room)
        for other in sorted(graph[room]):
            between = [f"{room}>{other}>{at}" for at in range(height(room) - 1, height(other), -1)]
            for at, each in zip(range(height(room) - 1, height(other), -1), between, strict=True):
                layers[at].append(each)
            paths.append([room, *between, other])
    return layers[::-1], paths


def _placed(layers: list[list[str]], paths: list[list[str]]) -> dict[str, float]:
    """Return the middle of each room, and of each bend: near of what it is tied to."""
    ties: dict[str, list[str]] = {each: [] for layer in layers for each in layer}
    for path in paths:
        for one, other in pairwise(path):
            ties[one].append(other)
            ties[other].append(one)
    at = {each: 150.0 * place for layer in layers for place, each in enumerate(layer)}
    for sweep in range(_SWEEPS):
        for layer in layers[:: -1 if sweep % 2 else 1]:
            wish = {each: mean(at[other] for other in ties[each] or [each]) for each in layer}
            layer.sort(key=wish.__getitem__)
            at.update(_side_by_side(layer, wish))
    left = min(x - _width(each) / 2 for each, x in at.items())
    return {each: x - left + _GAP for each, x in at.items()}


def _side_by_side(layer: list[str], wish: dict[str, float]) -> dict[str, float]:
    """Return where the rooms of a layer stand: as near as may be to where each is to stand."""
    at: dict[str, float] = {}
    end = -inf
    for each in layer:
        at[each] = max(wish[each], end + _GAP + _width(each) / 2)
        end = at[each] + _width(each) / 2
    shift = mean(wish[each] - at[each] for each in layer)
    return {each: x + shift for each, x in at.items()}


def _draw(
    sheet: Sheet, places: dict[str, tuple[float, float]], one: str, other: str, *, last: bool
) -> None:
    (x, y), (to_x, to_y) = places[one], places[other]
    sheet.curve(x, y + _HEIGHT, to_x, to_y - (2 if last else 0), head=last)
    if not last:
        sheet.line((to_x, to_y), (to_x, to_y + _HEIGHT))
