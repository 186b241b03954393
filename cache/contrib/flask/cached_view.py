"""One request at a cached view, from the look for its page until the application has answered.

What the view returned is stored, and replayed in its place: see `replay`. The final response,
which tells whether it may be, is known when all hooks have run and the session is saved.

A page is never stored if the session was touched before the view returned: then nobody
knows who else may be given it.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

import flask
from flask.globals import request_ctx

from twofold.contrib.flask.content import has_content
from twofold.contrib.flask.messages import flask_response, put, request_of, response_of
from twofold.contrib.http import (
    Exchange,
    Given,
    Headers,
    Pages,
    Request,
    Response,
    add_public,
    add_vary,
)
from twofold.contrib.http.headers import Pairs, varying
from twofold.contrib.http.replay import looking, page_of, replay_of, tagged
from twofold.contrib.http.validators import not_modified
from twofold.effects import BLOCKING, run_sync
from twofold.errors import InvalidKey
from twofold.timeouts import Timeout

_AT_REQUEST = "_twofold_cached_view"


class Choices(NamedTuple):
    """What is chosen for the pages of one view; see `Caching.cached_page`."""

    timeout: Timeout
    vary: tuple[str, ...]
    public: bool
    unless: Callable[[], bool] | None
    forced_update: Callable[[], bool] | None
    response_filter: Callable[[flask.Response], bool] | None
    make_cache_key: Callable[..., str] | None
    tags: tuple[str, ...] | Callable[[flask.Response], Iterable[str]]


class CachedView:
    """Stands between a view and the end of its request.

    Args:
        pages: where the page is.
        view: the name of the view.
        choices: what is chosen for its pages.
        arguments: of the view, by name.
        tags: of the page; none that are known, if a function is to tell them.
    """

    def __init__(
        self,
        pages: Pages,
        view: str,
        choices: Choices,
        arguments: dict[str, Any],
        tags: tuple[str, ...] = (),
    ) -> None:
        self._pages = pages
        self._view = view
        self._choices = choices
        self._tags: Given = self._told_tags if callable(choices.tags) else tags
        self._request = request_of(flask.request)._replace(has_content=has_content(flask.request))
        if choices.make_cache_key is not None:
            self._request = with_key(self._request, choices.make_cache_key(**arguments))
        self._exchange: Exchange | None = None
        self._given: Response | None = None
        self._told: Pairs = ()
        self._tag = ""  # of what is given, if that is stored and had none
        self._unfit = False  # to be stored
        self._registered = len(request_ctx._after_request_functions)
        vars(flask.request)[_AT_REQUEST] = self

    def __repr__(self) -> str:
        return f"<CachedView of {self._view} {self._exchange!r}>"

    @staticmethod
    def current() -> "CachedView | None":
        """Return the cached view that the current request is at, if there is one."""
        return vars(flask.request).get(_AT_REQUEST)

    def open(self) -> flask.Response | None:
        """Return the stored page, if there is one and it may be served."""
        forced = self._choices.forced_update
        if forced is not None and forced():
            run_sync(self._pages.remove(BLOCKING, self._request, "endpoint"))
        asked, timeout = looking(self._request), self._choices.timeout
        self._exchange = run_sync(
            self._pages.open(BLOCKING, asked, timeout, "endpoint", self._tags)
        )
        answer = self._exchange.answer
        if answer is None:
            return None
        maker, made, told, tag = replay_of(answer)
        if maker != self._view:
            return flask_response(answer) if answer.status == 504 else None
        self._given, self._told, self._tag = made, told, tag
        return flask_response(made._replace(headers=made.headers.without("content-length")))

    def take(self, response: flask.Response) -> flask.Response:
        """Keep what the view returned, with what it had done to its response, and return that."""
        registered = request_ctx._after_request_functions
        while len(registered) > self._registered:
            after = flask.current_app.ensure_sync(registered.pop(self._registered))
            response = after(response)
        headers = add_vary(Headers.of_text(response.headers), self._choices.vary)
        put(response, add_public(headers) if self._choices.public else headers)
        self._given = response_of(response)
        passes = self._choices.response_filter
        self._unfit = _session_was_touched() or not (passes is None or passes(response))
        return response

    def finish(self, response: flask.Response) -> None:
        """Store the view's page if `response`, which is about to be sent, allows it."""
        if self._exchange is None or self._given is None:
            return
        if self._told and response.status_code != self._given.status:  # a hook failed
            return
        response.vary.update(varying(self._given.headers) or ())
        told = self._told or self._store(self._exchange, self._given, response)
        for name, value in Headers(told).text():
            response.headers.add(name, value)
        shared = self._told or told[-1][1].endswith(b"stored")
        if shared and response.status_code == 200:
            _tag(response, self._given, self._tag)
            _shorten(response, self._request.headers, self._pages.clock.time())

    def end(self) -> None:
        """Let others go on who wait for the page."""
        if self._exchange is not None:
            run_sync(self._exchange.close(BLOCKING))

    def _told_tags(self) -> Iterable[str]:
        """Return what the function of the response tells."""
        tell, given = self._choices.tags, self._given
        return tell(flask_response(given)) if callable(tell) and given is not None else ()

    def _store(self, exchange: Exchange, given: Response, response: flask.Response) -> Pairs:
        """Store the page if it may be, and return the fields that say what the cache did."""
        page = page_of(given, response_of(response), self._view)
        answered = run_sync(
            exchange.respond(BLOCKING, page._replace(body=None) if self._unfit else page)
        )
        self._tag = replay_of(answered).tag
        return answered.headers.only("cache-status").pairs[-1:]


def with_key(request: Request, key: str) -> Request:
    """Return `request` as the look for a page that `key` tells from others at its path.

    Raises:
        InvalidKey: it is no text.
    """
    if not isinstance(key, str):
        raise InvalidKey(f"what make_cache_key returns is text, not {key!r}: str(…) makes it one")
    return request._replace(query=quote(key, safe="").encode())


def _tag(response: flask.Response, given: Response, tag: str) -> None:
    """Give `response` a strong tag of the body that is sent, unless the application did."""
    tags = tagged(response_of(response), given, tag).values("etag")
    response.headers.remove("ETag")
    for tag in tags:
        response.headers.add("ETag", tag)


def _shorten(response: flask.Response, conditions: Headers, now: float) -> None:
    """Make `response` a 304 if the client has it already (RFC 9110, 15.4.5)."""
    if not_modified(conditions, Headers.of_text(response.headers), now):
        response.status_code = 304
        response.set_data(b"")


def _session_was_touched() -> bool:
    """Tell whether the session was read or changed, without touching it: `flask.session` would."""
    session = request_ctx._session
    return session is None or session.accessed or session.modified
