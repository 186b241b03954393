"""What the stores behind a network share.

`exchange` carries commands to the servers and replies back, over `wires` in the sync
face and over the `channel`s of `lanes` in the async one. What a store adds is where its
keys belong, how a connection is opened, and its `Dialect`.
"""

from twofold.backends.network.backend import NetworkBackend
from twofold.backends.network.breaker import Breaker
from twofold.backends.network.exchange import Exchange, Try
from twofold.backends.network.faults import (
    ConnectionLost,
    DialFailed,
    Outcome,
    Refused,
    is_lost,
    late,
    partly,
    said,
    sure,
)
from twofold.backends.network.replies import (
    INCOMPLETE,
    Dialect,
    ProtocolError,
    Reader,
    Reply,
    ReplyError,
)
from twofold.backends.network.requests import BULK, MANY, Command
from twofold.backends.network.servers import Dialer, Opened, Server, Topology

__all__ = [
    "BULK",
    "INCOMPLETE",
    "MANY",
    "Breaker",
    "Command",
    "ConnectionLost",
    "DialFailed",
    "Dialect",
    "Dialer",
    "Exchange",
    "NetworkBackend",
    "Opened",
    "Outcome",
    "ProtocolError",
    "Reader",
    "Refused",
    "Reply",
    "ReplyError",
    "Server",
    "Topology",
    "Try",
    "is_lost",
    "late",
    "partly",
    "said",
    "sure",
]
