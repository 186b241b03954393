"""Fragments of Django's and Flask's templates between fresh and gone."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import flask
import jinja2
import pytest

from tests import django_project

django_project.configure()

from django.core.cache import caches
from django.template import Context, Engine, TemplateSyntaxError
from django.test import override_settings

from tests.chaos import eventually
from twofold import (
    Cache,
    ComputationTimeout,
    InvalidKey,
    InvalidTimeout,
    SettingsError,
    bypass,
    events,
    refreshing,
)
from twofold.claims.table import Claims
from twofold.computing.maker import Maker
from twofold.contrib.django import close_all, make_template_fragment_key
from twofold.contrib.flask import Caching

pytestmark = pytest.mark.usefixtures("no_leaks")

STALE = 'stale="1h"'
DJANGOS = "twofold.contrib.django.{}"


class Side(Protocol):
    """A template engine over a store, which another process may share."""

    def render(self, value: Any, options: str = STALE, other: bool = False) -> str:
        """Render the fragment "box", which shows `value`; `other`: as another process."""

    def make_stale(self) -> None:
        """Make the fragment stale."""

    def text(self) -> Any:
        """Return what is stored, if it is fresh."""

    def invalidate(self, *tags: str, keep_stale: bool = False, other: bool = False) -> None:
        """Invalidate tags; `other`: as another process."""

    def claims(self) -> Claims:
        """Return who computes here."""


class InDjango:
    """Django's."""

    ENGINE = Engine(libraries={"twofold": "twofold.contrib.django.templatetags.twofold"})
    KEY = make_template_fragment_key("box")

    def render(self, value: Any, options: str = STALE, other: bool = False) -> str:
        alias = "other" if other else "default"
        text = f'{{% cache "10m" box {options} using="{alias}" %}}{{{{ value }}}}{{% endcache %}}'
        return self.ENGINE.from_string("{% load twofold %}" + text).render(
            Context({"value": value})
        )

    def make_stale(self) -> None:
        assert caches["default"].mark_stale(self.KEY)  # type: ignore[attr-defined]

    def text(self) -> Any:
        return caches["default"].get(self.KEY)

    def invalidate(self, *tags: str, keep_stale: bool = False, other: bool = False) -> None:
        cache: Any = caches["other" if other else "default"]
        cache.invalidate_tags(*tags, keep_stale=keep_stale)

    def claims(self) -> Claims:
        cache: Any = caches["default"]
        return cache.cache._claims  # type: ignore[no-any-return]


class InFlask:
    """Flask's."""

    def __init__(self, store: str) -> None:
        self.apps: dict[bool, tuple[flask.Flask, Caching]] = {}
        for other in (False, True):
            app, caching = flask.Flask(__name__), Caching()
            options = {"deadline": 20.0 + other}
            app.config["CACHES"] = {"default": {"LOCATION": store, "OPTIONS": options}}
            caching.init_app(app)
            self.apps[other] = app, caching

    @property
    def cache(self) -> Cache:
        return self._cache(False)

    def _cache(self, other: bool) -> Cache:
        app, caching = self.apps[other]
        with app.app_context():
            return caching.caches["default"]

    def render(self, value: Any, options: str = STALE, other: bool = False) -> str:
        named = "".join(f", {each}" for each in options.split())
        text = f'{{% cache "box", "10m"{named} %}}{{{{ value }}}}{{% endcache %}}'
        with self.apps[other][0].test_request_context():
            return flask.render_template_string(text, value=value)

    def make_stale(self) -> None:
        assert self.cache.mark_stale("fragment:'box'()")

    def text(self) -> Any:
        return self.cache.get("fragment:'box'()")

    def invalidate(self, *tags: str, keep_stale: bool = False, other: bool = False) -> None:
        self._cache(other).invalidate_tags(*tags, keep_stale=keep_stale)

    def claims(self) -> Claims:
        return self.cache._claims

    def close(self) -> None:
        for _, caching in self.apps.values():
            caching.close()


