"""What may be stored about a value, beside it: when it was computed, and how long it is good.

In bytes, before the payload and never compressed:

    size        2 bytes   of all that follows
    created     8 bytes   a double, as the three that follow: seconds since 1970
    soft        8 bytes   infinite if the value is never stale
    hard        8 bytes   infinite if it is never gone
    took        8 bytes   seconds
    tags        each: 2 bytes the size of its name, 1 byte that of its generation, name, generation

A store knows no rule of freshness, and cannot tell whether a value that has metadata is there
for the caller. It raises `HasMetadata`, and the cache, which can, reads the value and decides.

What is kept of an exception, whose arguments are the payload, has a first tag without a name:
its generation is the name of the class.
"""

import sys
from collections.abc import Callable, Iterable
from math import inf, isnan
from struct import Struct, error
from typing import Any, Final, NamedTuple, Self, TypeAlias

from twofold.codecs.immutables import ATOMS, NESTING, parts_of
from twofold.errors import CacheError, CannotSerialize
from twofold.timeouts import is_from_later

Pins: TypeAlias = tuple[tuple[str, Any], ...]
"""Names of tags, each with the generation that was current before a value was computed: bytes, but
in a store of this process's own."""

MOST: Final = 0xFFFF
"""Bytes that metadata take at most, so that unsigned data cannot make them large."""

DESCRIBED: Final = frozenset({b"\xf2\x01\x02", b"\xf2\x01\x03"})
"""How the bytes of what has metadata begin: unsigned, and signed; see `entry.envelope`."""

SIZE: Final = 2
"""Bytes that tell how many follow; see above."""

_BODY_AT: Final = {2: 8, 3: 24}  # by the third byte
_FIELDS = Struct(">dddd")
_TAG = Struct(">HB")
_TAGS_AT = SIZE + _FIELDS.size
_NO_TAGS = _FIELDS.size.to_bytes(SIZE, "big")
_NO_TIMES = _FIELDS.pack(0.0, inf, inf, 0.0)

HEAD_SIZE: Final = max(_BODY_AT.values()) + SIZE + _FIELDS.size + _TAG.size
"""Bytes at the beginning that tell how long a value is good."""


class Meta(NamedTuple):
    """When a value was computed, how long it is good, and what it depends on."""

    created: float
    """When its computation began; this and the deadlines are seconds since 1970."""
    soft: float = inf
    """From when on it is stale."""
    hard: float = inf
    """From when on it is gone."""
    took: float = 0.0
    """Seconds that it took to compute."""
    tags: Pins = ()
    """Who has not looked at what has become of them takes the value for missing: it is neither
    fresh nor stale. Who has, takes them off; see `tags.Reader`."""
    error: str = ""
    """The name of the exception's class, if the value is that of the arguments of one."""

    def is_fresh(self, now: float) -> bool:
        """Tell whether the value is good by the wall clock; set back, that tells no age."""
        return not self.error and self.holds(now)

    def holds(self, now: float) -> bool:
        """Do what `is_fresh` does for an exception as well."""
        if self.tags:
            return False
        return now < self.soft and now < self.hard and not is_from_later(now, self.created)

    def is_gone(self, now: float) -> bool:
        """Tell whether the value may no longer be served, not even as a stale one."""
        return bool(self.tags) or now >= self.hard


class Described(NamedTuple):
    """What an in-process store keeps of a value, and its metadata."""

    kept: Any
    meta: Meta

    def __sizeof__(self) -> int:
        """Return the bytes of all of it: stores measure what they keep by this."""
        tags = [part for tag in self.meta.tags for part in (tag, *tag)]
        own = object.__sizeof__(self) + sum(map(sys.getsizeof, (self.meta, self.meta.tags, *tags)))
        return own + size_of(self.kept) + _FLOATS


_FLOATS = 4 * sys.getsizeof(0.5)


def size_of(kept: Any, nesting: int = NESTING) -> int:
    """Return the bytes of what a store keeps, with those of what an immutable value holds."""
    size = sys.getsizeof(kept)
    if type(kept) in WHOLE or not nesting:
        return size
    return size + sum([size_of(each, nesting - 1) for each in parts_of(kept)])


WHOLE: set[type] = {*ATOMS, Described}
"""Types whose objects tell all that they take, by `sys.getsizeof`."""


