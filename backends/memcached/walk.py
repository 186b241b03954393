"""Clearing by prefix: a walk over all keys of a server, whose own list it is."""

from collections.abc import Sequence
from time import monotonic

from twofold.backends.memcached import commands, results
from twofold.backends.memcached.router import Node
from twofold.backends.network import Exchange, Refused, partly
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

_WALK = 60.0  # seconds that a server may take to name its keys
_BUSY_PAUSE = 0.02  # seconds, doubled each time
_LONGEST_PAUSE = 0.5
_AT_A_TIME = 1000  # keys


async def clear(io: Effects, exchange: Exchange, nodes: Sequence[Node], prefix: str) -> None:
    """Remove the keys that begin with `prefix`, all with an empty one, from one server by one.

    Raises:
        PartlyUnavailable: some servers could not be cleared; the others are.
        BackendUnavailable: none could.
    """
    failures = []
    for node in nodes:
        try:
            if prefix:
                await _clear_node(io, exchange, node, prefix.encode())
            else:
                await exchange.tell(io, node, commands.FLUSH)
        except BackendUnavailable as error:
            failures.append(error)
    if len(failures) == len(nodes):
        raise failures[0]
    partly(None, failures)


async def _clear_node(io: Effects, exchange: Exchange, node: Node, prefix: bytes) -> None:
    lines, doomed = await _keys(io, exchange, node), list[bytes]()
    for at in range(0, len(lines), _AT_A_TIME):
        keys = map(results.walked, lines[at : at + _AT_A_TIME])
        doomed += [key for key in keys if key.startswith(prefix) and commands.is_key(key)]
        await io.sleep(0)  # a loop has others to serve
    for at in range(0, len(doomed), _AT_A_TIME):
        some = [b"delete %b\r\n" % key for key in doomed[at : at + _AT_A_TIME]]
        await exchange.tell(io, node, *some)


async def _keys(io: Effects, exchange: Exchange, node: Node) -> Sequence[bytes]:
    """Return a line for each key of a server, which does that for one at a time."""
    until, how, pause = monotonic() + _WALK, commands.WALK, _BUSY_PAUSE
    while monotonic() < until:
        try:
            [reply] = await exchange.tell(io, node, how, seconds=_WALK, apart=True)
        except Refused as error:
            raise BackendUnavailable(
                f"{error}. clear() and clear_prefix() need the server's list of its keys"
                " (lru_crawler metadump); OPTIONS['clear'] = 'flush' lets clear() empty the"
                " servers instead"
            ) from error
        if not isinstance(reply, bytes):
            return list(reply)
        if reply.startswith(b"BADCLASS"):
            how = commands.WALK_BY_CLASS
        else:
            await io.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    raise BackendUnavailable(f"{node.name} is busy naming its keys to others")
