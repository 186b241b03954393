"""The right of one process to compute a key, kept in the store beside it.

Whoever computes adds a random token under the key's lease key, with a bounded life.
Others who miss the key meanwhile wait for the value, or for the lease to end. Whoever
deletes the key deletes its lease with it. So when the value is computed and stored, the
lease tells whether that was right: if it is gone before its time, the key was deleted
meanwhile, and what was stored is taken back.

The idea is that of memcached's leases at Facebook (R. Nishtala et al., "Scaling Memcache
at Facebook", NSDI 2013, section 3.2.1).
"""

import os
import random
import secrets

from twofold.backend import Backend, Stored
from twofold.effects import Effects
from twofold.entry import Codec
from twofold.errors import BackendUnavailable

LIFE = 30.0
"""Seconds after which another process may compute what this one has not finished."""

_FIRST_PAUSE = 0.002  # seconds between two looks, doubled each time
_LONGEST_PAUSE = 0.1


class Lease:
    """One process's claim to compute one key.

    Args:
        backend: where it lives.
        codec: makes a stored entry of the token.
        key: the normalised key of the lease.
    """

    def __init__(self, backend: Backend, codec: Codec, key: str) -> None:
        self._backend = backend
        self._codec = codec
        self._key = key
        self._token: Stored = codec.dump(key, f"{_process()}:{secrets.token_hex(8)}")
        self.unavailable: bool = False
        """Whether the store failed, and is better left alone for this once."""
        self._until = 0.0  # while it is not held
        self._absent = 0

    async def take(self, io: Effects) -> bool:
        """Try once to take it; False if another process has it.

        Within a process the flights see to it that a key is computed once. A lease of
        this very process was left by a computation that was lost, and is taken over. A
        store that has no room for a lease leaves nobody to wait for.
        """
        try:
            return await self._try(io)
        except BackendUnavailable:
            self.unavailable = True
            return True

    async def _try(self, io: Effects) -> bool:
        store, until = self._backend, self._backend.clock.monotonic() + LIFE
        if await io.op(store.add, store.aadd, self._key, self._token, LIFE):
            self._until = until
            return True
        held = await io.op(store.get, store.aget, self._key)
        if held is None:
            # Just released, so the value may be there by now; or there is no room for it.
            self._absent += 1
            return self._absent > 1
        holder = self._codec.load(self._key, held)
        if isinstance(holder, str) and not holder.startswith(_process()):
            return False
        if await io.op(
            store.compare_and_set, store.acompare_and_set, self._key, held, self._token, LIFE
        ):
            self._until = until
        return True

    async def steal(self, io: Effects) -> None:
        """Take it from whoever has it."""
        store, until = self._backend, self._backend.clock.monotonic() + LIFE
        try:
            if await io.op(store.set, store.aset, self._key, self._token, LIFE):
                self._until = until
        except BackendUnavailable:
            self.unavailable = True

    async def release(self, io: Effects) -> bool:
        """Let go of it, and tell whether the key was deleted while it was held."""
        store, until = self._backend, self._until
        if not until:
            return False
        try:
            held = await io.op(
                store.compare_and_delete, store.acompare_and_delete, self._key, self._token
            )
        except BackendUnavailable:
            return False
        return not held and store.clock.monotonic() < until


def _process() -> str:
    """Return a name of this process that no other has, on this machine or another."""
    pid = os.getpid()
    if pid not in _names:
        _names.clear()
        _names[pid] = f"{pid}-{secrets.token_hex(8)}"
    return _names[pid]


_names: dict[int, str] = {}


def pauses() -> list[float]:
    """Return how long to wait between the looks at another's lease, over its whole life."""
    result, pause, total = [], _FIRST_PAUSE, 0.0
    while total < LIFE:
        result.append(pause * random.uniform(0.75, 1.25))  # noqa: S311 - it only spreads looks
        total += pause
        pause = min(2 * pause, _LONGEST_PAUSE)
    return result
