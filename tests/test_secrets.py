"""Passwords stay out of whatever is shown: reprs, messages, and what errors were raised from."""

import traceback
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import RedisServer
from twofold.backends.memcached.addresses import read_location
from twofold.backends.redis import RedisBackend
from twofold.backends.redis.addresses import read_addresses
from twofold.backends.redis.connector import Login
from twofold.contrib.django import translation as django_translation
from twofold.contrib.flask import flask_caching as flask_translation
from twofold.contrib.moving.tables import Moved
from twofold.errors import BackendUnavailable, SettingsError
from twofold.registry import build
from twofold.settings import CommonOptions, Raw, Source, backend_class, read_cache
from twofold.settings.sources import _parameters
from twofold.settings.urls import split
from twofold.testing import FACES, Face

HIDDEN = "hunter2"

SCHEMES = (
    "redis://",
    "unix://",
    "memcached://",
    "sqlite:///",
    "sqlite://",
    "memory://",
    "theirs://",
    "redis:",
    "",
)
LOGINS = (
    *(f":{HIDDEN}@", f"u:{HIDDEN}@", f"{HIDDEN}@", f"{HIDDEN}:@", f"u:{HIDDEN}%40x@"),
    *(f":a {HIDDEN}@", f":{HIDDEN}/x@", f":{HIDDEN}?x@", f":x?{HIDDEN}@", f"u@x:a?{HIDDEN}@"),
    *(f":x#{HIDDEN}@", f":[{HIDDEN}]@", f":x@{HIDDEN}@", f":{HIDDEN}\n@"),
)
HOSTS = ("h:6379/0", "h:x", "h1,h2", "[::1", "h?nope=1", "h?db=1&db=2", "/run/r.sock", "")


def entries(url: str) -> Iterator[Raw]:
    """Yield an entry of CACHES for each place where somebody may have put a URL."""
    yield url
    yield {"BACKEND": url}
    yield {"BACKEND": "memory", "KEY_FUNCTION": url}
    yield {"BACKEND": "memory", "OPTIONS": url}
    for backend in (
        "redis",
        "memcached",
        "sqlite",
        "memory",
        "twofold.backends.redis.RedisBackend",
    ):
        yield {"BACKEND": backend, "LOCATION": url, "OPTIONS": {"Sentinel_Password": HIDDEN}}
        yield {"BACKEND": backend, "LOCATION": [url, "redis://h2"]}


def chain(error: BaseException | None) -> Iterator[str]:
    """Yield what an error says, and those that a traceback shows before it."""
    while error is not None:
        yield str(error)
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


@pytest.mark.parametrize("scheme", SCHEMES)
def test_wherever_a_url_was_put_its_login_is_not_shown(scheme: str) -> None:
    """Neither configurations and caches, nor the errors of wrong ones, show what lets in."""
    for login, host in product(LOGINS, HOSTS):
        for entry in entries(scheme + login + host):
            try:
                config = read_cache("default", entry)
                shown = [repr(config), repr(build(config))]
            except SettingsError as error:
                shown = list(chain(error))
            assert not [text for text in shown if HIDDEN in text], entry


def misplaced(url: str) -> Iterator[Any]:
    """Yield what somebody may have written in the place of one value."""
    yield from (url, url.encode(), [url], (url,), {url}, {"a": url}, {url: 1}, [{"host": url}])


STORES = ("memory", "sqlite", "files", "redis", "memcached")


@pytest.mark.parametrize("url", [f"rediss://u:{HIDDEN}@h", f"u:{HIDDEN}@h"])
@pytest.mark.parametrize("backend", STORES)
def test_whatever_setting_a_url_was_written_into_its_login_is_not_shown(
    tmp_path: Path, backend: str, url: str
) -> None:
    """A setting or an option that is something else refuses it, and names only the setting."""
    usual = {"BACKEND": backend, "LOCATION": "rediss://h" if backend == "redis" else ""}
    if backend in ("sqlite", "files"):
        usual["LOCATION"] = str(tmp_path / "c")
    config = read_cache("default", usual)
    known = {*_parameters(backend_class(config)), *CommonOptions.__annotations__, "numbers", "o"}
    texts = {name for name in known if "sentinel" in name or "username" in name}  # they are text
    for value in misplaced(url):
        wrong = [usual | {name: value} for name in vars(config).keys() - {"alias", "location"}]
        wrong += [usual | {"OPTIONS": {name: value}} for name in known - texts]
        wrong += [usual | {"OPTIONS": {url: value}}, usual | {url: value}]
        for entry in wrong:
            try:
                shown = [repr(build(read_cache("default", entry)))]
            except SettingsError as error:
                shown = list(chain(error))
            assert not [text for text in shown if HIDDEN in text], entry


@pytest.mark.parametrize("login", [f"u:{HIDDEN}", f":{HIDDEN}", HIDDEN])
def test_no_address_shows_its_login(login: str) -> None:
    """What a traceback with locals shows of a server is where it is."""
    redis = read_addresses(f"rediss://{login}@h1,h2/1", 6379)
    assert repr(redis) == "[<Address h1:6379 with TLS>, <Address h2:6379 with TLS>]"
    assert HIDDEN not in repr(Login().at(redis[0]))


def test_no_location_of_memcached_shows_its_login() -> None:
    """The login that a LOCATION names for all servers is not shown."""
    found = read_location(f"memcached://u:{HIDDEN}@h1,h2")
    assert repr(found) == "<Location h1:11211, h2:11211>"


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("password", [HIDDEN, HIDDEN * 40])
def test_a_server_that_repeats_a_password_is_not_quoted(
    tmp_path: Path, face: Face, password: str
) -> None:
    """A Redis without AUTH says what it was sent; neither the error nor its cause does."""
    with RedisServer(tmp_path, "rename-command AUTH ''") as server:
        backend = RedisBackend(f"redis://:{password}@{server.address}")

        async def ask() -> None:
            await face.view(backend).get("k")

        with pytest.raises(BackendUnavailable, match="unknown command 'AUTH'") as caught:
            face.run(ask())
        backend.close()
        told = "".join(traceback.format_exception(caught.value))
    assert HIDDEN not in told.replace(repr(password), "")


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_server_that_repeats_a_key_is_not_quoted(tmp_path: Path, face: Face) -> None:
    """A key may be a session's: what a server repeats of a command reaches no log."""
    with RedisServer(tmp_path, "rename-command GET ''") as server:
        backend = RedisBackend(server.url)

        async def ask() -> None:
            await face.view(backend).get("session")

        with pytest.raises(BackendUnavailable, match="unknown command 'GET'") as caught:
            face.run(ask())
        backend.close()
        assert "session" not in str(caught.value)


def test_no_step_from_settings_to_servers_shows_a_password() -> None:
    """What stands between the settings and a cache is shown without them."""
    url = f"redis://:{HIDDEN}@h?sentinel_password={HIDDEN}"
    entry = {"LOCATION": url, "SECRET": 3 * HIDDEN, "OPTIONS": {"PASSWORD": HIDDEN}}
    moved = Moved()
    moved.read({"PASSWORD": HIDDEN}, {}, "{}")
    for step in (
        Source("CACHE_URL", {"default": url}),
        split(url, ()),
        moved,
        django_translation.Translation(entry, {"password": HIDDEN}, {}),
        flask_translation.translate({"CACHE_TYPE": "redis", "CACHE_REDIS_PASSWORD": HIDDEN}),
    ):
        assert HIDDEN not in repr(step)