class HasMetadata(CacheError):
    """What a store met has metadata, and it did nothing: the cache tells whether it is there."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the value of {key!r} has metadata")


class Removed(int):
    """How many values without metadata were removed, and the metadata of the others."""

    described: tuple[Meta, ...]

    def __new__(cls, plain: int, described: Iterable[Meta]) -> Self:
        made = super().__new__(cls, plain)
        made.described = tuple(described)
        return made

    @classmethod
    def of(cls, plain: int, described: Iterable[Meta]) -> int:
        """Return a mere number if no value had metadata."""
        metas = tuple(described)
        return cls(plain, metas) if metas else plain


def has_metadata(stored: Any, holds_objects: bool = False) -> bool:
    """Tell whether what a store keeps, or its beginning, is a value that has metadata."""
    if holds_objects or type(stored) is not bytes:
        return type(stored) is Described
    return stored[:3] in DESCRIBED


def has_tags(stored: Any) -> bool:
    """Tell whether what a store keeps is a value, or an exception, that has tags."""
    if type(stored) is not bytes:
        return type(stored) is Described and stored.meta.tags != ()
    if stored[:3] not in DESCRIBED:
        return False
    at = _BODY_AT[stored[2]]
    size, first = stored[at : at + SIZE], at + _TAGS_AT
    if size <= _NO_TAGS:
        return False
    if stored[first : first + 2] != b"\0\0":
        return True
    kept = _TAG.size + int.from_bytes(stored[first + 2 : first + 3], "big")
    return int.from_bytes(size, "big") > _FIELDS.size + kept  # than the class of an exception


def head(stored: Any) -> Meta:
    """Return the metadata of what has some, or of its first `HEAD_SIZE` bytes: unchecked, no tags.

    Those that are cut are of a value that is gone. Of an exception's class the name is missing.
    """
    if type(stored) is Described:
        return stored.meta
    at = _BODY_AT[stored[2]] + SIZE
    try:
        created, soft, hard, took = _FIELDS.unpack_from(stored, at)
    except error:
        return Meta(0.0, -inf, -inf)
    size = int.from_bytes(stored[at - SIZE : at], "big")
    first = stored[at + _FIELDS.size : at + _FIELDS.size + _TAG.size]
    is_error = size > _FIELDS.size and first[:2] == b"\0\0"
    return Meta(created, soft, hard, took, error="?" if is_error else "")


def write(meta: Meta) -> bytes:
    """Return `meta` as bytes.

    Raises:
        CannotSerialize: its tags are too many or too long.
    """
    try:
        parts = [_FIELDS.pack(meta.created, meta.soft, meta.hard, meta.took)]
        error_tag = (("", meta.error.encode()),) if meta.error else ()
        for name, generation in (*error_tag, *meta.tags):
            parts += (tag_head(name, len(generation)), generation)
        data = b"".join(parts)
        return len(data).to_bytes(SIZE, "big") + data
    except (OverflowError, UnicodeEncodeError, error) as exc:
        raise CannotSerialize(
            f"{len(meta.tags)} tags cannot be stored with a value ({exc}): together they may take"
            f" {MOST} bytes, and each must be text. Give fewer, or shorter ones."
        ) from exc


def tag_head(name: str, size: int) -> bytes:
    """Return what comes before a tag's generation of `size` bytes.

    Raises:
        struct.error: it is too long.
    """
    encoded = name.encode("utf-8", "surrogatepass")  # as in a key
    return _TAG.pack(len(encoded), size) + encoded


def timeless(tags: Iterable[bytes]) -> bytes:
    """Return what `write` does of a value with these tags of which no time is told.

    Nothing if they are too long.
    """
    data = _NO_TIMES + b"".join(tags)
    return len(data).to_bytes(SIZE, "big") + data if len(data) <= MOST else b""


class Metas(dict[bytes | Meta, Meta | None]):
    """The metadata of several values by what is stored of them, each read and judged once.

    None are those of a value that is known to be good for as long as it is there.

    Args:
        judge: returns what is known of metadata that were read, or themselves.
    """

    def __init__(self, judge: Callable[[Meta], Meta | None]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, stored: bytes | Meta) -> Meta | None:
        meta = self[stored] = self._judge(stored if isinstance(stored, Meta) else read(stored))
        return meta


def read(data: bytes) -> Meta:
    """Return what `write` made `data` of.

    Raises:
        ValueError: it is cut, or was never written.
    """
    end = len(data)
    if end < _TAGS_AT or end != SIZE + int.from_bytes(data[:SIZE], "big"):
        raise ValueError("metadata that are cut")
    created, soft, hard, took = fields = _FIELDS.unpack_from(data, SIZE)
    if any(map(isnan, fields)):
        raise ValueError("a time that is no number")
    if end == _TAGS_AT:
        return Meta(created, soft, hard, took)
    tags = _tags(data, _TAGS_AT)
    kept = "" if tags[0][0] else tags[0][1].decode()
    return Meta(created, soft, hard, took, tags[1:] if kept else tags, kept)


def _tags(data: bytes, at: int) -> Pins:
    tags, end, unpack, size = [], len(data), _TAG.unpack_from, _TAG.size
    try:
        while at < end:
            name, generation = unpack(data, at)
            begin = at + size
            middle = begin + name
            at = middle + generation
            tags.append((data[begin:middle].decode("utf-8", "surrogatepass"), data[middle:at]))
    except error:  # there is not even a size
        at = end + 1
    if at > end:
        raise ValueError("a tag that is cut")
    return tuple(tags)
