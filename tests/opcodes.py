"""Traces opcodes from the very first one, which each CPython begins in its own way."""

import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, TypeAlias

Tracer: TypeAlias = Callable[[FrameType, str, Any], Any]


def trace(tracer: Tracer) -> None:
    """Have `tracer` told of each call; it names what follows one's opcodes by `follow`."""
    sys._getframe().f_trace_opcodes = True  # CPython 3.12 asks at `settrace` whether a frame has it
    sys.settrace(tracer)


def follow(frame: FrameType, tracer: Tracer) -> Tracer:
    """Have `tracer` told of a frame's opcodes, and return it."""
    frame.f_trace = tracer  # CPython 3.13 begins at the next line only where a tracer is there
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    return tracer


class Count:
    """Counts what Python does in this thread, which tells the cost on a busy machine too."""

    def __init__(self) -> None:
        self.opcodes: int = 0

    def _trace(self, frame: FrameType, event: str, _arg: object) -> Any:
        self.opcodes += event == "opcode"
        return follow(frame, self._trace) if event == "call" else self._trace

    def __enter__(self) -> "Count":
        trace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


def count(call: Callable[[], object]) -> int:
    """Return how many opcodes a call takes."""
    with Count() as counted:
        call()
    return counted.opcodes


async def acount(call: Callable[[], Awaitable[object]]) -> int:
    """Return how many opcodes a call takes that is awaited, with those of the event loop."""
    with Count() as counted:
        await call()
    return counted.opcodes
