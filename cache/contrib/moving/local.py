"""Options for servers, in entries whose store has none: they are not needed."""

from collections.abc import Mapping
from typing import Any

from twofold.contrib.moving import memcached, redis
from twofold.contrib.moving.tables import Ignored, Moved, Table

_OWN = frozenset({"max_entries", "cull_frequency"})

OPTIONS: Table = {
    name: Ignored("it is for a server, and this store has none")
    for name in (redis.OPTIONS.keys() | memcached.OPTIONS.keys()) - _OWN
}


def move(location: Any, options: Mapping[str, Any], where: str) -> Moved:
    """Return what an entry for a store in the process, or on its disk, means."""
    moved = Moved({"LOCATION": location})
    moved.read(options, OPTIONS, where)
    return moved
