"""What a callback of `ormsgpack` raised, which drops it and raises an error of its own."""

import struct
from contextvars import ContextVar

from twofold.interrupts import is_interrupt

_raised: ContextVar[BaseException | None] = ContextVar("twofold_raised", default=None)

_OF_THE_DATA = (ValueError, TypeError, KeyError, ArithmeticError, RecursionError, struct.error)


def note(error: BaseException) -> None:
    """Keep what a callback raised, unless it is what became of it in a callback around that one."""
    if _raised.get() is None:
        _raised.set(error)


def raise_interrupt() -> bool:
    """Raise what came into a callback from elsewhere; tell whether one raised anything else."""
    raised = _raised.get()
    _raised.set(None)
    if raised is None:
        return False
    if not isinstance(raised, _OF_THE_DATA) or is_interrupt(raised):
        raise raised
    return True
