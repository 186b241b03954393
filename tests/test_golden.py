"""The format of what is stored, as files that every release reads and writes again.

A change of the format is a new version: its byte in the header, a folder of files beside
`golden/v1`, and a line in the documentation. `python -m tests.test_golden` writes the files
that are missing, and never over one that is there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from twofold.codecs import resolve_compressor, resolve_serializer
from twofold.entry import MISSING, Entry, Envelope, Meta
from twofold.testing import FakeClock

FOLDER = Path(__file__).parent / "golden" / "v1"
KEY = "shop:1:user:7"
SECRET = "sixteen bytes at least"
TEXT = {"name": "Ada Lovelace", "tags": ["analyst", "poet"] * 40, "n": [1, 2.5, None, True]}
META = Meta(1_700_000_000.25, 1_700_000_060.25, 1_700_003_600.25, 0.125)
TAGGED = Meta(1.5, inf, inf, 0.0, (("user:7", b"\x01\x02\x03\x04\x05\x06\x07\x08"), ("é", b"")))

MARK = b"\x08\x07\x06\x05\x04\x03\x02\x01"


@dataclass
class Golden:
    """An entry that a file holds: how it was written, and what it says."""

    value: Any
    meta: Meta | None = None
    serializer: Any = "msgpack"
    compressor: str | None = None
    secret: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    mark: bytes = b""

    def codec(self) -> Envelope:
        serializer, packer = (
            resolve_serializer(self.serializer),
            resolve_compressor(self.compressor),
        )
        clock = FakeClock(self.meta.created if self.meta is not None else 0.0)
        return Envelope(serializer, packer, 0, self.secret, clock=clock, **self.options)

    @property
    def repeats(self) -> bool:
        """Whether its bytes are the same everywhere: a compressor's differ by its release."""
        return self.compressor is None


class Reversed:
    """A third party's serializer, whose name is in the check."""

    __module__ = "golden"

    def dumps(self, value: str) -> bytes:
        return value[::-1].encode()

    def loads(self, data: bytes) -> str:
        return data.decode()[::-1]


INDEX = {
    "plain": Golden(TEXT),
    "counter": Golden(-12),
    "json": Golden(TEXT, serializer="json"),
    "pickle": Golden((1, "x"), serializer="pickle"),
    "third-party": Golden("text", serializer=Reversed),
    "zlib": Golden(TEXT, compressor="zlib"),
    "zstd": Golden(TEXT, compressor="zstd"),
    "lz4": Golden(TEXT, compressor="lz4"),
    "signed": Golden(TEXT, secret=SECRET),
    "signed-context": Golden(TEXT, secret=SECRET, options={"context": "staging"}),
    "signed-zlib": Golden(TEXT, compressor="zlib", secret=SECRET),
    "signed-counter": Golden(2**63 - 1, secret=SECRET),
    "bare-counter": Golden(0, secret=SECRET, options={"numbers": "bare"}),
    "meta": Golden(TEXT, META),
    "meta-tags": Golden(TEXT, TAGGED),
    "meta-json": Golden(TEXT, TAGGED, serializer="json"),
    "meta-zlib": Golden(TEXT, META, compressor="zlib"),
    "meta-signed": Golden(TEXT, TAGGED, secret=SECRET),
    "meta-counter": Golden(-12, META),
    "meta-signed-counter": Golden(-12, TAGGED, secret=SECRET),
    "typed": Golden(TEXT, mark=MARK),
    "typed-json": Golden(TEXT, serializer="json", mark=MARK),
    "typed-number": Golden(7, mark=MARK),
    "typed-zlib": Golden(TEXT, compressor="zlib", mark=MARK),
    "typed-meta-signed": Golden(TEXT, TAGGED, secret=SECRET, mark=MARK),
    "msgpack-atoms": Golden(
        [None, True, False, 0, -1, 127, 128, -(2**63), 2**64 - 1, 1.5, inf, "", "é", b"", b"\xc4"]
    ),
    "msgpack-integers": Golden([2**64, -(2**63) - 1]),
    "msgpack-text": Golden(["\ud800", {"\udfff": 1}]),
    "msgpack-numbers": Golden([1 + 2j, Decimal("1.50"), UUID(int=7)]),
    "msgpack-times": Golden(
        [
            datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Prague"), fold=1),
            datetime(1, 2, 3, 4, 5, 6, 7),
            datetime(2024, 1, 1, tzinfo=UTC),
            datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5), "EST")),
            date(2024, 1, 1),
            time(23, 59, 59, 999999, tzinfo=timezone(timedelta(minutes=90))),
            timedelta(days=-1, seconds=2, microseconds=3),
        ]
    ),
    "msgpack-tuple": Golden((1, ("x", [2]))),
    "msgpack-sets": Golden([{1}, frozenset({"x"}), set()]),
    "msgpack-keys": Golden({1: "int", (1,): {None: 2.5}, "1": b""}),
    "msgpack-rows": Golden([(1, "x", (None,)), (2, "y", ()), (3, "z", []), (4, "", {})]),
    "msgpack-rows-within": Golden({"a": {"b": [(n,) for n in range(20)]}, "c": [(1,), (2,)]}),
}


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.bin"


@pytest.mark.parametrize("name", INDEX)
def test_stored_entries_are_read(name: str) -> None:
    """What was once written with this version of the format is read as it was meant."""
    golden = INDEX[name]
    stored, codec = path_of(name).read_bytes(), golden.codec()
    opened = codec.open(KEY, stored)
    assert repr(opened) == repr(Entry(golden.value, golden.meta, golden.mark))
    # What has tags is for who looks at these, and opens it.
    value = MISSING if golden.meta is not None and golden.meta.tags else golden.value
    assert repr(codec.load(KEY, stored)) == repr(value)
    assert codec.damaged == 0


@pytest.mark.parametrize("name", [name for name in INDEX if INDEX[name].repeats])
def test_entries_are_written_as_ever(name: str) -> None:
    """Written today an entry has the same bytes, or the format has a new version."""
    golden = INDEX[name]
    assert (
        golden.codec().dump(KEY, golden.value, golden.meta, golden.mark)
        == path_of(name).read_bytes()
    )


def test_each_file_is_in_the_index() -> None:
    """No file is forgotten, and none is missing."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.bin" for name in INDEX}


@pytest.mark.parametrize(
    "change", [lambda _: b"", lambda data: data[:-1], lambda data: data + b"x"]
)
def test_each_byte_of_a_file_counts(change: Callable[[bytes], bytes]) -> None:
    """A file that was cut or made longer is not read, counters aside."""
    for name, golden in INDEX.items():
        stored = path_of(name).read_bytes()
        if stored[0] == 0xF2:
            assert golden.codec().open(KEY, change(stored)) != Entry(
                golden.value, golden.meta, golden.mark
            )


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for each, entry in INDEX.items():
        if not path_of(each).exists():
            path_of(each).write_bytes(entry.codec().dump(KEY, entry.value, entry.meta, entry.mark))
