"""What a cache is made of, as its settings say; nothing is connected or opened yet."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from twofold.backend import Backend
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.codecs import resolve_compressor, resolve_serializer
from twofold.entry import Codec, Envelope, Objects
from twofold.errors import SettingsError
from twofold.keys import KeyMaker
from twofold.near.codec import NearCodec
from twofold.near.reader import Near
from twofold.near.tier import Tier
from twofold.settings import (
    CacheConfig,
    CommonOptions,
    backend_class,
    entry_options,
    placed,
    split_options,
)
from twofold.settings.arguments import read_arguments
from twofold.types import register_type


class Parts(NamedTuple):
    """All that a cache is made of."""

    alias: str
    backend: Backend
    codec: Codec
    keys: KeyMaker
    timeout: float | None
    """Seconds that an entry lives unless told otherwise; None for ever."""
    options: CommonOptions
    freshness: Mapping[str, Any] = {}
    """What becomes of computed values, as fields of a `Policy`."""
    near: Near | None = None
    """What is kept near of the store."""


def private_parts(backend: Backend | str, settings: Mapping[str, Any]) -> Parts:
    """Return the parts of a cache that is in no settings, over a store or a URL."""
    config = read_arguments(backend, settings)
    store = build_backend(config) if isinstance(backend, str) else backend
    return parts_over(store, config, key_maker(config))


def parts_of(config: CacheConfig, clock: Clock = SYSTEM_CLOCK) -> Parts:
    """Return the parts of a cache of the settings."""
    return parts_over(build_backend(config, clock), config, key_maker(config))


def parts_over(backend: Backend, config: CacheConfig, keys: KeyMaker) -> Parts:
    """Return the parts of a cache over a store that is there already, which others may use too."""
    options, _ = split_options(config, type(backend))
    with placed(config.where("TYPES")):
        for each in config.types:
            register_type(each)
    codec = codec_for(config, backend.holds_objects, backend.clock)
    parts = Parts(config.alias, backend, codec, keys, config.timeout, options, config.freshness)
    near = near_of(parts, config)
    return parts if near is None else parts._replace(codec=near.codec, near=near)


def near_of(far: Parts, config: CacheConfig) -> Near | None:
    """Return the copies that `config` asks for; of a store in this process there need be none."""
    backend, codec = far.backend, far.codec
    if config.near is None or backend.private or not isinstance(codec, Envelope):
        return None
    tier = Tier(backend, far.keys.beginnings(), config.near)
    serializer = resolve_serializer(config.serializer)
    copies = Objects(serializer, clock=backend.clock)
    return Near(tier, NearCodec(codec, copies, serializer.may_share))


def key_maker(config: CacheConfig) -> KeyMaker:
    """Return what makes the keys of a cache."""
    return KeyMaker(config.key_prefix, config.version, config.key_function)


def codec_for(config: CacheConfig, holds_objects: bool, clock: Clock = SYSTEM_CLOCK) -> Codec:
    """Return the codec that `config` asks for, for a store of objects or of bytes.

    Raises:
        SettingsError: `SERIALIZER`, `COMPRESSOR` or `SECRET` asks for what cannot be.
    """
    with placed(config.where()):
        serializer = None if config.serializer is None else resolve_serializer(config.serializer)
        compressor = resolve_compressor(config.compressor)
        if holds_objects:
            return Objects(serializer, clock=clock)
        if serializer is None:
            raise SettingsError(
                "SERIALIZER None keeps objects as they are, but the store keeps bytes:"
                " name a serializer, or leave SERIALIZER out"
            )
        return Envelope(
            serializer,
            compressor,
            config.compress_min,
            config.secret,
            clock=clock,
            **entry_options(config),
        )


def build_backend(config: CacheConfig, clock: Clock = SYSTEM_CLOCK) -> Backend:
    """Return the store that `config` names."""
    store: type[Backend] = backend_class(config)
    _, options = split_options(config, store)
    if isinstance(config.location, list) and not store.takes_many_locations:
        raise SettingsError(
            f"{config.where('LOCATION')} is a list, and {store.__name__} takes one place: give that"
        )
    if clock is not SYSTEM_CLOCK:
        options = {**options, "clock": clock}
    with placed(config.where()):
        return store(config.location, **options)
