"""The backend under test, in the place of `LocMemCache` wherever the suite names it."""

import os
from typing import Any

from django.utils.module_loading import import_string

from twofold.contrib.django.backends import MemoryCache
from twofold.contrib.django.base import TwofoldCache

BACKEND = "TWOFOLD_SUITE_BACKEND"
LOCATION = "TWOFOLD_SUITE_LOCATION"

Backend: type[TwofoldCache] = import_string(f"twofold.contrib.django.{os.environ[BACKEND]}")
location = os.environ[LOCATION]


class Elsewhere(Backend):
    """The backend at its one place; each `LOCATION` of a `LocMemCache` is a prefix there."""

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        prefix = f"{name}{params.get('KEY_PREFIX', '')}"
        super().__init__(location, {**params, "KEY_PREFIX": prefix})


InPlaceOfLocMem: type[TwofoldCache] = MemoryCache if Backend is MemoryCache else Elsewhere
