"""What `manage.py check` finds in `CACHES`; with `--deploy` it asks the servers, too."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import InvalidCacheBackendError, caches
from django.core.checks import CheckMessage, Tags, register

from twofold.contrib.django.backends import TwofoldCache
from twofold.contrib.django.entries import SERIALIZER, UNSHARED
from twofold.errors import CacheError, PartlyUnavailable


@register(Tags.caches)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Tell of entries of `CACHES` that cannot be used, or are better changed."""
    messages: list[CheckMessage] = []
    for alias, cache in _ours():
        try:
            messages += _advice(alias, cache)
        except InvalidCacheBackendError as error:
            hint = f"Change CACHES[{alias!r}]."
            messages.append(checks.Error(str(error), hint=hint, id="twofold.E001"))
    return messages


@register(Tags.caches, deploy=True)
def check_servers(**_: Any) -> list[CheckMessage]:
    """Tell of servers that do not answer, and of what they say is wrong with them."""
    messages: list[CheckMessage] = []
    for alias, cache in _ours():
        with suppress(InvalidCacheBackendError):  # `check_settings` tells of it
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
    if not can_clear:
        yield checks.Warning(
            f"CACHES[{alias!r}] has keys of its own making, so that clear() cannot tell them from"
            " others', and refuses.",
            hint="OPTIONS['clear'] = 'flush' lets clear() empty the whole store, as in Django.",
            id="twofold.W002",
        )


def _has_unsigned_pickles(raw: Mapping[str, Any]) -> bool:
    """Tell whether others may reach the store, and its pickles are not signed."""
    pickles = raw["SERIALIZER"] in (SERIALIZER, "pickle")
    return pickles and raw["BACKEND"] not in UNSHARED and not raw.get("SECRET")


def _examine(alias: str, cache: TwofoldCache) -> Iterator[CheckMessage]:
    try:
        servers = cache.cache.backend.examine()
    except CacheError as error:
        yield checks.Error(
            f"CACHES[{alias!r}]: {error}",
            hint="Start the server, or correct LOCATION and OPTIONS.",
            id="twofold.E002",
        )
        servers = error.result if isinstance(error, PartlyUnavailable) else []
    for server in servers:
        for warning in server.warnings:
            yield checks.Warning(f"CACHES[{alias!r}]: {warning}", id="twofold.W003")
