"""Zero-1-to-3's modules, made new from parameters."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.zero123.conditioning import POSE_DIMENSIONS, CCProjection
from systems.zero123.parameters import ImageEncoderParameters, UNetParameters, Zero123Parameters
from systems.zero123.space_to_depth import SpaceToDepth

Autoencoder: TypeAlias = AutoencoderKL | SpaceToDepth
# What diffusers calls them.
_TIME_EMBEDDINGS = {"added": "default", "scale_shift": "scale_shift"}


@dataclass
class Zero123Modules:
    """The five parts of the system."""

    unet: UNet2DConditionModel
    cc_projection: CCProjection
    image_encoder: CLIPVisionModelWithProjection
    vae: Autoencoder
    scheduler: DDIMScheduler


class ScheduleParameters(Protocol):
    """What decides a schedule."""

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts."""

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the schedule ends in pure noise."""


def build_modules(parameters: Zero123Parameters, seed: int, pose_dimensions: int = POSE_DIMENSIONS) -> Zero123Modules:
    """The modules that the parameters describe, with weights drawn from the seed.

    Args:
        parameters: sizes and diffusion.
        seed: of the weights.
        pose_dimensions: length of the pose vector.

    Raises:
        InputError: when the parameters ask for a part that only exists pretrained.
    """
    torch.manual_seed(seed)
    vae = _autoencoder(parameters)
    channels = latent_channels(vae)
    return Zero123Modules(
        unet=build_unet(parameters.unet, channels, parameters.image_encoder.embedding_dim),
        cc_projection=CCProjection(parameters.image_encoder.embedding_dim, pose_dimensions),
        image_encoder=build_image_encoder(parameters.image_encoder),
        vae=vae,
        scheduler=build_scheduler(parameters),
    )


def _autoencoder(parameters: Zero123Parameters) -> Autoencoder:
    settings = parameters.autoencoder
    if settings.kind == "space_to_depth":
        return SpaceToDepth(settings.factor, settings.scaling_factor)
    raise InputError(
        "an AutoencoderKL has no use without its weights",
        "set train.zero123.pretrained to a pipeline folder that has them",
    )


def latent_channels(vae: Autoencoder) -> int:
    """Channels of an autoencoder's latents."""
    return int(vae.config.latent_channels) if isinstance(vae, AutoencoderKL) else vae.latent_channels


def build_unet(parameters: UNetParameters, latent_channels: int, cross_attention_dim: int) -> UNet2DConditionModel:
    """The denoiser. Input channels: the noisy target latent, then the clean condition latent, in this order."""
    return UNet2DConditionModel(**unet_options(parameters, latent_channels, cross_attention_dim))


def unet_options(parameters: UNetParameters, latent_channels: int, cross_attention_dim: int) -> dict[str, Any]:
    """The options of diffusers' conditional UNet for a denoiser that sees a condition latent behind the noisy one."""
    levels = len(parameters.block_channels)
    attending = [True] * (levels - 1) + [parameters.last_block_attention]
    return {
        "in_channels": 2 * latent_channels,
        "out_channels": latent_channels,
        "block_out_channels": parameters.block_channels,
        "layers_per_block": parameters.layers_per_block,
        "down_block_types": tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attending),
        "up_block_types": tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attending)),
        # diffusers' name is historical: for this class it is the number of heads.
        "attention_head_dim": parameters.attention_heads,
        "cross_attention_dim": cross_attention_dim,
        "norm_num_groups": parameters.norm_groups,
        "resnet_time_scale_shift": _TIME_EMBEDDINGS[parameters.time_embedding],
    }


def build_image_encoder(parameters: ImageEncoderParameters) -> CLIPVisionModelWithProjection:
    """A new CLIP vision encoder."""
    config = CLIPVisionConfig(
        image_size=parameters.image_size,
        patch_size=parameters.patch_size,
        hidden_size=parameters.hidden_size,
        intermediate_size=4 * parameters.hidden_size,
        num_hidden_layers=parameters.layers,
        num_attention_heads=parameters.heads,
        projection_dim=parameters.embedding_dim,
    )
    return CLIPVisionModelWithProjection(config)


def build_scheduler(parameters: ScheduleParameters) -> DDIMScheduler:
    """Stable Diffusion's schedule: 1000 steps, √β linear from √0.00085 to √0.012.

    It ends a little before the clean image, which a VAE forgives. Where latents are pixels, the noise left would keep a
    perfect denoiser at 26 dB (scaling factor 0.3), so the schedule that begins in pure noise also ends in the image.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=parameters.zero_terminal_snr,
        prediction_type=parameters.prediction_type,
        rescale_betas_zero_snr=parameters.zero_terminal_snr,
        timestep_spacing="trailing" if parameters.zero_terminal_snr else "leading",
        steps_offset=0 if parameters.zero_terminal_snr else 1,
    )
