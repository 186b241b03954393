"""One server of a store, for all threads and event loops."""

from collections.abc import Sequence
from typing import Final, Protocol

from twofold.backends.network.breaker import Breaker
from twofold.backends.network.connectors import Connector
from twofold.backends.network.probe import Ping, probe
from twofold.backends.network.replies import WireProtocol

CLOSED: Final = -1
"""The generation of a connection that is closed; no server has it."""


class Server:
    """One server.

    Args:
        name: what messages and statistics call it.
        connector: opens connections to it.
        protocol: how it is spoken to.
        timeout: seconds that a ping may take.
    """

    def __init__(
        self, name: str, connector: Connector, protocol: WireProtocol, timeout: float
    ) -> None:
        self.name = name
        self.connector = connector
        self.protocol = protocol
        self.breaker: Breaker = Breaker(name)
        self.generation: int = 0
        """Connections of an earlier generation are closed instead of used."""
        self._probe = probe(self.breaker, Ping(name, connector, protocol, timeout))

    def __repr__(self) -> str:
        return f"<Server {self.name} {self.breaker.state}>"

    def renew(self, seen: int) -> None:
        """Have every thread and loop connect anew, unless they do since generation `seen`."""
        if self.generation == seen:
            self.generation = seen + 1

    def admit(self) -> None:
        """Let a call through.

        Raises:
            ConnectError: the breaker is open.
        """
        if self.breaker.tripped:
            if not self._probe.running:  # in a forked child, or since the backend was closed
                self._probe.start()
            raise self.breaker.refusal()

    def fail(self, error: BaseException, *, refused: bool = False) -> None:
        """Note a failure; `refused`: the server said no at once."""
        if self.breaker.fail(error, refused=refused):
            # What was open before may have died silently, and nobody should wait to find out.
            self.renew(self.generation)
            self._probe.start()

    def rest(self) -> None:
        """Ping no more until the next call."""
        self._probe.cancel()


class Topology(Protocol):
    """The servers, and which of them has a key."""

    def place(self, key: str, reads: bool) -> Server | None:
        """Return the server for a command on `key`; None if that is not known yet."""

    def servers(self) -> Sequence[Server]:
        """Return all servers known."""

    def distrust(self) -> None:
        """Take note that a server did not answer, or was not the right one."""
