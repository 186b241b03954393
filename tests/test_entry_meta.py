"""Metadata are kept beside a value, checked with it, and read by whoever asks for them."""

import random
import struct
import sys
import zlib
from itertools import product
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold import metadata
from twofold.codecs import resolve_compressor, resolve_serializer
from twofold.entry import MISSING, Described, Entry, Envelope, Meta, Objects
from twofold.errors import CannotSerialize
from twofold.memory.entry import same
from twofold.stub import new_stub
from twofold.testing import FakeClock

KEY = "shop:1:user:7"
META = Meta(1000.5, 1060.5, 1120.5, 0.25, (("user:7", b"8 bytes!"), ("é", b"")))
CLOCK = FakeClock(1010.0)
SECRET = "sixteen bytes at least"
VALUES = [{"a": [1, 2]}, "text", 7, -(2**63), 2**63, None, (1, 2), True, "long " * 200]


def envelope(
    serializer: str = "msgpack",
    compressor: str | None = None,
    secret: str | None = None,
    **options: Any,
) -> Envelope:
    packer = resolve_compressor(compressor)
    return Envelope(resolve_serializer(serializer), packer, 0, secret, clock=CLOCK, **options)


CODECS = [
    envelope(),
    envelope(compressor="zlib"),
    envelope(secret=SECRET),
    envelope(secret=SECRET, numbers="bare"),
    envelope("pickle", "lz4", SECRET),
    Objects(resolve_serializer("msgpack"), clock=CLOCK),
    Objects(None, clock=CLOCK),
]

metas = st.builds(
    Meta,
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.lists(st.tuples(st.text(min_size=1, max_size=20), st.binary(max_size=20)), max_size=4).map(
        tuple
    ),
    st.text(max_size=60),  # the name of a class: what takes more than 255 bytes is not kept
)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_metadata_come_back(codec: Any, value: Any) -> None:
    """With metadata or without, `load` brings the value, and `open` both; not so with tags.

    What has become of these somebody has to look at.
    """
    before = codec.damaged
    for meta in (META, META._replace(tags=()), Meta(5.0), None):
        stored = codec.dump(KEY, value, meta)
        assert codec.open(KEY, stored) == Entry(value, meta)
        has_tags = meta is META
        assert metadata.has_tags(stored) is has_tags
        assert codec.load(KEY, stored) == (MISSING if has_tags else value)
        assert has_tags or type(codec.load(KEY, stored)) is type(value)
    assert codec.damaged == before


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@pytest.mark.parametrize(
    ("meta", "is_fresh"),
    [
        (Meta(1000.0, 1010.5), True),
        (Meta(1000.0), True),
        (Meta(1011.0), True),
        (Meta(1000.0, 1010.0), False),
        (Meta(1000.0, 1005.0, 1100.0), False),
        (Meta(1000.0, inf, 1010.0), False),
        (Meta(1011.5, 1100.0), False),
        (Meta(1011.5), False),
    ],
)
def test_what_is_stale_is_missing_and_no_damage(codec: Any, meta: Meta, is_fresh: bool) -> None:
    """Stale, gone, or from later than a clock that was set back: only `open` brings a value."""
    before = codec.damaged
    for value in VALUES:
        stored = codec.dump(KEY, value, meta)
        assert codec.load(KEY, stored) == (value if is_fresh else MISSING)
        assert codec.open(KEY, stored) == Entry(value, meta)
    assert codec.damaged == before


@settings(max_examples=100, deadline=None)
@given(metas, st.sampled_from(VALUES), st.sampled_from(CODECS))
def test_any_metadata_come_back(meta: Meta, value: Any, codec: Any) -> None:
    """Whatever numbers, texts and bytes they have, metadata are read as they were written."""
    assert codec.open(KEY, codec.dump(KEY, value, meta)) == Entry(value, meta)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("codec", CODECS[:-2], ids=repr)
def test_who_knows_the_metadata_is_given_the_value_at_once(codec: Any, value: Any) -> None:
    """Whoever expects other tags, a time, or another type is given nothing, and noted nothing."""
    pins, mark = (("user:7", b"8 bytes!"), ("é", b"")), b"datatype"
    known = metadata.timeless(
        part for name, pin in pins for part in (metadata.tag_head(name, len(pin)), pin)
    )
    before, timeless = codec.damaged, Meta(0.0, tags=pins)
    stored, typed = codec.dump(KEY, value, timeless), codec.dump(KEY, value, timeless, mark)
    assert codec.load_described(KEY, stored, known) == value
    assert codec.load_described(KEY, typed, known, mark) == value
    others = [META, timeless._replace(tags=pins[:1]), timeless._replace(took=0.5), None]
    for meta in others:
        assert codec.load_described(KEY, codec.dump(KEY, value, meta), known) is MISSING
    assert codec.load_described(KEY + "7", stored, known) is MISSING
    assert codec.load_described(KEY, typed, known) is MISSING
    assert codec.load_described(KEY, stored, known, mark) is MISSING
    assert codec.load_described(KEY, codec.dump(KEY, value, None, mark), known) is MISSING
    for end in range(len(stored)):
        assert codec.load_described(KEY, stored[:end], known) is MISSING
    assert codec.damaged == before


