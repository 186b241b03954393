"""The app, which adds the system checks and `{% load twofold %}`."""

from contextlib import suppress
from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

_ENTRY = {"BACKEND": "twofold.contrib.django.RedisCache", "LOCATION": "redis://127.0.0.1:6379"}


class TwofoldConfig(AppConfig):
    """`INSTALLED_APPS = ["twofold.contrib.django", …]`."""

    name: str = "twofold.contrib.django"
    label: str = "twofold"
    verbose_name: str = "twofold"

    def ready(self) -> None:
        """Register the checks, and load the drivers: no request is to wait for imports."""
        import_module("twofold.contrib.django.checks")
        for alias, entry in settings.CACHES.items():
            if isinstance(entry, str):
                raise ImproperlyConfigured(
                    f"CACHES[{alias!r}] is a dict in Django, such as {_ENTRY}, and no URL"
                )
            if str(entry.get("BACKEND", "")).startswith("twofold."):
                with suppress(ImproperlyConfigured):  # the checks report it
                    getattr(caches[alias], "cache", None)
