"""Figures of scored folders that need all views of an object, or all objects: where they come from and when they are missing."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from folder_support import HereExecutor, score_here, write_pair
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from cli.evaluation_folders import FolderRequest, score_folders
from evaluation.folders import object_scoring, scoring
from evaluation.folders.result import read_features
from evaluation.metrics.metric_set import MetricSet
from geometry.cameras import Intrinsics, look_at_origin

VIEWS = 4


def write_orbit(folder, elevations=(0.3,) * VIEWS):
    lens = Intrinsics.from_fov(0.8, 16)
    cameras = [look_at_origin(math.pi / 2 - e, n * 2 * math.pi / VIEWS, 1.5) for n, e in enumerate(elevations)]
    write_cameras(folder, [View(c2w, lens) for c2w in cameras], [])


@pytest.fixture
def score(tmp_path, monkeypatch):
    write_pair(tmp_path, objects=2, views=VIEWS)

    def run(*names, **values):
        metrics = {"names": ["psnr", *names]}
        folders = tmp_path / "predictions", tmp_path / "truth", tmp_path / "output"
        return score_here(monkeypatch, *folders, metrics=metrics, **values)

    return run


def test_neighbours_need_cameras_on_an_orbit_and_say_so(tmp_path, score):
    metrics = score("sift_matches").metrics()
    assert "transforms.json" in metrics["unavailable"]["sift_matches"]
    assert metrics["unseen"]["model"]["sift_matches"] == "not available"
    for number in range(2):
        write_orbit(tmp_path / "truth" / f"object_{number}", elevations=(0.3, 0.3, 0.5, 0.3))
    metrics = score("sift_matches").metrics()
    assert "orbit" in metrics["unavailable"]["sift_matches"]
    for number in range(2):
        write_orbit(tmp_path / "truth" / f"object_{number}")
    for named in (None, "0"):
        metrics = score("sift_matches", input_view=named).metrics()
        assert "sift_matches" not in metrics["unavailable"]
        # What a perfect prediction would get stands beside, and nothing else of the truth.
        assert list(metrics["unseen"]["truth"]) == ["sift_matches"]
        assert metrics["unseen"]["model"]["sift_matches"] >= 0.0
        assert "sift_matches" in metrics["intervals"]["unseen"]["model"]


def test_the_true_views_have_the_figures_of_a_perfect_prediction(tmp_path, score):
    for number in range(2):
        write_orbit(tmp_path / "truth" / f"object_{number}")
    shutil.rmtree(tmp_path / "predictions")
    shutil.copytree(tmp_path / "truth", tmp_path / "predictions")
    figures = score("sift_matches").metrics()["unseen"]
    assert figures["truth"]["sift_matches"] == figures["model"]["sift_matches"]
    table = pd.read_parquet(tmp_path / "output" / "per_object.parquet").query("method == 'truth'")
    assert list(table["uid"]) == ["object_0", "object_1"]
    assert "the true views" in (tmp_path / "output" / "report.html").read_text()


def test_an_object_without_an_orbit_is_left_out_of_that_mean_alone(tmp_path, score):
    write_orbit(tmp_path / "truth" / "object_0")
    evaluation = score("sift_matches")
    assert "sift_matches" not in evaluation.metrics()["unavailable"]
    assert list(evaluation.results["object_0"].object_figures["model"]) == ["sift_matches"]
    assert list(evaluation.results["object_1"].unavailable) == ["sift_matches"]


class MeanColours:
    """Features of three numbers in the place of Inception's."""

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """A row a picture."""
        return pictures.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture
def with_features(monkeypatch):
    """FID over mean colours."""

    def of(parameters):
        found = MetricSet.of(parameters)
        return replace(found, inception=MeanColours(), unavailable={})

    monkeypatch.setattr(object_scoring, "_metrics", of)
    monkeypatch.setattr(scoring, "MetricSet", type("Patched", (), {"of": staticmethod(of)}))


@pytest.mark.usefixtures("with_features")
def test_figures_of_all_objects_come_from_kept_features(tmp_path, score):
    first = score("fid").metrics()["unseen"]["model"]["fid"]
    # All predictions are 10 grey levels brighter in each channel: means apart by that, equal covariances.
    assert first == pytest.approx(3 * (10 / 255) ** 2, abs=1e-4)
    again = score("fid")
    assert again.kept == 2
    assert again.metrics()["unseen"]["model"]["fid"] == first
    path = tmp_path / "output" / ".cache" / "object_0.json"
    assert read_features(path)["truth"].shape == (VIEWS, 3)
    path.with_suffix(".npz").unlink()
    assert score("fid").kept == 1
    assert score("fid").metrics()["unseen"]["model"]["fid"] == first


@pytest.mark.usefixtures("with_features")
def test_the_command_tells_figures_of_all_objects_which_have_no_interval(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scoring, "executor_for", HereExecutor)
    folders = [*write_pair(tmp_path, objects=2, views=VIEWS), tmp_path / "output"]
    score_folders(FolderRequest(*folders, None, None, {"metric": ["psnr", "fid"], "input_view": "0"}, None))
    told = capsys.readouterr().out
    assert "model: FID 0.00\n" in told
    assert "copy_input: FID 0." in told


@pytest.mark.usefixtures("with_features")
def test_features_of_a_killed_run_never_stand_beside_an_older_result(tmp_path, score, monkeypatch):
    first = score("fid").metrics()["unseen"]["model"]["fid"]
    shutil.copytree(tmp_path / "predictions", tmp_path / "before")
    for path in (tmp_path / "predictions").rglob("*.png"):
        Image.new("RGB", Image.open(path).size, "red").save(path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    # Between the features and the result that they belong to.
    with monkeypatch.context() as patched:
        patched.setattr(object_scoring, "poses_of", killed)
        with pytest.raises(KeyboardInterrupt):
            score("fid")
    shutil.rmtree(tmp_path / "predictions")
    (tmp_path / "before").rename(tmp_path / "predictions")
    assert score("fid").metrics()["unseen"]["model"]["fid"] == first
