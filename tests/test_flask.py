"""Flask: pages, fragments and settings of an application; what no user is given of another's."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any

import flask
import pytest
from asgiref.sync import iscoroutinefunction
from flask import (
    Blueprint,
    Flask,
    after_this_request,
    flash,
    g,
    get_flashed_messages,
    render_template_string,
    session,
)
from flask.testing import FlaskClient
from flask.views import MethodView
from werkzeug.local import LocalProxy
from werkzeug.test import TestResponse

import twofold
from tests.chaos import MemcachedServer, RedisServer, eventually
from tests.web import WebServer
from twofold import InvalidTimeout, SettingsError, UnstableArgument, cached
from twofold.contrib.flask import Caching

pytestmark = pytest.mark.usefixtures("no_leaks")


class Site:
    """An application with its caches, and a view at "/" that counts how often it runs."""

    def __init__(self, url: str, **page: Any) -> None:
        self.caching = Caching()
        self.app = Flask("site")
        self.app.secret_key = "a secret of the tests"
        self.app.config["CACHES"] = {"default": url}
        self.caching.init_app(self.app)
        self.runs = 0
        self.change: Callable[[flask.Response], Any] = lambda response: None
        self.app.add_url_rule("/", view_func=self.caching.cached_page(**page)(self.index))

    def index(self) -> flask.Response:
        self.runs += 1
        response = flask.make_response(f"run {self.runs}")
        self.change(response)
        return response

    def client(self) -> FlaskClient:
        """Return a browser, with cookies of its own."""
        return self.app.test_client()

    def get(self, where: str = "/", **options: Any) -> TestResponse:
        """Ask as a new client does, which sends what cookies it is told to."""
        return self.app.test_client(use_cookies=False).get(where, **options)

    def visits(self, count: int = 2, **options: Any) -> int:
        """Let so many new clients ask for "/", and return how often the view has run."""
        for _ in range(count):
            assert self.get(**options).status_code < 500
        return self.runs

    def has_hook(self, hook: Callable[[flask.Response], Any]) -> None:
        def after(response: flask.Response) -> flask.Response:
            hook(response)
            return response

        self.app.after_request(after)


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(url: str) -> Iterator[MakeSite]:
    """Return a function that makes sites over the store at `url`; they are closed at the end."""
    made: list[Site] = []

    def make(where: str = url, **page: Any) -> Site:
        made.append(Site(where, **page))
        return made[-1]

    yield make
    for site in made:
        site.caching.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture
def memory_url() -> str:
    return f"memory://{token_hex(8)}"


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty store."""
    if request.param == "memory":
        return str(request.getfixturevalue("memory_url"))
    return str(request.getfixturevalue("redis_server").url)


