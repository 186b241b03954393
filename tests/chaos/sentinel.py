"""A primary, a replica and the sentinels that watch them."""

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.patience import eventually
from tests.chaos.processes import HOST, binary
from tests.chaos.resp import CommandFailed
from tests.chaos.servers import RedisServer, fields

SERVICE = "mymaster"
_DOWN_AFTER = 500  # milliseconds
_FAILOVER_TIMEOUT = 3000  # milliseconds
_TO_SETTLE = 30.0  # seconds
# Milliseconds. Not shorter: after four of the second a sentinel that has not heard of a failover
# yet takes the new primary for a stray one, and makes it a replica again.
_PERIODS = ("INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)


class Sentinel(RedisServer):
    """A sentinel; it rewrites its own configuration, so that is written only once."""

    def __init__(self, folder: Path, primary: RedisServer) -> None:
        super().__init__(folder)
        self._watched = primary

    @property
    def primary(self) -> tuple[str, int]:
        """The host and port that clients are told."""
        host, port = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return host.decode(), int(port)

    def start(self) -> Self:
        """Start the sentinel, and have it look more often than every 10 s where it can (7.0)."""
        super().start()
        with suppress(CommandFailed):
            self.command("SENTINEL", "DEBUG", *_PERIODS)
        return self

    def is_settled(self, sentinels: int) -> bool:
        """Whether it knows all sentinels and a replica that could be promoted."""
        seen = fields(self.command("INFO", "sentinel"))["master0"]
        return seen.endswith(f"slaves=1,sentinels={sentinels}") and "status=ok" in seen

    def _command(self) -> list[str]:
        file = self.folder / "sentinel.conf"
        if not file.exists():
            self._configure(file)
        return [binary("redis-server"), file.name, "--sentinel"]

    def _configure(self, file: Path) -> None:
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"unixsocket {self.socket_path.name}",
            f"sentinel monitor {SERVICE} {HOST} {self._watched.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER}",
            f"sentinel failover-timeout {SERVICE} {_FAILOVER_TIMEOUT}",
        ]
        file.write_text("\n".join(lines) + "\n")


class RedisSentinels:
    """A primary and its replica under `SERVICE`, with sentinels that replace the one by the other.

    A primary that is killed or frozen is replaced after one to two seconds. `servers` are both;
    which is the primary changes.
    """

    service = SERVICE

    def __init__(self, folder: Path, *lines: str, sentinels: int = 3) -> None:
        self.servers = [RedisServer(folder / name, *lines) for name in ("server-0", "server-1")]
        self.sentinels = [
            Sentinel(folder / f"sentinel-{n}", self.servers[0]) for n in range(sentinels)
        ]
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<RedisSentinels {self.servers} {self.sentinels}>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._replicate(*self.servers)
            for sentinel in self.sentinels:
                stack.enter_context(sentinel)
            self.await_settled()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The hosts and ports of the sentinels."""
        return [(sentinel.host, sentinel.port) for sentinel in self.sentinels]

    @property
    def sentinel_urls(self) -> list[str]:
        """The URLs of the sentinels themselves."""
        return [f"redis://{sentinel.address}" for sentinel in self.sentinels]

    @property
    def primary(self) -> RedisServer:
        """The server that the sentinels call the primary, up or not."""
        _, port = next(sentinel for sentinel in self.sentinels if sentinel.alive).primary
        return next(server for server in self.servers if server.port == port)

    @property
    def replica(self) -> RedisServer:
        """The other server."""
        first, second = self.servers
        return second if self.primary is first else first

    def flush(self) -> None:
        """Delete all keys."""
        self.primary.flush()

    def failover(self) -> None:
        """Have the sentinels exchange primary and replica, and wait until they have."""
        old = self.primary
        eventually(self._order_failover, f"{self} accepts a failover", _TO_SETTLE)
        self.await_failover(old)

    def await_failover(self, old: RedisServer, seconds: float = _TO_SETTLE) -> RedisServer:
        """Wait until all sentinels name another primary than `old`; return it."""
        up = [sentinel for sentinel in self.sentinels if sentinel.alive]
        eventually(
            lambda: all(sentinel.primary[1] != old.port for sentinel in up),
            f"{self} has another primary than {old}",
            seconds,
        )
        new = self.primary
        eventually(lambda: new.info("replication")["role"] == "master", f"{new} leads", seconds)
        return new

    def await_settled(self, seconds: float = _TO_SETTLE) -> None:
        """Wait until a failover could be done: all are up, in sync, and known to all sentinels."""
        eventually(self._is_settled, f"{self} is settled", seconds)

    def _is_settled(self) -> bool:
        total = len(self.sentinels)
        primary, replica = self.primary, self.replica
        known = all(each.is_settled(total) for each in self.sentinels)
        same = len({each.primary for each in self.sentinels}) == 1
        return known and same and _follows(replica, primary)

    def _order_failover(self) -> bool:
        try:
            self.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)
        except CommandFailed:  # another one is under way, or the replica was not seen lately
            return False
        return True

    @staticmethod
    def _replicate(primary: RedisServer, replica: RedisServer) -> None:
        replica.command("REPLICAOF", primary.host, primary.port)
        eventually(lambda: _follows(replica, primary), f"{replica} follows {primary}")


def _follows(replica: RedisServer, primary: RedisServer) -> bool:
    """Whether one is a replica of the other, and in sync."""
    seen = replica.info("replication")
    up = seen.get("master_link_status") == "up"
    return up and seen.get("master_port") == str(primary.port) and primary.is_replicated()
