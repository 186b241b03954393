"""Values with their types: what a function is annotated with comes back, from every store."""

import asyncio
import enum
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pydantic
import pytest

from tests import opcodes, typed_future
from tests.chaos import MemcachedServer, RedisServer
from tests.typed_kinds import ADA, KINDS, MODEL, Cat, Color, Created, Dog, Model, Point, User
from twofold import Cache, CannotSerialize, cached, caches, configure, events, refreshing
from twofold.effects import background
from twofold.testing import FACES, Face, FakeClock
from twofold.types import Shape
from twofold.types.sameness import is_same

STORES = ["memory", "sqlite", "files", "redis", "redis, near", "memcached"]
SERIALIZERS = ["msgpack", "json", "pickle"]

calls: list[Any] = []


@pytest.fixture(autouse=True)
def told() -> Iterator[list[events.Event]]:
    """Note what is told, and start with no calls."""
    calls.clear()
    typed_future.calls.clear()
    noted: list[events.Event] = []
    end = events.subscribe(noted.append)
    yield noted
    end()


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where each store is."""
    if request.param.startswith("redis"):
        server: RedisServer = request.getfixturevalue("redis_server")
        return f"{server.url}?near=1mb" if "near" in request.param else server.url
    if request.param == "memcached":
        memcached: MemcachedServer = request.getfixturevalue("memcached_server")
        return f"memcached://{memcached.address}"
    return f"{request.param}:///{tmp_path}/cache"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Cache]:
    """A cache that keeps bytes."""
    cache = Cache(f"sqlite:///{tmp_path}/cache.db")
    yield cache
    cache.close()


def returning(cache: Cache, annotation: Any, value: Any, **options: Any) -> Any:
    """Return a cached function that returns `value`, and says that it is of `annotation`."""

    def function(_part: int = 0) -> Any:
        calls.append(value)
        return value() if callable(value) else value

    function.__annotations__["return"] = annotation
    return cached(cache=cache, key=options.pop("key", "k{_part}"), **options)(function)


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_every_kind_of_type_comes_back(face: Face, url: str, serializer: str) -> None:
    """From every store, by every serializer, in both faces, equal and of the same types."""
    cache = Cache(url, serializer=serializer)

    async def body() -> None:
        for number, (annotation, value) in enumerate(KINDS):
            function = returning(cache, annotation, value, key=f"{number}")
            view = face.view(function)
            before = len(calls)
            assert is_same(await view.refresh(), value), annotation
            for _ in range(3):
                assert is_same(await view.get(), value), annotation
            assert len(calls) == before + 1
        await face.view(cache).close()

    face.run(body())
    assert cache.stats().unserializable == 0
    assert cache.stats().damaged == 0


def test_another_process_reads_them(tmp_path: Path) -> None:
    """What one process has written of each kind, another finds, and computes nothing."""
    script = [sys.executable, "-m", "tests.typed_reader", f"sqlite:///{tmp_path}/cache.db"]
    assert (
        subprocess.run(script, check=True, capture_output=True, text=True).stdout
        == f"{len(KINDS)}\n"
    )
    assert subprocess.run(script, check=True, capture_output=True, text=True).stdout == "0\n"


def test_types_that_come_later_or_from_around(disk: Cache, tmp_path: Path) -> None:
    """Annotations may be text, and name what is defined after the function, or around it."""
    configure(f"sqlite:///{tmp_path}/future.db")
    later = typed_future.Later(1, typed_future.Inner("x"))
    for function, value, *arguments in (
        (typed_future.later, later, 1),
        (typed_future.optional, [later], 1),
        (typed_future.unknown, [1], 1),
        typed_future.of_a_function(disk),
    ):
        typed_future.calls.clear()
        assert is_same(function(*arguments), value)
        assert is_same(function(*arguments), value)
        assert len(typed_future.calls) == 1
    configure()


def test_a_renamed_and_moved_type_is_the_same(disk: Cache) -> None:
    """The store has no names of classes: one with the same fields finds what another wrote."""
    fields = [("id", int), ("name", str)]
    old, new = make_dataclass("Old", fields), make_dataclass("New", fields)
    old.__module__, new.__module__ = "shop.models", "shop.people"
    returning(disk, old, old(1, "x"))()
    assert returning(disk, new, None).get() == new(1, "x")


@pytest.mark.parametrize(
    "fields",
    [
        [("id", int)],
        [("id", str), ("name", str)],
        [("name", str), ("id", int)],
        [("id", int), ("title", str)],
        [("id", int), ("name", str), ("age", int, 0)],
        [("id", int | None), ("name", str)],
    ],
)
def test_a_type_that_changed_is_a_miss(disk: Cache, fields: Any) -> None:
    """And neither an error nor damage: it is computed anew, and found then."""
    old = make_dataclass("Thing", [("id", int), ("name", str)])
    new = make_dataclass("Thing", fields)
    value = new(*("1" if kind is str else 1 for _, kind, *_ in fields))
    returning(disk, old, old(1, "x"))()
    function = returning(disk, new, value)
    assert function.get() is None
    assert function() == function() == value
    assert len(calls) == 2
    assert disk.stats().damaged == 0


def test_changed_fields_within_count(disk: Cache) -> None:
    """Also where the type that changed is held by the one that is named."""

    def holder(name: str) -> Any:
        class Inner(pydantic.BaseModel):
            __annotations__ = {name: int}

        class Outer(pydantic.BaseModel):
            inners: list[Inner]

        return Outer

    old, new = holder("a"), holder("b")
    returning(disk, old, old(inners=[{"a": 1}]))()
    assert returning(disk, new, None).get() is None


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_lie_is_told_once_and_kept_as_it_is(
    face: Face, disk: Cache, told: list[events.Event]
) -> None:
    """What is of another type is returned, and kept without its type where it can be."""

    async def body() -> None:
        function = face.view(returning(disk, User, {"id": 1}))
        assert await function.refresh() == {"id": 1}
        assert await function.get() == {"id": 1}
        assert await function.refresh(1) == {"id": 1}

    face.run(body())
    assert [type(each) for each in told] == [events.ResultOfOtherType]
    assert "a value of type dict is not kept as User" in str(told[0])


class Large(enum.Enum):
    SMALL = 1
    HUGE = 2**70


@pytest.mark.parametrize("annotation", [Large, list[Large], Literal[1 << 70]])
def test_a_type_that_a_library_has_no_room_for_is_no_error(disk: Cache, annotation: Any) -> None:
    """Msgspec raises what is of no use to who calls the function: pydantic does it, or nobody."""
    value = {Large: Large.SMALL, list[Large]: [Large.SMALL]}.get(annotation, 1 << 70)
    function = returning(disk, annotation, value)
    assert function() == function() == value
    assert len(calls) == 1
    view = disk.typed(annotation)
    assert view.set("other", value)
    assert is_same(view.get("other"), value)


def test_a_lie_of_another_process_is_a_miss(disk: Cache) -> None:
    """Nobody is given another type because the store says so."""
    returning(disk, User, {"id": 1})()
    function = returning(disk, User, ADA)
    assert function.get() is None
    assert function() == ADA


class Opaque:
    """An object without fields, such as a row of somebody's library."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Opaque, Opaque(1)),
        (Opaque | None, Opaque(1)),
        (list[Opaque], [Opaque(1)]),
        (dict[str, Opaque], {"one": Opaque(1)}),
        (deque[int], deque([1])),
    ],
)
def test_a_type_that_nothing_is_known_of_is_no_lie(
    annotation: Any, value: Any, tmp_path: Path, told: list[events.Event]
) -> None:
    """It counts as no annotation: nobody is told to correct it, and other processes find it."""
    url, secret = f"sqlite:///{tmp_path}/cache.db", "of this test alone"
    writer, reader = (Cache(url, serializer="pickle", secret=secret) for _ in range(2))
    returning(writer, annotation, value)()
    assert type(returning(reader, annotation, value).get()) is type(value)
    assert told == []
    writer.close()
    reader.close()


