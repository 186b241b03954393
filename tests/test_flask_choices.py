"""What Flask-Caching's users choose for a view: when it is cached, by what key, and until when."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from flask import Flask, Response, request, url_for

from twofold import InvalidKey
from twofold.contrib.flask import Caching


class Site:
    """An application with one view, at /page/<number>, that counts its calls."""

    made: ClassVar[list["Site"]] = []

    def __init__(self, **choices: Any) -> None:
        self.made.append(self)
        self.app = Flask("choices")
        self.app.config["CACHES"] = "memory://choices"
        self.caching = Caching(self.app)
        self.calls: list[str] = []
        view = self.caching.cached_page(**choices)(self.page)
        self.app.add_url_rule("/page/<int:number>", "page", view, methods=["GET", "POST"])
        self.client = self.app.test_client()

    def page(self, number: int) -> str:
        self.calls.append(request.full_path)
        return f"{number}: {len(self.calls)}"

    def get(self, url: str = "/page/1", **headers: str) -> str:
        return self.client.get(url, headers=headers).text


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    yield
    site = Site()
    with site.app.app_context():
        site.caching.cache.clear()
    while Site.made:  # what is not closed keeps the settings of the process
        Site.made.pop().caching.close()


def test_unless_leaves_the_cache_out() -> None:
    """Neither is a stored page served, nor is one stored."""
    site = Site(unless=lambda: "preview" in request.headers)
    assert [site.get(), site.get(), site.get(preview="1")] == ["1: 1", "1: 1", "1: 2"]
    assert [site.get(), site.get("/page/2", preview="1"), site.get("/page/2")] == [
        "1: 1",
        "2: 3",
        "2: 4",
    ]


def test_a_forced_update_computes_and_stores_anew() -> None:
    """Others are then served the new page."""
    site = Site(forced_update=lambda: "anew" in request.headers)
    assert [site.get(), site.get(anew="1"), site.get()] == ["1: 1", "1: 2", "1: 2"]


def test_what_the_filter_refuses_is_not_stored() -> None:
    """It is asked of what the view returned; after a refusal nobody waits, and none is stored."""
    asked: list[Response] = []

    def is_whole(response: Response) -> bool:
        asked.append(response)
        return response.get_data(as_text=True) != "1: 1"

    site = Site(response_filter=is_whole)
    assert [site.get() for _ in range(5)] == ["1: 1", "1: 2", "1: 3", "1: 3", "1: 3"]
    assert len(asked) == 3


def test_the_key_tells_pages_apart_instead_of_the_query() -> None:
    """It is given what the view is, and pages of two paths do not meet."""

    def by_lang(number: int) -> str:
        return f"{number} {request.args.get('lang', 'en')} é"

    site = Site(make_cache_key=by_lang)
    assert [site.get("/page/1?utm=a"), site.get("/page/1?utm=b")] == ["1: 1", "1: 1"]
    assert [site.get("/page/1?lang=de"), site.get("/page/2")] == ["1: 2", "2: 3"]
    with site.app.test_request_context():
        site.caching.delete_page("/page/1", key="1 en é")
    assert [site.get(), site.get("/page/1?lang=de"), site.get("/page/2")] == [
        "1: 4",
        "1: 2",
        "2: 3",
    ]


@pytest.mark.parametrize(
    ("mount", "stripped"), [("", False), ("/shop", False), ("/shop", True)], ids=str
)
def test_one_page_is_deleted(mount: str, stripped: bool) -> None:
    """By its path in a request, by its whole URL anywhere, also behind what strips the mount."""
    site = Site()
    if mount:
        site.app.config["APPLICATION_ROOT"] = mount
    where: dict[str, Any] = {"base_url": f"http://shop.example{mount}"}
    urls = ["/page/1", "/page/1?a=%C3%A9", "/page/2"]

    def shown() -> list[str]:
        raw = [
            {"RAW_URI": f"{'' if stripped else mount}{url}"} for url in urls
        ]  # as servers tell it
        return [
            site.client.get(url, environ_overrides=told, **where).text
            for url, told in zip(urls, raw, strict=True)
        ]

    assert shown() == shown() == ["1: 1", "1: 2", "2: 3"]
    with site.app.test_request_context("/", **where):
        site.caching.delete_page(url_for("page", number=1, a="é"))
    assert shown() == ["1: 1", "1: 4", "2: 3"]
    with site.app.app_context():
        site.caching.delete_page(f"http://shop.example{mount}/page/2")
    assert shown() == ["1: 1", "1: 4", "2: 5"]


@pytest.mark.parametrize(
    ("asked", "deleted"),
    [
        ("/page/1?ids[]=1", "/page/1?ids%5B%5D=1"),
        ("/page/1?ids%5B%5D=1", "/page/1?ids[]=1"),
        ("/page/1?a=%C3%A9", "/page/1?a=é"),
        ("/page/1?a=|", "/page/1?a=|"),
        ("/page/1?a=%20%22", '/page/1?a= "'),
        ("/page/1", "//localhost/page/1"),
        ("/page/1", "http://LOCALHOST:80/page/1"),
    ],
)
def test_a_page_is_deleted_in_whatever_spelling(asked: str, deleted: str) -> None:
    """Browsers do not escape all that `url_for` does."""
    site = Site()

    def shown() -> str:
        return site.client.get(asked, environ_overrides={"RAW_URI": asked}).text

    assert shown() == shown() == "1: 1"
    with site.app.test_request_context():
        site.caching.delete_page(deleted)
    assert shown() == "1: 2"


def test_a_host_is_named_in_its_own_alphabet() -> None:
    """Clients send its other name."""
    site = Site()
    where: dict[str, Any] = {"base_url": "http://xn--bcher-kva.example:81"}
    assert site.client.get("/page/1", **where).text == "1: 1"
    with site.app.app_context():
        site.caching.delete_page("http://bücher.example:81/page/1")
    assert site.client.get("/page/1", **where).text == "1: 2"


def test_a_key_that_is_no_text_is_refused() -> None:
    """The error says which of the two is to change."""
    site = Site(make_cache_key=lambda number: number)
    site.app.testing = True
    with pytest.raises(InvalidKey, match="make_cache_key returns is text, not 1"):
        site.client.get("/page/1")


def test_outside_of_a_request_a_path_alone_is_nowhere() -> None:
    """It is told what to give."""
    site = Site()
    with (
        site.app.app_context(),
        pytest.raises(RuntimeError, match="give the whole URL"),
    ):
        site.caching.delete_page("/page/1")
