"""Keys: the normaliser, the keys of an alias, and the keys of calls."""

import copy
import enum
import functools
import inspect
import math
import re
import subprocess
import sys
import uuid
import weakref
import zipapp
from collections import OrderedDict, namedtuple
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath, PureWindowsPath
from typing import Generic, NamedTuple, TypeVar
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import attrs
import lazy_object_proxy
import msgspec
import pydantic
import pytest
import wrapt
from django.utils.functional import SimpleLazyObject
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.local import LocalProxy

from twofold.errors import InvalidKey, SettingsError, UnstableArgument
from twofold.keys import PROCESS, CallKeys, FullKeys, KeyMaker, TagTemplates, calls, normalise
from twofold.keys import maker as keys
from twofold.keys.kinds import is_lock

T = TypeVar("T")
HEX = "0123456789abcdef" * 2 + "01234567"
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=300)


def is_normal(key):
    return 0 < len(key) <= 250 and re.fullmatch(r"[\x21-\x7e]+", key) is not None


@given(ANY_TEXT.filter(bool))
@settings(max_examples=300, deadline=None)
def test_normalised_keys_are_short_printable_ascii(key):
    """Whatever the key, its normalised form is one that every store can hold."""
    assert is_normal(normalise(key))


@given(st.sets(ANY_TEXT.filter(bool), min_size=2, max_size=8))
@settings(max_examples=200, deadline=None)
def test_different_keys_stay_different(raw):
    """No two keys become one, not even when normalised ones are used as keys."""
    raw |= {normalise(key) for key in raw}
    digested = {key for key in raw if normalise(key) != key}
    assert len({normalise(key) for key in digested}) == len(digested)
    assert not {normalise(key) for key in digested} & (raw - digested)


@pytest.mark.parametrize("key", ["a", "~" * 250, "a#" + "g" * 40, "#" + "0" * 39, "x#" + "0" * 41])
def test_a_plain_key_stays_as_it_is(key):
    """A key that every store can hold is not touched."""
    assert normalise(key) == key


@pytest.mark.parametrize(
    ("key", "head"),
    [
        ("a b\n", "a_b_"),
        ("naïve", "na_ve"),
        ("x" * 251, "x" * 209),
        ("\ud800", "_"),
        ("\x7f", "_"),
        ("a#" + HEX, "a#" + HEX),
        ("#" + HEX.upper(), "#" + HEX.upper()),
    ],
)
def test_any_other_key_becomes_a_head_and_a_digest(key, head):
    """What a store could not hold, or could be taken for a digest, is digested."""
    assert re.fullmatch(re.escape(head) + "#[0-9a-f]{40}", normalise(key))


def test_a_digest_is_the_same_in_every_process():
    """The normalised form of a key is part of what is stored, and never changes."""
    assert normalise("a b") == "a_b#407024d66cde17bdcf02effc1c376cb80387f3ec"


def test_keys_are_prefix_version_and_key():
    """A key is made of the prefix, the version and the caller's key."""
    maker = KeyMaker("shop", 2)
    assert maker("k") == maker("k") == "shop:2:k"
    assert maker("k", 3) == maker("k", version=3) == "shop:3:k"
    assert KeyMaker()("k") == ":1:k"
    assert repr(maker) == "KeyMaker('shop', 2)"


def test_a_text_subclass_is_the_text_it_holds():
    """A member of a str enumeration is the same key as its value."""
    user = enum.Enum("Kind", {"USER": "user"}, type=str).USER
    assert KeyMaker()(user) == KeyMaker()(user, 1) == KeyMaker()("user")


@pytest.mark.parametrize("key", [b"k", 1, None, ["k"], "", ("k",)])
@pytest.mark.parametrize("version", [None, 1])
def test_a_key_that_is_no_text_is_refused(key, version):
    """An empty key, or one of another type, is refused in every method."""
    for make in (KeyMaker(), KeyMaker("", 1, lambda key, prefix, version: "k")):
        with pytest.raises(InvalidKey, match="key is"):
            make(key, version)
        with pytest.raises(InvalidKey, match="key is"):
            make.lock(key)


@pytest.mark.parametrize("version", [True, "1", 1.0, 2**63])
def test_a_version_is_an_int(version):
    """A bool, text, a float and a giant are no versions."""
    with pytest.raises(InvalidKey, match="version"):
        KeyMaker()("k", version)
    with pytest.raises(SettingsError, match="VERSION"):
        KeyMaker("", version)


@pytest.mark.parametrize("prefix", ["a:b", "a!b", "a b", "é", "x" * 65, 7, None])
def test_a_prefix_that_would_blur_keys_is_refused(prefix):
    """A prefix cannot hold what separates it from the rest of a key."""
    with pytest.raises(SettingsError, match="KEY_PREFIX"):
        KeyMaker(prefix)


def test_kept_keys_are_bounded(monkeypatch):
    """A maker remembers only so many keys, none of them long, and all of them right."""
    monkeypatch.setattr(keys, "_MEMO_KEYS", 10)
    maker = KeyMaker("p")
    for number in range(100):
        assert maker(f"{number}") == f"p:1:{number}"
        assert len(maker.known) <= 10
    maker("x" * 1000)
    assert "x" * 1000 not in maker.known


def test_a_key_function_makes_the_whole_key_each_time():
    """KEY_FUNCTION gets Django's arguments, is asked anew for every key, and its keys fit."""
    tenant = ["a"]
    maker = KeyMaker("p", 1, lambda key, prefix, version: f"{tenant[0]} {key}{prefix}{version}")
    first = maker("k")
    assert first == normalise("a kp1")
    tenant[0] = "b"
    assert maker("k") == normalise("b kp1")
    assert maker("k", 2) == normalise("b kp2")


@pytest.mark.parametrize("made", ["", None, b"k"])
def test_a_key_function_must_return_text(made):
    """What is no non-empty str is refused by the setting's name."""
    with pytest.raises(InvalidKey, match="KEY_FUNCTION"):
        KeyMaker("", 1, lambda key, prefix, version: made)("k")


