"""Clearing by prefix: a scan of all keys of a server, which lists them itself."""

from collections.abc import Sequence
from time import monotonic

from twofold.backends.memcached import commands, results
from twofold.backends.memcached.router import Node
from twofold.backends.network import Client, Refused, Reply, raise_partial
from twofold.effects import Effects
from twofold.errors import BackendUnavailable

_LONGEST_SCAN = 60.0  # seconds that a server may take to list its keys
_BUSY_PAUSE = 0.02  # seconds, doubled each time
_LONGEST_PAUSE = 0.5
_AT_A_TIME = 1000  # keys
_SCANS = 8  # by class at most: others may store all the time


async def clear(io: Effects, client: Client, nodes: Sequence[Node], prefix: str) -> None:
    """Remove the keys that begin with `prefix`, all with an empty one, from each server in turn.

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
    """Remove what is there as the scan begins.

    A scan by class misses items that are in use or being moved, so it is repeated until it finds
    nothing.
    """
    how = commands.SCAN
    for _ in range(_SCANS):
        how, lines = await _scan(io, client, node, how)
        going = await _matching(io, lines, prefix)
        for at in range(0, len(going), _AT_A_TIME):
            some = [b"delete %b\r\n" % key for key in going[at : at + _AT_A_TIME]]
            await client.execute_on(io, node, *some)
        if not going or how == commands.SCAN:
            return


async def _matching(io: Effects, lines: Sequence[bytes], prefix: bytes) -> list[bytes]:
    going: list[bytes] = []
    for at in range(0, len(lines), _AT_A_TIME):
        keys = map(results.scanned_key, lines[at : at + _AT_A_TIME])
        going += [key for key in keys if key.startswith(prefix) and commands.is_key(key)]
        await io.sleep(0)  # other tasks of the loop run meanwhile
    return going


async def _scan(
    io: Effects, client: Client, node: Node, how: bytes
) -> tuple[bytes, Sequence[bytes]]:
    """Return how a server was asked, and its line for each key.

    It lists them for one client at a time, and says `BUSY` to the others.
    """
    until, pause = monotonic() + _LONGEST_SCAN, _BUSY_PAUSE
    while monotonic() < until:
        reply = await _lines(io, client, node, how)
        if not isinstance(reply, bytes):
            return how, list(reply)
        if reply.startswith(b"BADCLASS"):
            how = commands.SCAN_BY_CLASS
        else:
            await io.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    raise BackendUnavailable(
        f"another `lru_crawler metadump` is running on {node.name}, which lists its keys for one"
        " client at a time; retry in a few seconds"
    )


async def _lines(io: Effects, client: Client, node: Node, how: bytes) -> Reply:
    """Return what a server answers; `b"BUSY"` too while its hash table grows."""
    try:
        [reply] = await client.execute_on(io, node, how, seconds=_LONGEST_SCAN, dedicated=True)
    except Refused as error:
        if error.reason.startswith("ERROR locked"):
            return b"BUSY"
        raise BackendUnavailable(
            f"{error}. clear() and clear_prefix() need the server's list of its keys"
            " (lru_crawler metadump); OPTIONS['clear'] = 'flush' lets clear() empty the"
            " servers instead"
        ) from error
    return reply
