"""How big a value may be: a server that refuses one drops the older one, so none is sent."""

from collections.abc import Mapping
from time import monotonic

from twofold.backends.memcached import commands, results
from twofold.backends.memcached.router import Node, Router
from twofold.backends.network import Exchange, Refused
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

SURELY_FITS = 700
"""Bytes of a value for which every server has room: the least is 1,024."""

_OVERHEAD = 128  # bytes at most that a server keeps beside key and value
_DEFAULT_ITEM_SIZE_MAX = 2**20


class Limits:
    """The limits of all servers.

    Each is asked for anew on each connection: the server may have been restarted.
    """

    def __init__(self, exchange: Exchange, router: Router) -> None:
        self._exchange = exchange
        self._router = router

    async def fits(self, io: Effects, key: str, value: bytes, due: float) -> bool:
        """Tell whether a value is not too big, by the monotonic time `due`."""
        if len(value) <= SURELY_FITS:
            return True
        node = self._router.place(key)
        largest = node.direct.item_size_max
        if largest is None:
            seconds = due - monotonic()
            largest = node.direct.item_size_max = await self._item_size_max(io, node, seconds)
        return len(key) + len(value) + _OVERHEAD <= largest

    async def those_that_fit(
        self, io: Effects, items: Mapping[str, bytes], due: float
    ) -> Mapping[str, bytes]:
        """Return those of `items` that are not too big, and whose servers can tell.

        Raises:
            BackendUnavailable: no server can.
        """
        big = {key: value for key, value in items.items() if len(value) > SURELY_FITS}
        if not big:
            return items
        lost, too_big = dict[Node, BackendUnavailable](), set()
        try:
            for key, value in big.items():
                node = self._router.place(key)
                try:
                    if node not in lost and not await self.fits(io, key, value, due):
                        too_big.add(key)
                except BackendUnavailable as error:
                    lost[node] = error
            fit = [key for key in items if self._router.place(key) not in lost]
            if lost and not fit:
                raise next(iter(lost.values()))
            return {key: items[key] for key in fit if key not in too_big}
        finally:
            lost.clear()  # errors whose traceback has this frame would keep themselves alive

    async def _item_size_max(self, io: Effects, node: Node, seconds: float) -> int:
        try:
            [lines] = await self._exchange.tell(io, node, commands.SETTINGS, seconds=seconds)
        except Refused:  # a proxy may be there instead
            return _DEFAULT_ITEM_SIZE_MAX
        told = results.settings(lines).get("item_size_max", "")
        return int(told) if told.isdigit() else _DEFAULT_ITEM_SIZE_MAX
