"""What goes wrong between a client and its server."""

from twofold.errors import BackendUnavailable, DeadlineExceeded


class ConnectionLost(BackendUnavailable):
    """The connection ended before the reply.

    `sent` tells whether what was asked had left: then it may have been done.
    """

    def __init__(self, text: str, sent: bool = True) -> None:
        super().__init__(text)
        self.sent: bool = sent


class DialFailed(ConnectionLost):
    """No connection came about; `refused` unless time ran out over it."""

    def __init__(self, text: str, refused: bool) -> None:
        super().__init__(text, sent=False)
        self.refused: bool = refused


def late(name: str, deadline: float) -> DeadlineExceeded:
    """Return the error of a call to the server `name` that took `deadline` seconds."""
    return DeadlineExceeded(
        f"{name} did not answer within the deadline of {deadline:g} s; a write may still"
        " happen later. OPTIONS['deadline'] sets the limit."
    )
