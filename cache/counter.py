"""Counters: signed 64-bit integers, kept as bare ASCII digits so that a server can add."""

import re
from typing import Final

from twofold.errors import CounterOverflow, MissingKey, NotACounter

LOWEST: Final = -(2**63)
HIGHEST: Final = 2**63 - 1

_DIGITS = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch
_SHORT: Final = len(str(HIGHEST))


def write(number: int) -> bytes:
    """Return the digits of a counter."""
    return b"%d" % number


def read(stored: bytes) -> int | None:
    """Return the counter that `stored` is, or None if it is something else."""
    if stored.isdigit() and len(stored) < _SHORT and not stored.startswith(b"0"):
        return int(stored)  # the usual ones, in half of the time
    if not _DIGITS(stored):
        return None
    number = int(stored)
    return number if LOWEST <= number <= HIGHEST else None


def is_counter(value: object) -> bool:
    """Tell whether `value` is an integer that a counter can hold; a bool is none."""
    return type(value) is int and LOWEST <= value <= HIGHEST


def delta(number: int) -> int:
    """Return what to add to a counter, or raise `NotACounter` if it is no such integer."""
    if type(number) is not int or not LOWEST <= number <= HIGHEST:  # `is_counter` without its call
        raise NotACounter(
            f"a counter is changed by a signed 64-bit integer such as 1, not by {number!r}"
        )
    return number


def add(number: int, change: int) -> int:
    """Return the sum, or raise `CounterOverflow` if it leaves signed 64 bits."""
    total = number + change
    if not LOWEST <= total <= HIGHEST:
        raise CounterOverflow(
            f"{number} + {change} leaves the range of a signed 64-bit counter: set it to a smaller"
            " one"
        )
    return total


def total(key: str, stored: bytes | None, change: int) -> int:
    """Return the sum of the counter `stored` under `key`, None if there is none, and `change`.

    Raises:
        MissingKey: there is none.
        NotACounter: what is stored is no counter.
        CounterOverflow: the sum leaves signed 64 bits.
    """
    if stored is None:
        raise MissingKey(f"no counter {key!r} to add to: set it first")
    number = read(stored)
    if number is None:
        raise NotACounter(
            f"{key!r} does not hold a signed 64-bit integer to add to: set it to one first"
        )
    return add(number, change)
