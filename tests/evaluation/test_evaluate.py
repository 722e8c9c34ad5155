"""The stage from end to end on rendered objects and a tiny pipeline with random weights."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tiny_pipelines_support import save_tiny_pipeline
from trained_workspace_support import PARAMETERS, SEED
from typer.testing import CliRunner

from blender_render.camera_sets import View
from cli.main import app
from evaluation.evaluate import evaluate
from evaluation.methods import METHODS
from evaluation.metrics.parameters import MetricParameters
from evaluation.parameters import EvaluateParameters, GeometryParameters
from evaluation.protocol import ObjectViews
from evaluation.sampling import load_for_sampling, predict
from geometry.cameras import Intrinsics
from stage.errors import InputError, ParameterError
from stage.files import folder_sha256, write_text
from stage.parameters import validated
from stage.workspace import Workspace

OUTPUTS = {
    "metrics.json",
    "details.json",
    "per_object.parquet",
    "per_view.parquet",
    "strips.parquet",
    "by_azimuth.csv",
    "gallery_unseen.png",
    "gallery_training.png",
    "contact_sheet.png",
    "report.html",
}


@pytest.fixture(scope="module")
def metrics(trained: Workspace) -> dict[str, Any]:
    return evaluate(PARAMETERS, SEED, trained)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def test_the_stage_writes_its_outputs_and_nothing_else(trained: Workspace, metrics: dict[str, Any]) -> None:
    assert {path.name for path in trained.evaluation.iterdir()} == OUTPUTS
    assert json.loads((trained.evaluation / "metrics.json").read_text()) == metrics
    assert metrics["unseen_objects"] == metrics["training_objects"] == 1
    assert metrics["views"] == 4
    assert all(math.isfinite(number) for number in numbers(metrics))
    for subset in ("unseen", "training"):
        assert set(metrics[subset]) == set(METHODS)
        # Space-to-depth loses nothing: the cap of PSNR, and SSIM's 1.
        assert metrics[subset]["autoencoder"]["psnr"] == 100.0
        assert metrics[subset]["autoencoder"]["ssim"] == 1.0
    for name in ("gallery_unseen.png", "gallery_training.png", "contact_sheet.png"):
        with Image.open(trained.evaluation / name) as image:
            assert min(image.size) > 90


def test_the_table_has_the_figures_that_the_metrics_are_means_of(trained: Workspace, metrics: dict[str, Any]) -> None:
    table = pd.read_parquet(trained.evaluation / "per_object.parquet")
    assert list(table.columns)[:6] == ["uid", "title", "category", "subset", "method", "psnr"]
    for (subset, method), group in table.groupby(["subset", "method"]):
        assert metrics[subset][method]["psnr"] == pytest.approx(group["psnr"].mean(), abs=1e-4)


def test_every_view_has_a_row_whose_mean_is_the_objects_figure(trained: Workspace, metrics: dict[str, Any]) -> None:
    views = pd.read_parquet(trained.evaluation / "per_view.parquet")
    objects = pd.read_parquet(trained.evaluation / "per_object.parquet").set_index(["uid", "method"])
    assert len(views) == metrics["objects"] * len(METHODS) * (PARAMETERS.views - 1)
    means = views.groupby(["uid", "method"])["psnr"].mean()
    assert means.to_numpy() == pytest.approx(objects.loc[means.index, "psnr"].to_numpy(), abs=2e-4)
    # SyncDreamer's cameras: a turn at one height.
    assert set(views["elevation_deg"].round(2)) == {30.0}
    assert set(views["azimuth_deg"].round(2)) == {90.0, 180.0, -90.0}


def test_figures_without_psnr_are_a_whole_evaluation(trained: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "copy")
    shutil.copytree(trained.root, workspace.root)
    asked = PARAMETERS.model_copy(update={"metrics": MetricParameters(names=("ssim", "sift_matches"))})
    write_text(workspace.parameters, yaml.safe_dump({"seed": SEED, "evaluate": asked.model_dump(mode="json")}))
    # In the process: the stage's libraries take seconds to import.
    result = CliRunner().invoke(app, ["evaluate", "-w", str(workspace.root)], catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads((workspace.evaluation / "metrics.json").read_text())["unseen"]
    assert set(figures["model"]) == {"ssim", "sift_matches"}
    ssim, matches = figures["copy_input"]["ssim"], figures["copy_input"]["sift_matches"]
    assert f"evaluate: copy_input: SSIM {ssim:.3f}, SIFT matches {matches:.2f}\n" in result.stdout
    # The true views have no fault, and only their consistency is a figure.
    assert f"evaluate: truth: SIFT matches {figures['truth']['sift_matches']:.2f}\n" in result.stdout


def test_metrics_that_are_none_are_refused_with_the_parameters() -> None:
    def check(*names: str) -> None:
        validated(EvaluateParameters, {"metrics": {"names": list(names)}}, "params.yaml: evaluate")

    with pytest.raises(ParameterError, match=r"evaluate\.metrics\.names = .*: .*no metric 'sims', did you mean ssim"):
        check("psnr", "sims")
    with pytest.raises(ParameterError, match=r"evaluate\.metrics\.names = .*psnr stands there twice"):
        check("psnr", "ssim", "psnr")


def test_random_weights_do_not_look_better_than_the_mean_image(metrics: dict[str, Any]) -> None:
    assert metrics["unseen"]["model"]["psnr"] < metrics["unseen"]["mean_image"]["psnr"]


def test_a_second_run_from_nothing_has_the_same_bytes(trained: Workspace, metrics: dict[str, Any]) -> None:
    before = folder_sha256(trained.evaluation)
    shutil.rmtree(trained.evaluation)
    shutil.rmtree(trained.scratch / "evaluation")
    assert evaluate(PARAMETERS, SEED, trained) == metrics
    assert folder_sha256(trained.evaluation) == before


def test_an_object_alone_equals_the_object_among_others(trained: Workspace) -> None:
    from catalog.table import read_table

    first, second = read_table(trained.catalog / "catalog.parquet")
    pictures = np.random.default_rng(0).random((4, 16, 16, 3)).astype(np.float32)
    c2w = np.stack([np.diag([1.0, 1.0, 1.0, 1.0])] * 4)
    c2w[:, :3, 3] = [[1.5, 0, 0], [0, 1.5, 0], [-1.5, 0, 0], [0, -1.5, 0.1]]
    cameras = tuple(View(camera, Intrinsics.from_fov(0.9, 16)) for camera in c2w)
    pipeline = load_for_sampling(trained.model)
    alone, other, again = (
        predict(pipeline, ObjectViews(asset, pictures, cameras), PARAMETERS, SEED).pictures
        for asset in (first, second, first)
    )
    assert np.array_equal(again, alone)
    assert not np.array_equal(other, alone)
    assert alone.shape == (3, 16, 16, 3)
    assert 0 <= alone.min() <= alone.max() <= 1


@pytest.fixture
def scenes(trained: Workspace, metrics: dict[str, Any], tmp_path: Path) -> Callable[[str], Workspace]:
    """The workspace, its views rendered, with ZeroNVS of a mode for its model."""

    def copied(mode: str) -> Workspace:
        workspace = Workspace(tmp_path / mode)
        shutil.copytree(trained.root, workspace.root)
        shutil.rmtree(workspace.model)
        save_tiny_pipeline(workspace.model, mode)
        return workspace

    return copied


def test_zeronvs_is_scored_on_the_same_pictures_with_the_depth_that_was_rendered(
    scenes: Callable[[str], Workspace], metrics: dict[str, Any]
) -> None:
    workspace = scenes("7dof_quantile_scale")
    figures = evaluate(PARAMETERS, SEED, workspace)
    assert figures["data_sha256"] == metrics["data_sha256"]
    assert figures["unseen"]["copy_input"] == metrics["unseen"]["copy_input"]
    assert figures["unseen"]["model"] != metrics["unseen"]["model"]
    fixed = evaluate(PARAMETERS.model_copy(update={"scale": 3.0}), SEED, workspace)
    assert fixed["unseen"]["model"] != figures["unseen"]["model"]
    assert json.loads((workspace.evaluation / "details.json").read_text())["settings"]["scale"] == 3.0


def test_scales_that_do_not_fit_the_model_are_one_line(trained: Workspace, scenes: Callable[[str], Workspace]) -> None:
    scaled = PARAMETERS.model_copy(update={"scale": 1.0})
    with pytest.raises(InputError, match=r"Zero123Pipeline is told of no scale; set evaluate\.scale to null"):
        evaluate(scaled, SEED, trained)
    with pytest.raises(InputError, match=r"cannot be measured; set evaluate\.scale to the scene units in a metre"):
        evaluate(PARAMETERS, SEED, scenes("7dof_metric_scale"))


def test_meshes_of_a_model_that_makes_pictures_alone_are_one_line(trained: Workspace) -> None:
    asked = PARAMETERS.model_copy(update={"geometry": GeometryParameters()})
    with pytest.raises(
        InputError, match=r"Zero123Pipeline makes pictures and no meshes; set evaluate\.geometry to null"
    ):
        evaluate(asked, SEED, trained)


def test_scanned_objects_are_evaluated_and_a_missing_texture_is_listed(
    trained: Workspace, shared_assets: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "copy")
    shutil.copytree(trained.root, workspace.root)
    scans = workspace.root / "inputs" / "gso"
    shutil.copytree(
        shared_assets / "gso" / "CHICKEN_NESTING", scans / "CHICKEN_NESTING", copy_function=shutil.copyfile
    )
    (scans / "Broken" / "meshes").mkdir(parents=True)
    (scans / "Broken" / "meshes" / "model.obj").write_text("this is no mesh")
    figures = evaluate(PARAMETERS.model_copy(update={"source": "gso"}), SEED, workspace)
    assert figures["source"] == "gso"
    assert figures["unseen_objects"] == 1
    report = (workspace.evaluation / "report.html").read_text()
    problems = json.loads((workspace.evaluation / "details.json").read_text())["problems"]
    assert {(p["title"], p["consequence"]) for p in problems} == {
        ("Broken", "quarantined"),
        ("CHICKEN_NESTING", "used"),
    }
    assert all(problem["what"] in report for problem in problems)
    assert any("missing texture: texture.png" in problem["what"] for problem in problems)


def test_a_workspace_without_a_model_says_what_to_run(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"is no diffusers pipeline; run viewforge train"):
        evaluate(EvaluateParameters(), SEED, workspace)
    workspace.model.mkdir(parents=True)
    (workspace.model / "model_index.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be loaded: .*; restore it with dvc pull"):
        evaluate(EvaluateParameters(), SEED, workspace)


def test_an_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(ParameterError, match="did you mean inference_steps"):
        validated(EvaluateParameters, {"inference_step": 3}, "params.yaml: evaluate")
