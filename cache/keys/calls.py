"""Keys of calls: a function and its arguments as text."""

import re
import string
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import Signature
from itertools import pairwise
from typing import Any, NamedTuple

from twofold.callables import is_async
from twofold.errors import InvalidKey, SettingsError, UnstableArgument
from twofold.keys.encoding import Opaque, Unencodable, encode
from twofold.keys.names import class_name, digest, function_name, readable
from twofold.keys.parameters import Parameters
from twofold.keys.proxies import is_proxy, may_be_proxy, unwrap
from twofold.keys.snapshots import holds_none, snapshot
from twofold.spelling import did_you_mean

_MEMO_KEYS = 4096
_MEMO_ARGUMENTS = 16
_MEMO_BYTES = 512  # of one argument

_MAX_IDENTITY = 100
_BAD = re.compile(r"[^!-~]")
_PLAIN = frozenset({str, int, bool, type(None), bytes})  # equal and of one type: one encoding
_FIELD_NAME = re.compile(r"[^.\[]*")
_NUMERIC = re.compile(r"[0-9.]*")
_FORMATTER = string.Formatter()


class CallKeys:
    """Makes the keys of the calls of one function.

    By default the key is the function's full name and all its arguments, bound to the
    signature and encoded with their types: `shop.price(item='x',net=True)`. Only these
    tell calls apart: what a nested function closes over does not.

    Args:
        function: what is called.
        key: a template like "user:{user.id}" over the parameters, or a callable that
            takes the function's own arguments and returns the key.
        ignore: names of parameters that the default key leaves out; that of `*` or `**`
            leaves out all that they take.

    Attributes:
        prefix: what all keys of this function begin with (other keys may too, if it is
            the head of a template); None if there is no such text.

    Raises:
        SettingsError: `key` or `ignore` names no parameter, `ignore` leaves out nothing,
            two fields of `key` have no separator between them, a default can stand in no
            key, or the function has no name of its own and no `key` is given.
    """

    __slots__ = (
        "_build",
        "_ignored",
        "_memo",
        "_memo_size",
        "_parameters",
        "asks",
        "name",
        "prefix",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        key: str | Callable[..., str] | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        name = function_name(function)
        self.name: str = readable(name)
        self._parameters = Parameters(function, self.name)
        self._ignored = self._check_ignored(ignore)
        self._memo_size = 0
        self._memo: dict[Any, dict[tuple[Any, ...], str]] | None = {}
        self._build: Callable[[tuple[Any, ...], Mapping[str, Any]], str]
        self.prefix: str | None = None
        self.asks: bool = callable(key)
        """Whether the user's own function makes the key."""
        if key is None:
            self.prefix = f"{_identity_of(function, name)}("
            self._build = self._spell
            self._check_defaults(self._parameters.names)
        elif isinstance(key, str):
            template = [self._field(*part) for part in self._parse(key)]
            self._check_apart(template)
            self._check_defaults([str(piece.field) for piece in template])
            self.prefix = _literal_head(template) or None
            self._build = partial(self._fill, template)
        elif callable(key):
            self._check_asked(key)
            self._build = partial(self._ask, key)
            self._memo = None
        else:
            raise SettingsError(
                f"{self.name}: key= must be a template such as 'user:{{user_id}}' or a callable,"
                f" not {key!r}"
            )
        if not self._parameters.defaults_are_immutable(self._ignored):
            self._memo = None

    def __repr__(self) -> str:
        return f"<CallKeys of {self.name}{self._parameters.signature}>"

    @property
    def signature(self) -> Signature:
        """The signature of the function."""
        return self._parameters.signature

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a call with these arguments, not yet normalised.

        Raises:
            TypeError: the function cannot be called with them.
            UnstableArgument: one of them has no identity that outlives the process.
            InvalidKey: a callable `key` returned something else than a non-empty str.
        """
        memo = self._memo
        if memo is None:
            return self._build(args, kwargs)
        shape: Any  # the types of all values, because 1 == True
        if kwargs:
            values = (*args, *kwargs.values())
            shape = (*kwargs, *map(type, values))
        else:
            values = args
            count = len(args)
            if count == 1:  # this and the next are the common ones, and map() is slow
                shape = type(args[0])
            elif count == 2:
                shape = (type(args[0]), type(args[1]))
            else:
                shape = tuple(map(type, args))
        try:
            return memo[shape][values]
        except KeyError:
            pass
        key = self._build(args, kwargs)
        if _is_memorable(values):
            self._remember(memo, shape, values, key)
        return key

    def prefix_of(self, args: tuple[Any, ...]) -> str | None:
        """Return what all keys of calls with these first arguments begin with, as `prefix`.

        With a `key` these do not count.
        """
        if not args or self._build != self._spell:
            return self.prefix
        parts = [
            f"{_spell_name(name)}={self._encode(name, value)}"
            for name, value in zip(self._parameters.places(len(args)), args, strict=True)
            if name is not None and name not in self._ignored
        ]
        return f"{self.prefix}{','.join(parts)}"

    def _remember(
        self, memo: dict[Any, dict[tuple[Any, ...], str]], shape: Any, values: Any, key: str
    ) -> None:
        if self._memo_size >= _MEMO_KEYS:
            memo.clear()
            self._memo_size = 0
        self._memo_size += 1
        memo.setdefault(shape, {})[values] = key

    def snapshot(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments as they are now, those apart that `ignore` names."""
        if holds_none(args, kwargs.values()):
            return args, kwargs
        made: dict[int, tuple[object, Any]] = {}
        names = self._parameters.places(len(args))
        return tuple(
            each if name in self._ignored else snapshot(each, made)
            for name, each in zip(names, args, strict=True)
        ), {
            name: each if self._parameters.leaves_out(self._ignored, name) else snapshot(each, made)
            for name, each in kwargs.items()
        }

    def _spell(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the default key."""
        parts = [
            f"{_spell_name(name)}={self._encode(name, value)}"
            for name, value in self._parameters.flat(args, kwargs, self._ignored)
            if name not in self._ignored
        ]
        return f"{self.prefix}{','.join(parts)})"

    def _ask(
        self, key: Callable[..., str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> str:
        """Return what the callable `key` makes of the call."""
        made = key(*args, **kwargs)
        if not isinstance(made, str) or not made:
            raise InvalidKey(
                f"{self.name}: the key callable must return a non-empty str, not {made!r}"
            )
        return str.__str__(made)

    def _fill(
        self, template: "list[_Field]", args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> str:
        """Return the key that the template makes of the call."""
        bound = self._parameters.bind(args, kwargs)
        parts = []
        for text, field, spec, conversion in template:
            parts.append(text)
            if field is not None:
                value, name = self._look_up(field, bound)
                if conversion or spec:
                    value = _FORMATTER.convert_field(value, conversion)
                    value = str(_FORMATTER.format_field(value, spec))
                parts.append(self._encode(str(name), value, field))
        return "".join(parts)

    def _look_up(self, field: str, bound: Mapping[str, Any]) -> tuple[Any, Any]:
        try:
            value, name = _FORMATTER.get_field(field, (), bound)
        except (AttributeError, LookupError) as error:
            raise UnstableArgument(
                f"{self.name}: its key template has the field {{{field}}}, and there is none in"
                f" this call: {type(error).__name__}: {error}"
            ) from error
        return value, name

    def _encode(self, name: str, value: object, field: str = "") -> str:
        """Return the typed text of the argument `name`, or of a template's `field` of it."""
        try:
            return encode(value)
        except Unencodable as error:
            reason = str(error)
        field = field or self._parameters.field(name)
        identity = _identifying(field, value) if field else ""
        example = f', such as key="{self.name.rpartition(".")[2]}:{identity}"' if identity else ""
        message = (
            f"{self.name}: the argument {name!r}, of type {class_name(type(value))}, cannot stand"
            f" in a key, because {reason}. Either write a key= of what identifies it{example}; or"
            f' leave it out with ignore=("{name}",), if it does not change the result; or give its'
            " class a method __cache_key__ that returns what identifies it."
        )
        raise UnstableArgument(readable(message))

    def _check_ignored(self, ignore: Sequence[str]) -> frozenset[str]:
        if isinstance(ignore, str | bytes):
            raise SettingsError(
                f"{self.name}: ignore= must be a tuple of names: write ignore=({ignore!r},)"
            )
        if not isinstance(ignore, Collection):  # an iterator would be empty after one look
            raise SettingsError(
                f"{self.name}: ignore= must be a tuple of names such as ('request',),"
                f" not {ignore!r}"
            )
        for name in ignore:
            if not self._parameters.takes(name):
                raise SettingsError(self._no_parameter(f"ignore={tuple(ignore)!r}", name))
        return frozenset(ignore)

    def _check_asked(self, key: Callable[..., str]) -> None:
        """Refuse what a callable `key` makes no sense with."""
        if is_async(key):
            raise SettingsError(
                f"{self.name}: key={key!r} is async, and a key is made without waiting:"
                " use a plain def"
            )
        if self._ignored:
            raise SettingsError(
                f"{self.name}: ignore={tuple(sorted(self._ignored))!r} leaves out nothing, since"
                " the callable key= makes the whole key: leave out ignore="
            )

    def _check_defaults(self, names: Iterable[str]) -> None:
        """Refuse a default that would make each call without the argument fail."""
        for name in set(names) - self._ignored:
            default = self._parameters.defaults.get(name)
            reason = _why_opaque(default)
            if reason is not None:
                raise SettingsError(
                    f"{self.name}: the default of {name!r}, {default!r}, can stand in no key,"
                    f" because {readable(reason)}. Let it be None or a member of an Enum, or leave"
                    f' the parameter out with ignore=("{name}",)'
                )

    def _parse(self, key: str) -> list[tuple[str, str | None, str | None, str | None]]:
        if not key:
            raise SettingsError(
                f"{self.name}: the key template is empty: write one such as 'user:{{user_id}}'"
            )
        try:
            return list(_FORMATTER.parse(key))
        except ValueError as error:
            raise SettingsError(f"{self.name}: key={key!r} is no template: {error}") from None

    def _field(
        self, text: str, field: str | None, spec: str | None, conversion: str | None
    ) -> "_Field":
        """Return one piece of a template: literal text, and the field that follows it."""
        if field is None:
            return _Field(text, None, "", None)
        name = _FIELD_NAME.match(field)[0]  # type: ignore[index]
        where = f"the field {{{field}}} of its key template"
        if not name or name.isdigit():
            raise SettingsError(f"{self.name}: {where} has no name; write that of a parameter")
        if name not in self._parameters.names:
            raise SettingsError(self._no_parameter(where, name))
        if name in self._ignored:
            raise SettingsError(
                f"{self.name}: {where} names {name!r}, which ignore= is to leave out: take it out"
                " of one of them"
            )
        if "{" in (spec or ""):
            raise SettingsError(
                f"{self.name}: {where} has another field in its format: write the format out"
            )
        try:
            _FORMATTER.get_field(field, (), {name: _Probe()})
            _FORMATTER.convert_field("", conversion)
        except ValueError as error:
            raise SettingsError(f"{self.name}: {where}: {error}") from None
        return _Field(text, field, spec or "", conversion)

    def _check_apart(self, template: "list[_Field]") -> None:
        """Refuse two fields whose values could run into each other."""
        fields = [index for index, piece in enumerate(template) if piece.field is not None]
        for one, other in pairwise(fields):
            between = "".join(piece.text for piece in template[one + 1 : other + 1])
            if _NUMERIC.fullmatch(between):
                raise SettingsError(
                    f"{self.name}: its key template has {between!r} between the fields"
                    f" {{{template[one].field}}} and {{{template[other].field}}}, which does not"
                    " tell their values apart: put a separator such as ':' between them"
                )

    def _no_parameter(self, where: str, name: object) -> str:
        names = self._parameters.names
        return (
            f"{self.name}: {where} names {name!r}, but the parameters are"
            f" {', '.join(names) or 'none'}{did_you_mean(str(name), names)}"
        )


class _Field(NamedTuple):
    """Literal text of a template, and the field that follows it."""

    text: str
    field: str | None
    spec: str
    conversion: str | None


def _spell_name(name: str) -> str:
    """Return the name of an argument as text; `**` also takes what is no identifier."""
    return name if str.isidentifier(name) else encode(str.__str__(name))


def _literal_head(template: list[_Field]) -> str:
    """Return the text that stands before the first value."""
    fields = [index for index, piece in enumerate(template) if piece.field is not None]
    end = fields[0] + 1 if fields else len(template)
    return "".join(piece.text for piece in template[:end])


def _is_memorable(values: tuple[Any, ...]) -> bool:
    """Tell whether `values` are few, small, and told apart by equality and type."""
    return len(values) <= _MEMO_ARGUMENTS and all(
        type(value) in _PLAIN and value.__sizeof__() <= _MEMO_BYTES for value in values
    )


def _why_opaque(default: object) -> str | None:
    """Return why no key can ever hold `default`, or None; a proxy is not asked yet."""
    if may_be_proxy(default):
        return None
    with suppress(Unencodable):  # such as a class that is being made: then the call tells
        try:
            encode(default)
        except Opaque as error:
            return str(error)
    return None


_MOST_ADVISED = 5  # fields; for more a method of the class is better

_FIELDS = ("__pydantic_fields__", "__struct_fields__", "__attrs_attrs__")


def _identifying(field: str, value: object) -> str:
    """Return the fields of a template that tell a value from others; "" if none are known."""
    thing = unwrap(value) if is_proxy(value) else value
    fields = next((found for each in _FIELDS if (found := getattr(type(thing), each, None))), ())
    names = [each if isinstance(each, str) else each.name for each in fields]
    if len(names) > _MOST_ADVISED:
        return ""
    if not names and (hasattr(type(thing), "id") or "id" in getattr(thing, "__dict__", ())):
        names = ["id"]
    return ":".join(f"{{{field}.{each}}}" for each in names)


def _identity_of(function: Callable[..., Any], name: str) -> str:
    """Return the name of a function as it stands in keys: short, and of no other function."""
    if not hasattr(function, "__qualname__") or name.endswith("<lambda>"):
        raise SettingsError(
            f"{readable(name)} has no name of its own, so its keys would be those of others:"
            " define it with def, or give a key="
        )
    if len(name) <= _MAX_IDENTITY and not _BAD.search(name):
        return name
    return f"{_BAD.sub('_', name[: _MAX_IDENTITY - 41])}~{digest(name)}"


class _Probe:
    """Has every attribute and item, to try a field of a template on."""

    def __getattr__(self, name: str) -> "_Probe":
        return self

    def __getitem__(self, key: object) -> "_Probe":
        return self
