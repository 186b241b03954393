"""What may be said of computed values beside their timeout, as a caller or the settings say it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypedDict

from twofold.callables import is_async
from twofold.display import shown
from twofold.errors import InvalidTimeout, SettingsError
from twofold.spelling import unknown
from twofold.tags.names import Tagging, read_tags
from twofold.timeouts import Timeout, seconds

XFETCH: Final = "xfetch"

Early: TypeAlias = float | Literal["xfetch"] | None


class Freshness(TypedDict, total=False):
    """What may be said of a computed value beside its timeout; see docs/freshness.md."""

    stale: Timeout
    """How long after its timeout the old value may still be served; none unless given."""
    wait: Timeout
    """How long a caller waits for the fresh value before it takes the stale one: 0 serves at once
    and refreshes behind, None waits to the end."""
    max_wait: Timeout
    """Bounds every wait; then the stale value is served, or `ComputationTimeout` is raised."""
    early: Early
    """Refreshes behind before the timeout: after this share of it, or by chance, the likelier the
    nearer the end is and the longer the value takes to compute."""
    retry_after: Timeout
    """How long a stale value is served after a failed refresh, before the next one."""
    jitter: float
    """The share of the timeout by which lives are shortened at random, so that values that were
    stored together do not end together."""
    errors: Mapping[type[Exception], Timeout] | None
    """For how long exceptions of just these classes are kept, and raised again."""
    tags: Tagging
    """What it can be invalidated by, see `Cache.invalidate_tags`; or a function of the value that
    returns the names."""


def read_freshness(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a `Freshness` as fields of a `Policy`.

    Raises:
        SettingsError: one of them is unknown, or cannot be.
        InvalidTimeout: one is no duration.
    """
    for name in options.keys() - _READERS.keys():
        raise SettingsError(unknown("freshness option", str(name), (*_READERS, "timeout")))
    return {name: _READERS[name](name, value) for name, value in options.items()}


def read_ttl(timeout: Any, default: float | None = None) -> float | Callable[[Any], Timeout] | None:
    """Return a timeout in seconds, or as the function of the result that it is."""
    if callable(timeout):
        if is_async(timeout):
            raise InvalidTimeout(
                f"timeout={timeout!r} is async; as a function of the result it is to be a def"
            )
        function: Callable[[Any], Timeout] = timeout
        return function
    return seconds(timeout, default)


def _span(name: str, value: Any) -> float:
    """Return a duration, of which None is none."""
    return _bounded(name, value) or 0.0


def _bounded(name: str, value: Any) -> float | None:
    """Return a duration, of which None is without end."""
    try:
        return seconds(value)
    except InvalidTimeout as error:
        raise InvalidTimeout(f"{name}={shown(value)}: {error}") from None


def _share(name: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise SettingsError(
            f"{name} is a share of the timeout from 0 to 1, such as 0.1; not {shown(value)}"
        )
    return float(value)


def _early_option(name: str, value: Any) -> float | str | None:
    if value is None or value == XFETCH:
        return None if value is None else XFETCH
    if not _is_number(value) or not 0 < value < 1:
        raise SettingsError(
            f"{name} is a share of the timeout between 0 and 1, such as 0.8, or {XFETCH!r};"
            f" not {shown(value)}"
        )
    return float(value)


def _errors(name: str, value: Any) -> dict[type[Exception], float | None]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{name} is a dict of exception classes and how long each is kept, such as"
            f" {{LookupError: '30s'}}; not {shown(value)}"
        )
    for each in value:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            given = each.__qualname__ if isinstance(each, type) else shown(each)
            raise SettingsError(f"{name} names classes of Exception, and {given} is none")
    return {kind: _bounded(name, timeout) for kind, timeout in value.items()}


def _tags(_name: str, value: Any) -> tuple[str, ...] | Callable[[Any], Iterable[str]]:
    return read_tags(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_READERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "stale": _span,
    "wait": _bounded,
    "max_wait": _bounded,
    "early": _early_option,
    "retry_after": _span,
    "jitter": _share,
    "errors": _errors,
    "tags": _tags,
}

OF_FRAGMENTS: Final = tuple(name for name in _READERS if name != "errors")
"""The options of a template's fragments, whose errors are those of their own request."""
