"""The system as a checkpoint in the original (CompVis/LDM) format, for tools that read nothing else.

`FILE.ckpt` and its configuration `FILE.yaml` are what threestudio and stable-dreamfusion ask for. A network whose shape that
format cannot describe is refused.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionConfig

from stage.errors import InputError
from stage.files import replacing, write_text
from systems.zero123.ldm_configuration import PUBLISHED, LdmConfiguration, from_original
from systems.zero123.ldm_import import clip_config
from systems.zero123.ldm_names import ema_name, ldm_clip, ldm_projection, ldm_unet, ldm_vae
from systems.zero123.modules import Zero123Modules
from systems.zero123.pipeline import load_pipeline
from systems.zero123.view_pipeline import ViewPipeline
from systems.zero123.weights_import import recorded_step

# LitEma's own: published decay, and no updates as yet.
_EMA_DECAY = 0.9999
# They change how a network is used or stored, not what it computes.
_NO_SHAPE = frozenset({"sample_size", "force_upcast"})


def export_folder(folder: Path, output: Path) -> None:
    """Write a pipeline folder as a checkpoint; see `export_ldm`.

    Raises:
        InputError: when the folder holds no pipeline, or the format has no place for it.
    """
    require_ckpt(output)
    export_ldm(modules_of(load_pipeline(folder)), output, recorded_step(folder))


def require_ckpt(output: Path) -> None:
    """Refuse a file name that does not say what is in it.

    Raises:
        InputError: when it does not end in .ckpt.
    """
    if output.suffix != ".ckpt":
        raise InputError(f"{output} does not end in .ckpt", "readers of this format tell it by its name")


def modules_of(pipeline: ViewPipeline) -> Zero123Modules:
    """The parts of a pipeline."""
    return Zero123Modules(
        pipeline.unet, pipeline.cc_projection, pipeline.image_encoder, pipeline.vae, pipeline.scheduler
    )


def export_ldm(
    modules: Zero123Modules, output: Path, step: int | None = None, conditioning: Mapping[str, Any] | None = None
) -> None:
    """Write the modules as a checkpoint, and their configuration beside it.

    The UNet's weights are written twice by name and once by byte: readers of this format sample with the running mean, which
    here is the same.

    Args:
        modules: the system.
        output: `FILE.ckpt`; `FILE.yaml` is written too.
        step: optimiser steps behind the weights, where known.
        conditioning: ZeroNVS' own section of the configuration, which Zero-1-to-3 has not.

    Raises:
        InputError: when the format has no place for a network of this kind.
    """
    configuration = original_configuration(modules)
    if conditioning:
        configuration["model"]["params"]["conditioning_config"] = {"params": dict(conditioning)}
    content = {"epoch": 0, "global_step": step or 0, "state_dict": ldm_weights(modules)}
    with replacing(output) as temporary, temporary.open("wb") as stream:
        # Into a stream: the archive would otherwise carry the temporary name.
        torch.save(content, stream)
    write_text(output.with_suffix(".yaml"), yaml.safe_dump(configuration, sort_keys=False))


def ldm_weights(modules: Zero123Modules) -> dict[str, Tensor]:
    """The weights of all modules under LDM's names, with the schedule's buffers."""
    unet = {name: _alone(weight) for name, weight in _unet_weights(modules.unet).items()}
    weights = {
        **unet,
        "model_ema.decay": torch.tensor(_EMA_DECAY),
        "model_ema.num_updates": torch.tensor(0, dtype=torch.int),
        **{ema_name(name): weight for name, weight in unet.items()},
        **ldm_vae(modules.vae.state_dict()),
        **ldm_clip(modules.image_encoder.state_dict()),
        **ldm_projection(modules.cc_projection.state_dict()),
        **schedule_buffers(modules.scheduler),
    }
    return {name: _alone(weight) for name, weight in weights.items()}


def _unet_weights(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    return ldm_unet(unet.state_dict(), unet.config.layers_per_block)


def _alone(weight: Tensor) -> Tensor:
    """A weight in a storage of its own: of a storage that several share, torch would write the whole."""
    weight = weight.detach().cpu().contiguous()
    return weight if weight.untyped_storage().nbytes() == weight.nbytes else weight.clone()


def schedule_buffers(scheduler: DDIMScheduler) -> dict[str, Tensor]:
    """The buffers of LDM's noise schedule, computed in float64 and kept in float32 (`ddpm.py`, `register_schedule`)."""
    config = scheduler.config
    betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps) ** 2
    kept = np.cumprod(1.0 - betas)
    before = np.append(1.0, kept[:-1])
    variance = betas * (1.0 - before) / (1.0 - kept)
    buffers = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(kept),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - kept),
        "log_one_minus_alphas_cumprod": np.log(1.0 - kept),
        "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / kept),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / kept - 1.0),
        "posterior_variance": variance,
        # The variance is 0 at the first step.
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1.0 - kept),
        "posterior_mean_coef2": (1.0 - before) * np.sqrt(1.0 - betas) / (1.0 - kept),
    }
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in buffers.items()}


