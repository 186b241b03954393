"""Replies as the server sends them: bytes in, values out.

The text protocol (https://github.com/memcached/memcached/blob/master/doc/protocol.txt).
A reply is a dict of the values that were got, a list of lines that end with `END`, one
line, or a `ReplyError`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from twofold.backends.memcached import commands, stored
from twofold.backends.network import INCOMPLETE, Dialect, ProtocolError, Reply, ReplyError

_LONGEST_LINE = 65_536  # bytes
_LARGEST_VALUE = 2**30  # bytes that a server can be told to take
_ERRORS = frozenset({b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"})


class Item(NamedTuple):
    """A value, and what changes whenever it is written."""

    value: bytes
    unique: int


class Reader:
    """Bytes in, replies out; for one connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._received: list[bytes] = []
        self._missing = 0  # bytes without which there is nothing to read
        self._values: dict[str, bytes | Item] = {}
        self._lines: list[bytes] = []

    def feed(self, data: bytes, /) -> None:
        self._received.append(data)
        self._missing -= len(data)

    def gets(self) -> Reply:
        if self._missing > 0:
            return INCOMPLETE
        if self._received:
            self._take_received()
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._at)) >= 0:
            line = buffer[self._at : end].rstrip(b"\r")  # those of keys end without
            if line.startswith(b"VALUE "):
                if not self._value(line, end + 1):
                    return INCOMPLETE
                continue
            self._at = end + 1
            if line == b"END":
                return self._ended()
            if line.startswith((b"STAT ", b"key=")):
                self._lines.append(line if line[:1] == b"S" else line.partition(b" ")[0])
                continue
            return self._line(line)
        if len(buffer) - self._at > _LONGEST_LINE:
            raise ProtocolError("a line has no end")
        self._missing = 1
        return INCOMPLETE

    def _take_received(self) -> None:
        rest = self._buffer[self._at :]
        received = self._received
        self._buffer = b"".join([rest, *received]) if rest or len(received) > 1 else received[0]
        self._at = 0
        received.clear()

    def _value(self, line: bytes, start: int) -> bool:
        """Take a value that begins at `start`, and tell whether it was all there."""
        try:
            _, key, flags, size, *unique = line.split(b" ")
            stop = start + int(size)
        except ValueError:
            raise ProtocolError(f"a value begins with {line[:300]!r}") from None
        if not start <= stop <= start + _LARGEST_VALUE:
            raise ProtocolError(f"a value has {size!r} bytes")
        buffer = self._buffer
        self._missing = stop + 2 - len(buffer)
        if self._missing > 0:
            return False
        if buffer[stop : stop + 2] != b"\r\n":
            raise ProtocolError("a value does not end where it should")
        data = buffer[start:stop]
        if flags != b"0" or data[:1] <= b"9":  # what the envelope begins with is greater
            data = stored.read(_number(flags), data)
        self._values[key.decode("latin-1")] = Item(data, _number(unique[0])) if unique else data
        self._at = stop + 2
        return True

    def _ended(self) -> Reply:
        values, lines = self._values, self._lines
        self._values, self._lines = {}, []
        if values and lines:
            raise ProtocolError("a reply has both values and lines")
        return lines or values

    def _line(self, line: bytes) -> Reply:
        self._values, self._lines = {}, []
        if line.partition(b" ")[0] in _ERRORS:
            return ReplyError(line.decode(errors="replace"))
        return line


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise ProtocolError(f"a number is {text[:300]!r}")
    return int(text)


_STORED = (b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND")
_LINES: Final = {
    b"set": _STORED,
    b"add": _STORED,
    b"cas": _STORED,
    b"touch": (b"TOUCHED", b"NOT_FOUND"),
    b"delete": (b"DELETED", b"NOT_FOUND"),
    b"mg": (b"HD", b"EN"),
    b"version": (b"VERSION",),
    b"flush_all": (b"OK",),
    b"lru_crawler": (b"BUSY", b"BADCLASS"),
}


def fits(packed: bytes, reply: Reply) -> bool:
    """Tell whether `reply` can be the one to the request `packed`."""
    kind = type(reply)
    if kind is ReplyError:
        return True
    verb = packed[: packed.find(b" ")].rstrip() if b" " in packed[:12] else packed.rstrip()
    if verb in (b"get", b"gets"):
        return kind is dict and set(reply) <= {*packed.decode("latin-1").split()}
    if kind is not bytes:
        return verb in (b"stats", b"lru_crawler") and (kind is list or not reply)
    word: bytes = reply.partition(b" ")[0]
    if verb == b"incr":
        return word.isdigit() or word == b"NOT_FOUND"
    return word in _LINES.get(verb, ())


def join(requests: Sequence[bytes]) -> bytes:
    """Return one `get` for what several ask for."""
    return b"get %b\r\n" % b" ".join(dict.fromkeys([each[4:-2] for each in requests]))


MEMCACHED: Final = Dialect(
    Reader,
    frozenset({dict, list, bytes, ReplyError}),
    commands.VERSION,
    fits=fits,
    join=join,
    reads=b"get ",
)
