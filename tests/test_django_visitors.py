"""Pages in Django that were made for one visitor, by whatever Django knows visitors."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from tests import django_project

django_project.configure()

from django.contrib import messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.backends.django import DjangoTemplates
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject

from twofold import refreshing
from twofold.contrib.django import cache_page

MEMORY = {"BACKEND": "twofold.contrib.django.MemoryCache", "LOCATION": "visitors"}

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


class User:
    """Whom a token, or a session, stands for."""

    def __init__(self, name: str | None) -> None:
        self.name = name or "nobody"
        self.is_authenticated = name is not None


def find_user(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Look the user of a token, else of the session, up when somebody asks."""

    def middleware(request: HttpRequest) -> HttpResponse:
        def user() -> User:
            return User(request.headers.get("X-Token") or request.session.get("_auth_user_id"))

        request.user = SimpleLazyObject(user)  # type: ignore[assignment]
        return get_response(request)

    return middleware


def begin(request: HttpRequest) -> HttpResponse:
    """Have a session, in which somebody is logged in, and a message that waits."""
    request.session.update({"_auth_user_id": request.GET["name"], "seen": 0})
    messages.info(request, f"Welcome, {request.GET['name']}")
    return HttpResponse("begun")


def of_session(request: HttpRequest) -> str:
    return str(request.session.get("_auth_user_id", "nobody"))


def of_user(request: HttpRequest) -> str:
    return str(request.user.name)  # type: ignore[union-attr]


def counted(request: HttpRequest) -> str:
    request.session["seen"] = request.session.get("seen", 0) + 1
    return f"{of_session(request)} {request.session['seen']}"


def told(request: HttpRequest) -> str:
    return "".join(str(each) for each in messages.get_messages(request))


def telling(request: HttpRequest) -> str:
    messages.info(request, request.headers.get("X-Token", ""))
    return "told on the next page"


def cookie(request: HttpRequest) -> str:
    return "with a cookie"


def token(request: HttpRequest) -> str:
    get_token(request)
    return str(request.META["CSRF_COOKIE"])


runs: list[str] = []


def view(answer: Callable[[HttpRequest], str], is_async: bool) -> Callable[..., Any]:
    """Return a view of what `answer` tells."""

    def sync(request: HttpRequest) -> HttpResponse:
        runs.append(request.path)
        response = HttpResponse(answer(request))
        if answer is cookie:
            response.set_cookie("visitor", request.headers.get("X-Token", ""))
        return response

    async def asynchronous(request: HttpRequest) -> HttpResponse:
        return sync(request)

    return asynchronous if is_async else sync


PAGES = [of_session, of_user, counted, told, telling, cookie, token]

urlpatterns = [path("begin", begin)]
for face, is_async in (("sync", False), ("async", True)):
    for each in PAGES:
        bare = view(each, is_async)
        urlpatterns.append(path(f"{face}/pair/{each.__name__}", bare))
        urlpatterns.append(path(f"{face}/decorator/{each.__name__}", cache_page(60)(bare)))


