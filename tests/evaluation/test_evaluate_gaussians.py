"""The stage with a model that makes Gaussians: the true ones score well in pictures and mesh, those of another object worse."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from known_gaussians_support import Answer, KnownGaussians

from blender_render.parameters import QualityParameters, RenderParameters, SplatterParameters
from blender_render.render import render
from blender_render.splatter import make_splatters
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.split import SplitParameters
from catalog.table import read_table
from evaluation import evaluate as stage
from evaluation.mesh_figures import definitions
from evaluation.parameters import EvaluateParameters, GeometryParameters
from evaluation.protocol import Selection, render_subset
from geometry.attribute_tensors import turned
from geometry.cameras import spherical_from_position
from geometry.splatter_tensor import read_splatter
from reconstruction.parameters import FusionParameters
from stage.executor import ExecutorParameters
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from training.data.writer import ShardParameters, write_shards

EXECUTOR = ExecutorParameters(workers=1)
QUALITY = QualityParameters(samples=4, device="cpu")
SIDE = 64
# Cameras all around at random azimuths, so that the input's frame is not the scene's.
PARAMETERS = EvaluateParameters(
    protocol="gso_free",
    views=5,
    training_objects=1,
    quality=QUALITY,
    executor=EXECUTOR,
    geometry=GeometryParameters(
        samples=20_000, points=20_000, fusion=FusionParameters(resolution=64, views=16, view_size=96)
    ),
)
# Under this seed one of two objects falls into each half.
SEED = 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two composed objects with shards and splatter images; the model is put in by each test."""
    workspace = Workspace(tmp_path_factory.mktemp("gaussians"))
    split = SplitParameters(val=0.0, test=0.5)
    build_catalog(CatalogParameters(objects=2, split=split, executor=EXECUTOR), SEED, workspace)
    render(RenderParameters(views=2, resolution=SIDE, quality=QUALITY, executor=EXECUTOR), SEED, workspace)
    make_splatters(
        SplatterParameters(resolution=SIDE, check_views=1, quality=QUALITY, executor=EXECUTOR), SEED, workspace
    )
    write_shards(ShardParameters(), workspace)
    return workspace


def pipeline(workspace: Workspace, *, wrong: bool) -> KnownGaussians:
    """Answers each object's input view by its own splatter images, or by the other object's."""
    assets = read_table(workspace.catalog / "catalog.parquet")
    answers = []
    for asset, name in zip(assets, ("training" if a.split == "train" else "unseen" for a in assets), strict=True):
        subset = render_subset(Selection(name, (asset,)), PARAMETERS, SIDE, SEED, workspace)
        views = subset.read(subset.assets[0])
        other = next(a for a in assets if (a is asset) != wrong)
        splatter = read_splatter(object_folder(workspace.scratch / "splatters", other.uid) / "splatter.safetensors")
        channels = torch.from_numpy(splatter.channels.astype(np.float32))
        azimuth = spherical_from_position(views.cameras[0].c2w[:3, 3])[1]
        image = torch.from_numpy(views.condition).permute(2, 0, 1) * 2 - 1
        answers.append(Answer(image, turned(channels, torch.full((len(channels),), -azimuth))))
    return KnownGaussians(answers, SIDE)


def evaluated(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *, wrong: bool) -> dict[str, Any]:
    model = pipeline(workspace, wrong=wrong)
    # No folder tells these models apart.
    shutil.rmtree(workspace.scratch / "evaluation" / "predictions", ignore_errors=True)
    monkeypatch.setattr(stage, "load_for_sampling", lambda *_: model)
    metrics = stage.evaluate(PARAMETERS, SEED, workspace)
    assert len(model.elevations) == 2
    return metrics


@pytest.mark.slow
def test_the_true_gaussians_score_well_and_another_objects_worse(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = evaluated(place, monkeypatch, wrong=False)
    shutil.copytree(place.evaluation, tmp_path / "good")
    assert good["unseen"]["model"]["psnr"] > good["unseen"]["mean_image"]["psnr"] + 5
    figures = good["geometry"]["unseen"]
    print(json.dumps({name: good[name] for name in ("unseen", "geometry")}, indent=1))
    assert figures["measured"] == dict.fromkeys(definitions(PARAMETERS.geometry), 1)
    # Measured: 0.017, 0.89 and 0.89. What is missing is the underside, which no splatter view sees: the mesh is hollow there.
    assert figures["chamfer_l1"] < 0.02
    assert figures["f_score_0.02"] > 0.85
    assert figures["iou_points"] > 0.85
    table = pd.read_parquet(place.evaluation / "per_object.parquet")
    row = table[(table["subset"] == "unseen") & (table["method"] == "model")].iloc[0]
    assert row["iou_points"] == figures["iou_points"]
    made = object_folder(place.scratch / "evaluation" / "made" / "unseen", row["uid"])
    assert {path.name for path in made.iterdir()} == {"gaussians.ply", "mesh.ply"}
    assert "Meshes beside the assets" in (place.evaluation / "report.html").read_text()

    before = folder_sha256(place.evaluation)
    assert evaluated(place, monkeypatch, wrong=False) == good
    assert folder_sha256(place.evaluation) == before

    bad = evaluated(place, monkeypatch, wrong=True)
    assert bad["unseen"]["model"]["psnr"] < good["unseen"]["model"]["psnr"] - 3
    assert bad["geometry"]["unseen"]["chamfer_l1"] > 3 * figures["chamfer_l1"]
    assert bad["geometry"]["unseen"]["iou_points"] < figures["iou_points"] / 2
    print(json.dumps({name: bad[name] for name in ("unseen", "geometry")}, indent=1))


@pytest.mark.slow
def test_a_saved_pipeline_that_has_learnt_nothing_has_figures_or_reasons(place: Workspace) -> None:
    parameters = Zero1ToGParameters.model_validate(
        {
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
    )
    Zero1ToGDiffusion(parameters, 0, SIDE).save(place.model)
    metrics = stage.evaluate(PARAMETERS.model_copy(update={"inference_steps": 2}), SEED, place)
    assert metrics["unseen"]["model"]["psnr"] < metrics["unseen"]["mean_image"]["psnr"]
    for subset in ("unseen", "training"):
        figures = metrics["geometry"][subset]
        for name in definitions(PARAMETERS.geometry):
            assert (figures["measured"][name] == 0) == (figures[name] == "not available")
    details = json.loads((place.evaluation / "details.json").read_text())
    assert details["geometry"]["samples"] == PARAMETERS.geometry.samples