@given(ANY_TEXT.filter(bool), st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=200, deadline=None)
def test_every_key_is_in_the_scope_and_no_lock_is(key, version):
    """All values' keys begin with the scope; no lock's does."""
    maker = KeyMaker("p" * 64)
    assert maker(key, version).startswith(maker.scope())
    assert not maker.lock(key).startswith(maker.scope())
    assert is_normal(maker.lock(key))


@given(ANY_TEXT.filter(bool), ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_a_prefix_finds_every_key_that_begins_with_it(start, rest):
    """Digested or not, a key begins with the prefix of its own beginning."""
    maker = KeyMaker("p")
    assert maker(start + rest).startswith(maker.prefix(start))
    assert maker(start + rest, 7).startswith(maker.prefix(start, 7))


def test_a_key_function_leaves_no_prefix_to_clear_by():
    """With KEY_FUNCTION, clearing by prefix is refused and names the option to set."""
    maker = KeyMaker("p", 1, lambda key, prefix, version: key)
    with pytest.raises(SettingsError, match=r'OPTIONS\["clear"\] = "flush"'):
        maker.scope()
    with pytest.raises(SettingsError, match="KEY_FUNCTION"):
        maker.prefix("k")
    assert maker.lock("k") == "p!lock:k"


LOCK_LIKE = st.lists(
    st.sampled_from(
        ["!", ":", "lock:", "claim:", "!lock:", "!claim:", "_", "#", "p", "é", "x" * 99]
    )
).map("".join)


@pytest.mark.parametrize(
    "make", [FullKeys("p"), KeyMaker("p", 1, lambda key, prefix, version: key)]
)
@given(st.lists(LOCK_LIKE.filter(bool), min_size=2, max_size=6, unique=True))
@settings(max_examples=200, deadline=None)
def test_values_locks_and_leases_never_meet(make, texts):
    """Whoever makes the keys: all are told apart, and only locks and claims look like such."""
    values = [make(text) for text in texts]
    held = [make.lock(text) for text in texts] + [make.claim(value) for value in values]
    assert len({*values, *held}) == 3 * len(texts)
    assert not any(map(is_lock, values))
    assert all(map(is_lock, held))
    assert all(map(is_normal, values + held))


@given(LOCK_LIKE.filter(bool), LOCK_LIKE)
@settings(max_examples=200, deadline=None)
def test_a_prefix_finds_every_full_key_that_begins_with_it(start, rest):
    """A full key begins with the prefix of its beginning, though it looks like a lock's."""
    assert FullKeys()(start + rest).startswith(FullKeys().prefix(start))


@pytest.mark.parametrize("prefix", ["p", "", "a:b", "a!lock", "a!b:c", "x" * 200, "x" * 240])
@pytest.mark.parametrize("key", ["k", "k" * 300, "with blank", "\u00e9"])
def test_full_keys_begin_as_they_say(prefix: str, key: str) -> None:
    """Who watches the beginnings is told of each key, also where it is digested."""
    keys = FullKeys("p", common=f"{prefix}:")
    assert keys(f"{prefix}:1:{key}").startswith(keys.beginnings())
    assert keys.tag(key).startswith(keys.beginnings())
    assert FullKeys("p").beginnings() == ("",)


def test_a_value_whose_key_looks_like_a_locks_stays_readable():
    """What is changed in such a key is one character, and the digest tells which."""
    keys = FullKeys()
    made = keys("shop!lock:pay")
    assert keys("shop!lock:pay") == made  # also when it is remembered
    assert made.startswith("shop!lock_pay#")
    assert FullKeys()(made) != made


class Color(enum.Enum):
    RED = 1
    CRIMSON = RED
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: object
    y: object = field(default=0, repr=False)

    @functools.cached_property
    def norm(self):
        return 5


@dataclass(frozen=True, slots=True)
class Slotted:
    x: object


class Bare(Point):
    pass


@dataclass
class Listed(list):
    x: int = 0


Row = namedtuple("Row", "a b")


class Name(str):
    pass


class Small(int):
    pass


class Ratio(float):
    pass


class Raw(bytes):
    pass


class Marked(str):
    __slots__ = ("mark",)


class Item:
    def __init__(self, number):
        self.number = number

    def __cache_key__(self):
        return self.number


class Vain:
    def __repr__(self):
        return "Vain()"


class Zone(tzinfo):
    def utcoffset(self, when):
        return timedelta(hours=1)

    def tzname(self, when):
        return "Zone"


def module_level():
    pass


def anything(x):
    pass


X = CallKeys(anything)


def text_of(value):
    """Return the encoding of `value` in a key."""
    return X.of((value,), {})[len(X.prefix) + 2 : -1]


BERLIN, PARIS = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Paris")
DISTINCT = [
    *(None, True, False, 0, 1, -1, 2**200, -(2**200), 10**5000),
    *(0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 1e16, 10**16),
    *(1j, complex(0.0, -0.0), 1 + 0j, (1, 1j)),
    *("", "1", "True", "None", "a:b", "a,b", "a b", "a\\x20b", "'", '"', "'\"", "é", "\ud800"),
    *("\\xe9", "[]", "()", "b''", "1.0", "x='y'", "\n", "\\n"),
    *(b"", b"1", b"a b", b"a\\x20b", b"\xff"),
    *((), (1,), ((1,),), [], [1], [[1]], ["a", "b"], ("a", "b"), ["a:b"], ["a,b"], "a','b"),
    *({}, set(), frozenset(), {1}, frozenset({1}), {1: 2}, {"1": 2}, {1: "2"}, {(1, 2): 3}),
    *({True: 1}, {None: 1}, {"a": {"b": 1}}, {"a": 1, "b": 2}, {"a": (1, "b", 2)}),
    *(Decimal("1"), Decimal("1.0"), Decimal("NaN"), uuid.UUID(int=1), uuid.UUID(int=2)),
    *(date(2020, 1, 1), datetime(2020, 1, 1), time(0), time(0, fold=1), time(0, tzinfo=UTC)),
    *(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=timezone(timedelta(0), "Z"))),
    *(datetime(2020, 1, 1, tzinfo=BERLIN), datetime(2020, 1, 1, tzinfo=PARIS)),
    *(datetime(2020, 10, 25, 2, tzinfo=BERLIN), datetime(2020, 10, 25, 2, tzinfo=BERLIN, fold=1)),
    *(timedelta(1), timedelta(0, 1), timedelta(0, 0, 1), timedelta(-1)),
    *(
        Color.RED,
        Color.BLUE,
        Level.LOW,
        Right.READ,
        Right.WRITE,
        Right.READ | Right.WRITE,
        Right(0),
    ),
    *(Point(1), Point("1"), Point(1, 1), Bare(1), Slotted(1), Row(1, 2), Row(1, "2")),
    *(Name("1"), Small(1), Ratio(1), Raw(b"1"), Item(1), Item("1")),
    *(PurePosixPath("a"), PureWindowsPath("a"), range(3), range(0, 3, 2), re.compile("a")),
    *(
        re.compile("a", re.I),
        re.compile(b"a"),
        int,
        Color,
        Item,
        module_level,
        len,
    ),
]


