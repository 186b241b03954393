"""What `manage.py check` says of the caches of a Django project."""

import json
import marshal
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import django_project
from tests.chaos import RedisServer

django_project.configure()

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from twofold.codecs.serializers import Pickle
from twofold.contrib.django import UpdateCacheMiddleware

REDIS = "twofold.contrib.django.RedisCache"
NOWHERE = "redis://127.0.0.1:1"


def told(entry: dict[str, Any], *, deploy: bool = False) -> dict[str, str]:
    """Return what the checks tell of a cache, by id."""
    with override_settings(CACHES={"default": entry}):
        messages = checks.run_checks(tags=[checks.Tags.caches], include_deployment_checks=deploy)
    return {each.id or "": f"{each.msg} {each.hint}" for each in messages}


def test_good_settings_are_good() -> None:
    """Nothing is said of settings that work, and no server is asked."""
    assert told({"BACKEND": REDIS, "LOCATION": NOWHERE}) == {}


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"BACKEND": REDIS, "OPTIONS": {"max_entrys": 1}}, "there is no option 'max_entrys'"),
        ({"BACKEND": REDIS, "OPTIONS": {"deadlin": 1}}, "Did you mean 'deadline'"),
        ({"BACKEND": REDIS, "LOCATION": "http://127.0.0.1"}, "is no URL of a Redis server"),
        ({"BACKEND": REDIS, "SERIALISER": "json"}, "SERIALIZER"),
        ({"BACKEND": REDIS, "on_error": "miss"}, "it is OPTIONS['on_error']. The settings are: "),
        ({"BACKEND": REDIS, "STALE": "1h"}, "it is FRESHNESS['stale']. The settings are: "),
        ({"BACKEND": REDIS, "OPTIONS": {"on_eror": 1}}, "mean 'on_error'? The options are: "),
        ({"BACKEND": REDIS, "SERIALIZER": None}, "name a serializer"),
        ({"BACKEND": REDIS, "TIMEOUT": "soon"}, "is no duration"),
    ],
)
def test_bad_settings_are_errors(entry: dict[str, Any], what: str) -> None:
    """An entry that cannot be used is told, with what to do and where."""
    message = told(entry)["twofold.E001"]
    assert what.lower() in message.lower()
    assert "CACHES['default']" in message


def test_a_missing_secret_key_is_told() -> None:
    """Without one, which Django allows where none is used, the check tells that one is needed."""
    entry = {"BACKEND": REDIS, "LOCATION": NOWHERE}
    with override_settings(SECRET_KEY="", CACHES={"default": entry}):
        apps.get_app_config("twofold").ready()
        assert "SECRET_KEY" in told(entry)["twofold.E001"]


def test_a_url_in_place_of_an_entry_is_answered() -> None:
    """Django has none, and would say so by an AttributeError of its own."""
    with (
        override_settings(CACHES={"default": "redis://127.0.0.1"}),
        pytest.raises(ImproperlyConfigured, match=r"CACHES\['default'\] is a dict in Django"),
    ):
        apps.get_app_config("twofold").ready()


def test_others_are_left_alone() -> None:
    """Backends of others are none of our business."""
    assert told({"BACKEND": "django.core.cache.backends.dummy.DummyCache"}, deploy=True) == {}


class Wrapped:
    """A serializer of one's own, around pickle."""

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class Renamed(Pickle):
    """A serializer of twofold's, under another name."""


class Marshalled:
    """A serializer whose functions are those of a module that runs what it loads."""

    dumps = staticmethod(marshal.dumps)
    loads = staticmethod(marshal.loads)


