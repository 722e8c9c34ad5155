"""Line charts as inline SVG: drawn by hand, so that they follow the page's light or dark colours and are the same twice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 14.0, 14.0, 40.0


@dataclass(frozen=True)
class Line:
    """A line of a chart: its CSS class, its name, and its points in order of x."""

    kind: str
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Band:
    """What is shaded behind the lines: (x, low, high) in order of x."""

    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Frame:
    """Where values lie on the chart, pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Place of a value along the chart."""
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Place of a value up the chart."""
        low, high = self.y_range
        return _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)


def chart_svg(
    lines: Sequence[Line],
    band: Band,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    x_spacing: float | None = None,
) -> Markup:
    """Lines over a common x, each point marked, with round numbers along both axes.

    Args:
        lines: at least one, each with at least one point, all values finite.
        band: shaded behind them.
        x_label: what x is.
        y_label: what y is.
        x_range: of the x axis; that of the points when None.
        x_spacing: between numbers of the x axis; round when None.
    """
    places = [x for line in lines for x, _ in line.points]
    values = [y for line in lines for _, y in line.points] + [y for _, *pair in band.points for y in pair]
    frame = Frame(x_range or _widened(min(places), max(places)), _widened(min(values), max(values)))
    parts = _grid(frame, x_spacing)
    if len(band.points) > 1:
        parts.append(_band(frame, band))
    parts += [part for line in lines for part in _line(frame, line)]
    middle = _LEFT + (WIDTH - _LEFT - _RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 4:.1f}" text-anchor="middle">{escape(x_label)}</text>')
    return Markup(  # noqa: S704 - numbers and escaped text alone
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(_spoken(lines, x_label, y_label))}">' + "".join(parts) + "</svg>"
    )


def round_ticks(low: float, high: float, most: int = 6, smallest: float = 0.0) -> list[float]:
    """Round numbers between two values: multiples of 1, 2 or 5 times a power of ten, at most about `most`."""
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    spacing = max(smallest, next(f * unit for f in (1.0, 2.0, 5.0, 10.0) if f * unit >= rough * (1 - 1e-9)))
    return multiples(low, high, spacing)


def multiples(low: float, high: float, spacing: float) -> list[float]:
    """The multiples of a spacing between two values."""
    first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
    return [number * spacing for number in range(first, last + 1)]


def _widened(low: float, high: float) -> tuple[float, float]:
    """The range with a little room, and never without extent."""
    room = 0.06 * (high - low) or max(abs(high) * 0.05, 0.5)
    return low - room, high + room


def _spoken(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """What the chart shows, for who cannot see it."""
    ranges = [
        f"{line.name} {min(y for _, y in line.points):.3g} to {max(y for _, y in line.points):.3g}" for line in lines
    ]
    return f"{y_label} by {x_label}: {'; '.join(ranges)}"


def _grid(frame: Frame, x_spacing: float | None) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    columns = multiples(*frame.x_range, x_spacing) if x_spacing else round_ticks(*frame.x_range)
    return [
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{frame.y(value):.1f}" y2="{frame.y(value):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{frame.y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        for value in round_ticks(*frame.y_range, 5)
    ] + [
        f'<line class="grid" x1="{frame.x(value):.1f}" x2="{frame.x(value):.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text x="{frame.x(value):.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{value:.4g}</text>'
        for value in columns
    ]


def _band(frame: Frame, band: Band) -> str:
    upper = [(x, high) for x, _, high in band.points]
    lower = [(x, low) for x, low, _ in reversed(band.points)]
    return f'<polygon class="band" points="{_points(frame, upper + lower)}"/>'


def _line(frame: Frame, line: Line) -> list[str]:
    dots = [f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.2"/>' for x, y in line.points]
    path = f'<polyline points="{_points(frame, line.points)}"/>' if len(line.points) > 1 else ""
    return [f'<g class="{escape(line.kind)}"><title>{escape(line.name)}</title>{path}{"".join(dots)}</g>']


def _points(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
