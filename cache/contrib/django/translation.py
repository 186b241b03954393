"""Entries of `CACHES` as projects have them, in twofold's words.

What Django's own backends, django-redis and the drivers take in `OPTIONS` is translated,
so that a project moves with one line; tables in `twofold.contrib.moving` say what becomes
of each name.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, NamedTuple

from django.conf import settings

from twofold.contrib.moving import Ignored, Moved, Table, local, memcached, redis
from twofold.contrib.moving.tables import complaint
from twofold.errors import SettingsError
from twofold.settings import CacheConfig, backend_class, read_cache, split_options
from twofold.spelling import unknown

_WHERE = "OPTIONS[{!r}]"
_SETTINGS = {each.name.upper() for each in fields(CacheConfig)} - {"ALIAS"}
_OPTIONS = ("max_entries", "cull_frequency", "USERNAME", "PASSWORD")
"""Options that are read beside `OPTIONS` in this spelling, by Django and by django-pylibmc."""

PROJECT: tuple[str, ...] = tuple(name.upper() for name in redis.GLOBALS)
"""Settings of the project that say something of its entries."""

ENTRY: Table = {
    "reverse_key_function": redis.KEYS,
    "max_entries": Ignored("Django reads it in OPTIONS"),
    "cull_frequency": Ignored("Django reads it in OPTIONS"),
    "binary": Ignored("the text protocol is spoken"),
}
"""Keys of an entry beside `OPTIONS`; the first two count as options in small letters."""


class Translation(NamedTuple):
    """An entry in twofold's words, and why some of it is not needed."""

    settings: dict[str, Any]
    options: dict[str, Any]
    """By their names in lower case."""
    ignored: dict[str, str]
    """Reasons, by what it is about as it was spelled."""

    def __repr__(self) -> str:
        """Show no settings, which may have passwords."""
        return f"<Translation with {', '.join([*self.settings, *self.options])}>"


def translate(store: str, location: Any, params: Mapping[str, Any]) -> Translation:
    """Return what an entry means.

    Args:
        store: the short name of the store.
        location: the entry's `LOCATION`.
        params: the rest of the entry.

    Raises:
        SettingsError: some of it cannot be had; all of that is in the message.
    """
    outside = {name: params[name] for name in _OPTIONS if name in params}
    given = {**(params.get("OPTIONS") or {}), **outside}
    moved = _move(store, location, given)
    beside = Moved({}, {}, moved.ignored, moved.refused)
    rest = {name: each for name, each in params.items() if name not in ("OPTIONS", *outside)}
    beside.read(rest, ENTRY, "{}")
    _refuse_unknown(store, moved, beside)
    made = {name: each for name, each in moved.made.items() if name.isupper()}
    options = {name: each for name, each in moved.made.items() if not name.isupper()}
    own = {str(name).lower(): each for name, each in moved.left.items()}
    return Translation({**made, **beside.left}, {**options, **own}, moved.ignored)


def _move(store: str, location: Any, options: Mapping[str, Any]) -> Moved:
    if store == "redis":
        project = {name: getattr(settings, name) for name in PROJECT if hasattr(settings, name)}
        return redis.move(location, options, project, _WHERE)
    if store == "memcached":
        return memcached.move(location, options, _WHERE)
    return local.move("" if store == "dummy" else location, options, _WHERE)


def _refuse_unknown(store: str, moved: Moved, beside: Moved) -> None:
    """Raise for all that was refused, and for all names that are nobody's."""
    refused, endings = moved.refused, dict[str, None]()
    for name, value in moved.left.items():
        if trouble := _trouble(store, str(name), value):
            what, _, names = trouble.partition(" There are: ")
            refused[_WHERE.format(name)] = what.rstrip(".")
            endings[names and f" The options are: {names}"] = None
    for name in map(str, beside.left):
        if name.upper() not in _SETTINGS:
            what, _, names = unknown("setting", name, _SETTINGS).partition(" There are: ")
            refused[name] = what.rstrip(".")
            endings[f" The settings are: {names}"] = None
    if refused:
        said = complaint(refused)
        for each in filter(None, endings):
            said += each if said.endswith("?") else f".{each}"
        raise SettingsError(said)


def _trouble(store: str, name: str, value: Any) -> str | None:
    """Return what is wrong with an option; nothing is where the driver is missing."""
    config = read_cache("?", {"BACKEND": store})
    with suppress(SettingsError):
        backend = backend_class(config)
        try:
            split_options(replace(config, options={name: value}), backend)
        except SettingsError as error:
            return str(error).removeprefix("CACHES['?']['OPTIONS']: ")
    return None
