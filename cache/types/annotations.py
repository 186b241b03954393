"""The annotation of what a function returns, resolved: also where types are told as text."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any, get_type_hints

from twofold.callables import body_of


def returned_by(function: Callable[..., Any]) -> Any:
    """Return the annotation of what `function` returns; Any if there is none.

    Asked while the function is being decorated, it finds types of the function around as well.

    Raises:
        NameError: it names what is not there yet, or cannot be found.
    """
    body: Any = body_of(function)
    told = getattr(body, "__annotations__", {})
    if "return" not in told:
        return Any
    annotation = told["return"]
    if not _tells_as_text(annotation):
        return annotation
    here = SimpleNamespace(__annotations__={"return": annotation})
    known = getattr(body, "__globals__", {})
    return get_type_hints(here, known, _names_around(body), include_extras=True)["return"]


def _tells_as_text(annotation: Any) -> bool:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return False
    inner = getattr(annotation, "__args__", ())
    return not inner or any(map(_tells_as_text, inner))


def _names_around(body: Any) -> dict[str, Any]:
    """Return what the functions around `body` know by name, if they are still running."""
    code = getattr(body, "__code__", None)
    known: dict[str, Any] = {}
    for frame in _frames():
        if code in frame.f_code.co_consts:
            known |= frame.f_locals
            break
    names = code.co_freevars if code is not None else ()
    for name, cell in zip(names, getattr(body, "__closure__", None) or (), strict=False):
        try:
            known[name] = cell.cell_contents
        except ValueError:  # it is not there yet
            continue
    return known


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back
