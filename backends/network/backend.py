"""What all backends behind a network have in common."""

from abc import abstractmethod
from time import monotonic
from typing import Literal

from twofold.backend import Backend, Examined, Kind, ServerState
from twofold.backends.network.client import Client
from twofold.backends.network.options import read_tls
from twofold.backends.network.servers import Server
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import BLOCKING, NATIVE, Effects, call_in_thread, run_sync

_PINGS = 5  # round trips of which the fastest counts


class NetworkBackend(Backend):
    """A store on servers of its own, native in both faces.

    Args:
        location: where the servers are.
        ssl_ca_certs: path of the certificates to trust; the system's otherwise.
        ssl_certfile: path of this client's certificate.
        ssl_keyfile: path of its key.
        ssl_cert_reqs: whether the server's certificate is "required", or "none" is.
        ssl_check_hostname: whether it must be for the host in `location`.
        deadline: seconds that one operation may take, to connect and retry included.
        clock: tells the time.

    Raises:
        SettingsError: an argument is none of these.
    """

    kind: Kind = "native"
    takes_many_locations = True

    _client: Client

    def __init__(
        self,
        location: str | list[str] = "",
        *,
        ssl_ca_certs: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        ssl_cert_reqs: Literal["required", "none"] = "required",
        ssl_check_hostname: bool = True,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(location, deadline=deadline, clock=clock)
        self._tls_options = read_tls(
            ssl_ca_certs=ssl_ca_certs,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ssl_cert_reqs=ssl_cert_reqs,
            ssl_check_hostname=ssl_check_hostname,
        )

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
        if "_worker_pool" in vars(self):
            await call_in_thread(self._worker_pool.close)
        await self._client.aclose()
