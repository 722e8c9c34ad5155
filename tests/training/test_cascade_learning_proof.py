"""The proof that a cascade learns: a tiny Base over-fits a few boxes, and a Refiner that it prompts sees them better."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from geometry.picture_metrics import psnr
from stage.workspace import Workspace
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import TrainingBatch, batch_from_pairs
from training.data.batches import ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.writer import ShardParameters, write_shards
from training.launch import train
from training.parameters import TrainParameters

REQUIRED_DB = 3.0
MODULES: dict[str, Any] = {
    "unet": {"block_channels": [64, 64], "attention_heads": 2},
    "autoencoder": {"factor": 4, "scaling_factor": 0.3},
    "image_encoder": {
        "image_size": 16,
        "patch_size": 4,
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "embedding_dim": 32,
    },
    "prediction_type": "sample",
}
RUN: dict[str, Any] = {
    "batch_size": 24,
    "optimizer": {"learning_rate": 0.002, "factors": {"cc_projection": 1.0}},
    "ema_decay": 0.98,
}
BASE: dict[str, Any] = {"steps": 150, "checkpoint_every": 150, "zero123": MODULES}
CASCADE: dict[str, Any] = {
    "system": "cascade_zero123",
    "steps": 100,
    "checkpoint_every": 100,
    "cascade_zero123": {
        **MODULES,
        "image_encoder": {**MODULES["image_encoder"], "train": False},
        "base": "fixed",
        "prompts": {"inference_steps": 8, "guidance_scale": 1.0, "eta": 0.0},
    },
}


def trained(workspace: Workspace, section: dict[str, Any]) -> Path:
    """Train in a workspace; the model's folder, moved out of the way of the next."""
    values = {**RUN, **section}
    workspace.parameters.write_text(yaml.safe_dump({"seed": 0, "train": values}))
    train(TrainParameters.model_validate(values), workspace)
    kept = workspace.root / f"model-{values.get('system', 'zero123')}"
    shutil.copytree(workspace.model, kept)
    return kept


def training_pairs(workspace: Workspace) -> TrainingBatch:
    """Every pair of views of the training objects, four times over."""
    plan = Plan((Mixed("boxes", 4, draws=12),), batch_size=48, seed=99)
    pairs = next(iter(PlannedLoader(plan, {"boxes": ShardReader(workspace.shards, "train")}, ViewChoice(drawn=2))))
    return batch_from_pairs(pairs.rgba, relative_poses(pairs.c2w))


@pytest.mark.slow
def test_a_tiny_cascade_beats_its_own_base(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = render_boxes(tmp_path / "boxes", views=4, train=4)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    write_shards(ShardParameters(), workspace)
    base = trained(workspace, BASE)
    section = {**CASCADE, "cascade_zero123": {**CASCADE["cascade_zero123"], "pretrained": str(base)}}
    pipeline = load_pipeline(trained(workspace, section))
    assert isinstance(pipeline, CascadePipeline)

    batch = training_pairs(workspace)
    condition, target = ((views.numpy() + 1) / 2 for views in (batch.condition, batch.target))
    scores = {"copy the input": mean_psnr(condition, target)}
    for depth in (1, 2, 3):
        scores[f"{depth} stages"] = mean_psnr(sampled(pipeline, batch, depth), target)
    print(", ".join(f"{name}: {score:.2f} dB" for name, score in scores.items()))
    assert scores["2 stages"] > scores["copy the input"] + REQUIRED_DB
    assert scores["2 stages"] > scores["1 stages"]


def sampled(pipeline: CascadePipeline, batch: TrainingBatch, depth: int) -> np.ndarray:
    """The targets of a batch."""
    options: dict[str, Any] = {"guidance_scale": 1.0, "num_inference_steps": 10, "eta": 0.0}
    chance = torch.Generator().manual_seed(0)
    images: np.ndarray = pipeline(
        batch.condition, batch.pose, depth=depth, generator=chance, output_type="pt", **options
    ).images.numpy()
    return images


def mean_psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over pictures, dB."""
    return float(np.mean([psnr(a, b) for a, b in zip(one, other, strict=True)]))