class TestPages:
    """What is stored, and how it is answered."""

    def test_a_page_is_computed_once(self, site: Site) -> None:
        """The second client is given what the view returned to the first, with its age."""
        first, second = site.get("/"), site.get("/")
        assert (first.text, second.text, site.runs) == ("run 1", "run 1", 1)
        assert first.headers["Cache-Status"] == "twofold; fwd=miss; stored"
        assert second.headers["Cache-Status"].startswith("twofold; hit; ttl=")
        assert second.headers["Age"] == "0"
        assert "Age" not in first.headers
        assert second.content_type == first.content_type == "text/html; charset=utf-8"

    def test_an_age_of_its_own_is_counted_on(self, site: Site) -> None:
        """What a view fetched elsewhere was old already, which is told once."""
        site.change = lambda response: response.headers.set("Age", "30")
        assert [site.get("/").headers.getlist("Age") for _ in range(2)] == [["30"], ["30"]]

    def test_no_field_of_ours_is_sent(self, site: Site) -> None:
        """What stands in the store about the view stays there."""
        answers = [site.get("/"), site.get("/"), site.client().head("/")]
        assert not [name for each in answers for name, _ in each.headers if "view" in name]

    def test_an_async_view_is_cached(self, site: Site) -> None:
        """An `async def` is run by Flask at a miss, and not at a hit."""
        runs = []

        @site.app.get("/async")
        @site.caching.cached_page
        async def view() -> str:
            runs.append(1)
            return f"run {len(runs)}"

        assert [site.get("/async").text for _ in range(3)] == ["run 1"] * 3

    def test_a_cached_function_is_a_view(self, site: Site) -> None:
        """What `@cached` made of an `async def` can be decorated, though it is marked as async."""

        @cached(cache=site.caching.cache)
        async def view() -> str:
            return "both"

        page = site.caching.cached_page(view)
        assert not iscoroutinefunction(page)
        site.app.add_url_rule("/both", view_func=page)
        assert [site.get("/both").text for _ in range(2)] == ["both"] * 2

    def test_the_url_tells_pages_apart(self, site: Site) -> None:
        """Path, query and host are in the key; an escape that stands for itself is not."""

        @site.app.get("/of/<name>")
        @site.caching.cached_page
        def page(name: str) -> str:
            return f"{name} {flask.request.query_string.decode()} {flask.request.host}"

        asked = ["/of/a", "/of/b", "/of/a?x=1", "/of/a?x=2", "/of/%2561"]
        for found in ("fwd=miss", "hit"):
            answers = [site.get(each) for each in asked]
            assert [each.text for each in answers] == [
                f"{each} localhost" for each in ("a ", "b ", "a x=1", "a x=2", "%61 ")
            ]
            assert site.get("/of/%61").headers["Cache-Status"].startswith("twofold; hit")
            assert site.get("/of/a", base_url="http://other").text == "a  other"
            assert [each.headers["Cache-Status"].split("; ")[1] for each in answers] == [found] * 5

    def test_equivalent_urls_are_changed_together(self, site: Site) -> None:
        """Whatever spelling of a URL a request changes, its page is computed anew."""

        @site.app.route("/~a", methods=["GET", "PUT"], strict_slashes=False)
        @site.caching.cached_page
        def page() -> str:
            site.runs += 1
            return str(site.runs)

        spellings = [("LOCALHOST", "/~a"), ("localhost:80", "/~a"), ("localhost", "/%7Ea")]
        for run, (host, path) in enumerate(spellings, 1):
            assert site.get("/~a").text == str(2 * run - 1)
            assert site.client().put(path, base_url=f"http://{host}").text == str(2 * run)

    @pytest.mark.parametrize("raw", [{}, {"RAW_URI": "", "REQUEST_URI": ""}])
    def test_what_a_change_creates_was_missing(self, site: Site, raw: dict[str, str]) -> None:
        """The 404 of an item is gone when a `POST` says that it has made it."""
        items: set[str] = set()

        @site.app.get("/items/<name>")
        @site.caching.cached_page
        def item(name: str) -> tuple[str, int]:
            return name, 200 if name in items else 404

        @site.app.post("/items")
        def create() -> tuple[str, int, dict[str, str]]:
            items.add("a:b")
            return "", 201, {"Location": flask.url_for("item", name="a:b")}

        for mount in ("", "/shop"):
            items.clear()
            given = {"environ_overrides": raw, "base_url": f"http://localhost{mount}"}
            assert site.get("/items/a:b", **given).status_code == 404
            assert site.get("/items/a:b", **given).headers["Cache-Status"].startswith("twofold; hi")
            assert site.client().post("/items", **given).status_code == 201
            assert site.get("/items/a:b", **given).status_code == 200

    def test_applications_and_their_mounts_are_kept_apart(self, url: str) -> None:
        """Two applications in one store, and two places of one, have their own pages."""

        def place() -> str:
            return flask.current_app.name + flask.request.root_path

        answers = []
        caching = Caching()
        apps = [Flask(name) for name in ("shop", "admin")]
        for app in apps:
            app.config["CACHES"] = url
            caching.init_app(app)
            app.add_url_rule("/", view_func=caching.cached_page(place))
            for mount in ("/", "/v1/", "/v2/"):
                got = [app.test_client().get(base_url=f"http://localhost{mount}") for _ in "12"]
                assert "hit" in got[1].headers["Cache-Status"]
                answers.append(got[1].text)
        caching.close()
        assert answers == ["shop", "shop/v1", "shop/v2", "admin", "admin/v1", "admin/v2"]

    @pytest.mark.parametrize("is_read_first", [False, True])
    def test_content_without_a_length(self, site: Site, is_read_first: bool) -> None:
        """A GET with content of HTTP/2 or in chunks passes, and the view is given all of it."""

        @site.app.before_request
        def read() -> None:
            if is_read_first:
                assert flask.request.stream

        @site.app.get("/fat")
        @site.caching.cached_page
        def fat() -> str:
            return flask.request.get_data(as_text=True) or "none"

        def ask(text: bytes, **given: Any) -> tuple[str, str]:
            told = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True, **given}
            got = site.get("/fat", input_stream=BytesIO(text), environ_overrides=told)
            return got.text, got.headers["Cache-Status"].partition("=")[2]

        for given in ({"SERVER_PROTOCOL": "HTTP/2"}, {"HTTP_TRANSFER_ENCODING": "chunked"}):
            assert ask(b"evil" * 5000, **given) == ("evil" * 5000, "bypass")
        assert ask(b"", SERVER_PROTOCOL="HTTP/1.1") == ("none", "miss; stored")
        assert ask(b"x", SERVER_PROTOCOL="HTTP/2") == ("x", "bypass")
        if not is_read_first:
            assert ask(b"", SERVER_PROTOCOL="HTTP/2")[0] == "none"
            assert site.get("/fat").headers["Cache-Status"].startswith("twofold; hit")

    def test_a_server_that_tells_no_raw_path(self, site: Site) -> None:
        """Then the path is told by what WSGI has of it, and the host by the server's name."""

        @site.app.get("/at/<name>")
        @site.caching.cached_page
        def page(name: str) -> str:
            return name

        bare = {"RAW_URI": "", "REQUEST_URI": "", "HTTP_HOST": ""}
        for _ in range(2):
            texts = [site.get(f"/at/{each}", environ_overrides=bare).text for each in ("ä", "b")]
            assert texts == ["ä", "b"]

    def test_a_client_that_has_the_page_is_told_so(self, site: Site) -> None:
        """The tag is strong; with it a page is a 304, whether it was stored or is computed."""
        tag = site.get().headers["ETag"]
        assert tag.startswith('"')
        again = site.get(headers={"If-None-Match": tag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
        assert "Content-Type" not in again.headers
        site.caching.close()
        with site.app.app_context():
            site.caching.cache.clear()
        site.runs = 0
        computed = site.get(headers={"If-None-Match": tag})
        assert (computed.status_code, site.runs) == (304, 1)
        assert site.get().text == "run 1"

    def test_head_is_answered_like_get(self, site: Site) -> None:
        """HEAD computes nothing that is stored, and has the fields of the stored page."""
        missed = site.client().head("/")
        assert (missed.headers["Cache-Status"], site.runs) == ("twofold; fwd=miss", 1)
        got, head = site.get("/"), site.client().head("/")
        assert (head.data, head.content_length, site.runs) == (b"", len(got.data), 2)
        assert head.headers["ETag"] == got.headers["ETag"]

    def test_only_if_cached_computes_nothing(self, site: Site) -> None:
        """Who wants a stored page alone is told that there is none."""
        wanted = {"Cache-Control": "only-if-cached"}
        assert site.get(headers=wanted).status_code == 504
        told = site.get(headers=wanted).headers.getlist("Cache-Status")
        assert (told, site.runs) == (["twofold; fwd=miss"], 0)
        site.get("/")
        assert site.get(headers=wanted).text == "run 1"

    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    def test_a_change_invalidates_the_page(self, site: Site, method: str) -> None:
        """An unsafe request to any view at the URL removes its page, if it succeeds."""
        outcome = ["no", 400]

        @site.app.route("/", methods=[method.upper()])
        def change() -> tuple[str, int]:
            return str(outcome[0]), int(outcome[1])

        site.get("/")
        getattr(site.client(), method)("/")
        assert site.get().text == "run 1"
        outcome[:] = ["yes", 200]
        getattr(site.client(), method)("/")
        assert site.get().text == "run 2"

    def test_a_change_goes_to_the_view(self, site: Site) -> None:
        """The same view for GET and POST is cached for GET, and run for each POST."""
        runs = []

        @site.app.route("/form", methods=["GET", "POST"])
        @site.caching.cached_page
        def form() -> str:
            runs.append(flask.request.method)
            return f"{flask.request.method} {len(runs)}"

        assert [site.get("/form").text for _ in range(2)] == ["GET 1"] * 2
        assert [site.client().post("/form").text for _ in range(2)] == ["POST 2", "POST 3"]
        assert [site.get("/form").text for _ in range(2)] == ["GET 4"] * 2

    def test_a_page_lives_for_its_timeout(self, make_site: MakeSite) -> None:
        """The response's own word goes first, then the view's `timeout`."""
        site = make_site(timeout=100)
        site.get()
        assert site.get().headers["Cache-Status"] in (
            "twofold; hit; ttl=99",
            "twofold; hit; ttl=100",
        )
        with site.app.app_context():
            site.caching.cache.clear()
        site.change = lambda response: response.headers.add("Cache-Control", "max-age=50")
        site.get("/")
        assert site.get().headers["Cache-Status"].partition("ttl=")[2] in ("49", "50")

    def test_a_page_in_another_cache(self, memory_url: str) -> None:
        """`cache` names the alias; one that is not there is an error that says so."""
        caching, app = Caching(), Flask("site")
        app.config["CACHES"] = {"default": "dummy://", "pages": memory_url}
        caching.init_app(app)
        app.add_url_rule("/", "a", caching.cached_page(cache="pages")(lambda: token_hex(8)))
        app.add_url_rule("/b", "b", caching.cached_page(cache="page")(lambda: "b"))
        client = app.test_client()
        assert client.get().text == client.get().text
        app.testing = True
        with pytest.raises(SettingsError, match="'pages'"):
            client.get("/b")
        assert client.post("/").status_code == 405
        caching.close()

    def test_a_wrong_timeout_is_refused_at_once(self) -> None:
        """`timeout` is checked when the view is decorated."""
        with pytest.raises(InvalidTimeout, match="soon"):
            Caching().cached_page(timeout="soon")

    def test_blueprints_and_classes(self, site: Site) -> None:
        """Views of blueprints, class-based ones and single methods of these are cached alike."""
        runs = []

        class Whole(MethodView):
            decorators = [site.caching.cached_page]  # noqa: RUF012 - Flask's own way

            def get(self) -> str:
                runs.append("whole")
                return "whole"

        class Part(MethodView):
            @site.caching.cached_page(timeout=60)
            async def get(self, number: int) -> str:
                runs.append("part")
                return f"part {number}"

        shop = Blueprint("shop", __name__, url_prefix="/shop")

        @shop.get("/")
        @site.caching.cached_page
        def view() -> str:
            runs.append("view")
            return "view"

        shop.add_url_rule("/whole", view_func=Whole.as_view("whole"))
        shop.add_url_rule("/part/<int:number>", view_func=Part.as_view("part"))
        site.app.register_blueprint(shop)
        for _ in range(2):
            asked = ["/shop/", "/shop/whole", "/shop/part/1"]
            answers = [site.get(each).text for each in asked]
            assert answers == ["view", "whole", "part 1"]
        assert runs == ["view", "whole", "part"]

    def test_a_mark_on_a_view_stays(self, site: Site) -> None:
        """What other extensions note on a function is on the cached one too."""

        def view() -> str:
            return ""

        vars(view)["exempt"] = True
        cached_view = site.caching.cached_page(view)
        assert vars(cached_view)["exempt"] is True
        assert cached_view.__name__ == "view"


NEVER_SHARED = [
    ("Set-Cookie", "unrelated=1"),
    ("Cache-Control", "private"),
    ("Cache-Control", "Private"),
    ("Cache-Control", "PRIVATE, max-age=60"),
    ("Cache-Control", 'private="Set-Cookie"'),
    ("Cache-Control", "no-store"),
    ("Cache-Control", "No-Cache"),
    ("Cache-Control", "max-age=0"),
    ("Vary", "*"),
    ("Vary", " * "),
    ("Vary", "Accept-Language, * "),
    ("Pragma", "no-cache"),
]


def adds(name: str, value: str) -> Callable[[flask.Response], None]:
    return lambda response: response.headers.add(name, value)


class TestWhatIsShared:
    """Nobody is given a page that was not made for all."""

    @pytest.mark.parametrize(("name", "value"), NEVER_SHARED)
    def test_a_view_that_forbids_it(self, site: Site, name: str, value: str) -> None:
        """A response that says that it is for one client is computed for each."""
        site.change = adds(name, value)
        assert site.visits(3) == 3

    @pytest.mark.parametrize(("name", "value"), NEVER_SHARED)
    def test_a_hook_that_forbids_it(self, site: Site, name: str, value: str) -> None:
        """What `after_request` adds counts, though the view had returned by then."""
        site.has_hook(adds(name, value))
        assert site.visits(3) == 3

    @pytest.mark.parametrize(("name", "value"), NEVER_SHARED)
    def test_a_hook_of_one_request_that_forbids_it(self, site: Site, name: str, value: str) -> None:
        """So does what `after_this_request` adds."""

        def change(_response: flask.Response) -> None:
            @after_this_request
            def after(response: flask.Response) -> flask.Response:
                response.headers.add(name, value)
                return response

        site.change = change
        assert site.visits(3) == 3

    def test_a_hook_that_answers_anew(self, make_site: MakeSite) -> None:
        """It wraps a stored page as a new one, and the page still varies as its view said."""
        site = make_site(vary="X-Lang")

        def wrap(response: flask.Response) -> flask.Response:
            return flask.make_response({"data": response.get_data(as_text=True)})

        site.app.after_request(wrap)
        for _ in range(2):
            for run, lang in enumerate(("de", "en"), 1):
                answer = site.get(headers={"X-Lang": lang})
                assert answer.json == {"data": f"run {run}"}
                assert answer.headers["Vary"].lower() == "x-lang"
        site.change = adds("Cache-Control", "private")
        answers = [site.get("/", headers={"X-Lang": "fr"}).json for _ in range(2)]
        assert answers == [{"data": "run 3"}, {"data": "run 4"}]

    @pytest.mark.parametrize("status", [206, 302, 304, 403, 500, 503])
    def test_a_status_that_is_not_to_be_stored(self, memory_url: str, status: int) -> None:
        """Errors of the server, redirections for now and parts are not stored unasked."""
        caching, runs = Caching(), []
        app = Flask("site")
        app.config["CACHES"] = memory_url
        caching.init_app(app)

        @app.get("/")
        @caching.cached_page
        def view() -> tuple[str, int]:
            runs.append(1)
            return "", status

        assert [app.test_client().get().status_code for _ in range(2)] == [status] * 2
        assert len(runs) == 2
        caching.close()

    def test_a_status_that_a_hook_makes(self, site: Site) -> None:
        """A page that did not become the answer is not stored."""

        def refuse(response: flask.Response) -> None:
            response.status_code = 403

        site.has_hook(refuse)
        assert site.visits() == 2

    @pytest.mark.parametrize(
        "options",
        [
            {"headers": {"Authorization": "Bearer x"}},
            {"environ_overrides": {"REMOTE_USER": "ann"}},
            {"headers": {"Cookie": "theme=dark"}},
        ],
        ids=["Authorization", "REMOTE_USER", "Cookie"],
    )
    def test_credentials(self, make_site: MakeSite, options: dict[str, Any]) -> None:
        """Who sends credentials is neither given nor stored a page, unless it is public."""
        site = make_site()
        assert site.visits(**options) == 2
        assert site.get().text == "run 3"
        assert site.get(**options).text == "run 4"
        assert site.get().text == "run 3"
        public = make_site(f"memory://{token_hex(8)}", public=True)
        assert public.visits(**options) == 1
        assert public.get().headers["Cache-Control"] == "public"

    @pytest.mark.parametrize("by", ["decorator", "view", "hook"])
    def test_pages_vary(self, make_site: MakeSite, by: str) -> None:
        """Each value of a field in `Vary` has its page; an empty one is not an absent one."""
        site = make_site(vary=["Accept-Language"] if by == "decorator" else ())

        def vary(response: flask.Response) -> None:
            response.vary.add("Accept-Language")

        if by == "view":
            site.change = vary
        if by == "hook":
            site.has_hook(vary)
        sent: list[dict[str, str]] = [
            {}, {"Accept-Language": ""}, {"Accept-Language": "de"}, {"Accept-Language": "fr"}
        ]  # fmt: skip
        for _ in range(2):
            answers = [site.get(headers=each) for each in sent]
            assert [each.text for each in answers] == ["run 1", "run 2", "run 3", "run 4"]
            assert {each.headers["Vary"].lower() for each in answers} == {"accept-language"}

    def test_a_part_is_not_asked_of_the_cache(self, site: Site) -> None:
        """Requests for ranges go to the view, and what they bring is not stored."""
        site.get("/")
        answer = site.get(headers={"Range": "bytes=0-1"})
        assert (answer.text, answer.headers["Cache-Status"]) == ("run 2", "twofold; fwd=bypass")
        assert site.get().text == "run 1"


class TestSessions:
    """One user's page, messages and cookie never reach another."""

    def touching(self, site: Site, touch: Callable[[], Any]) -> None:
        site.change = lambda response: response.set_data(f"{touch()!r} {site.runs}")

    @pytest.mark.parametrize(
        "touch",
        [
            lambda: session.get("user"),
            lambda: "user" in session,
            lambda: list(session),
            lambda: len(session),
            lambda: session.setdefault("seen", 1),
            lambda: session.update(user="ann"),
            lambda: flash("Welcome, Ann"),
            lambda: get_flashed_messages(),
        ],
        ids=["get", "in", "list", "len", "setdefault", "update", "flash", "messages"],
    )
    @pytest.mark.parametrize("public", [False, True], ids=["", "public"])
    def test_a_view_that_touches_the_session(
        self, make_site: MakeSite, touch: Callable[[], Any], public: bool
    ) -> None:
        """Its page is never stored, not even if it is called public."""
        site = make_site(public=public)
        self.touching(site, touch)
        assert site.visits(3) == 3

    def test_a_hook_that_reads_the_session_first(self, make_site: MakeSite) -> None:
        """What the view shows may come from a user that a hook has looked up: not stored."""
        site = make_site(public=True)

        @site.app.before_request
        def load_user() -> None:
            g.user = session.get("user", "nobody")

        site.change = lambda response: response.set_data(f"Hello {g.user}")

        @site.app.post("/login/<name>")
        def login(name: str) -> str:
            session["user"] = name
            return ""

        ann, ben = site.client(), site.client()
        ann.post("/login/ann")
        ben.post("/login/ben")
        clients = (ann, ben, site.client(), ann)
        texts = [each.get().text for each in clients]
        assert texts == ["Hello ann", "Hello ben", "Hello nobody", "Hello ann"]

    def test_messages_are_flashed_to_their_user_alone(self, make_site: MakeSite) -> None:
        """A message that a page shows is not in the page that another user gets."""
        site = make_site(public=True)
        self.touching(site, get_flashed_messages)

        @site.app.get("/do")
        def do() -> str:
            flash("your card ends in 4242")
            return ""

        ann, ben = site.client(), site.client()
        ann.get("/do")
        assert "4242" in ann.get().text
        assert "4242" not in ben.get().text
        assert "4242" not in ann.get().text

    def test_a_cookie_goes_to_its_user_alone(self, make_site: MakeSite) -> None:
        """A session that is renewed at each request is so at a hit too, for its user alone."""
        site = make_site(public=True)

        @site.app.get("/login")
        def login() -> str:
            session.permanent = True
            session["user"] = "ann"
            return ""

        ann, ben = site.client(), site.client()
        ann.get("/login")
        assert "session=" in ann.get().headers["Set-Cookie"]
        assert "Set-Cookie" not in ben.get().headers
        assert site.runs == 2  # ann's came with a cookie
        answer = ann.get("/")
        assert (answer.text, site.runs) == ("run 2", 2)
        assert "session=" in answer.headers["Set-Cookie"]
        assert "Set-Cookie" not in ben.get().headers
        assert site.get().text == "run 2"

    def test_a_hook_that_reads_the_session_last(self, make_site: MakeSite) -> None:
        """As Flask-Login does, once the view has returned: a public page is one for all yet."""
        site = make_site(public=True)
        site.has_hook(lambda response: session.get("_remember"))
        assert site.visits(2, headers={"Cookie": "a=1"}) == 1
        answer = site.get(headers={"Cookie": "a=2"})
        assert (answer.text, answer.headers["Vary"]) == ("run 1", "Cookie")

    def test_a_hook_that_reads_the_session_last_without_public(self, site: Site) -> None:
        """Else each cookie has its page, as the final `Vary` says."""
        site.has_hook(lambda response: session.get("_remember"))
        for _ in range(2):
            sent = [{"Cookie": "a=1"}, {"Cookie": "a=2"}, {}]
            texts = [site.get(headers=each).text for each in sent]
            assert texts == ["run 1", "run 2", "run 3"]

    def test_a_public_page_that_varies_with_the_cookie(self, make_site: MakeSite) -> None:
        """A view that says both is taken at its word."""
        site = make_site(public=True, vary="Cookie")
        sent = [{"Cookie": "a=1"}, {"Cookie": "a=2"}, {"Cookie": "a=1"}]
        texts = [site.get(headers=each).text for each in sent]
        assert texts == ["run 1", "run 2", "run 1"]


class TestAroundTheView:
    """What stands around a view runs for each request."""

    def test_a_hook_may_refuse(self, make_site: MakeSite) -> None:
        """A page that is stored is no way past `before_request`."""
        site = make_site(public=True)

        @site.app.before_request
        def refuse() -> None:
            if "X-Bad" in flask.request.headers:
                flask.abort(403)

        site.get("/")
        assert site.get(headers={"X-Bad": "1"}).status_code == 403

    def test_a_decorator_may_refuse(self, make_site: MakeSite) -> None:
        """Nor past a decorator above."""
        site = make_site()

        def admin_only(view: Any) -> Any:
            def guarded(**kwargs: Any) -> Any:
                return view(**kwargs) if flask.request.headers.get("X-Admin") else ("no", 403)

            return guarded

        page = site.caching.cached_page(public=True)(lambda: "secret")
        site.app.add_url_rule("/admin", "admin", admin_only(page))
        assert site.get("/admin", headers={"X-Admin": "1"}).text == "secret"
        assert site.get("/admin").status_code == 403
        assert site.get("/admin", headers={"X-Admin": "1"}).text == "secret"

    def test_hooks_run_at_a_hit(self, site: Site) -> None:
        """What `after_request` adds is each request's own, and is added once."""
        numbers = iter(range(9))
        site.has_hook(lambda response: response.headers.add("X-Request", str(next(numbers))))
        answers = [site.get("/") for _ in range(3)]
        assert [each.headers.getlist("X-Request") for each in answers] == [["0"], ["1"], ["2"]]
        assert site.runs == 1

    def test_a_hook_that_rewrites_the_body(self, make_site: MakeSite) -> None:
        """It is given the view's own body each time; tags are of what is sent."""
        site = make_site(public=True)

        def greet(response: flask.Response) -> None:
            name = flask.request.headers.get("X-Name")
            if name:
                response.set_data(f"{response.get_data(as_text=True)}, {name}")

        site.has_hook(greet)
        names = ["ann", "ben", ""]
        first = [site.get(headers={"X-Name": each}) for each in names]
        again = [site.get(headers={"X-Name": each}) for each in names]
        assert [each.text for each in again] == ["run 1, ann", "run 1, ben", "run 1"]
        tags = [each.headers["ETag"] for each in first]
        assert len(set(tags)) == 3
        assert [each.headers["ETag"] for each in again] == tags
        sent = {"X-Name": "ben", "If-None-Match": tags[0]}
        assert site.get(headers=sent).text == "run 1, ben"
        assert site.get(headers={**sent, "X-Name": "ann"}).status_code == 304

    def test_a_hook_that_replaces_the_body(self, site: Site) -> None:
        """The length is that of what is sent, at a hit too."""

        def replace(response: flask.Response) -> None:
            response.response = [b"what the hook has made of ", response.get_data()]

        site.app.add_url_rule(
            "/list", "list", site.caching.cached_page(lambda: flask.Response([b"it"]))
        )
        site.has_hook(replace)
        for _ in range(2):
            answer = site.get("/list")
            assert answer.text == "what the hook has made of it"
            assert answer.content_length == len(answer.data)

    def test_a_tag_of_the_view_stays(self, site: Site) -> None:
        """An `ETag` that the view sets is sent as it is."""
        site.change = lambda response: response.set_etag("v1")
        answers = [site.get("/") for _ in range(2)]
        assert [each.headers["ETag"] for each in answers] == ['"v1"'] * 2

    def test_a_tag_of_a_hook_stays(self, site: Site) -> None:
        """So is one that a hook gives to the body that it made, as one that compresses does."""

        def compress(response: flask.Response) -> None:
            response.set_etag(f"{response.get_etag()[0]}:short")
            response.set_data(b"short")

        site.has_hook(compress)
        site.get()
        tags = [site.get().headers["ETag"] for _ in range(2)]
        assert tags[0] == tags[1]
        assert tags[0].endswith(':short"')

    def test_a_view_that_is_given_more_than_its_url(self, site: Site) -> None:
        """What a decorator passes to a view may be one user's: such calls are not cached."""

        def with_user(view: Any) -> Any:
            return lambda: view(flask.request.headers["X-Token"])

        def named(view: Any) -> Any:
            return lambda: view(user=flask.request.headers["X-Token"])

        def mine(user: str) -> str:
            return f"Hello {user}"

        page = site.caching.cached_page(public=True)(mine)
        site.app.add_url_rule("/mine", "mine", with_user(page))
        site.app.add_url_rule("/named", "named", named(page))
        for where in ("/mine", "/named"):
            for user in ("ann", "ben"):
                answer = site.get(where, headers={"X-Token": user})
                assert answer.text == f"Hello {user}"

    def test_what_a_view_does_after_this_request_is_of_its_page(self, site: Site) -> None:
        """Fields that the view adds so are on a hit too; those of hooks are of the request."""
        numbers = iter(range(1, 9))

        @site.app.before_request
        def before() -> None:
            number = str(next(numbers))

            @after_this_request
            def after(response: flask.Response) -> flask.Response:
                response.headers.add("X-Number", number)
                return response

        def change(_response: flask.Response) -> None:
            @after_this_request
            def after(response: flask.Response) -> flask.Response:
                response.headers.add("X-Total", "3")
                return flask.make_response(response.get_data() + b"!", response.headers)

        site.change = change
        answers = [site.get("/") for _ in range(3)]
        assert [each.text for each in answers] == ["run 1!"] * 3
        assert [each.headers.getlist("X-Total") for each in answers] == [["3"]] * 3
        assert [each.headers.getlist("X-Number") for each in answers] == [["1"], ["2"], ["3"]]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("X-Number", "1"), ("Vary", "X-Lang"), ("Cache-Control", "max-age=60"), ("Link", "</a>")],
    )
    def test_what_a_hook_appends_is_there_once(self, site: Site, name: str, value: str) -> None:
        """A hook runs on a stored page as on a new one, and finds there what the view made."""
        site.has_hook(adds(name, value))
        answers = [site.get("/") for _ in range(3)]
        assert [each.headers.getlist(name) for each in answers] == [[value]] * 3
        assert [each.headers.getlist("Cache-Status")[0][:12] for each in answers[1:]] == [
            "twofold; hit"
        ] * 2

    def test_a_hit_that_fails_says_nothing_of_the_cache(self, site: Site) -> None:
        """What answers in the place of a stored page has neither its age nor its tag."""
        statuses = iter((200, 503))

        def refuse(response: flask.Response) -> None:
            response.status_code = next(statuses)

        site.has_hook(refuse)
        site.get("/")
        answer = site.get("/")
        assert not {"Age", "Cache-Status", "ETag"} & set(answer.headers.keys())

    def test_views_that_call_views(self, site: Site) -> None:
        """At one URL one view's page is not another's, and the outer one's is stored."""
        chosen = ["one"]
        runs = []

        @site.caching.cached_page
        def one() -> str:
            return "one"

        @site.caching.cached_page
        def two() -> str:
            return "two"

        @site.app.get("/chosen")
        def choose() -> flask.Response:
            return one() if chosen[0] == "one" else two()

        @site.app.get("/outer")
        @site.caching.cached_page
        def outer() -> str:
            runs.append(1)
            return f"outer {one().get_data(as_text=True)}"

        for name in ("one", "one", "two", "one", "two"):
            chosen[0] = name
            assert site.get("/chosen").text == name
        assert [site.get("/outer").text for _ in range(2)] == ["outer one"] * 2
        assert len(runs) == 1

    def test_a_stream_passes_through(self, site: Site) -> None:
        """It is neither stored nor read before the server reads it."""
        made = []

        @site.app.get("/stream")
        @site.caching.cached_page(public=True)
        def stream() -> Iterator[str]:
            for number in range(3):
                made.append(number)
                yield f"{number} "

        for _ in range(2):
            made.clear()
            answer = site.get("/stream", buffered=False)
            chunks = iter(answer.response)
            assert (next(chunks), made) == (b"0 ", [0])
            assert b"".join(chunks) == b"1 2 "
            answer.close()

    def test_a_file_passes_through(self, site: Site, tmp_path: Any) -> None:
        """`send_file` sends the file, and its own 304."""
        (tmp_path / "a.txt").write_text("a")
        site.app.add_url_rule(
            "/file",
            "file",
            site.caching.cached_page(lambda: flask.send_file(tmp_path / "a.txt")),
        )
        for _ in range(2):
            answer = site.get("/file")
            assert answer.text == "a"
            answer.close()
        sent = {"If-None-Match": answer.headers["ETag"]}
        answer = site.get("/file", headers=sent)
        assert answer.status_code == 304
        answer.close()


