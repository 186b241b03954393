"""Which server has a key: rendezvous hashing.

Every server has a score for every key; the one with the highest has the key. So when a server
joins or leaves the list, only its own keys move; and none move while one is down. (D. Thaler,
C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on
Networking 6(1), 1998; the weights are those of J. Resch, "New hashing algorithms for data
storage", SNIA 2015.)
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import log
from typing import Final
from zlib import crc32

from twofold.backends.memcached.connector import DirectConnector
from twofold.backends.memcached.replies import MEMCACHED
from twofold.backends.network import Server
from twofold.keys.kinds import belongs_to

_REMEMBERED = 8192  # keys whose server need not be computed again
_BITS: Final = 2**64 - 1


class Node(Server):
    """One server, and what share of the keys is its own."""

    connector: DirectConnector

    def __init__(
        self, name: str, connector: DirectConnector, timeout: float, weight: float = 1.0
    ) -> None:
        super().__init__(name, connector, MEMCACHED, timeout)
        self.weight = weight
        self.seed: int = seed(name)


class Router:
    """The servers, each with its share of the keys."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)
        self._only = self._nodes[0] if len(self._nodes) == 1 else None
        self._place = lru_cache(_REMEMBERED)(self._highest)

    def place(self, key: str, reads: bool = False) -> Node:
        """Return the server that has `key`, whether it is up or down."""
        return self._only or self._place(key)

    def servers(self) -> Sequence[Node]:
        return self._nodes

    def distrust(self) -> None:
        """Do nothing: the keys of a server that is down stay with it."""

    def split(self, keys: Sequence[str]) -> list[list[str]]:
        """Return `keys` in one list for each server that has some."""
        if self._only:
            return [list(keys)] if keys else []
        of_each: dict[Node, list[str]] = {}
        for key in keys:
            of_each.setdefault(self._place(key), []).append(key)
        return list(of_each.values())

    def _highest(self, key: str) -> Node:
        digest = crc32(belongs_to(key).encode("ascii"))
        return max(self._nodes, key=lambda node: score(digest, node.seed, node.weight))


def seed(name: str) -> int:
    """Return the 64 bits that stand for a server."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def score(digest: int, seed: int, weight: float) -> float:
    """Return a positive number: pseudo-random, and the highest in proportion to `weight`.

    The bits are mixed by the finalizer of MurmurHash3 (A. Appleby, in the public domain).
    """
    bits = digest ^ seed
    bits = (bits ^ bits >> 33) * 0xFF51AFD7ED558CCD & _BITS
    bits = (bits ^ bits >> 33) * 0xC4CEB9FE1A85EC53 & _BITS
    bits ^= bits >> 33
    return -weight / log(((bits >> 12) + 0.5) / 2**52)  # never 0 or 1
