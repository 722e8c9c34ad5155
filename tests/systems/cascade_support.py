"""Cascade-Zero123 at 16×16 pixels, with random weights and hasty prompts."""

from typing import Any

from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.cascade_zero123.training import CascadeTraining
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters

SIZE = 16
QUICK = PromptParameters(inference_steps=2, prompt_batch=8)


def cascade_parameters(**prompts: Any) -> CascadeParameters:
    """The smallest sensible cascade; keywords replace values of its prompts."""
    return CascadeParameters(
        unet=UNetParameters(block_channels=(32, 64)),
        autoencoder=AutoencoderParameters(factor=4, scaling_factor=0.3),
        image_encoder=ImageEncoderParameters(
            image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16, train=False
        ),
        prompts=PromptParameters.model_validate(QUICK.model_dump() | prompts),
    )


def cascade_training(**prompts: Any) -> CascadeTraining:
    """Its training."""
    return CascadeTraining(cascade_parameters(**prompts), 0, SIZE)
