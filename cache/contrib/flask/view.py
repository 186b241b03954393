"""`cached_page`: a view in, the same view with a cache out."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeAlias
from urllib.parse import quote

from flask import Response, current_app, request
from flask import views as class_based

from twofold.callables import name_of
from twofold.contrib.flask.cached_view import CachedView, Choices
from twofold.contrib.http import Pages, ViewTags
from twofold.contrib.http.misplaced import has_pages
from twofold.keys.names import module_name
from twofold.timeouts import seconds

View: TypeAlias = Callable[..., Response]
"""A view that Flask calls in the request's thread."""


class PageDecorator:
    """Makes cached views of views.

    Args:
        pages: returns the pages of the current application.
        choices: what is chosen for the pages.
    """

    def __init__(self, pages: Callable[[], Pages], choices: Choices) -> None:
        seconds(choices.timeout)
        self._pages = pages
        self._choices = choices

    def __repr__(self) -> str:
        choices = self._choices
        return (
            f"cached_page(timeout={choices.timeout!r}, vary={choices.vary},"
            f" public={choices.public})"
        )

    def __call__(self, view: Callable[..., Any]) -> View:
        has_pages(view)
        name = _name_of(view)
        tags = ViewTags(view, name_of(view), self._choices.tags, closed=True)

        def cached_view(*args: Any, **kwargs: Any) -> Response:
            def compute() -> Response:
                return current_app.make_response(current_app.ensure_sync(view)(*args, **kwargs))

            if not _is_for_url(args, kwargs) or self._is_excepted():
                return compute()
            return self._answer(name, compute, kwargs, tags.names(args, kwargs))

        vars(cached_view).update(_attributes(view))
        return update_wrapper(cached_view, view, updated=())

    def _is_excepted(self) -> bool:
        unless = self._choices.unless
        return unless is not None and bool(unless())

    def _answer(
        self,
        name: str,
        compute: Callable[[], Response],
        arguments: dict[str, Any],
        tags: tuple[str, ...],
    ) -> Response:
        """Return the stored page, or what `compute` returns, to be stored in the end."""
        cached = CachedView(self._pages(), name, self._choices, arguments, tags)
        hit = cached.open()
        if hit is not None:
            return hit
        return cached.take(compute())


def _is_for_url(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether Flask calls a view for a GET or HEAD, for the first time in the request."""
    return (
        request.method in ("GET", "HEAD")
        and kwargs == (request.view_args or {})
        and all(isinstance(each, class_based.View) for each in args)
        and CachedView.current() is None
    )


def _name_of(view: Callable[..., Any]) -> str:
    """Return what tells views apart, as ASCII; all that `as_view` makes have one `__qualname__`."""
    name = getattr(view, "__name__", "")
    qualname = getattr(view, "__qualname__", type(view).__qualname__)
    return quote(f"{module_name(view)}.{qualname}:{name}")


def _attributes(view: Callable[..., Any]) -> dict[str, Any]:
    """Return the attributes that others set on `view`, without the mark that it is async."""
    noted = getattr(view, "__dict__", {})
    return {name: each for name, each in noted.items() if not name.startswith("_is_coroutine")}
