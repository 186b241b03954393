"""What one request does otherwise with what is computed: without the cache, or anew.

Both hold for the code within, and for the tasks and threads that it starts in its own context;
by a context variable, so that other requests see nothing of it. `get`, `set` and the like are
what they always are: only what would be computed at a miss is computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, TypeAlias

Override: TypeAlias = Literal["bypass", "refresh"]

_override: ContextVar[Override | None] = ContextVar("twofold_override", default=None)


requests: Final[set[object]] = set()
"""Those that have an override now: a hit looks at this alone while there is none."""


def override() -> Override | None:
    """Return what holds for the caller."""
    return _override.get()


@contextmanager
def bypass() -> Iterator[None]:
    """Have whatever is computed compute within, and not use a cache.

    That is `get_or_set`, decorated functions, fragments, and pages.
    """
    with _overriding("bypass"):
        yield


@contextmanager
def refreshing() -> Iterator[None]:
    """Have what `bypass` names compute anew within, and store that."""
    with _overriding("refresh"):
        yield


@contextmanager
def _overriding(what: Override) -> Iterator[None]:
    request = object()
    requests.add(request)
    outside = _override.get()
    _override.set(what)
    try:
        yield
    finally:
        _override.set(outside)  # not by a token: a generator may be closed in another context
        requests.discard(request)
