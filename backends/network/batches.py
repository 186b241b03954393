"""What is asked of a server, and what goes over one connection at a time."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from twofold.backends.network.replies import Reply
from twofold.backends.network.servers import Server
from twofold.errors import BackendUnavailable

BULK: Final = 65_536
"""Bytes from which on a value has a connection of its own, in the async face."""

MANY: Final = 32
"""Keys at a time from which on they go over that connection too."""


class Command(NamedTuple):
    """One command, and what must be known to send it where it belongs."""

    packed: bytes
    key: str
    """What places it."""
    reads: bool = False
    """Whether it changes nothing: then it may be sent twice, and to a replica."""
    bulk: bool = False
    """Whether it takes so long to pass that small things should not wait behind it."""
    script: tuple[bytes, ...] = ()
    """The parts to send instead if the server does not know the script yet."""


class Batch(NamedTuple):
    """Commands for one server, to be sent as one."""

    server: Server
    packed: bytes
    parts: Sequence[bytes]
    """What each of the replies will be to."""
    bulk: bool = False
    """Whether they should not share a connection with what is small."""
    dedicated: bool = False
    """Whether they take so long that they should share one with nothing."""


class Attempt(NamedTuple):
    """What to send of a command, this time."""

    packed: bytes
    server: Server | None = None
    """Where to, if not where its key belongs."""
    before: bytes = b""
    """A command that must be sent just before it, and has a reply of its own."""

    @property
    def parts(self) -> list[bytes]:
        """All that is sent, command by command."""
        return [self.before, self.packed] if self.before else [self.packed]


class Result(NamedTuple):
    """What came of an attempt."""

    server: Server | None
    outcome: Reply | BackendUnavailable
    generation: int = 0
    """The server's, when it was asked."""


NOT_SENT: Final = Result(None, None)
"""Before anything came of a command."""


BatchOutcome: TypeAlias = list[Reply] | BackendUnavailable
"""The replies to a request, or why there are none."""
