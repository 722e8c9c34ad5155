"""The proof that Zero-1-to-G learns: a tiny model over-fits two composed objects, from one picture to their Gaussians.

Blender renders them and makes their splatter images; the project's own stages bring both to the training. What is judged are
pictures of the sampled Gaussians from the orbit that Zero-1-to-G is evaluated on, of which training has seen no view, beside
Blender's pictures from there. Beside it stand the true Gaussians, the ceiling, and the mean of both objects' pictures, which is
the best that one can do without looking at the input.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jaxtyping import Float
from PIL import Image
from tiny_modules import LEARNING_IMAGE_ENCODER

from blender_render.camera_sets import View
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters, SplatterParameters
from blender_render.render import render
from blender_render.rendered_object import on_white, read_rgba, read_views
from blender_render.splatter import make_splatters
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import selected_assets
from geometry.picture_metrics import psnr
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.gaussian_pipeline import GaussianPipeline, pictures_of
from systems.pipelines import load_pipeline
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards
from training.launch import train
from training.parameters import TrainParameters

SIZE, REQUIRED_DB = 32, 3.0
# Steps and learning rate of each stage: alone, an attribute's images are a fifth of a step's work.
STAGES = {"attributes": (4000, 3e-3), "joint": (150, 5e-4)}
SECTION: dict[str, Any] = {
    "unet": {"block_channels": [64], "attention_heads": 2, "time_embedding": "scale_shift"},
    "autoencoder": {"factor": 8, "scaling_factor": 0.3},
    "image_encoder": LEARNING_IMAGE_ENCODER,
    # As in the other proofs: the sample itself is learnt, and mostly at the noisy timesteps that decide what is seen.
    "prediction_type": "sample",
    "timestep_shift": 6.0,
    # At pure noise, from which sampling starts, min-SNR weights are 0.
    "snr_gamma": None,
    "embedding_factor": 1.0,
    # Sampled without guidance.
    "dropout": 0.0,
    # What is a little off is then as good as transparent, where opacities as they are would fill the background with haze.
    "logit_opacity": True,
}
RUN: dict[str, Any] = {
    "system": "zero_1_to_g",
    "batch_size": 2,
    "ema_decay": 0.98,
    "samples": {"every": None},
}


@dataclass(frozen=True)
class Judged:
    """An object from the cameras of the evaluation."""

    views: list[View]
    truth: Float[np.ndarray, "n h w 3"]
    ceiling: Float[np.ndarray, "n h w 3"]
    """Of the true Gaussians."""
    sampled: Float[np.ndarray, "n h w 3"]


def two_objects(root: Path) -> Workspace:
    """A workspace with shards of two composed objects: the input, some views and splatter images."""
    workspace = Workspace(root)
    catalog = {"objects": 2, "split": {"val": 0.0, "test": 0.0}}
    build_catalog(CatalogParameters.model_validate(catalog), 0, workspace)
    render(RenderParameters(protocol="zero123plus_v1_1", views=7, resolution=SIZE), 0, workspace)
    make_splatters(SplatterParameters(resolution=SIZE, check_views=1), 0, workspace)
    write_shards(ShardParameters(include=("splatter",)), workspace)
    return workspace


def trained(workspace: Workspace) -> GaussianPipeline:
    """The model after both stages of the denoiser, each as `viewforge train` does it."""
    pretrained: str | None = None
    for stage, (steps, rate) in STAGES.items():
        values = {
            **RUN,
            "zero_1_to_g": {**SECTION, "stage": stage, "pretrained": pretrained},
            "steps": steps,
            "checkpoint_every": steps,
            "optimizer": {"learning_rate": rate, "betas": [0.9, 0.99], "warmup_steps": steps // 15},
        }
        workspace.parameters.write_text(yaml.safe_dump({"seed": 0, "train": values}))
        train(TrainParameters.model_validate(values), workspace)
        kept = workspace.root / stage
        shutil.copytree(workspace.model, kept)
        pretrained = str(kept)
    pipeline = load_pipeline(workspace.model)
    assert isinstance(pipeline, GaussianPipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def judged(workspace: Workspace, pipeline: GaussianPipeline) -> list[Judged]:
    """Both objects, sampled from their inputs, from cameras that training has not had."""
    orbit = RenderParameters(protocol="zero_1_to_g", views=8, resolution=SIZE)
    farm = Farm(workspace.scratch / "orbit", orbit, 0, workspace)
    assets = selected_assets(workspace)
    assert farm.render(assets) == []
    reader = ShardReader(workspace.shards, "train", splatters=True)
    return [
        _judged(object_folder(farm.root, row.key), reader, number, pipeline) for number, row in enumerate(reader.rows)
    ]


def _judged(folder: Path, reader: ShardReader, number: int, pipeline: GaussianPipeline) -> Judged:
    known, orbit = reader.views(number, [0]), read_views(folder)
    assert known.splatter is not None
    size = known.rgba.shape[1]
    given = View(known.c2w[0], orbit[0].intrinsics)
    picture = torch.from_numpy(2.0 * on_white(known.rgba[0]) - 1.0).permute(2, 0, 1)[None].float()
    assert picture.shape == (1, 3, size, size)
    options = {"num_inference_steps": 5, "guidance_scale": 1.0, "eta": 0.0}
    sampled = pipeline.sample_views(picture, given, orbit, generator=torch.Generator().manual_seed(number), **options)
    true = pictures_of(torch.from_numpy(known.splatter.channels).float(), orbit)
    truth = on_white(np.stack([read_rgba(folder, view) for view in range(len(orbit))]))
    return Judged(orbit, truth, *(made.permute(0, 2, 3, 1).numpy() for made in (true, sampled.images)))


def mean_psnr(some: Float[np.ndarray, "n h w 3"], truth: Float[np.ndarray, "n h w 3"]) -> float:
    """Mean over pictures, dB."""
    return float(np.mean([psnr(one, other) for one, other in zip(some, truth, strict=True)]))


def write_sheet(path: Path, objects: list[Judged]) -> None:
    """A row each of Blender's pictures, the true Gaussians' and the sampled ones' for every object, enlarged."""
    rows = [row for each in objects for row in (each.truth, each.ceiling, each.sampled)]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    image = Image.fromarray(np.rint(sheet.clip(0, 1) * 255.0).astype(np.uint8))
    image.resize((3 * image.width, 3 * image.height), Image.Resampling.NEAREST).save(path)


@pytest.mark.slow
@pytest.mark.minutes(5.5)
def test_a_tiny_model_learns_two_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    workspace = two_objects(tmp_path / "objects")
    objects = judged(workspace, trained(workspace))
    mean = np.mean([each.truth for each in objects], axis=0)
    ceiling, sampled, baseline = (
        float(np.mean(values))
        for values in (
            [mean_psnr(each.ceiling, each.truth) for each in objects],
            [mean_psnr(each.sampled, each.truth) for each in objects],
            [mean_psnr(mean, each.truth) for each in objects],
        )
    )
    write_sheet(tmp_path / "sheet.png", objects)
    print(f"true Gaussians: {ceiling:.2f} dB, sampled: {sampled:.2f} dB, mean object: {baseline:.2f} dB")
    assert ceiling > sampled > baseline + REQUIRED_DB
