"""What an annotation comes to: a text that tells types of other data apart, and what it holds.

The text has neither the names of classes nor of modules: a class that was renamed or moved has
the same. It has those of fields, in their order, and the values of enums; and what the data do not
say, for it is so by default.
"""

import types
import typing
from collections import abc
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin
from uuid import UUID

from twofold.codecs.named import ADDRESSES
from twofold.types.fields import fields_of, is_pydantic

TEXTS: Final = (PurePath, *ADDRESSES)
"""Classes whose values can be made of what `str` says of them."""

_OTHERS = (*TEXTS, bytearray, memoryview)
"""Classes without fields whose values are known all the same."""

_JSON_ATOMS = frozenset({bool, float, int, str, types.NoneType})
_EXTENSIONS = frozenset({date, datetime, time, timedelta, Decimal, UUID})
_ATOMS = frozenset({bytes, complex}) | _EXTENSIONS | _JSON_ATOMS
_JSON_CONTAINERS = frozenset({dict, list})
_CONTAINERS = frozenset({frozenset, set, tuple}) | _JSON_CONTAINERS
_ABSTRACT = frozenset(
    {
        abc.Collection,
        abc.Iterable,
        abc.Mapping,
        abc.MutableMapping,
        abc.MutableSequence,
        abc.MutableSet,
        abc.Sequence,
        abc.Set,
    }
)
_QUALIFIERS = frozenset(
    getattr(typing, name)
    for name in ("ClassVar", "Final", "NotRequired", "ReadOnly", "Required")
    if hasattr(typing, name)
)
_ALIAS = getattr(typing, "TypeAliasType", None)  # of Python 3.12

MOST: Final = 512
"""Classes in each other and beside each other that an annotation may come to."""


class Unknown(Exception):
    """Nothing is known of what an annotation names."""


