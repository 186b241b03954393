"""What the stores behind a network share.

A `Client` carries commands to the servers and replies back: in the sync face over a
`ConnectionPool`, in the async one over `AsyncConnections`. What a store adds is where its
keys belong (a `Topology`), how a connection is opened (a `Connector`), and its `WireProtocol`.
"""

from twofold.backends.network.backend import NetworkBackend
from twofold.backends.network.batches import BULK, MANY, Attempt, Command
from twofold.backends.network.breaker import Breaker
from twofold.backends.network.client import Client
from twofold.backends.network.connectors import Connector, Opened
from twofold.backends.network.errors import (
    ConnectError,
    ConnectionLost,
    Outcome,
    Refused,
    deadline_exceeded,
    is_lost,
    raise_partial,
    redacted,
    unwrap,
)
from twofold.backends.network.operations import Operation
from twofold.backends.network.replies import (
    INCOMPLETE,
    ProtocolError,
    Reader,
    Reply,
    ReplyError,
    WireProtocol,
)
from twofold.backends.network.servers import Server, Topology

__all__ = [
    "BULK",
    "INCOMPLETE",
    "MANY",
    "Attempt",
    "Breaker",
    "Client",
    "Command",
    "ConnectError",
    "ConnectionLost",
    "Connector",
    "NetworkBackend",
    "Opened",
    "Operation",
    "Outcome",
    "ProtocolError",
    "Reader",
    "Refused",
    "Reply",
    "ReplyError",
    "Server",
    "Topology",
    "WireProtocol",
    "deadline_exceeded",
    "is_lost",
    "raise_partial",
    "redacted",
    "unwrap",
]
