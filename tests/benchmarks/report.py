"""The rows as text, as Markdown and as a picture."""

import os
import platform
import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib

from tests.benchmarks.harness import Row

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

TIMES = "\N{MULTIPLICATION SIGN}"
HEAD = ("area", "call", "client", "cost", "by ours", "min..max", "target", "met")

_COLOURS = {True: "#2a7f62", False: "#c0392b", None: "#8a94a6"}


def write(rows: Sequence[Row], folder: Path) -> str:
    """Write all three into `folder`, and return the text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{as_text(rows)}\n\n{_legend(rows)}\n"
    (folder / "table.txt").write_text(text)
    (folder / "table.md").write_text(f"{as_markdown(rows)}\n\n{_legend(rows)}\n")
    draw(rows, folder / "picture.svg")
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


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the peers' costs by ours on a logarithmic scale, with the targets."""
    peers = [row for row in rows if row.ratios is not None]
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.34 * len(peers)), layout="constrained")
    for place, row in enumerate(peers):
        _draw_bar(axes, place, row)
    axes.set_yticks(range(len(peers)), [_label(row) for row in peers], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("the peer's cost, in times twofold's (median; whisker: lowest to highest)")
    axes.set_title("twofold = 1; ◆ target; green: met, red: missed, grey: no target", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    with pyplot.rc_context({"svg.hashsalt": "twofold"}):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_bar(axes: Axes, place: int, row: Row) -> None:
    assert row.ratios is not None
    middle, low, high = row.ratios
    # Bars begin at 1, to the left where the peer is the faster one.
    axes.barh(place, middle - 1, left=1, color=_COLOURS[row.met], height=0.6)
    axes.plot([low, high], [place, place], color="black", linewidth=1)
    if row.target is not None:
        axes.plot(row.target, place, marker="D", color="black", markersize=5)
    axes.annotate(
        f"{middle:.3g}{TIMES}",
        (max(high, middle, row.target or 0, 1), place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _label(row: Row) -> str:
    return f"{row.area} {row.what} · {row.client}"


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
