"""An exception of a signal's handler, at any bytecode of twofold's own frames."""

import dis
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any
from weakref import finalize

import twofold
from tests.opcodes import follow, trace

_ROOT = str(Path(twofold.__file__).parent)
_AWAITED = 2  # of the places where a frame resumes
_HANDLED_AFTER = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}  # not intrinsics


class Signal:
    """Has a signal's handler raise a new `kind` at the n-th bytecode of our own frames.

    CPython runs handlers after a call, at the start of a function and at the end of a turn
    of a loop. Before the call that lets go of what a `with` or a `finally` holds it runs none,
    nor where an `await` goes on or ends, and what nothing could hold on to there is passed
    over. So are finalisers, whose exceptions the interpreter drops.
    """

    def __init__(self, n: int, kind: type[BaseException]) -> None:
        self.fired = False
        self._left = n
        self._kind = kind
        self._before: Any = None

    def __enter__(self) -> "Signal":
        self._before = signal.signal(signal.SIGUSR1, self._handle)
        trace(self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(None)
        signal.signal(signal.SIGUSR1, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.fired = True
        raise self._kind("from a handler")

    def _begin(self, frame: FrameType, event: str, arg: Any) -> "Callable[..., Any] | None":
        if not frame.f_code.co_filename.startswith(_ROOT) or _is_finaliser(frame):
            return None
        return follow(frame, self._step)

    def _step(self, frame: FrameType, event: str, arg: Any) -> "Callable[..., Any]":
        if event == "opcode" and frame.f_lasti not in _passed_over(frame.f_code):
            self._left -= 1
            if not self._left:
                signal.raise_signal(signal.SIGUSR1)
        return self._step


def _is_finaliser(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename.startswith(_ROOT):
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return frame is not None and frame.f_code is finalize.__call__.__code__


@cache
def _passed_over(code: CodeType) -> frozenset[int]:
    """Return where no handler runs: from the end of a protected range or an `await` to a call."""
    entries = dis.Bytecode(code).exception_entries
    ends = {entry.end for entry in entries} | {entry.target for entry in entries}
    ends |= {each.offset for each in dis.get_instructions(code) if each.opname == "SEND"}
    passed, passing = [], False
    for instruction in dis.get_instructions(code):
        passing = passing or instruction.offset in ends
        if passing or instruction.opname == "NOP":  # some are in no range, though all around are
            passed.append(instruction.offset)
        if _is_handled_after(instruction):
            passing = False
    return frozenset(passed)


def _is_handled_after(instruction: dis.Instruction) -> bool:
    name = instruction.opname
    if name == "RESUME":
        return (instruction.arg or 0) & 3 < _AWAITED
    return name in _HANDLED_AFTER
