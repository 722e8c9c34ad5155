"""The smallest whole pipeline, and the command line as a subprocess."""

import subprocess
from collections.abc import Callable

# The whole pipeline at its smallest: eight objects, 16-pixel pictures, a dozen steps. Seed 3 has a held-out object among them.
TINY = {
    "seed": 3,
    "catalog.objects": 8,
    "catalog.split.test": 0.3,
    "render.views": 4,
    "render.resolution": 16,
    "render.quality.samples": 2,
    "splatter.max_objects": 1,
    "splatter.resolution": 32,
    "splatter.check_views": 1,
    "splatter.quality.samples": 2,
    "train.steps": 12,
    "train.batch_size": 4,
    "train.checkpoint_every": 4,
    "train.zero123.unet.block_channels": [32, 32],
    "train.zero123.autoencoder.factor": 4,
    "train.zero123.image_encoder.image_size": 32,
    "train.zero123.image_encoder.hidden_size": 32,
    "train.zero123.image_encoder.embedding_dim": 32,
    "evaluate.views": 4,
    "evaluate.training_objects": 2,
    "evaluate.inference_steps": 2,
    "evaluate.quality.samples": 2,
}

Viewforge = Callable[..., "subprocess.CompletedProcess[str]"]


def assignments(values: dict[str, object]) -> list[str]:
    """`--set` options of parameters."""
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
