"""What a store in this process keeps: values themselves, or what private copies are made of."""

import sys
from typing import Any, Final

from twofold import counter
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.codecs.immutables import ATOMS, is_immutable
from twofold.codecs.refusal import refuse_used_up
from twofold.codecs.serializers import Serializer
from twofold.entry.codec import MARK_SIZE, MISSING, Entry, Keeps, Missing, keeps_of
from twofold.entry.copies import COPIES, Copies, InBytes, copies_of
from twofold.errors import CannotSerialize
from twofold.events import EntriesDamaged, emit
from twofold.interrupts import raise_if_of_others
from twofold.metadata import WHOLE, Described, Meta, Metas, size_of
from twofold.stub import Stub


class Serialized(InBytes):
    """A value in the bytes of a serializer."""

    __slots__ = ()


class Held:
    """A value itself, where it would be taken for something else if it stood alone."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value: Any = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {type(self.value).__name__}>"

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sys.getsizeof(self.value)


class Marked:
    """What an in-process store keeps of the data of a type."""

    __slots__ = ("kept", "mark")

    def __init__(self, kept: Any, mark: bytes) -> None:
        self.kept: Any = kept
        self.mark: bytes = mark

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kept!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Marked):
            return NotImplemented
        return self.mark == other.mark and bool(self.kept == other.kept)

    def __hash__(self) -> int:
        return hash(self.mark)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + size_of(self.kept) + _MARK


_MARK = sys.getsizeof(bytes(MARK_SIZE))

WHOLE.update({Serialized, Held, Marked})  # by `__sizeof__`

_NONE = Serialized(b"")


class Objects:
    """Values to objects and back, for stores in this process.

    Immutable values, and counters for the store to add to, are kept as they are, others
    as `Serialized`, and what the serializer refuses as what copies can be made of; what has a
    mark, as `Marked`, and what has metadata, as `Described`. Nothing is kept as None, which means
    a missing key to a store.

    Args:
        serializer: makes private copies; with None every value is kept as it is, and
            shared by all who read it.
        clock: tells what is stale.
    """

    unwrapped_types: Final[frozenset[type]] = ATOMS
    signs_numbers: bool = False

    def __init__(self, serializer: Serializer | None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.damaged: int = 0
        self.owner: str = ""
        self.keeps: Keeps = "all" if serializer is None else keeps_of(serializer)
        self.serializer: str = "" if serializer is None else serializer.name
        self._serializer = serializer
        self._clock = clock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._serializer and self._serializer.name}>"

    def dump(self, key: str, value: Any, meta: Meta | None = None, mark: bytes = b"") -> Any:
        """Return what to keep; raise `CannotSerialize` if that cannot be."""
        if meta is not None:
            return Described(self.dump(key, value, None, mark), meta)
        if mark:
            return Marked(self.dump(key, value), mark)
        serializer = self._serializer
        if serializer is None:
            if type(value) not in ATOMS:
                refuse_used_up(value)
            return _NONE if value is None else value
        if value is not None and (serializer.may_share(value) or counter.is_counter(value)):
            return value
        try:
            return Serialized(serializer.dumps(value))
        except CannotSerialize as refused:
            if is_immutable(value):
                return value
            try:
                return copies_of(value)
            except CannotSerialize as uncopied:
                if type(refused) is CannotSerialize:
                    raise uncopied from None
                raise refused from refused.__cause__  # of the kind that its callers expect

    def load(self, key: str, stored: Any) -> Any | Missing:
        """Return the value; MISSING if it is stale, or cannot be read back."""
        kind = type(stored)
        if kind is Serialized:
            return self._unpack(stored)
        if kind in COPIES:
            return self._copy(stored)
        if kind is Described:
            is_fresh = stored.meta.is_fresh(self._clock.time())
            return self.load(key, stored.kept) if is_fresh else MISSING
        if kind is Marked:
            return self.load(key, stored.kept)
        if kind is Held:
            return stored.value
        return MISSING if kind is Stub else stored

    def load_described(self, key: str, stored: Any, described: bytes, mark: bytes = b"") -> Missing:
        """Tell nothing: metadata are objects here, and need not be taken apart."""
        return MISSING

    def load_marked(self, key: str, stored: Any) -> tuple[Any | Missing, bytes]:
        """Return what `load` does, and its mark."""
        if type(stored) is Described:
            is_fresh = stored.meta.is_fresh(self._clock.time())
            return self.load_marked(key, stored.kept) if is_fresh else (MISSING, b"")
        if type(stored) is Marked:
            kept = stored.kept
            is_plain = type(kept) is Serialized
            return self._unpack(kept) if is_plain else self.load(key, kept), stored.mark
        return self.load(key, stored), b""

    def open(self, key: str, stored: Any, metas: Metas | None = None) -> Entry | Missing:
        """Return what `load` does, with its metadata, and however old it is."""
        kept, meta = stored if type(stored) is Described else (stored, None)
        if metas is not None and meta is not None:
            meta = metas[meta]
        kind, mark = type(kept), b""
        if kind is Serialized:
            value = self._unpack(kept)
        elif kind is Marked:
            value, mark = self.load_marked(key, kept)
        else:
            value = self.load(key, kept)
        return MISSING if value is MISSING else Entry(value, meta, mark)

    def _unpack(self, stored: Serialized) -> Any | Missing:
        if self._serializer is None:
            return None
        try:
            return self._serializer.loads(stored.data)
        except self._serializer.errors as error:
            return self._damaged(error)

    def _copy(self, stored: Copies) -> Any | Missing:
        try:
            return stored.copy()
        except Exception as error:  # of the value's own class
            return self._damaged(error)

    def _damaged(self, error: Exception) -> Missing:
        raise_if_of_others(error)
        self.damaged += 1
        if self.damaged == 1:
            emit(EntriesDamaged(self.owner, signed=False))
        return MISSING
