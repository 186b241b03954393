"""Replies as the server sends them: bytes in, values out.

The protocol is RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
hiredis reads it where it is installed. It makes room for an array as soon as it has read
how long that will be, 3 GB for 12 bytes. So it is given only what certainly allocates no more than
it contains; the exact reader below, a few times slower, has the rest.
"""

import re
from collections.abc import Callable, Generator
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from twofold.backends.network.replies import (
    INCOMPLETE,
    ProtocolError,
    Reader,
    Reply,
    ReplyError,
)

hiredis: ModuleType | None
try:
    import hiredis
except ImportError:  # there is no wheel for every platform
    hiredis = None

_LARGEST_VALUE: Final = 2**30  # bytes, twice what a server takes unless it is told otherwise
_LONGEST_LINE: Final = 65_536  # bytes
_LONGEST_ARRAY: Final = 2**24
_DEEPEST: Final = 6  # arrays in each other; a cluster's description of itself has 4
_MOST_PIECES: Final = 16  # of a reply; hiredis looks for its end from its start, at each
_HEADER: Final = 24  # bytes at most
_REMEMBERED: Final = 8192  # lengths of values whose headers need not be made again
_DOLLAR, _STAR, _LF = b"$*\n"
_SHORT: Final = 6
_COMMON: Final[dict[bytes, Reply]] = {
    b"$-1\r\n": None,
    b"+OK\r\n": b"OK",
    b":0\r\n": 0,
    b":1\r\n": 1,
}

_value_begins = re.compile(rb"\$(\d{1,10})\r\n").match
_begins_well = re.compile(rb"[$:+-]|\*\d{1,5}\r\n").match
_AS_STARS: Final = bytes.maketrans(b"~>|%", b"****")
_array_begins = re.compile(rb"\*(?:\d{5}|\d+\r\n)").search
_before_error: Callable[[str], Any] = re.compile(
    r"(?:(?:ERR Error running script \(call to \w+\): @user_script:\d+: )?"
    r"@user_script: \d+: -)?(.*)",
    re.DOTALL,
).match
_is_number = re.compile(rb"-?\d{1,19}").fullmatch


def new_reader() -> Reader:
    """Return a reader for one connection."""
    return PythonReader() if hiredis is None else QuickReader(hiredis)


def reply_error(text: str) -> ReplyError:
    """Return an error; Redis 6.2 says of one inside a script where that is, before what it is."""
    return ReplyError(_before_error(text)[1])


class QuickReader:
    """One value at a time, as most replies are; hiredis for others that cannot be an attack."""

    gets: Callable[[], Reply]

    def __init__(self, hiredis: ModuleType) -> None:
        self._value: Reply = INCOMPLETE
        self._hiredis = hiredis
        self._guarded = Guarded(hiredis)
        self._others: Guarded | PythonReader | None = None
        """What reads replies that are not a value in one piece."""
        self.gets = self._gets_value

    def feed(self, data: bytes, /) -> None:
        if self._others is not None and not self._others.has_data():
            self._others, self.gets = None, self._gets_value
        if self._others is None:
            if data.startswith(header := _header(len(data))):
                self._value = data[len(header) : -2]
                return
            if len(data) < _SHORT and data in _COMMON:  # hashing long data is slow
                self._value = _COMMON[data]
                return
        self._feed_others(data)

    def _gets_value(self) -> Reply:
        value, self._value = self._value, INCOMPLETE
        return value

    def _feed_others(self, data: bytes) -> None:
        others = self._others
        if others is None:
            others = self._guarded if _is_harmless(data) else PythonReader()
        elif type(others) is Guarded and not others.may_have(data):
            self._guarded = Guarded(self._hiredis)
            others = others.exact()
        others.feed(data)
        self._others, self.gets = others, others.gets

    def has_data(self) -> bool:
        if self._others is None:
            return self._value is not INCOMPLETE
        return self._others.has_data()


class Guarded:
    """hiredis, and what it has been given since the first of some replies began."""

    def __init__(self, hiredis: ModuleType) -> None:
        self._reader: Any = hiredis.Reader(
            protocolError=ProtocolError, replyError=reply_error, notEnoughData=INCOMPLETE
        )
        self._pieces: list[bytes] = []
        self._array: Array | None = None
        self.gets: Callable[[], Reply] = self._reader.gets

    def feed(self, data: bytes) -> None:
        """Take what cannot be an attack."""
        if not self._pieces or not self.has_data():
            self._pieces = []
            self._array = Array(self._reader.gets) if data[0] == _STAR else None
            self.gets = self._reader.gets if self._array is None else self._array.gets
        self._pieces.append(data)
        self._reader.feed(data)

    def may_have(self, data: bytes) -> bool:
        """Tell whether what continues a reply is no attack, and can soon be at its end."""
        seam = b"".join(self._pieces)[-_HEADER:] + data[:_HEADER]
        if len(self._pieces) == _MOST_PIECES:
            return False
        return not _announces_much(seam) and not _announces_much(data)

    def exact(self) -> "PythonReader":
        """Return a reader that goes on from here."""
        reader = PythonReader()
        for piece in self._pieces:
            reader.feed(piece)
        while reader.gets() is not INCOMPLETE:
            pass  # hiredis has told that one
        return reader

    def has_data(self) -> bool:
        """Tell whether it is within a reply.

        It says itself that there is nothing left where it has read the first byte of a
        reply, or elements of an array.
        """
        last, array = self._pieces[-1][-1], self._array
        return last != _LF or bool(array and not array.is_read) or bool(self._reader.has_data())


