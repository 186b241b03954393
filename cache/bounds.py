"""What the stores that bound themselves have in common: their options."""

from typing import Final

from twofold.display import shown
from twofold.errors import SettingsError

NO_BOUND: Final = 2**63


def positive(name: str, value: object) -> int:
    """Return an option that is a whole number of 1 or more, or raise `SettingsError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise SettingsError(f"OPTIONS[{name!r}] is a whole number of 1 or more, not {shown(value)}")
    return value


def kept_by_culling(max_entries: int | None, cull_frequency: int | None) -> int | None:
    """Return how many entries a culling leaves, its newcomer included; None without culling.

    As Django's `CULL_FREQUENCY`: one in so many entries goes; with 0, all do.

    Raises:
        SettingsError: `cull_frequency` is neither a whole number of 0 or more nor None.
    """
    if cull_frequency is None:
        return None
    if isinstance(cull_frequency, bool) or not isinstance(cull_frequency, int):
        raise SettingsError(_no_frequency(cull_frequency))
    if cull_frequency < 0:
        raise SettingsError(_no_frequency(cull_frequency))
    if max_entries is None:
        return None
    return max_entries - max_entries // cull_frequency + 1 if cull_frequency else 1


def _no_frequency(value: object) -> str:
    return (
        "OPTIONS['cull_frequency'] is a whole number, one in how many entries goes when there"
        f" are too many; 0 for all, None for as few as needed; not {shown(value)}"
    )