@pytest.fixture(params=["django", "flask"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    """Both, each over a file that two caches share which know nothing else of each other."""
    if request.param == "flask":
        made = InFlask(f"sqlite:///{tmp_path}/{token_hex(4)}.db")
        yield made
        made.close()
        return
    entry: dict[str, Any] = {
        "BACKEND": "twofold.contrib.django.SQLiteCache",
        "LOCATION": f"{tmp_path}/store",
    }
    aliases = {"default": 20.0, "other": 21.0}
    made_of = {alias: {**entry, "OPTIONS": {"deadline": d}} for alias, d in aliases.items()}
    with override_settings(CACHES=made_of):
        yield InDjango()
        close_all()


class Slow:
    """What renders as soon as it may, and tells that it has begun."""

    def __init__(self, text: str, error: Exception | None = None) -> None:
        self.begun, self.may_end, self.runs = threading.Event(), threading.Event(), 0
        self._text, self._error = text, error

    def __str__(self) -> str:
        self.runs += 1
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.may_end.wait(20)
        if self._error is not None:
            raise self._error
        return self._text


@pytest.mark.parametrize("other", [False, True], ids=["here", "elsewhere"])
def test_one_request_renders_and_the_others_are_served_at_once(side: Side, other: bool) -> None:
    """In its own thread; it is given what it rendered, they the stale one, in any process."""
    side.render("old")
    side.make_stale()
    slow = Slow("new")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(side.render, slow)
        assert slow.begun.wait(10)
        assert [side.render("newer", other=other) for _ in range(3)] == ["old"] * 3
        slow.may_end.set()
        assert first.result(10) == "new"
    assert slow.runs == 1
    assert slow.thread.name.startswith("ThreadPoolExecutor")
    assert side.render("newer", other=True) == "new"


def test_a_stale_fragment_is_served_where_rendering_fails(side: Side) -> None:
    """And no other request tries, for `retry_after`; of that it is told once."""
    told: list[events.Event] = []
    unsubscribe = events.subscribe(told.append)
    failing = Slow("", ValueError("no text"))
    failing.may_end.set()
    side.render("old")
    side.make_stale()
    try:
        assert [side.render(failing) for _ in range(3)] == ["old"] * 3
        assert side.render(failing, other=True) == "old"
    finally:
        unsubscribe()
    assert failing.runs == 1
    (event,) = [each for each in told if isinstance(each, events.RefreshFailed)]
    assert event.function == "fragment 'box'"
    with pytest.raises(ValueError, match="no text"):
        side.render(failing, "")


@pytest.mark.parametrize("other", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("options", ["wait=0.05", "wait=None max_wait=0.05"])
def test_who_waits_for_a_fragment_leaves_in_time(side: Side, options: str, other: bool) -> None:
    """Another request's, in this process and another."""
    if isinstance(side, InFlask):
        options = options.replace("None", "none")
    side.render("old")
    side.make_stale()
    slow = Slow("new")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(side.render, slow, f"{STALE} {options}")
        assert slow.begun.wait(10)
        assert side.render("newer", f"{STALE} {options}", other=other) == "old"
        slow.may_end.set()
        assert first.result(10) == "new"
    assert side.text() == "new"


@pytest.mark.parametrize("other", [False, True], ids=["here", "elsewhere"])
def test_who_has_no_stale_fragment_does_not_wait_for_ever(side: Side, other: bool) -> None:
    slow = Slow("new")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(side.render, slow, "max_wait=0.05")
        assert slow.begun.wait(10)
        with pytest.raises(ComputationTimeout, match=r"max_wait=0\.05"):
            side.render("newer", "max_wait=0.05", other=other)
        slow.may_end.set()
        assert first.result(10) == "new"
    assert side.render("newer", other=other) == "new"


def test_one_request_does_without_the_cache(side: Side) -> None:
    """By a context variable: `bypass` neither reads nor stores, `refreshing` stores."""
    side.render("1", "")
    with bypass():
        assert side.render("2", "") == "2"
    assert side.text() == "1"
    with refreshing():
        assert side.render("3", "") == "3"
    assert (side.text(), side.render("4", "")) == ("3", "3")


def test_a_fragment_deleted_amid_its_refresh_is_not_stored(side: Side) -> None:
    side.render("old")
    side.make_stale()

    class Deleting:
        def __str__(self) -> str:
            if isinstance(side, InDjango):
                caches["other"].delete(InDjango.KEY)
            else:
                app, caching = side.apps[True]  # type: ignore[attr-defined]
                with app.app_context():
                    caching.delete_fragment("box")
            return "from before"

    assert side.render(Deleting()) == "from before"
    assert side.render("new") == "new"


def tagged(side: Side, *names: str) -> str:
    """Return the option of a tag `cache` whose fragment has tags."""
    return (
        f"tags={names[0]!r}"
        if isinstance(side, InDjango)
        else f"tags=[{','.join(map(repr, names))}]"
    )


@pytest.mark.parametrize("other", [False, True], ids=["here", "elsewhere"])
def test_a_fragment_is_invalidated_by_its_tag(side: Side, other: bool) -> None:
    """From any process; it may stay as a stale one."""
    options = tagged(side, "user:7")
    assert [side.render(each, options) for each in "ab"] == ["a", "a"]
    side.invalidate("another", other=other)
    assert side.render("b", options, other=other) == "a"
    side.invalidate("user:7", other=other)
    assert side.text() is None
    assert [side.render(each, options) for each in "cd"] == ["c", "c"]
    side.invalidate("user:7", keep_stale=True, other=other)
    assert side.render("e", options) == "e"


@pytest.mark.parametrize("other", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("more", ["", " stale='1h' wait=20"])
def test_an_invalidation_while_a_fragment_renders_is_not_lost(
    side: Side, more: str, other: bool
) -> None:
    """What was rendered is for that request alone."""
    options = tagged(side, "t") + more

    class Invalidating:
        def __str__(self) -> str:
            side.invalidate("t", other=other)
            return "from before"

    assert side.render(Invalidating(), options) == "from before"
    assert side.text() is None
    assert [side.render(each, options, other=other) for each in "ab"] == ["a", "a"]
    if more:
        side.invalidate("t", keep_stale=True)
        assert side.render(Invalidating(), options) == "from before"
        assert side.render("b", options) == "b"


def test_who_waits_for_a_fragment_is_not_given_what_was_invalidated(side: Side) -> None:
    """Of those who wait, one renders it again for all."""
    options, slow, again = tagged(side, "t"), Slow("from before"), Slow("new")
    again.may_end.set()
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(side.render, slow, options)
        assert slow.begun.wait(10)
        side.invalidate("t")
        others = [threads.submit(side.render, again, options) for _ in range(3)]
        eventually(lambda: sum(each.waiting for each in side.claims()) >= 4, "all wait")
        slow.may_end.set()
        assert first.result(10) == "from before"
        assert [each.result(10) for each in others] == ["new"] * 3
    assert (again.runs, side.text()) == (1, "new")


def test_tags_are_not_looked_at_again_for_nobody(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds the fragment looks at them; once it is stored, those count who have waited."""
    asked = list[Any]()

    class Watching:
        def __str__(self) -> str:
            monkeypatch.setattr(Maker, "holding", holding)
            return "rendered"

    async def holding(self: Maker, io: Any, pins: Any) -> Any:
        asked.append(pins)
        return dict.fromkeys(pins, True)

    assert side.render(Watching(), tagged(side, "t")) == "rendered"
    assert asked == []
    assert side.render("again", tagged(side, "t")) == "rendered"


def test_wrong_tags_of_a_fragment_are_told(side: Side) -> None:
    for wrong in ("tags=7", "tags=''", "tags=nothing"):
        with pytest.raises((TemplateSyntaxError, InvalidKey, SettingsError), match="tag"):
            side.render("x", wrong)


def test_djangos_tag_takes_a_list_of_tags() -> None:
    """In a variable; None and an empty list are no tags."""
    text = "{% load twofold %}{% cache 60 box tags=tags %}{{ x }}{% endcache %}"
    template = InDjango.ENGINE.from_string(text)

    def render(x: int, *tags: Any) -> str:
        return template.render(Context({"x": x, "tags": tags[0] if tags else None}))

    with override_settings(CACHES={"default": {"BACKEND": DJANGOS.format("MemoryCache")}}):
        cache: Any = caches["default"]
        cache.clear()
        assert [render(1, ["a", "b c"]), render(2, ["a", "b c"])] == ["1", "1"]
        cache.invalidate_tags("b c")
        assert [render(3), render(4, [])] == ["3", "3"]
        close_all()


def test_a_third_partys_cache_keeps_nothing_that_has_a_tag() -> None:
    """Nobody could invalidate it there."""
    entry = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "tags"}
    with override_settings(CACHES={"default": entry}):
        assert [InDjango().render(each, "tags='t'") for each in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("stail=1", "did you mean 'stale'"),
        ("stale=1 stale=2", "twice"),
        ("early=2", "between 0 and 1"),
        ("wait='soon'", "no duration"),
        ("errors=1", "no option of the tag 'cache' 'errors'"),
    ],
)
def test_what_cannot_be_is_told(side: Side, options: str, says: str) -> None:
    kinds = (TemplateSyntaxError, jinja2.TemplateSyntaxError, SettingsError, InvalidTimeout)
    with pytest.raises(kinds, match=says):
        side.render("x", options)


def test_the_alias_speaks_for_its_fragments() -> None:
    """`FRESHNESS` holds for those that say nothing, in both; errors are never kept."""
    freshness = {"stale": "1h", "errors": {ValueError: 60}}
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "FRESHNESS": freshness}
    with override_settings(CACHES={"default": entry}):
        caches["default"].clear()
        _is_stale_if_error(InDjango())
        close_all()
    app, caching = flask.Flask(__name__), Caching()
    app.config["CACHES"] = {
        "default": {"LOCATION": f"memory://{token_hex(4)}", "FRESHNESS": freshness}
    }
    caching.init_app(app)
    made = InFlask.__new__(InFlask)
    made.apps = {False: (app, caching)}
    _is_stale_if_error(made)
    caching.close()


def _is_stale_if_error(side: Side) -> None:
    failing = Slow("", ValueError("no text"))
    failing.may_end.set()
    with pytest.raises(ValueError, match="no text"):
        side.render(failing, "")
    assert side.render("old", "") == "old"
    side.make_stale()
    assert side.render(failing, "") == "old"


def test_a_third_partys_cache_keeps_nothing_stale() -> None:
    """The options change nothing there, so that a project may have another cache in its tests."""
    with override_settings(
        CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    ):
        assert InDjango().render("1", 'stale="1h"') == "1"
        assert InDjango().render("2", 'stale="1h"') == "2"


def test_options_of_djangos_tag_stand_behind_using(tmp_path: Path) -> None:
    """Also before what the fragment depends on; values are told apart as ever."""
    entry = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": str(tmp_path)}
    text = "{% load twofold %}{% cache 60 box using='default' stale='1h' x %}{{ x }}{% endcache %}"
    template = InDjango.ENGINE.from_string(text)
    with override_settings(CACHES={"default": entry}):
        assert [template.render(Context({"x": name})) for name in "aba"] == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{% cache 'a', 5, timeout=60 %}{% endcache %}", "timeout is given twice"),
        ("{% cache 'a', stale=1, x %}{% endcache %}", "comes before its options"),
    ],
)
def test_options_of_flasks_tag_come_last(text: str, says: str) -> None:
    app, caching = flask.Flask(__name__), Caching()
    app.config["CACHES"] = f"memory://{token_hex(4)}"
    caching.init_app(app)
    with app.app_context(), pytest.raises(jinja2.TemplateSyntaxError, match=says):
        flask.render_template_string(text)
    caching.close()
