"""The stage under published protocols, small: scanned objects with meshes of Gaussians, and scenes of photographs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scene_layouts_support import write_dtu
from tiny_pipelines_support import save_tiny_pipeline
from trained_workspace_support import EXECUTOR, QUALITY, SEED

from evaluation.evaluate import evaluate
from evaluation.mesh_figures import definitions
from evaluation.parameters import EvaluateParameters, GeometryParameters
from evaluation.timing import timing_path
from reconstruction.parameters import FusionParameters
from stage.errors import InputError
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.parameters import Zero1ToGParameters

SCANNED = ("Chefmate_8_Frypan", "Glazed_Rim_Porcelain_Ramekin")
LITTLE = {
    "inference_steps": 2,
    "training_objects": 1,
    "quality": QUALITY,
    "executor": EXECUTOR,
}
SPLATTERS = {
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "autoencoder": {"factor": 4},
    "image_encoder": {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
        "embedding_dim": 16,
    },
}


@pytest.fixture
def place(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the workspace without its model."""
    workspace = Workspace(tmp_path / "workspace")
    shutil.copytree(trained.root, workspace.root, ignore=shutil.ignore_patterns("model", "evaluation"))
    return workspace


def test_two_scanned_objects_have_pictures_meshes_and_tables(place: Workspace, shared_assets: Path) -> None:
    for name in SCANNED:
        target = place.root / "inputs" / "gso" / name
        shutil.copytree(shared_assets / "gso" / name, target, copy_function=shutil.copyfile)
    Zero1ToGDiffusion(Zero1ToGParameters.model_validate(SPLATTERS), 0, 16).save(place.model)
    geometry = GeometryParameters(
        samples=1_000, points=1_000, grid=16, fusion=FusionParameters(resolution=32, views=8, view_size=32)
    )
    asked = EvaluateParameters.model_validate(
        {"preset": "zero_1_to_g", "views": 5, "resolution": 24, "geometry": geometry, "objects_per_batch": 2, **LITTLE}
    )
    metrics = evaluate(asked, SEED, place)
    assert metrics["preset"] == "zero_1_to_g"
    assert (metrics["unseen_objects"], metrics["failed"]["unseen"]) == (2, 0)
    figures = metrics["geometry"]["unseen"]
    for name in definitions(geometry):
        assert (figures["measured"][name] == 0) == (figures[name] == "not available")
    objects = pd.read_parquet(place.evaluation / "per_object.parquet")
    rows = objects[(objects["subset"] == "unseen") & (objects["method"] == "model")].set_index("title")
    assert set(rows.index) == set(SCANNED)
    assert set(rows["category"]) == {"Bottles and Cans and Cups"}
    assert rows["psnr"].between(0, 40).all()
    views = pd.read_parquet(place.evaluation / "per_view.parquet")
    assert len(views[(views["subset"] == "unseen") & (views["method"] == "model")]) == 2 * 4
    # On the horizon, as the protocol says.
    assert views.loc[views["subset"] == "unseen", "elevation_deg"].abs().max() < 1e-6
    for uid in rows["uid"]:
        made = object_folder(place.scratch / "evaluation" / "made" / "unseen", uid)
        assert (made / "gaussians.ply").is_file()
    preset = json.loads((place.evaluation / "details.json").read_text())["preset"]
    assert preset["name"] == "zero_1_to_g"
    assert {name.partition(".")[0] for name in preset["differences"]} == {"views", "resolution", "quality"}
    assert preset["differences"]["quality.samples"] == [128, 1]
    assert preset["differences"]["resolution"] == [320, 24]
    assert json.loads(timing_path(place).read_text())["objects"] == 3


