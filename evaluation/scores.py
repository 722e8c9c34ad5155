"""Scores: a row for each view, a row for each object and method, a mean for each subset and method."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from evaluation.baselines import Reencoding, copy_input
from evaluation.mesh_figures import DIGITS as MESH_DIGITS
from evaluation.mesh_figures import MeshFigures
from evaluation.methods import AUTOENCODER, METHODS, TRUTH
from evaluation.metrics.metric_set import MetricSet
from evaluation.object_names import object_category
from evaluation.protocol import INPUT_VIEW, ObjectViews, SubsetName
from evaluation.statistics import bootstrap_mean
from evaluation.whole_objects import consistency, features_of, of_all_objects
from geometry.cameras import spherical_from_position
from geometry.perceptual import NOT_AVAILABLE, Unavailable

# Far below what any picture shows, far above what another number of threads changes in the last bits.
_DIGITS = 4
_TURN_DIGITS = 3


@dataclass(frozen=True)
class TargetPose:
    """Where a target view is seen from, about the origin."""

    view: int
    """Its number among the object's views."""
    azimuth_deg: float
    """From the input view's azimuth, in (−180, 180]."""
    elevation_deg: float
    """Above the horizon."""
    input_elevation_deg: float
    """Of the input view."""


@dataclass(frozen=True)
class ObjectScores:
    """One object's figures by method."""

    uid: str
    title: str
    subset: SubsetName
    methods: dict[str, dict[str, float]]
    """Figures of the object: means over its views, and those that need all views at once."""
    mesh: MeshFigures | None = None
    """Of the model's mesh, where it was asked for."""
    truth: dict[str, float] = field(default_factory=dict)
    """The true views' own consistency, where it was measured."""
    features: dict[str, Float32[np.ndarray, "t d"]] = field(default_factory=dict)
    """What figures of a whole subset need, by method and of the truth."""
    poses: tuple[TargetPose, ...] = ()
    view_figures: dict[str, dict[str, tuple[float, ...]]] = field(default_factory=dict)
    """Figures of each target view, by method and metric, in the order of `poses`."""
    category: str = ""
    """What kind of thing the object is; see `object_category`."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each method; the model's has the figures about its mesh, and why some are not available. The truth's last."""
        about = {"uid": self.uid, "title": self.title, "category": self.category, "subset": self.subset}
        rows = [{**about, "method": name, **scores} for name, scores in self.methods.items()]
        if self.mesh:
            rows[METHODS.index("model")] |= {**self.mesh.values, "mesh": self.mesh.note}
        return rows + ([{**about, "method": TRUTH, **self.truth}] if self.truth else [])

    def view_rows(self) -> list[dict[str, Any]]:
        """A row for each method and target view."""
        about = {"uid": self.uid, "subset": self.subset}
        return [
            {**about, "method": method, **asdict(pose), **{name: values[n] for name, values in figures.items()}}
            for method, figures in self.view_figures.items()
            for n, pose in enumerate(self.poses)
        ]


@dataclass(frozen=True)
class Scorer:
    """Scores the model and the baselines on the same targets.

    Args:
        mean: the mean training picture.
        metrics: the figures.
        reencoding: the true views through the model's autoencoder, or why there are none.
    """

    mean: Float[np.ndarray, "h w 3"]
    metrics: MetricSet
    reencoding: Reencoding | Unavailable

    @property
    def unavailable(self) -> dict[str, str]:
        """Why metrics and methods have no figures, by name."""
        lacking = {AUTOENCODER: self.reencoding.reason} if isinstance(self.reencoding, Unavailable) else {}
        return {**self.metrics.unavailable, **lacking}

    def score(self, views: ObjectViews, predictions: Float[np.ndarray, "t h w 3"], subset: SubsetName) -> ObjectScores:
        """The scores of one object."""
        targets = views.targets
        answers = {
            "model": predictions,
            "copy_input": copy_input(views.condition, len(targets)),
            "mean_image": np.broadcast_to(self.mean, targets.shape),
        }
        if isinstance(self.reencoding, Reencoding):
            answers[AUTOENCODER] = self.reencoding(targets)
        figures = {method: self.metrics.views(pictures, targets) for method, pictures in answers.items()}
        whole = _merged({}, consistency(self.metrics, views, answers))
        truth = whole.pop(TRUTH, {})
        return ObjectScores(
            views.asset.uid,
            views.asset.title,
            subset,
            _merged({method: _means(found) for method, found in figures.items()}, whole),
            poses=target_poses(views.c2w, views.first_target),
            category=object_category(views.asset),
            view_figures={method: _rounded(found) for method, found in figures.items()},
            truth=truth,
            features=features_of(self.metrics, views, answers),
        )