class Array:
    """An array, which is the first of some replies, until it is read."""

    def __init__(self, gets: Callable[[], Reply]) -> None:
        self._gets = gets
        self.is_read: bool = False

    def gets(self) -> Reply:
        """Return it, or what follows, or `INCOMPLETE`."""
        reply = self._gets()
        self.is_read = self.is_read or reply is not INCOMPLETE
        return reply


@lru_cache(_REMEMBERED)
def _header(length: int) -> bytes:
    """Return what a value begins with that comes in `length` bytes.

    If there is none of that length, what is returned is longer than what comes.
    """
    for digits in range(1, 11):
        size = length - digits - len(b"$\r\n\r\n")
        if size >= 0 and len(header := b"$%d\r\n" % size) == digits + 3:
            return header
    return bytes(length + 1)


def _is_harmless(data: bytes) -> bool:
    """Tell whether hiredis may have what begins a reply."""
    if data[0] == _DOLLAR and (value := _value_begins(data)):
        if value.end() + int(value[1]) + 2 > len(data):
            return False  # joining data is not its business
    elif not _begins_well(data):
        return False
    return not _announces_much(data)


def _announces_much(data: bytes) -> bool:
    """Tell whether an array in another one, or a long one, may begin behind the first byte.

    It may begin anywhere: hiredis skips two bytes behind a value, whatever they are.
    """
    if data.find(b"*", 1) > 0 or b"~" in data or b">" in data or b"|" in data or b"%" in data:
        return _array_begins(data.translate(_AS_STARS), 1) is not None
    return False


class PythonReader:
    """A reader that keeps what came, and nothing for what has not come.

    Its cost is linear in the bytes, however small the pieces are.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._searched = 0  # up to where there is no end of a line
        self._reading: Generator[None, None, Reply] | None = None
        self._is_within = False  # a reply, of which some lines have been read

    def feed(self, data: bytes, /) -> None:
        del self._buffer[: self._at]
        self._searched -= self._at
        self._at = 0
        self._buffer += data

    def gets(self) -> Reply:
        if self._reading is None:
            self._reading = self._reply(_DEEPEST)
        try:
            next(self._reading)
        except StopIteration as done:
            self._reading, self._is_within = None, False
            return done.value
        return INCOMPLETE

    def has_data(self) -> bool:
        return self._is_within or self._at < len(self._buffer)

    def _reply(self, depth: int) -> Generator[None, None, Reply]:
        """Read one reply; suspend whenever bytes are wanting."""
        line = yield from self._line()
        kind, text = line[:1], line[1:]
        if kind == b"$":
            return (yield from self._bulk(_number(text, _LARGEST_VALUE)))
        if kind == b":":
            return _number(text)
        if kind == b"+":
            return text
        if kind == b"-":
            return reply_error(text.decode(errors="replace"))
        if kind == b"*" and depth:
            return (yield from self._array(_number(text, _LONGEST_ARRAY), depth - 1))
        raise ProtocolError(f"a reply begins with {kind!r}")

    def _line(self) -> Generator[None, None, bytes]:
        while (end := self._buffer.find(b"\r\n", self._searched)) < 0:
            self._searched = max(self._at, len(self._buffer) - 1)
            if self._searched - self._at > _LONGEST_LINE:
                raise ProtocolError("a line has no end")
            yield
        line = bytes(self._buffer[self._at : end])
        self._at = self._searched = end + 2
        self._is_within = True
        return line

    def _bulk(self, size: int) -> Generator[None, None, bytes | None]:
        if size < 0:
            return None
        while len(self._buffer) < self._at + size + 2:
            yield
        start = self._at
        self._at = self._searched = start + size + 2
        if not self._buffer.startswith(b"\r\n", start + size):
            raise ProtocolError("a value does not end where it should")
        with memoryview(self._buffer) as buffer:
            return bytes(buffer[start : start + size])

    def _array(self, size: int, depth: int) -> Generator[None, None, list[Reply] | None]:
        if size < 0:
            return None
        replies = []
        for _ in range(size):
            reply = yield from self._reply(depth)
            replies.append(reply)
        return replies


def _number(text: bytes, most: int = 2**63 - 1) -> int:
    """Return what `text` says, at most `most`; what is none is shown shortened."""
    number = int(text) if _is_number(text) else None
    if number is None or number > most:
        raise ProtocolError(f"a number is {text[:32]!r}")
    return number
