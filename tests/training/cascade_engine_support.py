"""Cascade-Zero123 at 16×16 pixels on the engine: a Base that really samples, in three steps."""

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from engine_support import engine, parameters
from tiny_modules import IMAGE_ENCODER

from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.training import CascadeTraining
from training.engine import Engine

SIZE = 16


def cascade(**changes: Any) -> CascadeParameters:
    """The smallest sensible system; keywords replace values."""
    values: dict[str, Any] = {
        "unet": {"block_channels": [16, 16], "attention_heads": 2},
        "autoencoder": {"factor": 4},
        "image_encoder": {**IMAGE_ENCODER, "train": False},
        "prompts": {"inference_steps": 3, "prompt_batch": 8, "look_ahead": 4, **changes.pop("prompts", {})},
        "refresh_every": 2,
    }
    return CascadeParameters.model_validate({**values, **changes})


def cascade_engine(
    shards: Path,
    folder: Path,
    system: CascadeParameters,
    kept: Path | None = None,
    accelerator: Accelerator | None = None,
    **run: Any,
) -> Engine:
    """An engine that trains it for six steps, with prompts kept in a folder if one is given."""
    made = CascadeTraining(system, 3, SIZE)
    if kept:
        made.keep_in(kept)
    return engine(parameters(**run), shards, folder, made, accelerator)  # type: ignore[arg-type]
