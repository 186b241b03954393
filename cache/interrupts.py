"""What a signal's handler raised, told apart from what the code raised that it interrupted.

Python runs a handler between two steps of whatever its main thread is at. What the handler
raises, a time limit or a stop, comes out there, though it says nothing about that code.
"""

import signal
from collections.abc import Iterator
from functools import partial
from types import CodeType
from typing import Any


def is_interrupt(error: BaseException) -> bool:
    """Tell whether a signal's handler raised `error`, or something that it called."""
    codes = set(map(_code, map(signal.getsignal, signal.valid_signals())))
    return not codes.isdisjoint(_frames(error))


def raise_if_of_others(error: BaseException) -> None:
    """Raise `error` if it says nothing about the code that it comes from, or its data."""
    if isinstance(error, MemoryError) or is_interrupt(error):
        raise error


def _frames(error: BaseException) -> Iterator[CodeType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next


def _code(handler: Any) -> CodeType | None:
    """Return the code that runs as `handler`; None where that is none of Python's."""
    while isinstance(handler, partial):
        handler = handler.func
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = handler.__call__
    code: CodeType | None = getattr(handler, "__code__", None)
    return code