def test_values_that_differ_never_meet():
    """Values of different type or content have different encodings."""
    texts = [text_of(value) for value in DISTINCT]
    doubles = {text for text in texts if texts.count(text) > 1}
    assert not doubles
    assert all(is_normal(text) or len(text) > 250 for text in texts)


@pytest.mark.parametrize("wrap", [lambda each: (each,), lambda each: [each], Point, Item])
def test_nested_values_that_differ_never_meet(wrap):
    """A container tells its contents apart as well as they are told apart alone."""
    assert len({text_of(wrap(value)) for value in DISTINCT}) == len(DISTINCT)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary(),
    lambda each: (
        st.lists(each, max_size=4)
        | st.lists(each, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.booleans(), each, max_size=4)
    ),
    max_leaves=8,
)


@given(VALUES, VALUES)
@settings(max_examples=300, deadline=None)
def test_encodings_are_equal_just_when_values_are(one, other):
    """Two values of plain types share an encoding if, and only if, they are the same."""
    assert (text_of(one) == text_of(other)) == (canonical(one) == canonical(other))


def canonical(value):
    """Return `value` in a form whose equality is identity of type and content."""
    if isinstance(value, dict):
        return "dict", sorted(repr((canonical(k), canonical(v))) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value).__name__, [canonical(each) for each in value]
    return type(value).__name__, repr(value)


def test_equal_content_has_one_encoding():
    """The order of a set or dict, an alias of an enum and a cached property do not count."""
    assert text_of({"a": 1, "b": 2}) == text_of({"b": 2, "a": 1})
    assert text_of({1, "a", None}) == text_of({None, "a", 1})
    assert text_of(Color.CRIMSON) == text_of(Color.RED)
    used = Point(3)
    assert used.norm == 5
    assert text_of(used) == text_of(Point(3))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        ("a b", r"'a\x20b'"),
        ((1, "a"), "(1,'a')"),
        ({"b": 1, "a": [None]}, "{'a':[None],'b':1}"),
        ({2, 1}, "set(1,2)"),
        (
            datetime(2020, 1, 1, 12, tzinfo=BERLIN),
            "datetime(2020-01-01T12:00:00+01:00,zoneinfo.ZoneInfo('Europe/Berlin'))",
        ),
        (Point(1), f"{__name__}.Point(x=1,y=0)"),
        (Color.RED, f"{__name__}.Color.RED"),
        (Item((1, 2)), f"{__name__}.Item((1,2))"),
        (Decimal("1.50"), "Decimal(1.50)"),
        (int, "builtins.int"),
    ],
)
def test_encodings_stay_as_they_are(value, text):
    """The encoding of a value is part of what is stored, and does not change."""
    assert text_of(value) == text


def cycle():
    ring = []
    ring.append(ring)
    return ring


def marked():
    value = Marked("a")
    value.mark = 1
    return value


def named():
    value = Name("a")
    value.more = 1
    return value


def grown():
    value = Bare(1)
    object.__setattr__(value, "more", 1)
    return value


@dataclass
class Owner:
    pet: object


def make_local_function():
    def local():
        pass

    return local


local_function = make_local_function()


def local_point():
    @dataclass
    class Local:
        x: int

    return Local(1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (object, "object cannot be told"),
        (Vain, "Vain cannot be told"),
        (lambda: [Vain()], "Vain cannot be told"),
        (lambda: {"a": (Vain(),)}, "Vain cannot be told"),
        (lambda: Owner(Vain()), "Vain cannot be told"),
        (lambda: bytearray(b"a"), "bytearray"),
        (lambda: Fraction(1, 2), "Fraction"),
        (lambda: OrderedDict(a=1), "OrderedDict"),
        (lambda: Listed(1), "Listed"),
        (lambda: (each for each in "a"), "generator"),
        (lambda: "a".upper, "not found"),
        (lambda: Item(1).__cache_key__, "method"),
        (lambda: lambda: 1, "not found"),
        (lambda: local_function, "not found"),
        (lambda: type("Color", (), {}), "not found"),
        (local_point, "local"),
        (marked, "carries 'mark'"),
        (named, "carries 'more'"),
        (grown, "carries 'more'"),
        (cycle, "nested in itself"),
        (lambda: functools.reduce(lambda inner, _: [inner], range(100), 1), "levels deep"),
        (lambda: functools.reduce(lambda inner, _: [inner], range(100_000), 1), "levels deep"),
        (lambda: datetime(2020, 1, 1, tzinfo=Zone()), "time zone"),
        (lambda: functools.partial(int, 1), "partial"),
    ],
)
def test_an_argument_without_identity_is_refused(make, reason):
    """What has no structural identity is refused, whatever its repr and hash say."""
    with pytest.raises(UnstableArgument, match=reason):
        text_of(make())


