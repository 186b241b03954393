"""What goes over one connection at a time, and what comes of it."""

from typing import NamedTuple, TypeAlias

from twofold.backends.redis.replies import Reply
from twofold.backends.redis.servers import Server
from twofold.errors import BackendUnavailable


class Request(NamedTuple):
    """Commands for one server, to be sent as one."""

    server: Server
    packed: bytes
    wanted: int
    """How many replies there will be."""
    bulk: bool = False
    """Whether they should not share a connection with what is small."""


Answers: TypeAlias = list[Reply] | BackendUnavailable
"""The replies to a request, or why there are none."""
