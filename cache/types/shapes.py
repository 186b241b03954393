"""A type that is named for values, and how it stands in stores of one kind."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from twofold.entry import MARK_SIZE
from twofold.types.conversions import Conversion, conversion, looked_at
from twofold.types.outline import Outline

_FORMAT: Final = "1"  # of the data: another one makes every typed entry a miss


class Shape:
    """A type, as the data of its values show it.

    Args:
        annotation: the type.

    Raises:
        NameError: it names what is not there yet, or cannot be found.
        Unknown: it says nothing of the data.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._outline = Outline(annotation)
        self._fitted: dict[bool, Fitted] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """What the type is called in messages."""
        kind = self.annotation
        return kind.__qualname__ if isinstance(kind, type) else str(kind)

    @property
    def says_nothing(self) -> bool:
        """Whether nothing can be made of it, so that values stand as if it were not named."""
        return self._outline.says_nothing

    def is_kept(self, *, rich: bool) -> bool:
        """Tell whether serializers bring its values back without knowing of it."""
        return self._outline.is_plain if rich else self._outline.is_json

    def fitted(self, *, rich: bool) -> "Fitted":
        """Return how its values stand in stores whose data are rich, or those of JSON.

        Raises:
            Unknown: nothing can convert them.
        """
        if rich not in self._fitted:
            kept = self.is_kept(rich=rich)
            made = (looked_at if kept else conversion)(self.annotation, rich=rich)
            text = "" if kept else f"{rich} {self._outline.text}"
            self._fitted[rich] = Fitted(self.name, made, text)
        return self._fitted[rich]


class Fitted:
    """How the values of a type stand in stores of one kind: their data, and their marks.

    What serializers keep without knowing of the type has no mark: counters stay counters.
    """

    def __init__(self, name: str, made: Conversion, text: str) -> None:
        self.name: str = name
        self.exact: Callable[[Any], Any] = made.exact
        self.from_plain: Callable[[Any], Any] = made.from_plain
        self.from_msgpack: Callable[[bytes], Any] | None = made.from_msgpack
        self.mark: bytes = _digest(f"data {text}") if text else b""
        self.as_it_is: bytes = _digest(f"value {text}") if text else b""
        """The mark of a value itself, in a store that keeps objects."""
        self.other: bytes = _digest(f"other {text}")
        """The mark of what is kept though it is of another type."""


def _digest(text: str) -> bytes:
    return blake2b(f"{_FORMAT} {text}".encode(), digest_size=MARK_SIZE).digest()
