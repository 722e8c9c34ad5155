"""Parameters of Zero-1-to-3: its modules, its diffusion and its conditioning dropout."""

from typing import Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from stage.parameters import Parameters

Background: TypeAlias = Literal["alpha", "zero_alpha"]
"""How pictures are put on white (`compositing.on_white`)."""
NullCondition: TypeAlias = Literal["after_projection", "before_projection"]
"""What guidance leads away from (`guidance.conditioned`)."""
SchedulerName: TypeAlias = Literal["ddim", "dpm", "unipc", "euler", "euler_ancestral"]
"""How a sampler steps (`schedulers.SCHEDULERS`)."""


class UNetParameters(Parameters):
    """The denoiser, a diffusers `UNet2DConditionModel`."""

    block_channels: tuple[int, ...] = (128, 256)
    """Channels of each resolution; the published network has (320, 640, 1280, 1280)."""
    layers_per_block: int = Field(default=1, ge=1)
    """Residual blocks per resolution; published: 2."""
    attention_heads: int = Field(default=4, ge=1)
    """Heads of every attention layer; published: 8."""
    norm_groups: int = Field(default=8, ge=1)
    """Groups of the group normalisation; published: 32. Two channels a group, as 32 of 64 would be, lose an image's colour."""
    last_block_attention: bool = True
    """Whether the lowest resolution attends; published: no."""
    time_embedding: Literal["added", "scale_shift"] = "added"
    """How a residual block takes the embedding of time, and of camera and attribute where there is one; published: added. As
    scale and shift a short training tells the images of different cameras and attributes apart much sooner."""


class AutoencoderParameters(Parameters):
    """Images to latents and back."""

    kind: Literal["space_to_depth", "kl"] = "space_to_depth"
    """`space_to_depth` is a stand-in without weights for tiny images; `kl` is diffusers' AutoencoderKL."""
    factor: int = Field(default=8, ge=1)
    """Side of a block of `space_to_depth`."""
    scaling_factor: float = Field(default=1.0, gt=0)
    """Target latents are multiplied by it; the published VAE's is 0.18215."""


class ImageEncoderParameters(Parameters):
    """The CLIP vision encoder whose projected embedding is the image condition."""

    image_size: int = Field(default=64, ge=8)
    """Input width and height, pixels; CLIP ViT-L/14: 224."""
    patch_size: int = Field(default=16, ge=1)
    """Side of a patch, pixels; CLIP ViT-L/14: 14."""
    hidden_size: int = Field(default=128, ge=8)
    """Width; CLIP ViT-L/14: 1024."""
    layers: int = Field(default=2, ge=1)
    """Depth; CLIP ViT-L/14: 24."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; CLIP ViT-L/14: 16."""
    embedding_dim: int = Field(default=128, ge=8)
    """Length of the embedding; CLIP ViT-L/14: 768."""
    train: bool = True
    """Whether it is trained with the rest: needed where no pretrained encoder is at hand; the published one is frozen."""


class Zero123Parameters(Parameters):
    """Zero-1-to-3's modules and diffusion."""

    pretrained: str | None = None
    """A diffusers pipeline folder to take every module from; modules are made new from the values below when null."""
    unet: UNetParameters = UNetParameters()
    """The denoiser."""
    autoencoder: AutoencoderParameters = AutoencoderParameters()
    """Images to latents."""
    image_encoder: ImageEncoderParameters = ImageEncoderParameters()
    """CLIP vision encoder."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"
    """What the denoiser predicts; published: epsilon."""
    zero_terminal_snr: bool = True
    """Rescale the schedule to end in pure noise, as a short training on simple images needs; published: no."""
    timestep_shift: float = Field(default=1.0, gt=0)
    """Above 1, training draws noisy timesteps more often than clean ones; published: 1, all equally often."""
    background: Background = "alpha"
    """How training pictures are put on white: `alpha` composites; `zero_alpha`, as published, whitens pixels of alpha 0 alone."""
    dropout: float = Field(default=0.05, ge=0, le=0.33)
    """u of the conditioning dropout: 5 % each for embedding, latent and both at 0.05."""

    @field_validator("zero_terminal_snr")
    @classmethod
    def _has_a_signal_to_predict(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("prediction_type") == "epsilon":
            raise ValueError("from pure noise the prediction type epsilon tells nothing of the image")
        return value
