"""The table of *What can be cached*: kinds of value, by store and serializer, as it turns out.

`python -m tests.kinds_table` prints it. Each kind is tried in the table's stores: as it is, then
with the type named.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID

from tests.typed_kinds import ADA, Box, Color, Host, Model, Options, Point, Row, Text, User
from tests.typed_kinds import Event as Struct
from twofold import Cache, CannotSerialize
from twofold.types.sameness import is_same

SERIALIZERS = ("msgpack", "json", "pickle")


class Kind(NamedTuple):
    """A row: what it is called, values of it, and the types of those."""

    name: str
    values: list[Any]
    annotations: list[Any]


class Plain:
    """A class that says nothing of its fields."""

    def __init__(self) -> None:
        self.name = "x"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def of(name: str, *pairs: Any) -> Kind:
    """Return a row of values, each followed by its type."""
    return Kind(name, list(pairs[::2]), list(pairs[1::2]))


KINDS = [
    of("None, bool, int, text", None, None, True, bool, 2**70, int, "é", str),
    of("float", 1.5, float),
    of("NaN, infinity", float("inf"), float),
    of("lists, dicts with text as keys", [1, {"a": None}], list[Any], {"a": [1]}, dict[str, Any]),
    of("bytes", b"\xff", bytes),
    of(
        "datetime, date, time, timedelta",
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime,
        date(2024, 1, 1),
        date,
        time(1),
        time,
        timedelta(1),
        timedelta,
    ),
    of("`Decimal`, `UUID`", Decimal("1.50"), Decimal, UUID(int=7), UUID),
    of("tuples", (1, "x"), tuple[int, str]),
    of("sets, frozensets", {1}, set[int], frozenset({"x"}), frozenset[str]),
    of("dicts with other keys", {1: "x"}, dict[int, str]),
    of("`Path`, IP addresses", Path("/etc"), Path, IPv4Address("10.0.0.1"), IPv4Address),
    of("enums", Color.RED, Color),
    of("dataclasses", ADA, User, [ADA], list[User]),
    of("generic dataclasses", Box(ADA), Box[User]),
    of("classes of attrs", Host("a", IPv4Address("10.0.0.1")), Host),
    of("named tuples", Row(1, Path("x")), Row),
    of("`TypedDict`", {"name": "x", "home": Path("/x")}, Options),
    of("structs of msgspec", Struct("x"), Struct),
    of("models of pydantic", Model(id=1), Model),
    of("unions of these", ADA, User | Point, Point(1.0, 2.0), User | Point),
    of("subclasses of built-in types", OrderedDict(a=1), OrderedDict[str, int], Text("x"), Text),
    of("other objects", Plain(), Plain),
    of("functions, locks, generators", threading.Lock(), Any, (each for each in "ab"), Any),
]


def tried(cache: Cache, kind: Kind) -> str:
    """Return how values of a kind can be kept."""
    if all(_is_kept(cache, value) for value in kind.values):
        return "yes"
    pairs = zip(kind.values, kind.annotations, strict=True)
    return "typed" if all(_is_kept(cache.typed(each), value) for value, each in pairs) else "no"


def _is_kept(cache: Any, value: Any) -> bool:
    try:
        cache.set("k", value)
    except CannotSerialize:
        return False
    found = cache.get("k", ...)
    if not is_same(found, value):
        raise AssertionError(f"{value!r} came back as {found!r}")
    return True


def rows(store: str) -> Iterator[list[str]]:
    """Yield each kind, and what comes of it in a store, by each serializer."""
    caches = [Cache(store, serializer=name) for name in SERIALIZERS]
    for kind in KINDS:
        yield [kind.name, *(tried(cache, kind) for cache in caches)]
    for cache in caches:
        cache.close()


def table() -> str:
    """Return the table in Markdown."""
    with TemporaryDirectory() as folder:
        memory = Cache("memory://kinds")
        ours = [tried(memory, kind) for kind in KINDS]
        bytes_ = list(rows(f"sqlite:///{folder}/kinds.db"))
    head = ["value", "memory", *(f'`"{name}"`' for name in SERIALIZERS)]
    body = [[row[0], here, *row[1:]] for row, here in zip(bytes_, ours, strict=True)]
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    print(table(), end="")