def target_poses(c2w: Float[np.ndarray, "v 4 4"], first: int = INPUT_VIEW + 1) -> tuple[TargetPose, ...]:
    """The poses of the target views.

    Args:
        c2w: of all views, OpenGL axes, Z up, about the origin.
        first: number of the first target.
    """
    spherical = [spherical_from_position(camera[:3, 3]) for camera in c2w]
    elevations = [90.0 - float(np.rad2deg(polar)) for polar, _, _ in spherical]
    turns = [float(np.rad2deg(azimuth - spherical[INPUT_VIEW][1])) for _, azimuth, _ in spherical]
    return tuple(
        TargetPose(
            number,
            round(180.0 - (180.0 - turns[number]) % 360.0, _TURN_DIGITS),
            round(elevations[number], _TURN_DIGITS),
            round(elevations[INPUT_VIEW], _TURN_DIGITS),
        )
        for number in range(first, len(c2w))
    )


def _means(figures: Mapping[str, Float[np.ndarray, " t"]]) -> dict[str, float]:
    return {name: round(float(np.mean(values)), _DIGITS) for name, values in figures.items()}


def _rounded(figures: Mapping[str, Float[np.ndarray, " t"]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(round(float(value), _DIGITS) for value in values) for name, values in figures.items()}


def summary(scores: Sequence[ObjectScores], names: Sequence[str]) -> dict[str, dict[str, float | str]]:
    """Mean of each metric over objects, by method; a metric that is not available says so and is no number.

    The true views' own consistency stands under "truth" where it was measured.

    Args:
        scores: of a subset's objects.
        names: of the metrics.
    """
    found = {method: {name: _mean(_values(scores, method, name)) for name in names} for method in METHODS}
    features = [score.features for score in scores]
    sets = {method: of_all_objects(features, method, names) for method in METHODS}
    truth = {name: _mean(values) for name in names if (values := [s.truth[name] for s in scores if name in s.truth])}
    return _merged(found, sets) | ({TRUTH: truth} if truth else {})


def _merged(
    figures: Mapping[str, Mapping[str, float | str]], more: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """Figures by method with some more, rounded."""
    return {
        method: {**figures.get(method, {}), **{k: round(v, _DIGITS) for k, v in more.get(method, {}).items()}}
        for method in {**figures, **more}
    }


def intervals(scores: Sequence[ObjectScores], names: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """The 95 % confidence interval [low, high] of each available mean of `summary`."""
    found = {method: {name: _values(scores, method, name) for name in names} for method in METHODS}
    return {
        method: {name: _interval(values) for name, values in figures.items() if values}
        for method, figures in found.items()
    }


def _values(scores: Sequence[ObjectScores], method: str, name: str) -> list[float]:
    return [s.methods[method][name] for s in scores if name in s.methods.get(method, {})]


def _mean(values: Sequence[float]) -> float | str:
    return round(float(np.mean(values)), _DIGITS) if values else NOT_AVAILABLE


def _interval(values: Sequence[float]) -> list[float]:
    interval = bootstrap_mean(np.array(values))
    return [round(interval.low, _DIGITS), round(interval.high, _DIGITS)]


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
    """A row for each object and method: uid, title, category, subset, method, psnr, ssim, and what else is available."""
    return pd.DataFrame([row for item in scores for row in item.rows()])


def per_view_table(scores: Sequence[ObjectScores]) -> pd.DataFrame:
    """A row for each object, method and target view: uid, subset, method, `TargetPose`, and the available figures of views."""
    return pd.DataFrame([row for item in scores for row in item.view_rows()])