def laughs(levels, wrap):
    """Return a small value whose content, written out, has 2 ** levels parts."""
    return functools.reduce(lambda inner, _: wrap(inner), range(levels), 1)


def calls_of(work):
    """Return how many calls of functions `work` takes."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


WRAPS = [
    lambda inner: [inner, inner],
    lambda inner: (inner, inner),
    lambda inner: {"a": inner, "b": inner},
    lambda inner: Point(inner, inner),
    lambda inner: Row(inner, inner),
    lambda inner: Item([inner, inner]),
    lambda inner: frozenset({(inner, 1), (inner, 2)}),
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_shared_parts_are_encoded_once(wrap):
    """Twice as many levels of parts that are held twice cost twice as much, and stay short."""
    few, many = laughs(14, wrap), laughs(28, wrap)
    if not isinstance(few, frozenset):  # whose hash is of its whole content
        assert calls_of(lambda: text_of(many)) < 3 * calls_of(lambda: text_of(few))
        assert len(text_of(many)) <= 1024
    assert text_of(few) == text_of(copy.deepcopy(few)) != text_of(laughs(13, wrap))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 2_000_000,
        b"x" * 2_000_000,
        1 << 8_000_000,
        range(1 << 8_000_000),
        Decimal((0, (1,) * 100_000, 0)),
        ["x"] * 500_000,
        {str(number) for number in range(100_000)},
        dict.fromkeys(range(100_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_large_values_have_short_texts(value):
    """What is long stands in a key by a digest of 160 bits, told from the text of the digest."""
    text = text_of(value)
    assert len(text) <= 1024
    assert text == text_of(copy.copy(value))
    assert text_of(text) != text
    assert re.search(r"#[0-9a-f]{40}", text)


def test_a_long_value_is_told_from_its_likes():
    """Long texts, bytes and lists that differ in one place, or in type, never meet."""
    long = ["a" * 3000, "a" * 2999 + "b", b"a" * 3000, list("a" * 3000), tuple("a" * 3000)]
    assert len({text_of(value) for value in [*long, *([each] for each in long)]}) == 10


def test_a_proxy_is_keyed_by_the_object_within():
    """Lazy objects, context locals and wrappers stand for what they hold, also within others."""
    for inner in (Item(7), "text", 3, ["a", 1], Point(1), Color.RED, int):
        proxies = [
            SimpleLazyObject(lambda inner=inner: inner),
            LocalProxy(lambda inner=inner: inner),
            wrapt.ObjectProxy(inner),
            wrapt.CallableObjectProxy(inner),
            lazy_object_proxy.Proxy(lambda inner=inner: inner),
            SimpleLazyObject(lambda inner=inner: wrapt.ObjectProxy(inner)),
        ]
        for proxy in proxies:
            assert text_of(proxy) == text_of(inner)
            assert text_of([proxy]) == text_of([inner])


def test_a_proxy_of_what_has_no_identity_is_refused():
    """A proxy gives no identity to what has none, and one of nothing yet raises its own error."""
    with pytest.raises(UnstableArgument, match="Vain cannot be told"):
        text_of(SimpleLazyObject(Vain))
    with pytest.raises(RuntimeError, match="not bound"):
        text_of(LocalProxy(ContextVar("user")))


@pytest.mark.parametrize("kind", [uuid.UUID, Color, Color.RED, str, int, bool, type, text_of])
def test_what_only_claims_a_class_has_no_identity(kind):
    """A mock tells the class that it stands for; its own content cannot be told."""
    with pytest.raises(UnstableArgument, match="Mock cannot be told"):
        text_of(Mock(spec=kind))


def test_a_weak_proxy_has_no_identity():
    """What may be gone at the next call gives no identity, whatever class it claims."""
    text = type("Text", (str,), {})("a")
    with pytest.raises(UnstableArgument, match="ProxyType cannot be told"):
        text_of(weakref.proxy(text))


def test_a_class_that_was_wrapped_is_no_proxy():
    """`__wrapped__` on a class, as `functools.wraps` leaves it, is not what stands in the key."""
    wrapped = functools.update_wrapper(type("Wrapped", (Item,), {}), Item, updated=())
    assert text_of(wrapped(1)) != text_of(Item)
    assert text_of(wrapped(1)).endswith("Item(1)")


@dataclass
class Box(Generic[T]):
    item: T


class Pair(NamedTuple, Generic[T]):
    item: T


def test_type_arguments_are_no_state():
    """An instance made by way of `Box[int]` is the equal of one that was not."""
    assert text_of(Box[int](1)) == text_of(Box(1))
    assert text_of(Pair[int](1)) == text_of(Pair(1))
    assert text_of([Box[int](1), Box[str](2)]) == text_of([Box(1), Box(2)])


def test_a_refusal_shows_the_three_ways_out():
    """The message names function, parameter and type, and what can be done."""

    def price(item, db):
        pass

    with pytest.raises(UnstableArgument) as caught:
        CallKeys(price).of((1, Vain()), {})
    message = str(caught.value)
    assert f"price: the argument 'db', of type {__name__}.Vain, " in message
    assert "write a key= of what identifies it;" in message
    assert 'ignore=("db",)' in message
    assert "__cache_key__" in message


class Model(pydantic.BaseModel):
    name: str
    size: int = 1


class Recorded:
    """An object of a database."""

    id = 7


@pytest.mark.parametrize(
    ("thing", "template"),
    [
        (Model(name="x"), "price:{thing.name}:{thing.size}"),
        (msgspec.defstruct("S", ["a"])(1), "price:{thing.a}"),
        (attrs.make_class("A", ["a"])(1), "price:{thing.a}"),
        (Recorded(), "price:{thing.id}"),
        (wrapt.ObjectProxy(Recorded()), "price:{thing.id}"),
    ],
)
def test_the_advised_template_has_fields_that_there_are(thing, template):
    """What the message says to write makes a key."""

    def price(thing):
        pass

    with pytest.raises(UnstableArgument) as caught:
        CallKeys(price).of((thing,), {})
    assert f'such as key="{template}"; or' in str(caught.value)
    assert CallKeys(price, key=template).of((thing,), {}).startswith("price:")


def test_the_advised_template_has_arguments_that_there_are():
    """One of extra keywords is looked up, a field's fields are its own; `*args` have no names."""

    def price(*things, **more):
        pass

    for key, args, kwargs, template in (
        (None, (), {"db": Recorded()}, "price:{more[db].id}"),
        ("{more[db]}", (), {"db": Recorded()}, "price:{more[db].id}"),
        ("{things[0]}", (Recorded(),), {}, "price:{things[0].id}"),
    ):
        with pytest.raises(UnstableArgument) as caught:
            CallKeys(price, key=key).of(args, kwargs)
        assert f'such as key="{template}"; or' in str(caught.value)
        assert CallKeys(price, key=template).of(args, kwargs).startswith("price:")
    with pytest.raises(UnstableArgument, match="a key= of what identifies it; or leave"):
        CallKeys(price).of((Recorded(),), {})


