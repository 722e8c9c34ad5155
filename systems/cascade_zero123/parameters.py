"""Parameters of Cascade-Zero123: those of Zero-1-to-3, and the views that Base-0123 prompts Refiner-0123 with."""

from typing import Literal

from pydantic import Field, field_validator

from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.zero123.parameters import ImageEncoderParameters, Zero123Parameters


class CascadeParameters(Zero123Parameters):
    """Cascade-Zero123's modules, diffusion and prompts.

    `pretrained` names a Zero-1-to-3 pipeline folder: both networks begin with its weights. Modules that are made new begin with
    the same weights too, so the first prompts are noise.
    """

    image_encoder: ImageEncoderParameters = ImageEncoderParameters(train=False)
    """CLIP vision encoder, frozen: Base-0123 knows pictures by it too."""
    prompts: PromptParameters = PromptParameters()
    """What Base-0123 is asked for, and how it samples."""
    base: Literal["refreshed", "fixed"] = "refreshed"
    """`refreshed`: Base-0123 becomes the Refiner's moving average from time to time (self-distillation). `fixed`: it stays as it
    began, which wants `pretrained`."""
    refresh_every: int = Field(default=500, ge=1)
    """Steps between two refreshes; published: 1, with which no prompt can be kept or sampled ahead."""

    @field_validator("image_encoder")
    @classmethod
    def _is_frozen(cls, value: ImageEncoderParameters) -> ImageEncoderParameters:
        if value.train:
            raise ValueError(
                "Base-0123 has the same image encoder, so it stays frozen: set image_encoder.train to false"
            )
        return value
