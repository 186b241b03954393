"""The server's side of memcached's text protocol, for servers that a test writes itself."""

from tests.network_raw import value_of
from twofold.backends.network import INCOMPLETE

VERSION = b"VERSION 1.6.18\r\n"
GREETING = [b"version"]
WITH_DATA = (b"set", b"add", b"cas")


class CommandReader:
    """Bytes in, commands out: lists of words, of which the last one may be the data."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def gets(self) -> object:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return INCOMPLETE
        words = line.split(b" ")
        if words[0] in WITH_DATA:
            size = int(words[4])
            if len(rest) < size + 2:
                return INCOMPLETE
            words.append(rest[:size])
            rest = rest[size + 2 :]
        self._buffer = rest
        return words


def is_there(key: bytes) -> bool:
    """Whether the server has a key: all but those that say that they are absent."""
    return not key.startswith(b"absent")


def items(keys: list[bytes], unique: bytes = b"") -> bytes:
    """Return the reply to a `get`."""
    found = {key: value_of(key) for key in keys if is_there(key)}
    head = b"VALUE %b 0 %d%b\r\n%b\r\n"
    return b"".join(head % (key, len(v), unique, v) for key, v in found.items()) + b"END\r\n"


def answer(command: list[bytes]) -> bytes:
    """Return the reply to a command, as of a server that changes nothing."""
    verb, *rest = command
    key = rest[0] if rest else b""
    there = is_there(key)
    if verb == b"get":
        return items(rest)
    if verb == b"mg" and rest[-1] == b"v" and there:
        value = value_of(key)
        return b"VA %d k%b f0 t-1\r\n%b\r\n" % (len(value), key, value)
    return {
        b"gets": items([key], b" 7"),
        b"set": b"STORED\r\n",
        b"add": b"NOT_STORED\r\n" if there else b"STORED\r\n",
        b"cas": b"STORED\r\n" if there else b"NOT_FOUND\r\n",
        b"delete": b"DELETED\r\n" if there else b"NOT_FOUND\r\n",
        b"incr": b"11\r\n" if there else b"NOT_FOUND\r\n",
        b"mg": b"HD f0 c7 t-1\r\n" if there else b"EN\r\n",
        b"version": VERSION,
        b"stats": b"STAT item_size_max 1048576\r\nEND\r\n",
        b"flush_all": b"OK\r\n",
        b"lru_crawler": b"key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=60\nEND\r\n",
    }[verb]