def test_no_template_of_many_fields_is_advised():
    """A method of the class is the better way there."""

    def price(thing):
        pass

    with pytest.raises(UnstableArgument, match="a key= of what identifies it; or leave"):
        CallKeys(price).of((msgspec.defstruct("S", [*"abcdef"])(*range(6)),), {})


def test_a_field_that_is_not_there_is_named():
    """The error tells of the template, and what the argument said."""

    def price(thing):
        pass

    for named in ("thing.nope", "thing[nope]"):
        with pytest.raises(UnstableArgument, match=re.escape(f"{{{named}}}, and there is none")):
            CallKeys(price, key=f"price:{{{named}}}").of(({},), {})
        with pytest.raises(UnstableArgument, match=re.escape(f"{{{named}}}, and there is none")):
            TagTemplates(price, "price", [f"price:{{{named}}}"]).of(({},), {})


def prices(item, net=True, *more, unit="kg", **extra):
    pass


def pair(x, y=2):
    pass


def test_the_way_of_calling_does_not_count():
    """Arguments by position, by name and by default make one key."""
    pairs = CallKeys(pair)
    want = f"{__name__}.pair(x=1,y=2)"
    calls = [((1,), {}), ((1, 2), {}), ((), {"y": 2, "x": 1}), ((1,), {"y": 2})]
    for args, kwargs in calls * 2:
        assert pairs.of(args, kwargs) == want
    assert pairs.name == f"{__name__}.pair"
    assert repr(pairs) == f"<CallKeys of {__name__}.pair(x, y=2)>"


def test_extra_arguments_are_in_the_key():
    """`*args` stand as one tuple, and extra keywords sorted by their names."""
    made = CallKeys(prices).of((1, False, 3, "4"), {"z": 1, "a": 2})
    assert made == f"{__name__}.prices(item=1,net=False,more=(3,'4'),unit='kg',a=2,z=1)"
    assert CallKeys(prices).of((1, False, 3), {"z": (1,)}) != CallKeys(prices).of(
        (1, False, (3,)), {"z": 1}
    )


@pytest.mark.parametrize("name", ["a=1,b", "a,b", "", "'a'", "a b", "1", "a='x',b"])
def test_extra_keywords_of_any_name_never_meet(name):
    """A name that is no identifier is quoted, so that it cannot look like two."""
    made = CallKeys(prices)
    keys = [made.of((1,), more) for more in ({name: 2}, {"a": 1, "b": 2}, {"a": "x", "b": 2})]
    assert len(set(keys)) == 3
    assert made.of((1,), {name: 2}).endswith(f",{ascii(name).replace(' ', chr(92) + 'x20')}=2)")


def test_a_keyword_may_have_the_name_of_a_positional_parameter():
    """A positional-only parameter and an extra keyword of its name do not mix."""

    def odd(a, /, b=0, **kwargs):
        pass

    odd_keys = CallKeys(odd)
    assert odd_keys.of((1,), {"a": 2, "kwargs": 3}).endswith("odd(a=1,b=0,a=2,kwargs=3)")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, 2, 3), {}),
        ((1,), {"x": 1}),
        ((1,), {"z": 1}),
        ((), {"y": 1}),
        ((1, 2), {"y": 1}),
    ],
)
def test_a_call_that_cannot_be_is_a_type_error(args, kwargs):
    """Arguments that the function would refuse make no key, before and after a good call."""
    pairs = CallKeys(pair)
    pairs.of((1, 2), {})
    for _ in range(2):
        with pytest.raises(TypeError, match="pair"):
            pairs.of(args, kwargs)


@given(st.lists(st.tuples(st.booleans(), VALUES), max_size=6))
@settings(max_examples=150, deadline=None)
def test_remembered_keys_are_those_made_anew(call):
    """A key from the memo is the key that the arguments have without it."""

    def takes(*args, **kwargs):
        pass

    args = tuple(value for named, value in call if not named)
    kwargs = {f"k{index}": value for index, (named, value) in enumerate(call) if named}
    made = CallKeys(takes)
    twice = [made.of(args, kwargs), made.of(args, kwargs)]
    for changed in [True, 1, 1.0, "1", None, b"1", 0, False]:
        made.of((changed,), {})
        made.of((), {"k0": changed})
        made.of((changed, changed), {})
    assert {made.of(args, kwargs), *twice} == {CallKeys(takes).of(args, kwargs)}


def test_equal_arguments_of_different_types_are_not_mixed_up():
    """The memo tells 1, True and 1.0, and names from values."""
    either = CallKeys(prices)
    calls = [
        *(((value,), {}) for value in (1, True, 1.0, "1", b"1", None)),
        *(((0, value), {}) for value in (1, True, 1.0, "1", b"1", None)),
        *(((0,), {"a": value}) for value in (1, True, 1.0, "1", b"1", None)),
        *(((0,), {"b": value}) for value in (1, True, 1.0, "1", b"1", None)),
        *(((0, 0, value), {}) for value in (1, True, 1.0, "1", b"1", None)),
    ]
    for _ in range(2):
        assert len({either.of(*call) for call in calls}) == len(calls)


