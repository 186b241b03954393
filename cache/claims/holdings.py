"""Locks among the claims: who holds one here, for the check that nobody waits in a circle.

What excludes others is the token in the store. Noted here is what this process knows of it: the
task or thread that entered the lock's `with`, and what it waits for. What `acquire` brought may
be released by anybody, so nobody is taken to hold it.
"""

from twofold.backend import Stored
from twofold.claims.table import Claim, Claims, Joined, closes_circle, hold
from twofold.effects import this_caller


class Holding(Claim):
    """One holding of a lock by one task or thread.

    Args:
        claims: where whoever waits for the lock finds it.
        key: the normalised key of the lock.
        token: what stands in the store as long as it is held.
    """

    __slots__ = ("token",)

    def __init__(self, claims: Claims, key: str, token: Stored) -> None:
        super().__init__(claims, key, by_loop=False)
        self.token: Stored = token
        self.held_by: int | None = this_caller()

    def begin(self) -> None:
        """Note that the caller holds the lock."""
        self.claims.place(self)
        hold(self)

    def end(self) -> None:
        """Note that nobody holds it any more; nothing happens the second time."""
        super().end()
        self.claims.remove(self)


def circle_at(claims: Claims, key: str, joined: Joined) -> Holding | None:
    """Return whose holder waits for the caller, if whoever holds the lock `key` does.

    Else the caller is noted to wait for that one, until the next look or `Claims.leave`.
    """
    claims.leave(joined)
    for claim in claims.table.get(key, ()):
        if isinstance(claim, Holding) and closes_circle(claim, joined):
            return claim
    return None
