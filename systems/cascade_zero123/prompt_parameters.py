"""Parameters of the self-prompted views: which ones the Base is asked for, how it samples them, and how they are kept."""

from typing import Literal

from pydantic import Field

from stage.parameters import Parameters


class NearViewParameters(Parameters):
    """Where a near view lies, as an offset from the condition on the sphere."""

    polar_deg: float = 0.0
    """Change of the angle from the top, degrees; negative looks from higher. It ends at the poles."""
    azimuth_deg: float = 0.0
    """Turn around the object, counter-clockwise seen from above, degrees."""
    radius: float = 0.0
    """Change of the distance, in object sizes."""


class PromptParameters(Parameters):
    """The views that the Base is asked for, beside the coarse target."""

    near: tuple[NearViewParameters, ...] = (
        NearViewParameters(azimuth_deg=45.0),
        NearViewParameters(azimuth_deg=-45.0),
        NearViewParameters(polar_deg=-30.0),
    )
    """Near views; the published three (dataset.py `cond_RT_pose`)."""
    inference_steps: int = Field(default=25, ge=1)
    """Steps of the Base's sampler; published: 25."""
    guidance_scale: float = Field(default=3.0, ge=1)
    """The Base's classifier-free guidance; published: 3. 1 does without and takes half the time."""
    eta: float = Field(default=0.0, ge=0, le=1)
    """DDIM's share of fresh noise; published: 0, the pipeline's default."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format in which the Base samples; published: fp16."""
    prompt_batch: int = Field(default=64, ge=1)
    """Pictures that the Base samples at once. Always as many: what is missing is filled up, for the shape of a batch decides the
    last bits of a picture and its neighbours do not."""
    look_ahead: int = Field(default=8, ge=1)
    """Batches whose prompts are sampled together before the first of them is trained on; they lie in memory meanwhile. Never
    past the Base's next refresh. Together they should lack many times `prompt_batch` pictures."""
    cache_bytes: int = Field(default=20 * 10**9, ge=0)
    """Bound on the prompts on disk, bytes; 0 keeps none and samples in every step, as published."""
