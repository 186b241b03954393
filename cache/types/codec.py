"""A codec that knows the type of the values: they are stored as plain data, with a mark."""

from collections.abc import Callable
from typing import Any, Final

from twofold.codecs.immutables import ATOMS, is_immutable
from twofold.codecs.refusal import refuse_used_up, type_name
from twofold.entry import (
    MISSING,
    Codec,
    Described,
    Entry,
    Keeps,
    Marked,
    Meta,
    Metas,
    Missing,
    Serialized,
)
from twofold.errors import CannotSerialize
from twofold.interrupts import raise_if_of_others
from twofold.types.shapes import Fitted

_OF_NAMED = (
    "Store a plain form of it, or choose SERIALIZER 'pickle' if only you can write to the store."
)


class TypedCodec:
    """Values of one type to what a store keeps, and back.

    What it did not write, or wrote of another type, is a miss.

    Args:
        codec: keeps their data.
        fitted: how values of the type stand there.
        holds_objects: whether the store keeps objects: those that nobody can change as they are.
        tell_other: is told why of the first value that is of another type. Without it such a
            value is refused; with it, it is kept as what it is, if the codec can.
    """

    unwrapped_types: Final[frozenset[type]] = frozenset()

    def __init__(
        self,
        codec: Codec,
        fitted: Fitted,
        *,
        holds_objects: bool,
        tell_other: Callable[[str], None] | None = None,
    ) -> None:
        self.damaged: int = 0
        self.owner: str = codec.owner
        self._codec = codec
        self._fitted = fitted
        self._holds_objects = holds_objects
        self._tell_other = tell_other
        self._from_plain = fitted.from_plain
        self._from_msgpack = fitted.from_msgpack if codec.serializer == "msgpack" else None
        self._mark = fitted.mark
        self._by_reference = fitted.as_it_is if holds_objects else None
        self._kept_marks: frozenset[bytes] = frozenset({fitted.as_it_is} if holds_objects else ())
        self.signs_numbers: bool = codec.signs_numbers
        self.keeps: Keeps = codec.keeps
        self.serializer: str = codec.serializer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._fitted.name} over {self._codec!r}>"

    def dump(self, key: str, value: Any, meta: Meta | None = None, mark: bytes = b"") -> Any:
        """Return what to store under `key`; raise `CannotSerialize`."""
        if mark or (meta is not None and meta.error):  # what an exception is made of has no type
            return self._codec.dump(key, value, meta, mark)
        try:
            plain = self._fitted.exact(value)
        except ValueError as exc:
            return self._dump_other(key, value, meta, str(exc))
        if self._holds_objects and is_immutable(value):
            return self._codec.dump(key, value, meta, self._fitted.as_it_is)
        return self._codec.dump(key, plain, meta, self._mark)

    def _dump_other(self, key: str, value: Any, meta: Meta | None, why: str) -> Any:
        refuse_used_up(value)
        reason = f"a value of type {type_name(value)} is not kept as {self._fitted.name}: {why}"
        if self._tell_other is None:
            raise CannotSerialize(f"{reason}.")
        try:
            stored = self._codec.dump(key, value, meta, self._fitted.other)
        except CannotSerialize as exc:
            is_named = type(value).__qualname__ == self._fitted.name and self.serializer != "pickle"
            advice = _OF_NAMED if is_named else f"Without its type: {exc}"
            raise CannotSerialize(f"{reason}. {advice}") from exc
        if self._fitted.other not in self._kept_marks:
            self._kept_marks |= {self._fitted.other}
            self._tell_other(reason)
        return stored

    def load(self, key: str, stored: Any) -> Any | Missing:
        """Return the value stored under `key`; MISSING if it is stale, or whatever is wrong."""
        if type(stored) is Marked:  # as below, in fewer steps
            kept, mark = stored.kept, stored.mark
            kind = type(kept)
            try:
                if mark == self._mark:
                    if kind is Serialized and self._from_msgpack is not None:
                        return self._from_msgpack(kept.data)
                    if kind in ATOMS:
                        return self._from_plain(kept)
                elif mark == self._by_reference and kind is not Serialized:
                    return kept
            except Exception as exc:
                raise_if_of_others(exc)
        found, mark = self._codec.load_marked(key, stored)
        if mark == self._mark and found is not MISSING:
            try:
                return self._from_plain(found)
            except Exception as exc:
                raise_if_of_others(exc)
                return MISSING
        return found if mark in self._kept_marks else MISSING

    def load_described(
        self, key: str, stored: Any, described: bytes, mark: bytes = b""
    ) -> Any | Missing:
        """Return a value whose metadata, as bytes, are these; MISSING if it has others."""
        found = self._codec.load_described(key, stored, described, mark or self._mark)
        if found is MISSING:
            return MISSING
        try:
            return self._from_plain(found)
        except Exception as exc:
            raise_if_of_others(exc)
            return MISSING

    def load_marked(self, key: str, stored: Any) -> tuple[Any | Missing, bytes]:
        """Return what `load` does, and its mark."""
        _, mark = self._codec.load_marked(key, stored)
        return self.load(key, stored), mark

    def open(self, key: str, stored: Any, metas: Metas | None = None) -> Entry | Missing:
        """Return what `load` does, with its metadata, and however old it is."""
        if type(stored) is Described and type(stored.kept) is Marked:
            value = self.load(key, stored.kept)
            meta = stored.meta if metas is None else metas[stored.meta]
            return MISSING if value is MISSING else Entry(value, meta, stored.kept.mark)
        entry = self._codec.open(key, stored, metas)
        if entry is MISSING or (entry.meta is not None and entry.meta.error):
            return entry
        if entry.mark != self._mark:
            return entry if entry.mark in self._kept_marks else MISSING
        try:
            return Entry(self._from_plain(entry.value), entry.meta, entry.mark)
        except Exception as exc:
            raise_if_of_others(exc)
            return MISSING
