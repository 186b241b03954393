"""Which server a command goes to: a primary alone, with replicas, or the slots of a cluster."""

import random
import re
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Protocol

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from twofold.backends.network import Server, Topology
from twofold.backends.redis.addresses import Address
from twofold.effects import after_fork_in_child, new_rlock

_REDIRECTION = re.compile(
    r"(?:MOVED|ASK) [0-9]{1,5} ([\w.:%?-]{0,255}):([0-9]{1,5})", re.ASCII
).fullmatch
_MAP_LIFE = 0.1  # seconds at least from one look at the slots to the next


class RedisTopology(Topology, Protocol):
    """The servers of one deployment."""

    splits: bool
    """Whether commands must be on one key each, since their servers may differ."""

    reads_elsewhere: bool
    """Whether reads may go to other servers than writes."""

    wants_map: bool
    """Whether the slots must be asked for before a command is placed."""

    def primaries(self) -> Sequence[Server]:
        """Return the servers that take writes."""

    async def outline(self, seconds: float) -> object:
        """Return what is another as soon as another server is known to take some of the writes.

        Raises:
            BackendUnavailable: those who decide that do not answer.
        """


class FixedTopology:
    """A primary, and replicas that take the reads, if there are any.

    Args:
        primary: takes the writes.
        replicas: take the reads.
        locate: asks where the primary is, if that changes, within some seconds.
    """

    splits = False
    wants_map = False

    def __init__(
        self,
        primary: Server,
        replicas: Sequence[Server] = (),
        locate: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._primary = primary
        self._replicas = list(replicas)
        self.reads_elsewhere: bool = bool(self._replicas)
        self._locate = locate

    def place(self, key: str, reads: bool) -> Server:
        if not reads or not self._replicas:
            return self._primary
        # A replica that is down costs no read: another one, or the primary, takes it.
        ready = [each for each in self._replicas if not each.breaker.tripped]
        return random.choice(ready) if ready else self._primary  # noqa: S311 - spreads reads

    def servers(self) -> Sequence[Server]:
        return [self._primary, *self._replicas]

    def primaries(self) -> Sequence[Server]:
        return [self._primary]

    async def outline(self, seconds: float) -> object:
        return None if self._locate is None else await self._locate(seconds)

    def distrust(self) -> None:
        """Do nothing: there is no other server to ask."""


class ClusterTopology:
    """The servers of a cluster, by the slots of its keys.

    The specification: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/

    Args:
        seeds: servers to ask first for the slots.
        make: makes a server of an address.
    """

    splits = True
    reads_elsewhere = False

    def __init__(self, seeds: Sequence[Address], make: Callable[[Address], Server]) -> None:
        self._make = make
        self._tls = seeds[0].tls
        self._known: dict[tuple[str, int], Server] = {
            (seed.host, seed.port): make(seed) for seed in seeds
        }
        self._seeds = frozenset(self._known)
        self._slots: list[Server | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._primaries: list[Server] = []
        self.revision: int = 0
        """Of the map: another one whenever that has changed."""
        self.wants_map: bool = True
        self._looked_at = -_MAP_LIFE
        self._lock = new_rlock()  # a signal's handler may ask too
        after_fork_in_child(self)

    def place(self, key: str, reads: bool) -> Server | None:
        return None if self.wants_map else self._slots[key_slot(key.encode())]

    def servers(self) -> Sequence[Server]:
        return list(self._known.values())

    def primaries(self) -> Sequence[Server]:
        return self._primaries

    async def outline(self, seconds: float) -> object:
        return self.revision

    def distrust(self) -> None:
        """Have the slots looked up again, unless that was done just now."""
        if monotonic() - self._looked_at >= _MAP_LIFE:
            self.wants_map = True

    def candidates(self) -> Sequence[Server]:
        """Return the servers to ask for the slots, in turn; meanwhile the old ones hold."""
        # With an old map others need not wait for this look: most of it still holds.
        if self._primaries:
            self._looked_at = monotonic()
            self.wants_map = False
        shuffled = random.sample(self.servers(), len(self._known))
        return sorted(shuffled, key=lambda each: each.breaker.tripped)

    def learn(self, reply: Sequence[Any], source: Server) -> list[Server]:
        """Take what `CLUSTER SLOTS` has told: first slot, last slot, primary, replicas.

        Return the servers that have left the cluster.
        """
        slots: list[Server | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        primaries: dict[Server, None] = {}
        for first, last, primary, *_ in reply:
            server = self.server(primary[0], primary[1], source)
            slots[first : last + 1] = [server] * (last + 1 - first)
            primaries[server] = None
        told = {self._place(node, source) for row in reply for node in row[2:]}
        with self._lock:
            self.revision += slots != self._slots
            self._slots, self._primaries = slots, list(primaries)
            self._looked_at = monotonic()
            self.wants_map = False
            # Seeds stay: they are what the settings name, and may be the only way back.
            gone = self._known.keys() - told - self._seeds
            return [self._known.pop(place) for place in gone]

    def move(self, key: str, server: Server) -> None:
        """Note that the slot of `key` is somewhere else by now, and maybe others too."""
        slot = key_slot(key.encode())
        with self._lock:
            self.revision += self._slots[slot] is not server
            self._slots[slot] = server
        self.distrust()

    def server(self, host: bytes | None, port: int, source: Server) -> Server:
        """Return the server at an address, which is on the source's host if that is empty."""
        place = self._place((host, port), source)
        with self._lock:
            found = self._known.get(place)
            if found is None:
                found = self._known[place] = self._make(Address(*place, tls=self._tls))
        return found

    def _place(self, node: Sequence[Any], source: Server) -> tuple[str, int]:
        host, port = node[:2]
        known = host and host != b"?"
        return host.decode() if known else source.name.rpartition(":")[0].strip("[]"), port

    def redirect(self, text: str, source: Server) -> Server | None:
        """Return the server that a reply such as `MOVED 3999 127.0.0.1:6381` names, if any."""
        named = _REDIRECTION(text)
        return self.server(named[1].encode(), int(named[2]), source) if named else None

    def _after_fork(self) -> None:
        self._lock = new_rlock()
