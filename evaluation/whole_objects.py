"""Figures that need more than pairs of pictures: of all views of an object at once, and of all objects of a subset."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from evaluation.methods import TRUTH
from evaluation.metrics.distribution import set_figures
from evaluation.metrics.metric_set import MetricSet
from evaluation.protocol import INPUT_VIEW, ObjectViews

Answers = Mapping[str, Float[np.ndarray, "t h w 3"]]
Features = Mapping[str, Float32[np.ndarray, "t d"]]


def consistency(metrics: MetricSet, views: ObjectViews, answers: Answers) -> dict[str, dict[str, float]]:
    """Figures of scope "object" by method, and of the true views; empty when none is available.

    The given input view stands among the others, also where it is scored: what a method answers for it is left out.

    Args:
        metrics: the figures.
        views: the object.
        answers: pictures of its target views by method, RGB on white in [0, 1].

    Raises:
        StageFailedError: when COLMAP fails.
    """
    if not metrics.objects:
        return {}
    camera, others = views.cameras[INPUT_VIEW], views.cameras[max(views.first_target, INPUT_VIEW + 1) :]
    found = {
        method: metrics.object(pictures[-len(others) :], others, views.condition, camera)
        for method, pictures in {**answers, TRUTH: views.targets}.items()
    }
    return {method: figures for method, figures in found.items() if figures}


def features_of(metrics: MetricSet, views: ObjectViews, answers: Answers) -> dict[str, Float32[np.ndarray, "t d"]]:
    """An object's share of figures of scope "set", by method and of the true views; empty when none is available."""
    found = {method: metrics.features(pictures) for method, pictures in {**answers, TRUTH: views.targets}.items()}
    return {method: features for method, features in found.items() if features is not None}


def of_all_objects(objects: Iterable[Features], method: str, names: Sequence[str]) -> dict[str, float]:
    """Figures of scope "set" of one method; empty with fewer than two views or without features.

    Args:
        objects: features of each, by method and of the truth.
        method: whose.
        names: of figures of any scope.
    """
    pairs = [(found[method], found[TRUTH]) for found in objects if {method, TRUTH} <= found.keys()]
    return set_figures(names, [predicted for predicted, _ in pairs], [truth for _, truth in pairs])
