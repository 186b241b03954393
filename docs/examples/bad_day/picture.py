"""The day as a picture: for each of the options, queries and errors by the ten seconds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

LEFT, RIGHT, TOP = 130, 850, 56
ROW, HEIGHT = 74, 56  # of a row, of its highest bar
STEP = 10  # seconds
WIDTH = 1000
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.end{text-anchor:end}"
    ".middle{text-anchor:middle}.well{fill:none}.slow{fill:#fdf3d8}.down{fill:#fbe3e0}"
    ".queries{stroke:#2a7f62}.errors{stroke:#c0392b}.base{stroke:#999}"
)


def svg(results: Sequence[Any], phases: Sequence[tuple[str, float, float]]) -> str:
    """Return the picture; `phases` are names of a style, and from when to when they last."""
    end = phases[-1][2]
    bottom = TOP + ROW * len(results)
    most = max(max(_by_step(each.queries).values()) for each in results)

    def x(second: float) -> float:
        return LEFT + (RIGHT - LEFT) * second / end

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 10}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{bottom + 10}" fill="#fff"/>',
        _text(
            LEFT, 20, "A bad day: queries (green) and errors that users see (red), by 10 seconds"
        ),
    ]
    for name, begin, until in phases:
        lines.append(
            f'<rect class="{name}" x="{x(begin):.0f}" y="{TOP - 16}"'
            f' width="{x(until) - x(begin):.0f}" height="{bottom - TOP + 16}"/>'
        )
        lines.append(_text((x(begin) + x(until)) / 2, TOP - 4, name, "middle"))
    for place, result in enumerate(results):
        base = TOP + ROW * (place + 1)
        lines += _row(result, base, HEIGHT / most, x)
    return "\n".join([*lines, "</svg>\n"])


def _row(result: Any, base: float, scale: float, x: Any) -> Iterator[str]:
    yield f'<path class="base" d="M{LEFT} {base}H{RIGHT}"/>'
    yield _text(LEFT - 8, base - 4, result.name, "end")
    width = x(STEP) - x(0)
    for shift, (kind, times) in enumerate((("queries", result.queries), ("errors", result.errors))):
        bars = "".join(
            f"M{x(step * STEP) + width * (shift + 0.6) / 2.2:.0f} {base}v-{count * scale:.0f}"
            for step, count in sorted(_by_step(times).items())
        )
        yield f'<path class="{kind}" stroke-width="{width / 2.6:.0f}" d="{bars}"/>'
    yield _text(RIGHT + 8, base - 36, f"{len(result.queries):,} queries")
    yield _text(RIGHT + 8, base - 20, f"{len(result.errors):,} errors")
    yield _text(RIGHT + 8, base - 4, f"p99 {result.p99:.2f} s")


def _by_step(times: Sequence[float]) -> Counter[int]:
    return Counter(int(time // STEP) for time in times)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}">{escape(text, quote=False)}</text>'
