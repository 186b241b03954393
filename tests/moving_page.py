"""The page of the documentation on settings of other caches, and what its tables say."""

import re
from pathlib import Path

from twofold.contrib.moving import Ignored, Refused
from twofold.contrib.moving.tables import Row, Table

_PAGE = Path(__file__).parent.parent / "docs" / "moving.md"
_ROW = re.compile(r"^\| (`.+?`) \| (.+) \|$", re.MULTILINE)


def told(heading: str) -> dict[str, str]:
    """Return what the page says of each name under a heading."""
    section = _PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    return {
        name.lower(): what
        for names, what in _ROW.findall(section.partition("\n## ")[0])
        for name in re.findall(r"`([^`]+)`", names)
    }


def shown(table: Table) -> dict[str, str]:
    """Return what the page is to say of each name of a table."""
    return {name: _shown(row) for name, row in table.items()}


def _shown(row: Row) -> str:
    if isinstance(row, Ignored):
        return f"not needed: {row.why}"
    return f"refused: {row.instead}" if isinstance(row, Refused) else row.what
