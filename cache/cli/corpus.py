"""The demo's input, Python modules of this machine, and the expensive function over them."""

import ast
import os
import site
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twofold.effects import new_lock

_SKIPPED = frozenset({"__pycache__", "site-packages", "dist-packages", "test", "tests"})

# In some releases of 3.11 and 3.12, parsers in several threads count each other's
# recursion and raise SystemError (python/cpython#106905).
_one_parse = new_lock()


class Module(NamedTuple):
    """The file of a module, as it is now."""

    path: str
    mtime_ns: int
    size: int


def collect(limit: int) -> list[Module]:
    """Return `limit` modules at most, evenly spread over the standard library and packages.

    Directories of tests are left out.
    """
    paths = [path for root in _roots() for path in _python_files(root)]
    picks = min(limit, len(paths))
    picked = (paths[each * len(paths) // picks] for each in range(picks))
    return [module for path in picked if (module := _module(path))]


def count(path: str, mtime_ns: int, size: int) -> dict[str, int]:  # noqa: ARG001  # see `key`
    """Return how many functions, classes, names and so on a module has; {} if it is no Python."""
    try:
        source = Path(path).read_bytes()
        with _one_parse:
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return dict(Counter(type(node).__name__ for node in ast.walk(tree)))


def key(path: str, mtime_ns: int, size: int) -> str:
    """Return the key of a module's counts; a changed file has another."""
    return f"counts:{mtime_ns}:{size}:{path}"


def _roots() -> list[str]:
    """Return the directories of the standard library and of installed packages, each once."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    real = [os.path.realpath(path) for path in [*named, *site.getsitepackages()] if path]
    return list(dict.fromkeys(real))


def _python_files(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(".py"))


def _module(path: str) -> Module | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Module(path, status.st_mtime_ns, status.st_size)
