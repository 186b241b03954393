"""What goes wrong between a client and its server."""

from collections.abc import Sequence
from typing import Final, TypeAlias, TypeVar

from twofold.backends.network.replies import Reply, ReplyError
from twofold.display import printable
from twofold.errors import BackendUnavailable, DeadlineExceeded, PartlyUnavailable

T = TypeVar("T")

_REPEATS = ", with args beginning with"  # as Redis does for a command that it does not know

ASK_WHO: Final = " (OPTIONS or LOCATION may name another kind of server, or a proxy is in between)"
"""What to look at when a server does not keep to the protocol."""

Outcome: TypeAlias = Reply | BackendUnavailable
"""What a command led to: a reply, a refusal, or why there is neither."""


class ConnectionLost(BackendUnavailable):
    """The connection ended before the reply.

    `sent` tells whether the command had left: then it may have been carried out.
    """

    def __init__(self, text: str, sent: bool = True) -> None:
        super().__init__(text)
        self.sent: bool = sent


class ConnectError(ConnectionLost):
    """No connection could be made; `refused` unless time ran out."""

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
    """Return the error of a call to the server `name` that may take `timeout` seconds."""
    return DeadlineExceeded(
        f"{name} did not answer within the deadline of {timeout:g} s; a write may still"
        " happen later. OPTIONS['deadline'] sets the limit."
    )


def redacted(error: object) -> str:
    """Return a server's error without what it repeats of the command: logins, keys, values."""
    return printable(str(error).partition(_REPEATS)[0])


def is_lost(outcome: object) -> bool:
    """Tell whether the server did not answer; a refusal is an answer."""
    return isinstance(outcome, BackendUnavailable) and not isinstance(outcome, Refused)


def unwrap(outcome: Outcome) -> Reply:
    """Return the reply, or raise why there is none."""
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
    text = f"not all servers answered, so a part was not done: {failures[0]}"
    raise PartlyUnavailable(text, result) from failures[0]
