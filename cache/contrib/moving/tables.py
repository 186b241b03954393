"""Tables of names: what each becomes, why it is not needed, or what to write instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from twofold.display import mask_url


class Ignored(NamedTuple):
    """A name, or a value of it, that has no meaning here."""

    why: str


class Refused(NamedTuple):
    """A name, or a value of it, whose meaning cannot be had here."""

    instead: str
    """What to do: "write …" or "leave it out: …"."""


Translated: TypeAlias = Mapping[str, Any] | Ignored | Refused
"""What a value becomes: settings in upper case and options in lower case, or neither."""


class Becomes(NamedTuple):
    """A name that is translated."""

    what: str
    """In words, for the documentation."""
    make: Callable[[Any], Translated]


@dataclass(frozen=True)
class Within:
    """A dict of names, which a table of their own explains."""

    what: str
    table: "Table"


Row: TypeAlias = Becomes | Ignored | Refused | Within
Table: TypeAlias = Mapping[str, Row]
"""Rows by names, in lower case and without the underscore that pylibmc's private ones have."""


@dataclass
class Moved:
    """What has become of settings; those ignored and refused are named as they were spelled."""

    made: dict[str, Any] = field(default_factory=dict, repr=False)  # it may have passwords
    left: dict[str, Any] = field(default_factory=dict, repr=False)
    """What no table has: it may be twofold's own."""
    ignored: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def read(self, given: Mapping[str, Any], table: Table, where: str) -> None:
        """Move what is `given`; `where` has braces for a name, as in `OPTIONS[{!r}]`."""
        for name, value in given.items():
            row = table.get(str(name).lower().lstrip("_"))
            if row is None:
                self.left[name] = value
            else:
                self._take(row, value, where.format(name))

    def _take(self, row: Row, value: Any, path: str) -> None:
        if isinstance(row, Within):
            self._take_all(row, value, path)
            return
        outcome = row.make(value) if isinstance(row, Becomes) else row
        if isinstance(outcome, Ignored):
            self.ignored[path] = outcome.why
        elif isinstance(outcome, Refused):
            self.refused[path] = outcome.instead
        else:
            self._make(outcome)

    def _take_all(self, row: Within, value: Any, path: str) -> None:
        """Move a dict of names; there, what its table has not is nobody's."""
        if not isinstance(value, Mapping):
            if value is not None:
                self.refused[path] = "write a dict of options"
            return
        inner = Moved(self.made, {}, self.ignored, self.refused)
        inner.read(value, row.table, path + "[{!r}]")
        for name in inner.left:
            self.refused[f"{path}[{name!r}]"] = "leave it out: its meaning is not known here"

    def _make(self, outcome: Mapping[str, Any]) -> None:
        """Add what was made; of several time limits the longest is the deadline."""
        for name, value in outcome.items():
            longest = name == "deadline" and name in self.made
            self.made[name] = max(self.made[name], value) if longest else value


def complaint(refused: Mapping[str, str]) -> str:
    """Return one message for all that was refused."""
    return "; ".join(f"{mask_url(path)}: {instead}" for path, instead in refused.items())
