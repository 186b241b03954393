"""The settings of one cache as arguments: `Cache("redis://…", key_prefix="lib")`."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from twofold.backend import Backend
from twofold.errors import SettingsError
from twofold.freshness.options import Freshness
from twofold.keys import KeyFunction
from twofold.settings.config import CacheConfig, Secret, placed, read_cache
from twofold.settings.sources import split_options
from twofold.spelling import unknown
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout


class CacheSettings(TypedDict, total=False):
    """What the keys of an alias in `CACHES` are called as arguments."""

    timeout: Timeout
    key_prefix: str
    version: int
    key_function: KeyFunction | str | None
    serializer: str | None
    compressor: str | None
    compress_min: int
    secret: Secret | None
    freshness: Freshness
    near: Mapping[str, Any] | str | int | None
    types: Sequence[type | str]
    options: Mapping[str, Any]


class PrivateConfig(CacheConfig):
    """The validated settings of a cache that is in no `CACHES`."""

    @staticmethod
    def place(alias: str, setting: str = "") -> str:  # noqa: ARG004 - it is in no settings
        return f"Cache({setting.lower()}=…)" if setting else "Cache(…)"


def read_arguments(backend: Backend | str, arguments: Mapping[str, Any]) -> CacheConfig:
    """Return the configuration of a private cache, named by its `key_prefix`.

    Raises:
        SettingsError: something in it is unknown or cannot be.
    """
    known = CacheSettings.__annotations__
    for name in arguments.keys() - known:
        raise SettingsError(f"Cache(…): {unknown('setting', name, known)}")
    raw: dict[str, Any] = {
        name.upper(): value for name, value in arguments.items() if value is not DEFAULT_TIMEOUT
    }
    if isinstance(backend, str):
        raw["LOCATION"] = backend
        return read_cache(_alias(arguments, "private"), raw, PrivateConfig)
    if not isinstance(backend, Backend):
        raise SettingsError(
            f"Cache(…) takes a URL such as 'redis://127.0.0.1' or a Backend, not {backend!r}"
        )
    store = type(backend)
    config = read_cache(
        _alias(arguments, "private"), {**raw, "BACKEND": store.__name__}, PrivateConfig
    )
    _, own = split_options(config, store)
    with placed(config.where("OPTIONS")):
        for name in own:
            raise SettingsError(f"{name!r} is the store's own: give it to {store.__name__}(…)")
    return config


def _alias(arguments: Mapping[str, Any], otherwise: str) -> str:
    prefix = arguments.get("key_prefix")
    return prefix if isinstance(prefix, str) and prefix else otherwise