class Outline:
    """What `annotation` comes to.

    Raises:
        NameError: it, or a field, names what is not there yet, or cannot be found.
        Unknown: it says nothing of the data.
    """

    def __init__(self, annotation: Any) -> None:
        self.has_pydantic: bool = False
        self.is_json: bool = True
        """Whether all of it is what JSON keeps as it is."""
        self.is_plain: bool = True
        """Whether all of it is what serializers keep as it is that keep the types of Python."""
        self.has_others: bool = False
        """Whether it has classes that msgspec does not know, such as paths."""
        self.has_extensions: bool = False
        """Whether it has what MessagePack keeps by extensions, such as dates and tuples."""
        self._has_strangers = False
        self._has_known = False
        self._within: list[Any] = []
        self._seen = 0
        self.text: str = self._text(annotation, {})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.text}>"

    @property
    def says_nothing(self) -> bool:
        """Whether it has classes of objects, and none that has fields or is an enum."""
        return self._has_strangers and not self._has_known

    def _text(self, annotation: Any, given: Mapping[Any, Any]) -> str:
        self._seen += 1
        if self._seen > MOST:
            raise Unknown("it holds too many types")
        annotation = bare(annotation)
        if type(annotation) is list:  # of the arguments of a callable
            raise Unknown(f"{annotation!r} is no class")
        if isinstance(annotation, TypeVar):
            annotation = given.get(annotation, Any)
        if annotation is None:
            annotation = types.NoneType
        if annotation is Any or annotation is object:
            return "any"
        if annotation in _ATOMS:
            self.is_json &= annotation in _JSON_ATOMS
            self.has_others |= annotation is complex
            self.has_extensions |= annotation in _EXTENSIONS
            return str(annotation.__name__)
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Union or origin is types.UnionType:
            return self._union(args, given)
        if origin is Literal:
            return self._literal(args)
        if origin in _QUALIFIERS:
            return f"{origin}({self._text(args[0], given)})" if args else "any"
        return self._class(annotation, origin or annotation, args, given)

    def _union(self, args: tuple[Any, ...], given: Mapping[Any, Any]) -> str:
        texts = [self._text(each, given) for each in args]
        if len({*texts}) < len(texts):  # only their names tell which place is whose
            texts = [f"{_name(each)}={text}" for each, text in zip(args, texts, strict=True)]
        return "|".join(texts)

    def _literal(self, values: Iterable[Any]) -> str:
        if not _JSON_ATOMS.issuperset(map(type, values)):
            self.is_json = self.is_plain = False
            self._has_known = True
        return f"literal[{','.join(map(_of_literal, values))}]"

    def _class(self, annotation: Any, kind: Any, args: Any, given: Mapping[Any, Any]) -> str:
        if not isinstance(kind, type):
            raise Unknown(f"{annotation!r} is no class")
        if kind in _CONTAINERS or kind in _ABSTRACT:
            self.is_json &= kind in _JSON_CONTAINERS or kind in _ABSTRACT
            self.has_extensions |= kind is tuple
            if kind is dict and args and bare(args[0]) is not str:
                self.is_json = False
                self.has_extensions |= bare(args[0]) in _ATOMS
            inner = ",".join("..." if each is ... else self._text(each, given) for each in args)
            return f"{kind.__name__}[{inner}]"
        self.is_json = self.is_plain = False
        if issubclass(kind, Enum):
            self._has_known = True
            return _of_enum(kind)
        self.has_pydantic |= is_pydantic(kind)
        if annotation in self._within:
            return f"^{len(self._within) - self._within.index(annotation)}"
        self._within.append(annotation)
        text = self._fields(kind, args, _of_parameters(kind, args, given))
        self._within.pop()
        return text

    def _fields(self, kind: type, args: Any, given: Mapping[Any, Any]) -> str:
        fields = fields_of(kind)
        self._has_known |= fields is not None or issubclass(kind, _OTHERS)
        if fields is None:
            self.has_others = True
            self._has_strangers |= not issubclass(kind, _OTHERS)
            inner = ",".join(self._text(each, given) for each in args)
            return f"{kind.__name__}[{inner}]"
        self.has_extensions |= issubclass(kind, tuple)
        texts = (f"{each.label}:{self._text(each.annotation, given)}" for each in fields)
        return f"{_form(kind)}{{{','.join(texts)}}}"


def _of_parameters(kind: type, args: Any, given: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return what the type variables of a class stand for in its fields."""
    names = getattr(kind, "__parameters__", ())
    return {name: given.get(each, each) for name, each in zip(names, args, strict=False)}


def bare(annotation: Any) -> Any:
    """Return an annotation without its aliases, new types and remarks."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif _ALIAS is not None and isinstance(annotation, _ALIAS):
            annotation = annotation.__value__
        elif _ALIAS is not None and isinstance(get_origin(annotation), _ALIAS):
            annotation = get_origin(annotation).__value__[get_args(annotation)]
        else:
            return annotation


def _name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def is_odd_enum(kind: Any) -> bool:
    """Tell whether `kind` is an enum whose values are not all numbers, or all text.

    Its values stand in data by their names, for msgspec does not take them.
    """
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return False
    kinds = {type(each._value_) for each in kind}
    return kinds not in ({int}, {str})


def _of_enum(kind: type[Enum]) -> str:
    values = {name: _of_literal(each.value) for name, each in kind.__members__.items()}
    members = map("=".join, values.items()) if is_odd_enum(kind) else values.values()
    return f"enum[{','.join(members)}]"


def _of_literal(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if type(value) is tuple:
        return f"({','.join(map(_of_literal, value))})"
    return repr(value) if type(value) in _ATOMS else type(value).__name__


def _form(kind: Any) -> str:
    """Return what tells how the fields of a class stand in its data."""
    config = getattr(kind, "__struct_config__", None)
    if config is not None:
        return f"struct {config.tag_field} {config.tag} {config.array_like}"
    return "tuple" if issubclass(kind, tuple) else "object"
