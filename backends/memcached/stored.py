"""What values look like in memcached, so that its `incr` adds as a signed counter should.

The server counts in unsigned 64 bits, and wraps around
(https://github.com/memcached/memcached/blob/master/doc/protocol.txt). So a negative
counter is kept as its two's complement: then one `incr` adds any signed number, exactly.
A value that the server would take for a number, such as b"01", is kept behind a mark; so are
counters near the ends of signed 64 bits, so that the server does not add beyond them. The
blanks that the server puts behind a number that got shorter are removed.

Flags tell what the server need not send for it: a stub, or a value that has metadata, and until
when that is fresh, to the second.
"""

from math import inf
from typing import Final

from twofold import counter
from twofold.metadata import Meta, has_metadata, head
from twofold.stub import STUB_SIZE, is_stub

MARKED: Final = 0x2F0D
"""The flags of a value that has a mark before it."""

STUB: Final = 0x2F0E
"""The flags of a stub, by which it is known without its bytes."""

DESCRIBED: Final = 2**31
"""The least flags of a value that has metadata; those of all other values are 0.

They are greater by the seconds since 1970 until which it is fresh, rounded down.
"""

_FRESH: Final = 2**31 - 1  # for ever, or until after 2038

WRAP: Final = 2**64

MOST: Final = 2**32
"""The most that the server may add: even many adders at once then stop before the end."""

_END: Final = 2**62
_MARK: Final = b"="
_NUMERIC: Final = frozenset(b"+-0123456789 \t\n\v\f\r")  # what a number may begin with, to C


def write(value: bytes) -> tuple[int, bytes]:
    """Return the flags and the bytes to store for `value`."""
    if not value or value[0] not in _NUMERIC:
        if has_metadata(value):
            return DESCRIBED + _until(head(value)), value
        return STUB if len(value) == STUB_SIZE and is_stub(value) else 0, value
    number = counter.read(value)
    if number is None or is_near_the_end(number):
        return MARKED, _MARK + value
    return 0, b"%d" % (number % WRAP)


def _until(meta: Meta) -> int:
    if meta.error:  # it is no value
        return 0
    return max(0, int(meta.soft)) if meta.soft < _FRESH else _FRESH


def meta(flags: int) -> Meta | None:
    """Return what the flags of a value tell of its metadata, if it has some."""
    if flags < DESCRIBED:
        return None
    soft = flags - DESCRIBED
    return Meta(-inf, inf if soft == _FRESH else soft)


def is_near_the_end(number: int) -> bool:
    """Tell whether the server must not add to a counter: it may leave signed 64 bits."""
    return abs(number) > _END


def read(flags: int, data: bytes) -> bytes:
    """Return the value that was stored so, by this package or by another program."""
    if flags == MARKED:
        return data[1:]
    digits = data.rstrip(b" ")
    if not digits.isdigit() or len(digits) > 20:
        return data
    number = int(digits)
    return counter.write(signed(number)) if number < WRAP else data


def signed(number: int) -> int:
    """Return the signed number of which `number` is the two's complement."""
    return number - WRAP if number > counter.HIGHEST else number
