"""A Redis Cluster of real servers, whose slots a test can move step by step."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.patience import eventually
from tests.chaos.servers import RedisServer, fields

SLOTS = 16384
_TO_AGREE = 20.0  # seconds; a node that starts waits 2 s before it calls the cluster well
_TO_MIGRATE = 5000  # milliseconds


class ClusterNode(RedisServer):
    """A node: by itself it knows no other."""

    def __init__(self, folder: Path, *lines: str) -> None:
        super().__init__(
            folder,
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            "cluster-node-timeout 1000",
            *lines,
        )

    @property
    def id(self) -> str:
        """The id that the node has for all its life."""
        return str(self.command("CLUSTER", "MYID").decode())

    @property
    def role(self) -> str:
        """What it is now: "master" or "slave"."""
        return self.info("replication")["role"]

    def agrees(self, nodes: int) -> bool:
        """Whether the node sees a cluster that works, of so many nodes and with all slots."""
        seen = fields(self.command("CLUSTER", "INFO"))
        wanted = {
            "cluster_state": "ok",
            "cluster_slots_ok": str(SLOTS),
            "cluster_known_nodes": str(nodes),
        }
        return wanted.items() <= seen.items()

    def owners(self) -> dict[int, int]:
        """Return for every slot the port of the primary that has it, as this node knows it."""
        ranges = self.command("CLUSTER", "SLOTS")
        return {
            slot: primary[1]
            for first, last, primary, *_ in ranges
            for slot in range(first, last + 1)
        }


class RedisCluster:
    """Primaries that share all slots evenly, each with so many `replicas`.

    `lines` are for the configuration of every node. `nodes` has the primaries first, as they were
    at the start. With a replica a killed primary is replaced after about two seconds.
    """

    def __init__(self, folder: Path, *lines: str, primaries: int = 3, replicas: int = 0) -> None:
        total = primaries * (1 + replicas)
        self.nodes = [ClusterNode(folder / f"node-{n}", *lines) for n in range(total)]
        self._primaries = primaries
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<RedisCluster {self.nodes}>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._form()
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
    def urls(self) -> list[str]:
        """The URLs of all nodes."""
        return [node.url for node in self.nodes]

    @property
    def primaries(self) -> list[ClusterNode]:
        """The nodes that are up and primaries now."""
        return [node for node in self.nodes if node.alive and node.role == "master"]

    def slot_of(self, key: str | bytes) -> int:
        """Return the slot of a key."""
        return int(self._any().command("CLUSTER", "KEYSLOT", key))

    def node_of(self, slot: int) -> ClusterNode:
        """Return the primary that has this slot."""
        port = self._any().owners()[slot]
        return next(node for node in self.nodes if node.port == port)

    def flush(self) -> None:
        """Delete all keys."""
        for node in self.primaries:
            node.flush()

    def await_agreement(self, seconds: float = _TO_AGREE) -> None:
        """Wait until all nodes that are up see all slots served, by the same of them."""
        eventually(self._is_agreed, f"{self} works, and its nodes agree", seconds)

    def move_slot(self, slot: int, to: ClusterNode) -> None:
        """Move a slot with its keys, as `redis-cli --cluster reshard` does."""
        move = SlotMove(self, slot, to)
        move.begin()
        move.carry()
        move.end()

    def _any(self) -> ClusterNode:
        return next(node for node in self.nodes if node.alive)

    def _is_agreed(self) -> bool:
        up = [node for node in self.nodes if node.alive]
        owners = up[0].owners()
        return (
            len(owners) == SLOTS
            and set(owners.values()) <= {node.port for node in up}
            and all(node.agrees(len(self.nodes)) and node.owners() == owners for node in up)
        )

    def _form(self) -> None:
        first, primaries = self.nodes[0], self.nodes[: self._primaries]
        for n, node in enumerate(primaries):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            node.command("CLUSTER", "ADDSLOTS", *_share(n, primaries))
        for node in self.nodes[1:]:
            first.command("CLUSTER", "MEET", node.host, node.port)
        for n, node in enumerate(self.nodes[self._primaries :]):
            _replicate(node, primaries[n % self._primaries])
        self.await_agreement()


class SlotMove:
    """The move of a slot, in steps between which a test looks at what clients see.

    After `begin()` the source still has the slot, and answers ASK for the keys that it has no
    longer (or never had); `carry()` moves the keys; after `end()` all nodes answer MOVED.
    """

    def __init__(self, cluster: RedisCluster, slot: int, to: ClusterNode) -> None:
        self.slot = slot
        self.source = cluster.node_of(slot)
        self.target = to
        self._cluster = cluster

    def begin(self) -> None:
        """Open the slot at both ends."""
        self._set_slot(self.target, "IMPORTING", self.source.id)
        self._set_slot(self.source, "MIGRATING", self.target.id)

    def carry(self, most: int = SLOTS) -> int:
        """Move at most so many keys, and return how many were moved."""
        keys = self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, most)
        if keys:
            to = self.target.host, self.target.port
            self.source.command("MIGRATE", *to, "", 0, _TO_MIGRATE, "KEYS", *keys)
        return len(keys)

    def end(self) -> None:
        """Give the slot to the target, and wait until every node knows it."""
        others = [node for node in self._cluster.primaries if node is not self.target]
        for node in (self.target, *others):
            self._set_slot(node, "NODE", self.target.id)
        self._cluster.await_agreement()

    def _set_slot(self, node: ClusterNode, *state: str) -> None:
        node.command("CLUSTER", "SETSLOT", self.slot, *state)


def _share(n: int, of: list[ClusterNode]) -> range:
    """Return the slots of the n-th primary."""
    return range(SLOTS * n // len(of), SLOTS * (n + 1) // len(of))


def _replicate(node: ClusterNode, primary: ClusterNode) -> None:
    """Make a node that has met the others a replica, and wait until it has what it copies."""
    name = primary.id
    eventually(lambda: name.encode() in node.command("CLUSTER", "NODES"), f"{node} knows {primary}")
    node.command("CLUSTER", "REPLICATE", name)
    eventually(
        lambda: (
            node.info("replication").get("master_link_status") == "up" and primary.is_replicated()
        ),
        f"{node} replicates {primary}",
    )
