"""Apps that keep in a cache what all processes must see, and in which cache they do."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from django.apps import apps
from django.conf import settings


class Sharer(NamedTuple):
    """An app, what it keeps, and the alias it keeps that in, or None if it does not."""

    app: str
    what: str
    alias: Callable[[], str | None]


def _setting(name: str, default: str | None = "default") -> Callable[[], str | None]:
    return lambda: getattr(settings, name, default)


def _sessions() -> str | None:
    in_cache = str(settings.SESSION_ENGINE).startswith("django.contrib.sessions.backends.cache")
    return settings.SESSION_CACHE_ALIAS if in_cache else None


def _axes() -> str | None:
    in_cache = "cache" in str(getattr(settings, "AXES_HANDLER", "")).lower()
    return getattr(settings, "AXES_CACHE", "default") if in_cache else None


def _ratelimit() -> str | None:
    enabled = getattr(settings, "RATELIMIT_ENABLE", True)
    return getattr(settings, "RATELIMIT_USE_CACHE", "default") if enabled else None


def _throttles() -> str | None:
    throttles = getattr(settings, "REST_FRAMEWORK", {}).get("DEFAULT_THROTTLE_CLASSES")
    return "default" if throttles else None


def _allauth() -> str | None:
    return "default" if getattr(settings, "ACCOUNT_RATE_LIMITS", True) is not False else None


SESSIONS = "the sessions"
SHARERS: tuple[Sharer, ...] = (
    Sharer("django.contrib.sessions", SESSIONS, _sessions),
    Sharer("axes", "the failed logins of django-axes", _axes),
    Sharer("django_ratelimit", "the rate limits of django-ratelimit", _ratelimit),
    Sharer("ratelimit", "the rate limits of django-ratelimit", _ratelimit),
    Sharer("rest_framework", "the throttles of Django REST framework", _throttles),
    Sharer("allauth.account", "the rate limits of django-allauth", _allauth),
    Sharer(
        "constance",
        "the settings of django-constance",
        _setting("CONSTANCE_DATABASE_CACHE_BACKEND", None),
    ),
    Sharer("waffle", "the flags of django-waffle", _setting("WAFFLE_CACHE_NAME")),
    Sharer("cachalot", "the query results of django-cachalot", _setting("CACHALOT_CACHE")),
)


def shared_in(alias: str) -> Iterator[str]:
    """Yield what installed apps keep in the cache `alias` for all processes."""
    for sharer in SHARERS:
        if apps.is_installed(sharer.app) and sharer.alias() == alias:
            yield sharer.what
