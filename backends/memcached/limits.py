"""How big a value may be. A server that refuses one drops the older one, so it is not sent."""

from collections.abc import Mapping
from time import monotonic
from typing import Final

from twofold.backends.memcached import commands, results
from twofold.backends.memcached.proxies import Proxies
from twofold.backends.memcached.router import Node, Router
from twofold.backends.network import BULK, Outcome, is_lost
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

SURELY_FITS: Final = 700
"""Bytes of a value for which every server has room: the least is 1,024."""

_OVERHEAD = 128  # bytes at most that a server keeps beside key and value


class Limits:
    """The limits of all servers.

    Each is asked for on a new connection, since the server may have been restarted, and
    before each value that takes long to pass.
    """

    def __init__(self, router: Router, proxies: Proxies) -> None:
        self._router = router
        self._proxies = proxies

    async def fits(self, io: Effects, key: str, value: bytes, deadline: float) -> bool:
        """Tell whether a value is small enough; known by the monotonic time `deadline`."""
        return bool(await self.those_that_fit(io, {key: value}, deadline))

    async def those_that_fit(
        self, io: Effects, items: Mapping[str, bytes], deadline: float
    ) -> Mapping[str, bytes]:
        """Return those of `items` that are not too big, and whose servers can tell.

        Raises:
            BackendUnavailable: no server can.
        """
        big = {key: value for key, value in items.items() if len(value) > SURELY_FITS}
        if not big:
            return items
        known = await self._known(io, big, deadline)
        lost: dict[Node, BackendUnavailable] = {}
        try:
            lost |= {node: each for node, each in known.items() if not isinstance(each, int)}
            there = [key for key in items if self._router.place(key) not in lost]
            if not there:
                raise next(iter(lost.values()))
            return {
                key: items[key] for key in there if key not in big or self._fits(key, big, known)
            }
        finally:
            known.clear()
            lost.clear()  # errors whose traceback has this frame would keep themselves alive

    def _fits(
        self, key: str, big: Mapping[str, bytes], known: Mapping[Node, int | BackendUnavailable]
    ) -> bool:
        largest = known[self._router.place(key)]
        return isinstance(largest, int) and len(key) + len(big[key]) + _OVERHEAD <= largest

    async def _known(
        self, io: Effects, big: Mapping[str, bytes], deadline: float
    ) -> dict[Node, int | BackendUnavailable]:
        """Return the limits of the servers that have the keys, or why one is unknown.

        Servers that must be asked are asked at once, in half of the time that is left: the
        other half is for the write itself.
        """
        known: dict[Node, int | BackendUnavailable] = {}
        unknown: dict[Node, str] = {}
        for key, value in big.items():
            node = self._router.place(key)
            largest = node.connector.item_size_max
            if node.connector.is_proxied:
                known[node] = results.DEFAULT_ITEM_SIZE_MAX
            elif largest is None or len(value) >= BULK:
                unknown[node] = key
            else:
                known[node] = largest
        if not unknown:
            return known
        for node, outcome in (
            await self._told(io, big, unknown, (monotonic() + deadline) / 2)
        ).items():
            if outcome is not None and is_lost(outcome):
                known[node] = outcome
            else:
                known[node] = node.connector.item_size_max = results.item_size_max(outcome)
        return known

    async def _told(
        self, io: Effects, big: Mapping[str, bytes], unknown: Mapping[Node, str], deadline: float
    ) -> dict[Node, Outcome | None]:
        """Return the settings of servers, of each of which a key is told; None from a proxy."""
        asked = {
            node: commands.settings(key, len(big[key]) >= BULK)._replace(
                reads=node.connector.is_proxied is False
            )
            for node, key in unknown.items()
        }
        return await self._proxies.ask_each(io, asked, deadline)
