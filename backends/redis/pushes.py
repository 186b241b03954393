"""What a server says on a connection of RESP3 on which it tells of changes.

https://redis.io/docs/latest/develop/reference/client-side-caching/ tells what that is: pushes
that name keys, or none of them where a database was flushed. Under many writes the usual push
is read at once; the exact reader has all else.
"""

import re
from collections.abc import Generator
from typing import Final, NamedTuple

from twofold.backends.network.replies import ProtocolError, Reply
from twofold.backends.redis.replies import PythonReader, read_number

_MOST_WORDS: Final = 2**16  # of a reply that is a map, a set, or a push
_LONGEST_TEXT: Final = 2**20  # bytes
_SPECIAL: Final = b"_=%~>"
_KIND_SIZE: Final = 4  # bytes before a text, which say of what kind it is

_begins_push = re.compile(rb">2\r\n\$10\r\ninvalidate\r\n\*(\d{1,7})\r\n").match
_begins_key = re.compile(rb"\$(\d{1,9})\r\n").match


class Push(NamedTuple):
    """What is told without having been asked for."""

    keys: list[str] | None
    """Keys that were changed; None if any may have been."""


class PushReader(PythonReader):
    """A reader for one connection of RESP3; `gets` returns a reply, or a `Push`."""

    def gets(self) -> Reply:
        if self._reading is None and (keys := self._whole_push()) is not None:
            return Push(keys)
        return super().gets()

    def _whole_push(self) -> list[str] | None:
        """Return the keys of the next push, if one comes next, and has come whole."""
        buffer = self._buffer
        if not (begun := _begins_push(buffer, self._at)):
            return None
        keys, at = [], begun.end()
        for _ in range(int(begun[1])):
            if not (key := _begins_key(buffer, at)):
                return None
            start, at = key.end(), key.end() + int(key[1]) + 2
            if not buffer.startswith(b"\r\n", at - 2):
                return None
            keys.append(_name(buffer[start : at - 2]))
        self._at = self._searched = at
        return keys

    def _reply(self, depth: int) -> Generator[None, None, Reply]:
        while self._at == len(self._buffer):
            yield
        if not depth or self._buffer[self._at] not in _SPECIAL:
            return (yield from super()._reply(depth))
        line = yield from self._line()
        kind, text = line[:1], line[1:]
        if kind == b"_":
            return None
        if kind == b"=":
            marked = yield from self._bulk(read_number(text, _LONGEST_TEXT))
            return marked and marked[_KIND_SIZE:]
        words = read_number(text, _MOST_WORDS) * (2 if kind == b"%" else 1)
        told = yield from self._array(words, depth - 1)
        return _push(told) if kind == b">" else told


def _push(told: Reply) -> Push:
    """Return what a push tells; one of another kind tells of no key."""
    if not told or told[0] != b"invalidate":
        return Push([])
    keys = told[1] if len(told) == 2 else ()
    if keys is None:
        return Push(None)
    if type(keys) is not list or any(type(key) is not bytes for key in keys):
        raise ProtocolError("a push does not name keys")
    return Push([*map(_name, keys)])


def _name(key: bytes | bytearray) -> str:
    # Those that are not ASCII are other programs', and no key of ours equals what they become.
    return key.decode("latin-1")
