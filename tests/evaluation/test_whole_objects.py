"""Figures of all views and of all objects, by method and of the truth, from the scores to the summary."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_support import asset, object_scores
from learned_metrics_support import installed
from textured_ball_support import ball_pictures, noisy, orbit_views

from evaluation.baselines import copy_input
from evaluation.metrics.distribution import frechet_distance
from evaluation.metrics.metric_set import MetricSet
from evaluation.metrics.parameters import MetricParameters
from evaluation.protocol import ObjectViews
from evaluation.scores import per_object_table, summary
from evaluation.whole_objects import consistency, features_of, of_all_objects
from geometry.perceptual import NOT_AVAILABLE


def ball(uid: str, seed: int, count: int = 6, size: int = 64) -> ObjectViews:
    cameras = orbit_views(count, size)
    return ObjectViews(asset(uid, "test"), ball_pictures(cameras, seed), tuple(cameras))


def answers_to(views: ObjectViews) -> dict[str, np.ndarray]:
    return {
        "model": noisy(views.targets, 0.05),
        "copy_input": copy_input(views.condition, len(views.targets)),
        "mean_image": np.broadcast_to(views.targets.mean(axis=(0, 1, 2)), views.targets.shape),
    }


def scored(views: ObjectViews, metrics: MetricSet):
    answers = answers_to(views)
    blank = object_scores(views.asset.uid, "unseen", 20.0, 15.0, 14.0)
    figures = consistency(metrics, views, answers)
    methods = {method: means | figures.get(method, {}) for method, means in blank.methods.items()}
    features = features_of(metrics, views, answers)
    return replace(blank, methods=methods, truth=figures.get("truth", {}), features=features)


def test_the_truth_stands_beside_the_methods_where_consistency_is_measured() -> None:
    metrics = MetricSet.of(MetricParameters(names=("psnr", "sift_matches")))
    scores = [scored(ball(uid, seed), metrics) for seed, uid in enumerate(("a", "b"))]
    found = summary(scores, metrics.names)
    assert found["truth"].keys() == {"sift_matches"}
    assert found["model"]["psnr"] == 20.0
    # A picture without texture has no keypoints; one that never turns is matched whole, which is why both stand there.
    assert found["mean_image"]["sift_matches"] < found["truth"]["sift_matches"] < found["copy_input"]["sift_matches"]
    mean = np.mean([s.methods["model"]["sift_matches"] for s in scores])
    assert found["model"]["sift_matches"] == pytest.approx(mean, abs=1e-4)
    table = per_object_table(scores)
    own = table[table["method"] == "truth"]
    assert own["sift_matches"].mean() == pytest.approx(found["truth"]["sift_matches"], abs=1e-4)
    assert own["psnr"].isna().all()


def test_an_input_that_is_scored_stands_once_in_the_ring() -> None:
    metrics = MetricSet.of(MetricParameters(names=("sift_matches",)))
    plain = ball("a", 0)
    all_scored = replace(plain, first_target=0)
    wanted, found = (consistency(metrics, views, answers_to(views)) for views in (plain, all_scored))
    assert found["truth"] == wanted["truth"]
    assert found["copy_input"] == wanted["copy_input"]
    assert found.keys() == wanted.keys()


def test_views_of_no_orbit_leave_no_truth_and_no_number() -> None:
    metrics = MetricSet.of(MetricParameters(names=("psnr", "sift_matches")))
    whole = ball("a", 0)
    part = ObjectViews(whole.asset, whole.views[:4], whole.cameras[:4])
    found = summary([scored(part, metrics)], metrics.names)
    assert "truth" not in found
    assert found["model"] == {"psnr": 20.0, "sift_matches": NOT_AVAILABLE}


def test_figures_of_a_subset_are_of_all_its_views(tmp_path: Path) -> None:
    with installed(tmp_path):
        torch.save({"matrix": torch.eye(3)}, tmp_path / "inception.pth")
        metrics = MetricSet.of(MetricParameters(names=("psnr", "fid"), inception=str(tmp_path / "inception.pth")))
    scores = [scored(ball(uid, seed), metrics) for seed, uid in enumerate(("a", "b"))]
    found = summary(scores, metrics.names)
    stacked = {m: np.concatenate([s.features[m] for s in scores]) for m in ("model", "mean_image", "truth")}
    assert stacked["truth"].shape == (10, 3)
    for method in ("model", "mean_image"):
        expected = frechet_distance(stacked[method], stacked["truth"])
        assert found[method]["fid"] == pytest.approx(expected, abs=1e-4)
    assert found["model"]["fid"] < found["mean_image"]["fid"]
    assert "truth" not in found
    # The mean of objects' own distances is another figure.
    apart = np.mean([of_all_objects([s.features], "model", ["fid"])["fid"] for s in scores])
    assert abs(apart - found["model"]["fid"]) > 1e-3


def test_without_features_a_figure_of_a_subset_is_not_available() -> None:
    scores = [object_scores("a", "unseen", 20.0, 15.0, 14.0)]
    assert summary(scores, ("psnr", "fid"))["model"] == {"psnr": 20.0, "fid": NOT_AVAILABLE}
    assert of_all_objects([{"model": np.ones((1, 3)), "truth": np.ones((1, 3))}], "model", ["fid"]) == {}
