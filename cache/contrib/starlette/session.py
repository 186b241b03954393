"""What a page did with the session that `SessionMiddleware` gave it.

Where that stands outside of the cache, the fields that it adds are not seen there.
"""

from typing import Any

from starlette.types import Scope


def snapshot(scope: Scope) -> dict[str, Any] | None:
    """Return the session that a request came with; None if it has none yet.

    One that knows itself whether it was modified need not be copied.
    """
    session = scope.get("session")
    if session is None:
        return None
    return {} if hasattr(session, "modified") else dict(session)


def changed(scope: Scope, before: dict[str, Any] | None) -> bool:
    """Tell whether the session was written to: its page is for one visitor alone."""
    session = scope.get("session", {})
    return bool(getattr(session, "modified", session != (before or {})))


def fields_read(scope: Scope) -> set[str]:
    """Return the request fields that a session stands for which was read, where that is known."""
    return {"cookie"} if getattr(scope.get("session"), "accessed", False) else set()
