"""What memory keeps of what the serializer cannot hold: copies, of whatever can be copied."""

import io
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from unittest.mock import MagicMock

import attrs
import msgspec
import pydantic
import pytest

from twofold import Cache, CannotSerialize, cached
from twofold.entry.copies import Cloned, Pickled, copies_of
from twofold.testing import FACES, Face


@dataclass
class Basket:
    items: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Name:
    text: str


class Refusing:
    """Knows that it cannot be pickled, and when."""

    def __reduce__(self) -> Any:
        raise RuntimeError("not in an event loop")


@dataclass(frozen=True)
class Lazy:
    text: str

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()


@dataclass(frozen=True)
class Counted:
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", [])


@attrs.frozen
class Host:
    name: str


class Event(msgspec.Struct, frozen=True):
    name: str
    tags: Any = ()


class Model(pydantic.BaseModel, frozen=True):
    name: str
    tags: Any = ()


class Private(Model):
    _seen: int = 0


class Open(pydantic.BaseModel, frozen=True, extra="allow"):
    name: str


@attrs.define
class Mutable:
    name: str


class Changed(msgspec.Struct):
    name: str


class Thawed(pydantic.BaseModel):
    name: str = pydantic.Field(frozen=True)


SHARED = [Name("x"), Host("x"), Event("x"), Model(name="x"), Open(name="x")]
COPIED = [
    Basket(),
    Lazy("x"),
    Counted("x"),
    Mutable("x"),
    Changed("x"),
    Thawed(name="x"),
    Private(name="x"),
    Event("x", tags=[]),
    Model(name="x", tags=([],)),
    Open(name="x", more=1),
]


@pytest.mark.parametrize("value", SHARED + COPIED, ids=repr)
@pytest.mark.parametrize("typed", [False, True])
def test_what_is_frozen_all_the_way_down_is_shared(cache: Cache, value: Any, typed: bool) -> None:
    """Whatever made the class; what anything can be changed of is copied."""

    def function() -> Any:
        return value

    if typed:
        function.__annotations__["return"] = type(value)
    function = cached(cache=cache, key="k")(function)
    assert function() is value
    assert function() == value
    is_shared = any(value is each for each in SHARED)
    assert (function() is value) is is_shared


@pytest.fixture
def cache(request: pytest.FixtureRequest) -> Iterator[Cache]:
    """A memory cache of this test's own."""
    cache = Cache(f"memory://{request.node.name}")
    yield cache
    cache.close()


def of_a_function() -> Any:
    """Return a value whose class nobody finds by its name."""

    class Local:
        def __init__(self) -> None:
            self.items = ["x"]

    return Local()


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("make", [lambda: Basket(["x"]), of_a_function], ids=["pickle", "deepcopy"])
def test_each_reader_has_a_copy_of_his_own(face: Face, cache: Cache, make: Any) -> None:
    """No one changes what another was given, or what is stored."""

    async def body() -> None:
        view, value = face.view(cache), make()
        assert await view.set("k", value)
        value.items.append("y")
        one, other = await view.get("k"), await view.get("k")
        assert type(one) is type(value)
        assert one.items == other.items == ["x"]
        one.items.append("z")
        assert (await view.get_many(["k"]))["k"].items == ["x"]
        assert await view.add("k", make()) is False
        assert (await view.get_or_set("other", make)).items == ["x"]
        assert (await view.get("other")).items == ["x"]

    face.run(body())
    assert cache.stats().unserializable == 0


def test_what_nobody_can_change_is_shared(cache: Cache) -> None:
    """A frozen value is found itself."""
    name = Name("Ada")
    cache.set("k", name)
    assert cache.get("k") is name


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        io.StringIO,
        lambda: None,
        sys.stdout,
        Refusing(),
        [threading.Lock()],
        MagicMock(),  # which says that it is an iterator, and what not
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_copied_is_refused(cache: Cache, value: Any) -> None:
    """The error says so, and which setting shares values themselves."""
    if value is io.StringIO:  # found by its name, as pickle finds classes
        assert cache.set("k", value)
        return
    with pytest.raises(CannotSerialize, match="SERIALIZER None"):
        cache.set("k", value)


@pytest.mark.parametrize("serializer", ["msgpack", None])
def test_a_generator_is_for_nobody_else(serializer: str | None) -> None:
    """Shared as it is, it would be empty for all but its first reader."""
    cache = Cache("memory://", serializer=serializer)
    with pytest.raises(CannotSerialize, match="read only once"):
        cache.set("k", (each for each in "ab"))
    assert [*cache.get_or_set("k", lambda: (each for each in "ab"))] == ["a", "b"]
    assert [*cache.get_or_set("k", lambda: (each for each in "ab"))] == ["a", "b"]


def test_a_value_that_refuses_to_be_pickled_is_not_cloned() -> None:
    """Its own reason counts: a lazy query would be copied with nothing in it."""
    with pytest.raises(CannotSerialize, match="not in an event loop"):
        copies_of(Refusing())


def test_a_value_that_no_longer_can_be_copied_is_a_miss(cache: Cache) -> None:
    """It is counted as damaged, and no error."""
    broken = []

    class Fragile:
        def __deepcopy__(self, memo: Any) -> "Fragile":
            if broken:
                raise RuntimeError("broken")
            return Fragile()

    cache.set("k", Fragile())
    assert isinstance(cache.get("k"), Fragile)
    broken.append(1)
    assert cache.get("k") is None
    assert cache.stats().damaged == 1


def test_what_is_kept_is_measured() -> None:
    """Bounds of the store count what is held, whatever it is kept as."""
    pickled, cloned = copies_of(Basket(["x" * 10_000])), copies_of(of_a_function())
    assert isinstance(pickled, Pickled)
    assert isinstance(cloned, Cloned)
    assert sys.getsizeof(pickled) > 10_000
    cloned.kept.items.append("y" * 10_000)
    assert 10_000 < sys.getsizeof(cloned) < 20_000


def test_functions_without_annotations_keep_what_they_return(cache: Cache) -> None:
    """The first day's: a dataclass, and nothing said."""
    calls = []

    @cached(cache=cache)
    def basket():  # type: ignore[no-untyped-def]
        calls.append(1)
        return Basket(["x"])

    assert basket() == basket() == Basket(["x"])
    assert basket() is not basket()
    assert calls == [1]


def test_serializer_none_shares_everything() -> None:
    """It keeps the value itself, annotated or not."""
    cache = Cache("memory://shared", serializer=None)
    lock = threading.Lock()
    cache.set("k", lock)
    assert cache.get("k") is lock

    @cached(cache=cache)
    def basket() -> Basket:
        return Basket()

    assert basket() is basket()
    cache.close()
