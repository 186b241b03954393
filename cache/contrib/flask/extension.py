"""The extension: what `init_app` adds to an application."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Never, cast, overload
from weakref import WeakSet

import flask
from flask import Flask, current_app, request_finished

from twofold.contrib.flask.cached_view import CachedView, Choices, with_key
from twofold.contrib.flask.flask_caching import METHODS
from twofold.contrib.flask.fragments import Fragments, FragmentTag, fragment_key
from twofold.contrib.flask.messages import request_at, request_of, response_of
from twofold.contrib.flask.settings import AppCaches
from twofold.contrib.flask.view import PageDecorator, View
from twofold.contrib.flask.workers import register
from twofold.contrib.http import Pages
from twofold.contrib.http.misplaced import tell_misplaced
from twofold.core import Cache
from twofold.effects import BLOCKING, run_sync
from twofold.errors import SettingsError
from twofold.registry import Caches
from twofold.spelling import unexpected
from twofold.standins import StandIn
from twofold.tags.names import read_tags
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout

_NAME = "twofold"

register()


class _State:
    """What belongs to one application."""

    def __init__(self, app: Flask, extension: "Caching") -> None:
        self.extension = extension
        self.caches = AppCaches(app)
        self._pages: dict[str, Pages] = {}
        self.looked_at = False
        """Whether its views have been looked at, which are all there at the first request."""

    def __repr__(self) -> str:
        return f"<twofold in Flask: {self.caches!r}>"

    def pages(self, alias: str) -> Pages:
        """Return the pages in the cache `alias`."""
        found = self._pages.get(alias)
        if found is None:
            kept_in = alias if self.caches.of_process else self.caches.all[alias]
            found = self._pages.setdefault(alias, Pages(kept_in))
        return found


class Caching:
    """The caches of Flask applications: `Caching(app)`, or `init_app` in a factory.

    `app.config["CACHES"]` is a dict like Django's, or a URL. Without it the application
    uses the settings of the process (the environment variable `CACHE_URL`, say). With it,
    they are the settings of the process too, so that `twofold.cache` and `@cached` use the
    same caches; of several applications with different `CACHES` that holds for the first,
    and the others have caches of their own, which `cache` and `caches` here lead to.

    Connections outlive requests. They are closed by `close` and at the end of the process;
    a forked worker makes its own.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self.cache: Cache = _DefaultOfApplication(self)
        """The cache "default" of the current application; `@cached(cache=caching.cache)`."""
        self._aliases: set[str] = set()
        self._states: WeakSet[_State] = WeakSet()
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        return f"<Caching of {len(self._states)} applications>"

    if not TYPE_CHECKING:  # to a type checker, a class with `__getattr__` has every name

        def __getattr__(self, name: str) -> Any:
            """Say what is here in place of a method of Flask-Caching's `Cache`."""
            advice = METHODS.get(name, "")
            if not advice and not name.startswith("_") and hasattr(Cache, name):
                advice = f"caching.cache.{name}"
            end = f": write {advice}" if advice else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{end}")

    @property
    def caches(self) -> Caches:
        """The caches of the current application, by alias."""
        return self._state().caches.all

    def init_app(self, app: Flask) -> None:
        """Read the settings of `app`, and add the tag `{% cache %}` to its templates.

        Raises:
            SettingsError: something in `CACHES` is unknown or cannot be; or `app` has been
                given to this method before.
        """
        if _NAME in app.extensions:
            raise SettingsError(
                f"{app.name} has its caches already: call init_app once, and use one Caching"
                " for the whole application"
            )
        app.jinja_env.add_extension(FragmentTag)
        state = _State(app, self)
        tag = cast(FragmentTag, app.jinja_env.extensions[FragmentTag.identifier])
        tag.fragments = Fragments(lambda: state.caches.all["default"])
        request_finished.connect(self._finish, sender=app)
        app.teardown_request(_end)
        app.extensions[_NAME] = state
        self._states.add(state)

    @overload
    def cached_page(self, view: Callable[..., Any], /) -> View: ...

    @overload
    def cached_page(
        self,
        /,
        *,
        timeout: Timeout = DEFAULT_TIMEOUT,
        vary: Iterable[str] = (),
        public: bool = False,
        cache: str = "default",
        unless: Callable[[], bool] | None = None,
        forced_update: Callable[[], bool] | None = None,
        response_filter: Callable[[flask.Response], bool] | None = None,
        make_cache_key: Callable[..., str] | None = None,
        tags: Iterable[str] | Callable[[flask.Response], Iterable[str]] = (),
    ) -> PageDecorator: ...

    def cached_page(
        self,
        view: Callable[..., Any] | None = None,
        /,
        *,
        timeout: Timeout = DEFAULT_TIMEOUT,
        vary: Iterable[str] = (),
        public: bool = False,
        cache: str = "default",
        unless: Callable[[], bool] | None = None,
        forced_update: Callable[[], bool] | None = None,
        response_filter: Callable[[flask.Response], bool] | None = None,
        make_cache_key: Callable[..., str] | None = None,
        tags: Iterable[str] | Callable[[flask.Response], Iterable[str]] = (),
        **others: Never,
    ) -> Any:
        """Cache what a view returns, by RFC 9111's rules for a shared cache.

        What stands around the view runs at each request: decorators above this one (put it
        below `@app.route` and `@login_required`), `before_request`, `after_request`, the
        session. A page is stored only if the final response allows it; never one for which
        the session was touched before the view returned, and no response with `Set-Cookie`. With a
        `Cookie` in the request, only a page that is `public` or varies with the cookie is
        shared; with `Authorization`, only a `public` one.

        The view may be a `def` or an `async def`. Flask runs an async one in an event loop
        of its own for each request, and the cache is asked outside of it, by sync calls in
        the request's thread, whose connections stay: with a loop's own ones each request
        would make a connection. A view that is called with other arguments than its URL's
        is not cached: what a decorator gives it may belong to one user.

        Args:
            view: as `@app.route` takes it; in class-based views, put the decorator into
                `decorators`, or on a method.
            timeout: how long a page lives that does not set a lifetime itself.
            vary: names of request fields that the page depends on, added to its `Vary`.
            public: add `public` to its `Cache-Control`: it is the same for all, whatever
                cookies or `Authorization` they send.
            cache: an alias in `CACHES`.
            unless: called at each request; where it is true, the cache is not asked at all.
            forced_update: called at each request; where it is true, the stored page is removed.
            response_filter: called with what the view returned, which is not stored where it
                is false.
            make_cache_key: called with the view's arguments at each request; what it returns
                tells the pages of one path apart, instead of the query.
            tags: what pages can be invalidated by, with `invalidate_tags`: names, with fields for
                the view's arguments, as in "user:{user_id}"; or a function of what the view
                returned that returns names.
            **others: names that other libraries have for these, which are refused with ours.

        Raises:
            InvalidTimeout: `timeout` is no duration.
            InvalidKey: `tags` are no texts.
            SettingsError: a field of a tag names no argument of the view.
        """
        if others:
            raise unexpected(self.cached_page, others)
        self._aliases.add(cache)
        fields = (vary,) if isinstance(vary, str) else tuple(vary)
        choices = Choices(
            timeout,
            fields,
            public,
            unless,
            forced_update,
            response_filter,
            make_cache_key,
            read_tags(tags),
        )

        def pages() -> Pages:
            return self._state().pages(cache)

        decorate = PageDecorator(pages, choices)
        return decorate if view is None else decorate(view)

    def delete_page(self, url: str, *, key: str | None = None, cache: str = "default") -> None:
        """Remove the page of a URL, in all its variants.

        Args:
            url: a path with its query, at the host that the current request is for; or, also
                outside of a request, a whole URL, as `url_for(…, _external=True)` makes it.
            key: what `make_cache_key` returned, where the view has such.
            cache: the alias where it is.
        """
        request = request_at(url)
        run_sync(
            self._state()
            .pages(cache)
            .remove(BLOCKING, request if key is None else with_key(request, key), "endpoint")
        )

    def delete_fragment(self, name: str, *vary: Any) -> bool:
        """Remove the fragment that `{% cache name, timeout, *vary %}` stored.

        Returns:
            Whether it was there, or was being rendered.
        """
        keys = [fragment_key(name, vary, escaped) for escaped in (True, False)]
        return self.cache.delete_many(keys) > 0

    def close(self) -> None:
        """Close the caches of all applications of this extension; the next use opens them again.

        Another application may give its `CACHES` to the process then.
        """
        for state in list(self._states):
            state.caches.close()

    def _state(self) -> _State:
        state = current_app.extensions.get(_NAME)
        if not isinstance(state, _State) or state.extension is not self:
            raise SettingsError(
                f"{current_app.name} does not know this Caching: call init_app(app) on it"
            )
        return state

    def _finish(self, app: Flask, response: flask.Response, **_more: Any) -> None:
        """Remember a response that is about to be sent; no hook changes it any more."""
        state = self._state()
        if not state.looked_at:
            state.looked_at = True
            tell_misplaced(app.view_functions.values())
        cached = CachedView.current()
        if cached is not None:
            cached.finish(response)
        request = request_of(flask.request)
        if request.changes:
            for alias in sorted(self._aliases & set(state.caches.all)):
                exchange = run_sync(state.pages(alias).open(BLOCKING, request, layer="endpoint"))
                run_sync(exchange.respond(BLOCKING, response_of(response)))


def _end(_exc: BaseException | None = None) -> None:
    """Let those go on who wait for a request that came to no response."""
    cached = CachedView.current()
    if cached is not None:
        cached.end()


class _DefaultOfApplication(StandIn):
    """The cache "default" of the application that is current when it is used."""

    def __init__(self, extension: Caching) -> None:
        self._extension = extension

    def _found(self) -> Cache:
        return self._extension.caches["default"]

    def __repr__(self) -> str:
        return f"<the cache 'default' of {self._extension!r}>"
