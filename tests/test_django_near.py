"""Django's drop-in backends with `NEAR`: the same copies, under Django's keys."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import django_project
from tests.chaos import RedisServer, eventually

django_project.configure()

from django.core.cache import caches
from django.test import override_settings

from twofold.contrib.django import close_all
from twofold.testing import FACES, Face

BACKEND = "twofold.contrib.django.RedisCache"


def key_function(key: str, prefix: str, version: int) -> str:
    return f"mine/{prefix}/{version}/{key}"


@pytest.fixture(params=[None, "tests.test_django_near.key_function"], ids=["plain", "function"])
def cache(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Any]:
    """One of Django's caches with `NEAR`; its keys made by Django, or by a function."""
    entry = {"BACKEND": BACKEND, "LOCATION": redis_server.url, "KEY_PREFIX": "shop"}
    near = {**entry, "NEAR": {"max_bytes": "1mb"}, "KEY_FUNCTION": request.param}
    other = {**entry, "KEY_FUNCTION": request.param, "TIMEOUT": 99}
    with override_settings(CACHES={"default": near, "other": other}):
        yield caches["default"]
        close_all()


def test_djangos_caches_read_from_near(cache: Any) -> None:
    """A second read asks nobody; what another cache of the server writes is told."""
    stats = cache.cache.stats
    cache.set("k", {"a": [1]})
    eventually(lambda: cache.get("k") and stats().near.hits > 0, "the value is near")
    cache.get("k")["a"].append(2)
    assert cache.get("k") == {"a": [1]}
    caches["other"].set("k", "theirs")
    eventually(lambda: cache.get("k") == "theirs", "the write is told")
    assert cache.cache.stats().near.watch.pushes > 0
    cache.delete("k")
    assert cache.get("k") is None


@pytest.mark.parametrize("method", ["sdiffstore", "sinterstore", "sunionstore"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_who_puts_a_set_in_place_of_a_value_reads_no_copy_of_it(
    cache: Any, monkeypatch: pytest.MonkeyPatch, face: Face, method: str
) -> None:
    """It need not wait until the server tells of its own write."""
    cache.set("k", [1])
    cache.sadd("s", "x")
    eventually(lambda: cache.get("k") and cache.cache.stats().near.hits > 0, "the value is near")
    monkeypatch.setattr(cache.cache._near.tier, "changed", lambda keys: None)

    async def body() -> None:
        view = face.view(cache)
        assert await getattr(view, method)("k", "s") == 1
        assert await view.get("k") is None

    face.run(body())


@pytest.mark.parametrize("wide_first", [True, False])
def test_a_prefix_within_another(redis_server: RedisServer, wide_first: bool) -> None:
    """Both share one connection, and each is told of its own keys and tags."""
    entry = {"BACKEND": BACKEND, "LOCATION": redis_server.url}
    near = {**entry, "NEAR": {"max_bytes": "1mb"}}
    prefixes = ["shop", "shop:eu"] if wide_first else ["shop:eu", "shop"]
    settings = {"default": entry}
    for each in prefixes:
        settings[each] = {**near, "KEY_PREFIX": each}
        settings[f"other {each}"] = {**entry, "KEY_PREFIX": each, "TIMEOUT": 99}
    with override_settings(CACHES=settings):
        for name in prefixes:
            cache: Any = caches[name]
            stats = cache.cache.stats
            cache.set_many({"k": "v", "l": "v"}, tags=["t"])
            eventually(lambda c=cache, s=stats: c.get("k") and s().near.hits > 1, "it is near")
        told = redis_server.command("CLIENT", "LIST").decode()
        assert told.count("name=twofold-watch") == 1
        for name in prefixes:
            cache, other = caches[name], caches[f"other {name}"]
            other.set("k", "theirs")
            eventually(lambda c=cache: c.get("k") == "theirs", "a write is told")
            other.invalidate_tags("t")
            eventually(lambda c=cache: c.get("l") is None, "an invalidation is told")
            beside = caches[next(each for each in prefixes if each != name)]
            assert beside.get("k") in ("v", "theirs")
        close_all()
