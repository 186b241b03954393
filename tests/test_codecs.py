"""Serializers bring back what they took, or refuse it; compressors are bounded."""

import collections
import dataclasses
import enum
import math
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from io import BytesIO
from pathlib import PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import flask
import ormsgpack
import pytest
import starlette.responses
from django.http import HttpResponseBase
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold import Cache
from twofold.codecs import (
    extensions,
    msgpack,
    resolve_compressor,
    resolve_serializer,
    unpacking,
)
from twofold.codecs.extent import check_built
from twofold.errors import CannotSerialize, SettingsError

NAMES = ("msgpack", "json", "pickle")
COMPRESSORS = ("zlib", "zstd", "lz4")
PRAGUE = ZoneInfo("Europe/Prague")
MEBIBYTE = 1024 * 1024


def shape(value: Any) -> Any:
    """Return a form of `value` that is equal only for the same values of the same types."""
    kind = type(value)
    if kind is dict:
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    if kind in (list, tuple):
        return kind, [shape(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted((shape(item) for item in value), key=repr)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is complex:
        return kind, shape(value.real), shape(value.imag)
    if kind in (datetime, time):
        zone = value.tzinfo
        name = zone.key if type(zone) is ZoneInfo else repr(zone)
        return kind, value.replace(tzinfo=None).isoformat(), value.fold, type(zone), name
    return kind, str(value)


def same(left: Any, right: Any) -> bool:
    return bool(shape(left) == shape(right))


zones = st.one_of(
    st.none(),
    st.sampled_from([UTC, PRAGUE, ZoneInfo("America/New_York")]),
    st.builds(
        timezone,
        st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)),
    ),
    st.builds(timezone, st.sampled_from([timedelta(0), timedelta(hours=5)]), st.text(max_size=5)),
)
folds = st.sampled_from([0, 1])
datetimes = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds
)
times = st.builds(
    lambda clock, zone, fold: clock.replace(tzinfo=zone, fold=fold), st.times(), zones, folds
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.binary(max_size=20),
    st.complex_numbers(),
    st.decimals(allow_nan=False),  # a signaling NaN has no hash
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    datetimes,
    times,
)


@st.composite
def atoms(draw: st.DrawFn) -> Any:
    """Draw an atom; the strategy itself has a description too long to build."""
    return draw(ATOMS)


@st.composite
def keys(draw: st.DrawFn) -> Any:
    """Draw a key: an atom, or some in a tuple or a frozenset."""
    several = st.lists(atoms(), max_size=3)
    return draw(atoms() | several.map(tuple) | several.map(frozenset))


