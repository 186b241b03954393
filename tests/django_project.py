"""Django's settings for the tests of this process; each test overrides `CACHES`."""

import django
from django.conf import settings


def configure() -> None:
    """Set Django up, unless that is done."""
    if settings.configured:
        return
    settings.configure(
        SECRET_KEY="a secret of the tests, which is long enough for anybody",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "twofold.contrib.django",
        ],
    )
    django.setup()
