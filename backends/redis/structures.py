"""Sets, hashes and sorted sets: the commands on them, of which the cache itself has no need.

https://redis.io/docs/latest/commands/ tells what each does and replies.
"""

from collections.abc import Sequence
from typing import Final

from twofold.backends.network import BULK, Command, Operation, Outcome, Refused, Reply, unwrap
from twofold.backends.redis.commands import pack
from twofold.errors import CacheError

_READS: Final = frozenset(
    b"SCARD SDIFF SINTER SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER SSCAN SUNION"
    b" HEXISTS HGET HGETALL HKEYS HLEN"
    b" ZCARD ZCOUNT ZRANGE ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYSCORE ZSCORE".split()
)


class OfAnotherType(CacheError, TypeError):
    """What stands under a key is no set, or no hash: a value, say, or a computation's claim."""


class NotUnderstood(CacheError, ValueError):
    """The server was asked for what makes no sense: no members, say, or keys of different slots."""


def command(name: bytes, keys: Sequence[str], parts: Sequence[bytes]) -> Command:
    """Return a command on keys; in a cluster they are of one slot.

    Raises:
        NotUnderstood: there are no keys.
    """
    if not keys:
        raise NotUnderstood(f"wrong number of arguments for {name.decode()}: it needs a key")
    packed = pack(name, *[key.encode("ascii") for key in keys], *parts)
    return Command(packed, keys[0], name in _READS, len(packed) >= BULK)


def reply(key: str, outcome: Outcome) -> Reply:
    """Return what a server replied.

    Raises:
        OfAnotherType: something else stands under one of the keys.
        NotUnderstood: the arguments make no sense.
        BackendUnavailable: it did not reply, or refused.
    """
    if isinstance(outcome, Refused) and outcome.code == "WRONGTYPE":
        raise OfAnotherType(
            f"{key!r}, or a key beside it, holds something else than this is for: delete it, or"
            " give sets, hashes and values different keys"
        ) from outcome
    if isinstance(outcome, Refused) and outcome.code in ("ERR", "CROSSSLOT"):
        raise NotUnderstood(str(outcome)) from outcome
    return unwrap(outcome)


STRUCTURE: Final = Operation(command, reply)