def rows(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what a database returns: tuples of one width."""
    return st.integers(1, 3).flatmap(
        lambda width: st.lists(st.tuples(*[inner] * width), min_size=4, max_size=6)
    )


values = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        rows(inner),
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.dictionaries(keys(), inner, max_size=4),
        st.sets(keys(), max_size=4),
        st.frozensets(keys(), max_size=4),
    ),
    max_leaves=15,
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)


class Text(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int


Row = collections.namedtuple("Row", "x")


class Hours(tzinfo):
    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, dt: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, dt: datetime | None) -> str:
        return "hours"


class Promise:
    def __await__(self) -> Any:
        yield


def loop_of_lists() -> list[Any]:
    loop: list[Any] = []
    loop.append([loop])
    return loop


def loop_of_tuples() -> tuple[list[Any]]:
    loop: tuple[list[Any]] = ([],)
    loop[0].append(loop)
    return loop


def loop_of_keys() -> dict[int, Any]:
    loop: dict[int, Any] = {}
    loop[1] = loop
    return loop


def nested(wrap: Any, levels: int) -> Any:
    value: Any = wrap([1])
    for _ in range(levels - 1):
        value = wrap([value])
    return value


@settings(max_examples=100, deadline=None)
@given(values)
def test_msgpack_is_exact(value: Any) -> None:
    """Whatever msgpack takes comes back equal, with every type as it was."""
    serializer = resolve_serializer("msgpack")
    assert same(serializer.loads(serializer.dumps(value)), value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_pickle_is_exact(value: Any) -> None:
    """Whatever pickle takes comes back equal, with every type as it was."""
    serializer = resolve_serializer("pickle")
    assert same(serializer.loads(serializer.dumps(value)), value)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_json_is_exact(value: Any) -> None:
    """What JSON can express comes back equal, with every type as it was."""
    serializer = resolve_serializer("json")
    assert same(serializer.loads(serializer.dumps(value)), value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_json_takes_nothing_it_would_change(value: Any) -> None:
    """JSON refuses every value that would come back as something else."""
    serializer = resolve_serializer("json")
    try:
        data = serializer.dumps(value)
    except CannotSerialize:
        return
    assert same(serializer.loads(data), value)


EXACT = [
    True,
    1,
    0.0,
    -0.0,
    math.nan,
    -math.inf,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    10**4000,
    -128,
    b"\xc4\xc5\xc6",
    "Žluťoučký kůň",
    "\ud800",
    "\ud800\udc00",
    {"\udfff": 1},
    Decimal("-0"),
    Decimal("1.500E+30"),
    Decimal("sNaN123"),
    UUID(int=7),
    datetime(2024, 10, 27, 2, 30, tzinfo=PRAGUE, fold=1),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-5), "EST")),
    datetime.max.replace(tzinfo=timezone(timedelta(microseconds=-1))),
    time(23, 59, 59, 999999, tzinfo=UTC, fold=1),
    date.min,
    timedelta.min,
    timedelta.max,
    complex(-0.0, math.inf),
    {1: "int", "1": "text", (1,): "tuple", None: "none", b"1": "bytes", 1.5: "float"},
    {"outer": [{date(2024, 1, 1): {frozenset({1}): ({2, 3}, [4])}}]},
    {},
    (),
    set(),
    [b"\xc4", "x"],
    {b"\xc4": [b"\xc4"]},
    [(1, "x", None)] * 4,
    [((1,), [2], {3: (4,)})] * 5,
    {"rows": [(date.min, b"\xc4")] * 4, "in": {"in": {"in": {"in": [(1, 2)] * 4}}}, 1: (2,)},
    {"rows": [(1,)] * 4, "in": {"rows": [(2, 3)] * 9}, "others": [(1,), (2, 3), (4,), (5,)]},
    [tuple(range(255))] * 4,
    [tuple(range(256))] * 4,
    [()] * 4,
    [(1, 2), (1, 2), (1, 2), [1, 2]],
]


@pytest.mark.parametrize("value", EXACT)
def test_msgpack_keeps_edge_cases(value: Any) -> None:
    """The values at the edges of each type come back as they were."""
    serializer = resolve_serializer("msgpack")
    assert same(serializer.loads(serializer.dumps(value)), value)


REFUSED = [
    Text("x"),
    {Text("x"): 1},
    {Colour.RED: 1},
    Colour.RED,
    [Level.LOW],
    {Level.LOW: 1},
    Point(1),
    Row(1),
    collections.OrderedDict(a=1),
    collections.defaultdict(int),
    collections.deque(),
    object(),
    object,
    len,
    range(3),
    bytearray(b"x"),
    memoryview(b"x"),
    [bytearray(b"x")],
    {"a": [(memoryview(b"x"),)]},
    {1: bytearray(b"x")},
    [(1, "x"), (2, bytearray(b"x"))] * 3,
    {"rows": [(b"x", [memoryview(b"x")])] * 6, "b": b"x"},
    {"a": [{"b": 0.1}, {"c": [UUID(int=1), {"d": [b"x", bytearray(b"x")]}]}]},
    [Row(1)] * 6,
    [(1,), (2,), (3,), Row(4)],
    datetime(2024, 1, 1, tzinfo=Hours()),
]


@pytest.mark.parametrize("value", REFUSED)
@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_inexact_types_are_refused(name: str, value: Any) -> None:
    """A type that would come back as another one is refused, with the way out."""
    with pytest.raises(CannotSerialize, match="SERIALIZER 'pickle'"):
        resolve_serializer(name).dumps(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, (1,), {1: 2}, b"x", "\ud800", {"\ud800": 1}])
def test_json_refuses_what_it_lacks(value: Any) -> None:
    """JSON refuses what it has no form for."""
    with pytest.raises(CannotSerialize):
        resolve_serializer("json").dumps(value)


def test_refusal_names_the_type() -> None:
    """The error names the serializer and the full type of the culprit, however deep it is."""
    with pytest.raises(CannotSerialize) as caught:
        resolve_serializer("msgpack").dumps({"rows": [(1, {2: Point(1)})]})
    assert f"'msgpack' cannot hold a value of type {__name__}.Point" in str(caught.value)


def _rows(_database: sqlite3.Connection) -> Iterator[int]:
    yield 1


async def _arows(_database: sqlite3.Connection) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("name", ["msgpack", "json", "pickle"])
@pytest.mark.parametrize("make", [_rows, _arows, sqlite3.Connection.cursor])
def test_what_can_be_read_once_only_is_no_list(name: str, make: Any) -> None:
    """The advice is a list; neither an annotation nor another serializer would help."""
    with (
        closing(sqlite3.connect(":memory:")) as database,
        pytest.raises(CannotSerialize, match="Store a list of what it yields") as caught,
    ):
        resolve_serializer(name).dumps(make(database))
    assert "SERIALIZER" not in str(caught.value)


def test_a_whole_response_has_a_place() -> None:
    """The advice is the framework's decorator of pages."""
    for response, room in (
        (starlette.responses.JSONResponse({}), "starlette"),
        (flask.Response("x"), "flask"),
        (HttpResponseBase("text/plain", charset="utf-8"), "django"),
    ):
        with pytest.raises(CannotSerialize, match=f"_page` of twofold.contrib.{room} keep it"):
            resolve_serializer("msgpack").dumps(response)


@pytest.mark.parametrize("value", [threading.Lock(), {"deep": (1, {2: threading.Lock()})}])
def test_a_refusal_is_shown_alone(value: Any) -> None:
    """A traceback has the refusal, and not what was tried before."""
    for dumps in (resolve_serializer("msgpack").dumps, partial(Cache("memory://").set, "k")):
        with pytest.raises(CannotSerialize) as caught:
            dumps(value)
        assert "During handling" not in "".join(traceback.format_exception(caught.value))


def test_zone_of_a_file_is_refused() -> None:
    """A ZoneInfo that no name leads back to is refused."""
    header = b"TZif" + b"\0" * 16 + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    body = struct.pack(">lbb", 0, 0, 0) + b"ABC\0"
    zone = ZoneInfo.from_file(BytesIO(header + body), key="Europe/Prague")
    with pytest.raises(CannotSerialize, match="file"):
        resolve_serializer("msgpack").dumps(datetime(2024, 1, 1, tzinfo=zone))


class Recorder:
    """Notes what is looked for to be imported, and finds nothing."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, *_: Any) -> None:
        self.names.append(name)


@pytest.mark.parametrize("name", ["Antarctica/Nowhere", "Nowhere.Else/Where", "a/b", "Europe", ""])
def test_a_zone_that_is_none_has_nothing_imported(name: str, monkeypatch: Any) -> None:
    """Python looks for zones in packages, which a name from a store could choose."""
    serializer = resolve_serializer("msgpack")

    def forged(zone: str) -> bytes:
        data = extensions.DATETIME_FIELDS.pack(2024, 1, 1, 0, 0, 0, 0, 0) + ormsgpack.packb(zone)
        return bytes((0xC7, len(data), extensions.DATETIME)) + data

    assert serializer.loads_foreign(forged(PRAGUE.key)) == datetime(2024, 1, 1, tzinfo=PRAGUE)
    for _ in range(2):  # the names that Python has are looked up once
        recorder = Recorder()
        monkeypatch.setattr(sys, "meta_path", [recorder, *sys.meta_path])
        with pytest.raises(ValueError, match="ext_hook"):
            serializer.loads_foreign(forged(name))
    assert recorder.names == []


@pytest.mark.parametrize("make", [loop_of_lists, loop_of_tuples, loop_of_keys])
@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_loops_are_refused(name: str, make: Any) -> None:
    """A value that holds itself is refused, without a RecursionError."""
    with pytest.raises(CannotSerialize):
        resolve_serializer(name).dumps(make())


@pytest.mark.parametrize("wrap", [list, tuple, lambda items: {1: items[0]}, lambda x: {"a": x[0]}])
@pytest.mark.parametrize("name", NAMES)
def test_nesting_is_bounded(name: str, wrap: Any) -> None:
    """Nesting beyond measure is refused, without a RecursionError."""
    with pytest.raises(CannotSerialize):
        resolve_serializer(name).dumps(nested(wrap, 100_000))


@pytest.mark.parametrize("wrap", [list, tuple, frozenset, lambda items: {1: items[0]}])
@pytest.mark.parametrize("levels", range(1, 15))
def test_what_msgpack_nests_it_reads(wrap: Any, levels: int) -> None:
    """At every depth a value is either refused or read back."""
    serializer = resolve_serializer("msgpack")
    value = nested(wrap, levels)
    try:
        data = serializer.dumps(value)
    except CannotSerialize:
        assert levels > 12
        assert wrap is not list
    else:
        assert serializer.loads(data) == value


def test_forged_nesting_is_an_error() -> None:
    """Extensions and lists nested beyond measure raise on reading, and exhaust no stack."""
    data = b"\x90"
    for _ in range(200):
        data = ormsgpack.packb(ormsgpack.Ext(1, b"\x91" * 1000 + data))
    with pytest.raises(ValueError, match="ext_hook"):
        resolve_serializer("msgpack").loads(data)


@pytest.mark.parametrize("hold", [lambda rows: rows, lambda rows: {"a": {"b": rows, "c": ""}}])
def test_rows_are_packed_as_one(hold: Any) -> None:
    """A list of tuples of one width has no extension for each of them."""
    serializer = resolve_serializer("msgpack")
    for width in (1, 2, 255):
        one, many = (len(serializer.dumps(hold([(1,) * width] * size))) for size in (10, 1000))
        assert many - one < (990 * width) + 10


@pytest.mark.parametrize(
    "data",
    [
        b"\xc7\x00\x0e",  # no width
        b"\xd4\x0e\x01",  # no items
        b"\xd5\x0e\x02\xc0",  # items that are no list
        b"\xd6\x0e\x01\xa2ab",
        b"\xd8\x0e\x01\x81\xa1x\xc0".ljust(18, b"\xc0"),
        b"\xc7\x05\x0e\x02\x93\x01\x02\x03",  # an item too many
        b"\xc7\x06\x0e\x05\xdd\xff\xff\xff\xff",  # a list that is cut
    ],
)
def test_forged_rows_are_an_error(data: bytes) -> None:
    """What no rows would look like raises ValueError."""
    for loads in (resolve_serializer("msgpack").loads, resolve_serializer("msgpack").loads_foreign):
        with pytest.raises(ValueError):
            loads(data)


def within(data: bytes, times: int, code: int = 1, depth: int = 1000) -> bytes:
    """Return `data` in lists, in an extension, and that in lists, and so on."""
    for _ in range(times):
        data = ormsgpack.packb(ormsgpack.Ext(code, b"\x91" * depth + data))
        data = b"\x91" * depth + data
    return data


_IN_A_SMALL_STACK = """
import sys, threading
from twofold.codecs import resolve_serializer
data = sys.stdin.buffer.read()
def read():
    try:
        resolve_serializer(sys.argv[1]).loads_foreign(data)
    except Exception as error:
        print(type(error).__name__)
threading.stack_size(2 * 1024 * 1024)
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("msgpack", within(b"\xc0", 12, depth=500)),
        ("msgpack", within(b"\xc0", 12, code=4, depth=500)),
        ("msgpack", ormsgpack.packb(ormsgpack.Ext(1, within(b"\xc0", 12, depth=500)))),
        ("msgpack", b"\x91" * 100_000),
        ("msgpack", ormsgpack.packb(ormsgpack.Ext(10, bytes(12) + b"\x91" * 1000))),
        ("json", b"[" * 1_000_000),
        ("json", b'{"a":' * 1_000_000),
    ],
)
def test_no_nesting_overflows_a_small_stack(name: str, data: bytes) -> None:
    """What anybody may write is refused, and never ends a thread with 2 MiB of stack."""
    command = [sys.executable, "-c", _IN_A_SMALL_STACK, name]
    ended = subprocess.run(command, input=data, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) in ((0, b"ValueError\n"), (0, b"RecursionError\n"))


