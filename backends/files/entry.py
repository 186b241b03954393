"""One entry as the bytes of a file, and the name of that file.

    offset  bytes
    0       4       magic, "2fe" and the version of the format
    4       4       CRC-32 of all that follows
    8       8       length of the value
    16      8       when it was written, by the wall clock
    24      8       when it expires; infinity for never
    32      2       length of the key
    34              key, value

Numbers are little-endian, times are doubles: seconds since the Unix epoch. The name is a
digest of the key. The key stands in the file too, so that two keys with one digest, or a
file that was renamed, are misses.
"""

import math
import re
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from twofold.keys.kinds import is_lock

SHARDS: Final = 64
"""Folders that the entries are spread over."""

HEAD_BYTES: Final = 34 + 250
"""Bytes at most before the value."""

_MAGIC: Final = b"2fe1"
_FIRST: Final = Struct("<4sI")
_REST: Final = Struct("<QddH")
_START: Final = _FIRST.size + _REST.size
_BLOCK: Final = 4096  # what a file takes of a disk is a multiple of that
_SHARD_BY_DIGITS: Final = {f"{n:02x}": n % SHARDS for n in range(256)}
_NAME = re.compile(r"[0-9a-f]{40}\.(?:entry|lock)").fullmatch


class CorruptFile(Exception):
    """A file is not what was written there: it counts as missing, and must be removed."""


class Entry(NamedTuple):
    """What a file holds for its key."""

    value: bytes
    written: float
    expires: float | None


def encode(key: str, entry: Entry) -> bytes:
    """Return the bytes of a file that holds `entry` for `key`."""
    name = key.encode()
    expires = math.inf if entry.expires is None else entry.expires
    rest = _REST.pack(len(entry.value), entry.written, expires, len(name)) + name
    return _FIRST.pack(_MAGIC, crc32(entry.value, crc32(rest))) + rest + entry.value


def decode(key: str, data: bytes) -> Entry:
    """Return the entry in the bytes of a file.

    Raises:
        CorruptFile: they are not what `encode` made for this key.
    """
    if len(data) < _START:
        raise CorruptFile("it is too short")
    magic, check = _FIRST.unpack_from(data)
    length, written, expires, key_length = _REST.unpack_from(data, _FIRST.size)
    start = _START + key_length
    if magic != _MAGIC or start + length != len(data):
        raise CorruptFile("it is not a file of this cache, or cut off")
    if crc32(memoryview(data)[_FIRST.size :]) != check or data[_START:start] != key.encode():
        raise CorruptFile("it fails its check")
    return Entry(data[start:], written, None if expires == math.inf else expires)


def key_in(head: bytes) -> bytes:
    """Return the key in the first `HEAD_BYTES` of a file, unchecked."""
    if len(head) < _START:
        return b""
    return head[_START : _START + _REST.unpack_from(head, _FIRST.size)[3]]


def place(key: str) -> tuple[int, str]:
    """Return the shard and the name of the file of `key`."""
    digest = blake2b(key.encode(), digest_size=20).hexdigest()
    kind = "lock" if "!" in key and is_lock(key) else "entry"
    return _SHARD_BY_DIGITS[digest[:2]], f"{digest}.{kind}"


def is_entry(name: str) -> bool:
    """Tell whether a file of this name belongs to this cache."""
    return _NAME(name) is not None


def is_held(name: str) -> bool:
    """Tell whether a file of this cache is that of a lock or a claim."""
    return name.endswith(".lock")


def disk_bytes(size: int) -> int:
    """Return the bytes of disk that a file of `size` bytes takes."""
    return -(-size // _BLOCK) * _BLOCK