def test_a_counter_with_metadata_is_enveloped() -> None:
    """An int without metadata stays bare digits; with them it is in an envelope, exactly."""
    codec = envelope()
    assert codec.dump(KEY, 7) == b"7"
    stored = codec.dump(KEY, 7, META)
    assert stored[:4] == b"\xf2\x01\x02\x00"
    assert stored.endswith(b"7")
    assert envelope("json").open(KEY, stored) == Entry(7, META)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_a_store_can_tell_what_has_metadata(codec: Any) -> None:
    """By its type or its first bytes; the times are in its head, cut or forged ones are over."""
    holds_objects = isinstance(codec, Objects)
    for value in VALUES:
        stored = codec.dump(KEY, value, META)
        assert metadata.has_metadata(stored, holds_objects)
        assert not metadata.has_metadata(codec.dump(KEY, value), holds_objects)
        cut = stored if holds_objects else stored[: metadata.HEAD_SIZE]
        assert metadata.head(cut).soft == META.soft
        assert metadata.head(cut).hard == META.hard
        failed = codec.dump(KEY, value, Meta(1000.0, error="LookupError"))
        cut = failed if holds_objects else failed[: metadata.HEAD_SIZE]
        assert metadata.head(cut).error
        assert not metadata.head(cut).is_fresh(1001.0)
    assert not metadata.head(codec.dump(KEY, 1, Meta(1.0))).error
    assert not metadata.has_metadata(b"\xf2\x01\x02", holds_objects=True)
    for alien in (b"", b"\xf2", b"\xf2\x01\x04\x10", b"\xf2\x02\x02\x10", b"7", new_stub()):
        assert not metadata.has_metadata(alien)
    assert metadata.head(b"\xf2\x01\x02").is_gone(0.0)


def test_plain_entries_know_nothing_of_metadata() -> None:
    """An entry without metadata has no byte for them."""
    codec = envelope()
    plain, described = codec.dump(KEY, "x"), codec.dump(KEY, "x", Meta(5.0))
    assert len(plain) == 4 + 4 + 2
    assert len(described) == len(plain) + 2 + 4 * 8


@pytest.mark.parametrize("codec", [each for each in CODECS if isinstance(each, Envelope)], ids=repr)
def test_the_check_covers_metadata(codec: Envelope) -> None:
    """A change of any one bit is a miss, and so is a copy under another key."""
    for value in ("text", 7):
        stored = codec.dump(KEY, value, META)
        for bit in range(len(stored) * 8):
            mutant = bytearray(stored)
            mutant[bit // 8] ^= 1 << bit % 8
            assert codec.load(KEY, bytes(mutant)) is MISSING
            assert codec.open(KEY, bytes(mutant)) is MISSING
        assert codec.open(KEY + "7", stored) is MISSING


def forged(body: bytes, header: bytes = b"\xf2\x01\x02\x10", name: bytes = b"msgpack") -> bytes:
    """Return what anybody can write: an unsigned entry with metadata."""
    check = zlib.crc32(header + name + b"\xff" + KEY.encode() + b"\xff" + body)
    return header + struct.pack(">I", check) + body


FIELDS = struct.pack(">dddd", 1.0, inf, inf, 0.0)


def block(data: bytes, size: int | None = None) -> bytes:
    return struct.pack(">H", len(data) if size is None else size) + data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        block(b""),
        block(FIELDS[:-1]),
        block(FIELDS, 33),
        block(FIELDS[:8], 32),
        block(FIELDS + b"\x00"),
        block(FIELDS + b"\x00\x00"),
        block(FIELDS + b"\x00\x01\x00"),
        block(FIELDS + b"\x00\x00\x01"),
        block(FIELDS + b"\xff\xff\xffabc"),
        block(FIELDS + b"\x00\x02\x00\xff\xfe"),
        *(
            block(struct.pack(">dddd", *[1.0] * place, nan, *[1.0] * (3 - place)))
            for place in range(4)
        ),
    ],
)
@pytest.mark.parametrize("payload", [b"\x01", b""])
def test_forged_metadata_are_a_miss(body: bytes, payload: bytes) -> None:
    """Metadata that were never written so are damage, for `load` as for `open`."""
    codec = envelope()
    stored = forged(body + payload)
    assert codec.open(KEY, stored) is MISSING
    assert codec.load(KEY, stored) is MISSING
    assert codec.damaged == (1 if metadata.has_tags(stored) else 2)


def test_a_forged_entry_of_these_tests_would_be_read() -> None:
    """Sound metadata and a sound payload after them are read, so that the tests above test."""
    assert envelope().open(KEY, forged(block(FIELDS) + b"\x01")) == Entry(1, Meta(1.0))
    number = forged(block(FIELDS) + b"12", b"\xf2\x01\x02\x00", b"")
    assert envelope().open(KEY, number) == Entry(12, Meta(1.0))
    assert envelope().open(KEY, forged(block(FIELDS) + b"012", b"\xf2\x01\x02\x00", b"")) is MISSING


