"""The report's section about reconstructions: figures with intervals, every object's, and what was published of the same kind."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from evaluation.geometry_section import figure_text, mean_cell
from evaluation.mesh_figures import Definition, definitions
from evaluation.methods import MODEL
from evaluation.parameters import GeometryParameters
from evaluation.published.tables import PublishedTable, published_reconstructions
from evaluation.reconstruction_figures import PREFIX, column

_WORST_BY = "chamfer_l1"
# Objects without some figure that are named with the reason.
_LISTED = 20
_TITLES = {"neus": "NeuS", "sjc": "SJC", "sds": "SDS", "anchored-sds": "anchored SDS"}
_FROM = {"model": "its input view and the views that the model made of it", "truth": "its true views"}
_FROM_PRIOR = "its input view, with the model for a prior"


def reconstruction_section(
    metrics: dict[str, Any], details: dict[str, Any], table: pd.DataFrame, most: int
) -> dict[str, Any] | None:
    """What the template shows; None where nothing was reconstructed.

    Args:
        metrics: content of `metrics.json`.
        details: content of `details.json`.
        table: `per_object.parquet`.
        most: rows of objects.
    """
    if "reconstruction" not in metrics:
        return None
    found, told = metrics["reconstruction"], details["reconstruction"]
    figures = definitions(GeometryParameters.model_validate(told["figures"]))
    objects = _object_rows(table, list(figures))
    lacking = [row for row in objects if row["note"]]
    return {
        "method": _TITLES[told["method"]],
        "steps": told["loop"]["steps"],
        "shown": _FROM[told["views"]] if told["method"] == "neus" else _FROM_PRIOR,
        "subsets": list(found),
        "failed": {name: each for name, each in found.items() if each["failed"]},
        "figures": [
            {**vars(figure), "subsets": [_mean(each, name) for each in found.values()]}
            for name, figure in figures.items()
        ],
        "lacking": lacking[:_LISTED],
        "lacking_total": len(lacking),
        "objects": objects[:most],
        "objects_total": len(objects),
        "published": [_published(each, figures) for each in published_reconstructions()],
    }


def _mean(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """The same with its interval."""
    return {**mean_cell(summary, name), "interval": [figure_text(end) for end in summary["intervals"].get(name, [])]}


def _object_rows(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a reconstructed object, those without a mesh first and then the farthest from the asset."""
    asked = table[(table["method"] == MODEL) & table[PREFIX].notna()]
    ordered = asked.sort_values([column(_WORST_BY), "uid"], ascending=[False, True], na_position="first")
    return [
        {
            **{key: row[key] for key in ("uid", "title", "subset")},
            "cells": [{"text": figure_text(row[column(name)]), "words": pd.isna(row[column(name)])} for name in names],
            "note": row[PREFIX],
        }
        for row in ordered.to_dict("records")
    ]


def _published(table: PublishedTable, figures: dict[str, Definition]) -> dict[str, Any]:
    """A published table, and above each of its columns which of our figures is defined in that way."""
    ours = table.figures or (None,) * len(table.columns)
    return {"table": table, "ours": [figures[name].short if name in figures else None for name in ours]}
