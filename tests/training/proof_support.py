"""What the proofs of learning share: four boxes, the smallest network that learns them, and how its pictures are scored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float
from tiny_modules import LEARNING_IMAGE_ENCODER
from torch import Tensor

from geometry.picture_metrics import psnr
from stage.workspace import Workspace
from training.data.batches import ViewBatch, ViewChoice
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
    "image_encoder": LEARNING_IMAGE_ENCODER,
    "prediction_type": "sample",
}
RUN: dict[str, Any] = {
    "batch_size": 24,
    "optimizer": {"learning_rate": 0.002, "factors": {"cc_projection": 1.0}},
    "ema_decay": 0.98,
}


def four_boxes(render_boxes: Callable[..., Workspace], folder: Path) -> Workspace:
    """A workspace with shards of four views of each."""
    workspace = render_boxes(folder, views=4, train=4)
    write_shards(ShardParameters(), workspace)
    return workspace


def trained(workspace: Workspace, steps: int, **section: Any) -> Path:
    """The model of a training of so many steps, as `viewforge train` does it."""
    values = {**RUN, "steps": steps, "checkpoint_every": steps, **section}
    workspace.parameters.write_text(yaml.safe_dump({"seed": 0, "train": values}))
    train(TrainParameters.model_validate(values), workspace)
    return workspace.model


def training_pairs(workspace: Workspace) -> ViewBatch:
    """Every pair of views of the boxes, four times over."""
    plan = Plan((Mixed("boxes", 4, draws=12),), batch_size=48, seed=99)
    loader = PlannedLoader(plan, {"boxes": ShardReader(workspace.shards, "train")}, ViewChoice(drawn=2))
    return next(iter(loader))


def sampler() -> dict[str, Any]:
    """Ten steps without chance, and without guidance."""
    chance = torch.Generator().manual_seed(0)
    return {"guidance_scale": 1.0, "num_inference_steps": 10, "eta": 0.0, "generator": chance}


def unit(images: Float[Tensor, "b 3 h w"]) -> Float[np.ndarray, "b 3 h w"]:
    """Pictures in [−1, 1] as pictures in [0, 1]."""
    return (images.numpy() + 1) / 2


def mean_psnr(one: Float[np.ndarray, "b 3 h w"], other: Float[np.ndarray, "b 3 h w"]) -> float:
    """Mean over pictures, dB."""
    return float(np.mean([psnr(a, b) for a, b in zip(one, other, strict=True)]))
