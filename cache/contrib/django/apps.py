"""The app, which brings the system checks and `{% load twofold %}`."""

from importlib import import_module

from django.apps import AppConfig


class TwofoldConfig(AppConfig):
    """`INSTALLED_APPS = ["twofold.contrib.django", …]`."""

    name: str = "twofold.contrib.django"
    label: str = "twofold"
    verbose_name: str = "twofold"

    def ready(self) -> None:
        """Register the checks."""
        import_module("twofold.contrib.django.checks")
