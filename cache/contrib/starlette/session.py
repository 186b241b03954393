"""What a page did with the session that `SessionMiddleware` gave it.

Where that stands outside of the cache, the fields that it adds are not seen there.
"""

from typing import Any

from starlette.types import Scope


def snapshot(scope: Scope) -> dict[str, Any]:
    """Return the session that a request came with, if it is a plain dict."""
    session = scope.get("session", {})
    return {} if hasattr(session, "modified") else dict(session)


def changed(scope: Scope, before: dict[str, Any]) -> bool:
    """Tell whether the session was written to: its page is for one visitor alone."""
    session = scope.get("session", {})
    return bool(getattr(session, "modified", session != before))