class Harmless:
    """A serializer that has nothing to do with pickle."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


@pytest.mark.parametrize(
    ("entry", "warns"),
    [
        ({"SECRET": None}, True),
        ({"SECRET": None, "SERIALIZER": "pickle"}, True),
        ({"SECRET": None, "SERIALIZER": "pickle:"}, True),
        ({"SECRET": None, "SERIALIZER": "twofold.codecs.serializers:Pickle"}, True),
        ({"SECRET": None, "SERIALIZER": "tests.test_django_checks.Wrapped"}, True),
        ({"SECRET": None, "SERIALIZER": "tests.test_django_checks.Renamed"}, True),
        ({"SECRET": None, "SERIALIZER": "tests.test_django_checks.Marshalled"}, True),
        ({"SECRET": None, "SERIALIZER": "tests.test_django_checks.Harmless"}, False),
        ({"SECRET": "a long secret of its own"}, False),
        ({"SECRET": None, "SERIALIZER": "msgpack"}, False),
        ({"SECRET": None, "BACKEND": "twofold.contrib.django.MemoryCache"}, False),
    ],
)
def test_unsigned_pickles_are_warned_of(entry: dict[str, Any], warns: bool) -> None:
    """Pickles that nobody signed are warned of, where others may reach the store."""
    assert ("twofold.W001" in told({"BACKEND": REDIS, "LOCATION": NOWHERE, **entry})) is warns


def test_a_clear_that_would_refuse_is_warned_of() -> None:
    """A KEY_FUNCTION makes keys that `clear` cannot tell from others'."""

    def key(name: str, prefix: str, version: int) -> str:
        return name

    entry = {"BACKEND": REDIS, "LOCATION": NOWHERE, "KEY_FUNCTION": key}
    assert "twofold.W002" in told(entry)
    assert "twofold.W002" not in told({**entry, "OPTIONS": {"clear": "flush"}})


def test_servers_are_asked_on_deployment(redis_server: RedisServer) -> None:
    """`check --deploy` tells of a server that is away, and of what one says is wrong."""
    assert (
        "cannot be reached"
        in told({"BACKEND": REDIS, "LOCATION": NOWHERE}, deploy=True)["twofold.E002"]
    )
    entry = {"BACKEND": REDIS, "LOCATION": redis_server.url, "KEY_PREFIX": "shop"}
    there = told(entry, deploy=True)
    assert set(there) <= {"twofold.W003"}
    assert "maxmemory-policy" in there["twofold.W003"]


def test_a_server_that_runs_no_scripts_is_told_on_deployment(own_redis: RedisServer) -> None:
    """One that forbids EVAL is slower, which is told in time."""
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    own_redis.command("ACL", "SETUSER", "app", "on", ">sesame", "~*", "+@all", "-eval", "-evalsha")
    options = {"USERNAME": "app", "PASSWORD": "sesame"}
    entry = {"BACKEND": REDIS, "LOCATION": own_redis.url, "OPTIONS": options}
    said = told(entry, deploy=True)
    assert "forbids EVAL" in said["twofold.W003"]
    assert "sesame" not in str(said)
    assert "twofold.W003" not in told(entry)


def test_shared_keys_are_told_on_deployment(redis_server: RedisServer) -> None:
    """Two projects on one server need a KEY_PREFIX each, or keys of their own making."""
    entry = {"BACKEND": REDIS, "LOCATION": redis_server.url}
    assert "KEY_PREFIX" in told(entry, deploy=True)["twofold.W009"]
    assert "twofold.W009" not in told({**entry, "KEY_PREFIX": "shop"}, deploy=True)
    assert "twofold.W009" not in told(entry)


def test_sessions_want_errors_in_outages(redis_server: RedisServer) -> None:
    """On deployment it is told that a logout may be lost where outages are misses."""
    entry = {"BACKEND": REDIS, "LOCATION": redis_server.url}
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cached_db"):
        assert "twofold.W004" in told(entry, deploy=True)
        strict = {**entry, "OPTIONS": {"on_error": "raise"}}
        assert "twofold.W004" not in told(strict, deploy=True)
        assert "twofold.W004" not in told(entry)


@pytest.mark.parametrize("kind", ["FileCache", "SQLiteCache"])
def test_files_are_not_to_be_served(kind: str, tmp_path: Path) -> None:
    """A relative path, and one that a web server may serve, are told."""
    entry = {"BACKEND": f"twofold.contrib.django.{kind}", "LOCATION": "cache"}
    assert set(told(entry)) == {"twofold.W005"}
    with override_settings(MEDIA_ROOT=str(tmp_path)):
        assert set(told({**entry, "LOCATION": tmp_path / "cache"})) == {"twofold.W006"}
    assert told({**entry, "LOCATION": tmp_path / "cache"}) == {}


def test_a_directory_that_is_not_ours_is_told_on_deployment(tmp_path: Path) -> None:
    """One in which others may write is refused, which the check tells in time."""
    tmp_path.chmod(0o777)
    entry = {"BACKEND": "twofold.contrib.django.FileCache", "LOCATION": tmp_path}
    assert "chmod go-w" in told(entry, deploy=True)["twofold.E002"]
    assert "twofold.E002" not in told(entry)


