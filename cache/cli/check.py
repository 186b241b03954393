"""`twofold check`: whether every alias works, in both faces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any

from twofold.backend import Backend, Examined
from twofold.core import Cache
from twofold.display import mask_url
from twofold.errors import BackendUnavailable, CacheError, PartlyUnavailable, SettingsError
from twofold.registry import build
from twofold.risks import has_unsigned_pickles, shares_keys, skips_certificates
from twofold.settings import CacheConfig, discover
from twofold.spelling import unknown
from twofold.testing import FACES

ROUNDS = 5
"""Round trips in each face, of which the fastest counts: the first one connects."""

_PROBE_LIFE = 60  # seconds, should deleting the probe fail
_KEEPS_NOTHING = "twofold.backends.dummy"


@dataclass(frozen=True)
class Checked:
    """How one alias did; a round trip is set, get and delete, in seconds."""

    alias: str
    store: str
    sync_seconds: float | None = None
    async_seconds: float | None = None
    servers: tuple[Examined, ...] = ()
    warnings: tuple[str, ...] = ()
    trouble: str | None = None


def check(aliases: Sequence[str]) -> list[Checked]:
    """Try `aliases`, or all there are, as the settings describe them.

    Raises:
        SettingsError: the settings are wrong, or have none of that name.
    """
    configs = discover()
    for alias in aliases:
        if alias not in configs:
            raise SettingsError(unknown("cache", alias, configs))
    return [check_alias(configs[alias]) for alias in dict.fromkeys(aliases or configs)]


def check_alias(config: CacheConfig) -> Checked:
    """Try one alias; whatever goes wrong is told in `trouble`."""
    try:
        cache = build(replace(config, options={**config.options, "on_error": "raise"}))
    except SettingsError as error:
        return Checked(config.alias, config.backend, trouble=told(error))
    store, warnings = mask_url(repr(cache.backend)), tuple(_warnings(config, cache))
    if type(cache.backend).__module__ == _KEEPS_NOTHING:
        return Checked(config.alias, store, warnings=(*warnings, "the dummy store keeps nothing"))
    try:
        in_sync, in_async = (face.run(_fastest(face.view(cache))) for face in FACES)
        servers = tuple(cache.backend.examine())
    except Exception as error:  # a third-party backend may raise anything
        trouble = told(error)
        servers = _those_that_answer(cache)
        return Checked(config.alias, store, servers=servers, warnings=warnings, trouble=trouble)
    finally:
        cache.close()
    warnings += tuple(warning for each in servers for warning in each.warnings)
    return Checked(config.alias, store, in_sync, in_async, servers, warnings)


def told(error: Exception) -> str:
    """Return what an error says, and how to import what the working directory has."""
    if not isinstance(error, CacheError):
        return mask_url(f"{type(error).__name__}: {error}")
    module = str(getattr(error.__cause__, "name", None) or "").partition(".")[0]
    if module and (Path(module).is_dir() or Path(f"{module}.py").is_file()):
        return f"{error}; there is one in this folder: --app-dir . lets it be imported"
    return str(error)


def _those_that_answer(cache: Cache) -> tuple[Examined, ...]:
    """Return what the servers that answer report, where another does not."""
    try:
        return tuple(cache.backend.examine())
    except PartlyUnavailable as error:
        return tuple(error.result)
    except Exception:  # it is told as the trouble
        return ()


def _warnings(config: CacheConfig, cache: Cache) -> Iterator[str]:
    kind = cache.backend.kind
    if has_unsigned_pickles(config, holds_objects=kind == "inline"):
        yield (
            f"SERIALIZER {config.serializer!r} without a SECRET: anyone who can write to the store"
            " can run code here. Set SECRET, which signs every entry, or use 'msgpack'"
        )
    if option := skips_certificates(config):
        yield (
            f"OPTIONS[{option!r}] leaves the server's certificate unverified: anyone in between"
            " can read and change what is cached. Leave it out; OPTIONS['ssl_ca_certs'] names whom"
            " to trust"
        )
    if shares_keys(config, kind):
        yield (
            "no KEY_PREFIX, and the store is on servers: another application there without one"
            " gets the entries of this one. Set KEY_PREFIX to a name of the application"
        )
    if cache._near is not None and type(cache.backend).watch is Backend.watch:
        life = config.near.life(told=False) if config.near is not None else None
        yield (
            "NEAR: the store does not tell of foreign writes, so each process may serve a value"
            f" for {life:g} s after another has changed it. NEAR['timeout'] sets that time"
        )


async def _fastest(view: Any) -> float:
    return min([await _round_trip(view) for _ in range(ROUNDS)])


async def _round_trip(view: Any) -> float:
    key, value = f"twofold-check:{token_hex(8)}", token_hex(8)
    started = perf_counter()
    stored = await view.set(key, value, _PROBE_LIFE)
    found = await view.get(key)
    deleted = await view.delete(key)
    seconds = perf_counter() - started
    _require(stored and found == value and deleted and not await view.has_key(key))
    return seconds


def _require(kept: bool) -> None:
    if not kept:
        raise BackendUnavailable(
            "a value that was just set could not be read back and deleted: see whether the store is"
            " full, evicts at once, or has replicas that lag behind"
        )
