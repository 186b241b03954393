"""Views that are served without their pages, because `cached_page` stands above the route."""

import logging
from collections.abc import Iterable
from types import FunctionType
from typing import Any, Final
from weakref import WeakSet

_log = logging.getLogger("twofold")

_with_pages: Final[WeakSet[Any]] = WeakSet()


def has_pages(view: object) -> None:
    """Remember that `view` was given to `cached_page`."""
    if isinstance(view, FunctionType):
        _with_pages.add(view)


def tell_misplaced(served: Iterable[object]) -> None:
    """Log which of the views that an application serves have pages, and are served without them.

    What is also served with its pages, at another address, is meant to be.
    """
    views = [each for each in served if isinstance(each, FunctionType)]
    within = {getattr(each, "__wrapped__", None) for each in views}
    for view in views:
        if view in _with_pages and view not in within:
            _log.warning(
                "%s() is served without its pages: cached_page stands above the decorator of its"
                " route, which has the plain function; put it below",
                view.__qualname__,
            )
