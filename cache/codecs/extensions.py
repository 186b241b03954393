"""The extension types of MessagePack that stand for types of Python: their codes and fields."""

from struct import Struct
from typing import Final

TUPLE, SET, FROZENSET, DICT, STR, INT, COMPLEX = range(1, 8)
DECIMAL, UUID, DATETIME, DATE, TIME, TIMEDELTA, ROWS, NAMED = range(8, 16)

CONTAINERS: Final = frozenset({TUPLE, SET, FROZENSET, DICT, ROWS, NAMED})
"""Those whose data are MessagePack: their items in a list, keys and values in turn.

`ROWS` is a list of tuples of one width: the width in one byte, and the items of all in a list.
`NAMED` is a value of a registered type: its name, its mark and its data.
"""

WIDEST: Final = 255
"""Items that a tuple among `ROWS` has at most."""

DATETIME_FIELDS: Final = Struct(">HBBBBBIB")
TIME_FIELDS: Final = Struct(">BBBIB")
TIMEDELTA_FIELDS: Final = Struct(">iII")
COMPLEX_FIELDS: Final = Struct(">dd")

MAX_ZONE: Final = 255
"""Bytes that the zone of a datetime or time takes at most."""

NESTING: Final = 12
"""Extensions in each other that may hold others, the outermost value aside."""

CHECKED: Final = NESTING - 1
"""Which extension, counted from within, is checked for what it nests before it is unpacked.

Unpacking takes about 550 bytes of C stack a level, for up to 1,023 levels at a time. There may
be two such times in each other: the outermost value and an extension in it, or, where that is
an extension itself, what it holds and an extension in that.
"""
