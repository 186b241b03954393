"""The rows as a picture: bars on a logarithmic scale, as a small SVG of shapes and text."""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from tests.benchmarks.harness import Row

TIMES = "\N{MULTIPLICATION SIGN}"

_COLOURS = {True: "#2a7f62", False: "#c0392b", None: "#8a94a6"}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.label{text-anchor:end}"
    ".middle{text-anchor:middle}.grid{stroke:#ddd}.one,.range{stroke:#222}.target{fill:#222}"
)
_LEFT, _RIGHT = 440, 960  # where the scale begins and ends
_WIDTH = _RIGHT + 70
_TOP = 56
_ROW = 22


def svg(rows: Sequence[Row]) -> str:
    """Return the peers' costs by ours, with their ranges and targets."""
    peers = [row for row in rows if row.ratios is not None]
    scale = _Scale(peers)
    bottom = _TOP + _ROW * len(peers)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 34}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{bottom + 34}" fill="#fff"/>',
        _text(_WIDTH / 2, 20, "What others cost, in times twofold's", "middle"),
        _text(
            _WIDTH / 2,
            38,
            "bar: median; line: lowest to highest; ◆ target;"
            " green: met, red: missed, grey: no target",
            "middle",
        ),
        *_axis(scale, bottom),
    ]
    for place, row in enumerate(peers):
        lines += _bar(row, scale, _TOP + _ROW * place + _ROW / 2)
    return "\n".join([*lines, "</svg>\n"])


class _Scale:
    """Where a ratio is, between the lowest and the highest power of ten."""

    def __init__(self, peers: Sequence[Row]) -> None:
        found = [1.0, *(row.target for row in peers if row.target is not None)]
        found += [each for row in peers for each in row.ratios or ()]
        self.powers: range = range(floor(log10(min(found))), ceil(log10(max(found))) + 1)

    def __call__(self, ratio: float) -> float:
        span = max(1, self.powers[-1] - self.powers[0])
        return _LEFT + (_RIGHT - _LEFT) * (log10(ratio) - self.powers[0]) / span


def _axis(scale: _Scale, bottom: int) -> Iterator[str]:
    for power in scale.powers:
        at = scale(10.0**power)
        kind = "grid" if power else "one"
        yield f'<path class="{kind}" d="M{at:.0f} {_TOP}V{bottom}"/>'
        yield _text(at, bottom + 18, f"{10.0**power:,g}{TIMES}", "middle")


def _bar(row: Row, scale: _Scale, at: float) -> Iterator[str]:
    assert row.ratios is not None
    one, middle, low, high = map(scale, (1, *row.ratios))
    # Bars begin at 1, to the left where the peer is the faster one.
    yield _text(_LEFT - 8, at + 4, f"{row.area} {row.what} · {row.client}", "label")
    yield (
        f'<rect x="{min(one, middle):.0f}" y="{at - 7:.0f}" width="{abs(middle - one):.0f}"'
        f' height="14" fill="{_COLOURS[row.met]}"/>'
    )
    yield f'<path class="range" d="M{low:.0f} {at:.0f}H{high:.0f}"/>'
    end = max(one, middle, high)
    if row.target is not None:
        target = scale(row.target)
        yield f'<path class="target" d="M{target:.0f} {at - 5:.0f}l5 5-5 5-5-5z"/>'
        end = max(end, target + 5)
    yield _text(end + 6, at + 4, f"{row.ratios[0]:.3g}{TIMES}")


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}">{escape(text, quote=False)}</text>'