@pytest.mark.parametrize("top", [list, tuple])
@pytest.mark.parametrize("depth", [0, 60, 240, 250])
@pytest.mark.parametrize("wide", [1, 300])
def test_what_is_written_is_read_by_whoever(top: Any, depth: int, wide: int) -> None:
    """However deep, wide and mixed: a value is refused, or read back as a foreign one too."""
    serializer = resolve_serializer("msgpack")
    value: Any = [[number] for number in range(wide)]
    for wrap in (tuple, lambda items: {1: items}, lambda items: (*items, 1), top):
        value = wrap([nested(list, depth), value])
    try:
        data = serializer.dumps(value)
    except CannotSerialize:
        assert depth >= 240
    else:
        assert serializer.loads_foreign(data) == serializer.loads(data) == value


@pytest.mark.parametrize("code", [2, 3, 4])
def test_chosen_hashes_are_refused(code: int) -> None:
    """Thousands of keys with one hash would take quadratic time, and are an error."""
    keys = [ormsgpack.Ext(6, (n * (2**61 - 1)).to_bytes(12, "big")) for n in range(5000)]
    parts = [each for key in keys for each in (key, None)] if code == 4 else keys
    data = ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))
    with pytest.raises(ValueError):
        resolve_serializer("msgpack").loads_foreign(data)


