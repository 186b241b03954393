"""How deep MessagePack nests and how much it builds, told before it is decoded.

A decoder recurses on the stack of its thread, and takes what memory it needs; where either
ends, the process does. What anybody may have written is therefore bounded first. Most of it
is by its size alone, or by how many of its bytes might begin a container; only the rest is
walked through, element by element.
"""

import re
from collections.abc import Iterator
from typing import Final

from twofold.codecs.extensions import ROWS

MAX_DEPTH: Final = 256
"""Levels that what is checked may nest, extensions among them."""

_NEVER_DEEP = 256  # bytes that cannot nest deeper than that

_STEPS_FOR_DEPTH = 1_000_000  # half a second
_STEPS_FOR_SIZE = 10_000  # enough for large texts and bytes; the rest are guessed
_LOOKS_FOR_ROWS = 100_000  # a tenth of a second

_CONTAINER = 256  # bytes that an empty one takes at most, about
_ELEMENT = 72  # bytes that any other element takes, the characters of texts aside
_MOST = 128  # bytes at most that one byte becomes, in maps of one entry
_ENTRY = 96  # bytes that an entry of a map takes beside its key and value
_SLOT = 8  # bytes that a place in a list or tuple takes
_ROW = 64  # bytes that a tuple among rows takes beside its places, with its own in their list

_NESTING = frozenset({*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF})
_SMALL = frozenset({*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100)})
_EXTENSIONS = frozenset({0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)})
_SMALL_RUN = re.compile(rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]+").match
_NO_CONTAINERS = bytes(set(range(256)) - _NESTING)
_NO_HEAVY = bytes(set(range(256)) - _NESTING - _EXTENSIONS)
_NO_OTHERS = bytes(_SMALL | _NESTING | _EXTENSIONS)

# How rows begin: the size of the extension, its code, and how many items a tuple has.
_OF_ROWS = rb"(?:(?<=\xc7..)|(?<=\xc8...)|(?<=\xc9.....)|(?<=[\xd4-\xd8].))"
_NARROW_ROWS = re.compile(b"%c%b[\\x00-\\x03]" % (ROWS, _OF_ROWS), re.DOTALL).search
_WIDE_ROWS = re.compile(b"%c%b[^\\x00-\\x03]" % (ROWS, _OF_ROWS), re.DOTALL).search

# By the first byte: how long an element is, or how long the number that tells its size.
_FIXED = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_FIXED |= {0xA0 + size: 1 + size for size in range(32)}
_FIXED_EXTENSIONS = {0xD4 + power: 2**power for power in range(5)}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_SIZED_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_COUNTED = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def check_depth(data: bytes, containers: frozenset[int]) -> None:
    """Raise ValueError if `data` nests deeper than `MAX_DEPTH`, or has too much in it to tell.

    Args:
        data: MessagePack.
        containers: codes of the extensions whose data are MessagePack too.
    """
    if len(data) > _NEVER_DEEP and len(data.translate(None, _NO_CONTAINERS)) > MAX_DEPTH:
        for depth, _ in _walk(data, containers, _STEPS_FOR_DEPTH):
            if depth > MAX_DEPTH:
                raise ValueError(f"nests deeper than {MAX_DEPTH} levels")


def check_built(data: bytes, containers: frozenset[int], most: int) -> None:
    """Raise ValueError if decoding `data` might build more than about `most` bytes."""
    if len(data) * _MOST <= most:
        return
    heavy = len(data.translate(None, _NO_HEAVY))
    others = len(data.translate(None, _NO_OTHERS))
    if _item(data) * len(data) + _CONTAINER * heavy + _ELEMENT * others > most:
        for _, built in _walk(data, containers, _STEPS_FOR_SIZE):
            if built > most:
                raise ValueError(f"builds more than {most} bytes")


def _item(data: bytes) -> int:
    """Return how many bytes an item takes beside its own, in its list and perhaps in rows."""
    if data.count(ROWS) > _LOOKS_FOR_ROWS or _NARROW_ROWS(data):
        return _SLOT + _in_rows(1)
    return _SLOT + (_in_rows(4) if _WIDE_ROWS(data) else 0)


def _in_rows(width: int) -> int:
    return _SLOT + _ROW // max(width, 1)


def _walk(data: bytes, containers: frozenset[int], steps: int) -> Iterator[tuple[int, int]]:
    """Yield how deep it is and what is built so far, at each element; small ones go at once."""
    at, built, left = 0, 0, 1
    enclosing: list[int] = []  # how many items are left in each
    for _ in range(steps):
        while not left and enclosing:
            left = enclosing.pop()
        if not left:
            return
        small = _SMALL_RUN(data, at, at + left)
        if small is not None:
            size = small.end() - at
            at, built, left = at + size, built + _SLOT * size, left - size
            yield len(enclosing), built
            continue
        try:
            size, items, cost = _element(data, at, containers)
        except (IndexError, KeyError) as exc:
            raise ValueError("cut or damaged MessagePack") from exc
        at, built, left = at + size, built + cost, left - 1
        if items:
            enclosing.append(left)
            left = items
        yield len(enclosing), built
    raise ValueError(f"has more than {steps} elements to look at")


def _element(data: bytes, at: int, containers: frozenset[int]) -> tuple[int, int, int]:
    """Return the size of what begins at `at`, how many items follow in it, and what it costs."""
    head = data[at]
    if head < 0xA0:
        return 1, *_held(head & 15, is_map=head < 0x90)
    if head in _COUNTED:
        width = _COUNTED[head]
        return 1 + width, *_held(_number(data, at + 1, width), is_map=head >= 0xDE)
    if head in _EXTENSIONS:
        return _extension(data, at, containers)
    if head not in _SIZED:
        return _FIXED[head], 0, _ELEMENT + _FIXED[head]
    width = _SIZED[head]
    size = _number(data, at + 1, width)
    text = data[at + 1 + width : at + 1 + width + size]
    return 1 + width + size, 0, _ELEMENT + (size if head < 0xD9 or text.isascii() else 4 * size)


def _held(items: int, *, is_map: bool) -> tuple[int, int]:
    return (2 * items, _CONTAINER + _ENTRY * items) if is_map else (items, _CONTAINER)


def _extension(data: bytes, at: int, containers: frozenset[int]) -> tuple[int, int, int]:
    width = _SIZED_EXTENSIONS.get(data[at], 0)
    size = _number(data, at + 1, width) if width else _FIXED_EXTENSIONS[data[at]]
    if data[at + 1 + width] in containers:
        if data[at + 1 + width] == ROWS:
            return 3 + width, 1, _CONTAINER + size * _in_rows(data[at + 2 + width])
        return 2 + width, 1, _CONTAINER
    return 2 + width + size, 0, _CONTAINER + size


def _number(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width])
