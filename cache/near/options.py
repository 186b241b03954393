"""What `NEAR` may say: the bounds of the copies, how long they live, how stale they may be."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from twofold.display import shown
from twofold.errors import SettingsError
from twofold.spelling import unknown
from twofold.timeouts import seconds

_SIZE = re.compile(r"([0-9]{1,15})\s*([kmg]?b?)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}

_UNTOLD_LIFE: Final = 1.0


@dataclass(frozen=True)
class NearOptions:
    """What of a far store a process may keep, and for how long."""

    max_bytes: int = 64 * 2**20
    max_entries: int = 100_000
    timeout: float | None = None
    """Seconds for which a copy is served at most; None for as long as the far entry lives, or for
    1 s where the store does not tell of foreign writes."""
    staleness: float = 1.0
    """Seconds after a foreign write by which no copy of what was there is served any more, where
    the store tells of such writes."""

    def life(self, *, told: bool) -> float | None:
        """Return the seconds for which a copy may be served, as foreign writes are told or not."""
        return _UNTOLD_LIFE if self.timeout is None and not told else self.timeout


def read_near(value: Any) -> NearOptions:
    """Return the options in a dict, or of a size alone.

    Raises:
        SettingsError: one of them is unknown or cannot be.
        InvalidTimeout: a duration is none.
    """
    given = value if isinstance(value, Mapping) else {"max_bytes": value}
    options: dict[str, Any] = {}
    for key, each in given.items():
        name = str(key).lower()
        if name not in _READERS:
            raise SettingsError(unknown("option", str(key), _READERS))
        options[name] = _READERS[name](name, each)
    return NearOptions(**options)


def _bytes(name: str, value: Any) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        value = int(found[1]) * _UNITS[found[2].lower()]
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise SettingsError(
            f"{name!r} is a number of bytes such as 1000000 or '64mb', 1 or more;"
            f" not {shown(value)}"
        )
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise SettingsError(f"{name!r} is a whole number of 1 or more, not {shown(value)}")
    return value


def _life(name: str, value: Any) -> float | None:
    life = seconds(value)
    if life == 0:
        raise SettingsError(
            f"{name!r} is how long a copy is served, more than 0; or leave NEAR out"
        )
    return life


def _bound(name: str, value: Any) -> float:
    bound = seconds(value)
    if not bound:
        raise SettingsError(
            f"{name!r} is the seconds by which a foreign write is heeded, more than 0 and finite;"
            f" not {shown(value)}"
        )
    return bound


_READERS: Final = {
    "max_bytes": _bytes,
    "max_entries": _count,
    "timeout": _life,
    "staleness": _bound,
}
