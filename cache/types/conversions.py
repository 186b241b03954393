"""How values of a type become plain data, and values of that type again.

`msgspec` converts what it knows; pydantic what has its models, and what msgspec refuses, if it is
there. Where a union names several classes, the data say by the place in it which one is meant:
neither library would.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from twofold.interrupts import raise_if_of_others
from twofold.types import libraries
from twofold.types.outline import TEXTS, Outline, Unknown, bare, is_odd_enum
from twofold.types.sameness import is_same


class Conversion(NamedTuple):
    """How values of a type become plain data and come back; both may raise anything."""

    forms: tuple[Callable[[Any], Any], ...]
    """Each makes plain data of a value; the first is the best."""
    from_plain: Callable[[Any], Any]
    from_msgpack: Callable[[bytes], Any] | None = None
    """Makes a value of the MessagePack of its data, where that goes without them; it raises
    where it does not know an extension."""

    def exact(self, value: Any) -> Any:
        """Return data of which just this value comes back.

        Raises:
            ValueError: there are none; the text says why.
        """
        why = "it would come back as something else"
        for to_plain in self.forms:
            try:
                plain = to_plain(value)
                if is_same(value, self.from_plain(plain)):
                    return plain
            except Exception as exc:
                raise_if_of_others(exc)
                why = libraries.reason(exc)
        raise ValueError(why)


def conversion(annotation: Any, *, rich: bool) -> Conversion:
    """Return how values of a type are converted.

    Args:
        annotation: the type.
        rich: whether the data may hold what MessagePack keeps here; else only what JSON does.

    Raises:
        Unknown: neither library knows the type.
    """
    annotation = _known(annotation)
    outline = Outline(annotation)
    for make in (_by_union, _by_items, _by_enum):
        found = make(annotation, rich)
        if found is not None:
            return found
    return _by_library(annotation, outline, rich)


def looked_at(annotation: Any, *, rich: bool) -> Conversion:
    """Return how values are looked at that stand as they are: whether they are of a type.

    Raises:
        Unknown: neither library knows the type.
    """
    try:
        check = libraries.checker(_known(annotation), rich)
    except libraries.Refused as exc:
        raise Unknown(str(exc)) from exc

    def from_plain(plain: Any) -> Any:
        if not is_same(plain, check(plain)):
            raise ValueError(f"a value of type {type(plain).__qualname__} is not of it")
        return plain

    return Conversion((lambda value: value,), from_plain)


def _known(annotation: Any) -> Any:
    """Return an annotation that the libraries know in place of one that they do not."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Iterable or origin is Collection:  # of which pydantic looks at no item
        return Sequence[args]  # type: ignore[valid-type]
    if origin is Literal and all(isinstance(each, Enum) for each in args):
        return Union[tuple(map(type, args))]  # noqa: UP007 - it is made of what there is
    return annotation


def _is_mixed(annotation: Any, rich: bool) -> bool:
    """Tell whether a union of several classes is in a type, fields of classes aside."""
    annotation = bare(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in _UNIONS:
        needs = [each for each in args if not _is_plain(each, rich)]
        fewest = 2 if rich and not any(map(_stands_as_atom, needs)) else 1
        if len(needs) >= fewest and len(args) - (NoneType in args) > 1:
            return True
    elif origin not in _CONTAINERS:
        return False
    return any(_is_mixed(each, rich) for each in args if each is not ...)


_UNIONS = (Union, UnionType)
_CONTAINERS = (dict, frozenset, list, set, tuple)


def _is_plain(annotation: Any, rich: bool) -> bool:
    outline = Outline(annotation)
    return outline.is_plain if rich else outline.is_json


def _stands_as_atom(annotation: Any) -> bool:
    """Tell whether the data of a class are text or a number, as those of others may be."""
    kind = bare(annotation)
    return isinstance(kind, type) and issubclass(kind, (Enum, *TEXTS))


def _by_union(annotation: Any, rich: bool) -> Conversion | None:
    annotation = bare(annotation)
    if get_origin(annotation) not in _UNIONS or not _is_mixed(annotation, rich):
        return None
    ways = [conversion(each, rich=rich) for each in get_args(annotation)]

    def to_plain(value: Any) -> Any:
        for place, way in enumerate(ways):
            try:
                return [place, way.exact(value)]
            except ValueError:
                continue
        raise TypeError(f"a value of type {type(value).__qualname__} is none of these")

    def from_plain(plain: Any) -> Any:
        place, data = plain
        if type(place) is not int or place < 0:
            raise ValueError(f"no member {place!r} of a union")
        return ways[place].from_plain(data)

    return Conversion((to_plain,), from_plain)


def _by_items(annotation: Any, rich: bool) -> Conversion | None:
    """Convert the items of a container one by one, where a union is in these."""
    annotation = bare(annotation)
    kind, args = get_origin(annotation), get_args(annotation)
    if kind not in _CONTAINERS or not _is_mixed(annotation, rich):
        return None
    ways = [conversion(each, rich=rich) for each in args if each is not ...]
    is_fixed = kind is tuple and ... not in args

    def items(parts: Any) -> Iterable[tuple[Conversion, Any]]:
        if kind is dict:
            return [(way, each) for pair in parts for way, each in zip(ways, pair, strict=True)]
        return zip(ways if is_fixed else ways * len(parts), parts, strict=True)

    def to_plain(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"a value of type {type(value).__qualname__} is no {kind.__name__}")
        parts = list(value.items()) if kind is dict else list(value)
        return [way.exact(each) for way, each in items(parts)]

    def from_plain(plain: Any) -> Any:
        if kind is dict:
            pairs = list(zip(plain[::2], plain[1::2], strict=True))
            made = [way.from_plain(each) for way, each in items(pairs)]
            return dict(zip(made[::2], made[1::2], strict=True))
        return kind([way.from_plain(each) for way, each in items(plain)])

    return Conversion((to_plain,), from_plain)


def _by_enum(annotation: Any, _rich: bool) -> Conversion | None:
    """Convert an enum whose values are not all numbers, or all text, by their names."""
    kind = bare(annotation)
    if not is_odd_enum(kind):
        return None
    members = {each.name: each for each in kind}
    names = {each: name for name, each in members.items()}
    return Conversion((names.__getitem__,), members.__getitem__)


def _by_library(annotation: Any, outline: Outline, rich: bool) -> Conversion:
    ways = [libraries.by_pydantic] if outline.has_pydantic else [libraries.by_msgspec]
    if not outline.has_pydantic and ("pydantic" in sys.modules or find_spec("pydantic")):
        ways.append(libraries.by_pydantic)
    for way in ways:
        try:
            return Conversion(*way(annotation, rich))
        except libraries.Refused as exc:
            refused = exc
    raise Unknown(str(refused)) from refused