class TestTogether:
    """Many who ask at once, and what goes wrong meanwhile."""

    def test_a_page_is_computed_by_one(self, site: Site) -> None:
        """Eight clients that miss a page together have it computed once."""
        waiting, go = threading.Barrier(8), threading.Event()
        site.change = lambda response: go.wait(5)

        def ask(_: int) -> str:
            waiting.wait(5)
            return site.get().text

        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(ask, range(8))
            eventually(lambda: site.runs == 1, "the view runs")
            go.set()
            assert list(answers) == ["run 1"] * 8
        assert site.runs == 1

    def test_a_page_for_one_is_computed_side_by_side(self, site: Site) -> None:
        """Where nothing may be shared nobody waits, once that is known."""
        site.has_hook(adds("Cache-Control", "private"))
        site.visits(1)
        together = threading.Barrier(4)
        site.change = lambda response: together.wait(10)
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda _: site.get().status_code == 200, range(4)))

    @pytest.mark.parametrize("where", ["view", "hook", "return"])
    @pytest.mark.parametrize("testing", [False, True])
    def test_an_error_holds_nobody_up(self, site: Site, where: str, testing: bool) -> None:
        """After a view or a hook has failed, the next request computes at once."""
        site.app.testing = testing
        failing = [True]

        def fail(_response: flask.Response) -> None:
            if failing[0]:
                raise ZeroDivisionError

        if where == "view":
            site.change = fail
        elif where == "hook":
            site.has_hook(fail)
        else:
            site.app.add_url_rule("/none", "none", site.caching.cached_page(lambda: None))
        url = "/none" if where == "return" else "/"
        for _ in range(2):
            if testing:
                with pytest.raises((ZeroDivisionError, TypeError)):
                    site.get(url)
            else:
                assert site.get(url).status_code == 500
        if where != "return":
            runs, failing[0] = site.runs, False
            site.change = lambda response: time.sleep(0.05)
            assert self.ask_together(site) == {f"run {runs + 1}"}

    def ask_together(self, site: Site) -> set[str]:
        """Return what clients are told in threads of their own, and without a wait."""
        with ThreadPoolExecutor(4) as pool:
            site.app.testing = False
            asked = [pool.submit(site.get) for _ in range(4)]
            return {each.result(timeout=10).text for each in asked}

    def test_an_outage_costs_the_cache_alone(
        self, make_site: MakeSite, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Pages, fragments and functions go on without the server; each is logged once."""
        site = make_site(own_redis.url)

        @cached(cache=site.caching.cache)
        def number() -> int:
            return 7

        @site.app.get("/all")
        @site.caching.cached_page
        def everything() -> str:
            return flask.render_template_string(
                "{% cache 'a' %}fragment{% endcache %} {{ number() }}", number=number
            )

        assert site.get("/all").text == "fragment 7"
        own_redis.kill()
        with caplog.at_level(logging.WARNING, "twofold"):
            for _ in range(3):
                assert site.get("/all").text == "fragment 7"
                assert site.client().post("/all").status_code == 405
        assert len(caplog.records) == 2
        own_redis.start()

        def is_back() -> bool:
            return "hit" in site.get("/all").headers["Cache-Status"]

        eventually(is_back, "pages are stored again")


class TestFragments:
    """`{% cache %}` in templates."""

    def render(self, site: Site, text: str, **names: Any) -> str:
        with site.app.test_request_context():
            return flask.render_template_string(text, **names)

    def test_a_fragment_is_rendered_once(self, site: Site) -> None:
        """Its name and what it varies with tell it apart."""
        text = "{% cache 'a', 60, x, y %}{{ run() }}{% endcache %}"
        runs = iter(range(99))
        seen = {}
        pairs: list[tuple[Any, Any]] = [(1, 2), ("1", 2), (True, 2), ("", None), ([1], 2), (2, 1)]
        for x, y in pairs * 2:
            shown = self.render(site, text, run=lambda: next(runs), x=x, y=y)
            assert seen.setdefault(repr((x, y)), shown) == shown
        assert len(set(seen.values())) == len(pairs)

    @pytest.mark.parametrize("stale", ["", ", stale='1h'"])
    def test_flashed_messages_are_of_one_visitor(self, site: Site, stale: str) -> None:
        """A fragment that shows some is not kept; one that finds none is."""
        site.app.secret_key = "of the tests"
        text = "{% cache 'top', 60" + stale + " %}{{ get_flashed_messages()|join }}!{% endcache %}"

        def shown(*messages: str) -> str:
            with site.app.test_request_context():
                for each in messages:
                    flash(each)
                return render_template_string(text)

        assert [shown("to ann"), shown("to ben"), shown(), shown()] == [
            "to ann!",
            "to ben!",
            "!",
            "!",
        ]

    def test_lists_of_values_do_not_run_together(self, site: Site) -> None:
        """["a:b", "c"] is not ["a", "b:c"], nor any other way to cut the same text."""
        text = "{% cache 'a', 60, x, y %}{{ x|safe }}|{{ y|safe }}{% endcache %}"
        pairs = [("a:b", "c"), ("a", "b:c"), ("a,b", "c"), ("a','b", "c"), ("a", "b','c")]
        for x, y in pairs * 2:
            assert self.render(site, text, x=x, y=y) == f"{x}|{y}"
        named = ["{% cache 'a', 60, 'b' %}1{% endcache %}", "{% cache \"a'('b'\" %}2{% endcache %}"]
        assert [self.render(site, each) for each in named] == ["1", "2"]

    def test_what_is_escaped_is_so_once(self, site: Site) -> None:
        """At a miss and at a hit, within a block whose result is used again, and beside it."""
        text = "{% set s %}{% cache 'a' %}<b>{{ x }}</b>{% endcache %}{% endset %}{{ s }}{{ x }}"
        for _ in range(2):
            assert self.render(site, text, x="<i>") == "<b>&lt;i&gt;</b>&lt;i&gt;"

    def test_plain_text_does_not_become_html(self, site: Site) -> None:
        """A fragment that was rendered without escapes is not what a page with them is given."""
        plain = "{% autoescape false %}{% cache 'a' %}{{ x }}{% endcache %}{% endautoescape %}"
        escaped = "{% cache 'a' %}{{ x }}{% endcache %}"
        for _ in range(2):
            assert self.render(site, plain, x="<i>") == "<i>"
            assert self.render(site, escaped, x="<i>") == "&lt;i&gt;"

    def test_what_cannot_tell_fragments_apart_is_refused(self, site: Site) -> None:
        """A name that the template was not given, or a bare object, is no identity."""
        text = "{% cache 'a', 60, user %}{% endcache %}"
        with pytest.raises(UnstableArgument, match=r"'a' depends on .*: 'user' is undefined"):
            self.render(site, text)
        for missing in ("user.name", "user['name']", "1 if false"):
            of_it = f"{{% cache 'a', 60, {missing} %}}{{% endcache %}}"
            with pytest.raises(UnstableArgument, match=r"no attribute 'name'|no else section"):
                self.render(site, of_it, user={})
        with pytest.raises(UnstableArgument, match="its id"):
            self.render(site, text, user=object())
        with pytest.raises(UnstableArgument, match="is text, not 3"):
            self.render(site, "{% cache 3 %}{% endcache %}")
        with pytest.raises(SettingsError, match=r"a tag is text .*not a Undefined$"):
            self.render(site, "{% cache 'a', 60, tags=[user] %}{% endcache %}")

    def test_a_proxy_stands_for_its_object(self, site: Site) -> None:
        """`current_user` and the like count as what they stand for."""
        text = "{% cache 'a', 60, user %}{{ user }}{% endcache %}"
        for name in ("ann", "ben", "ann"):
            assert self.render(site, text, user=LocalProxy(lambda name=name: name)) == name

    def test_a_fragment_is_deleted(self, site: Site) -> None:
        """By its name and values, from Python."""
        text = "{% cache 'a', 60, 1 %}{{ x }}{% endcache %}"
        assert self.render(site, text, x=1) == "1"
        with site.app.app_context():
            assert site.caching.delete_fragment("a", 1)
            assert not site.caching.delete_fragment("a", 1)
        assert self.render(site, text, x=2) == "2"

    @pytest.mark.parametrize(
        ("timeout", "lives"), [("'2m'", 120), ("90", 90), ("none", None), ("", 300)]
    )
    def test_a_fragment_lives_for_its_timeout(
        self, site: Site, timeout: str, lives: float | None
    ) -> None:
        """A number, text, none for ever; the cache's own without one."""
        self.render(site, f"{{% cache 'a'{timeout and ', '}{timeout} %}}{{% endcache %}}")
        with site.app.app_context():
            left = site.caching.cache.ttl("fragment:'a'()")
        assert left is lives or lives - 5 < left <= lives

    def test_a_fragment_is_rendered_by_one(self, site: Site) -> None:
        """Eight threads that miss it together have it rendered once."""
        waiting, go, runs = threading.Barrier(8), threading.Event(), []

        def run() -> str:
            runs.append(1)
            go.wait(5)
            return f"run {len(runs)}"

        def ask(_: int) -> str:
            waiting.wait(5)
            return self.render(site, "{% cache 'a' %}{{ run() }}{% endcache %}", run=run)

        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(ask, range(8))
            eventually(lambda: len(runs) == 1, "it is rendered")
            go.set()
            assert list(answers) == ["run 1"] * 8

    def test_an_error_in_a_fragment_is_the_templates(self, site: Site) -> None:
        """It is raised, and nothing is stored."""
        text = "{% cache 'a' %}{{ 1 / x }}{% endcache %}"
        with pytest.raises(ZeroDivisionError):
            self.render(site, text, x=0)
        assert self.render(site, text, x=1) == "1.0"

    def test_a_fragment_in_an_async_view(
        self, site: Site, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A store that would block the loop is not asked: logged once, and the page is there."""

        @site.app.get("/async")
        async def view() -> str:
            return flask.render_template_string("{% cache 'a' %}fragment{% endcache %}")

        with caplog.at_level(logging.WARNING, "twofold"):
            assert [site.get("/async").text for _ in range(3)] == ["fragment"] * 3
        assert len(caplog.records) == (0 if url.startswith("memory") else 1)
        assert all("to_thread(render_template, ...)" in each for each in caplog.messages)

    def test_what_blocks_inside_a_fragment_is_an_error(self, site: Site) -> None:
        """A blocking call of the template's own is not taken for ours, and not tried twice."""
        runs = []

        def blocks() -> None:
            runs.append(1)
            raise twofold.BlockingCallInEventLoop("its own")

        with pytest.raises(twofold.BlockingCallInEventLoop, match="its own"):
            self.render(site, "{% cache 'a' %}{{ blocks() }}{% endcache %}", blocks=blocks)
        assert len(runs) == 1

    def test_async_templates_are_refused(self, memory_url: str) -> None:
        """The tag renders in sync templates, and says so."""
        app = Flask("site")
        app.jinja_options = {"enable_async": True}
        app.config["CACHES"] = memory_url
        with pytest.raises(SettingsError, match="enable_async"):
            Caching(app)


class TestBehindRequests:
    """What is computed in a thread behind a request."""

    def test_it_has_an_application_context_of_its_own(self, memory_url: str) -> None:
        """With a `g` of its own; and nothing of the request, which may have ended before."""
        caching, app = Caching(), Flask("site")
        app.config["CACHES"] = memory_url
        caching.init_app(app)
        seen, torn, may_end = [], [], threading.Event()

        @app.teardown_appcontext
        def tear_application(_: BaseException | None) -> None:
            torn.append(("application", g.get("of"), threading.current_thread().name))

        @app.teardown_request
        def tear_request(_: BaseException | None) -> None:
            torn.append(("request", g.get("of"), threading.current_thread().name))

        def compute() -> str:
            assert may_end.wait(10)
            seen.append((flask.current_app.name, flask.has_request_context(), g.get("of")))
            with pytest.raises(RuntimeError, match="outside of request context"):
                flask.request.path  # noqa: B018
            g.of = "the work"
            return "new"

        @app.get("/")
        def view() -> str:
            g.of = "the request"
            return str(caching.cache.get_or_set("k", compute, stale=60))

        with app.app_context():
            caching.cache.set("k", "old", stale=60)
            caching.cache.mark_stale("k")
        torn.clear()
        assert app.test_client().get("/").text == "old"
        me = threading.current_thread().name
        ended = [("request", "the request", me), ("application", "the request", me)]
        assert torn == ended
        may_end.set()
        caching.close()
        assert seen == [("site", False, None)]
        assert torn == [*ended, ("application", "the work", "twofold-background")]
        with app.app_context():
            assert caching.cache.get("k") == "new"
        caching.close()

    def test_without_an_application_there_is_none(self, memory_url: str) -> None:
        """A script's refresh runs as it is, in a process that has an application, too."""
        seen: list[bool] = []
        cache = twofold.Cache(memory_url)
        cache.set("k", "old", stale=60)
        cache.mark_stale("k")
        assert cache.get_or_set("k", lambda: seen.append(flask.has_app_context()), stale=60)
        cache.close()
        assert seen == [False]

    def test_one_request_does_without_the_cache(self, site: Site) -> None:
        """What middleware decides holds in the view, and in its template."""
        runs = iter(range(99))

        @site.app.get("/both")
        def both() -> str:
            value = site.caching.cache.get_or_set("value", lambda: str(next(runs)))
            text = "{% cache 'a' %}{{ run }}{% endcache %} " + value
            return flask.render_template_string(text, run=next(runs))

        plain = site.app.wsgi_app

        def overriding(environ: Any, start: Any) -> Any:
            scope = {"no-store": twofold.bypass, "no-cache": twofold.refreshing}.get(
                environ.get("HTTP_CACHE_CONTROL", "")
            )
            if scope is None:
                return plain(environ, start)
            with scope():
                return plain(environ, start)

        site.app.wsgi_app = overriding  # type: ignore[method-assign]

        def ask(control: str = "") -> list[str]:
            return site.get("/both", headers={"cache-control": control}).text.split()

        stored = ask()
        assert ask() == stored
        assert set(ask("no-store")).isdisjoint(stored)
        assert ask() == stored
        renewed = ask("no-cache")
        assert set(renewed).isdisjoint(stored)
        assert ask() == renewed


class TestSettings:
    """Which caches an application has."""

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{token_hex(8)}"

    def test_the_one_application_and_its_process(self, site: Site) -> None:
        """`twofold.cache` and `@cached` use the caches that the application names."""

        @cached
        def double(x: int) -> int:
            return 2 * x

        double(4)
        with site.app.app_context():
            assert site.caching.cache.get(double.key(4)) == 8
            site.caching.cache.set("a", 1)
            assert "a" in site.caching.cache
            assert site.caching.caches["default"] is twofold.caches["default"]
        assert twofold.cache.get("a") == 1

    def test_a_second_application_has_its_own(self, site: Site, make_site: MakeSite) -> None:
        """Their pages, fragments and entries do not meet, and the process keeps the first's."""
        other = make_site(f"memory://{token_hex(8)}")

        @cached(cache=other.caching.cache)
        def double(x: int) -> int:
            return 2 * x

        for each, value in ((site, 1), (other, 2)):
            with each.app.app_context():
                each.caching.cache.set("a", value)
        with other.app.app_context():
            double(2)
            assert other.caching.cache.get("a") == 2
            assert other.caching.cache.get(double.key(2)) == 4
        assert twofold.cache.get("a") == 1
        assert site.get().text == "run 1"
        other.runs = 5
        assert other.get().text == "run 6"

    def test_a_second_application_with_the_same_settings(
        self, site: Site, make_site: MakeSite
    ) -> None:
        """They share their caches: a factory may be called twice."""
        other = make_site(site.app.config["CACHES"]["default"])
        with other.app.app_context():
            assert other.caching.caches is twofold.caches

    def test_one_extension_for_two_applications(self) -> None:
        """What it leads to is the current application's."""
        caching = Caching()
        apps = [Flask("one"), Flask("two")]
        for app in apps:
            app.config["CACHES"] = f"memory://{token_hex(8)}"
            caching.init_app(app)
            with app.app_context():
                caching.cache.set("name", app.name)
        for app in apps:
            with app.app_context():
                assert caching.cache.get("name") == app.name
        caching.close()

    def test_after_close_the_next_one_may_come(self, make_site: MakeSite, url: str) -> None:
        """An application that is closed does not hold the settings of the process."""
        first = make_site(url)
        first.caching.close()
        second = make_site(f"memory://{token_hex(8)}")
        with second.app.app_context():
            assert second.caching.caches is twofold.caches

    def test_settings_that_were_replaced(self, make_site: MakeSite, url: str) -> None:
        """Where a test had other settings for a while, the same `CACHES` are set again."""
        with twofold.caches.override("dummy://"):
            make_site(url)
        second = make_site(url)
        with second.app.app_context():
            assert second.caching.caches is twofold.caches
        assert url.removeprefix("memory://") in str(twofold.caches["default"].backend.location)

    def test_without_caches_the_process_decides(self, url: str) -> None:
        """An application that names none uses what is configured, or in the environment."""
        caching, app = Caching(), Flask("site")
        caching.init_app(app)
        with twofold.caches.override(url), app.app_context():
            caching.cache.set("a", 1)
            assert twofold.cache.get("a") == 1

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"default": {"BACKEND": "memmory"}}, "memory"),
            ({"default": {"BACKEND": "memory", "TIMEUOT": 1}}, "TIMEOUT"),
            ({"default": {"BACKEND": "memory", "OPTIONS": {"max_entires": 1}}}, "max_entries"),
            ({}, "not an empty dict"),
            ("redis:/x", "no URL"),
            (3, "CACHES must be a dict such as"),
        ],
    )
    def test_wrong_settings(self, wrong: Any, says: str) -> None:
        """They are refused by `init_app`, with the right name."""
        app = Flask("site")
        app.config["CACHES"] = wrong
        with pytest.raises(SettingsError, match=says):
            Caching(app)

    def test_an_application_is_given_once(self, site: Site) -> None:
        """A second `init_app` is a mistake."""
        with pytest.raises(SettingsError, match="init_app once"):
            Caching(site.app)

    def test_an_application_that_was_not_given(self, site: Site) -> None:
        """The error names what was forgotten."""
        caching, app = Caching(), Flask("site")
        with app.app_context(), pytest.raises(SettingsError, match="init_app"):
            caching.cache.get("a")
        with site.app.app_context(), pytest.raises(SettingsError, match="init_app"):
            caching.cache.get("a")

    def test_what_is_shown(self, site: Site) -> None:
        """Every object says what it is."""
        assert repr(site.caching) == "<Caching of 1 applications>"
        assert "of the process" in repr(site.app.extensions["twofold"])
        assert "default" in repr(site.caching.cache)
        assert repr(site.caching.cached_page(vary="Origin")) == (
            "cached_page(timeout=DEFAULT_TIMEOUT, vary=('Origin',), public=False)"
        )


