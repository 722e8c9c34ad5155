"""Scores of objects and their summary: a row for each object and method, a mean for each subset and method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from evaluation.baselines import copy_input
from evaluation.mesh_figures import DIGITS as MESH_DIGITS
from evaluation.mesh_figures import MeshFigures
from evaluation.metrics import Lpips, score_views
from evaluation.protocol import ObjectViews, SubsetName
from geometry.perceptual import NOT_AVAILABLE, Unavailable

METHODS = ("model", "copy_input", "mean_image")
METRICS = ("psnr", "ssim", "lpips")
# Far below what any picture shows, far above what another number of threads changes in the last bits.
_DIGITS = 4


@dataclass(frozen=True)
class ObjectScores:
    """One object's metrics by method."""

    uid: str
    title: str
    subset: SubsetName
    methods: dict[str, dict[str, float]]
    mesh: MeshFigures | None = None
    """Of the model's mesh, where it was asked for."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each method; the model's has the figures about its mesh, and why some are not available."""
        about = {"uid": self.uid, "title": self.title, "subset": self.subset}
        rows = [{**about, "method": name, **scores} for name, scores in self.methods.items()]
        if self.mesh:
            rows[METHODS.index("model")] |= {**self.mesh.values, "mesh": self.mesh.note}
        return rows


@dataclass(frozen=True)
class Scorer:
    """Scores the model and the baselines on the same targets.

    Args:
        mean: the mean training picture.
        lpips: the metric, or why it is not available.
    """

    mean: Float[np.ndarray, "h w 3"]
    lpips: Lpips | Unavailable

    def score(self, views: ObjectViews, predictions: Float[np.ndarray, "t h w 3"], subset: SubsetName) -> ObjectScores:
        """The scores of one object."""
        targets = views.targets
        answers = {
            "model": predictions,
            "copy_input": copy_input(views.condition, len(targets)),
            "mean_image": np.broadcast_to(self.mean, targets.shape),
        }
        methods = {
            name: {k: round(v, _DIGITS) for k, v in score_views(pictures, targets, self.lpips).items()}
            for name, pictures in answers.items()
        }
        return ObjectScores(views.asset.uid, views.asset.title, subset, methods)


def summary(scores: Sequence[ObjectScores]) -> dict[str, dict[str, float | str]]:
    """Mean of each metric over objects, by method; a metric that is not available says so and is no number."""
    return {method: {metric: _mean(scores, method, metric) for metric in METRICS} for method in METHODS}


def _mean(scores: Sequence[ObjectScores], method: str, metric: str) -> float | str:
    values = [s.methods[method][metric] for s in scores if metric in s.methods[method]]
    return round(float(np.mean(values)), _DIGITS) if values else NOT_AVAILABLE


def mesh_summary(scores: Sequence[ObjectScores], names: Sequence[str]) -> dict[str, Any]:
    """Mean of each figure about meshes over the objects that have it, and under `measured` how many these are.

    Args:
        scores: of a subset's objects.
        names: of the figures.
    """
    meshes = [score.mesh for score in scores if score.mesh]
    values = {name: [mesh.values[name] for mesh in meshes if name in mesh.values] for name in names}
    means = {
        name: round(float(np.mean(found)), MESH_DIGITS) if found else NOT_AVAILABLE for name, found in values.items()
    }
    return {"objects": len(scores), **means, "measured": {name: len(found) for name, found in values.items()}}


def per_object_table(scores: Sequence[ObjectScores]) -> pd.DataFrame:
    """A row for each object and method: uid, title, subset, method, psnr, ssim, and what else is available."""
    return pd.DataFrame([row for item in scores for row in item.rows()])
