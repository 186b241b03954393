"""`cached_page` where it cannot work: on what is no view, and above the decorator of a route."""

import logging
from collections.abc import Iterable
from types import FunctionType
from typing import Any, Final
from weakref import WeakSet

from twofold.display import shown
from twofold.errors import SettingsError

_log = logging.getLogger("twofold")

_with_pages: Final[WeakSet[Any]] = WeakSet()


def has_pages(view: Any) -> None:
    """Remember that `view` was given to `cached_page`.

    Raises:
        SettingsError: it is none.
    """
    if not callable(view):
        raise SettingsError(
            f"cached_page decorates a view, not {shown(view)}; a timeout has its name:"
            " cached_page(timeout=60)"
        )
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
