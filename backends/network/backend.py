"""What all backends behind a network have in common."""

from abc import abstractmethod
from time import monotonic

from twofold.backend import Backend, Examined, Kind, ServerState
from twofold.backends.network.client import Client
from twofold.backends.network.servers import Server
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync

_PINGS = 5  # round trips of which the fastest counts


class NetworkBackend(Backend):
    """A store on servers of its own, native in both faces."""

    kind: Kind = "native"
    takes_many_locations = True

    _client: Client

    def __repr__(self) -> str:
        states = ", ".join(f"{each.name} breaker {each.breaker}" for each in self.servers())
        return f"{super().__repr__()[:-1]}, {states}>"

    def servers(self) -> list[ServerState]:
        return self._client.states()

    def examine(self) -> list[Examined]:
        return run_sync(self._examine(BLOCKING))

    async def aexamine(self) -> list[Examined]:
        return await self._examine(NATIVE)

    @abstractmethod
    async def _examine(self, io: Effects) -> list[Examined]:
        """Ask each server what it is."""

    async def _round_trip(self, io: Effects, server: Server) -> float:
        """Return the seconds of the fastest of some round trips."""
        times = []
        for _ in range(_PINGS):
            started = monotonic()
            await self._client.execute_on(io, server, server.protocol.ping)
            times.append(monotonic() - started)
        return min(times)

    def close(self) -> None:
        super().close()
        self._client.close()

    async def aclose(self) -> None:
        await self._client.aclose()
