"""Who waits for replies on a connection of the async face."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from twofold.backends.network.errors import ConnectionLost
from twofold.backends.network.replies import Reply


class PendingReply(asyncio.Future[Reply]):
    """A request in the queue; awaiting it returns the reply, or the list of replies."""

    __slots__ = ("deadline", "packed", "parts", "replies", "wanted")

    packed: bytes
    wanted: int
    """How many replies it has; 0 means one, before which a preamble may come."""
    deadline: float
    parts: Sequence[bytes]
    replies: list[Reply]

    def fail(self, error: BaseException) -> None:
        """End the wait by an error, which the loop does not report if nobody waits any more."""
        if not self.done():
            self.set_exception(error)
            self.exception()


class MergedRead:
    """Reads of several callers as one request, whose reply answers each."""

    __slots__ = ("deadline", "packed", "reads", "wanted")

    def __init__(self, reads: list[PendingReply], packed: bytes) -> None:
        self.reads: list[PendingReply] = reads
        self.packed: bytes = packed
        self.wanted: int = 1
        self.deadline: float = reads[0].deadline

    def done(self) -> bool:
        """Tell whether nobody waits any more."""
        return all(pending.done() for pending in self.reads)

    def set_result(self, reply: Reply) -> None:
        """Give everybody who waits the reply."""
        for pending in self.reads:
            if not pending.done():
                pending.set_result(reply)


def callers(requests: Iterable[PendingReply | MergedRead]) -> Iterator[PendingReply]:
    """Return the callers who wait for `requests`."""
    for each in requests:
        if isinstance(each, MergedRead):
            yield from each.reads
        else:
            yield each


def fail(
    requests: deque[PendingReply] | deque[PendingReply | MergedRead],
    error: ConnectionLost,
    sent: bool,
) -> None:
    """Fail `requests`, each with its own exception: a shared one would collect tracebacks."""
    failed = list(callers(requests))
    requests.clear()
    for pending in failed:
        own = ConnectionLost(str(error), sent)
        own.__cause__ = error
        pending.fail(own)
