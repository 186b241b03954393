"""Runs Django's tests over one backend with one way of calling, and reports in JSON.

python -m tests.django_suite FACE, with the tests on the path, and the backend and its
location in the environment (see `places`).
"""

import json
import sys
import unittest
import warnings
from collections.abc import Iterator
from io import StringIO
from types import ModuleType
from typing import Any

import django
from django.conf import settings

from tests.django_suite.exclusions import BACKENDS, DJANGOS_OWN, METHODS
from tests.django_suite.faces import Isolating, OneLoop, sent, through_twins
from tests.django_suite.places import Backend, location
from twofold.errors import BlockingCallWarning

_OURS = f"twofold.contrib.django.{Backend.__name__}"
_NETWORKED = ("MemcachedCache", "RedisCache")
_SESSIONS = ("CacheSessionTests", "CacheDBSessionTests", "CacheDBSessionWithTimeZoneTests")


def main(face: str) -> None:
    """Run the tests with each call as `face` says, and print what came of them."""
    warnings.simplefilter("error")
    warnings.simplefilter("default", BlockingCallWarning)  # the async cached_db asks `key in cache`
    configure()
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases

    setup_test_environment()
    databases = setup_databases(verbosity=0, interactive=False)
    Isolating.loop = OneLoop()
    through_twins(face, Isolating.loop)
    said = StringIO()
    result = unittest.TextTestRunner(said, resultclass=Isolating).run(chosen())
    teardown_databases(databases, verbosity=0)
    print(json.dumps(report(result, said.getvalue())))


def configure() -> None:
    """Configure Django as its own tests do, with our backend."""
    # On a busy machine a clear() that was too late, and passed over, left keys to the next test.
    patient = {"deadline": 20.0, "on_error": "raise"} if Backend.__name__ in _NETWORKED else {}
    apps = ["django.contrib.contenttypes", "django.contrib.sessions", "cache", "sessions_tests"]
    settings.configure(
        CACHES={"default": {"BACKEND": _OURS, "LOCATION": location, "OPTIONS": patient}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=apps,
        LANGUAGE_CODE="en",
        LOGGING_CONFIG=None,
        MIGRATION_MODULES={"contenttypes": None, "sessions": None},
        SECRET_KEY="django_tests_secret_key",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=False,
    )
    django.setup()


def chosen() -> unittest.TestSuite:
    """Return the tests of this backend, and those that run with each."""
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return unittest.TestSuite(load(each) for each in classes() if belongs(each.__name__))


def belongs(name: str) -> bool:
    """Tell whether a class is to run with this backend."""
    if Backend.__name__ == "DummyCache":
        return BACKENDS.get(name) == "DummyCache"
    return name not in DJANGOS_OWN and BACKENDS.get(name, Backend.__name__) == Backend.__name__


def classes() -> Iterator[type[unittest.TestCase]]:
    """Yield the classes of tests, without what is excluded of them."""
    from sessions_tests import tests as sessions

    from cache import tests, tests_async

    for module in (tests, tests_async):
        yield from without_exclusions(module)
    yield from (getattr(sessions, name) for name in _SESSIONS)
    yield of_sqlite(tests)


def without_exclusions(module: ModuleType) -> Iterator[type[unittest.TestCase]]:
    """Take the exclusions out of the classes of `module`, and yield those with tests."""
    found = [value for value in vars(module).values() if isinstance(value, type)]
    for each in found:
        for key in (each.__name__, f"{each.__name__} on {Backend.__name__}"):
            for method in METHODS.get(key, {}).keys() & vars(each).keys():
                delattr(each, method)
    tests = [each for each in found if issubclass(each, unittest.TestCase)]
    for each in tests:
        unhurried(each)
    yield from tests


def unhurried(tests: Any) -> None:
    """Have pages live for longer than the second that a busy machine lets pass between two lines.

    No test that has this setting waits for the end of a page.
    """
    overridden = getattr(tests, "_overridden_settings", None) or {}
    if overridden.get("CACHE_MIDDLEWARE_SECONDS") == 1:
        tests._overridden_settings = {**overridden, "CACHE_MIDDLEWARE_SECONDS": 60}


def of_sqlite(module: ModuleType) -> type[unittest.TestCase]:
    """Return the tests of all backends, for the one that Django has not."""
    from django.test import TestCase, override_settings

    caches = module.caches_setting_for_tests(BACKEND=_OURS, LOCATION=location)
    own = type("SQLiteCacheTests", (module.BaseCacheTests, TestCase), {})
    return override_settings(CACHES=caches)(own)


def report(result: unittest.TestResult, said: str) -> dict[str, Any]:
    """Return what came of the tests, by their names."""
    return {
        "ran": result.testsRun,
        "failed": [test.id() for test, _ in result.failures + result.errors],
        "skipped": [test.id() for test, _ in result.skipped],
        "sent": sent,
        "said": said,
    }


if __name__ == "__main__":
    main(sys.argv[1])
