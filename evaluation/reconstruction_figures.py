"""Figures about reconstructions: means with intervals, columns of the table of objects, and the objects that have none."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evaluation.mesh_figures import DIGITS, MeshFigures
from evaluation.methods import MODEL
from evaluation.parameters import ReconstructionParameters
from evaluation.problems import Problem
from evaluation.protocol import SubsetName
from evaluation.statistics import bootstrap_mean
from geometry.perceptual import NOT_AVAILABLE
from reconstruction.optimisation.section import field_values

PREFIX = "reconstruction"
"""Of the columns in `per_object.parquet`, where the same figures may stand of a mesh that the model made itself."""


def reconstruction_summary(found: Mapping[str, MeshFigures], names: Sequence[str]) -> dict[str, Any]:
    """Mean of each figure over the objects that have it, its 95 % confidence interval, and how many objects these are.

    Args:
        found: figures of a subset's objects by uid.
        names: of the figures.

    Returns:
        Under a figure's name its mean; `measured` and `intervals` by name; `objects`, and of these `failed`: those without any
        figure.
    """
    values = {name: [each.values[name] for each in found.values() if name in each.values] for name in names}
    intervals = {name: bootstrap_mean(np.array(known)) for name, known in values.items() if known}
    return {
        "objects": len(found),
        "failed": sum(not each.values for each in found.values()),
        **{name: round(intervals[name].mean, DIGITS) if name in intervals else NOT_AVAILABLE for name in names},
        "measured": {name: len(known) for name, known in values.items()},
        "intervals": {name: [round(each.low, DIGITS), round(each.high, DIGITS)] for name, each in intervals.items()},
    }


def reconstruction_lines(metrics: Mapping[str, Any]) -> list[str]:
    """A line a subset: "unseen: CD L1 0.0321, IoU 64³ 0.5210 of 4 of 5 objects"; nothing where nothing was reconstructed.

    Args:
        metrics: content of `metrics.json`.
    """
    return [
        f"{subset}: {_words(found)} of {found['objects'] - found['failed']} of {found['objects']} objects"
        for subset, found in metrics.get("reconstruction", {}).items()
    ]


def _words(found: Mapping[str, Any]) -> str:
    shown = {"Chamfer distance": found["chamfer_l1"], "volume IoU": found["iou_grid"]}
    return ", ".join(f"{title} {v if isinstance(v, str) else f'{v:.4f}'}" for title, v in shown.items())


def reconstruction_details(chosen: ReconstructionParameters) -> dict[str, Any]:
    """What `details.json` says of how objects were reconstructed."""
    further = chosen.model_dump(mode="json", include={"mesh", "views", "subsets", "max_objects", "figures"})
    return {**field_values(chosen), **further}


def with_reconstructions(
    table: pd.DataFrame, found: Mapping[SubsetName, Mapping[str, MeshFigures]], names: Sequence[str]
) -> pd.DataFrame:
    """The table of objects with a column for each figure, and one that says why some are not available.

    Args:
        table: `per_object.parquet`; the model's rows get the figures.
        found: figures by subset and uid.
        names: of the figures.
    """
    rows = [
        {"subset": subset, "uid": uid, "method": MODEL, PREFIX: each.note}
        | {column(name): each.values.get(name, np.nan) for name in names}
        for subset, figures in found.items()
        for uid, each in figures.items()
    ]
    added = pd.DataFrame(rows, columns=["subset", "uid", "method", PREFIX, *map(column, names)])
    return table.merge(added, how="left", on=["subset", "uid", "method"])


def column(name: str) -> str:
    """A figure's column in the table of objects."""
    return f"{PREFIX}_{name}"


def reconstruction_problems(
    subset: SubsetName, found: Mapping[str, MeshFigures], titles: Mapping[str, str]
) -> list[Problem]:
    """Figures that objects lack; in the means they are left out.

    Args:
        subset: the objects'.
        found: their figures by uid.
        titles: their titles by uid.
    """
    return [
        Problem(f"evaluate, {subset}", uid, titles.get(uid, uid), "used", f"reconstruction {each.note}")
        for uid, each in found.items()
        if each.missing
    ]