@pytest.mark.parametrize("seed", range(4))
def test_random_metadata_never_raise(seed: int) -> None:
    """Whatever stands where metadata stand, reading ends in a value or in a miss."""
    dice, codec = random.Random(seed), envelope()
    sound = metadata.write(META) + b"\x93\x01\x02\x03"
    for _ in range(2000):
        body = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            body[dice.randrange(len(body))] = dice.randrange(256)
        del body[dice.choice([len(body), dice.randrange(len(body))]) :]
        stored = forged(bytes(body))
        opened, loaded = codec.open(KEY, stored), codec.load(KEY, stored)
        is_good = opened is not MISSING and opened.is_fresh(CLOCK.time())
        assert (loaded is not MISSING) == is_good
        if opened is not MISSING:
            assert metadata.has_tags(stored) == bool(opened.meta and opened.meta.tags)


def test_metadata_are_bounded() -> None:
    """What metadata build is bounded by their own size, and they by 64 KiB."""
    tags = b"\x00\x01\x00a" * ((metadata.MOST - len(FIELDS)) // 4)
    meta = metadata.read(block(FIELDS + tags))
    assert sum(map(sys.getsizeof, meta.tags)) < 2 * 1024 * 1024


@pytest.mark.parametrize(
    "tags",
    [
        (("x" * 70_000, b"1"),),
        (("x", b"1" * 300),),
        tuple((f"tag {n}", b"8 bytes!") for n in range(10_000)),
    ],
)
def test_tags_that_are_too_long_are_refused(tags: Any) -> None:
    """Tags that no entry could hold are an error that says how many bytes they may take."""
    for codec in (envelope(), envelope(secret=SECRET)):
        with pytest.raises(CannotSerialize, match="65535 bytes"):
            codec.dump(KEY, "x", Meta(1.0, tags=tags))


HEADERS = list(product(range(256), (0, 1, 2, 255)))


@pytest.mark.parametrize("secret", [None, SECRET])
def test_of_a_later_release_is_no_damage(secret: str | None) -> None:
    """A later version, or a reserved flag, is a plain miss; so is the stub of a claim."""
    codec, body = envelope(secret=secret), b"\x00" * 40
    for flags, version in HEADERS:
        before = codec.damaged
        stored = bytes((0xF2, version, flags, 0x10)) + body
        assert codec.load(KEY, stored) is MISSING
        assert codec.open(KEY, stored) is MISSING
        later = version > 1 or flags > 3
        assert codec.damaged == before + (0 if later else 2), (version, flags)
    before = codec.damaged
    for stub in (new_stub(), bytes(new_stub()), b"\xf3", b"\xf3\x00"):
        assert codec.load(KEY, stub) is MISSING
    for cut in (b"\xf2\x02", b"\xf2\x01\x04"):
        assert codec.load(KEY, cut) is MISSING
    assert codec.damaged == before


@pytest.mark.parametrize(
    "stored", [b"", b"\xf2", b"\xf2\x01", b"\xf2\x01\x00\x10", b"\xf1", b"\xf4x"]
)
def test_what_is_cut_or_foreign_is_damage(stored: bytes) -> None:
    """Anything else that cannot be read is counted."""
    codec = envelope()
    assert codec.load(KEY, stored) is MISSING
    assert codec.damaged == 1


def test_with_metadata_an_object_is_in_one_wrapper() -> None:
    """In process an atom with metadata is itself, in one object that stores measure and compare."""
    objects = Objects(resolve_serializer("msgpack"), clock=CLOCK)
    value = "text " * 100
    kept = objects.dump(KEY, value, META)
    assert type(kept) is Described
    assert kept.kept is value
    assert objects.open(KEY, kept) == Entry(value, META)
    assert metadata.size_of(kept) > metadata.size_of(value) + sum(
        sys.getsizeof(part) for tag in META.tags for part in tag
    )
    nested = (value[:-1], frozenset({value[:-2]}))
    assert metadata.size_of(objects.dump(KEY, nested, Meta(1.0))) > metadata.size_of(nested)
    assert same(kept, objects.dump(KEY, value, META))
    assert not same(kept, objects.dump(KEY, value, Meta(1.0)))
    assert not same(kept, value)


def test_an_object_that_cannot_be_read_is_missed_with_its_metadata() -> None:
    """What its serializer cannot read back is a miss for `open` too."""
    objects = Objects(resolve_serializer("msgpack"), clock=CLOCK)
    kept = objects.dump(KEY, [1], META)
    kept.kept.data = b"\xc1"
    assert objects.open(KEY, kept) is MISSING
    assert objects.load(KEY, objects.dump(KEY, [1], Meta(1.0))) == [1]
    assert objects.damaged == 1