def test_beside_a_type_that_is_unknown_others_count(disk: Cache, told: list[events.Event]) -> None:
    """A union keeps the values whose type is known."""
    assert returning(disk, User | Opaque, ADA)() == ADA
    assert returning(disk, User | Opaque, None).get() == ADA
    assert told == []


@pytest.mark.parametrize("value", [Point(1.0, 2.0), [ADA], Dog("x")])
def test_a_lie_that_cannot_be_kept_is_returned(
    disk: Cache, told: list[events.Event], value: Any
) -> None:
    """It is not stored, counted, and told of once, with what to do."""
    function = returning(disk, User, value)
    assert function() is value
    assert function() is value
    assert disk.stats().unserializable == 1
    assert [type(each) for each in told] == [events.ResultNotStored]
    assert "let the annotation of the function name the type" in str(told[0])


def test_what_is_named_already_is_not_to_be_named(disk: Cache, told: list[events.Event]) -> None:
    """Where something within is in the way, that is told, and no other annotation advised."""

    class Config(pydantic.BaseModel):
        secret: pydantic.SecretStr

    returning(disk, Config, Config(secret=pydantic.SecretStr("s")))()
    assert "a value of type SecretStr is in it. Store a plain form of it" in str(told[0])
    assert "annotation" not in str(told[0])


