"""One request at a cached view, from the look for its page until the application has answered.

What the view returned is stored, and what runs around it runs for each request: hooks,
other decorators, the session. So a stored page takes the view's place, and no more. But
whether the page may be stored, for how long and for whom, is told by the response that
the application sends in the end, since hooks add `Set-Cookie`, `Vary` and `Cache-Control`
to it after the view has returned, and Flask saves the session last of all.

A page is never stored if the session was touched before the view returned: then nobody
knows for whom else it is.
"""

from dataclasses import replace
from typing import Any

import flask
from flask.globals import request_ctx

from twofold.contrib.flask.content import has_content
from twofold.contrib.flask.messages import flask_response, put, request_of, response_of
from twofold.contrib.http import Exchange, Headers, Pages, Request, Response, add_public, add_vary
from twofold.contrib.http.cache_control import CacheControl
from twofold.contrib.http.headers import varying
from twofold.contrib.http.validators import entity_tag, not_modified
from twofold.effects import BLOCKING, run_sync
from twofold.policy import Timeout

_VIEW = "twofold-view"
"""The field, in the store only, that names the view which made a page."""

_TOLD_LAST = ("age", "cache-control", "expires", "pragma", "vary")
"""The fields of the final response that say who may be given the page, and for how long."""

_AT_REQUEST = "_twofold_visit"


class Visit:
    """Stands between a view and the end of its request.

    Args:
        pages: where the page is.
        view: the name of the view.
        timeout: how long its page lives that says nothing of it.
        vary: names of request fields to add to `Vary`.
        public: whether to add `public` to `Cache-Control`.
    """

    def __init__(
        self, pages: Pages, view: str, timeout: Timeout, vary: tuple[str, ...], public: bool
    ) -> None:
        self._pages = pages
        self._view = view
        self._timeout = timeout
        self._vary = vary
        self._public = public
        self._request = replace(request_of(flask.request), has_content=has_content(flask.request))
        self._exchange: Exchange | None = None
        self._given: Response | None = None
        self._hit = False
        self._personal = False
        vars(flask.request)[_AT_REQUEST] = self

    def __repr__(self) -> str:
        return f"<Visit of {self._view} {self._exchange!r}>"

    @staticmethod
    def current() -> "Visit | None":
        """Return the visit of the current request, if there is one."""
        return vars(flask.request).get(_AT_REQUEST)

    def open(self) -> flask.Response | None:
        """Return the stored page, if there is one."""
        self._exchange = run_sync(
            self._pages.open(BLOCKING, _looking(self._request), self._timeout, "endpoint")
        )
        answer = self._exchange.answer
        if answer is None or not self._is_ours(answer):
            return None
        self._hit = _VIEW in answer.headers
        if self._hit:
            self._given = replace(answer, headers=answer.headers.without(_VIEW))
        return flask_response(
            replace(answer, headers=answer.headers.without(_VIEW, "content-length"))
        )

    def _is_ours(self, answer: Response) -> bool:
        """Tell whether `answer` was made by our view: at one URL several may have their turn."""
        made_by = answer.headers.values(_VIEW)
        return made_by == [self._view] or (not made_by and answer.status == 504)

    def take(self, response: flask.Response) -> None:
        """Keep what the view returned."""
        headers = add_vary(Headers.of_text(response.headers), self._vary)
        put(response, add_public(headers) if self._public else headers)
        self._given = response_of(response)
        self._personal = _session_was_touched()

    def finish(self, response: flask.Response) -> None:
        """Store the view's page if `response`, which is about to be sent, allows it."""
        if self._exchange is None or self._given is None:
            return
        stored = not self._hit and self._store(self._exchange, self._given, response)
        if (stored or self._hit) and response.status_code == 200:
            _tag(response, self._given)
            _shorten(response, self._request.headers, self._pages.clock.time())

    def end(self) -> None:
        """Let others go on who wait for the page."""
        if self._exchange is not None:
            self._exchange.release()

    def _store(self, exchange: Exchange, given: Response, response: flask.Response) -> bool:
        """Store the page if it may be, and return whether it is stored."""
        final = response_of(response)
        sharable = final.status == given.status and not self._personal
        page = replace(
            given,
            headers=_page_fields(given.headers, final.headers).plus(_VIEW, self._view),
            body=given.body if sharable else None,
        )
        told = run_sync(exchange.respond(BLOCKING, page)).headers.values("cache-status")[-1]
        response.headers.add("Cache-Status", told)
        return told.endswith("stored")


def _looking(request: Request) -> Request:
    """Return `request` as the look for a whole page.

    Whether the client has the page already is seen in the end, and for HEAD Flask leaves
    the body out; nobody is to wait for what HEAD computes, nor is that stored.
    """
    headers = request.headers.without("if-none-match", "if-modified-since")
    if request.method == "HEAD":
        headers = headers.plus("cache-control", "no-store")
    return replace(request, method="GET", headers=headers)


def _page_fields(given: Headers, final: Headers) -> Headers:
    """Return the fields of the page to store: the view's, under the conditions of the final ones.

    `Cookie` in the final `Vary` of a page that its view calls public comes from what was
    added after the view, which is added to the stored page too.
    """
    told = final.only(*_TOLD_LAST, "set-cookie")
    names = varying(final)
    if names and "public" in CacheControl(given) and "cookie" not in (varying(given) or ()):
        told = add_vary(told.without("vary"), set(names) - {"cookie"})
    return Headers((*given.without(*_TOLD_LAST).pairs, *told.pairs))


def _tag(response: flask.Response, given: Response) -> None:
    """Give `response` a strong tag of the body that is sent, unless the application did."""
    final = response_of(response)
    tags = final.headers.raw("etag")
    changed = _content(final) != _content(given)
    if tags and not (changed and tags == given.headers.raw("etag")):
        return
    response.headers.remove("ETag")
    if final.body is not None:
        response.headers["ETag"] = entity_tag(final.headers, final.body)


def _content(response: Response) -> tuple[Any, ...]:
    fields = [response.headers.raw(name) for name in ("content-type", "content-encoding")]
    return *fields, response.body


def _shorten(response: flask.Response, conditions: Headers, now: float) -> None:
    """Make `response` a 304 if the client has it already (RFC 9110, 15.4.5)."""
    if not_modified(conditions, Headers.of_text(response.headers), now):
        response.status_code = 304
        response.set_data(b"")


def _session_was_touched() -> bool:
    """Tell whether the session was read or changed, without touching it: `flask.session` would."""
    session = request_ctx._session
    return session is None or session.accessed or session.modified
