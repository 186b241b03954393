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
_LONGEST_NUMBER: Final = 25  # bytes, with what is around it
_COMMON: Final = frozenset({b"$-1\r\n", b"+OK\r\n", b":0\r\n", b":1\r\n"})

_value_begins = re.compile(rb"\$(\d{1,10})\r\n").match
_pair_begins = re.compile(rb"\*2\r\n\$(\d{1,10})\r\n").match
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
    return PythonReader() if hiredis is None else GuardedReader(hiredis)


def reply_error(text: str) -> ReplyError:
    """Return an error; Redis 6.2 says of one inside a script where that is, before what it is."""
    return ReplyError(_before_error(text)[1])


class GuardedReader:
    """hiredis; the exact reader instead of it for replies that could be an attack."""

    gets: Callable[[], Reply]
    has_data: Callable[[], bool]

    def __init__(self, hiredis: ModuleType) -> None:
        self._hiredis = hiredis
        self._pieces: list[bytes] = []
        """What hiredis has been given since the first of some replies began."""
        self._exact: PythonReader | None = None
        self._begin()

    def _begin(self) -> None:
        """Have hiredis read from between two replies on."""
        reader = self._hiredis.Reader(
            protocolError=ProtocolError, replyError=reply_error, notEnoughData=INCOMPLETE
        )
        self._feed, self._gets, self._has_more = reader.feed, reader.gets, reader.has_data
        self._go_on()

    def _go_on(self) -> None:
        self._pieces, self._exact, self._is_plain = [], None, True
        self.gets, self.has_data = self._gets, self._has_more

    def feed(self, data: bytes, /) -> None:
        if self._is_plain or self._is_through():
            # A whole value, or something as common. Hashing long data is slow.
            if data.startswith(_header(len(data))) or (len(data) < _SHORT and data in _COMMON):
                self._feed(data)
                return
            if data[0] == _DOLLAR:  # a whole value and a number behind it, such as its life?
                end = data.rfind(b"\r\n:", -_LONGEST_NUMBER, -2) + 2
                ends_with_it = end > 1 and data.find(b"\r\n", end) == len(data) - 2
                if ends_with_it and data.startswith(_header(end)):
                    self._feed(data)
                    return
            elif data[0] == _STAR and _is_pair(data):
                self._feed(data)
                return
            self._is_plain = False
        self._feed_others(data)

    def _is_through(self) -> bool:
        """Tell whether all replies have been read; the next one is for hiredis again."""
        if self.has_data():
            return False
        self._go_on()
        return True

    def _feed_others(self, data: bytes) -> None:
        if self._exact is None and not self._may_have(data):
            self._leave()
        if self._exact is not None:
            self._exact.feed(data)
            return
        # hiredis says that nothing is left where it has read the first byte of a reply, or
        # elements of an array, which can only be the first of all.
        if data[-1] != _LF or data[0] == _STAR:
            self.gets, self.has_data = self._gets_watched, _yes
        self._pieces.append(data)
        self._feed(data)

    def _gets_watched(self) -> Reply:
        reply = self._gets()
        if reply is not INCOMPLETE and not self._has_more():
            self._go_on()
        return reply

    def _may_have(self, data: bytes) -> bool:
        """Tell whether what comes is no attack, and the reply can soon be at its end."""
        if not self._pieces:
            return _is_harmless(data)
        if len(self._pieces) == _MOST_PIECES:
            return False
        seam = b"".join(self._pieces)[-_HEADER:] + data[:_HEADER]
        return not _announces_much(seam) and not _announces_much(data)

    def _leave(self) -> None:
        """Have the exact reader go on from here."""
        exact, pieces = PythonReader(), self._pieces
        for piece in pieces:
            exact.feed(piece)
        while exact.gets() is not INCOMPLETE:
            pass  # hiredis has told that one
        if pieces:
            self._begin()
        self._exact, self._is_plain = exact, False
        self.gets, self.has_data = exact.gets, exact.has_data


def _yes() -> bool:
    return True


def _is_pair(data: bytes) -> bool:
    """Tell whether `data` are a whole list of two values, such as an entry and its tag."""
    if (begins := _pair_begins(data)) is None:
        return False
    end = begins.end() + int(begins[1]) + 2
    return end < len(data) and data.startswith(_header(len(data) - end), end)


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
            return (yield from self._bulk(read_number(text, _LARGEST_VALUE)))
        if kind == b":":
            return read_number(text)
        if kind == b"+":
            return text
        if kind == b"-":
            return reply_error(text.decode(errors="replace"))
        if kind == b"*" and depth:
            return (yield from self._array(read_number(text, _LONGEST_ARRAY), depth - 1))
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


def read_number(text: bytes, most: int = 2**63 - 1) -> int:
    """Return what `text` says, at most `most`; what is none is shown shortened."""
    number = int(text) if _is_number(text) else None
    if number is None or number > most:
        raise ProtocolError(f"a number is {text[:32]!r}")
    return number
