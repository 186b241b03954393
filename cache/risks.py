"""What settings risk: pure functions for those who check them."""

import pickle
from types import FunctionType, MethodType, ModuleType
from typing import Any

from twofold.backend import Kind
from twofold.codecs.serializers import Foreign, Pickle, resolve_serializer
from twofold.errors import SettingsError
from twofold.settings.config import CacheConfig

_PICKLERS = frozenset({"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle"})
"""Modules whose loading runs, or may crash, what is loaded."""


def has_unsigned_pickles(config: CacheConfig, holds_objects: bool) -> bool:
    """Tell whether anyone who writes to the store can run code here, by a pickle or its like.

    Args:
        config: the settings of an alias.
        holds_objects: whether the store keeps objects, and nothing is serialized for it.
    """
    if holds_objects or config.secret or config.serializer is None:
        return False
    try:
        return unpickles(resolve_serializer(config.serializer))
    except SettingsError:  # building the cache raises it
        return False


def unpickles(serializer: object) -> bool:
    """Tell whether a serializer unpickles, by its kind, its name or what its `loads` uses."""
    if isinstance(serializer, Pickle):
        return True
    loads = getattr(serializer, "loads", None)
    named = serializer.name if isinstance(serializer, Foreign) else type(serializer).__qualname__
    return (
        "pickle" in named.lower() or _is_unpickler(loads) or any(map(_is_unpickler, _used(loads)))
    )


def _is_unpickler(found: object) -> bool:
    if isinstance(found, ModuleType):
        return found.__name__.partition(".")[0] in _PICKLERS
    module = str(getattr(found, "__module__", None)).partition(".")[0].lstrip("_")
    return module in _PICKLERS or found in (pickle.loads, pickle.load, pickle.Unpickler)


def _used(function: Any) -> list[object]:
    """Return the globals that a function uses by name."""
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType):
        return []
    return [
        plain.__globals__[name] for name in plain.__code__.co_names if name in plain.__globals__
    ]


def skips_certificates(config: CacheConfig) -> str | None:
    """Return the option by which servers need no certificate of their own, or None."""
    options = {name.lower(): value for name, value in config.options.items()}
    if options.get("ssl_cert_reqs", "required") == "none":
        return "ssl_cert_reqs"
    return "ssl_check_hostname" if options.get("ssl_check_hostname") is False else None


def shares_keys(config: CacheConfig, kind: Kind) -> bool:
    """Tell whether another application at the same servers would have the same keys."""
    return kind == "native" and not config.key_prefix and config.key_function is None
