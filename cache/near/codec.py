"""The codec of a cache that keeps copies near: for what the far store has, and for the copies."""

from collections.abc import Callable
from typing import Any, Final

from twofold.codecs.immutables import ATOMS
from twofold.entry import (
    MISSING,
    Described,
    Entry,
    Envelope,
    Held,
    Keeps,
    Marked,
    Meta,
    Metas,
    Missing,
    Objects,
    Serialized,
)
from twofold.tags.stored import is_generation


class NearCodec:
    """Values to bytes for the far store, and back; and back from what is near.

    What the far store has is bytes, and no copy is.

    Args:
        far: for what the far store keeps.
        near: for the copies.
        shares: tells whether a value may be kept as it is, since nobody can change it.
    """

    unwrapped_types: Final[frozenset[type]] = ATOMS - {bytes}

    def __init__(self, far: Envelope, near: Objects, shares: Callable[[Any], bool]) -> None:
        self.signs_numbers: bool = far.signs_numbers
        self.keeps: Keeps = far.keeps
        self.serializer: str = far.serializer
        self._far = far
        self._near = near
        self._shares = shares
        self._load_far = far.load
        self._unseal = far.unseal
        self._load_near = near.load
        self._open_far = far.open
        self._open_near = near.open

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._far!r}>"

    @property
    def damaged(self) -> int:
        return self._far.damaged + self._near.damaged

    @damaged.setter
    def damaged(self, number: int) -> None:
        self._far.damaged, self._near.damaged = number, 0

    @property
    def owner(self) -> str:
        return self._far.owner

    @owner.setter
    def owner(self, alias: str) -> None:
        self._far.owner = self._near.owner = alias

    def dump(self, key: str, value: Any, meta: Meta | None = None, mark: bytes = b"") -> bytes:
        """Return what the far store is to keep."""
        return self._far.dump(key, value, meta, mark)

    def load(self, key: str, stored: Any) -> Any | Missing:
        kind = type(stored)
        if kind is Held:
            return stored.value
        return (self._load_far if kind is bytes else self._load_near)(key, stored)

    def load_described(
        self, key: str, stored: Any, described: bytes, mark: bytes = b""
    ) -> Any | Missing:
        return self._of(stored).load_described(key, stored, described, mark)

    def load_marked(self, key: str, stored: Any) -> tuple[Any | Missing, bytes]:
        return self._of(stored).load_marked(key, stored)

    def open(self, key: str, stored: Any, metas: Metas | None = None) -> Entry | Missing:
        return (self._open_far if type(stored) is bytes else self._open_near)(key, stored, metas)

    def _of(self, stored: Any) -> Envelope | Objects:
        return self._far if type(stored) is bytes else self._near

    def copy(self, key: str, stored: bytes) -> tuple[Any | None, Any | None]:
        """Return what one reader is given of what the far store had, and what is to be kept.

        The one who reads it first is spared to decode it twice; to all others the copy is good.
        """
        if is_generation(stored):  # of a tag, which no codec reads
            return stored, stored
        entry, payload = self._unseal(key, stored)
        if entry is MISSING:
            return None, None
        if payload is None:  # a counter, which is there to be added to
            return stored, None
        given: Any
        copy: Any
        value, meta, mark = entry
        if value is None or type(value) is bytes:  # which nothing near may be
            given = copy = Serialized(payload) if mark else Held(value)
        else:
            given, copy = value, value if self._shares(value) else Serialized(payload)
        if mark:
            given, copy = Marked(given, mark), Marked(copy, mark)
        if meta is None:
            return given, copy
        return Described(given, meta), None if meta.error else Described(copy, meta)
