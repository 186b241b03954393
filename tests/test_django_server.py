"""A Django project under real web servers: its connections, and whose answers are whose."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos import MemcachedServer, Proxy, RedisServer, Stalls, eventually
from tests.web import WebServer

REDIS = "twofold.contrib.django.RedisCache"
MEMCACHED = "twofold.contrib.django.MemcachedCache"

UVICORN = ["uvicorn", "tests.django_site:asgi", "--port", "{port}", "--log-level", "warning"]
GUNICORN = ["gunicorn", "tests.django_site:wsgi", "--bind", "127.0.0.1:{port}"]

Serve = Callable[..., WebServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts web servers; they are gone after the test."""
    with ExitStack() as stack:

        def start(command: list[str], backend: str, location: str, touch: str = "") -> WebServer:
            environment = {
                "SITE_BACKEND": backend,
                "SITE_LOCATION": location,
                "SITE_TOUCH": touch,
            }
            server = WebServer(tmp_path / "web", command, environment=environment)
            return stack.enter_context(server)

        yield start


@pytest.fixture(params=["redis", "memcached"])
def store(request: pytest.FixtureRequest) -> tuple[str, RedisServer | MemcachedServer]:
    """Return a backend and its server."""
    if request.param == "redis":
        return REDIS, request.getfixturevalue("redis_server")
    return MEMCACHED, request.getfixturevalue("memcached_server")


def location(server: RedisServer | MemcachedServer) -> str:
    return server.url if isinstance(server, RedisServer) else server.address


def test_few_connections_are_opened(redis_server: RedisServer, serve: Serve) -> None:
    """A thousand requests, fifty at once, with three `aget`s each, share one connection."""
    web = serve(UVICORN, REDIS, redis_server.url)
    before = int(redis_server.info("stats")["total_connections_received"])
    answers = web.get_all([f"/three/{number}" for number in range(1000)], 50)
    assert {answer.body for answer in answers} == {b"abc"}
    opened = int(redis_server.info("stats")["total_connections_received"]) - before
    assert opened <= 3


def test_sync_views_share_connections_too(redis_server: RedisServer, serve: Serve) -> None:
    """Django has a thread for each request of a sync view; they inherit connections."""
    web = serve(UVICORN, REDIS, redis_server.url, "yes")
    before = int(redis_server.info("stats")["total_connections_received"])
    answers = web.get_all([f"/sync/own/{number}" for number in range(500)], 10)
    assert [answer.body.decode() for answer in answers] == [
        f"mine {number} at import" for number in range(500)
    ]
    opened = int(redis_server.info("stats")["total_connections_received"]) - before
    assert opened <= 50


@pytest.mark.parametrize(
    "command",
    [
        UVICORN,
        [*GUNICORN, "--preload", "--workers", "2", "--threads", "4"],
        [*GUNICORN, "--workers", "2"],
    ],
    ids=["uvicorn", "gunicorn-preload", "gunicorn"],
)
def test_no_answer_is_lost_or_crossed(
    store: tuple[str, RedisServer | MemcachedServer], serve: Serve, command: list[str]
) -> None:
    """Each request gets its own entry back, though the cache was used before the fork."""
    backend, server = store
    web = serve(command, backend, location(server), "yes")
    numbers = range(400)
    wheres = [f"{'/sync' if number % 2 else ''}/own/{number}" for number in numbers]
    answers = web.get_all(wheres, 20)
    assert [answer.body.decode() for answer in answers] == [
        f"mine {number} at import" for number in numbers
    ]


def test_gathered_calls_share_a_round_trip(
    redis_server: RedisServer, proxied: Callable[..., Proxy], stalls: Stalls, serve: Serve
) -> None:
    """Twenty `aget`s side by side over a link of 50 ms take one round trip."""
    proxy = proxied(redis_server)
    web = serve(UVICORN, REDIS, proxy.url)
    eventually(lambda: web.get("/gathered").status == 200, "the site answers")
    proxy.delay = 0.025
    milliseconds = float(web.get("/gathered").body)
    assert 50 <= milliseconds < 100 + 2e3 * stalls.longest


def test_cache_page_does_not_stall_the_loop(
    redis_server: RedisServer, proxied: Callable[..., Proxy], stalls: Stalls, serve: Serve
) -> None:
    """On an async view, over a link of 50 ms, the loop goes on while pages are looked up."""
    proxy = proxied(redis_server)
    proxy.delay = 0.025
    web = serve(UVICORN, REDIS, proxy.url)
    told = json.loads(web.get("/stalled/twofold").body)
    assert told["hits"] == 2
    assert told["milliseconds"] < 25 + 2e3 * stalls.longest
