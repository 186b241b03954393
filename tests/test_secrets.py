"""Passwords stay out of whatever is shown: reprs, messages, and what errors were raised from."""

import traceback
from pathlib import Path

import pytest

from tests.chaos import RedisServer
from twofold.backends.memcached.addresses import read_location
from twofold.backends.redis import RedisBackend
from twofold.backends.redis.addresses import read_addresses
from twofold.backends.redis.dial import Login
from twofold.contrib.django import translation as django_translation
from twofold.contrib.flask import flask_caching as flask_translation
from twofold.contrib.moving.tables import Moved
from twofold.errors import BackendUnavailable
from twofold.settings import Source
from twofold.testing import FACES, Face
from twofold.urls import split

HIDDEN = "hunter2"


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
        django_translation.translate("redis", url, entry),
        flask_translation.translate({"CACHE_TYPE": "redis", "CACHE_REDIS_PASSWORD": HIDDEN}),
    ):
        assert HIDDEN not in repr(step)
