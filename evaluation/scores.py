"""Scores of objects and their summary: a row for each object and method, a mean for each subset and method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from evaluation.baselines import copy_input
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

    def rows(self) -> list[dict[str, Any]]:
        """A row for each method."""
        about = {"uid": self.uid, "title": self.title, "subset": self.subset}
        return [{**about, "method": name, **scores} for name, scores in self.methods.items()]


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


def per_object_table(scores: Sequence[ObjectScores]) -> pd.DataFrame:
    """A row for each object and method: uid, title, subset, method, psnr, ssim, and lpips where it is available."""
    return pd.DataFrame([row for item in scores for row in item.rows()])
