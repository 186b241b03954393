"""Keys that a framework has made, prefix and version and all."""

from twofold.backend import is_lock
from twofold.keys.maker import KeyMaker, head


class FullKeys(KeyMaker):
    """Normalises keys that are full already; their versions are the maker's business.

    Args:
        prefix: the prefix of their locks and leases.
    """

    __slots__ = ()

    def __init__(self, prefix: str = "") -> None:
        super().__init__(prefix, function=_unlike_a_lock)

    def prefix(self, start: str, version: int | None = None) -> str:
        """Return what the normalised keys of all full keys that begin with `start` begin with."""
        return head(start)


def _unlike_a_lock(key: str, _prefix: str, _version: int) -> str:
    """Return `key`, told apart from the keys of locks and leases, which are not evicted."""
    return f": {key}" if is_lock(key) else key
