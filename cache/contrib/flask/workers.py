"""The application context of work that runs in a thread behind a request, and its end.

A thread begins with a copy of its caller's context variables, in which Flask keeps the contexts of
the request and the application. It is to see neither, since both end with the request. It gets
an application context of its own, with a `g` of its own, which is torn down after the work.
"""

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar

from flask import current_app, has_app_context
from flask import globals as flasks

from twofold.effects import background


def register() -> None:
    """Have all that runs in the background do so; a second call does nothing."""
    found = [getattr(flasks, name, None) for name in ("_cv_request", "_cv_app")]
    background.hide(*[each for each in found if isinstance(each, ContextVar)])
    background.around(_application)


def _application() -> AbstractContextManager[object]:
    app = current_app._get_current_object() if has_app_context() else None  # type: ignore[attr-defined]
    return nullcontext() if app is None else app.app_context()
