"""How often something was computed, for tests to check."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twofold.core import Cache


@contextmanager
def assert_computed_once(computed: Callable[..., Any] | Cache) -> Iterator[None]:
    """Check that a block runs a decorated function once, however often it calls it.

    Of a cache, that one computation was made in all: by `get_or_set`, or a function.

    Args:
        computed: a function that `cached` made, or a cache.

    Raises:
        AssertionError: it was not computed, or more often.
    """
    count, name = _counted(computed)
    before = count()
    yield
    times = count() - before
    assert times == 1, f"{name} was computed {times} times, and not once"  # noqa: S101


def _counted(computed: Any) -> tuple[Callable[[], int], str]:
    if isinstance(computed, Cache):
        return lambda: computed.stats().computations, f"cache {computed.alias!r}"
    if not hasattr(computed, "cache_info") or not hasattr(computed, "_plan"):
        raise TypeError(
            f"assert_computed_once() takes a cached function or a cache, not {computed!r}"
        )
    return lambda: int(computed.cache_info().computed), str(computed.__qualname__)
