"""Entries are read back exactly or missed; nothing that fails its check is decoded."""

import pickle
import random
import signal
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache, partial
from hashlib import blake2b
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.assembly import codec_for
from twofold.codecs import limits, resolve_compressor, resolve_serializer, serializers
from twofold.codecs import msgpack as msgpack_module
from twofold.entry import (
    MISSING,
    Envelope,
    Objects,
    Serialized,
)
from twofold.entry import (
    envelope as envelope_module,
)
from twofold.errors import CannotSerialize, SettingsError
from twofold.settings import CacheConfig

KEY = "shop:1:user:7"
SERIALIZERS = ("msgpack", "json", "pickle")
COMPRESSORS = (None, "zlib", "zstd", "lz4")
SECRETS = (None, "secret")
MEBIBYTE = 1024 * 1024
LONG = {"name": "Ada Lovelace", "tags": ["analyst", "poet"] * 40, "n": [1, 2.5, None, True]}


def envelope(
    serializer: Any = "msgpack",
    compressor: str | None = None,
    secret: Any = None,
    compress_min: int = 0,
    **options: Any,
) -> Envelope:
    packer = resolve_compressor(compressor)
    return Envelope(resolve_serializer(serializer), packer, compress_min, secret, **options)


def holder(serializer: str | None) -> Objects:
    return Objects(None if serializer is None else resolve_serializer(serializer))


class Canary:
    """A value whose decoding is noticed."""

    hatched = 0

    def __init__(self) -> None:
        type(self).hatched += 1

    def __reduce__(self) -> Any:
        return Canary, ()


@pytest.fixture
def canary() -> type[Canary]:
    """Return the canary class, with nothing hatched yet."""
    Canary.hatched = 0
    return Canary


@pytest.mark.parametrize("secret", [*SECRETS, b"bytes", "x" * 1000])
@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("value", [LONG, None, "", "12", 0.0, True, [], 2**63, -(2**63) - 1])
def test_values_come_back(serializer: str, compressor: str, secret: Any, value: Any) -> None:
    """With every serializer, compressor and secret a value comes back as it was."""
    codec = envelope(serializer, compressor, secret)
    loaded = codec.load(KEY, codec.dump(KEY, value))
    assert loaded == value
    assert type(loaded) is type(value)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_counters_are_bare_digits(number: int) -> None:
    """A signed 64-bit integer is stored as its digits, for a server to add to."""
    for codec in (envelope(), envelope(secret="secret", numbers="bare")):
        stored = codec.dump(KEY, number)
        assert stored == str(number).encode()
        assert codec.load(KEY, stored) == number
        assert not codec.signs_numbers


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_with_a_secret_counters_are_signed(number: int) -> None:
    """With a secret a bare number is a miss, and so is a signed one under another key."""
    codec = envelope(secret="secret")
    stored = codec.dump(KEY, number)
    assert codec.load(KEY, stored) == number
    assert codec.load(KEY + "7", stored) is MISSING
    assert codec.load(KEY, str(number).encode()) is MISSING
    assert codec.signs_numbers


def test_a_signed_counter_outlives_a_change_of_serializer() -> None:
    """Numbers are signed as digits, which no serializer reads."""
    stored = envelope("pickle", secret="secret").dump(KEY, 7)
    assert envelope(Upper, "zlib", "secret").load(KEY, stored) == 7


def test_a_signed_body_is_read_as_what_it_was_signed() -> None:
    """A number is no payload, and a payload no number, whatever the header says."""
    raw = SimpleNamespace(dumps=str.encode, loads=bytes.decode)
    codec = envelope(raw, secret="secret")
    number, text = codec.dump(KEY, 12), codec.dump(KEY, "12")
    assert codec.load(KEY, text[:4] + number[4:]) is MISSING
    assert codec.load(KEY, number[:4] + text[4:]) is MISSING


