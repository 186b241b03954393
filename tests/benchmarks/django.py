"""A Django project under uvicorn: with twofold's cache, with Django's own, and without."""

import json
import random
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.harness import Bench, expect
from tests.chaos import Proxy, RedisServer, eventually
from tests.web import WebServer

AREA = "django"

REQUESTS = 1000
AT_ONCE = 50
ONE_WAY = 0.025  # seconds, of a link of 50 ms
SITES = {
    "twofold": "twofold.contrib.django.RedisCache",
    "Django": "django.core.cache.backends.redis.RedisCache",
}


def run(bench: Bench) -> None:
    """Compare sites that differ by one line of their settings."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        sites = {
            name: stack.enter_context(_site(folder / name, backend, redis.url))
            for name, backend in SITES.items()
        }
        _race_requests(bench, sites)
        _count_connections(bench, sites, redis)
        proxy = stack.enter_context(Proxy(redis.host, redis.port))
        far = {
            name: stack.enter_context(_site(folder / f"far {name}", backend, proxy.url))
            for name, backend in SITES.items()
        }
        for site in far.values():
            eventually(lambda site=site: site.get("/gathered").status == 200, "it answers")
        proxy.delay = ONE_WAY
        _race_far(bench, far)


def _site(folder: Path, backend: str, location: str) -> WebServer:
    command = ["uvicorn", "tests.django_site:asgi", "--port", "{port}", "--log-level", "warning"]
    environment = {"SITE_BACKEND": backend, "SITE_LOCATION": location}
    return WebServer(folder, command, environment=environment)


def _race_requests(bench: Bench, sites: dict[str, WebServer]) -> None:
    """Time requests of three `aget`s each, and of none."""
    views = {
        "twofold": (sites["twofold"], "three"),
        "Django": (sites["Django"], "three"),
        "no cache": (sites["twofold"], "bare"),
    }
    costs: dict[str, list[float]] = {name: [] for name in views}
    for turn in range(bench.rounds // 3 + 1):
        for name in random.sample(list(views), len(views)):
            site, view = views[name]
            started = time.perf_counter()
            answers = site.get_all([f"/{view}/{n}" for n in range(REQUESTS)], AT_ONCE)
            elapsed = time.perf_counter() - started
            expect({answer.body for answer in answers}, {b"abc"})
            if turn:  # the first one warms up
                costs[name].append(elapsed / REQUESTS * 1e6)
    what = f"request of 3 agets, {AT_ONCE} at once"
    bench.add(AREA, what, "µs", costs, {"Django": 1.8, "no cache": 0.8})


def _count_connections(bench: Bench, sites: dict[str, WebServer], redis: RedisServer) -> None:
    """Count what a thousand requests open at the server."""
    costs: dict[str, list[float]] = {}
    for name, site in sites.items():
        before = int(redis.info("stats")["total_connections_received"])
        site.get_all([f"/three/{number}" for number in range(REQUESTS)], AT_ONCE)
        opened = int(redis.info("stats")["total_connections_received"]) - before - 1
        costs[name] = [max(1, opened)]
    bench.add(AREA, f"{REQUESTS} requests", "connections", costs, {"Django": 1})


def _race_far(bench: Bench, sites: dict[str, WebServer]) -> None:
    """Time what twenty gathered calls take over the link, and how long the loop stands still."""
    gathered: dict[str, list[float]] = {name: [] for name in sites}
    stalls: dict[str, list[float]] = {name: [] for name in sites}
    for _ in range(bench.rounds // 3):
        for name in random.sample(list(sites), len(sites)):
            gathered[name].append(float(sites[name].get("/gathered").body))
            whose = "django" if name == "Django" else "twofold"
            told = json.loads(sites[name].get(f"/stalled/{whose}").body)
            stalls[name].append(told["milliseconds"])
    bench.add(AREA, "20 gathered agets, link of 50 ms", "ms", gathered, {"Django": 10})
    bench.add(AREA, "longest stall of cache_page, link of 50 ms", "ms", stalls, {"Django": 10})
