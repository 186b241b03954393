"""A sheet to draw on, as SVG that is readable on light and on dark pages."""

from collections.abc import Iterable
from html import escape

_LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2933",
    "soft": "#52606d",
    "line": "#8796a5",
    "plain": "#eef2f6",
    "good": "#d3f0e2",
    "wait": "#fbeabf",
    "bad": "#fbd9d5",
    "work": "#d9e6fb",
}
_DARK = {
    "paper": "#15191e",
    "ink": "#e4e9ee",
    "soft": "#a6b3c0",
    "line": "#738393",
    "plain": "#262d35",
    "good": "#1d4f3a",
    "wait": "#5c4712",
    "bad": "#6b2620",
    "work": "#24406e",
}
_FILLS = ("plain", "good", "wait", "bad", "work")
_RULES = (
    "text{font:14px system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:var(--ink)}"
    ".middle{text-anchor:middle}.end{text-anchor:end}.soft{fill:var(--soft);font-size:13px}"
    ".soft,.strong{paint-order:stroke;stroke:var(--paper);stroke-width:5px;stroke-linejoin:round}"
    ".inside{stroke:none!important}"
    ".strong{font-weight:600}.code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px}"
    ".paper{fill:var(--paper)}rect.box{stroke:var(--line)}"
    ".arrow,.thread{stroke:var(--line);stroke-width:1.5;fill:none}"
    ".dashed{stroke-dasharray:5 4}.head{fill:var(--line)}"
    + "".join(f".{fill}{{fill:var(--{fill})}}" for fill in _FILLS)
)


def _colours(named: dict[str, str]) -> str:
    return "svg{" + ";".join(f"--{name}:{value}" for name, value in named.items()) + "}"


_STYLE = f"{_colours(_LIGHT)}@media(prefers-color-scheme:dark){{{_colours(_DARK)}}}{_RULES}"


class Sheet:
    """A picture of so many units; `title` is what a reader hears who does not see it."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker>'
            "</defs>",
            f'<rect class="paper" width="{width}" height="{height}" rx="10"/>',
        ]

    def __str__(self) -> str:
        return "\n".join([*self._lines, "</svg>\n"])

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Write a line whose foot is at `y`; `kind` names classes of the style."""
        named = f' class="{kind}"' if kind else ""
        self._lines.append(
            f'<text{named} x="{x:.4g}" y="{y:.4g}">{escape(text, quote=False)}</text>'
        )

    def texts(self, x: float, y: float, lines: Iterable[str], kind: str = "") -> None:
        """Write lines below each other."""
        for number, line in enumerate(lines):
            self.text(x, y + 18 * number, line, kind)

    def bar(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """Fill a rectangle."""
        self._lines.append(
            f'<rect class="box {fill}" x="{x:.4g}" y="{y:.4g}" width="{width:.4g}"'
            f' height="{height:.4g}" rx="4"/>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, text: str, kind: str = "plain"
    ) -> None:
        """Fill a rectangle, and write a line into its middle."""
        fill, _, style = kind.partition(" ")
        self.bar(x, y, width, height, fill)
        self.text(x + width / 2, y + height / 2 + 5, text, f"middle inside {style}".strip())

    def line(self, *points: tuple[float, float], kind: str = "thread") -> None:
        """Draw a line through the points."""
        path = "L".join(f"{x:.4g} {y:.4g}" for x, y in points)
        self._lines.append(f'<path class="{kind}" d="M{path}"/>')

    def arrow(self, *points: tuple[float, float], text: str = "", kind: str = "arrow") -> None:
        """Draw a line with a head at its end, and write over its middle what goes along it."""
        path = "L".join(f"{x:.4g} {y:.4g}" for x, y in points)
        self._lines.append(f'<path class="{kind}" marker-end="url(#head)" d="M{path}"/>')
        if text:
            (x, y), (to_x, _) = points[0], points[-1]
            self.text((x + to_x) / 2, y - 6, text, "middle soft")

    def curve(self, x: float, y: float, to_x: float, to_y: float, *, head: bool) -> None:
        """Draw a line, or an arrow, that leaves and arrives straight down."""
        bend, end = (to_y - y) / 2, ' marker-end="url(#head)"' if head else ""
        self._lines.append(
            f'<path class="arrow"{end} d="M{x:.4g} {y:.4g}'
            f'C{x:.4g} {y + bend:.4g} {to_x:.4g} {to_y - bend:.4g} {to_x:.4g} {to_y:.4g}"/>'
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        """Draw a small disc."""
        self._lines.append(
            f'<circle class="{fill}" cx="{x:.4g}" cy="{y:.4g}" r="5" stroke="var(--line)"/>'
        )