def test_remembered_calls_are_bounded(monkeypatch):
    """The memo holds so many small calls, and starts anew when it is full."""
    monkeypatch.setattr(calls, "_MEMO_KEYS", 10)
    made = CallKeys(anything)
    for number in range(95):
        assert made.of((number,), {}).endswith(f"(x={number})")
        assert sum(map(len, made._memo.values())) <= 10
    kept = sum(map(len, made._memo.values()))
    made.of(("x" * 1000,), {})
    assert sum(map(len, made._memo.values())) == kept


def test_a_default_that_changes_is_read_each_time():
    """A mutable default counts as it is at the call."""
    default = [1]

    def listed(x, into=default):
        pass

    made = CallKeys(listed)
    assert made.of((1,), {}).endswith("(x=1,into=[1])")
    default.append(2)
    assert made.of((1,), {}).endswith("(x=1,into=[1,2])")


def test_ignored_arguments_are_not_in_the_key():
    """What `ignore` names may be anything and is left out."""
    made = CallKeys(prices, None, ("net", "extra", "trace"))
    assert made.of((1, Vain()), {"trace": Vain()}) == f"{__name__}.prices(item=1,more=(),unit='kg')"


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        (("itm",), "did you mean 'item'"),
        ("item", r"ignore=\('item',\)"),
        ((1,), "parameters are"),
        (None, "not None"),
        (iter(["item"]), "not <"),
    ],
)
def test_a_wrong_name_to_ignore_is_refused(ignore, message):
    """`ignore` is checked when the function is decorated."""

    def price(item, net=True):
        pass

    with pytest.raises(SettingsError, match=message):
        CallKeys(price, None, ignore)


def test_to_ignore_extra_arguments_is_to_ignore_all_of_them():
    """The name of `*` or `**` leaves out whatever they take."""
    made = CallKeys(prices, None, ("more", "extra"))
    assert made.of((1, True, 2, 3), {"trace": Vain()}).endswith("(item=1,net=True,unit='kg')")
    assert made.of((1,), {"extra": 2}) == made.of((1,), {})


@pytest.mark.parametrize(
    ("key", "ignore", "message"),
    [
        ("{user.id}", ("user",), "names 'user', which ignore= is to leave out"),
        (lambda user, *a, **k: "k", ("user",), "leaves out nothing"),
    ],
)
def test_an_ignore_that_leaves_out_nothing_is_refused(key, ignore, message):
    """Where `key` makes the key, it and `ignore` must not contradict each other."""
    with pytest.raises(SettingsError, match=message):
        CallKeys(profile, key, ignore)


@pytest.mark.parametrize("default", [object(), Vain(), [Vain()], (1, {"a": Vain()})])
def test_a_default_that_no_key_can_hold_is_refused_at_once(default):
    """A sentinel as default, which would fail each plain call, is told of when decorating."""

    def find(name, fallback=default):
        pass

    for key in (None, "find:{name}:{fallback}"):
        with pytest.raises(SettingsError, match=r'find: the default of .*ignore=\("fallback",\)'):
            CallKeys(find, key)
    assert CallKeys(find, None, ("fallback",)).of(("a",), {}).endswith("find(name='a')")
    assert CallKeys(find, "find:{name}").of(("a",), {}) == "find:'a'"
    assert CallKeys(find, "find:{name}:{fallback.id}").name.endswith("find")


def test_a_default_that_is_not_there_yet_is_left_to_the_call():
    """A lazy object is not made, nor a class that is being made looked for, by decorating."""
    nobody = SimpleLazyObject(pytest.fail)

    def lazy(name, user=nobody):
        pass

    class Outer:
        class Mode(enum.Enum):
            FAST = 1

        def method(self, mode=Mode.FAST):
            pass

        keys = CallKeys(method)

    assert CallKeys(lazy).of(("a", 1), {}).endswith("lazy(name='a',user=1)")
    assert Outer.keys.of((1, 2), {}).endswith("(self=1,mode=2)")


async def akey(x, y=2):
    return "k"


@pytest.mark.parametrize("key", [akey, functools.partial(akey)])
def test_an_async_key_is_refused_at_once(key):
    """A key is made at once, in sync code too."""
    with pytest.raises(SettingsError, match="is async"):
        CallKeys(pair, key)


def test_a_snapshot_is_apart_from_what_its_owner_does():
    """Lists, dicts, sets and bytearrays are copied, through each other and tuples too."""
    args = ([1, [2]], ({"a": [3]},), {4}, bytearray(b"5"), {"b": ({6},)})
    before = copy.deepcopy(args)
    taken, named = CallKeys(prices).snapshot(args, {"extra": [args[0]]})
    for change in (args[0][1], args[1][0]["a"]):
        change.append(0)
    args[0].clear()
    args[1][0].clear()
    args[2].clear()
    args[3].clear()
    args[4]["b"][0].clear()
    assert taken == before
    assert named == {"extra": [before[0]]}
    assert named["extra"][0] is taken[0]


def test_what_is_no_plain_container_passes_as_it_is():
    """Objects, subclasses of containers and what `ignore` names are handed on themselves."""
    made = CallKeys(prices, None, ("unit", "more", "extra"))
    for value in (Owner([1]), Row([1], 2), OrderedDict(a=[1]), Listed(1), "text", (1, "a")):
        assert made.snapshot((value, [1]), {})[0][0] is value or value == (1, "a")
    log = []
    args, kwargs = made.snapshot(([1], [2], log), {"unit": log, "trace": log})
    assert args[2] is kwargs["unit"] is kwargs["trace"] is log
    plain = (1, "a", None)
    assert CallKeys(prices).snapshot(plain, {})[0] is plain


