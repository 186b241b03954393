"""Entries of Django's `CACHES`, and what they are in twofold's settings."""

from collections.abc import Hashable, Mapping
from hashlib import blake2b
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import get_key_func

from twofold.contrib.django.translation import translate
from twofold.display import mask_url
from twofold.errors import SettingsError
from twofold.keys import KeyFunction, check_prefix

SERIALIZER = "twofold.contrib.django.pickles.DjangoPickle"
"""The serializer of an entry that names none: what Django pickles is pickled."""

_UNKEPT = "twofold.contrib.django.pickles.Unkept"

UNSHARED = frozenset({"dummy", "memory"})
"""Stores that nobody else can write to, so that nothing there is signed."""

_DEFAULTS = {
    "on_error": "miss",
    "on_unserializable": "raise",  # as Django's own caches do
    "numbers": "bare",
}
_CULLING = {"max_entries": 300, "cull_frequency": 3}  # Django's, where one of them is given
_BOUNDS = frozenset({*_CULLING, "max_bytes"})
_KEYS = frozenset({"KEY_FUNCTION", "KEY_PREFIX", "VERSION"})


def _defaults(backend: str) -> dict[str, Any]:
    return _DEFAULTS if backend in UNSHARED else {**_DEFAULTS, "blocking_calls": "warn"}


def raw_settings(
    backend: str, location: Any, params: Mapping[str, Any], *, bounded: bool
) -> dict[str, Any]:
    """Return what an entry of Django's `CACHES` is in twofold's, without its keys.

    Args:
        backend: the short name of the store.
        location: the entry's `LOCATION`.
        params: the rest of the entry.
        bounded: whether the store knows `MAX_ENTRIES` and `CULL_FREQUENCY`.

    Raises:
        SettingsError: the entry asks for what Django cannot live with.
    """
    found = translate(backend, location, params)
    options = _options(found.options, bounded=bounded)
    if found.settings.get("SERIALIZER", SERIALIZER) is None:
        raise SettingsError(
            "SERIALIZER None would share objects, such as pages, that Django changes after they"
            " were cached: name a serializer, or leave SERIALIZER out"
        )
    return {
        "SERIALIZER": _UNKEPT if backend == "dummy" else SERIALIZER,
        **_secret(backend, params),
        **{name: value for name, value in found.settings.items() if name not in _KEYS},
        **({"LOCATION": _store_name(location, options)} if backend == "memory" else {}),
        "BACKEND": backend,
        "OPTIONS": {**_defaults(backend), **options},
    }


def _secret(backend: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secret of an entry that names none, where there is need of one."""
    if "SECRET" in params or backend in UNSHARED:
        return {}
    return {"SECRET": [*map(_derived, [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])]}


def _derived(secret_key: str | bytes) -> bytes:
    """Return the secret that a SECRET_KEY stands for, however short that is; none for none."""
    key = secret_key.encode() if isinstance(secret_key, str) else secret_key
    return key and blake2b(key, person=b"twofold.django").digest()


def claim_prefix(params: Mapping[str, Any]) -> str:
    """Return the prefix that twofold itself gives to the claims beside an entry."""
    return str(raw_keys(params).get("KEY_PREFIX", ""))


def raw_keys(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make the keys which Django makes of an entry."""
    prefix, function = params.get("KEY_PREFIX", ""), params.get("KEY_FUNCTION")
    version = {"VERSION": params.get("VERSION", 1)}
    try:
        check_prefix(prefix)
    except SettingsError:
        return {**version, "KEY_FUNCTION": _with_prefix(get_key_func(function), prefix)}
    return {**version, "KEY_PREFIX": prefix, "KEY_FUNCTION": function}


def _with_prefix(function: KeyFunction, prefix: str) -> KeyFunction:
    """Return a function for a prefix that twofold itself does not take."""
    return lambda key, _, version: function(key, prefix, version)


def _options(given: Mapping[str, Any], *, bounded: bool) -> dict[str, Any]:
    """Return the options with Django's defaults for culling."""
    options = dict(given)
    culling = {name: options.pop(name) for name in _CULLING if name in options}
    if not culling or not bounded:
        return options
    return {**options, **{name: _whole(culling.get(name, _CULLING[name])) for name in _CULLING}}


def _whole(value: Any) -> Any:
    """Return a number that may be text, as Django reads it; the store refuses what is none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def _store_name(location: Any, options: Mapping[str, Any]) -> str:
    """Return a name for a store in memory: aliases share it only with the same bounds."""
    bounds = [f"{name}={options[name]}" for name in sorted(_BOUNDS & options.keys())]
    return " ".join(["django", mask_url(str(location)), *bounds])


def frozen(value: Any) -> Hashable:
    """Return something hashable that is equal for equal settings."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), frozen(each)) for name, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(frozen(each) for each in value)
    return value if isinstance(value, Hashable) else id(value)
