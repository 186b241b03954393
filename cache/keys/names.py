"""Names of modules, classes and functions as they stand in keys: of one program each."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import blake2b
from inspect import unwrap
from types import CodeType
from typing import Any

PROCESS = os.urandom(16).hex()
"""Stands in the names of what has no place that another process could find again."""

_MAINS = frozenset({"__main__", "__mp_main__"})  # the latter in a spawned child
_NO_PLACES = ("<", "/dev/", "/proc/")  # such as <stdin>, /dev/stdin
_UNPLAIN = re.compile(r"[^A-Za-z0-9_.-]")


_MARKED = re.compile(r"~(?:[0-9a-f]{40}|[0-9a-f]{32})(?![0-9a-f])")


def readable(text: str) -> str:
    """Return `text`, with the names in it as a person calls them."""
    return _MARKED.sub("", text)


def digest(content: str | bytes) -> str:
    """Return the BLAKE2b-160 digest of `content` in hex."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return blake2b(raw, digest_size=20).hexdigest()


def module_name(thing: Any) -> str:
    """Return the name of the module of a class or function, which no other program's has.

    That is the name under which others import it. A script goes by its own name and a
    digest of its path, since another one may be called the same. What was typed into a
    notebook, a shell or `python -c` is known to this process alone.
    """
    name: str | None = getattr(thing, "__module__", None)
    if name in _MAINS:
        scope = _scope_of(thing, name) or vars(sys.modules["__main__"])
        spec = scope.get("__spec__")
        if spec is not None and spec.name not in _MAINS:
            return str(spec.name)
        return _name_by_place("__main__", scope)
    if name and name in sys.modules and not name.startswith("<"):  # as run_path calls all
        return name
    return _name_by_place(name or "__main__", _scope_of(thing, name))


def function_name(function: Callable[..., Any]) -> str:
    """Return the full name of a function, which no other has.

    Who changes a cell of a notebook and runs it again means the new function: what was typed
    goes by its code, too.
    """
    qualname = getattr(function, "__qualname__", type(function).__qualname__)
    name = f"{module_name(function)}.{qualname}"
    code = getattr(unwrap(function), "__code__", None)
    return f"{name}~{digest(_text_of(code))}" if code is not None and PROCESS in name else name


def class_name(cls: type) -> str:
    """Return the full name of `cls`, for messages and for what declares its own key."""
    module = module_name(cls)
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _text_of(code: CodeType) -> str:
    """Return what a function does, wherever it stands."""
    constants = [_text_of(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_freevars, constants))


def _scope_of(thing: Any, name: str | None) -> Mapping[str, Any]:
    """Return the globals of the module of that name in which `thing` was made, if it tells.

    A function that a decorator of another module wraps has that one's globals, and
    the module's name of what it wraps.
    """
    scope: Mapping[str, Any] = getattr(unwrap(thing), "__globals__", {})
    return scope if scope.get("__name__") == name else {}


def _name_by_place(name: str, scope: Mapping[str, Any]) -> str:
    """Return a name for a module that nobody can import by its own."""
    path = scope.get("__file__")
    if not isinstance(path, str) or path.startswith(_NO_PLACES):
        return f"{name}~{PROCESS}"
    return _name_of_file(path)


@cache
def _name_of_file(path: str) -> str:
    """Return the name of a script, or of the folder or archive that runs as one."""
    place = os.path.abspath(path)
    folder, file = os.path.split(place)
    stem = os.path.splitext(os.path.basename(folder) if file == "__main__.py" else file)[0]
    return f"{_UNPLAIN.sub('_', stem)}~{digest(place)}"