def test_a_snapshot_of_what_is_nested_in_itself_ends():
    """Cycles, shared parts and bottomless lists are copied in bounded time."""
    ring = cycle()
    ((copied,), _) = X.snapshot((ring,), {})
    assert copied is copied[0] is not ring
    few, many = (laughs(levels, lambda inner: [inner, (inner,)]) for levels in (14, 28))
    cost = [calls_of(lambda each=each: X.snapshot((each,), {})) for each in (few, many)]
    assert cost[1] < 3 * cost[0]
    bottomless = functools.reduce(lambda inner, _: [inner], range(100_000), 1)
    assert X.snapshot((bottomless,), {})[0][0] is not bottomless


def test_ignoring_one_extra_keyword_leaves_the_others():
    """Of a function that takes any keyword, any name can be ignored."""
    made = CallKeys(prices, None, ["trace"])
    assert made.of((1,), {"trace": Vain(), "a": 1}).endswith("unit='kg',a=1)")


class User:
    def __init__(self, number, tags=()):
        self.id, self.tags = number, tags


def profile(user, lang="en", *rest, **more):
    pass


@pytest.mark.parametrize(
    ("template", "want"),
    [
        ("user:{user.id}", "user:7"),
        ("user:{user.id}:{lang}", "user:7:'en'"),
        ("{user.tags[0]}/{user.tags[1]}", "'a'/2"),
        ("x{{{lang}}}y", "x{'en'}y"),
        ("{user.id!r:>3}!", r"'\x20\x207'!"),
        ("{user.id:03d}", "'007'"),
        ("{more[k]},{rest}", "1,()"),
        ("{more[k]}{{{rest}}}", "1{()}"),
        ("front", "front"),
    ],
)
def test_a_template_is_filled_with_encoded_arguments(template, want):
    """Fields are looked up in the arguments and encoded; formatted ones are text."""
    made = CallKeys(profile, template, ("lang",) if "{lang" not in template else ())
    for _ in range(2):
        assert made.of((User(7, ("a", 2)),), {"k": 1}) == want


def test_fields_of_a_template_never_run_into_each_other():
    """What stands in one field cannot look like two."""
    made = CallKeys(pair, "{x}:{y}")
    calls = [("x:y", "z"), ("x", "y:z"), ("x':'y", "z"), (1, "1"), ("1", 1), (True, 1), (1, True)]
    assert len({made.of(call, {}) for call in calls}) == len(calls)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{usr.id}", "did you mean 'user'"),
        ("{}", "has no name"),
        ("{0}", "has no name"),
        ("{user", "no template"),
        ("{user[}", "no template"),
        ("{user..id}", "Empty attribute"),
        ("{user!x}", "onversion"),
        ("{user:{lang}}", "another field"),
        ("{user}{lang}", "'' between the fields {user} and {lang}.*separator such as ':'"),
        ("{user.id}.{lang}", "'.' between"),
        ("a:{user}:{lang}0.1{more}", "between the fields {lang} and {more}"),
        ("", "empty"),
        (7, "a template such as"),
    ],
)
def test_a_wrong_template_is_refused_at_once(template, message):
    """A template is checked when the function is decorated."""
    with pytest.raises(SettingsError, match=message):
        CallKeys(profile, template)


def test_a_field_without_identity_is_refused():
    """A template does not make an object's repr its identity."""
    with pytest.raises(UnstableArgument, match="argument 'user'"):
        CallKeys(profile, "user:{user}").of((User(1),), {})


def test_a_callable_gets_the_call_and_returns_the_key():
    """The key is what the callable returns, for each call anew."""
    seen = []

    def key(*args, **kwargs):
        seen.append((args, kwargs))
        return f"k{len(seen)}"

    made = CallKeys(pair, key)
    assert [made.of((1,), {"y": 3}), made.of((1,), {"y": 3})] == ["k1", "k2"]
    assert seen == [((1,), {"y": 3})] * 2
    assert made.prefix is None


@pytest.mark.parametrize("result", ["", None, 1, b"k"])
def test_a_callable_must_return_text(result):
    """Anything but a non-empty str is refused."""
    with pytest.raises(InvalidKey, match="non-empty str"):
        CallKeys(pair, lambda x, y=2: result).of((1,), {})


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (None, f"{__name__}.pair("),
        ("p:{x}", "p:"),
        ("a{{b{x}c{y}", "a{b"),
        ("{x}", None),
        ("all", "all"),
    ],
)
def test_the_prefix_is_what_all_keys_begin_with(key, prefix):
    """Short, long and digested keys of a function begin with its prefix."""
    made, maker = CallKeys(pair, key), KeyMaker("p" * 64, -(2**63))
    assert made.prefix == prefix
    for value in (1, "é", "x" * 1000) if prefix else ():
        text = made.of((value,), {})
        assert text.startswith(prefix)
        assert maker(text).startswith(maker.prefix(prefix))


def named_function(qualname, module="m"):
    def function(x):
        pass

    function.__qualname__, function.__module__ = qualname, module
    return function


def test_functions_with_long_or_foreign_names_keep_prefixes_of_their_own():
    """The name in a key is short plain ASCII, and no other function's."""
    names = ["a" * 300 + "b", "a" * 300 + "c", "größe", "grösse", "gr__e", "f g", "f_g"]
    made = [CallKeys(named_function(name)) for name in names]
    maker = KeyMaker("p" * 64, -(2**63))
    assert len({each.prefix for each in made}) == len(names)
    assert all(len(each.prefix) <= 101 and is_normal(each.prefix) for each in made)
    for each in made:
        full = maker(each.of(("x" * 300,), {}))
        assert [other for other in made if full.startswith(maker.prefix(other.prefix))] == [each]


def test_what_has_no_name_needs_a_key():
    """Lambdas and partials share their names, so only `key=` can tell them apart."""
    for function in (lambda x: x, functools.partial(pair, 1)):
        with pytest.raises(SettingsError, match="key="):
            CallKeys(function)
    assert CallKeys(lambda x: x, "double:{x}").of((2,), {}) == "double:2"


