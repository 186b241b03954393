"""Django's `CACHES`: which of its entries are ours, and when they change.

Django is imported only where it is in use already, or its settings are pointed to.
"""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from twofold.display import mask_url
from twofold.errors import SettingsError
from twofold.settings.config import Raw, import_object, placed

_DROP_INS = "twofold.contrib.django."
_SETTINGS = frozenset({"CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"})


def find_in_django() -> dict[str, Raw]:
    """Return the entries that name a backend of twofold, in twofold's own terms.

    Raises:
        SettingsError: Django's settings cannot be read.
    """
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    is_in_use = settings is not None and settings.configured
    if not is_in_use and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return {}
    try:
        conf = import_module("django.conf")
    except ImportError:
        return {}
    try:
        entries = conf.settings.CACHES
    except Exception as error:
        raise SettingsError(
            f"they cannot be read: {mask_url(str(error) or repr(error))}"
        ) from error
    return {alias: _plain(alias, entry) for alias, entry in entries.items() if _is_ours(entry)}


def follow_django(forget: Callable[..., None]) -> None:
    """Have `forget` called when Django's tests replace settings: `override_settings`."""
    if "django.conf" in sys.modules:
        import_module("django.core.signals").setting_changed.connect(forget)


def concerns_caches(setting: str) -> bool:
    """Tell whether a setting of Django's has a part in what its entries mean."""
    return setting in _SETTINGS


def _is_ours(entry: object) -> bool:
    return isinstance(entry, Mapping) and str(entry.get("BACKEND", "")).startswith("twofold.")


def _plain(alias: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry in twofold's own terms, which drop-in backends for Django know."""
    path = entry["BACKEND"]
    if not path.startswith(_DROP_INS):
        return entry
    with placed(f"CACHES[{alias!r}]"):
        translated: Mapping[str, Any] = import_object(path).to_twofold(entry)
        return translated
