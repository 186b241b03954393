"""What `manage.py check` finds in `CACHES`; with `--deploy` it asks the servers, too."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import caches
from django.core.checks import CheckMessage, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from twofold.contrib.django.backends import FileCache, SQLiteCache
from twofold.contrib.django.base import TwofoldCache
from twofold.contrib.django.middleware import FetchFromCacheMiddleware, UpdateCacheMiddleware
from twofold.contrib.django.sharers import SESSIONS, shared_in
from twofold.contrib.django.translation import translate
from twofold.errors import CacheError, PartlyUnavailable
from twofold.risks import has_unsigned_pickles, shares_keys, skips_certificates
from twofold.settings import read_cache


@register(Tags.caches)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Tell of entries of `CACHES` that cannot be used, or are better changed."""
    messages: list[CheckMessage] = []
    for alias, cache in _ours():
        try:
            messages += _advice(alias, cache)
        except ImproperlyConfigured as error:
            hint = f"Change CACHES[{alias!r}]."
            messages.append(checks.Error(str(error), hint=hint, id="twofold.E001"))
    return messages


@register(Tags.caches)
def check_middleware(**_: Any) -> list[CheckMessage]:
    """Tell of one of the pair of middleware without the other, or before it: no page is found."""
    there = [name for name in settings.MIDDLEWARE if name in _PAIR]
    if there in ([], [*_PAIR]) or _roles() == [*_PAIR]:
        return []
    first, last = _PAIR
    return [
        checks.Warning(
            f"MIDDLEWARE has {' before '.join(there)}: it takes both of the pair, in the order of"
            " Django's own.",
            hint=f"Put {first} first, and {last} last; or CacheMiddleware, which is both.",
            id="twofold.W010",
        )
    ]


_PAIR = {
    "twofold.contrib.django.UpdateCacheMiddleware": UpdateCacheMiddleware,
    "twofold.contrib.django.FetchFromCacheMiddleware": FetchFromCacheMiddleware,
}


def _roles() -> list[str]:
    """Return which of the pair the middleware are, by whatever path, or as subclasses."""
    kinds = []
    for name in settings.MIDDLEWARE:
        with suppress(ImportError):  # Django reports it
            kinds.append(import_string(name))
    return [
        role
        for kind in kinds
        for role, ours in _PAIR.items()
        if isinstance(kind, type) and issubclass(kind, ours)
    ]


@register(Tags.caches, deploy=True)
def check_servers(**_: Any) -> list[CheckMessage]:
    """Tell of servers that do not answer, and of what they say is wrong with them."""
    messages: list[CheckMessage] = []
    for alias, cache in _ours():
        with suppress(ImproperlyConfigured):  # `check_settings` reports it
            messages += _examine(alias, cache)
    return messages


def _ours() -> Iterator[tuple[str, TwofoldCache]]:
    for alias in settings.CACHES:
        cache = None
        with suppress(Exception):  # a third-party backend whose driver is not installed
            cache = caches[alias]
        if isinstance(cache, TwofoldCache):
            yield alias, cache


def _advice(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    can_clear = cache.cache.flushes or cache.can_clear
    config = read_cache(alias, cache.to_twofold(settings.CACHES[alias]))
    if has_unsigned_pickles(config, cache.cache.backend.holds_objects or cache.store == "dummy"):
        yield checks.Warning(
            f"CACHES[{alias!r}] keeps pickles that are not signed: anyone who can write to the"
            " store can run code here.",
            hint="Leave SECRET out, then SECRET_KEY signs them; or choose SERIALIZER 'msgpack'.",
            id="twofold.W001",
        )
    if option := skips_certificates(config):
        yield checks.Warning(
            f"CACHES[{alias!r}] does not verify the server's certificate: anyone in between can"
            " read and change what is cached.",
            hint=f"Leave {option} out; OPTIONS['ssl_ca_certs'] names the authorities to trust.",
            id="twofold.W008",
        )
    yield from _exposure(alias, cache)
    yield from _loneliness(alias, cache)
    yield from _leftovers(alias, cache)
    if not can_clear:
        yield checks.Warning(
            f"CACHES[{alias!r}] has keys of its own making, so that clear() cannot tell them from"
            " others', and refuses.",
            hint="OPTIONS['clear'] = 'flush' lets clear() empty the whole store, as in Django.",
            id="twofold.W002",
        )


def _exposure(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    """Tell of files of a cache that a web server, or another working directory, may reach."""
    location = settings.CACHES[alias].get("LOCATION", "")
    if not isinstance(cache, FileCache | SQLiteCache) or "://" in str(location):
        return
    path = Path(location)
    if not path.is_absolute():
        yield checks.Warning(
            f"CACHES[{alias!r}] has a relative LOCATION, {str(location)!r}: it depends on the"
            " working directory.",
            hint="Use an absolute path; the name of a DatabaseCache's table is none.",
            id="twofold.W005",
        )
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        served = getattr(settings, name, None)
        if served and path.resolve().is_relative_to(Path(served).resolve()):
            yield checks.Warning(
                f"CACHES[{alias!r}] is inside {name}: it might be served, and its entries be read.",
                hint=f"Move the cache, or {name}.",
                id="twofold.W006",
            )


def _loneliness(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    """Tell of what all processes must see, in a store that only one of them does."""
    trouble = _LONELY.get(cache.store)
    for what in shared_in(alias) if trouble else ():
        yield checks.Warning(
            f"CACHES[{alias!r}] {trouble}, and has {what}.",
            hint="Use a store that all processes share: RedisCache, MemcachedCache, SQLiteCache"
            " or FileCache.",
            id="twofold.W007",
        )


_LONELY = {
    "memory": "is in the memory of each process, which no other one sees",
    "dummy": "keeps nothing",
}


def _leftovers(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    """Tell once of all that is not needed in an entry."""
    entry = dict(settings.CACHES[alias])
    location = entry.pop("LOCATION", "")
    entry.pop("BACKEND")
    ignored = translate(cache.store, location, entry).ignored
    if ignored:
        told = "; ".join(f"{name}: {why}" for name, why in ignored.items())
        yield checks.Info(
            f"CACHES[{alias!r}] has settings that are not needed here: {told}.",
            hint="Leave them out, or leave them: they change nothing.",
            id="twofold.I001",
        )


def _examine(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    try:
        cache.cache.backend.get("twofold-check")
        servers = cache.cache.backend.examine()
    except CacheError as error:
        yield checks.Error(
            f"CACHES[{alias!r}]: {error}",
            hint="Start the server, or correct LOCATION and OPTIONS.",
            id="twofold.E002",
        )
        servers = error.result if isinstance(error, PartlyUnavailable) else []
    if SESSIONS in shared_in(alias) and cache.cache.fails_open:
        yield checks.Warning(
            f"CACHES[{alias!r}] has the sessions, and its outages are misses: a logout during one"
            " is lost without an error, and the session is back when the store is.",
            hint="OPTIONS['on_error'] = 'raise' in an alias of their own, SESSION_CACHE_ALIAS.",
            id="twofold.W004",
        )
    config = read_cache(alias, cache.to_twofold(settings.CACHES[alias]))
    if shares_keys(config, cache.cache.backend.kind):
        yield checks.Warning(
            f"CACHES[{alias!r}] has no KEY_PREFIX, and is on servers: another project there without"
            " one has the same keys.",
            hint="Set KEY_PREFIX to a name of the project.",
            id="twofold.W009",
        )
    for server in servers:
        for warning in server.warnings:
            yield checks.Warning(f"CACHES[{alias!r}]: {warning}", id="twofold.W003")
