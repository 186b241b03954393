"""Replies, whatever the protocol: bytes in, values out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from twofold.display import printable

Reply: TypeAlias = Any
"""What a server answers: a value of one of the protocol's types, or a `ReplyError`."""

INCOMPLETE: Final = object()
"""Instead of a reply of which a part is still to come."""


_LONGEST_ERROR: Final = 500  # characters that are worth showing


class ReplyError(Exception):
    """An error reply, made fit to be shown; `code` is its first word, such as "MOVED"."""

    def __init__(self, text: str) -> None:
        text = printable(text[:_LONGEST_ERROR])
        super().__init__(text)
        self.code: str = text.partition(" ")[0]


class ProtocolError(Exception):
    """The bytes are not replies to what was asked: the connection must be closed."""


class Reader(Protocol):
    """Bytes in, replies out."""

    def feed(self, data: bytes, /) -> None:
        """Take what was received."""

    def gets(self) -> Reply:
        """Return the next reply, or `INCOMPLETE`; raise `ProtocolError` for what is none."""

    def has_data(self) -> bool:
        """Tell whether there are bytes that were not read as replies."""


@dataclass(frozen=True)
class WireProtocol:
    """How servers of one kind are spoken to; each request has one reply, in their order."""

    new_reader: Callable[[], Reader]
    """Returns a reader for one connection."""
    matches: Callable[[bytes, Reply], bool]
    """Tells whether a reply can be the one to a command."""
    ping: bytes
    """A request that changes nothing and asks for nothing, to measure a round trip."""
    probe: bytes
    """A request that changes nothing, which the server answers if it answers others."""
    is_unwell: Callable[[ReplyError], bool] | None = None
    """Tells whether an error means that the server is not ready, and refuses all commands."""
    merge: Callable[[Sequence[bytes]], bytes] | None = None
    """Merges reads into one request, whose reply answers each."""
    mergeable: bytes = b""
    """The first bytes of a request that may be merged."""
    is_preamble: Callable[[Reply], bool] | None = None
    """Tells whether a reply only announces the real one; on dedicated connections alone."""


def mismatch(reply: Reply) -> ProtocolError:
    """Return the error of a reply that does not fit what was asked."""
    return ProtocolError(
        f"a reply ({type(reply).__name__}) does not match the request; the connection is closed"
    )
