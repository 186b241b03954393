"""What every codec does, whether its store keeps bytes or objects."""

from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from twofold.codecs.serializers import Serializer
from twofold.metadata import Meta, Metas

MARK_SIZE: Final = 8
"""Bytes of the fingerprint of a type."""


class _Sentinel(Enum):
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Sentinel.MISSING
"""No value, where None is one."""

Missing: TypeAlias = Literal[_Sentinel.MISSING]


class Entry(NamedTuple):
    """A value as it was read, and what was stored about it."""

    value: Any
    meta: Meta | None = None
    mark: bytes = b""
    """The fingerprint of the type that the value is the plain data of; empty if of none."""

    def is_fresh(self, now: float) -> bool:
        """Tell whether the value is good by the wall clock; without metadata it always is."""
        return self.meta is None or self.meta.is_fresh(now)

    def is_gone(self, now: float) -> bool:
        """Tell whether nobody may be given it as a value any more, not even as a stale one."""
        meta = self.meta
        return meta is not None and (bool(meta.error) or meta.is_gone(now))


Keeps: TypeAlias = Literal["json", "plain", "all"]
"""What comes back of the types that it was: what JSON has; what Python has built in; all."""


class Codec(Protocol):
    """What turns values into what a store keeps, and back."""

    @property
    def unwrapped_types(self) -> frozenset[type]:
        """Types that are stored as they are: a value of one of them need not go through `load`."""

    damaged: int
    """How many entries could not be read."""

    owner: str
    """The alias of the cache, for the event of the first of them."""

    signs_numbers: bool
    """Whether counters are signed, so that no store can add to them."""

    keeps: Keeps

    serializer: str
    """The name of what makes payloads; empty if nothing does."""

    def dump(self, key: str, value: Any, meta: Meta | None = None, mark: bytes = b"") -> Any:
        """Return what to store under `key`, never None; raise `CannotSerialize`.

        An int without metadata or mark stays a counter, for the store to add to. A mark has
        `MARK_SIZE` bytes.
        """

    def load(self, key: str, stored: Any) -> Any | Missing:
        """Return the value stored under `key`; MISSING if it is stale, or whatever is wrong.

        To a codec an entry that has tags is missing: `tags.Reader` loads it.
        """

    def open(self, key: str, stored: Any, metas: Metas | None = None) -> Entry | Missing:
        """Return what `load` does, with its metadata, and however old it is.

        `metas` are those that are known of a call that opens several.
        """

    def load_described(
        self, key: str, stored: Any, described: bytes, mark: bytes = b""
    ) -> Any | Missing:
        """Return a value whose metadata, as bytes, and mark are these; MISSING if it has others.

        Who knows them need not take them apart, nor ask how old it is. MISSING tells nothing: a
        codec need not know what is quick.
        """

    def load_marked(self, key: str, stored: Any) -> tuple[Any | Missing, bytes]:
        """Return what `load` does, and its mark."""


def keeps_of(serializer: Serializer) -> Keeps:
    """Return what comes back of a serializer as the types that it was; of others', JSON at most."""
    return "plain" if serializer.name in ("msgpack", "pickle") else "json"
