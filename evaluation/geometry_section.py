"""The report's section about meshes: each figure with its definition, its mean by subset, and every object's."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from evaluation.mesh_figures import definitions
from evaluation.parameters import GeometryParameters
from geometry.perceptual import NOT_AVAILABLE

_SUBSETS = ("unseen", "training")
_WORST_BY = "chamfer_l1"


def geometry_section(
    metrics: dict[str, Any], details: dict[str, Any], table: pd.DataFrame, most: int
) -> dict[str, Any] | None:
    """What the template shows; None where no figure about meshes was asked for.

    Args:
        metrics: content of `metrics.json`.
        details: content of `details.json`.
        table: `per_object.parquet`.
        most: rows of objects.
    """
    if "geometry" not in metrics:
        return None
    subsets = [name for name in _SUBSETS if name in metrics["geometry"]]
    figures = definitions(GeometryParameters.model_validate(details["geometry"]))
    objects = _object_rows(table, list(figures))
    return {
        "figures": [
            {**vars(figure), "subsets": [mean_cell(metrics["geometry"][subset], name) for subset in subsets]}
            for name, figure in figures.items()
        ],
        "subsets": subsets,
        "objects": objects[:most],
        "objects_total": len(objects),
    }


def mean_cell(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """A figure's mean over a subset, or why there is none, and of how many of its objects."""
    words = isinstance(summary[name], str)
    return {
        "mean": summary[name] if words else figure_text(summary[name]),
        "words": words,
        "measured": summary["measured"][name],
        "objects": summary["objects"],
    }


def _object_rows(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row an object, those without a mesh first and then the farthest from the asset."""
    rows = table[table["method"] == "model"].reindex(columns=["uid", "title", "subset", *names])
    ordered = rows.sort_values([_WORST_BY, "uid"], ascending=[False, True], na_position="first")
    return [
        {
            **{key: row[key] for key in ("uid", "title", "subset")},
            "cells": [{"text": figure_text(row[name]), "words": pd.isna(row[name])} for name in names],
        }
        for row in ordered.to_dict("records")
    ]


def figure_text(value: float) -> str:
    """A figure about meshes: four digits after the point, or as many as show the first two of a small figure."""
    if pd.isna(value):
        return NOT_AVAILABLE
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
