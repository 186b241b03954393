"""A hostile store: whatever stands there, a typed reader has a miss or a value of the type."""

import random
import sys
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.typed_kinds import KINDS
from twofold.codecs import resolve_serializer, unpacking
from twofold.entry import MARK_SIZE, MISSING, Envelope
from twofold.types import Shape, TypedCodec

KEY = "k"
BODY = 8  # where an unsigned envelope's begins
ZONED = datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Prague"))  # JSON has no names of zones
BOUND = 64 * 1024 * 1024


class Reader:
    """Reads mutated entries of one kind as that kind."""

    def __init__(self, serializer: str, annotation: Any, value: Any) -> None:
        rich = serializer != "json"
        self.fitted = Shape(annotation).fitted(rich=rich)
        self.envelope = Envelope(resolve_serializer(serializer))
        self.codec = TypedCodec(self.envelope, self.fitted, holds_objects=False)
        self.stored: bytes = self.codec.dump(KEY, value)

    def forged(self, payload: bytes) -> bytes:
        """Return an entry of the type with a payload, whose checksum is right."""
        body = (self.fitted.mark and self.stored[BODY : BODY + MARK_SIZE]) + payload
        header = self.stored[:4]
        form = {**self.envelope._forms, **self.envelope._other_forms}[header]
        return header + self.envelope._check.over(form.beginning, KEY, body) + body

    @property
    def payload(self) -> bytes:
        return self.stored[BODY + len(self.fitted.mark) :]

    def read(self, payload: bytes) -> bool:
        """Read a forged entry; tell whether it was a value, which is one of the type then."""
        found = self.codec.load(KEY, self.forged(payload))
        if found is MISSING:
            return False
        self.fitted.exact(found)
        return True


def mutations(data: bytes, draw: random.Random) -> bytes:
    """Return `data` with some bytes changed, moved, doubled or cut."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(changed) + 1)
        kind = draw.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] = draw.randrange(256)
        elif kind == 1:
            changed[at:at] = draw.randbytes(draw.choice((1, 2, 5)))
        elif kind == 2:
            del changed[at : at + draw.choice((1, 3))]
        else:
            end = draw.randrange(len(changed) + 1)
            changed[at:at] = changed[min(at, end) : max(at, end)]
    return bytes(changed)


def read_mutated(serializer: str, number: int) -> tuple[int, int]:
    """Read so many mutated entries, and return how many were values, and how many misses."""
    draw = random.Random(number)
    kinds = KINDS if serializer == "json" else [*KINDS, (datetime, ZONED)]
    readers = [Reader(serializer, annotation, value) for annotation, value in kinds]
    assert all(reader.read(reader.payload) for reader in readers)
    found = 0
    for count in range(number):
        reader = readers[count % len(readers)]
        found += reader.read(mutations(reader.payload, draw))
    return found, number - found


def check_bounds(work: Callable[[], object]) -> None:
    """Check that work imports nothing, and takes no more memory than one entry may."""
    before = set(sys.modules)
    tracemalloc.start()
    try:
        work()
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()
    assert set(sys.modules) == before


def import_what_is_needed(serializer: str) -> None:
    """Have imported what decoding needs, whatever is decoded."""
    unpacking._names_of_zones()
    read_mutated(serializer, 50)


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_mutated_entries_are_misses_or_values(serializer: str) -> None:
    """Of each kind of type, with a checksum that is right."""
    import_what_is_needed(serializer)
    numbers: list[int] = []
    check_bounds(lambda: numbers.extend(read_mutated(serializer, 3000)))
    assert min(numbers) > 100  # both happen


@pytest.mark.heavy
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_a_hundred_thousand_of_each_are(serializer: str) -> None:
    """The same, 200,000 times."""
    import_what_is_needed(serializer)
    check_bounds(lambda: read_mutated(serializer, 100_000))


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\x7f\xff\xff\xff" + b"\xc0" * 1000,
        b"\x91" * 5000 + b"\xc0",
        b"\x81\xa2id" * 3000,
        b"\xc6\xff\xff\xff\xff",
    ],
)
def test_large_and_deep_payloads_are_misses(payload: bytes) -> None:
    """They take neither memory nor the stack."""
    readers = [Reader("msgpack", annotation, value) for annotation, value in KINDS]
    check_bounds(lambda: [reader.read(payload) for reader in readers])


def test_a_deep_tree_is_a_miss_or_a_tree() -> None:
    """Recursive types nest as deep as their data may."""
    annotation, value = next(each for each in KINDS if getattr(each[0], "__name__", "") == "Tree")
    reader = Reader("msgpack", annotation, value)
    deep: Any = None
    for _ in range(200):
        deep = {"value": 1, "left": deep, "right": None}
    assert reader.read(resolve_serializer("msgpack").dumps(deep)) in (True, False)
