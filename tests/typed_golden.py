"""Typed values as each release of Python has written them, which every other reads.

`python -m tests.typed_golden` writes the file of the running release, if there is none: run it by
each of `RELEASES`. A release's file holds the entries of all of `golden()`, by name and serializer.
"""

import json
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import pydantic

from tests import typed_future
from tests.typed_kinds import (
    ADA,
    MODEL,
    Box,
    Cat,
    Color,
    Created,
    Dog,
    Event,
    Host,
    Model,
    Odd,
    Options,
    Point,
    Removed,
    Row,
    Tree,
    User,
)
from twofold import Cache
from twofold.codecs import resolve_serializer
from twofold.entry import MISSING, Envelope, Missing
from twofold.types import Shape, TypedCodec, returned_by

FOLDER = Path(__file__).parent / "golden" / "typed"
RELEASES = ("3.11", "3.12", "3.13")
SERIALIZERS = ("msgpack", "json")

T = TypeVar("T")


@dataclass
class Person:
    name: str
    born: date
    height: float | None = None
    friends: list["Person"] = field(default_factory=list)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    more: bool = False


@dataclass
class Exact:
    price: Decimal
    id: UUID
    at: datetime
    took: timedelta


@dataclass
class Kept(Generic[T]):
    items: list[T]


class Golden(NamedTuple):
    """A value, and what it is annotated with where it is written and where it is read."""

    value: Any
    written: Any
    read: Any
    found: Any


def _same(annotation: Any, value: Any) -> Golden:
    return Golden(value, annotation, annotation, value)


@cache
def golden() -> dict[str, Golden]:
    """Return what is written and read, by names that stay."""
    _, of_it = typed_future.of_a_function(Cache("dummy://"))
    later = typed_future.Later(1, typed_future.Inner("x"))
    born = date(1815, 12, 10)
    exact = Exact(Decimal("1.50"), UUID(int=7), datetime(2024, 2, 29, tzinfo=UTC), timedelta(1, 2))
    return {
        "fields": _same(User, ADA),
        "nested": _same(dict[str, list[tuple[Color, User | None]]], {"a": [(Color.RED, ADA)]}),
        "optional": _same(User | None, None),
        "recursive": _same(Tree, Tree(1, Tree(2), Tree(3))),
        "generic": _same(Box[User], Box(ADA)),
        "generic, of pydantic": _same(Page[Model], Page[Model](items=[MODEL])),
        "generic, by syntax": Golden(Kept([1]), _kept(), Kept[int], Kept([1])),
        "alias": Golden([ADA], _alias(), list[User], [ADA]),
        "told as text": _same(returned_by(typed_future.later.__wrapped__), later),
        "told as text, optional": _same(returned_by(typed_future.optional.__wrapped__), [later]),
        "of a function": _same(type(of_it), of_it),
        "renamed and moved": Golden(
            typed_future.Human("Ada", born, 1.5, [typed_future.Human("Bob", born)]),
            typed_future.Human,
            Person,
            Person("Ada", born, 1.5, [Person("Bob", born)]),
        ),
        "exact": _same(Exact, exact),
        "moments": _same(list[datetime], [exact.at, datetime(2024, 7, 1)]),
        "union": _same(list[Cat | Dog | None], [Dog("Rex"), None, Cat("Tom")]),
        "structs": _same(list[Created | Removed], [Removed(3), Created(4)]),
        "events": _same(Event, Event("x", [Event("y")])),
        "rows": _same(list[Row], [Row(1, Path("/srv"))]),
        "options": _same(Options, {"name": "x", "home": Path("/home")}),
        "attrs": _same(Host, Host("a", IPv4Address("10.0.0.1"))),
        "models": _same(dict[UUID, Model], {UUID(int=7): MODEL}),
        "enums": _same(dict[Color, list[Odd]], {Color.BLUE: [Odd.TWO]}),
        "points": _same(frozenset[Point], frozenset({Point(1.0, 2.0)})),
    }


_SYNTAX = """
from dataclasses import dataclass

@dataclass
class Kept[T]:
    items: list[T]

type Users = list[User]
"""


def _by_syntax(name: str, before: Any) -> Any:
    """Return what `_SYNTAX` defines; before Python 3.12, the same as it was said then."""
    if sys.version_info < (3, 12):
        return before
    known = {"User": User, "__name__": __name__}
    exec(_SYNTAX, known)
    return known[name]


def _kept() -> Any:
    return _by_syntax("Kept", Kept)[int]


def _alias() -> Any:
    return _by_syntax("Users", list[User])


def _codec(annotation: Any, serializer: str) -> TypedCodec:
    fitted = Shape(annotation).fitted(rich=serializer != "json")
    return TypedCodec(Envelope(resolve_serializer(serializer)), fitted, holds_objects=False)


def read(release: str, name: str, serializer: str) -> Any | Missing:
    """Return what is found of what a release of Python has written; MISSING if nothing is."""
    entries = json.loads((FOLDER / f"{release}.json").read_text())
    stored = b64decode(entries[serializer][name])
    return _codec(golden()[name].read, serializer).load(name, stored)


def written(name: str, serializer: str) -> bytes:
    """Return what this release of Python writes."""
    each = golden()[name]
    value = each.value
    if name == "generic, by syntax":
        value = each.written.__origin__(value.items)
    return bytes(_codec(each.written, serializer).dump(name, value))


if __name__ == "__main__":
    place = FOLDER / f"{sys.version_info[0]}.{sys.version_info[1]}.json"
    if not place.exists():
        entries = {
            serializer: {name: b64encode(written(name, serializer)).decode() for name in golden()}
            for serializer in SERIALIZERS
        }
        FOLDER.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(entries, indent=1) + "\n")
    names = list(golden())
    lost = [
        (release, name, serializer)
        for release in RELEASES
        if (FOLDER / f"{release}.json").exists()
        for serializer in SERIALIZERS
        for name in names
        if read(release, name, serializer) is MISSING
    ]
    print(f"{place.name}: {len(lost)} entries of any release are not read", *lost, sep="\n")
