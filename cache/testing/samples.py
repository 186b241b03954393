# ruff: noqa: S101
"""Values and keys that make a difference to serializers and stores."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

PLAIN: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    2**200,
    0.5,
    1e300,
    "",
    "1",
    "text, ünïcode \N{SNOWMAN}\0",
    [],
    [1, "2", [None, {"three": 3.0}]],
    {},
    {"a": {"b": [True, None]}},
    "long " * 1000,
)
"""Values that every serializer brings back."""

EXACT: tuple[Any, ...] = (
    *PLAIN,
    b"",
    bytes(range(256)),
    -math.inf,
    (),
    (1, (2, [3])),
    {1, 2},
    frozenset({"a", (1, 2)}),
    {1: "int", "1": "text", (1, 2): "pair", None: 0},
    datetime(2024, 2, 29, 23, 59, 59, 999999),
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    date(1, 1, 1),
    time(12, 30, 0, 1),
    timedelta(days=-1, microseconds=1),
    Decimal("1.10"),
    UUID(int=2**128 - 1),
)
"""Values that serializers other than JSON bring back as well."""

ODD_KEYS = (
    "with blanks",
    "line\r\nbreak",
    "tab\t",
    "nul\0",
    "\x7f",
    "umlaut ä",
    "\N{SNOWMAN}" * 200,
    "k" * 1000,
    "k" * 1001,
    "K" * 1000,
    "a:b",
    "a::b",
    ":",
    "%",
    "*",
    "'",
    '"',
    "\\",
    "\ud800",
)


def assert_same(found: Any, value: Any) -> None:
    """Check that `found` is equal to `value`, and of the same types all the way down."""
    assert type(found) is type(value)
    assert found == value
    if isinstance(value, list | tuple):
        for each, expected in zip(found, value, strict=True):
            assert_same(each, expected)
    elif isinstance(value, dict):
        for name, expected in value.items():
            assert_same(found[name], expected)
            assert sorted(map(repr, found)) == sorted(map(repr, value))
