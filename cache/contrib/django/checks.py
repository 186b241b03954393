"""What `manage.py check` finds in `CACHES`; with `--deploy` it asks the servers, too."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import caches
from django.core.checks import CheckMessage, Tags, register
from django.core.exceptions import ImproperlyConfigured

from twofold.contrib.django.backends import FileCache, SQLiteCache, TwofoldCache
from twofold.contrib.django.entries import SERIALIZER, UNSHARED
from twofold.errors import CacheError, PartlyUnavailable


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


@register(Tags.caches, deploy=True)
def check_servers(**_: Any) -> list[CheckMessage]:
    """Tell of servers that do not answer, and of what they say is wrong with them."""
    messages: list[CheckMessage] = []
    for alias, cache in _ours():
        with suppress(ImproperlyConfigured):  # `check_settings` tells of it
            messages += _examine(alias, cache)
    return messages


def _ours() -> Iterator[tuple[str, TwofoldCache]]:
    for alias in settings.CACHES:
        cache = None
        with suppress(Exception):  # a backend of somebody else's, whose driver is not there
            cache = caches[alias]
        if isinstance(cache, TwofoldCache):
            yield alias, cache


def _advice(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    can_clear = cache.cache.flushes or cache.can_clear
    if _has_unsigned_pickles(cache.to_twofold(settings.CACHES[alias])):
        yield checks.Warning(
            f"CACHES[{alias!r}] keeps pickles that are not signed: whoever can write to the store"
            " can run code here.",
            hint="Leave SECRET out, then SECRET_KEY signs them; or choose SERIALIZER 'msgpack'.",
            id="twofold.W001",
        )
    yield from _exposure(alias, cache)
    if not can_clear:
        yield checks.Warning(
            f"CACHES[{alias!r}] has keys of its own making, so that clear() cannot tell them from"
            " others', and refuses.",
            hint="OPTIONS['clear'] = 'flush' lets clear() empty the whole store, as in Django.",
            id="twofold.W002",
        )


def _has_sessions(alias: str) -> bool:
    used = str(settings.SESSION_ENGINE).startswith("django.contrib.sessions.backends.cache")
    installed = "django.contrib.sessions" in settings.INSTALLED_APPS
    return used and installed and alias == settings.SESSION_CACHE_ALIAS


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
            hint="Use an absolute path.",
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


def _has_unsigned_pickles(raw: Mapping[str, Any]) -> bool:
    """Tell whether others may reach the store, and its pickles are not signed."""
    pickles = raw["SERIALIZER"] in (SERIALIZER, "pickle")
    return pickles and raw["BACKEND"] not in UNSHARED and not raw.get("SECRET")


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
    if _has_sessions(alias) and cache.cache.fails_open:
        yield checks.Warning(
            f"CACHES[{alias!r}] has the sessions, and its outages are misses: a logout during one"
            " is lost without an error, and the session is back when the store is.",
            hint="OPTIONS['on_error'] = 'raise' in an alias of their own, SESSION_CACHE_ALIAS.",
            id="twofold.W004",
        )
    for server in servers:
        for warning in server.warnings:
            yield checks.Warning(f"CACHES[{alias!r}]: {warning}", id="twofold.W003")
