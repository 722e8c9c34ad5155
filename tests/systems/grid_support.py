"""Zero-1-to-G's first generation at 16×16 pixels, with random weights."""

from typing import Any

from tiny_modules import IMAGE_ENCODER

from systems.zero_1_to_g.grid.modules import build_modules
from systems.zero_1_to_g.grid.parameters import Zero1ToGGridParameters
from systems.zero_1_to_g.grid.training import Zero1ToGGridTraining

SIZE, SIDE = 16, 8


def grid_parameters(**changes: Any) -> Zero1ToGGridParameters:
    """The smallest sensible system; keywords replace values."""
    values: dict[str, Any] = {
        "input_size": SIZE,
        "condition_size": SIZE,
        "num_views": 8,
        "mix_diffusion_interval": None,
        "decoder": {"block_channels": [16, 16], "splatter_size": SIDE},
        "unet": {"block_channels": [16, 16], "attention_heads": 2},
        "autoencoder": {"factor": 4},
        "image_encoder": {**IMAGE_ENCODER, "train": False},
        "prompt_tokens": 3,
    }
    return Zero1ToGGridParameters.model_validate({**values, **changes})


def grid_training(**changes: Any) -> Zero1ToGGridTraining:
    """Its training, in evaluation mode."""
    parameters = grid_parameters(**changes)
    return Zero1ToGGridTraining(parameters, 0, SIZE, build_modules(parameters, 0)).eval()