class TestServers:
    """The same behind gunicorn: workers that were forked, with threads."""

    def serve(self, folder: Path, url: str, *options: str) -> WebServer:
        command = ["gunicorn", "tests.flask_site:app", "--bind", "127.0.0.1:{port}", *options]
        return WebServer(folder / "web", command, environment={"SITE_CACHE": url})

    @pytest.mark.parametrize("kind", ["redis", "memcached"])
    def test_workers_share_pages(
        self, kind: str, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        """A page is computed by one worker, though the cache was used before the fork."""
        server: RedisServer | MemcachedServer = request.getfixturevalue(f"{kind}_server")
        url = server.url if isinstance(server, RedisServer) else f"memcached://{server.address}"
        options = ("--preload", "--workers", "2", "--threads", "4")
        with self.serve(tmp_path, url, *options) as web:
            assert web.get("/").body == b"there"
            numbers = [number % 100 for number in range(400)]
            answers = web.get_all([f"/own/{number}" for number in numbers], 8)
            pages = dict(zip(numbers, (each.body.decode() for each in answers), strict=True))
            told = [each.body.decode() for each in answers]
            assert [each.rsplit(" ", 1)[0] for each in told] == [
                f"mine {number} {2 * number}" for number in numbers
            ]
            again = web.get_all([f"/own/{number}" for number in range(100)], 8)
            assert [each.body.decode() for each in again] == [pages[n] for n in range(100)]
            fresh = iter(range(1000, 9000))

            def both_have_computed() -> bool:
                wheres = [f"/own/{next(fresh)}" for _ in range(20)]
                return len({each.body.split()[-1] for each in web.get_all(wheres, 10)}) == 2

            eventually(both_have_computed, "each of the two workers takes its part")
            web.stop()

    def test_no_request_makes_a_connection(self, redis_server: RedisServer, tmp_path: Path) -> None:
        """Threads share the connections of their process, at async views too."""
        with self.serve(tmp_path, redis_server.url, "--threads", "4") as web:
            web.get_all([f"/async/{number}" for number in range(20)], 4)
            before = int(redis_server.info("stats")["total_connections_received"])
            first = web.get_all([f"/async/{number}" for number in range(200)], 8)
            second = web.get_all([f"/async/{number}" for number in range(200)], 8)
            assert [each.body for each in first] == [each.body for each in second]
            opened = int(redis_server.info("stats")["total_connections_received"]) - before
            assert opened <= 8
            web.stop()

    def test_a_stream_is_not_held_back(self, tmp_path: Path) -> None:
        """Its first half is there before the view makes the second."""
        with self.serve(tmp_path, "memory://", "--threads", "4") as web:
            with closing(HTTPConnection(web.host, web.port, timeout=10)) as connection:
                connection.request("GET", "/stream")
                response = connection.getresponse()
                assert response.read(6) == b"first "
                with closing(HTTPConnection(web.host, web.port, timeout=10)) as other:
                    other.request("POST", "/stream/read")
                    assert other.getresponse().status == 200
                assert response.read() == b"second"
            web.stop()

    def test_a_client_that_goes_leaves_nothing(self, tmp_path: Path) -> None:
        """The stream that it was reading is not stored, and nobody waits for it."""
        with self.serve(tmp_path, "memory://", "--threads", "4") as web:
            with closing(HTTPConnection(web.host, web.port, timeout=10)) as connection:
                connection.request("GET", "/stream")
                assert connection.getresponse().read(6) == b"first "
            with closing(HTTPConnection(web.host, web.port, timeout=10)) as other:
                other.request("POST", "/stream/read")
                assert other.getresponse().status == 200
            answer = web.get("/stream")
            assert (answer.body, answer.headers["cache-status"]) == (
                b"first second",
                "twofold; fwd=miss",
            )
            web.stop()


@pytest.mark.parametrize("meant", [False, True], ids=["above its route", "served both ways"])
def test_a_page_above_its_route_is_told_of(meant: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Flask has the plain function then, and never calls the one with pages."""
    app = Flask("site")
    caching = Caching(app)

    def front() -> str:
        return "Welcome"

    page = caching.cached_page(app.get("/")(front))
    if meant:
        app.add_url_rule("/kept", "kept", page)
    answers = [app.test_client().get("/") for _ in range(2)]
    assert [each.text for each in answers] == ["Welcome"] * 2
    caching.close()
    told = [each for each in caplog.messages if "front() is served without" in each]
    assert len(told) == (not meant)