def original_configuration(modules: Zero123Modules) -> dict[str, Any]:
    """The content of the YAML file.

    Raises:
        InputError: when that form cannot describe the modules: reading it again would give others.
    """
    if not isinstance(modules.vae, AutoencoderKL):
        raise InputError(
            f"the original format has no place for a {type(modules.vae).__name__}",
            "export a system with an AutoencoderKL",
        )
    schedule = modules.scheduler.config
    content = copy.deepcopy(PUBLISHED)
    params = content["model"]["params"]
    params |= {
        "linear_start": schedule.beta_start,
        "linear_end": schedule.beta_end,
        "timesteps": schedule.num_train_timesteps,
        "image_size": modules.unet.config.sample_size,
        "channels": modules.vae.config.latent_channels,
        "scale_factor": modules.vae.config.scaling_factor,
    }
    params["unet_config"]["params"] |= _unet_params(modules.unet.config)
    params["first_stage_config"]["params"] |= _vae_params(modules.vae.config)
    _refuse_what_it_cannot_say(modules, from_original(content, "the configuration"))
    return content


def _unet_params(config: Any) -> dict[str, Any]:  # noqa: ANN401 - diffusers' frozen dictionary
    first = config.block_out_channels[0]
    attending = [2**level for level, kind in enumerate(config.down_block_types) if kind == "CrossAttnDownBlock2D"]
    return {
        "image_size": config.sample_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "model_channels": first,
        "attention_resolutions": attending[::-1],
        "num_res_blocks": config.layers_per_block,
        "channel_mult": [channels // first for channels in config.block_out_channels],
        "num_heads": config.attention_head_dim,
        "transformer_depth": config.transformer_layers_per_block,
        "context_dim": config.cross_attention_dim,
    }


def _vae_params(config: Any) -> dict[str, Any]:  # noqa: ANN401 - diffusers' frozen dictionary
    first = config.block_out_channels[0]
    ddconfig = {
        "z_channels": config.latent_channels,
        "resolution": config.sample_size,
        "in_channels": config.in_channels,
        "out_ch": config.out_channels,
        "ch": first,
        "ch_mult": [channels // first for channels in config.block_out_channels],
        "num_res_blocks": config.layers_per_block,
    }
    published = PUBLISHED["model"]["params"]["first_stage_config"]["params"]["ddconfig"]
    return {"embed_dim": config.latent_channels, "ddconfig": published | ddconfig}


def _refuse_what_it_cannot_say(modules: Zero123Modules, read: LdmConfiguration) -> None:
    """Compare the modules with those that the configuration would give."""
    with init_empty_weights():
        unet, vae = UNet2DConditionModel(**read.unet), AutoencoderKL(**read.vae)
    clip = modules.image_encoder.config
    encoder = clip_config(
        clip.hidden_size, clip.num_hidden_layers, clip.patch_size, clip.image_size, clip.projection_dim
    )
    _compare("UNet", modules.unet.config, unet.config)
    _compare("VAE", modules.vae.config, vae.config)
    _compare("image encoder", _clip_shape(clip), _clip_shape(encoder))
    _compare("noise schedule", modules.scheduler.config, read.scheduler.config, _SCHEDULE)


_SCHEDULE = (
    "beta_start",
    "beta_end",
    "beta_schedule",
    "num_train_timesteps",
    "prediction_type",
    "rescale_betas_zero_snr",
)
_CLIP_SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
    "num_channels",
)


def _clip_shape(config: CLIPVisionConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _CLIP_SHAPE}


def _compare(part: str, ours: Mapping[str, Any], described: Mapping[str, Any], names: tuple[str, ...] = ()) -> None:
    for name in names or sorted(described.keys() - _NO_SHAPE):
        if not name.startswith("_") and _plain(ours.get(name)) != _plain(described.get(name)):
            raise InputError(
                f"the {part}'s {name} is {ours.get(name)}, which the original format cannot say (it means {described.get(name)})",
                "such a system has no form that its readers would understand",
            )


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a configuration
    """Lists as tuples, and every way to say no as None."""
    return tuple(value) if isinstance(value, list) else value or None
