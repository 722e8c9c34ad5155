"""Figures by where a target is seen from: how much harder the back is than the front, and how far a model can look down.

Each point is the mean over all target views of a subset whose azimuth or elevation falls together; the band holds the middle
half of the model's views. An orbit has a point at each of its azimuths; random cameras are put together in steps of 30° and 15°.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from markupsafe import Markup

from evaluation.chart import Band, Line, chart_svg
from evaluation.methods import AUTOENCODER
from evaluation.metrics.definitions import METRICS, MetricDefinition
from stage.files import replacing

Axis = Literal["azimuth_deg", "elevation_deg"]
_STEPS: dict[Axis, float] = {"azimuth_deg": 30.0, "elevation_deg": 15.0}
_HIGHEST: dict[Axis, float] = {"azimuth_deg": 180.0, "elevation_deg": 90.0}
_LABELS: dict[Axis, str] = {
    "azimuth_deg": "azimuth from the input view, degrees",
    "elevation_deg": "elevation, degrees",
}
# An orbit of 36 views keeps its own azimuths.
_MOST_PLACES = 40
ANGLES_FILE = "by_azimuth.csv"
# In spreads of the other methods' views.
_FAR = 2.0
_DIGITS = 4


@dataclass(frozen=True)
class ViewCharts:
    """The charts of one figure; None where all targets share the angle."""

    metric: MetricDefinition
    azimuth: Markup | None
    elevation: Markup | None
    outside: str = ""
    """What is left out since it lies far from all else."""


def places(angles: Float[np.ndarray, " n"], step: float, highest: float = 180.0) -> Float[np.ndarray, " n"]:
    """The angle that each view counts under: its own where there are few, the middle of a step otherwise.

    Args:
        angles: degrees.
        step: degrees.
        highest: angle there is, degrees; it counts under the step below it.
    """
    rounded = np.round(angles.astype(np.float64), 1)
    if len(np.unique(rounded)) <= _MOST_PLACES:
        return rounded
    return np.floor(np.minimum(angles, highest - 1e-6) / step) * step + step / 2


def by_angle(views: pd.DataFrame, axis: Axis, metrics: Sequence[str]) -> pd.DataFrame:
    """A row for each angle and method: means of the metrics, quartiles, and the number of views.

    Args:
        views: rows of `per_view.parquet` of one subset.
        axis: which angle.
        metrics: names of figures of views.

    Returns:
        Columns `axis`, method, views, and for each metric `name`, `name_low` and `name_high` (its quartiles).
    """
    angles = places(views[axis].to_numpy(), _STEPS[axis], _HIGHEST[axis])
    grouped = views.assign(**{axis: angles}).groupby([axis, "method"], sort=True)
    table = grouped.size().rename("views").to_frame()
    for name in metrics:
        table[name] = grouped[name].mean()
        table[f"{name}_low"] = grouped[name].quantile(0.25)
        table[f"{name}_high"] = grouped[name].quantile(0.75)
    return table.reset_index()


def write_angles(path: Path, views: pd.DataFrame) -> None:
    """Write the means by azimuth as DVC plots them: a row for each azimuth, a column `<metric>_<method>` for each line.

    Args:
        path: a CSV file.
        views: rows of `per_view.parquet` of one subset.
    """
    axis: Axis = "azimuth_deg"
    metrics = [name for name in METRICS if name in views.columns]
    wide = by_angle(views.dropna(subset=[axis]), axis, metrics).pivot_table(
        index=axis, columns="method", values=metrics
    )
    wide.columns = pd.Index(["_".join(labels) for labels in wide.columns.to_flat_index()])
    with replacing(path) as temporary:
        wide.round(_DIGITS).reset_index().to_csv(temporary, index=False)


def view_charts(
    views: pd.DataFrame, definitions: Sequence[MetricDefinition], methods: Sequence[str], names: dict[str, str]
) -> list[ViewCharts]:
    """Charts of each figure of views.

    Args:
        views: rows of `per_view.parquet` of one subset.
        definitions: of all figures; those that the table lacks are left out.
        methods: in the order of their lines.
        names: of the methods, for people.
    """
    known = {str(name) for name in views.columns if bool(views[name].notna().any())}
    shown = [definition for definition in definitions if definition.scope == "view" and definition.name in known]
    return [_charts(views, definition, methods, names) for definition in shown]


def _charts(
    views: pd.DataFrame, definition: MetricDefinition, methods: Sequence[str], names: dict[str, str]
) -> ViewCharts:
    far = _far_bound(views, definition.name)
    drawn = [method for method in methods if far is None or method != AUTOENCODER]
    outside = (
        "" if far is None else f"{names.get(AUTOENCODER, AUTOENCODER)} lies outside, at {far:.{definition.digits}f}"
    )
    return ViewCharts(
        definition,
        _chart(views, "azimuth_deg", definition, drawn, names),
        _chart(views, "elevation_deg", definition, drawn, names),
        outside,
    )


def _far_bound(views: pd.DataFrame, name: str) -> float | None:
    """The mean of the upper bound where it is so far from all else that the other lines would lie on one another."""
    bound = views.loc[views["method"] == AUTOENCODER, name].dropna()
    others = views.loc[views["method"] != AUTOENCODER, name].dropna()
    if bound.empty or others.empty:
        return None
    low, high = (float(others.quantile(share)) for share in (0.05, 0.95))
    mean = float(bound.mean())
    return mean if max(mean - high, low - mean) > _FAR * (high - low) else None


def _chart(
    views: pd.DataFrame, axis: Axis, definition: MetricDefinition, methods: Sequence[str], names: dict[str, str]
) -> Markup | None:
    views = views.dropna(subset=[axis]) if axis in views.columns else views.head(0)
    if views.empty or views[axis].round(1).nunique() < 2:
        return None
    name = definition.name
    table = by_angle(views, axis, [name]).dropna(subset=[name])
    rows = {method: table[table["method"] == method] for method in methods}
    lines = [
        Line(method, names.get(method, method), _points(found, axis, name))
        for method, found in rows.items()
        if not found.empty
    ]
    columns = [axis, f"{name}_low", f"{name}_high"]
    ends = rows[methods[0]][columns].to_numpy(float)
    band = Band([(float(x), float(low), float(high)) for x, low, high in ends])
    turns = axis == "azimuth_deg"
    return chart_svg(
        lines,
        band,
        _LABELS[axis],
        ", ".join(filter(None, (definition.title, definition.unit))),
        x_range=(-180.0, 180.0) if turns else None,
        x_spacing=45.0 if turns else None,
    )


def _points(rows: pd.DataFrame, x: str, y: str) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in rows[[x, y]].to_numpy(float)]
