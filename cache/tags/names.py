"""The names of tags, as callers give them."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

from twofold.callables import is_async
from twofold.display import shown
from twofold.errors import InvalidKey, SettingsError
from twofold.metadata import Pins

Tagging: TypeAlias = Iterable[str] | Callable[[Any], Iterable[str]]
"""Names of tags, or a function of the computed value that returns them."""

_TEXTS = (str, bytes, bytearray)
_STR = frozenset({str})


class Pinned(tuple[str, ...]):
    """Names of tags whose generations were read before what they are for was computed."""

    pins: Pins | None
    """None if the store could not tell, which is a miss: then nothing is stored."""

    @classmethod
    def of(cls, pins: Pins) -> "Pinned":
        """Return the names in `pins`, with these."""
        made = cls(name for name, _ in pins)
        made.pins = pins
        return made


def tag_names(tags: Any) -> tuple[str, ...]:
    """Return the names of tags, each once.

    Raises:
        InvalidKey: they are one text instead of several, or one of them is empty or no text.
    """
    if isinstance(tags, _TEXTS):
        raise InvalidKey(f"tags={tags!r} stands in place of many tags: write [{tags!r}]")
    if type(tags) is list and _STR.issuperset(map(type, tags)) and all(tags):  # as usual
        return tuple(dict.fromkeys(tags))
    try:
        names = tuple(tags)
    except TypeError:
        raise InvalidKey(
            f"tags are an iterable of texts, such as ['user:7']; not {shown(tags)}"
        ) from None
    for name in names:
        if not isinstance(name, str) or not name:
            several = ", whose items are given one by one, *tags" if _is_several(name) else ""
            raise InvalidKey(
                "a tag is text of at least one character, such as 'user:7'; not"
                f" {shown(name)}{several}"
            )
    return tuple(dict.fromkeys(map(str.__str__, names)))


def _is_several(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, _TEXTS)


def read_tags(tags: Any) -> tuple[str, ...] | Callable[[Any], Iterable[str]]:
    """Return names of tags, or the function of the result that returns them.

    Raises:
        InvalidKey: they are neither.
        SettingsError: the function is async.
    """
    if not callable(tags):
        return tag_names(() if tags is None else tags)
    if is_async(tags):
        raise SettingsError(
            f"tags={tags!r} is async; as a function of the result it is to be a def"
        )
    function: Callable[[Any], Iterable[str]] = tags
    return function
