"""Types of all kinds that functions are annotated with, and values of them."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import attrs
import msgspec
import pydantic

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Odd(enum.Enum):
    ONE = 1
    TWO = "two"


@dataclass
class User:
    id: int
    name: str
    born: datetime | None = None
    tags: set[str] = field(default_factory=set)
    color: Color = Color.RED


@dataclass(frozen=True)
class Point:
    x: float
    y: float


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str


@dataclass
class Tree:
    value: int
    left: Optional["Tree"] = None
    right: "Tree | None" = None


@dataclass
class Box(Generic[T]):
    item: T


class Row(NamedTuple):
    id: int
    where: Path


class Options(TypedDict):
    name: str
    home: NotRequired[Path]


@attrs.define
class Host:
    name: str
    address: IPv4Address


class Event(msgspec.Struct):
    name: str
    parts: "list[Event]" = []


class Created(msgspec.Struct, tag=True):
    id: int


class Removed(msgspec.Struct, tag=True):
    id: int


class Model(pydantic.BaseModel):
    id: int
    label: str = pydantic.Field("x", alias="theLabel")
    price: Decimal = Decimal("1.50")
    color: Color = Color.BLUE
    inner: Optional["Model"] = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: UUID
    at: datetime


@pydantic.dataclasses.dataclass
class Checked:
    id: int


class Text(str):
    __slots__ = ()


Id = NewType("Id", int)
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
ADA = User(7, "Ada", NOON, {"a", "b"}, Color.BLUE)
MODEL = Model(id=1, theLabel="y", inner=Model(id=2))

KINDS: list[tuple[Any, Any]] = [
    (User, ADA),
    (list[User], [ADA, User(8, "Bob")]),
    (dict[str, User], {"ada": ADA}),
    (dict[int, User], {7: ADA}),
    (User | None, ADA),
    (User | None, None),
    (tuple[int, User], (1, ADA)),
    (Cat | Dog, Dog("Rex")),
    (list[Cat | Dog], [Cat("Tom"), Dog("Rex")]),
    (dict[str, Cat | Dog] | None, {"pet": Dog("Rex")}),
    (dict[str, Model | User], {"a": ADA, "m": MODEL}),
    (int | User, 7),
    (int | User, ADA),
    (str | Color, Color.RED),
    (str | Color, "red"),
    (list[str | Path], ["x", Path("x")]),
    (Point, Point(1.5, -0.5)),
    (set[Point], {Point(1.0, 2.0)}),
    (Tree, Tree(1, Tree(2), Tree(3, right=Tree(4)))),
    (Box[int], Box(1)),
    (Box[User], Box(ADA)),
    (list[Box[Point]], [Box(Point(1.0, 2.0))]),
    (Row, Row(1, Path("/srv"))),
    (list[Row], [Row(1, Path("/srv")), Row(2, Path("x"))]),
    (Options, {"name": "x", "home": Path("/home")}),
    (Options, {"name": "x"}),
    (Host, Host("a", IPv4Address("10.0.0.1"))),
    (Event, Event("x", [Event("y")])),
    (Created | Removed, Removed(3)),
    (Model, MODEL),
    (list[Model], [MODEL, Model(id=3)]),
    (Strict, Strict(id=UUID(int=7), at=NOON)),
    (Checked, Checked(1)),
    (Color, Color.BLUE),
    (list[Color], [Color.BLUE, Color.RED]),
    (Level, Level.HIGH),
    (Odd, Odd.TWO),
    (dict[Color, int], {Color.RED: 1}),
    (Literal[Color.RED], Color.RED),
    (Path, Path("/etc")),
    (IPv6Network, IPv6Network("fd00::/8")),
    (dict[Path, User], {Path("x"): ADA}),
    (Annotated[User, "of the shop"], ADA),
    (list[Id], [Id(1)]),
    (datetime, NOON),
    (set[int], {1, 2}),
    (tuple[int, ...], (1, 2)),
    (bytes, b"\xff\0"),
]


def name_of(annotation: Any) -> str:
    """Return a short name for a test's id."""
    return annotation.__name__ if type(annotation) is type else str(annotation)
