"""Keys that a framework has made, prefix and version and all."""

from twofold.keys.kinds import unlike_a_lock
from twofold.keys.maker import KeyMaker, head


class FullKeys(KeyMaker):
    """Normalises keys that are full already; their versions are the maker's business.

    Args:
        prefix: the prefix of their locks, claims and tags.
        common: what they all begin with; "" if nothing.
    """

    __slots__ = ("_common",)

    def __init__(self, prefix: str = "", *, common: str = "") -> None:
        super().__init__(prefix, function=_as_it_is)
        self._common = common

    def beginnings(self) -> tuple[str, ...]:
        """Return what all these keys, and those of their tags, begin with; "" if nothing."""
        common = self._common
        return (self.prefix(common), f"{self.key_prefix}!tag:") if common else ("",)

    def _make(self, key: str, version: int | None) -> str:
        made = super()._make(key, version)
        return self._remember(key, made) if version is None and type(key) is str else made

    def prefix(self, start: str, version: int | None = None) -> str:
        """Return what the normalised keys of all full keys that begin with `start` begin with."""
        return head(unlike_a_lock(start))


def _as_it_is(key: str, _prefix: str, _version: int) -> str:
    return key
