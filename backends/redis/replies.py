"""Replies as the server sends them: bytes in, values out.

The protocol is RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
hiredis reads it where it is installed, and the reader below where it is not.
"""

from collections.abc import Generator
from types import ModuleType
from typing import Final

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

RESP2: Final = frozenset({bytes, int, list, type(None), ReplyError})
"""The types of replies: hiredis takes those of RESP3, and pushes, for replies too."""


def new_reader() -> Reader:
    """Return a reader for one connection."""
    if hiredis is None:
        return PythonReader()
    reader: Reader = hiredis.Reader(
        protocolError=ProtocolError, replyError=ReplyError, notEnoughData=INCOMPLETE
    )
    return reader


class PythonReader:
    """The reader where hiredis is missing."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._reading: Generator[None, None, Reply] | None = None

    def feed(self, data: bytes, /) -> None:
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def gets(self) -> Reply:
        if self._reading is None:
            self._reading = self._reply()
        try:
            next(self._reading)
        except StopIteration as done:
            self._reading = None
            return done.value
        return INCOMPLETE

    def has_data(self) -> bool:
        return self._at < len(self._buffer)

    def _reply(self) -> Generator[None, None, Reply]:
        """Read one reply; suspend whenever bytes are wanting."""
        line = yield from self._line()
        kind, text = line[:1], line[1:]
        if kind == b"$":
            return (yield from self._bulk(_number(text)))
        if kind == b":":
            return _number(text)
        if kind == b"+":
            return text
        if kind == b"-":
            return ReplyError(text.decode(errors="replace"))
        if kind == b"*":
            return (yield from self._array(_number(text)))
        raise ProtocolError(f"a reply begins with {kind!r}")

    def _line(self) -> Generator[None, None, bytes]:
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            yield
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, size: int) -> Generator[None, None, bytes | None]:
        if size < 0:
            return None
        while len(self._buffer) < self._at + size + 2:
            yield
        start = self._at
        self._at += size + 2
        if self._buffer[start + size : self._at] != b"\r\n":
            raise ProtocolError("a value does not end where it should")
        return bytes(self._buffer[start : start + size])

    def _array(self, size: int) -> Generator[None, None, list[Reply] | None]:
        if size < 0:
            return None
        replies = []
        for _ in range(size):
            reply = yield from self._reply()
            replies.append(reply)
        return replies


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise ProtocolError(f"a number is {text!r}") from None
