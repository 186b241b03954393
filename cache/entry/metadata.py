"""What may be stored about a value, beside it: when it was computed, and how long it is good.

In bytes, before the payload and never compressed:

    size        2 bytes   of all that follows
    created     8 bytes   a double, as the three that follow: seconds since 1970
    soft        8 bytes   infinite if the value is never stale
    hard        8 bytes   infinite if it is never gone
    took        8 bytes   seconds
    tags        each: 2 bytes the size of its name, 1 byte that of its generation, name, generation
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isnan
from struct import Struct, error
from typing import Final

from twofold.errors import CannotSerialize
from twofold.policy import is_from_later

MOST: Final = 0xFFFF
"""Bytes that metadata take at most, so that what nobody signed cannot make them large."""

_SIZE = 2
_FIELDS = Struct(">dddd")
_TAG = Struct(">HB")


@dataclass(frozen=True, slots=True)
class Meta:
    """When a value was computed, how long it is good, and what it depends on."""

    created: float
    """When its computation began; this and the deadlines are seconds since 1970."""
    soft: float = inf
    """From when on it is stale."""
    hard: float = inf
    """From when on it is gone."""
    took: float = 0.0
    """Seconds that it took to compute."""
    tags: tuple[tuple[str, bytes], ...] = ()
    """Its tags, each with the generation that was current before the computation."""

    def is_fresh(self, now: float) -> bool:
        """Tell whether the value is good by the wall clock; set back, that tells no age."""
        return now < self.soft and now < self.hard and not is_from_later(now, self.created)


def write(meta: Meta) -> bytes:
    """Return `meta` as bytes.

    Raises:
        CannotSerialize: its tags are too many or too long.
    """
    try:
        parts = [_FIELDS.pack(meta.created, meta.soft, meta.hard, meta.took)]
        for name, generation in meta.tags:
            encoded = name.encode()
            parts += (_TAG.pack(len(encoded), len(generation)), encoded, generation)
        data = b"".join(parts)
        return len(data).to_bytes(_SIZE, "big") + data
    except (OverflowError, UnicodeEncodeError, error) as exc:
        raise CannotSerialize(
            f"{len(meta.tags)} tags cannot be stored with a value ({exc}): together they may take"
            f" {MOST} bytes, and each must be text. Give fewer, or shorter ones."
        ) from exc


def split(body: bytes) -> tuple[Meta, bytes]:
    """Return the metadata at the beginning of `body`, and what follows them.

    Raises:
        ValueError: they are cut, or were never written by `write`.
    """
    end = _SIZE + int.from_bytes(body[:_SIZE], "big")
    data = body[_SIZE:end]
    if len(data) != end - _SIZE or len(data) < _FIELDS.size:
        raise ValueError("metadata that are cut")
    created, soft, hard, took = fields = _FIELDS.unpack_from(data)
    if any(map(isnan, fields)):
        raise ValueError("a time that is no number")
    return Meta(created, soft, hard, took, tuple(_tags(data, _FIELDS.size))), body[end:]


def _tags(data: bytes, at: int) -> Iterator[tuple[str, bytes]]:
    while at < len(data):
        begin = at + _TAG.size
        if begin > len(data):
            raise ValueError("a tag that is cut")
        name, generation = _TAG.unpack_from(data, at)
        middle, at = begin + name, begin + name + generation
        if at > len(data):
            raise ValueError("a tag that is cut")
        yield data[begin:middle].decode(), data[middle:at]
