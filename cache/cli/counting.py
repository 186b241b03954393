"""The demo's expensive function: parse a module and count what it defines."""

import ast
from collections import Counter
from pathlib import Path
from typing import TypeAlias

from twofold.effects import new_lock

Counts: TypeAlias = dict[str, int]

_COUNTED = {
    "functions": ast.FunctionDef,
    "async_functions": ast.AsyncFunctionDef,
    "classes": ast.ClassDef,
    "awaits": ast.Await,
}

# In some releases of 3.11 and 3.12, parsers in several threads count each other's
# recursion and raise SystemError (python/cpython#106905).
_one_parse = new_lock()


def count(path: str, mtime_ns: int, size: int) -> Counts:  # noqa: ARG001  # they are the key
    """Return how many functions, classes, … the module at `path` has.

    The file's time and size stand in the key, so a changed file is another entry. One
    that Python cannot parse has `unparsable` 1 and nothing else.
    """
    try:
        source = Path(path).read_bytes()
        with _one_parse:
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {"unparsable": 1}
    nodes = Counter(map(type, ast.walk(tree)))
    counts = {name: nodes[node] for name, node in _COUNTED.items()}
    return {"lines": source.count(b"\n") + 1, **counts, "unparsable": 0}
