"""A Redis client for administration: one connection for each command, and nothing left open."""

import socket
from pathlib import Path
from typing import Any, BinaryIO

_TIMEOUT = 5.0  # seconds for any answer


class CommandFailed(Exception):
    """The server answered with an error; the message is the server's."""


def ask(path: Path, *commands: tuple[Any, ...]) -> Any:
    """Send commands over a Unix socket and return the reply to the last.

    Bulk strings are bytes, simple ones `str`, arrays lists. An error reply raises `CommandFailed`.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(str(path))
        with connection.makefile("rb") as replies:
            answer = None
            for command in commands:
                connection.sendall(packed(command))
                answer = _read(replies)
            return answer


def packed(command: tuple[Any, ...]) -> bytes:
    """Return a command as the protocol writes it."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    bulks = (b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n" % len(parts) + b"".join(bulks)


def _read(replies: BinaryIO) -> Any:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection before it answered")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise CommandFailed(rest.decode())
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if int(rest) < 0:
        return None
    if kind == b"*":
        return [_read(replies) for _ in range(int(rest))]
    return replies.read(int(rest) + 2)[:-2]
