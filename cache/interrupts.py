"""What a signal's handler raised, told apart from what the code raised that it interrupted.

Python runs a handler between two steps of whatever its main thread is at. What the handler
raises, a time limit or a stop, comes out there, though it says nothing about that code.
"""

import inspect
import signal
from collections.abc import Iterator
from functools import partial
from types import CodeType
from typing import Any, Final

_SIGNALS: Final = tuple(signal.valid_signals())  # asking anew takes a tenth of a millisecond
_NO_HANDLER: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def is_interrupt(error: BaseException) -> bool:
    """Tell whether a signal's handler raised `error`, or something that it called."""
    codes = set(filter(_may_handle, _frames(error)))
    if not codes:  # as most often: the handlers of all signals are more to ask for
        return False
    return not codes.isdisjoint(map(_code, map(signal.getsignal, _SIGNALS)))


def raise_if_of_others(error: BaseException) -> None:
    """Raise `error` if it says nothing about the code that it comes from, or its data."""
    if isinstance(error, MemoryError) or is_interrupt(error):
        raise error


def _frames(error: BaseException) -> Iterator[CodeType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next


def _may_handle(code: CodeType) -> bool:
    """Tell whether code takes a number and a frame, as handlers do."""
    takes_two = code.co_argcount >= 2 or code.co_flags & inspect.CO_VARARGS
    return bool(takes_two) and not code.co_flags & _NO_HANDLER


def _code(handler: Any) -> CodeType | None:
    """Return the code that runs as `handler`; None where that is none of Python's."""
    while isinstance(handler, partial):
        handler = handler.func
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = handler.__call__
    code: CodeType | None = getattr(handler, "__code__", None)
    return code
