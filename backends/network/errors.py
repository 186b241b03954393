"""What goes wrong between a client and its server."""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

from twofold.backends.network.replies import Reply, ReplyError
from twofold.display import printable
from twofold.errors import BackendUnavailable, DeadlineExceeded, PartlyUnavailable

T = TypeVar("T")

_REPEATS = ", with args beginning with"  # as Redis does for a command that it does not know

Outcome: TypeAlias = Reply | BackendUnavailable
"""What comes of a command: a reply; or that it was refused, or why there is none."""


class ConnectionLost(BackendUnavailable):
    """The connection ended before the reply.

    `sent` tells whether what was asked had left: then it may have been done.
    """

    def __init__(self, text: str, sent: bool = True) -> None:
        super().__init__(text)
        self.sent: bool = sent


class ConnectError(ConnectionLost):
    """No connection came about; `refused` unless time ran out over it."""

    def __init__(self, text: str, refused: bool = True) -> None:
        super().__init__(text, sent=False)
        self.refused: bool = refused


class Refused(BackendUnavailable):
    """A server refused a command; `code` is the first word of what it said."""

    def __init__(self, text: str, error: ReplyError | None = None) -> None:
        super().__init__(text)
        self.reason: str = str(error or "")
        self.code: str = self.reason.partition(" ")[0]


def deadline_exceeded(name: str, timeout: float) -> DeadlineExceeded:
    """Return the error of a call to the server `name` that took `timeout` seconds."""
    return DeadlineExceeded(
        f"{name} did not answer within the deadline of {timeout:g} s; a write may still"
        " happen later. OPTIONS['deadline'] sets the limit."
    )


def redacted(error: object) -> str:
    """Return what a server said, without what it repeats of the command: logins, keys, values."""
    return printable(str(error).partition(_REPEATS)[0])


def is_lost(outcome: object) -> bool:
    """Tell whether what came of a command is no answer of the server's."""
    return isinstance(outcome, BackendUnavailable) and not isinstance(outcome, Refused)


def unwrap(outcome: Outcome) -> Reply:
    """Return a reply; raise what is none."""
    if not isinstance(outcome, BackendUnavailable):
        return outcome
    try:
        raise outcome
    finally:
        del outcome  # an error whose traceback has this frame would keep itself alive


def raise_partial(result: T, failures: Sequence[BackendUnavailable]) -> T:
    """Return `result`; raise it in a `PartlyUnavailable` if there are `failures`."""
    if not failures:
        return result
    raise PartlyUnavailable(f"a part was not done: {failures[0]}", result) from failures[0]
