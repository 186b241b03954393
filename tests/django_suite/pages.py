"""Our middleware and `cache_page`, in the place of Django's: called sync, or in a loop."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from twofold.contrib import django as ours

View = Callable[..., Any]

run: Callable[[Coroutine[Any, Any, Any]], Any] | None = None
"""Runs the coroutine of an async view; None where views are sync."""


class _InTurn:
    """A middleware around a view that is async if `run` is set; calls are sync all the same."""

    def __init__(self, get_response: View, *args: Any, **options: Any) -> None:
        super().__init__(_faced(get_response), *args, **options)

    def __call__(self, request: Any) -> Any:
        return _ended(super().__call__(request))


class CacheMiddleware(_InTurn, ours.CacheMiddleware):
    pass


class FetchFromCacheMiddleware(_InTurn, ours.FetchFromCacheMiddleware):
    pass


class UpdateCacheMiddleware(_InTurn, ours.UpdateCacheMiddleware):
    pass


def cache_page(*args: Any, **options: Any) -> Callable[[View], View]:
    """Decorate a view, made async if `run` is set, so that it can be called sync."""

    def decorate(view: View) -> View:
        cached = ours.cache_page(*args, **options)(_faced(view))

        @wraps(view)
        def call(*args: Any, **kwargs: Any) -> Any:
            return _ended(cached(*args, **kwargs))

        return call

    return decorate


def _faced(view: View) -> View:
    if run is None:
        return view

    @wraps(view)
    async def in_loop(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return in_loop


def _ended(answer: Any) -> Any:
    return answer if run is None else run(answer)
