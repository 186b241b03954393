"""The demo's input: Python modules of this machine."""

import os
import site
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

LARGEST = 128 * 1024
"""Bytes of the largest module that is read: one parse holds the interpreter's lock."""

_SKIPPED = frozenset({"__pycache__", "site-packages", "dist-packages", "test", "tests"})


class Module(NamedTuple):
    """A module's name, and the identity of its file as it is now."""

    name: str
    path: str
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class Corpus:
    """The modules to read, how many there are in all, and those picked but left out."""

    modules: list[Module]
    found: int
    left_out: int


def collect(limit: int) -> Corpus:
    """Return `limit` modules at most, evenly spread over the standard library and packages.

    Directories of tests are passed over. Modules larger than `LARGEST` bytes or not
    readable are left out of what was picked.
    """
    found = [(root, path) for root in _roots() for path in _python_files(root)]
    picks = min(limit, len(found))
    picked = [found[each * len(found) // picks] for each in range(picks)]
    modules = [module for root, path in picked if (module := _module(root, path))]
    return Corpus(modules, len(found), picks - len(modules))


def _roots() -> list[str]:
    """Return the directories of the standard library and of installed packages, each once."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    real = [os.path.realpath(path) for path in [*named, *site.getsitepackages()] if path]
    return list(dict.fromkeys(real))


def _python_files(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(".py"))


def _module(root: str, path: str) -> Module | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if status.st_size > LARGEST or not os.access(path, os.R_OK):
        return None
    name = os.path.relpath(path, root).removesuffix(".py").replace(os.sep, ".")
    return Module(name.removesuffix(".__init__"), path, status.st_mtime_ns, status.st_size)