def test_what_has_no_signature_is_refused():
    """A callable whose parameters nobody knows cannot be cached."""
    with pytest.raises(SettingsError, match="cannot be cached"):
        CallKeys(type)


SCRIPT = """
from twofold.keys import CallKeys
def f(x): pass
class C: pass
print(CallKeys(f).of((C,), {}))
"""


def run_python(folder, *command, stdin=None):
    """Return what a program prints."""
    run = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_a_script_goes_by_its_path_and_a_module_by_its_name(tmp_path):
    """The keys of a script are its own wherever it is started; `-m` and imports share them."""
    (tmp_path / "shopscript.py").write_text(SCRIPT)
    made = run_python(tmp_path, "shopscript.py")
    assert re.fullmatch(r"(shopscript~[0-9a-f]{40})\.f\(x=\1\.C\)", made)
    assert run_python("/", str(tmp_path / "shopscript.py")) == made
    for command in (["-m", "shopscript"], ["-c", "import shopscript"]):
        assert run_python(tmp_path, *command) == "shopscript.f(x=shopscript.C)"


MAINS = {
    "two scripts of one name": ("main.py", lambda folder: ["main.py"]),
    "two folders": ("app/__main__.py", lambda folder: ["app"]),
    "two archives": ("app/__main__.py", lambda folder: [archive(folder)]),
    "python -c": (None, lambda folder: ["-c", SCRIPT]),
    "stdin": (None, lambda folder: ["-"]),
    "a pipe": (None, lambda folder: ["/dev/stdin"]),
    "runpy.run_path": ("main.py", lambda folder: ["-c", RUN_PATH]),
    "python -c with a decorator": (None, lambda folder: ["-c", DECORATED]),
    "a script with a decorator": ("run.py", lambda folder: [decorated(folder)]),
    "a notebook": (None, lambda folder: ["-c", NOTEBOOK]),
}
RUN_PATH = "import runpy; runpy.run_path('main.py')"
DECORATED = SCRIPT.replace("def f", "from contextlib import contextmanager\n@contextmanager\ndef f")
NOTEBOOK = f"""
import sys, types
sys.modules["__main__"] = types.ModuleType("__main__")
exec({SCRIPT!r}, vars(sys.modules["__main__"]))
"""


def decorated(folder):
    (folder / "run.py").write_text(DECORATED)
    return "run.py"


def archive(folder):
    zipapp.create_archive(folder / "app", folder / "app.pyz")
    return "app.pyz"


@pytest.mark.parametrize("kind", MAINS)
def test_two_programs_never_share_a_main(tmp_path, kind):
    """What has no name to import it by has keys of its own in each program, readable ones."""
    file, command = MAINS[kind]
    keys = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / (file or "x")).parent.mkdir(parents=True)
        if file:
            (folder / file).write_text(SCRIPT)
        made = run_python(folder, *command(folder), stdin=SCRIPT)
        assert is_normal(made)
        keys.add(made.partition("(")[0])
        keys.add(made.partition("(")[2])
    assert len(keys) == 4


def test_a_module_that_nobody_can_import_is_of_this_process():
    """What a shell of another name makes is no other shell's."""
    scope = {"__name__": "__console__"}
    exec("def load(n): pass", scope)
    made = CallKeys(scope["load"]).of((1,), {})
    assert re.fullmatch(rf"__console__~{PROCESS}\.load~[0-9a-f]{{40}}\(n=1\)", made)
    nameless = {}
    exec("def load(n): pass", nameless)
    made = CallKeys(nameless["load"]).of((1,), {})
    assert re.fullmatch(rf"__main__~{PROCESS}\.load~[0-9a-f]{{40}}\(n=1\)", made)
    assert CallKeys(nameless["load"]).name == "__main__.load"


def typed_in(body):
    """Return the key of a call of what a notebook's cell defines."""
    cell = {"__name__": "__main__"}
    exec(compile(f"\ndef load(n): return {body}", f"<cell {body}>", "exec"), cell)
    return CallKeys(cell["load"]).of((1,), {})


@pytest.mark.parametrize(
    ("before", "after"), [("n + 1", "n + 2"), ("min(n)", "max(n)"), ("lambda: 1", "lambda: 2")]
)
def test_what_is_typed_again_is_new_if_it_was_changed(before, after):
    """A cell that runs again finds what it has computed; one that was changed does not."""
    assert typed_in(before) == typed_in(f" {before}")
    assert typed_in(before) != typed_in(after)


def test_a_cell_that_reads_another_variable_around_it_is_new():
    """Of variables of a function around it, the code itself has only the places."""
    keys = set()
    for name in ("one", "other"):
        cell = {"__name__": "__main__"}
        text = (
            f"def make(one, other):\n def load(): return {name}\n return load, lambda: (one, other)"
        )
        exec(text, cell)
        keys.add(CallKeys(cell["make"](1, 2)[0]).of((), {}))
    assert len(keys) == 2


def test_a_main_of_another_process_is_known_by_the_place_it_came_from():
    """A function that was sent to a worker by value does not take the worker's own name."""
    scope = {"__name__": "__main__", "__file__": "/srv/shop/main.py"}
    exec("def load(n): pass", scope)
    assert re.fullmatch(r"main~[0-9a-f]{40}\.load\(n=1\)", CallKeys(scope["load"]).of((1,), {}))
    assert CallKeys(scope["load"]).name == "main.load"


def test_every_parameter_kind_is_bound_as_python_does():
    """The quick binding of arguments agrees with `Signature.bind`."""
    for args in [(), (1,), (1, 2)]:
        for kwargs in [{}, {"x": 5}, {"y": 6}, {"x": 5, "y": 6}, {"z": 1}]:
            assert outcome(quick, args, kwargs) == outcome(slow, args, kwargs)


def quick(args, kwargs):
    return dict(CallKeys(pair)._parameters.bind(args, kwargs))


def slow(args, kwargs):
    bound = inspect.signature(pair).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def outcome(bind, args, kwargs):
    try:
        return bind(args, kwargs)
    except TypeError:
        return TypeError