@pytest.mark.parametrize(
    ("entry", "warns"),
    [
        ({"ssl_cert_reqs": None}, True),
        ({"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": False}}, True),
        ({"ssl_check_hostname": False}, True),
        ({"ssl_cert_reqs": "required"}, False),
        ({}, False),
    ],
)
def test_unverified_certificates_are_warned_of(entry: dict[str, Any], warns: bool) -> None:
    """A server that anybody can be is warned of, however that is spelled."""
    said = told({"BACKEND": REDIS, "LOCATION": "rediss://h", "OPTIONS": entry})
    assert ("twofold.W008" in said) is warns


def test_an_unverified_certificate_in_a_url_is_warned_of() -> None:
    """The query of a URL counts as options do."""
    entry = {"BACKEND": REDIS, "LOCATION": "rediss://h?ssl_cert_reqs=none"}
    assert "twofold.W008" in told(entry)


APPS: list[tuple[str, dict[str, Any]]] = [
    ("axes", {"AXES_HANDLER": "axes.handlers.cache.AxesCacheHandler"}),
    ("django_ratelimit", {}),
    ("rest_framework", {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": ["x"]}}),
    ("constance", {"CONSTANCE_DATABASE_CACHE_BACKEND": "default"}),
    ("waffle", {}),
    ("django.contrib.sessions", {"SESSION_ENGINE": "django.contrib.sessions.backends.cache"}),
]


@pytest.fixture(params=APPS, ids=[app for app, _ in APPS])
def sharer(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Have an app installed, and settings by which it keeps in a cache what all must see."""
    app, more = request.param
    if "." not in app:
        (tmp_path / app).mkdir()
        (tmp_path / app / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
    with override_settings(INSTALLED_APPS=[app, "twofold.contrib.django"], **more):
        yield
    if "." not in app:  # Django's own stay as others have imported them
        sys.modules.pop(app, None)


@pytest.mark.usefixtures("sharer")
@pytest.mark.parametrize("store", ["MemoryCache", "DummyCache"])
def test_what_all_processes_must_see_is_not_for_one(store: str) -> None:
    """What other packages' checks say of Django's local memory is said of ours."""
    assert "and has the" in told({"BACKEND": f"twofold.contrib.django.{store}"})["twofold.W007"]


@pytest.mark.usefixtures("sharer")
def test_a_shared_store_is_for_what_all_must_see() -> None:
    """Nothing is said of a store that all processes see."""
    assert told({"BACKEND": REDIS, "LOCATION": NOWHERE}) == {}


def test_what_is_elsewhere_or_off_is_not_told() -> None:
    """Sessions in the database, and in another alias, are none of this one's business."""
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache"}
    assert told(entry) == {}
    with override_settings(
        SESSION_ENGINE="django.contrib.sessions.backends.cache", SESSION_CACHE_ALIAS="other"
    ):
        assert told(entry) == {}


@pytest.mark.parametrize(
    ("middleware", "warns"),
    [
        ([], False),
        (["CacheMiddleware"], False),
        (["UpdateCacheMiddleware", "FetchFromCacheMiddleware"], False),
        (["UpdateCacheMiddleware"], True),
        (["FetchFromCacheMiddleware"], True),
        (["FetchFromCacheMiddleware", "UpdateCacheMiddleware"], True),
    ],
)
def test_the_pair_of_middleware_is_whole(middleware: list[str], warns: bool) -> None:
    """One without the other finds no page, and says nothing."""
    names = [f"twofold.contrib.django.{each}" for each in middleware]
    others = "django.middleware.common.CommonMiddleware"
    with override_settings(MIDDLEWARE=[*names[:1], others, *names[1:]]):
        assert set(told({"BACKEND": REDIS})) == ({"twofold.W010"} if warns else set())


class OwnUpdate(UpdateCacheMiddleware):
    """A project's own kind of one of the pair."""


@pytest.mark.parametrize(
    "first", [f"{__name__}.OwnUpdate", "twofold.contrib.django.middleware.UpdateCacheMiddleware"]
)
def test_the_pair_of_middleware_may_be_of_subclasses(first: str) -> None:
    """A subclass, or another path of the class, is as good; what cannot be imported is neither."""
    pair = [first, "twofold.contrib.django.FetchFromCacheMiddleware"]
    with override_settings(MIDDLEWARE=[pair[0], "not.there", pair[1]]):
        assert told({"BACKEND": REDIS}) == {}
    with override_settings(MIDDLEWARE=pair[::-1]):
        assert set(told({"BACKEND": REDIS})) == {"twofold.W010"}
