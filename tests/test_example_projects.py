"""The projects in docs/examples, under real web servers, with every store.

Each has a sync view, an async view and a cached function over the same data, and chooses
its store by the environment's `CACHE_URL`.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from tests.chaos import MemcachedServer, RedisServer
from tests.web import ROOT, WebServer

EXAMPLES = ROOT / "docs" / "examples"


class Project(NamedTuple):
    """One of the projects, and a command that serves it."""

    command: list[str]
    path: Path
    """Where its modules are."""
    in_sync: str = "/sync/1/"
    """The address of the sync view of product 1."""
    in_async: str = "/async/1/"
    page: str = "/page/"
    """The address of a page that is cached whole."""


DJANGO = EXAMPLES / "django_project"
PROJECTS = {
    "Django, gunicorn": Project(
        ["gunicorn", "shop.wsgi", "--bind", "127.0.0.1:{port}", "--threads", "4"], DJANGO
    ),
    "Django, uvicorn": Project(
        ["uvicorn", "shop.asgi:application", "--port", "{port}", "--log-level", "warning"], DJANGO
    ),
    "Flask, gunicorn": Project(
        ["gunicorn", "flask_app:create_app()", "--bind", "127.0.0.1:{port}", "--threads", "4"],
        EXAMPLES,
        "/sync/1",
        "/async/1",
        "/page",
    ),
}

Url = Callable[[str], str]


@pytest.fixture
def url(redis_server: RedisServer, memcached_server: MemcachedServer, tmp_path: Path) -> Url:
    """Return a function that tells the `CACHE_URL` of a store."""
    urls = {
        "memory": "memory://",
        "sqlite": f"sqlite:///{tmp_path}/cache.db",
        "redis": redis_server.url,
        "memcached": f"memcached://{memcached_server.address}",
    }
    return urls.__getitem__


STORES = ["memory", "sqlite", "redis", "memcached"]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_works_on_every_store(name: str, store: str, url: Url, tmp_path: Path) -> None:
    """Both views find what the other stored, and a page is computed once for all who ask."""
    project = PROJECTS[name]
    environment = {"CACHE_URL": url(store)}
    with WebServer(tmp_path / "web", project.command, project.path, environment) as web:
        first = json.loads(web.get(project.in_sync).body)
        assert first == {"number": 1, "name": "tea", "price": 1.5, "loads": 1}
        assert json.loads(web.get(project.in_async).body) == first
        pages = web.get_all([project.page] * 10, 10)
        assert {page.status for page in pages} == {200}
        assert {page.body for page in pages} == {pages[0].body}
        assert "age" in web.get(project.page).headers
        assert json.loads(web.get(project.in_sync).body)["loads"] == 4


@pytest.mark.parametrize("store", STORES)
def test_the_fastapi_app_works_on_every_store(store: str, url: Url, tmp_path: Path) -> None:
    """Endpoints of both kinds share an entry; a page is computed once, until it is changed."""
    command = ["uvicorn", "fastapi_app:app", "--port", "{port}", "--log-level", "warning"]
    environment = {"CACHE_URL": url(store)}
    with WebServer(tmp_path / "web", command, EXAMPLES, environment) as web:
        assert (web.get("/sync/tea").body, web.get("/async/tea").body) == (b"3", b"3")
        pages = web.get_all(["/products/tea"] * 10, 10)
        assert {page.body for page in pages} == {b'{"name":"tea","left":3,"price":4.5}'}
        assert "age" in web.get("/products/tea").headers
        assert json.loads(web.get("/").body) == {"stock": 1, "price": 1}
        assert web.ask("PUT", "/products/tea", b"5").status == 200
        assert json.loads(web.get("/products/tea").body)["left"] == 5
        assert json.loads(web.get("/").body) == {"stock": 2, "price": 1}


BAD_DAY = EXAMPLES / "bad_day"


def test_a_bad_day_needs_hardly_more_queries_than_it_must(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Of three processes one asks for a product, and again after `retry_after`; in a hurry."""
    picture = tmp_path / "day.svg"
    command = [sys.executable, BAD_DAY / "bad_day.py", redis_server.url, "--scale", "200"]
    command += ["--only", "retry_after", "--products", "50", "--users", "30"]
    command += ["--picture", picture]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    names, values = (line.split() for line in shown.stdout.splitlines())
    row = dict(zip(names, values, strict=True))
    assert float(row["ratio"]) <= 1.1, shown.stdout
    assert not shown.stderr
    ElementTree.fromstring(picture.read_text())


def test_the_picture_of_the_bad_day_is_small() -> None:
    assert (BAD_DAY / "bad_day.svg").stat().st_size < 20_000


def test_three_processes_read_nearly_all_from_near() -> None:
    """The example starts its own Redis, and prints what each process has read of it."""
    command = [sys.executable, EXAMPLES / "three_processes" / "three_processes.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            for line in running.stdout:
                words = line.replace(",", "").split()
                if "; told of writes" in line and int(words[3]) > int(words[1]) / 2:
                    break
            else:
                pytest.fail(running.stderr.read())
        finally:
            running.send_signal(signal.SIGINT)
        assert running.stdout.read().endswith("the end\n")
        assert not running.stderr.read()
