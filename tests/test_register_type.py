"""Types without annotations: what is registered is stored with its name."""

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pydantic
import pytest

from twofold import Cache, CannotSerialize, SettingsError, register_type
from twofold.codecs import named, resolve_serializer
from twofold.testing import FACES, Face
from twofold.types.sameness import is_same


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten after it."""
    by_type, by_name = dict(named.by_type), dict(named._by_name)
    for each in (Color, Level, Order, Item, Model):
        register_type(each)
    yield
    named.by_type.clear()
    named.by_type.update(by_type)
    named._by_name.clear()
    named._by_name.update(by_name)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Item:
    name: str
    price: float


@dataclass
class Order:
    id: int
    items: list[Item]


class Model(pydantic.BaseModel):
    id: int


@dataclass
class Unregistered:
    id: int


ORDER = Order(1, [Item("x", 1.5)])
VALUES: list[Any] = [
    Path("/etc"),
    PurePosixPath("a/b"),
    PureWindowsPath("c:\\x"),
    IPv4Address("10.0.0.1"),
    IPv6Network("fd00::/8"),
    Color.RED,
    Level.LOW,
    ORDER,
    Model(id=3),
    [ORDER, Path("x"), {"color": Color.RED, "plain": 1}],
    {"level": [Level.LOW, [Model(id=1)]]},
    {"$type": "a dict of its own"},
    [{"$type": [1]}, {"$type": ["Path", "", "x"]}, {"$type": 1, "other": Color.RED}],
]
EXACT: list[Any] = [
    {Color.RED: 1, Path("x"): Level.LOW},
    (ORDER, {Item("y", 2.0)}),
    [(n, Color.RED) for n in range(10)],
    {(1, Path("x")): (Path("y"),)},
]


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_registered_values_come_back(
    kind: str, face: Face, serializer: str, tmp_path: Path
) -> None:
    """Wherever they stand, and of the same types, with nothing annotated."""
    cache = Cache(f"{kind}:///{tmp_path}/c", serializer=serializer)

    async def body() -> None:
        view = face.view(cache)
        for value in VALUES if serializer == "json" else VALUES + EXACT:
            assert await view.set("k", value)
            assert is_same(await view.get("k"), value), value
        await view.close()

    face.run(body())


def test_a_name_that_is_not_registered_is_a_miss(tmp_path: Path) -> None:
    """Whatever a store says: nothing is imported, and nobody is given it."""
    cache = Cache(f"sqlite:///{tmp_path}/c.db")
    cache.set("k", ORDER)
    del named._by_name[f"{__name__}.Order"]
    assert cache.get("k") is None
    assert cache.stats().damaged == 1
    cache.close()


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_a_type_that_changed_is_a_miss(tmp_path: Path, serializer: str) -> None:
    """It is told by its mark."""
    cache = Cache(f"sqlite:///{tmp_path}/c.db", serializer=serializer)
    old = make_dataclass("Thing", [("id", int)])
    new = make_dataclass("Thing", [("id", int), ("name", str, "")])
    old.__module__ = new.__module__ = "shop"
    register_type(old)
    cache.set("k", [old(1)])
    register_type(new)
    assert cache.get("k") is None
    cache.close()


def test_a_renamed_type_keeps_the_name_that_it_was_given(tmp_path: Path) -> None:
    """`name=` stays when the class moves."""
    cache = Cache(f"sqlite:///{tmp_path}/c.db")
    old = register_type(make_dataclass("Old", [("id", int)]), name="thing")
    cache.set("k", old(1))
    named.by_type.pop(named._by_name.pop("thing").kind)
    new = register_type(name="thing")(make_dataclass("New", [("id", int)]))
    assert cache.get("k") == new(1)
    cache.close()


def test_two_types_do_not_share_a_name() -> None:
    """The second is told to take another."""
    register_type(make_dataclass("One", []), name="same")
    with pytest.raises(SettingsError, match="name="):
        register_type(make_dataclass("Two", []), name="same")


MISSPELT = make_dataclass("Misspelt", [("at", "str.text")])


@pytest.mark.parametrize("kind", [3, int, list[int], "Order", type("Opaque", (), {}), MISSPELT])
def test_what_is_no_class_of_ones_own_is_refused(kind: Any) -> None:
    """There is nothing to register."""
    with pytest.raises(SettingsError):
        register_type(kind)


def test_others_are_refused_with_advice(tmp_path: Path) -> None:
    """The message names both ways to keep a type."""
    cache = Cache(f"sqlite:///{tmp_path}/c.db")
    with pytest.raises(CannotSerialize, match=r"annotation.*register_type"):
        cache.set("k", [Unregistered(1)])
    cache.close()


class Special(Order):
    """A subclass, which is another type."""


def test_a_subclass_is_another_type(tmp_path: Path) -> None:
    """It is refused, and does not become what it derives from."""
    cache = Cache(f"sqlite:///{tmp_path}/c.db")
    with pytest.raises(CannotSerialize, match="Special"):
        cache.set("k", Special(1, []))
    cache.close()


def test_values_that_would_not_come_back_are_refused(tmp_path: Path) -> None:
    """What a field holds is of the field's type, or the value is not stored."""
    cache = Cache(f"sqlite:///{tmp_path}/c.db")
    with pytest.raises(CannotSerialize, match="Order"):
        cache.set("k", Order("one", []))  # type: ignore[arg-type]
    cache.close()


def test_json_stays_json() -> None:
    """Others can read it: an object with the name, the mark and the data."""
    data = json.loads(resolve_serializer("json").dumps({"where": Path("/etc")}))
    assert data == {"where": {"$type": ["Path", "", "/etc"]}}


@pytest.mark.parametrize(
    "text",
    [
        '{"$type": 1}',
        '{"$type": null}',
        '{"$type": []}',
        '{"$type": ["Path"]}',
        '{"$type": ["Path", 1, "x"]}',
        '{"$type": ["Path", "", 1]}',
        '{"$type": ["Path", "zz", "x"]}',
        '{"$type": [["Path"], "", "x"]}',
        '{"$type": ["os.system", "", "x"]}',
        '{"$type": {"$type": ["Path", "", "x"]}}',
    ],
)
def test_json_of_others_is_a_value_or_refused(text: str) -> None:
    """Whatever stands under the name, nothing else than ValueError is raised."""
    try:
        found = resolve_serializer("json").loads_foreign(text.encode())
    except ValueError:
        return
    assert found == {"$type": "Path"}


def test_memory_shares_registered_values_that_nobody_can_change() -> None:
    """A frozen one is found itself."""
    cache = Cache("memory://registered")
    item = Item("x", 1.0)
    cache.set("k", item)
    assert cache.get("k") is item
    cache.close()
