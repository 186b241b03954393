"""Replies as the server sends them: bytes in, values out.

The text protocol (https://github.com/memcached/memcached/blob/master/doc/protocol.txt).
A reply is a dict of the values that were got, a list of lines that end with `END`, one
line, or a `ReplyError`.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from twofold.backends.memcached import commands, stored
from twofold.backends.network import INCOMPLETE, ProtocolError, Reply, ReplyError, WireProtocol

_LONGEST_LINE = 8192  # bytes; a line that comes in pieces is put together at each
_LARGEST_VALUE = 2**30  # bytes that a server can be told to take
_HEADER = re.compile(rb"VALUE ([!-~]+) (\d{1,10}) (\d{1,10})(?: (\d{1,20}))?\r\n").match
_LASTING = re.compile(rb"VA (\d{1,10}) k([!-~]+) f(\d{1,10}) t(-1|\d{1,10})(?: [WXZ])*").fullmatch
_PLAIN_HEADER = re.compile(rb"VALUE ([!-~]+) (?:0|[2-4]\d{9}) (\d{1,10})\r\n")  # or described
_VALUES_END = b"\r\nEND\r\n"
_ERRORS = frozenset({b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"})


class Item(NamedTuple):
    """A value, and the number that changes whenever it is written."""

    value: bytes
    unique: int


class Lasting(NamedTuple):
    """A value, and the seconds that it has left, -1 for ever."""

    value: bytes
    left: int


class Reader:
    """Bytes in, replies out; for one connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._received: list[bytes] = []
        self._missing = 0  # bytes without which there is nothing to read
        self._values: dict[str, bytes | Item | Lasting] = {}
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
        if self._at == 0 and not self._values and (values := _whole(buffer)):
            self._buffer, self._missing = b"", 1
            return values
        while self._take_values():
            end = buffer.find(b"\n", self._at)
            if end < 0:
                if len(buffer) - self._at > _LONGEST_LINE:
                    raise ProtocolError("a line is too long")
                self._missing = 1
                break
            line = buffer[self._at : end].rstrip(b"\r")  # the lines of a scan end in LF alone
            if header := _LASTING(line):
                return self._lasting(header, end + 1)
            self._at = end + 1
            if line == b"END":
                return self._ended()
            if not line.startswith((b"STAT ", b"key=")):
                return self._line(line)
            self._lines.append(line if line[:1] == b"S" else line.partition(b" ")[0])
        return INCOMPLETE

    def has_data(self) -> bool:
        unread = self._received or self._values or self._lines
        return bool(unread) or self._at < len(self._buffer)

    def _take_received(self) -> None:
        rest = self._buffer[self._at :]
        received = self._received
        self._buffer = b"".join([rest, *received]) if rest or len(received) > 1 else received[0]
        self._at = 0
        received.clear()

    def _take_values(self) -> bool:
        """Take all values that come next; False if a part of one is missing."""
        while header := _HEADER(self._buffer, self._at):
            key, flags, size, unique = header.groups()
            data = self._data(header.end(), int(size))
            if data is None:
                return False
            self._values[key.decode("ascii")] = _value(data, flags, unique)
        return True

    def _lasting(self, header: re.Match[bytes], start: int) -> Reply:
        """Return the reply with the value that begins at `start`."""
        size, key, flags, left = header.groups()
        data = self._data(start, int(size))
        if data is None:
            return INCOMPLETE
        if self._values or self._lines:
            raise ProtocolError("two replies are one")
        return {key.decode("ascii"): Lasting(stored.read(int(flags), data), int(left))}

    def _data(self, start: int, size: int) -> bytes | None:
        """Take the `size` bytes of a value from `start` on; None if a part of them is missing."""
        buffer, stop = self._buffer, start + size
        if stop + 2 > len(buffer):
            if size > _LARGEST_VALUE:
                raise ProtocolError(f"a value has {size} bytes")
            self._missing = stop + 2 - len(buffer)
            return None
        if buffer[stop : stop + 2] != b"\r\n":
            raise ProtocolError("a value is longer than its header says")
        self._at = stop + 2
        return buffer[start:stop]

    def _ended(self) -> Reply:
        values, lines = self._values, self._lines
        self._values, self._lines = {}, []
        if values and lines:
            raise ProtocolError("a reply has both values and lines")
        return lines or values

    def _line(self, line: bytes) -> Reply:
        word = line.partition(b" ")[0]
        if word in _ERRORS:
            self._values, self._lines = {}, []
            return ReplyError(line.decode(errors="replace"))
        if word == b"VALUE" or self._values or self._lines:
            raise ProtocolError("a line came amid values")
        return line