def test_the_signature_covers_the_context() -> None:
    """Entries of another context are misses, numbers too; none runs over into the key."""
    codecs = [
        envelope(secret="secret", context=each) for each in ("", "live", "test", "té", "\ud800")
    ]
    for writer in codecs:
        for value in ("text", 7):
            stored = writer.dump(KEY, value)
            for reader in codecs:
                assert reader.load(KEY, stored) == (value if reader is writer else MISSING)


@pytest.mark.parametrize("options", [{"context": "live"}, {"numbers": "signed"}])
def test_what_is_about_signatures_needs_a_secret(options: Any) -> None:
    """Without a secret nothing is signed, and what asks for that is refused."""
    with pytest.raises(SettingsError, match="set SECRET"):
        envelope(**options)
    envelope(secret="secret", **options)
    envelope(numbers="bare")


@pytest.mark.parametrize(
    "stored",
    [b"", b"01", b"+1", b" 1", b"1 ", b"-0", b"-", b"1.0", b"1_0", b"9223372036854775808", b"x"],
)
def test_other_digits_are_misses(stored: bytes) -> None:
    """What no counter would look like is a miss."""
    assert envelope().load(KEY, stored) is MISSING


@pytest.mark.parametrize("stored", [None, 5, "5", "text", bytearray(b"\xf2\x01\x00\x10"), object()])
def test_other_types_are_misses(stored: Any) -> None:
    """A store that returns anything but bytes causes a miss, not an error."""
    assert envelope().load(KEY, stored) is MISSING


def test_layout() -> None:
    """An unsigned entry is laid out as the format says."""
    stored = envelope().dump(KEY, "x")
    header, body = b"\xf2\x01\x00\x10", b"\xa1x"
    check = zlib.crc32(header + b"msgpack\xff" + KEY.encode() + b"\xff" + body)
    assert stored == header + struct.pack(">L", check) + body


def test_signed_layout() -> None:
    """A signed, compressed entry is laid out as the format says."""
    stored = envelope("json", "zlib", "secret").dump(KEY, "x" * 100)
    header, body = b"\xf2\x01\x01\x21", zlib.compress(b'"%s"' % (b"x" * 100), 1)
    text = header + b"json\xff\xff" + KEY.encode() + b"\xff" + body
    check = blake2b(text, key=b"secret", digest_size=20, person=b"twofold").digest()
    assert stored == header + check + body


def test_layout_of_a_signed_number() -> None:
    """A signed number is laid out as the format says, in its context."""
    stored = envelope("json", "zlib", "secret", context="live").dump(KEY, -12)
    header, body = b"\xf2\x01\x01\x00", b"-12"
    text = header + b"\xfflive\xff" + KEY.encode() + b"\xff" + body
    check = blake2b(text, key=b"secret", digest_size=20, person=b"twofold").digest()
    assert stored == header + check + body


@cache
def entries() -> list[tuple[Envelope, str, Any, bytes]]:
    """Return entries of each kind, with what reads them, their keys and their values."""
    codecs = [envelope(*kind) for kind in kinds()]
    pairs = [(codec, value) for codec in codecs for value in (LONG, "text", 1.5, [1, 2, 3])]
    named = [(codec, f"{KEY}:{n}", value) for n, (codec, value) in enumerate(pairs)]
    return [(codec, key, value, codec.dump(key, value)) for codec, key, value in named]


def kinds() -> list[tuple[str, str | None, str | None]]:
    """Return every serializer with every compressor and secret."""
    return [
        (name, packer, key) for name in SERIALIZERS for packer in COMPRESSORS for key in SECRETS
    ]


def flip(dice: random.Random, stored: bytearray, _other: bytes) -> None:
    for _ in range(dice.randint(1, 3)):
        stored[dice.randrange(len(stored))] ^= 1 << dice.randrange(8)


def cut(dice: random.Random, stored: bytearray, _other: bytes) -> None:
    del stored[dice.randrange(len(stored)) :]


