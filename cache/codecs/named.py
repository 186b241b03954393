"""Values that say of which type they are, by a name: of types that the program has registered.

Nothing is imported because a store names it: a name that is not registered makes a miss.
"""

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, NamedTuple, Protocol

from twofold.codecs.refusal import refuse
from twofold.errors import SettingsError
from twofold.interrupts import raise_if_of_others


class Form(Protocol):
    """How the values of a type stand in data."""

    @property
    def mark(self) -> bytes:
        """A fingerprint of the type."""

    def exact(self, value: Any) -> Any:
        """Return data of which just this value comes back, or raise ValueError."""

    def from_plain(self, plain: Any) -> Any:
        """Return the value; it may raise anything."""


class Named(NamedTuple):
    """A type that may be named in a store."""

    name: str
    kind: type
    form: Callable[[bool], Form]
    """Returns how its values stand in data that are rich, or those of JSON."""


class _Text:
    """A type whose values are made of text."""

    mark: Final = b""

    def __init__(self, kind: type) -> None:
        self._kind: Callable[[str], Any] = kind

    def exact(self, value: Any) -> str:
        return str(value)

    def from_plain(self, plain: Any) -> Any:
        if type(plain) is not str:
            raise ValueError("no text")
        return self._kind(plain)


ADDRESSES: Final = (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

by_type: Final[dict[type, Named]] = {}
_by_name: dict[str, Named] = {}


def register(named: Named) -> None:
    """Have values of a type stored with its name.

    Raises:
        SettingsError: another type has it.
    """
    known = _by_name.get(named.name)
    if known is not None and _full_name(known.kind) != _full_name(named.kind):
        raise SettingsError(
            f"{named.name!r} is the name of {_full_name(known.kind)} already: register"
            f" {_full_name(named.kind)} under another one, by name="
        )
    if known is not None:  # as it was before its module was loaded again
        by_type.pop(known.kind, None)
    _by_name[named.name] = by_type[named.kind] = named


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def parts_of(serializer: str, value: Any, *, rich: bool) -> list[Any]:
    """Return a name, a mark, and data of a value, or raise `CannotSerialize`."""
    named = by_type.get(type(value))
    if named is None:
        raise refuse(serializer, value)
    try:
        form = named.form(rich)
        return [named.name, form.mark, form.exact(value)]
    except Exception as exc:
        raise_if_of_others(exc)
        raise refuse(serializer, value, str(exc)) from exc


def value_of(parts: Any, *, rich: bool) -> Any:
    """Return the value of what `parts_of` returned.

    Raises:
        ValueError: its type is not registered, or has changed, or the data are none of it.
    """
    name, mark, plain = parts
    named = _by_name.get(name) if type(name) is str else None
    if named is None:
        raise ValueError("no type is registered under this name")
    try:
        form = named.form(rich)
        if form.mark == mark:
            return form.from_plain(plain)
    except Exception as exc:
        raise_if_of_others(exc)
        raise ValueError(f"no {name}") from exc
    raise ValueError(f"{name} has changed")


def _register_text(kind: type, made: type | None = None) -> None:
    form = _Text(made or kind)
    register(Named((made or kind).__name__, kind, lambda _rich: form))


for _kind in (*ADDRESSES, PurePosixPath, PureWindowsPath):
    _register_text(_kind)
_register_text(type(Path()), Path)
