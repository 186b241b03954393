"""The rows as text, as Markdown and as a picture."""

import os
import platform
import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.benchmarks.harness import Row
from tests.benchmarks.picture import TIMES, svg

HEAD = ("area", "call", "client", "cost", "by ours", "min..max", "target", "met")


def write(rows: Sequence[Row], folder: Path) -> str:
    """Write all three into `folder`, and return the text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{as_text(rows)}\n\n{_legend(rows)}\n"
    (folder / "table.txt").write_text(text)
    (folder / "table.md").write_text(f"{as_markdown(rows)}\n\n{_legend(rows)}\n")
    (folder / "picture.svg").write_text(svg(rows))
    return text


def as_text(rows: Sequence[Row]) -> str:
    """Return a table with aligned columns."""
    lines = [HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(line).rstrip() for line in padded)


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table."""
    lines = [HEAD, ("---",) * len(HEAD), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = spread = ""
    if row.ratios is not None:
        ratio = f"{row.ratios[0]:.3g}{TIMES}"
        spread = f"{row.ratios[1]:.3g}..{row.ratios[2]:.3g}"
    met = {True: "yes", False: "NO", None: ""}[row.met]
    cost = f"{row.cost:,.0f}" if row.cost >= 1000 else f"{row.cost:.3g}"
    return (
        row.area,
        row.what,
        row.client,
        f"{cost} {row.unit}",
        ratio,
        spread,
        _target(row.target),
        met,
    )


def _target(target: float | None) -> str:
    if target is None:
        return ""
    return (
        f"≥ {target:.3g}{TIMES}" if target >= 1 else f"≥ {target:.2f}{TIMES} (1/{1 / target:.3g})"
    )


def _legend(rows: Sequence[Row]) -> str:
    kinds = [f"{area}: {len(list(group))}" for area, group in groupby(rows, lambda row: row.area)]
    judged = [row.met for row in rows if row.met is not None]
    return textwrap.fill(
        f"By ours: the client's cost divided by twofold's in the same round, the median of the"
        f" rounds, then the lowest and the highest. {sum(judged)} of {len(judged)} targets met."
        f" CPython {platform.python_version()}, {platform.system()} {platform.machine()},"
        f" {os.cpu_count()} cores. Rows: {', '.join(kinds)}.",
        100,
    )
