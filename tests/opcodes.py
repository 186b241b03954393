"""Traces opcodes from the very first one, which each CPython begins in its own way."""

import sys
from collections.abc import Callable
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


def count(call: Callable[[], object]) -> int:
    """Return how many opcodes a call takes, which tells its cost on a busy machine too."""
    counted = 0

    def tracer(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal counted
        counted += event == "opcode"
        return follow(frame, tracer) if event == "call" else tracer

    trace(tracer)
    try:
        call()
    finally:
        sys.settrace(None)
    return counted