def test_scenes_are_evaluated_at_their_published_scales(place: Workspace) -> None:
    write_dtu(place.root / "inputs" / "dtu" / "scan8")
    save_tiny_pipeline(place.model, "7dof_quantile_scale")
    values = {"preset": "zeronvs_dtu", "path": "inputs/dtu", "resolution": None, "scene_targets": 3, **LITTLE}
    asked = EvaluateParameters.model_validate({**values, "objects": ["scan8"], "views": 4})
    metrics = evaluate(asked, SEED, place)
    assert (metrics["source"], metrics["unseen_objects"]) == ("dtu", 1)
    # The rendered training objects' cameras are not the photographs': neither their name nor their number stands there.
    assert (metrics["protocol"], metrics.get("views")) == ("photographs", None)
    plain = evaluate(asked.model_copy(update={"preset": None}), SEED, place)
    assert plain["unseen"] == metrics["unseen"]
    page = (place.evaluation / "report.html").read_text()
    assert "None was measured under the protocol photographs." in page
    assert "syncdreamer, 4 views" not in page
    views = pd.read_parquet(place.evaluation / "per_view.parquet")
    of_scene = views[(views["subset"] == "unseen") & (views["method"] == "model")]
    assert list(of_scene["view"]) == [1, 2, 3]
    scaled = asked.model_copy(update={"scale": 1.2 * 0.7})
    assert evaluate(scaled, SEED, place)["unseen"]["model"] == metrics["unseen"]["model"]
    other = evaluate(asked.model_copy(update={"scale": 0.2}), SEED, place)
    assert other["unseen"]["model"] != metrics["unseen"]["model"]
    assert other["unseen"]["copy_input"] == metrics["unseen"]["copy_input"]
    assert other["data_sha256"] == metrics["data_sha256"]
    shutil.rmtree(place.model)
    save_tiny_pipeline(place.model, "7dof_stereomag_scale")
    with pytest.raises(InputError, match=r"scan8 is photographs and has no depth; set evaluate\.scale"):
        evaluate(asked, SEED, place)


def test_a_damaged_photograph_is_a_row_even_in_the_first_scene(place: Workspace) -> None:
    for name in ("scan103", "scan8"):
        write_dtu(place.root / "inputs" / "dtu" / name)
    picture = place.root / "inputs" / "dtu" / "scan103" / "image" / "000025.png"
    # Its header is whole.
    picture.write_bytes(picture.read_bytes()[:200])
    save_tiny_pipeline(place.model, "7dof_quantile_scale")
    values = {"preset": "zeronvs_dtu", "path": "inputs/dtu", "resolution": None, "scene_targets": 2, **LITTLE}
    names = {"objects": ["scan103", "scan8"], "views": 4, "metrics": {"names": ["psnr", "sift_matches"]}}
    metrics = evaluate(EvaluateParameters.model_validate({**values, **names}), SEED, place)
    assert (metrics["unseen_objects"], metrics["failed"]["unseen"]) == (1, 1)
    assert metrics["unavailable"]["sift_matches"].startswith("the views are not an even orbit")
    problems = json.loads((place.evaluation / "details.json").read_text())["problems"]
    row = next(problem for problem in problems if problem["title"] == "scan103")
    assert (row["consequence"], "000025.png cannot be read" in row["what"]) == ("quarantined", True)


def test_a_model_of_another_size_than_the_protocols_is_refused(place: Workspace, shared_assets: Path) -> None:
    shutil.copytree(
        shared_assets / "gso" / SCANNED[0], place.root / "inputs" / "gso" / SCANNED[0], copy_function=shutil.copyfile
    )
    save_tiny_pipeline(place.model, size=16)
    asked = EvaluateParameters.model_validate({"preset": "syncdreamer", **LITTLE})
    with pytest.raises(
        InputError, match=r"makes pictures of 16 pixels, and evaluate\.resolution is 256; set evaluate"
    ):
        evaluate(asked, SEED, place)


def test_an_input_that_is_scored_is_copied_without_a_fault(place: Workspace) -> None:
    save_tiny_pipeline(place.model)
    asked = EvaluateParameters.model_validate({"views": 2, "score_input": True, **LITTLE})
    metrics = evaluate(asked, SEED, place)
    views = pd.read_parquet(place.evaluation / "per_view.parquet").set_index(["subset", "method", "view"]).sort_index()
    assert views.loc[("unseen", "copy_input", 0), "psnr"] == 100
    assert len(views.loc[("unseen", "model")]) == 2
    plain = evaluate(asked.model_copy(update={"score_input": False}), SEED, place)
    assert plain["data_sha256"] != metrics["data_sha256"]
    assert np.isclose(plain["unseen"]["copy_input"]["psnr"], views.loc[("unseen", "copy_input", 1), "psnr"], atol=1e-4)
