"""Callers of the async face who wait in line for their replies."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from twofold.backends.network.errors import ConnectionLost
from twofold.backends.network.replies import Reply


class PendingReply(asyncio.Future[Reply]):
    """A request's place in the line; to await it brings the reply, or the list of replies."""

    __slots__ = ("deadline", "packed", "parts", "replies", "wanted")

    packed: bytes
    wanted: int
    """Replies; 0: one, which may have another before it that announces it."""
    deadline: float
    parts: Sequence[bytes]
    replies: list[Reply]

    def next_part(self) -> bytes:
        """Return what the next reply is to."""
        return self.packed if self.wanted < 2 else self.parts[len(self.replies)]

    def take(self, reply: Reply) -> bool:
        """Take the next of several replies, and tell whether it was the last one."""
        self.replies.append(reply)
        if len(self.replies) < self.wanted:
            return False
        if not self.done():
            self.set_result(self.replies)
        return True

    def fail(self, error: BaseException) -> None:
        """End the wait by an error."""
        if not self.done():
            self.set_exception(error)

    def leave(self) -> None:
        """Take note that nobody waits any more, whatever came or will come."""
        if not self.cancel() and not self.cancelled():
            self.exception()  # which nobody is to be told of


class MergedRead:
    """What several callers read, as one request whose reply is each one's."""

    __slots__ = ("deadline", "packed", "reads", "wanted")

    def __init__(self, reads: list[PendingReply], packed: bytes) -> None:
        self.reads: list[PendingReply] = reads
        self.packed: bytes = packed
        self.wanted: int = 1
        self.deadline: float = reads[0].deadline

    def next_part(self) -> bytes:
        """Return what the one reply is to."""
        return self.packed

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
    """Tell all who wait for `requests`, each by an exception of its own."""
    failed = list(callers(requests))
    requests.clear()
    for pending in failed:
        own = ConnectionLost(str(error), sent)
        own.__cause__ = error
        pending.fail(own)
