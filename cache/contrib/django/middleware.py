"""`cache_page` and the cache middleware: Django's, but nothing blocks the event loop."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial, wraps
from math import ceil
from typing import Any, Never, TypeVar

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware import cache as rules
from django.views import View as ClassBased

from twofold.callables import name_of
from twofold.contrib.django.pages import Proceed, Told, fetch, noting, update
from twofold.contrib.django.shelf import cache_behind
from twofold.contrib.http.tags import ViewTags
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.spelling import unexpected
from twofold.tags.names import read_tags
from twofold.timeouts import Timeout, seconds

View = TypeVar("View", bound=Callable[..., Any])


class _TwoFaces:
    """A middleware with one body for sync and for async requests."""

    async_mode: bool
    get_response: Callable[[HttpRequest], Any]
    _single_flight: bool | None = None

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        return run_sync(self._serve(BLOCKING, request, _sync(self.get_response, request)))

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        return await self._serve(NATIVE, request, lambda: self.get_response(request))

    def single_flight(self) -> bool:
        """Tell whether one request computes a page, and the others wait for it."""
        if self._single_flight is not None:
            return self._single_flight
        return bool(getattr(settings, "CACHE_MIDDLEWARE_SINGLE_FLIGHT", True))

    async def _serve(self, io: Effects, request: HttpRequest, proceed: Proceed) -> HttpResponse:
        raise NotImplementedError


class UpdateCacheMiddleware(_TwoFaces, rules.UpdateCacheMiddleware):
    """Store pages; the first in `MIDDLEWARE`, with `FetchFromCacheMiddleware` as the last."""

    async def _serve(self, io: Effects, request: HttpRequest, proceed: Proceed) -> HttpResponse:
        return await update(io, request, self, proceed)


class FetchFromCacheMiddleware(_TwoFaces, rules.FetchFromCacheMiddleware):
    """Answer with stored pages; the last in `MIDDLEWARE`."""

    async def _serve(self, io: Effects, request: HttpRequest, proceed: Proceed) -> HttpResponse:
        return await fetch(io, request, self, noting(request, proceed))


class CacheMiddleware(_TwoFaces, rules.CacheMiddleware):
    """Both in one, for simple sites.

    Args:
        get_response: the next middleware, or the view.
        cache_timeout: seconds, for responses without a `max-age`.
        page_timeout: seconds, whatever `max-age` says.
        single_flight: whether one request computes a page, and the others wait for it;
            None asks the setting `CACHE_MIDDLEWARE_SINGLE_FLIGHT`, which is True by default.
        **kwargs: `cache_alias` and `key_prefix`, in place of Django's settings.
    """

    def __init__(
        self,
        get_response: Callable[[HttpRequest], Any],
        cache_timeout: float | None = None,
        page_timeout: float | None = None,
        single_flight: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(get_response, cache_timeout, page_timeout, **kwargs)
        self._single_flight = single_flight

    async def _serve(
        self, io: Effects, request: HttpRequest, proceed: Proceed, told: Told = ()
    ) -> HttpResponse:
        return await update(io, request, self, lambda: fetch(io, request, self, proceed), told)


def cache_page(
    timeout: Timeout,
    *,
    cache: str | None = None,
    key_prefix: str | None = None,
    single_flight: bool | None = None,
    tags: Iterable[str] | Callable[[HttpRequest, HttpResponse], Iterable[str]] = (),
    **others: Never,
) -> Callable[[View], View]:
    """Decorate a view, `def` or `async def`, so that its pages are cached.

    As Django's decorator of that name; on an async view all I/O of the cache is awaited,
    and of those who ask together for a page that is missing one computes it.

    Args:
        timeout: how long a page lives, in whole seconds, as `max-age` has them; None leaves it to
            the response, or else to the settings.
        cache: the alias.
        key_prefix: begins the keys of these pages.
        single_flight: see `CacheMiddleware`.
        tags: what pages can be invalidated by, with the cache's `invalidate_tags`: names, with
            fields for the view's arguments, as in "user:{pk}"; or a function of the request
            and the response that returns names. In a cache that is not one of ours, which knows
            no tags, pages that have some are not stored.
        **others: names that other libraries have for these, which are refused with ours.

    Raises:
        InvalidTimeout: `timeout` is no duration.
        InvalidKey: `tags` are no texts.
        SettingsError: a field of a tag names no argument of the view.
    """
    if others:
        raise unexpected(cache_page, others)
    life = seconds(timeout)
    read_tags(tags)

    def decorate(view: View) -> View:
        middleware = CacheMiddleware(
            view,
            page_timeout=None if life is None else ceil(life),
            single_flight=single_flight,
            cache_alias=cache,
            key_prefix=key_prefix,
        )

        tagged = ViewTags(view, name_of(view), tags, closed=True)

        async def serve(
            io: Effects, proceed: Proceed, request: HttpRequest, /, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            told: Told
            if tagged.function is None:
                told = tagged.names((request, *args), kwargs, {"request": request})
            else:
                told = partial(tagged.function, request)
            if told and cache_behind(middleware.cache) is None:
                return await proceed()
            return await middleware._serve(io, request, proceed, told)

        @wraps(view)
        def in_sync(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            proceed = _sync(view, request, *args, **kwargs)
            return run_sync(serve(BLOCKING, proceed, request, *args, **kwargs))

        @wraps(view)
        async def in_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            proceed = lambda: view(request, *args, **kwargs)  # noqa: E731
            return await serve(NATIVE, proceed, request, *args, **kwargs)

        return in_async if _is_async(view) else in_sync  # type: ignore[return-value]

    return decorate


def _is_async(view: Callable[..., Any]) -> bool:
    """Tell whether a view returns what is to be awaited.

    So does `dispatch` of a class with async methods, which is no `async def`; of it
    `method_decorator` decorates a `partial` for each request.
    """
    method = view.func if isinstance(view, partial) else view
    of = getattr(method, "__self__", None)
    return iscoroutinefunction(view) or (
        isinstance(of, ClassBased) and of.view_is_async and method.__name__ == "dispatch"
    )


def _sync(
    function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Callable[[], Awaitable[Any]]:
    """Return an async function that calls a sync one, and never suspends."""

    async def call() -> Any:
        return function(*args, **kwargs)

    return call