def test_many_keys_are_read() -> None:
    """Large sets and dicts of numbers are no attack."""
    serializer = resolve_serializer("msgpack")
    for value in (set(range(-5000, 5000)), dict.fromkeys(range(10_000)), frozenset(range(9999))):
        assert serializer.loads_foreign(serializer.dumps(value)) == value


@pytest.mark.parametrize(
    "make", [b"\x90", b"\x80", b"\x81\xa0\xc0", b"\xa1x", b"\xd4\x08\x31", b"\xcb" + bytes(8)]
)
def test_what_is_built_is_known_before(make: bytes) -> None:
    """The bound on what bytes become holds for each kind of element."""
    count = 10_000
    data = struct.pack(">BI", 0xDD, count) + make * count
    tracemalloc.start()
    try:
        value = resolve_serializer("msgpack").loads_foreign(data)
        built = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(value) == count
    assert built < 128 * len(data)
    with pytest.raises(ValueError, match="builds more"):
        check_built(struct.pack(">BI", 0xDD, 9000) + make * 9000, frozenset(), built // 4)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 8])
def test_what_rows_build_is_known_before(width: int) -> None:
    """Tuples cost more than their bytes, and the bound counts them."""
    serializer = resolve_serializer("msgpack")
    data = serializer.dumps([(0,) * width for _ in range(60_000 // width)])
    tracemalloc.start()
    try:
        value = serializer.loads_foreign(data)
        built = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(value) == 60_000 // width
    for hidden in (data, b"\x92\xc4\x05\xc9\x00\x00\x00\x0e" + data, b"\x92\xa1\x0e" + data):
        with pytest.raises(ValueError, match="builds more"):
            check_built(hidden, extensions.CONTAINERS, built)


def test_a_look_for_rows_is_bounded() -> None:
    """Where too many bytes might begin rows, they are taken for such."""
    data = b"\xc6" + struct.pack(">I", 300_000) + b"\x0e" * 300_000
    check_built(data, extensions.CONTAINERS, 81 * len(data))
    data = b"\xdd" + struct.pack(">I", 300_000) + b"\x0e" * 300_000
    with pytest.raises(ValueError, match="builds more"):
        check_built(data, extensions.CONTAINERS, 2_000_000)


class Stop(BaseException):
    """What a handler raises."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Have SIGUSR1 raise `Stop`."""

    def stop(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("alarm")
def test_interrupts_pass_through_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal's handler raises while a tuple is read or written is what comes out."""
    serializer = resolve_serializer("msgpack")
    data = serializer.dumps([(1, 2)])

    def interrupted(*_: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setitem(unpacking._MAKERS, 1, interrupted)
    monkeypatch.setitem(unpacking._FOREIGN_MAKERS, 1, interrupted)
    for loads in (serializer.loads, serializer.loads_foreign):
        with pytest.raises(Stop):
            loads(data)
    monkeypatch.setattr(msgpack, "_write", interrupted)
    with pytest.raises(Stop):
        serializer.dumps([1j])
    monkeypatch.undo()
    assert serializer.loads(data) == [(1, 2)]


def test_an_interrupt_before_a_hooks_first_step_is_no_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `ormsgpack` lost says nothing about the data, which are read again."""
    serializer = resolve_serializer("msgpack")
    data = serializer.dumps([(1, 2)])
    lost = iter([True])

    def unpackb(data: bytes, **hook: Any) -> Any:
        if next(lost, False):
            raise ormsgpack.MsgpackDecodeError("ext_hook failed")
        return ormsgpack.unpackb(data, **hook)

    monkeypatch.setattr(msgpack, "unpackb", unpackb)
    assert serializer.loads(data) == [(1, 2)]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xd4\x63\x00", b"\xd4\x04\x01", b"\xa5ab"])
def test_damaged_msgpack_raises(data: bytes) -> None:
    """Damaged bytes and unknown extensions raise ValueError."""
    with pytest.raises(ValueError):
        resolve_serializer("msgpack").loads(data)


@pytest.mark.parametrize("name", [*NAMES, "foreign"])
def test_awaitables_are_refused(name: str) -> None:
    """A coroutine or other awaitable is never stored; the error names the async twin."""
    theirs = SimpleNamespace(dumps=bytes, loads=bytes)
    serializer = resolve_serializer(theirs if name == "foreign" else name)

    async def work() -> None: ...

    coroutine = work()
    for value in (coroutine, Promise()):
        with pytest.raises(CannotSerialize, match="aget_or_set"):
            serializer.dumps(value)
    coroutine.close()


@pytest.mark.parametrize("value", [lambda: 1, sys])
def test_pickle_errors_are_ours(value: Any) -> None:
    """What pickle cannot hold raises CannotSerialize, which does not advise pickle."""
    with pytest.raises(CannotSerialize, match="'pickle' cannot hold") as caught:
        resolve_serializer("pickle").dumps(value)
    assert "SERIALIZER 'pickle'" not in str(caught.value)


def test_memory_errors_pass() -> None:
    """Running out of memory is no property of the value, and passes as it is."""

    class Big:
        def __reduce__(self) -> Any:
            raise MemoryError

    def dumps(_value: Any) -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        resolve_serializer("pickle").dumps(Big())
    with pytest.raises(MemoryError):
        resolve_serializer(SimpleNamespace(dumps=dumps, loads=len)).dumps(1)


@dataclasses.dataclass(frozen=True)
class Frozen:
    held: object


class Pair(NamedTuple):
    one: object
    other: object


KEPT = [
    (1, True),
    ("x", True),
    (b"x", True),
    (None, True),
    (1.5, True),
    (Decimal(1), True),
    (datetime(2024, 1, 1, tzinfo=PRAGUE), True),
    (time(1, tzinfo=UTC), True),
    (datetime(2024, 1, 1, tzinfo=Hours()), False),
    ((1, "x", None), True),
    ((1, (2, frozenset({3}))), True),
    ((1, [2]), False),
    (nested(tuple, 5000), False),
    (frozenset({1}), True),
    (Text("x"), False),
    (Level.LOW, True),
    (PurePosixPath("a"), True),
    (Frozen((1,)), True),
    (Frozen([1]), False),
    (Pair(1, "x"), True),
    (Pair(1, []), False),
    ([], False),
    ({}, False),
    (set(), False),
    (bytearray(), False),
    (Point(1), False),
]


@pytest.mark.parametrize(("value", "kept"), KEPT)
@pytest.mark.parametrize("name", ["msgpack", "pickle"])
def test_only_immutables_are_kept(name: str, value: Any, kept: bool) -> None:
    """A store in the process may hold values that nobody can change, and no others."""
    assert resolve_serializer(name).may_share(value) is kept


@pytest.mark.parametrize(
    ("value", "kept"), [(1, True), ("x", True), (1.5, True), (math.nan, False), (b"x", False)]
)
def test_json_keeps_what_it_can_express(value: Any, kept: bool) -> None:
    """With JSON, only what JSON brings back is kept."""
    assert resolve_serializer("json").may_share(value) is kept


class Reversed:
    """A serializer of a third party."""

    def dumps(self, value: str) -> bytes:
        return value[::-1].encode()

    def loads(self, data: bytes) -> str:
        return data.decode()[::-1]


reversing = Reversed()


class Unmakeable(Reversed):
    def __init__(self) -> None:
        raise LookupError("no key")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module of a third party that can be imported by its name."""
    module = ModuleType("third_party_codec")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(
        Reversed=Reversed, reversing=reversing, Unmakeable=Unmakeable, dumps=str.encode, loads=len
    )
    return module


@pytest.mark.parametrize("path", ["Reversed", "reversing"])
def test_dotted_paths_resolve(module: ModuleType, path: str) -> None:
    """A dotted path leads to a class, which is called, or to an object."""
    for wanted in (f"{module.__name__}.{path}", f"{module.__name__}:{path}"):
        serializer = resolve_serializer(wanted)
        assert serializer.dumps("abc") == b"cba"
        assert serializer.loads(b"cba") == "abc"
        assert not serializer.may_share("abc")
        assert ":" in serializer.name


def test_objects_resolve(module: ModuleType) -> None:
    """Objects, classes and modules with dumps and loads are serializers, built-in ones too."""
    assert resolve_serializer(reversing).dumps("abc") == b"cba"
    assert resolve_serializer(Reversed).dumps("abc") == b"cba"
    assert resolve_serializer(module).name == "third_party_codec:"
    json = resolve_serializer("json")
    assert resolve_serializer(json) is json
    assert resolve_serializer(type(json)).name == "json"
    theirs = resolve_serializer(reversing)
    assert resolve_serializer(theirs) is theirs


def test_foreign_keeps_is_asked() -> None:
    """A third party's serializer that has `may_share` decides what is kept."""
    theirs = SimpleNamespace(dumps=len, loads=len, may_share=lambda value: value == 1)
    assert resolve_serializer(theirs).may_share(1)
    assert not resolve_serializer(theirs).may_share(2)


@pytest.mark.parametrize("dumps", [str, bytearray, lambda _: None, lambda value: value / 0])
def test_foreign_dumps_must_return_bytes(dumps: Any) -> None:
    """A third party's failure, or anything but bytes, is CannotSerialize."""
    with pytest.raises(CannotSerialize, match="SimpleNamespace"):
        resolve_serializer(SimpleNamespace(dumps=dumps, loads=len)).dumps(1)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("msgpak", "did you mean 'msgpack'"),
        ("yaml", "'msgpack', 'json', 'pickle'"),
        ("", "dotted path"),
        ("no.such.module", "cannot be imported"),
        ("third_party_codec.Missing", "cannot be imported"),
        ("third_party_codec.", "cannot be imported"),
        ("third_party_codec.Unmakeable", "LookupError: no key"),
        ("math.pi", "has no dumps"),
        (None, "has no dumps"),
        (7, "has no dumps"),
    ],
)
@pytest.mark.usefixtures("module")
def test_wrong_serializers_are_named(wanted: Any, message: str) -> None:
    """A serializer that cannot be is a SettingsError that says what to do."""
    with pytest.raises(SettingsError, match=message) as caught:
        resolve_serializer(wanted)
    assert "SERIALIZER" in str(caught.value)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("data", [b"", b"x", b"hello " * 1000, bytes(range(256)) * 10])
def test_compressors_bring_back(name: str, data: bytes) -> None:
    """What was compressed comes back, up to the very limit."""
    compressor = resolve_compressor(name)
    assert compressor is not None
    assert compressor.name == name
    assert compressor.decompress(compressor.compress(data), len(data)) == data


def bomb(name: str) -> bytes:
    """Return few bytes that unpack to 32 MiB."""
    compressor = resolve_compressor(name)
    assert compressor is not None
    return compressor.compress(bytes(32 * MEBIBYTE))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_bombs_are_bounded(name: str) -> None:
    """What unpacks to more than the limit is refused, and takes no memory to speak of."""
    compressor, data = resolve_compressor(name), bomb(name)
    assert compressor is not None
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than"):
            compressor.decompress(data, MEBIBYTE)
        assert tracemalloc.get_traced_memory()[1] < 4 * MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", COMPRESSORS)
def test_damage_is_a_value_error(name: str) -> None:
    """Cut, overlong, empty or other bytes raise ValueError, and spoil no later call."""
    compressor = resolve_compressor(name)
    assert compressor is not None
    packed = compressor.compress(b"hello " * 1000)
    for data in (packed[:-1], packed + b"x", packed[: len(packed) // 2], b"", b"nonsense"):
        with pytest.raises(ValueError):
            compressor.decompress(data, MEBIBYTE)
    assert compressor.decompress(packed, MEBIBYTE) == b"hello " * 1000


def test_zstd_without_a_size_is_refused() -> None:
    """A zstd frame that hides its size is refused before it is unpacked."""
    import zstandard

    stream = zstandard.ZstdCompressor().compressobj()
    data = stream.compress(bytes(1000)) + stream.flush()
    compressor = resolve_compressor("zstd")
    assert compressor is not None
    with pytest.raises(ValueError, match="hides"):
        compressor.decompress(data, MEBIBYTE)


def test_zlib_is_plain_zlib() -> None:
    """Other tools can read what the zlib compressor writes."""
    compressor = resolve_compressor("zlib")
    assert compressor is not None
    assert zlib.decompress(compressor.compress(b"abc")) == b"abc"


def test_no_compressor() -> None:
    """None stands for no compressor."""
    assert resolve_compressor(None) is None


@pytest.mark.parametrize(("name", "hint"), [("zstandard", "zstd"), ("lz", "lz4"), (5, "None")])
def test_wrong_compressors_are_named(name: Any, hint: str) -> None:
    """An unknown compressor is a SettingsError that names the right ones."""
    with pytest.raises(SettingsError, match=f"COMPRESSOR {name!r}.*{hint}"):
        resolve_compressor(name)


@pytest.mark.parametrize(("name", "module"), [("zstd", "zstandard"), ("lz4", "lz4.block")])
def test_missing_driver_names_the_extra(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressor without its package says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=rf"pip install '\.\[{name}\]'"):
        resolve_compressor(name)