@pytest.fixture(params=["decorator", "pair"])
def around(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have a site whose pages are cached by the decorator, or by the pair of middlewares."""
    inside = [SESSIONS, CSRF, MESSAGES, f"{__name__}.find_user"]
    pair = [f"twofold.contrib.django.{each}CacheMiddleware" for each in ("Update", "FetchFrom")]
    with override_settings(
        CACHES={"default": MEMORY},
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=inside if request.param == "decorator" else [pair[0], *inside, pair[1]],
    ):
        caches["default"].clear()
        runs.clear()
        yield request.param
        caches["default"].clear()


def visitor(name: str | None) -> Client:
    """Return a client with a session of that name, or without any."""
    client = Client()
    if name is not None:
        client.get("/begin", {"name": name})
    return client


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_visitors_never_cross(around: str, page: Callable[..., Any], face: str) -> None:
    """Nobody is given what another was: name, count, message, cookie or token."""
    where = f"/{face}/{around}/{page.__name__}"
    given = {}
    for name in ("ann", "ben", None):
        answer = visitor(name).get(where, headers={} if name is None else {"X-Token": name})
        given[name] = (answer.content, answer.cookies.output())
    expected = {
        of_session: {"ann": b"ann", "ben": b"ben", None: b"nobody"},
        of_user: {"ann": b"ann", "ben": b"ben", None: b"nobody"},
        counted: {"ann": b"ann 1", "ben": b"ben 1", None: b"nobody 1"},
        told: {"ann": b"Welcome, ann", "ben": b"Welcome, ben", None: b""},
    }
    if page in expected:
        assert {name: body for name, (body, _) in given.items()} == expected[page]
    else:
        assert len(set(given.values())) == 3
    assert len(runs) == 3


@pytest.mark.parametrize("face", ["sync", "async"])
def test_each_session_has_a_page(around: str, face: str) -> None:
    """One that was only read is no reason not to store the page: it is kept for each cookie."""
    clients = [visitor("ann"), visitor("ben"), visitor(None)]
    for _ in range(2):
        answers = [each.get(f"/{face}/{around}/of_session") for each in clients]
        assert [each.content for each in answers] == [b"ann", b"ben", b"nobody"]
        assert {each["Vary"] for each in answers} == {"Cookie"}
    assert len(runs) == 3


def test_a_user_of_a_session_is_known_by_that(around: str) -> None:
    """So each has a stored page, though the user is looked up when the view asks."""
    ann, nobody = visitor("ann"), visitor(None)
    for _ in range(2):
        assert ann.get(f"/sync/{around}/of_user").content == b"ann"
        assert nobody.get(f"/sync/{around}/of_user").content == b"nobody"
    assert len(runs) == 2


def test_a_token_counts_though_a_session_was_read(around: str) -> None:
    """Two users without cookies are told apart by what nobody names: neither's page is kept."""
    for name in ("ann", "ben", "ann"):
        answer = Client().get(f"/sync/{around}/of_user", headers={"X-Token": name})
        assert answer.content.decode() == name
    assert len(runs) == 3


def test_no_messages_are_no_message(around: str) -> None:
    """A template that shows messages is stored where there are none."""
    for _ in range(2):
        assert visitor(None).get(f"/sync/{around}/told").content == b""
    assert len(runs) == 1


@pytest.mark.parametrize(
    "block", ["{% csrf_token %}", "{% for m in messages %}{{ m }}{% endfor %}"]
)
@pytest.mark.parametrize("tag", ["{% cache 60 form %}", "{% cache 60 form stale='1h' %}"])
@pytest.mark.parametrize("override", [nullcontext, refreshing])
@pytest.mark.parametrize("above", ["", "{% csrf_token %}"])
def test_fragments_with_what_is_for_one_are_not_kept(
    around: str, tag: str, block: str, override: Callable[[], Any], above: str
) -> None:
    """A form is sent with its visitor's token, and a message is shown to whom it was for."""
    engine = DjangoTemplates({"NAME": "t", "DIRS": [], "APP_DIRS": False, "OPTIONS": {}})
    template = engine.from_string(f"{{% load twofold %}}{above}#{tag}{block}{{% endcache %}}")

    def shown(name: str) -> tuple[str, bool]:
        request = RequestFactory().get("/")
        request._messages = CookieStorage(request)  # type: ignore[attr-defined]
        messages.info(request, name)
        list_of = messages.get_messages(request)
        with override():
            text = template.render({"messages": list_of}, request)
        return text.rpartition("#")[2], bool(request.META.get("CSRF_COOKIE_NEEDS_UPDATE"))

    told = [shown(name) for name in ("ann", "ben", "ann")]
    assert len({text for text, _ in told}) == (3 if "csrf" in block else 2)
    assert {has_token for _, has_token in told} == {"csrf" in above + block}