@dataclass
class Admin(User):
    """Has no field of its own."""


def test_a_subclass_is_another_type(disk: Cache, told: list[events.Event]) -> None:
    """It does not become the class that it is annotated with."""
    function = returning(disk, User, Admin(1, "x"))
    assert type(function()) is Admin
    assert type(function()) is Admin
    assert len(told) == 1


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_stale_values_keep_their_types(
    face: Face, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do those that are refreshed, marked stale, touched, and moved to another version."""
    clock = FakeClock()
    monkeypatch.setattr(background, "inline", True)
    settings = {"BACKEND": kind, "LOCATION": f"{tmp_path}/cache"}

    async def body() -> None:
        with caches.override({"default": settings}, clock=clock):
            cache = face.view(caches["default"])
            function = returning(caches["default"], User, ADA, timeout=10, stale=60)
            view = face.view(function)
            await view.refresh()
            clock.advance(11)
            assert await view.get() is None
            assert is_same(await face.view(Calling(function)).call(), ADA)
            assert is_same(await view.get(), ADA)
            assert await cache.mark_stale("k0")
            assert await cache.get("k0") is None
            await view.refresh()
            assert await cache.touch("k0", 1000)
            clock.advance(500)
            assert is_same(await view.get(), ADA)
            assert await cache.incr_version("k0") == 2
            assert (await cache.get("k0", version=2))["name"] == "Ada"
            await cache.close()

    face.run(body())


class Calling:
    """A call of a sync function, in both faces."""

    def __init__(self, function: Any) -> None:
        self.call = function

    async def acall(self) -> Any:
        return await asyncio.to_thread(self.call)


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_values_with_tags_keep_their_types(face: Face, kind: str, tmp_path: Path) -> None:
    """Of functions, of many ids, of views: until their tag is invalidated, and anew afterwards."""
    cache = Cache(f"{kind}:///{tmp_path}/cache")

    @cached.many(cache=cache, tags=["users"])
    def users(ids: list[int]) -> dict[int, User]:
        return {each: User(each, "x") for each in ids}

    async def body() -> None:
        view, function = face.view(cache), returning(cache, User, ADA, tags=["users"])
        typed = face.view(cache.typed(User))
        assert await face.view(users).refresh([1]) == {1: User(1, "x")}
        for times in (1, 2):
            assert is_same(await face.view(Calling(function)).call(), ADA)
            assert is_same(await face.view(Calling(function)).call(), ADA)
            assert len(calls) == times
            assert await typed.set("own", ADA, tags=["users"])
            assert await typed.get("own") == ADA
            await view.invalidate_tags("users")
            assert await typed.get("own") is None
            assert await face.view(users).get([1]) == {}
        await view.close()

    face.run(body())


class Missing(Exception):
    """Is kept like a value."""


def test_an_exception_is_kept_of_a_typed_function(disk: Cache) -> None:
    """What it is made of has no type, and is raised again."""

    def fail() -> User:
        raise Missing("x")

    function = returning(disk, User, fail, errors={Missing: 10})
    for _ in range(2):
        with pytest.raises(Missing, match="x"):
            function()
    assert len(calls) == 1


def test_many_ids_have_values_with_types(disk: Cache) -> None:
    """The type is that of the mapping's values; what is given for missing ids may be another."""

    @cached.many(cache=disk, missing=None)
    def users(ids: list[int]) -> dict[int, User]:
        calls.append(ids)
        return {each: User(each, "x") for each in ids if each < 3}

    for _ in range(2):
        assert users([1, 2, 3]) == {1: User(1, "x"), 2: User(2, "x"), 3: None}
    assert calls == [[1, 2, 3]]
    assert users.get([1, 3]) == {1: User(1, "x"), 3: None}
    assert users.set({4: ADA}) == []
    assert users.get([4]) == {4: ADA}
    with refreshing():
        assert users([1]) == {1: User(1, "x")}
    assert disk.stats().unserializable == 0


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_the_handles_keep_types(face: Face, url: str) -> None:
    """`set` and `get` of a function are of its type, in both faces."""
    cache = Cache(url)

    async def body() -> None:
        function = face.view(returning(cache, User, ADA))
        assert await function.set(User(1, "x"))
        assert await function.get() == User(1, "x")
        assert await function.get_or(None, 1) is None
        assert await function.invalidate()
        assert await function.get() is None
        await face.view(cache).close()

    face.run(body())


def test_without_the_type_the_plain_data_are_found(disk: Cache) -> None:
    """Whoever names no type is given what is stored; what he stores is a miss to a function."""
    function = returning(disk, Point, Point(1.0, 2.0))
    function()
    assert disk.get("k0") == {"x": 1.0, "y": 2.0}
    disk.set("k0", {"x": 1.0, "y": 2.0})
    assert function.get() is None


def test_callers_that_wait_have_values_of_their_own(disk: Cache) -> None:
    """What one changes no other sees, nor who asks later."""
    first = returning(disk, User, lambda: User(1, "x"))
    one = first()
    one.name = "changed"
    assert first().name == "x"


def test_memory_shares_what_nobody_can_change() -> None:
    """A frozen value is found itself, others as copies."""
    cache = Cache("memory://")
    point = Point(1.0, 2.0)
    assert returning(cache, Point, point)() is point
    assert returning(cache, Point, None).get() is point
    function = returning(cache, User, ADA, key="user")
    function()
    assert function() is not ADA


class Login(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr = pydantic.SecretStr("")


class Hidden(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        if not name.startswith("hunter"):
            raise ValueError("not his")
        return name


@pytest.mark.parametrize(
    ("annotation", "value", "why"),
    [
        (Login, Login(name="x", password="hunter2"), "SecretStr"),
        (Hidden, Hidden.model_construct(name="Robin"), "name: Value error, not his"),
        (Hidden, Hidden.model_construct(name=b"hunter2"), "field_name='name'"),
        (list[Hidden], [1], "Unexpected"),
    ],
)
def test_what_is_refused_is_told_of_without_its_value(
    disk: Cache, told: list[events.Event], annotation: Any, value: Any, why: str
) -> None:
    """What a model holds is for no log, and a secret for no store."""
    function = returning(disk, annotation, value)
    assert function() == function() == value
    text = "".join(map(str, told))
    assert why in text
    for secret in ("hunter2", "Robin", "pydantic.dev", "input_value"):
        assert secret not in text


def test_items_of_any_collection_are_of_their_type(disk: Cache) -> None:
    """Also where pydantic converts them."""
    for annotation in (Iterable[Model], Collection[Model], Sequence[Model]):
        function = returning(disk, annotation, [MODEL], key=str(annotation))
        function()
        assert is_same(function(), [MODEL])
    assert len(calls) == 3


class Meeting(pydantic.BaseModel):
    at: datetime


@pytest.mark.parametrize(
    "zone",
    [
        UTC,
        timezone(timedelta(hours=2)),
        timezone(timedelta(hours=1), "CET"),
        ZoneInfo("Europe/Prague"),
        ZoneInfo("UTC"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
def test_a_moment_keeps_the_rules_of_its_zone(url: str, zone: tzinfo) -> None:
    """An hour that is added later is the same hour, whatever converts the value."""
    cache = Cache(url)
    at = datetime(2024, 3, 30, 12, tzinfo=zone)
    for annotation, value in [
        (Meeting, Meeting(at=at)),
        (list[datetime], [at]),
        (time, at.timetz()),
    ]:
        function = returning(cache, annotation, value, key=str(annotation))
        function()
        assert is_same(function(), value)
    found = returning(cache, Meeting, None, key=str(Meeting))().at
    assert getattr(found.tzinfo, "key", "") == getattr(zone, "key", "")
    assert (found.tzname() == "CET") is (at.tzname() == "CET")
    assert (found + timedelta(days=1)).isoformat() == (at + timedelta(days=1)).isoformat()
    assert len(calls) == 3
    cache.close()


def test_a_zone_that_text_has_no_name_for_is_not_lost(tmp_path: Path) -> None:
    """JSON keeps offsets: what has more than one, or a name, is not stored."""
    cache = Cache(f"sqlite:///{tmp_path}/cache.db", serializer="json")
    for zone, computed in [
        (UTC, 1),
        (ZoneInfo("Europe/Prague"), 2),
        (ZoneInfo("UTC"), 2),
        (timezone(timedelta(hours=1), "CET"), 2),
    ]:
        calls.clear()
        value = Meeting(at=datetime(2024, 3, 30, 12, tzinfo=zone))
        function = returning(cache, Meeting, value, key=f"{zone!r}")
        assert function() == function() == value
        assert len(calls) == computed
    cache.close()


@dataclass
class Loose:
    """Holds what MessagePack alone has no form for."""

    data: Any
    name: str = ""
    number: int = 0


@pytest.mark.parametrize(
    "value",
    [
        Loose({"a": [1.5, None, b"x"]}),
        Loose({"at": (1, 2)}),
        Loose({1: (2,)}),
        Loose(None, name="\ud800"),
        Loose(None, number=2**70),
    ],
)
@pytest.mark.parametrize("url", ["memory", "redis, near"], indirect=True)
def test_copies_in_the_process_are_made_of_their_bytes(url: str, value: Loose) -> None:
    """At once, or by way of the serializer, if only that reads what is in them."""
    cache = Cache(url)
    function = returning(cache, Loose, value, stale=60)
    for _ in range(4):
        assert is_same(function(), value)
    assert len(calls) == 1
    assert Shape(Loose).fitted(rich=True).from_msgpack
    cache.clear()
    cache.close()


class Small(pydantic.BaseModel):
    id: int
    name: str


@pytest.mark.parametrize("kind", [Cat, Created, Point, Small])
def test_a_typed_hit_in_memory_takes_hardly_more_steps(kind: Any) -> None:
    """What converts the value is one call, in C or Rust, in place of the one that decodes it."""
    cache, data = Cache("memory://steps"), {"id": 1, "name": "x", "x": 1.0, "y": 2.0}
    value = kind(**{name: data[name] for name in kind.__annotations__})
    typed = returning(cache, kind, value)
    untyped = returning(cache, Any, data, key="untyped")
    counts = []
    for function in (untyped, typed):
        for _ in range(3):
            function()
        counts.append(opcodes.count(function))
    assert counts[1] < 1.15 * counts[0]


def test_a_validator_that_has_grown_stricter_makes_misses(disk: Cache) -> None:
    """It is no error, and no damage."""
    limit = 10

    class Limited(pydantic.BaseModel):
        size: int

        @pydantic.field_validator("size")
        @classmethod
        def check(cls, size: int) -> int:
            if size > limit:
                raise ValueError("too big")
            return size

    function = returning(disk, Limited, Limited(size=7))
    function()
    limit = 5
    assert function.get() is None
    assert disk.stats().damaged == 0


class Overdue(Exception):
    """What a signal's handler raises."""


class Signals:
    """What an annotation asks for; at the `left`-th time, a signal comes."""

    left = 0

    @classmethod
    def kind(cls) -> type:
        cls.left -= 1
        if cls.left == 0:
            signal.raise_signal(signal.SIGUSR1)
        return int


@pytest.mark.parametrize("beside", [int, Model])
def test_an_exception_of_a_handler_says_nothing_of_a_type(disk: Cache, beside: type) -> None:
    """It is raised wherever it comes while an annotation is looked at, by us or by a library."""

    def overdue(_number: int, _frame: Any) -> None:
        raise Overdue

    before, raised = signal.signal(signal.SIGUSR1, overdue), 0
    try:
        while True:
            Signals.left = raised + 1
            kind = make_dataclass("Kind", [("n", "Signals.kind()"), ("beside", beside)])
            kind.__module__ = __name__
            try:
                returning(disk, kind, None)()
            except Overdue:
                raised += 1
            else:
                break
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert Signals.left > 0
    assert raised > 1


def test_set_raises_what_no_serializer_holds(disk: Cache) -> None:
    """Only computed values are never lost; `set` says that it did nothing."""
    function = returning(disk, User, ADA)
    with pytest.raises(CannotSerialize, match="register"):
        function.set(object())


def test_a_name_is_not_part_of_the_mark() -> None:
    """But the kind of data is: what pydantic checks and what msgspec converts do not meet."""
    assert Shape(User).fitted(rich=True).mark != Shape(User).fitted(rich=False).mark
    assert Shape(Color).fitted(rich=True).mark != Shape(str | Color).fitted(rich=True).mark
    assert Shape(Model).fitted(rich=True).mark == Shape(type(MODEL)).fitted(rich=True).mark
