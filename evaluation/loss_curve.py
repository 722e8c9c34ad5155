"""The training loss as inline SVG: every step faintly, the smoothed curve on top.

Drawn by hand and not by a plotting library, so that it follows the page's light or dark colours and always has the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from markupsafe import Markup

from stage.errors import InputError

_WIDTH, _HEIGHT = 860.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 28.0, 12.0, 40.0
# More points than pixels only make the file larger.
_MAX_POINTS = 1000


@dataclass(frozen=True)
class Curve:
    """Loss by step: as logged, and smoothed: an exponential mean of its logarithm."""

    steps: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    smooth: Float[np.ndarray, " n"]


def read_loss(path: Path) -> Curve | None:
    """The curve of a `loss.csv` (step, loss, …); None when there is no file or no usable row.

    Raises:
        InputError: when the file is no such table.
    """
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path)[["step", "loss"]].astype(float)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path} is no loss curve: {str(error).splitlines()[0]}", "run viewforge train again"
        ) from None
    table = table[np.isfinite(table["loss"]) & (table["loss"] > 0)]
    if table.empty:
        return None
    # The mean of the logarithm follows the fall of the first steps; a plain mean would drag them along.
    smooth = np.exp(np.log(table["loss"]).ewm(span=max(2, len(table) // 40)).mean())
    return Curve(table["step"].to_numpy(), table["loss"].to_numpy(), smooth.to_numpy())


def loss_svg(curve: Curve) -> Markup:
    """The curve on a logarithmic axis of loss, as an `<svg>` whose colours come from the page's classes."""
    low, high = np.log10(curve.loss.min()), np.log10(curve.loss.max())
    low, high = (low, high) if high - low > 0.1 else (low - 0.05, high + 0.05)
    first, last = curve.steps[0], max(curve.steps[-1], curve.steps[0] + 1)

    def x(step: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return _LEFT + (step - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return _TOP + (high - np.log10(loss)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    loss_ticks, step_ticks = _loss_ticks(low, high), _step_ticks(first, last)
    parts = [_loss_tick(value, place) for value, place in zip(loss_ticks, y(loss_ticks), strict=True)]
    parts += [_step_tick(value, place) for value, place in zip(step_ticks, x(step_ticks), strict=True)]
    every = slice(None, None, -(-len(curve.steps) // _MAX_POINTS))
    places = x(curve.steps[every])
    parts.append(_line("raw", places, y(curve.loss[every])))
    parts.append(_line("smooth", places, y(curve.smooth[every])))
    middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 4:.1f}" text-anchor="middle">step</text>')
    title = f"Training loss from {curve.loss[0]:.3g} to {curve.smooth[-1]:.3g} over {len(curve.steps)} logged steps"
    return Markup(  # noqa: S704 - numbers and our own markup alone
        f'<svg class="curve" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{title}">'
        + "".join(parts)
        + "</svg>"
    )


def _loss_ticks(low: float, high: float) -> Float[np.ndarray, " n"]:
    """1, 2 and 5 times the powers of ten between two powers; thinned out where there are many."""
    factors = (1.0, 2.0, 5.0) if high - low < 3 else (1.0,)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = np.array([factor * 10.0**power for power in powers for factor in factors])
    inside = ticks[(np.log10(ticks) >= low) & (np.log10(ticks) <= high)]
    return inside if len(inside) > 1 else 10.0 ** np.linspace(low, high, 4)


def _step_ticks(first: float, last: float) -> Float[np.ndarray, " n"]:
    """At most about eight round numbers of steps."""
    rough = (last - first) / 7
    unit = 10.0 ** np.floor(np.log10(rough))
    spacing = max(1.0, next(f * unit for f in (1.0, 2.0, 5.0, 10.0) if f * unit >= rough))
    return np.arange(np.ceil(first / spacing), np.floor(last / spacing) + 1) * spacing


def _loss_tick(value: float, place: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    )


def _step_tick(value: float, place: float) -> str:
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text x="{place:.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{value:,.0f}</text>'
    )


def _line(name: str, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="{name}" points="{points}"/>'
