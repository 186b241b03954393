"""The keys that match a pattern, a page at a time, of one server after the other."""

from typing import Final, NamedTuple, TypeAlias

from twofold.backends.redis import commands
from twofold.backends.redis.client import RedisClient
from twofold.effects import Effects

Place: TypeAlias = tuple[str, bytes]
"""Where a page begins: a server's name and its cursor."""

FIRST: Final[Place] = ("", b"0")


class Page(NamedTuple):
    """Some keys, and where the next page begins; nowhere after the last one."""

    keys: list[str]
    next: Place | None


async def read_page(
    io: Effects, client: RedisClient, pattern: str, count: int, after: Place
) -> Page:
    """Return the page that begins at a place; another program's keys may have any bytes."""
    name, cursor = after
    servers = sorted(await client.primaries(io), key=lambda each: each.name)
    # A server that has gone meanwhile has no more keys; the next one begins anew.
    rest = [each for each in servers if each.name >= name]
    if not rest:
        return Page([], None)
    server = rest[0]
    start = cursor if server.name == name else b"0"
    [(cursor, found)] = await client.execute_on(io, server, commands.scan(start, pattern, count))
    keys = [key.decode("ascii", "replace") for key in found]
    if cursor != b"0":
        return Page(keys, (server.name, cursor))
    return Page(keys, (rest[1].name, b"0") if len(rest) > 1 else None)
