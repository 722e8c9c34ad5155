"""The proof that the whole of it learns: a tiny model over-fits a few boxes and says what they look like from elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from stage.workspace import Workspace
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import batch_from_pairs
from systems.zero123.pipeline import load_pipeline
from training.data.batches import ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.writer import ShardParameters, write_shards
from training.launch import train
from training.parameters import TrainParameters

REQUIRED_DB = 3.0
TRAIN: dict[str, Any] = {
    "steps": 500,
    "batch_size": 24,
    "checkpoint_every": 500,
    "zero123": {
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
    },
    "optimizer": {"learning_rate": 0.002, "factors": {"cc_projection": 1.0}},
    "ema_decay": 0.98,
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over pictures of the peak signal-to-noise ratio, dB."""
    errors = ((one - other) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


@pytest.mark.slow
def test_a_tiny_model_learns_four_boxes(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = render_boxes(tmp_path / "boxes", views=4, train=4)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    write_shards(ShardParameters(), workspace)
    workspace.parameters.write_text(yaml.safe_dump({"seed": 0, "train": TRAIN}))
    train(TrainParameters.model_validate(TRAIN), workspace)

    plan = Plan((Mixed("boxes", 4, draws=12),), batch_size=48, seed=99)
    pairs = next(iter(PlannedLoader(plan, {"boxes": ShardReader(workspace.shards, "train")}, ViewChoice(drawn=2))))
    batch = batch_from_pairs(pairs.rgba, relative_poses(pairs.c2w))
    pipeline = load_pipeline(workspace.model)
    images = pipeline(
        batch.condition,
        batch.pose,
        guidance_scale=1.0,
        num_inference_steps=10,
        eta=0.0,
        generator=torch.Generator().manual_seed(0),
    ).images.numpy()
    condition, target = ((views.numpy() + 1) / 2 for views in (batch.condition, batch.target))
    copied, sampled = psnr(condition, target), psnr(images, target)
    print(f"copy the input: {copied:.2f} dB, sampled: {sampled:.2f} dB")
    assert sampled > copied + REQUIRED_DB
