"""What shows that a page was made for one visitor, also before middleware has said so.

Django's middleware tells of sessions, CSRF tokens and messages, by `Vary` and cookies. Those
of a view under `cache_page` are told only after the page is stored.
"""

from collections.abc import Callable
from typing import Any, Final

from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest, HttpResponse
from django.template import Context
from django.utils.cache import patch_vary_headers
from django.utils.functional import LazyObject, empty
from django.utils.safestring import SafeString

_WAS_TAKEN: Final = "CSRF_COOKIE_NEEDS_UPDATE"


def say_session(request: HttpRequest, response: HttpResponse) -> None:
    """Have a response vary on the cookie if the session was looked at, as it will say itself."""
    if _session_was(request, "accessed"):
        patch_vary_headers(response, ["Cookie"])


def is_for_one(request: HttpRequest, *responses: HttpResponse | None) -> bool:
    """Tell whether cookies go with a page, or a CSRF token or messages are in it."""
    return (
        any(each is not None and each.cookies for each in responses)
        or bool(request.META.get(_WAS_TAKEN))
        or _session_was(request, "modified")
        or _has_messages(getattr(request, "_messages", None))
    )


def part_of(context: Context, render: Callable[[], SafeString]) -> tuple[SafeString, bool]:
    """Render a part of a page; return whether a CSRF token or messages are in it, too."""
    request: HttpRequest | None = getattr(context, "request", None)
    if request is None:
        return render(), False
    before = request.META.pop(_WAS_TAKEN, False)
    try:
        part = render()
        has_token = bool(request.META.get(_WAS_TAKEN))
    finally:
        if before:
            request.META[_WAS_TAKEN] = before
    if before and (token := context.get("csrf_token")):  # is not taken twice for one page
        has_token = has_token or str(token) in part
    return part, has_token or _has_messages(getattr(request, "_messages", None))


def is_told_otherwise(request: HttpRequest) -> bool:
    """Tell whether a lazy user was looked up, and not in the session: nobody knows by what."""
    user: Any = vars(request).get("user")
    if not isinstance(user, LazyObject) or vars(user)["_wrapped"] is empty:
        return False
    if not _session_was(request, "accessed"):
        return True
    session: Any = request.session
    return bool(user.is_authenticated) and SESSION_KEY not in session


def _session_was(request: HttpRequest, what: str) -> bool:
    return bool(getattr(getattr(request, "session", None), what, False))


def _has_messages(storage: Any) -> bool:
    """Tell whether messages were shown, or are added for the next page."""
    if getattr(storage, "added_new", False):
        return True
    return bool(getattr(storage, "used", False)) and len(storage) > 0
