"""What is kept of values with types is all of them, and what cannot be is told of and not kept."""

import enum
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from twofold import Cache, CannotSerialize

STORES = [("memory", "msgpack"), ("sqlite", "msgpack"), ("sqlite", "json")]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the first two of these are."""
    return f"{request.param}:///{tmp_path}/cache"


@pytest.fixture(params=STORES, ids=", ".join)
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A cache that keeps objects, one of bytes, and one of JSON."""
    store, serializer = request.param
    cache = Cache(f"{store}:///{tmp_path}/cache", serializer=serializer)
    yield cache
    cache.close()


@dataclass
class Noted:
    id: int

    @cached_property
    def parts(self) -> list[int]:
        """What is computed once, and can be again."""
        return [self.id]


@dataclass
class Derived:
    id: int

    def __post_init__(self) -> None:
        self.parts = [self.id]


class Open(msgspec.Struct, dict=True):
    id: int


class Many(pydantic.BaseModel):
    recent: deque[int] = deque()
    counts: defaultdict[str, int] = defaultdict(int)
    pairs: set[tuple[int, ...]] = set()
    numbers: set[float | int] = set()
    at: datetime = datetime.min
    price: Annotated[Decimal, pydantic.PlainSerializer(float)] = Decimal(0)


def with_attribute(value: Any, **attributes: Any) -> Any:
    """Return a value that somebody gave more than its fields."""
    for name, each in attributes.items():
        setattr(value, name, each)
    return value


LESS = [
    (Noted, with_attribute(Noted(1), note="n")),
    (Derived, with_attribute(Derived(1), parts=[2])),
    (Open, with_attribute(Open(1), note="n")),
    (Many, Many(recent=deque([1], maxlen=3))),
    (Many, Many.model_construct(counts=defaultdict(lambda: 5, a=1))),
    (Many, Many.model_construct(pairs={(True,)})),
    (Many, Many(at=datetime(2024, 10, 27, 2, 30, fold=1))),
    (Many, Many(price=Decimal("1.50"))),
]
"""Values of which the library of their type gives back one that is equal, and another."""


@pytest.mark.parametrize(("kind", "value"), LESS)
def test_what_would_come_back_as_less_is_refused(cache: Cache, kind: Any, value: Any) -> None:
    """An attribute beside the fields, the length of a deque, a fold: none is lost in silence."""
    with pytest.raises(CannotSerialize, match="is not kept as"):
        cache.typed(kind).set("k", value)


def test_what_a_property_has_kept_is_no_loss(cache: Cache) -> None:
    """It is computed again."""
    value = Noted(1)
    assert value.parts == [1]
    cache.typed(Noted).set("k", value)
    found = cache.typed(Noted).get("k")
    assert found == value
    assert found.parts == [1]


WHOLE = [
    (Derived, Derived(1)),
    (Many, Many(recent=deque([1]), counts=defaultdict(int, a=1), pairs={(1, 2)}, numbers={1.0, 2})),
]


@pytest.mark.parametrize(("kind", "value"), WHOLE)
def test_what_comes_back_whole_is_kept(cache: Cache, kind: Any, value: Any) -> None:
    """Attributes that the class makes itself, and defaults of a field's own type."""
    cache.typed(kind).set("k", value)
    assert cache.typed(kind).get("k") == value


MOMENT = datetime(2024, 2, 29, 12)
OTHERS = [
    (date, "2024-02-29"),
    (datetime, "2024-02-29T12:00:00"),
    (timedelta, "P1D"),
    (UUID, str(UUID(int=7))),
    (Decimal, "1.0"),
    (Decimal, 1.5),
    (bytes, "aGk="),
    (float, 1),
    (int, True),
    (tuple[int, ...], [1]),
    (list[int], (1,)),
    (list[float], [1]),
    (set[int], [1]),
    (dict[str, date], {"a": "2024-02-29"}),
    (complex, [1.0, 2.0]),
    (date | str, MOMENT),
    (list[int] | tuple[int, ...], {1}),
]


