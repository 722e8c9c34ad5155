"""Parameters of Cascade-Zero123: those of Zero-1-to-3, and the views that Base-0123 prompts Refiner-0123 with."""

from pydantic import field_validator

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

    @field_validator("image_encoder")
    @classmethod
    def _is_frozen(cls, value: ImageEncoderParameters) -> ImageEncoderParameters:
        if value.train:
            raise ValueError(
                "Base-0123 has the same image encoder, so it stays frozen: set image_encoder.train to false"
            )
        return value
