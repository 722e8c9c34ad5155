"""The modules of Zero-1-to-G's first generation, made new from parameters or taken from a folder."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from diffusers.schedulers import KarrasDiffusionSchedulers
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.zero123.modules import Autoencoder, build_image_encoder, unet_options
from systems.zero123.space_to_depth import SpaceToDepth
from systems.zero_1_to_g.grid.conditioning import ImagePrompt
from systems.zero_1_to_g.grid.parameters import SplatterDecoderParameters, Zero1ToGGridParameters
from systems.zero_1_to_g.grid.reference_attention import ReferenceUNet
from systems.zero_1_to_g.grid.splatter_decoder import SplatterDecoder

_OF_NEW_DECODERS = frozenset({"block_channels", "layers_per_block", "norm_groups"})


@dataclass
class GridModules:
    """The six parts of the system."""

    unet: ReferenceUNet
    """Makes codes of six views; predicts v."""
    vae: Autoencoder
    """Encodes grids of six views and the input picture."""
    splatter_decoder: SplatterDecoder
    """Codes to splatter images."""
    image_encoder: CLIPVisionModelWithProjection
    """CLIP."""
    prompt: ImagePrompt
    """Cross-attention tokens of an embedding."""
    scheduler: KarrasDiffusionSchedulers

    def networks(self) -> dict[str, Any]:
        """Those with weights, by the names of their folders."""
        return {name: part for name, part in vars(self).items() if isinstance(part, nn.Module)}


def build_modules(parameters: Zero1ToGGridParameters, seed: int) -> GridModules:
    """New modules, with weights drawn from the seed.

    Raises:
        InputError: when the parameters ask for a part that only exists pretrained.
    """
    torch.manual_seed(seed)
    vae = _autoencoder(parameters)
    channels, dimension = vae.latent_channels, parameters.image_encoder.embedding_dim
    prompt = ImagePrompt(parameters.prompt_tokens, dimension)
    # Where there is no text encoder, any constant will do.
    nn.init.normal_(prompt.text)
    return GridModules(
        unet=ReferenceUNet(**unet_options(parameters.unet, channels, dimension) | {"in_channels": channels}),
        vae=vae,
        splatter_decoder=_new_decoder(parameters.decoder, vae),
        image_encoder=build_image_encoder(parameters.image_encoder),
        prompt=prompt,
        scheduler=build_scheduler(),
    )


def build_scheduler() -> DDIMScheduler:
    """Zero123++'s schedule: 1000 steps, β linear from 0.00085 to 0.012, v-prediction.

    Source: Shi et al. 2023, section 2.2: linear and not scaled linear, so that layouts are decided under more noise.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def decoder_options(parameters: SplatterDecoderParameters) -> dict[str, object]:
    """The parameters that a decoder has whatever its weights begin with, by the names that `SplatterDecoder` gives them."""
    return parameters.model_dump(exclude=set(_OF_NEW_DECODERS))


def noised(
    scheduler: KarrasDiffusionSchedulers,
    latents: Float[Tensor, "b c y x"],
    noise: Float[Tensor, "b c y x"],
    timesteps: Tensor,
) -> Float[Tensor, "b c y x"]:
    """√ᾱ z + √(1 − ᾱ) ε: what every class of scheduler makes, scaled as the denoiser is given it."""
    signal, spread = signal_and_spread(scheduler, timesteps, latents)
    return signal * latents + spread * noise


def clean(
    scheduler: KarrasDiffusionSchedulers,
    noisy: Float[Tensor, "b c y x"],
    velocity: Float[Tensor, "b c y x"],
    timesteps: Tensor,
) -> Float[Tensor, "b c y x"]:
    """x̂₀ = √ᾱ x − √(1 − ᾱ) v of a prediction of v (Salimans & Ho 2022, appendix D)."""
    signal, spread = signal_and_spread(scheduler, timesteps, noisy)
    return signal * noisy - spread * velocity


def signal_and_spread(
    scheduler: KarrasDiffusionSchedulers, timesteps: Tensor, like: Float[Tensor, "b c y x"]
) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
    """√ᾱ and √(1 − ᾱ) of timesteps."""
    kept = scheduler.alphas_cumprod.to(like.device)[timesteps.to(like.device).round().long()]
    shaped = kept.reshape(-1, 1, 1, 1).to(like.dtype)
    return shaped.sqrt(), (1.0 - shaped).sqrt()


def _autoencoder(parameters: Zero1ToGGridParameters) -> SpaceToDepth:
    settings = parameters.autoencoder
    if settings.kind == "space_to_depth":
        return SpaceToDepth(settings.factor, settings.scaling_factor)
    raise InputError(
        "an AutoencoderKL has no use without its weights",
        "set train.zero_1_to_g_grid.pretrained to a folder of Zero123++ or of ours",
    )


def _new_decoder(parameters: SplatterDecoderParameters, vae: SpaceToDepth) -> SplatterDecoder:
    return SplatterDecoder(
        latent_channels=vae.latent_channels,
        block_out_channels=parameters.block_channels,
        layers_per_block=parameters.layers_per_block,
        norm_num_groups=parameters.norm_groups,
        use_post_quant_conv=False,
        scaling_factor=vae.config.scaling_factor,
        **decoder_options(parameters),
    )
