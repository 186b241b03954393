"""Clearing by prefix: a walk over all keys of a server, whose own list it is."""

from collections.abc import Sequence
from time import monotonic

from twofold.backends.memcached import commands, results
from twofold.backends.memcached.router import Node
from twofold.backends.network import Client, Refused, Reply, raise_partial
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

_WALK = 60.0  # seconds that a server may take to name its keys
_BUSY_PAUSE = 0.02  # seconds, doubled each time
_LONGEST_PAUSE = 0.5
_AT_A_TIME = 1000  # keys
_WALKS = 8  # by class at most: others may store all the time


async def clear(io: Effects, client: Client, nodes: Sequence[Node], prefix: str) -> None:
    """Remove the keys that begin with `prefix`, all with an empty one, from one server by one.

    Raises:
        PartlyUnavailable: some servers could not be cleared; the others are.
        BackendUnavailable: none could.
    """
    failures = []
    for node in nodes:
        try:
            if prefix:
                await _clear_node(io, client, node, prefix.encode())
            else:
                await client.execute_on(io, node, commands.FLUSH)
        except BackendUnavailable as error:
            failures.append(error)
    if len(failures) == len(nodes):
        raise failures[0]
    raise_partial(None, failures)


async def _clear_node(io: Effects, client: Client, node: Node, prefix: bytes) -> None:
    """Remove what is there as the walk begins.

    One by class, which passes by items that are in use or on the move, is done again until it
    finds nothing.
    """
    how = commands.WALK
    for _ in range(_WALKS):
        how, lines = await _walk(io, client, node, how)
        doomed = await _doomed(io, lines, prefix)
        for at in range(0, len(doomed), _AT_A_TIME):
            some = [b"delete %b\r\n" % key for key in doomed[at : at + _AT_A_TIME]]
            await client.execute_on(io, node, *some)
        if not doomed or how == commands.WALK:
            return


async def _doomed(io: Effects, lines: Sequence[bytes], prefix: bytes) -> list[bytes]:
    doomed: list[bytes] = []
    for at in range(0, len(lines), _AT_A_TIME):
        keys = map(results.walked, lines[at : at + _AT_A_TIME])
        doomed += [key for key in keys if key.startswith(prefix) and commands.is_key(key)]
        await io.sleep(0)  # a loop has others to serve
    return doomed


async def _walk(
    io: Effects, client: Client, node: Node, how: bytes
) -> tuple[bytes, Sequence[bytes]]:
    """Return how a server was asked, and its line for each key; it does that for one at a time."""
    until, pause = monotonic() + _WALK, _BUSY_PAUSE
    while monotonic() < until:
        reply = await _lines(io, client, node, how)
        if not isinstance(reply, bytes):
            return how, list(reply)
        if reply.startswith(b"BADCLASS"):
            how = commands.WALK_BY_CLASS
        else:
            await io.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    raise BackendUnavailable(f"{node.name} is busy naming its keys to others")


async def _lines(io: Effects, client: Client, node: Node, how: bytes) -> Reply:
    """Return what a server answers; `b"BUSY"` too while its hash table grows."""
    try:
        [reply] = await client.execute_on(io, node, how, seconds=_WALK, dedicated=True)
    except Refused as error:
        if error.reason.startswith("ERROR locked"):
            return b"BUSY"
        raise BackendUnavailable(
            f"{error}. clear() and clear_prefix() need the server's list of its keys"
            " (lru_crawler metadump); OPTIONS['clear'] = 'flush' lets clear() empty the"
            " servers instead"
        ) from error
    return reply