def _value(data: bytes, flags: bytes, unique: bytes | None) -> bytes | Item:
    if flags != b"0" or data[:1] <= b"9":  # an envelope begins with more
        data = stored.read(int(flags), data)
    return Item(data, int(unique)) if unique else data


def _whole(buffer: bytes) -> dict[str, bytes | Item] | None:
    """Read a buffer that is exactly one reply of values, twice as fast; None if it is not."""
    if not buffer.endswith(_VALUES_END) or not (header := _HEADER(buffer)):
        return None
    key, flags, size, unique = header.groups()
    start = header.end()
    stop = len(buffer) - len(_VALUES_END)
    if stop - start == int(size):
        return {key.decode("ascii"): _value(buffer[start:stop], flags, unique)}
    return _plain_values(buffer[: stop + 2])


def _plain_values(buffer: bytes) -> dict[str, bytes | Item] | None:
    """Read values of which each has its size up to the next header; None if one has not.

    So none of them has what looks like a header in it.
    """
    before, *parts = _PLAIN_HEADER.split(buffer)
    found = [each for each in parts[2::3] if each[:1] > b"9" and each.endswith(b"\r\n")]
    if before or [len(each) - 2 for each in found] != list(map(int, parts[1::3])):
        return None
    keys = b" ".join(parts[::3]).decode("ascii").split(" ")
    return dict(zip(keys, [each[:-2] for each in found], strict=True))


_STORED = rb"STORED|NOT_STORED|EXISTS|NOT_FOUND"
_LINES: Final = {
    b"set": _STORED,
    b"add": _STORED,
    b"cas": _STORED,
    b"delete": rb"DELETED|NOT_FOUND",
    b"incr": rb"\d{1,20}|NOT_FOUND",
    b"mg": rb"HD f\d{1,10} c\d{1,20} t(-1|\d{1,10})( [WXZ])*|EN( k[!-~]+)?",
    b"version": rb"VERSION .*",
    b"flush_all": rb"OK",
    b"lru_crawler": rb"OK|(BUSY|BADCLASS)( .*)?",
}
_FITTING: Final = {verb: re.compile(line).fullmatch for verb, line in _LINES.items()}
_LISTED: Final = (b"stats", b"lru_crawler")


def fits(packed: bytes, reply: Reply) -> bool:
    """Tell whether `reply` can be the one to the request `packed`."""
    if type(reply) is dict:
        return _has_values_for(packed, reply)
    if type(reply) is ReplyError:
        return True
    verb = packed.split(maxsplit=1)[0]
    if type(reply) is list:
        return verb in _LISTED
    return verb in _FITTING and _FITTING[verb](reply) is not None


def _has_values_for(packed: bytes, values: dict[str, Any]) -> bool:
    """Tell whether all of `values` were asked for."""
    if packed.startswith(b"mg "):
        return packed.endswith(b" v\r\n") and [*values] == [packed.decode("ascii").split()[1]]
    if not packed.startswith((b"get ", b"gets ")):
        return not values and packed.startswith(_LISTED)
    if len(values) == 1 and packed[4:-2] == next(iter(values)).encode():
        return True  # the usual case; what follows would say the same, slower
    return values.keys() <= {*packed.decode("ascii").split()[1:]}


def join(requests: Sequence[bytes]) -> bytes:
    """Return one `get` for what several ask for, each key once."""
    keys = b" ".join([each[4:-2] for each in requests]).split(b" ")
    return b"get %b\r\n" % b" ".join(dict.fromkeys(keys))


def begins(reply: Reply) -> bool:
    """Tell whether a list of keys follows, which servers from 1.6.43 on announce."""
    return type(reply) is bytes and reply == b"OK"


MEMCACHED: Final = WireProtocol(
    Reader,
    fits,
    ping=commands.VERSION,
    probe=commands.VERSION,
    merge=join,
    mergeable=b"get ",
    is_preamble=begins,
)