@pytest.mark.parametrize(("kind", "value"), OTHERS)
def test_a_view_of_a_plain_type_makes_nothing_of_another(store: str, kind: Any, value: Any) -> None:
    """Text is no date, and a list no tuple: what is there is of the type, or it is missing."""
    cache = Cache(store)
    cache.set("k", value)
    assert cache.typed(kind).get("k") is None
    with pytest.raises(CannotSerialize):
        cache.typed(kind).set("k", value)


UNIONS = [
    (date | str, date(2024, 2, 29)),
    (date | str, "2024-02-29"),
    (date | datetime, MOMENT),
    (date | datetime, date(2024, 2, 29)),
    (Decimal | float, Decimal("1.0")),
    (UUID | str, str(UUID(int=7))),
    (bytes | str, b"x"),
    (list[int] | tuple[int, ...], (1,)),
    (list[int] | set[int] | None, {1}),
    (list[date | str], [date(2024, 2, 29), "x"]),
]


@pytest.mark.parametrize(("kind", "value"), UNIONS)
def test_a_union_of_plain_types_stands_as_it_is(store: str, kind: Any, value: Any) -> None:
    """A view of it and the cache itself find the same, whichever has stored it."""
    cache = Cache(store)
    view = cache.typed(kind)
    view.set("k", value)
    assert (type(view.get("k")), view.get("k")) == (type(value), value)
    assert cache.get("k") == value
    cache.set("k", value)
    assert (type(view.get("k")), view.get("k")) == (type(value), value)


def enum_of(**members: Any) -> Any:
    """Return an enum, of one name in each release."""
    return enum.Enum("Kind", members)


def struct_of(default: Any) -> Any:
    """Return a struct whose data say nothing of a field that is as it is by default."""

    class Kind(msgspec.Struct, omit_defaults=True):
        value: int = default

    return Kind


def struct_with(factory: Any) -> Any:
    class Kind(msgspec.Struct, omit_defaults=True):
        value: list[int] = msgspec.field(default_factory=factory)

    return Kind


def dataclass_of(default: Any) -> Any:
    @dataclass
    class Kind:
        value: int = field(init=False, default=default)

    return Kind


def attrs_of(default: Any) -> Any:
    @attrs.define
    class Kind:
        value: int = attrs.field(init=False, default=default)

    return Kind


def model_of(default: Any) -> Any:
    class Kind(pydantic.BaseModel):
        value: int = pydantic.Field(default=default, exclude=True)

    return Kind


def one() -> list[int]:
    """Return what no other release had by default."""
    return [1]


CHANGES = [
    (enum_of(A=1.5, B=2.5).A, enum_of(A=2.5, B=1.5)),
    (enum_of(A=(1, 2), B=(3,)).A, enum_of(A=(3,), B=(1, 2))),
    (enum_of(A=(1, 2), B=(3,)).A, enum_of(A=(7, 7), B=(3,))),
    (struct_of(1)(), struct_of(2)),
    (struct_with(list)(), struct_with(one)),
    (dataclass_of(1)(), dataclass_of(2)),
    (attrs_of(1)(), attrs_of(2)),
    (model_of(1)(), model_of(2)),
]


@pytest.mark.parametrize(("value", "new"), CHANGES)
def test_what_the_data_do_not_say_is_in_the_fingerprint(cache: Cache, value: Any, new: Any) -> None:
    """Of a release that has another default, or gives a name to another value, it is a miss."""
    cache.typed(type(value)).set("k", value)
    assert cache.typed(type(value)).get("k") == value
    assert cache.typed(new).get("k") is None


@dataclass
class Left:
    id: int


@dataclass
class Right:
    id: int


def test_members_of_a_union_that_look_alike_are_told_apart(cache: Cache) -> None:
    """The data say by the place which one is meant: in another order that is another one."""
    cache.typed(Left | Right).set("k", Left(1))
    assert cache.typed(Left | Right).get("k") == Left(1)
    assert cache.typed(Right | Left).get("k") is None