def cut_out(dice: random.Random, stored: bytearray, _other: bytes) -> None:
    start = dice.randrange(1, len(stored))
    del stored[start : start + dice.randint(1, 16)]


def insert(dice: random.Random, stored: bytearray, _other: bytes) -> None:
    start = dice.randint(0, len(stored))
    stored[start:start] = dice.randbytes(dice.randint(1, 8))


def splice(dice: random.Random, stored: bytearray, other: bytes) -> None:
    stored[dice.randint(1, len(stored)) :] = other[dice.randrange(len(other)) :]


def edit_header(dice: random.Random, stored: bytearray, _other: bytes) -> None:
    stored[dice.randrange(4)] = dice.randrange(256)


def change_codec(_dice: random.Random, stored: bytearray, other: bytes) -> None:
    stored[:4] = other[:4]


MUTATIONS = (flip, cut, cut_out, insert, splice, edit_header, change_codec)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_entries_are_misses(seed: int) -> None:
    """Of 20,000 damaged entries each is a miss or, where nothing changed, the same value."""
    dice = random.Random(seed)
    tracemalloc.start()
    try:
        for _ in range(5000):
            codec, key, value, stored = dice.choice(entries())
            mutant = bytearray(stored)
            dice.choice(MUTATIONS)(dice, mutant, dice.choice(entries())[-1])
            expected = value if mutant == stored else MISSING
            assert codec.load(key, bytes(mutant)) == expected
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", kinds())
def test_every_bit_counts(kind: Any) -> None:
    """A change of any one bit of an entry is a miss."""
    codec = envelope(*kind)
    stored = codec.dump(KEY, "text" * 10)
    for bit in range(len(stored) * 8):
        mutant = bytearray(stored)
        mutant[bit // 8] ^= 1 << bit % 8
        assert codec.load(KEY, bytes(mutant)) is MISSING


@pytest.mark.parametrize("kind", kinds())
def test_a_copy_under_another_key_is_a_miss(kind: Any) -> None:
    """An entry is read under its own key only."""
    codec = envelope(*kind)
    stored = codec.dump(KEY, LONG)
    assert codec.load(KEY, stored) == LONG
    for key in (KEY + "7", KEY[:-1], "", "é"):
        assert codec.load(key, stored) is MISSING


def test_key_and_body_do_not_run_together() -> None:
    """What is moved from the body's beginning to the key's end is noticed."""
    raw = SimpleNamespace(dumps=str.encode, loads=bytes.decode)
    codec = envelope(raw, secret="secret")
    stored = codec.dump("key", "body")
    head, body = stored[:24], stored[24:]
    assert codec.load("keyb", head + body[1:]) is MISSING


@pytest.mark.parametrize("reader", SERIALIZERS)
@pytest.mark.parametrize("writer", SERIALIZERS)
def test_only_the_configured_serializer_reads(reader: str, writer: str) -> None:
    """An entry of another serializer is a miss, whatever its header says."""
    stored = envelope(writer).dump(KEY, "text")
    assert envelope(reader).load(KEY, stored) == ("text" if reader == writer else MISSING)


class Upper:
    """A third party's serializer."""

    def dumps(self, value: str) -> bytes:
        return value.upper().encode()

    def loads(self, data: bytes) -> str:
        return data.decode().lower()


class Lower(Upper):
    """Another one, whose entries look the same."""


def test_foreign_serializers_do_not_read_each_other() -> None:
    """Entries of two third parties' serializers are told apart by name."""
    stored = envelope(Upper).dump(KEY, "text")
    assert envelope(Upper).load(KEY, stored) == "text"
    assert envelope(Lower).load(KEY, stored) is MISSING


def test_secrets_are_not_interchangeable() -> None:
    """Unsigned entries, and those signed with another secret, are misses; so the reverse."""
    codecs = [envelope(secret=secret) for secret in (None, "one", "two", "x" * 65, "x" * 66)]
    for writer in codecs:
        stored = writer.dump(KEY, "text")
        for reader in codecs:
            assert reader.load(KEY, stored) == ("text" if reader is writer else MISSING)


def test_a_new_secret_recognises_old_ones() -> None:
    """Of several secrets the first signs, and entries of each are read."""
    old, new, both = (
        envelope(secret="old"),
        envelope(secret="new"),
        envelope(secret=["new", b"old"]),
    )
    assert both.load(KEY, old.dump(KEY, "value")) == "value"
    assert both.load(KEY, new.dump(KEY, "value")) == "value"
    assert new.load(KEY, both.dump(KEY, "value")) == "value"
    assert old.load(KEY, both.dump(KEY, "value")) is MISSING
    assert both.load(KEY, envelope(secret="third").dump(KEY, "value")) is MISSING


@pytest.mark.parametrize("secret", ["", b"", 5, ["one", ""], [5]])
def test_no_empty_secret(secret: Any) -> None:
    """An empty secret would sign nothing, and is refused."""
    with pytest.raises(SettingsError, match="SECRET"):
        envelope(secret=secret)


def test_no_stored_pickle_runs_unverified(canary: type[Canary]) -> None:
    """A damaged, copied, unsigned or foreign pickle is never executed."""
    codec, signed = envelope("pickle"), envelope("pickle", secret="secret")
    stored = codec.dump(KEY, canary())
    canary.hatched = 0
    dice = random.Random(0)
    for _ in range(2000):
        mutant = bytearray(stored)
        dice.choice((flip, cut, insert))(dice, mutant, stored)
        if mutant != stored:
            assert codec.load(KEY, bytes(mutant)) is MISSING
    for reader, key in ((codec, "other"), (signed, KEY), (envelope("msgpack"), KEY)):
        assert reader.load(key, stored) is MISSING
    assert canary.hatched == 0
    assert isinstance(codec.load(KEY, stored), canary)
    assert canary.hatched == 1


@pytest.mark.parametrize("error", [ValueError, RecursionError, KeyError, EOFError, StopIteration])
def test_errors_of_reading_are_misses(error: type[Exception]) -> None:
    """Whatever a serializer raises on reading is a miss."""

    def loads(_data: bytes) -> Any:
        raise error

    theirs = SimpleNamespace(dumps=str.encode, loads=loads)
    codec, objects = envelope(theirs), Objects(resolve_serializer(theirs))
    assert codec.load(KEY, codec.dump(KEY, "x")) is MISSING
    assert objects.load(KEY, objects.dump(KEY, "x")) is MISSING


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
def test_exits_and_memory_errors_pass(error: type[BaseException]) -> None:
    """What does not tell about the entry is not taken for a miss."""

    def loads(_data: bytes) -> Any:
        raise error

    theirs = SimpleNamespace(dumps=str.encode, loads=loads)
    codec, objects = envelope(theirs), Objects(resolve_serializer(theirs))
    with pytest.raises(error):
        codec.load(KEY, codec.dump(KEY, "x"))
    with pytest.raises(error):
        objects.load(KEY, objects.dump(KEY, "x"))


class Stop(ValueError):
    """What a handler raises: a soft time limit."""


def stop(*_: Any) -> None:
    raise Stop


class Slow:
    """A value that a signal interrupts while it is decoded."""

    def __setstate__(self, _: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)

    def __getstate__(self) -> Any:
        return 1


@pytest.fixture(params=[stop, partial(stop, 1), SimpleNamespace(handle=stop).handle])
def handler(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have SIGUSR1 raise `Stop`."""
    before = signal.signal(signal.SIGUSR1, request.param)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("serializer", ["pickle", pickle])
def test_what_a_handler_raises_in_a_decoder_passes(serializer: Any) -> None:
    """The exception of a signal's handler tells nothing about the entry that is being read."""
    codec, objects = envelope(serializer), Objects(resolve_serializer(serializer))
    for each in (codec, objects):
        stored = each.dump(KEY, Slow())
        with pytest.raises(Stop):
            each.load(KEY, stored)
        assert each.damaged == 0


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle", pickle])
def test_what_a_handler_raises_in_an_encoder_passes(
    serializer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception of a signal's handler tells nothing about the value that is being written."""

    def interrupted(*_: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(Slow, "__getstate__", interrupted)
    monkeypatch.setattr(serializers, "_is_exact", interrupted)
    monkeypatch.setattr(msgpack_module, "_rewrite", interrupted)
    with pytest.raises(Stop):
        envelope(serializer).dump(KEY, {1: Slow()})


def forged(key: str, codec: Envelope, body: bytes) -> bytes:
    """Return what anybody can write: an unsigned entry of `codec` with this body."""
    head = codec._packed
    check = zlib.crc32(head + codec._serializer.name.encode() + b"\xff" + key.encode() + b"\xff")
    return head + zlib.crc32(body, check).to_bytes(4, "big") + body


def many(item: bytes, size: int) -> bytes:
    """Return a list of as many items as make `size` bytes of MessagePack."""
    return struct.pack(">BI", 0xDD, size // len(item)) + item * (size // len(item))


@pytest.mark.parametrize(
    "item", [b"\x90", b"\x80", b"\xc0", b"\x81\xa0\xc0", b"\xd4\x02\x90", b"\xd4\x08\x31", b"\xa1x"]
)
def test_few_unsigned_bytes_build_little(item: bytes) -> None:
    """4 kB that unpack to 4 MiB of anything build no more than 32 MiB, or nothing."""
    codec = envelope("msgpack", "zlib")
    stored = forged(KEY, codec, zlib.compress(many(item, 4 * MEBIBYTE), 9))
    tracemalloc.start()
    try:
        codec.load(KEY, stored)
        assert tracemalloc.get_traced_memory()[1] < 48 * MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("width", [b"\x01", b"\x02", b"\x08", b"\xff"])
def test_few_unsigned_bytes_of_rows_build_little(width: bytes) -> None:
    """So it is with tuples, which have no bytes of their own in rows."""
    codec = envelope("msgpack", "zlib")
    items = many(b"\xc0", 255 * 16_000)
    rows = struct.pack(">BI", 0xC9, len(items) + 1) + b"\x0e" + width + items
    tracemalloc.start()
    try:
        codec.load(KEY, forged(KEY, codec, zlib.compress(rows, 9)))
        assert tracemalloc.get_traced_memory()[1] < 48 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_few_unsigned_bytes_of_json_build_little() -> None:
    """So it is with JSON."""
    codec = envelope("json", "zlib")
    for item in (b"[],", b"{},"):
        text = b"[" + item * MEBIBYTE + b"0]"
        assert codec.load(KEY, forged(KEY, codec, zlib.compress(text, 9))) is MISSING


@pytest.mark.parametrize(
    ("serializer", "secret"),
    [
        ("msgpack", None),
        ("msgpack", "secret"),
        ("json", None),
        pytest.param("json", "secret", marks=pytest.mark.heavy),
    ],
)
@pytest.mark.parametrize("value", [[[]] * MEBIBYTE, ["a" * 4 * MEBIBYTE, "é"], [0] * MEBIBYTE * 8])
def test_what_is_written_is_read_however_well_it_is_packed(
    serializer: str, secret: str | None, value: Any
) -> None:
    """What would not be read if it were compressed is stored as it is."""
    codec = envelope(serializer, "zlib", secret)
    assert codec.load(KEY, codec.dump(KEY, value)) == value


def test_what_no_entry_may_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that nobody could read back unsigned cannot be stored, but signed it can."""
    for module in (envelope_module, limits, msgpack_module):
        monkeypatch.setattr(module, "HEAVY", 1000, raising=False)
    monkeypatch.setattr(envelope_module, "LIGHT", 0)
    monkeypatch.setattr(limits, "NEVER", 100_000)
    monkeypatch.setattr(limits, "ALWAYS", 50_000)
    for value in ([[]] * 2000, {"a": "x" * 200_000}):
        with pytest.raises(CannotSerialize, match="gigabyte"):
            envelope().dump(KEY, value)
        signed = envelope(secret="secret")
        assert signed.load(KEY, signed.dump(KEY, value)) == value
    assert envelope().load(KEY, envelope().dump(KEY, "x" * 20_000)) == "x" * 20_000


def test_unserializable_values_are_refused() -> None:
    """A value that the serializer cannot hold raises when it is to be stored."""
    for codec, value in ((envelope(), object()), (Objects(resolve_serializer("msgpack")), Lock())):
        with pytest.raises(CannotSerialize):
            codec.dump(KEY, value)


@pytest.mark.parametrize("name", ["zlib", "zstd", "lz4"])
def test_compression_where_it_helps(name: str) -> None:
    """Payloads are compressed from the least size on, and only if that makes them smaller."""
    codec, plain = envelope("msgpack", name, compress_min=256), envelope()
    short, noise = "a" * 200, random.Random(0).randbytes(2000)
    assert codec.dump(KEY, short) == plain.dump(KEY, short)
    assert codec.dump(KEY, noise) == plain.dump(KEY, noise)
    assert len(codec.dump(KEY, "a" * 300)) < 100


@pytest.mark.parametrize("reader", COMPRESSORS)
@pytest.mark.parametrize("writer", COMPRESSORS)
@pytest.mark.parametrize("secret", SECRETS)
def test_only_the_configured_compressor_unpacks(
    reader: str | None, writer: str | None, secret: str | None
) -> None:
    """What another compressor made is a miss; what none made is read."""
    stored = envelope("msgpack", writer, secret).dump(KEY, LONG)
    known = writer in (None, reader)
    assert envelope("msgpack", reader, secret).load(KEY, stored) == (LONG if known else MISSING)


@pytest.mark.parametrize("name", ["zlib", "zstd", "lz4"])
def test_bombs_are_misses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound entry that unpacks to more than the cap is a miss, and takes little memory."""
    codec = envelope("msgpack", name)
    stored = codec.dump(KEY, "a" * 16 * MEBIBYTE)
    monkeypatch.setattr(envelope_module, "MAX_PAYLOAD", MEBIBYTE)
    tracemalloc.start()
    try:
        assert codec.load(KEY, stored) is MISSING
        assert tracemalloc.get_traced_memory()[1] < 4 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_what_could_not_be_unpacked_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload over the cap is stored as it is, and read back."""
    monkeypatch.setattr(envelope_module, "MAX_PAYLOAD", 1000)
    codec, value = envelope("msgpack", "zlib"), "a" * 2000
    stored = codec.dump(KEY, value)
    assert stored == envelope().dump(KEY, value)
    assert codec.load(KEY, stored) == value


def test_reprs_hide_the_secret() -> None:
    """A codec's repr tells how it works, without the secret."""
    assert repr(envelope("json", "zlib", "hush")) == "<Envelope json zlib signed>"
    assert repr(envelope()) == "<Envelope msgpack None unsigned>"
    assert repr(Objects(resolve_serializer("msgpack"))) == "<Objects msgpack>"
    assert repr(Objects(None)) == "<Objects None>"
    assert repr(Serialized(b"abc")) == "<Serialized 3 bytes>"
    assert repr(MISSING) == "MISSING"


@pytest.mark.parametrize("value", ["text", 7, 2**70, 1.5, True, b"x", (1, ("x", None))])
@pytest.mark.parametrize("serializer", ["msgpack", "pickle", None])
def test_immutables_are_held_by_reference(serializer: str | None, value: Any) -> None:
    """An in-process store holds an immutable value itself."""
    objects = holder(serializer)
    assert objects.load(KEY, objects.dump(KEY, value)) is value


@pytest.mark.parametrize("value", [[1, [2]], {"a": {"b": 1}}, {1, 2}, ([],)])
@pytest.mark.parametrize("serializer", ["msgpack", "pickle"])
def test_mutables_are_private(serializer: str, value: Any) -> None:
    """Every reader of a mutable value has a copy of its own, equal to what was stored."""
    objects = Objects(resolve_serializer(serializer))
    stored = objects.dump(KEY, value)
    first, second = objects.load(KEY, stored), objects.load(KEY, stored)
    assert first == second == value
    assert first is not second
    assert first is not value


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle", None])
def test_none_is_no_missing_key(serializer: str | None) -> None:
    """None is held as something else, for None means a missing key to a store."""
    objects = holder(serializer)
    stored = objects.dump(KEY, None)
    assert stored is not None
    assert objects.load(KEY, stored) is None


def test_without_a_serializer_values_are_shared() -> None:
    """SERIALIZER None keeps anything as it is."""
    objects, value = Objects(None), object()
    assert objects.load(KEY, objects.dump(KEY, value)) is value


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle", None])
def test_coroutines_are_never_held(serializer: str | None) -> None:
    """No codec takes a coroutine."""

    async def work() -> None: ...

    coroutine = work()
    with pytest.raises(CannotSerialize, match="aget_or_set"):
        holder(serializer).dump(KEY, coroutine)
    coroutine.close()


def test_packed_values_compare() -> None:
    """Serialized values are equal if their bytes are, for a store to compare and set."""
    assert Serialized(b"x") == Serialized(b"x")
    assert hash(Serialized(b"x")) == hash(Serialized(b"x"))
    assert Serialized(b"x") != Serialized(b"y")
    assert Serialized(b"x") != b"x"


def config(**fields: Any) -> CacheConfig:
    return CacheConfig(**{"alias": "default", "backend": "sqlite", **fields})


def test_codec_by_store() -> None:
    """A store of bytes gets envelopes, a store of objects keeps them."""
    settings = config(serializer="json", compressor="zlib", secret="secret")
    assert repr(codec_for(settings, holds_objects=False)) == "<Envelope json zlib signed>"
    assert repr(codec_for(settings, holds_objects=True)) == "<Objects json>"
    assert repr(codec_for(config(serializer=None), holds_objects=True)) == "<Objects None>"


def test_bytes_need_a_serializer() -> None:
    """SERIALIZER None on a store of bytes is refused."""
    with pytest.raises(SettingsError, match=r"CACHES\['default'\]: SERIALIZER None"):
        codec_for(config(serializer=None), holds_objects=False)


@pytest.mark.parametrize("holds_objects", [True, False])
@pytest.mark.parametrize(
    ("name", "value"), [("SERIALIZER", "jsn"), ("SERIALIZER", "no.such"), ("COMPRESSOR", "zlb")]
)
def test_a_wrong_codec_is_refused_for_every_store(
    name: str, value: str, holds_objects: bool
) -> None:
    """A mistyped serializer or compressor is an error that names the alias, in any store."""
    with pytest.raises(SettingsError, match=rf"CACHES\['shop'\].*{name} '{value}'"):
        codec_for(config(alias="shop", **{name.lower(): value}), holds_objects)


def test_a_wrong_secret_names_its_alias() -> None:
    """An unusable SECRET is an error that names the alias."""
    with pytest.raises(SettingsError, match=r"CACHES\['shop'\]: SECRET"):
        codec_for(config(alias="shop", secret=""), holds_objects=False)


def test_counters_are_held_as_numbers() -> None:
    """Whatever the serializer, a store in the process can add to a counter."""
    foreign = Objects(resolve_serializer(SimpleNamespace(dumps=repr, loads=int)))
    assert foreign.dump(KEY, 1) == 1
    assert foreign.load(KEY, foreign.dump(KEY, -(2**63))) == -(2**63)
    assert foreign.dump(KEY, 2**63) == 2**63
